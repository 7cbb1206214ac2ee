"""Which figures are drawn of which results: all kinds that the paper has, and the rest.

`plan` lists them for a dataset; each is drawn by its kind in `figures`, and its numbers
are written as CSV. What is there already, of the same results, is
not drawn again.
"""

import dataclasses
import functools
import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from alphanet_jax import figures as figures_package
from alphanet_jax import files
from alphanet_jax.errors import UserError
from alphanet_jax.figures import load_kind, saving, style
from alphanet_jax.figures.numbers import Sources
from alphanet_jax.paper.grid import path_name
from alphanet_jax.paper.measured import Results
from alphanet_jax.paper.page import PageFigure
from alphanet_jax.results.sets import ResultSet

__all__ = ["PAGE_STYLES", "FigurePlan", "draw_figures", "plan", "plan_across"]

# What the page shows, one for each theme.
PAGE_STYLES = ("web_light", "web_dark")
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
    main = results.settings(dataset, "main")
    made: list[FigurePlan] = []

    def add(
        name: str,
        kind: str,
        sets: Sequence[ResultSet | None],
        title: str,
        caption: str,
        drawing: Mapping[str, Any] | None = None,
        **options: Any,
    ) -> None:
        there = tuple(runs for runs in sets if runs is not None)
        if there:
            made.append(
                FigurePlan(
                    f"{path_name(dataset)}.{name}",
                    kind,
                    there,
                    title,
                    caption,
                    options,
                    drawing or {},
                    wide=len(there) > 1 and "col_wrap" in (drawing or {}),
                )
            )

    if main:
        rho, k = min(main, key=lambda setting: abs(setting[0] - _RHO))
        one = _named(results.get(dataset, "main", rho, k), f"rho {rho:g}")
        every = [
            _named(results.get(dataset, "main", *setting), f"rho {setting[0]:g}")
            for setting in main
        ]
        at = f"rho {rho:g}"
        add(
            "pred_counts", "predictions", [one],
            "Predictions for few classes",
            f"Test samples of few classes: correct, wrong as one of the class's {k} "
            f"nearest base classes, or else wrong; before and with AlphaNet at {at}.",
            split="few", nn_split="base",
        )  # fmt: skip
        add(
            "cls_acc_vs_nndist", "accuracy_vs_distance", [one],
            "Accuracy and distance",
            "Accuracy of a class with the unchanged classifier against the mean "
            f"distance to its {k} nearest neighbors; a point is a class.",
            acc="baseline", r_group_classes=True, splits=_splits(one, k),
        )  # fmt: skip
        add(
            "euclidean_random_split_deltas_vs_rho", "change_vs_rho",
            [*results.group(dataset, "main"), *results.group(dataset, "randomnns")],
            "Nearest and random neighbors",
            "Change in split accuracy against rho; dashed, with random neighbors, "
            "where those were run.",
        )  # fmt: skip
        add(
            "split_accs_vs_rho", "accuracy_vs_rho", results.group(dataset, "main"),
            "Accuracy against rho",
            "Split accuracy with intervals of 95 percent; dotted, the unchanged "
            "classifier.",
        )  # fmt: skip
        for near, called in (("all", "visual"), ("semantic", "WordNet")):
            if near == "semantic" and not results.has_synsets(dataset):
                continue
            how = (
                f"one of the {k} nearest classes by features"
                if near == "all"
                else "at most 4 edges of WordNet away"
            )
            for split in ("few", "base", "all"):
                add(
                    f"{split}_pred_changes_{called.lower()}", "prediction_changes",
                    [one],
                    f"Changed predictions, {split} classes, {called} neighbors",
                    f"What test samples were taken for before and at {at}: correct, "
                    f"wrong as a neighbor ({how}), or else wrong.",
                    split=split, nn_split=near,
                )  # fmt: skip
        add(
            "rhos_cls_deltas", "class_changes", every,
            "Change of every class",
            "Change in the accuracy of every class, sorted within its split, at each "
            "rho.",
            {"col_wrap": 4},
        )  # fmt: skip
        add(
            "cls_acc_and_samples", "class_accuracy_and_samples", [one],
            "Accuracy and size of every class",
            f"Accuracy before and at {at}, classes by their number of training "
            "samples.",
        )  # fmt: skip
        add(
            "cls_acc_vs_samples", "accuracy_vs_samples", [one],
            "Accuracy against size",
            f"Accuracy of a class before and at {at} against its number of training "
            "samples, with regression lines.",
        )  # fmt: skip
        add(
            "alphas", "alphas", [one],
            "Coefficients",
            f"Densities over few classes and runs of the coefficient of each neighbor "
            f"at {at}, nearest first.",
        )  # fmt: skip
        add(
            "templates", "template_embedding", [one],
            "Classifiers among samples",
            "Classifiers of few classes before and after, those of their neighbors, "
            f"and test samples, in the plane, at {at}.",
        )  # fmt: skip
    swept = results.settings(dataset, "nnsweep_euclidean")
    for rho in _K_RHOS:
        sets = [
            _named(results.get(dataset, f"nnsweep_{distance}", rho, k), str(k))
            for distance in ("euclidean", "cosine")
            for r, k in swept
            if r == rho
        ]
        add(
            f"accs_vs_k_rho_{rho:g}", "accuracy_vs_experiment", sets,
            f"Accuracy against the number of neighbors, rho {rho:g}",
            "Split accuracy with intervals of 95 percent; dotted, the unchanged "
            "classifier. With one neighbor nothing can be learned.",
            {"xlabel": "Neighbors"},
            col="metric",
        )  # fmt: skip
    for rho, k in main:
        one = _named(results.get(dataset, "main", rho, k), f"rho {rho:g}")
        add(
            f"cls_delta_vs_nndist_rho_{rho:g}", "accuracy_vs_distance", [one],
            f"Change and distance, rho {rho:g}",
            f"Change in the accuracy of a class at rho {rho:g} against the mean "
            f"distance to its {k} nearest neighbors.",
            acc="delta", r_group_classes=True, splits=_splits(one, k),
        )  # fmt: skip
    return made


def plan_across(results: Results) -> list[FigurePlan]:
    """Lists the figures of several datasets."""
    sets = [s for name in results.datasets() for s in results.group(name, "main")]
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
    """Tells for which splits there are distances: base classes need k few ones."""
    enough = runs is not None and len(runs.splits["few"]) >= k
    return ["few", "base"] if enough else ["few"]


def _named(runs: ResultSet | None, name: str) -> ResultSet | None:
    return None if runs is None else dataclasses.replace(runs, name=name)


def draw_figures(
    results: Results,
    names: Mapping[str, str],
    workdir: Path,
    *,
    styles: Sequence[str] = (),
    n_boot: int = 1000,
    report: Callable[[str], None] = lambda line: None,
) -> tuple[list[PageFigure], list[str]]:
    """Draws the figures of all results, below `figures/` of a directory.

    Args:
      results: The results.
      names: Names of datasets for people.
      workdir: The work directory.
      styles: Styles to draw in beside `PAGE_STYLES`.
      n_boot: Number of bootstrap samples.
      report: Takes lines of text about progress.

    Returns:
      The figures, and what could not be drawn and why.
    """
    try:
        saving.check_matplotlib()
    except UserError as error:
        return [], [f"no figures: {error}"]
    style_names = list(dict.fromkeys((*PAGE_STYLES, *styles)))
    plans = [("All datasets", each) for each in plan_across(results)]
    for dataset in results.datasets():
        plans += [(names[dataset], each) for each in plan(results, dataset)]
    kept = _Kept(workdir / "cache" / "figures.json")
    figures, remarks = [], []
    for number, (section, each) in enumerate(plans, 1):
        stem = workdir / "figures" / each.name
        key = _key(each, style_names, n_boot)
        paths = kept.get(each.name, key, stem.parent)
        if paths is None:
            report(f"figure {number} of {len(plans)}: {each.name}")
            try:
                paths = _draw(each, results, stem, style_names, n_boot)
            except UserError as error:
                remarks.append(f"no figure {each.name}: {error}")
                report(f"failed: {remarks[-1]}")
                continue
            kept.put(each.name, key, paths)
        light, dark = (stem.parent / f"{each.name}.{name}.svg" for name in PAGE_STYLES)
        figures.append(
            PageFigure(
                *(each.name, section, each.title, each.caption),
                *(light, dark, tuple(paths), each.wide),
            )
        )
    return figures, remarks


def _draw(
    each: FigurePlan,
    results: Results,
    stem: Path,
    style_names: Sequence[str],
    n_boot: int,
) -> list[Path]:
    kind = load_kind(each.kind)
    width = "full" if each.wide else "half"
    styles = [style.make_style(name, width=width) for name in style_names]
    options = dict(each.data_options)
    if hasattr(kind.numbers_options, "n_boot"):
        options["n_boot"] = n_boot
    sources = Sources(each.sets, results.finder, wordnet=results.wordnet)
    numbers = kind.numbers(sources, **options)
    return saving.save_figure(
        numbers,
        kind.draw,
        stem,
        styles,
        options=each.drawing_options,
        name_styles=True,
    )


def _key(each: FigurePlan, styles: Sequence[str], n_boot: int) -> str:
    """Names what a figure depends on."""
    sources = []
    for runs in each.sets:
        for file in runs.files:
            status = file.path.stat()
            sources.append([runs.name, status.st_size, status.st_mtime_ns])
    content = [
        *(_code_digest(), each.kind, dict(each.data_options)),
        *(dict(each.drawing_options), each.wide, list(styles), n_boot, sources),
    ]
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


@functools.cache
def _code_digest() -> str:
    """Names the code that draws: a version may be worked on."""
    made = hashlib.sha256()
    for path in sorted(Path(figures_package.__path__[0]).rglob("*.py")):
        made.update(path.read_bytes())
    return made.hexdigest()


class _Kept:
    """Remembers which files were drawn of what."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._known: dict[str, Any] = {}
        try:
            loaded = json.loads(path.read_text())
        except (OSError, ValueError):
            return  # none, or what is left of one
        if isinstance(loaded, dict):
            self._known = loaded

    def get(self, name: str, key: str, directory: Path) -> list[Path] | None:
        """Gives the files of a figure, if all are there."""
        record = self._known.get(name)
        if not isinstance(record, dict) or record.get("key") != key:
            return None
        paths = [directory / file for file in record["files"]]
        return paths if all(path.is_file() for path in paths) else None

    def put(self, name: str, key: str, paths: Sequence[Path]) -> None:
        """Remembers a figure."""
        self._known[name] = {"key": key, "files": [path.name for path in paths]}
        with files.replacing(self._path) as temporary:
            temporary.write_text(json.dumps(self._known, indent=1))
