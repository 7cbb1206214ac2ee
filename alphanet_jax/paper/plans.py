"""Which figures are drawn of which results: the kinds of the paper, and the rest."""

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from alphanet_jax.paper.grid import path_name
from alphanet_jax.paper.measured import Results
from alphanet_jax.results.sets import ResultSet

__all__ = ["FigurePlan", "plan", "plan_across"]

_RHO = 0.5  # of figures of a single rho, as in the paper
_K_RHOS = (0.25, 0.5, 1.0)


class FigurePlan(NamedTuple):
    """A figure to draw."""

    name: str  # of its files
    kind: str  # one of `figures.KINDS`
    sets: tuple[ResultSet, ...]
    title: str
    caption: str
    data_options: Mapping[str, Any]
    drawing_options: Mapping[str, Any]
    wide: bool = False  # whether it takes the width of a page


def plan(results: Results, dataset: str) -> list[FigurePlan]:
    """Lists the figures of a dataset, those that its results suffice for.

    Args:
      results: The results.
      dataset: Name of the dataset.
    """
    plans = _Plans(results, dataset)
    made = [*plans.against_k(), *plans.of_distances()]
    if plans.main:
        made = [*plans.of_splits(), *plans.of_predictions(), *plans.of_classes(), *made]
    return [each for each in made if each.sets]


class _Plans:
    """The figures of a dataset, in parts; those that it has no results for, too.

    Attributes:
      main: Rho and number of neighbors of the points of the part 'main'.
      one: Runs of the one nearest to the rho of the paper's figures of a single rho.
      k: Its number of neighbors.
      at: Its name in captions.
    """

    def __init__(self, results: Results, dataset: str) -> None:
        self.results, self.dataset = results, dataset
        self.main = results.rho_and_k(dataset, "main")
        self.one: ResultSet | None = None
        if self.main:
            rho, self.k = min(self.main, key=lambda setting: abs(setting[0] - _RHO))
            self.at = f"rho {rho:g}"
            self.one = self._named("main", rho, self.k, self.at)

    def _named(self, folder: str, rho: float, k: int, name: str) -> ResultSet | None:
        runs = self.results.get(self.dataset, folder, rho, k)
        return None if runs is None else dataclasses.replace(runs, name=name)

    def _figure(
        self,
        name: str,
        kind: str,
        sets: Sequence[ResultSet | None],
        title: str,
        caption: str,
        drawing: Mapping[str, Any] | None = None,
        **options: Any,
    ) -> FigurePlan:
        there, drawing = tuple(runs for runs in sets if runs is not None), drawing or {}
        name = f"{path_name(self.dataset)}.{name}"
        wide = len(there) > 1 and "col_wrap" in drawing
        return FigurePlan(name, kind, there, title, caption, options, drawing, wide)

    def of_splits(self) -> Iterator[FigurePlan]:
        """Lists figures of predictions, distance, and accuracy of splits."""
        yield self._figure(
            "pred_counts", "predictions", [self.one],
            "Predictions for few classes",
            "Test samples of few classes: correct, wrong as one of the class's "
            f"{self.k} nearest base classes, or else wrong; before and with AlphaNet "
            f"at {self.at}.",
            split="few", nn_split="base",
        )  # fmt: skip
        yield self._figure(
            "cls_acc_vs_nndist", "accuracy_vs_distance", [self.one],
            "Accuracy and distance",
            "Accuracy of a class with the unchanged classifier against the mean "
            f"distance to its {self.k} nearest neighbors; a point is a class.",
            acc="baseline", r_group_classes=True, splits=_splits(self.one, self.k),
        )  # fmt: skip
        main, random = (
            self.results.sets(self.dataset, folder) for folder in ("main", "randomnns")
        )
        yield self._figure(
            "euclidean_random_split_deltas_vs_rho", "change_vs_rho", [*main, *random],
            "Nearest and random neighbors",
            "Change in split accuracy against rho; dashed, with random neighbors, "
            "where those were run.",
        )  # fmt: skip
        yield self._figure(
            "split_accs_vs_rho", "accuracy_vs_rho", main,
            "Accuracy against rho",
            "Split accuracy with intervals of 95 percent; dotted, the unchanged "
            "classifier.",
        )  # fmt: skip

    def of_predictions(self) -> Iterator[FigurePlan]:
        """Lists figures of changed predictions."""
        for near, called in (("all", "visual"), ("semantic", "WordNet")):
            if near == "semantic" and not self.results.has_synsets(self.dataset):
                continue
            how = (
                f"one of the {self.k} nearest classes by features"
                if near == "all"
                else "at most 4 edges of WordNet away"
            )
            for split in ("few", "base", "all"):
                yield self._figure(
                    f"{split}_pred_changes_{called.lower()}", "prediction_changes",
                    [self.one],
                    f"Changed predictions, {split} classes, {called} neighbors",
                    f"What test samples were taken for before and at {self.at}: "
                    f"correct, wrong as a neighbor ({how}), or else wrong.",
                    split=split, nn_split=near,
                )  # fmt: skip

    def of_classes(self) -> Iterator[FigurePlan]:
        """Lists figures of single classes and coefficients."""
        every = [self._named("main", *each, f"rho {each[0]:g}") for each in self.main]
        yield self._figure(
            "rhos_cls_deltas", "class_changes", every,
            "Change of every class",
            "Change in the accuracy of every class, sorted within its split, at each "
            "rho.",
            {"col_wrap": 4},
        )  # fmt: skip
        yield self._figure(
            "cls_acc_and_samples", "class_accuracy_and_samples", [self.one],
            "Accuracy and size of every class",
            f"Accuracy before and at {self.at}, classes by their number of training "
            "samples.",
        )  # fmt: skip
        yield self._figure(
            "cls_acc_vs_samples", "accuracy_vs_samples", [self.one],
            "Accuracy against size",
            f"Accuracy of a class before and at {self.at} against its number of "
            "training samples, with regression lines.",
        )  # fmt: skip
        yield self._figure(
            "alphas", "alphas", [self.one],
            "Coefficients",
            f"Densities over few classes and runs of the coefficient of each neighbor "
            f"at {self.at}, nearest first.",
        )  # fmt: skip
        yield self._figure(
            "templates", "template_embedding", [self.one],
            "Classifiers among samples",
            "Classifiers of few classes before and after, those of their neighbors, "
            f"and test samples, in the plane, at {self.at}.",
        )  # fmt: skip

    def against_k(self) -> Iterator[FigurePlan]:
        """Lists figures against the number of neighbors."""
        swept = self.results.rho_and_k(self.dataset, "nnsweep_euclidean")
        for rho in _K_RHOS:
            sets = [
                self._named(f"nnsweep_{distance}", rho, k, str(k))
                for distance in ("euclidean", "cosine")
                for r, k in swept
                if r == rho
            ]
            yield self._figure(
                f"accs_vs_k_rho_{rho:g}", "accuracy_vs_experiment", sets,
                f"Accuracy against the number of neighbors, rho {rho:g}",
                "Split accuracy with intervals of 95 percent; dotted, the unchanged "
                "classifier. With one neighbor nothing can be learned.",
                {"xlabel": "Neighbors"},
                col="metric",
            )  # fmt: skip

    def of_distances(self) -> Iterator[FigurePlan]:
        """Lists figures of change against distance, one for each rho."""
        for rho, k in self.main:
            one = self._named("main", rho, k, f"rho {rho:g}")
            yield self._figure(
                f"cls_delta_vs_nndist_rho_{rho:g}", "accuracy_vs_distance", [one],
                f"Change and distance, rho {rho:g}",
                f"Change in the accuracy of a class at rho {rho:g} against the mean "
                f"distance to its {k} nearest neighbors.",
                acc="delta", r_group_classes=True, splits=_splits(one, k),
            )  # fmt: skip


def plan_across(results: Results) -> list[FigurePlan]:
    """Lists the figures of several datasets."""
    sets = [s for name in results.datasets() for s in results.sets(name, "main")]
    if len({runs.dataset for runs in sets}) < 2:
        return []
    return [
        FigurePlan(
            "datasets_split_deltas_vs_rho",
            "change_vs_rho",
            tuple(sets),
            "Change in accuracy against rho",
            "Change in split accuracy from the unchanged classifier, for every dataset "
            "and classifier.",
            {},
            {},
            wide=True,
        )
    ]


def _splits(runs: ResultSet | None, k: int) -> list[str]:
    """Returns the splits that have distances: base classes need k few ones."""
    enough = runs is not None and len(runs.splits["few"]) >= k
    return ["few", "base"] if enough else ["few"]
