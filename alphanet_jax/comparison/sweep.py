"""AlphaNet over rho, judged as the other methods are; its seeds are averaged.

Notation: n samples, C classes, F 'few' classes, S seeds, k neighbors, K values of rho.
"""

import dataclasses
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from alphanet_jax import posthoc, streaming
from alphanet_jax.comparison.corrections import fold_datasets
from alphanet_jax.comparison.judging import Best, Chosen, Curve, Samples, measure
from alphanet_jax.config import sweep
from alphanet_jax.config.fields import Settings
from alphanet_jax.data.dataset import Dataset
from alphanet_jax.errors import UserError
from alphanet_jax.experiment import training
from alphanet_jax.experiment.problem import NeighborStore
from alphanet_jax.experiment.progress import Report

__all__ = ["AlphaNetSweep"]

_ARRAYS = ("alphas", "neighbors", "few_classes")


@dataclasses.dataclass(frozen=True)
class AlphaNetSweep:
    """What AlphaNet is trained with.

    Attributes:
      settings: Settings but for rho.
      rhos: Values of rho.
      workdir: Where results are kept, and found again; None for nowhere.
      memory_limit: Bytes that may be used; see `training.train`.
      neighbors: Where neighbors are kept; None for nowhere.
      report: Takes lines of text about progress.
      on_unsaved: Takes a line about each result that could not be saved there.
    """

    settings: Settings
    rhos: Sequence[float]
    workdir: Path | None = None
    memory_limit: int | None = None
    neighbors: NeighborStore | None = None
    report: Report = print
    on_unsaved: Report = print

    def curve(
        self,
        data: Dataset,
        *,
        val: Samples,
        test: Samples,
        fold_of: np.ndarray | None,
        products: Mapping[str, np.ndarray],
        oracle: bool,
    ) -> Curve:
        """Trains AlphaNet and judges it at every rho.

        Args:
          data: The dataset.
          val: Validation samples, or the training samples held out in turn.
          test: Test samples.
          fold_of: The fold of every training row; None with validation data.
          products: Of test and validation features with the given weights, by 'test'
            and 'val'; of training features where there is no validation data.
          oracle: Whether a point is also chosen on test data.

        Returns:
          The curve; numbers are means over seeds.

        Raises:
          UserError: If a point could not be trained.
        """
        trained = self._train(data, self.workdir)
        if fold_of is None:
            of_val_rows = _Scored(products["val"], data)
            hits_of_val: Iterable[np.ndarray] = (
                of_val_rows.hits(arrays, val.labels) for arrays in trained
            )
        else:
            hits_of_val = self._cross_validate(data, fold_of)
        of_val, val_correct = [], []
        for right in hits_of_val:
            of_val.append(val.accuracies(right).mean(axis=0))
            val_correct.append(right.mean(axis=0, dtype=np.float32))
        best, scored = Best(oracle=oracle), _Scored(products["test"], data)
        correct = []
        for index, (arrays, val_row) in enumerate(zip(trained, of_val, strict=True)):
            right = scored.hits(arrays, test.labels)
            correct.append(right.mean(axis=0, dtype=np.float32))
            test_row = test.accuracies(right).mean(axis=0)
            best.add(index, val_row, test_row, arrays)
        hits = np.stack(correct)
        measured = {
            index: _measure(index, arrays, scored, test)
            for index, arrays in best.by_index().items()
        }
        return Curve(
            name="alphanet",
            linear=True,
            source="the paper; means over seeds",
            knob_name="rho",
            knobs=np.array(self.rhos),
            choices=[{} for _ in self.rhos],
            val=np.array(of_val),
            test=test.accuracies(hits),
            correct=hits,
            val_correct=np.stack(val_correct),
            chosen={name: measured[index] for name, index in best.index.items()},
        )

    def _train(
        self, data: Dataset, workdir: Path | None, report: Report | None = None
    ) -> list[Mapping[str, np.ndarray]]:
        points = sweep.name_points(
            [dataclasses.replace(self.settings, rho=rho) for rho in self.rhos]
        )
        trained = training.train(
            points,
            data,
            workdir=workdir,
            brief_result=True,
            overwrite=True,  # in a directory of its own
            memory_limit=self.memory_limit,
            neighbors=self.neighbors if workdir is self.workdir else None,
            report=self.report if report is None else report,
        )
        for line in dict.fromkeys(line for one in trained for line in one.unsaved):
            self.on_unsaved(line)
        return [one.arrays(_ARRAYS) for one in trained]

    def _cross_validate(self, data: Dataset, fold_of: np.ndarray) -> np.ndarray:
        """Computes which rows that it did not see it gets right, `[K, S, n]`."""
        held = np.flatnonzero(fold_of >= 0)
        place = np.zeros(len(fold_of), np.int64)
        place[held] = np.arange(len(held))
        seeds = self.settings.seeds
        hits = np.zeros((len(self.rhos), seeds, len(held)), bool)
        for number, (rows, inside) in enumerate(fold_datasets(data, fold_of)):
            self.report(f"alphanet: fold {number + 1} of {int(fold_of.max()) + 1}")
            products = posthoc.products(inside.test.features, data.weight)
            scored = _Scored(products, data)
            one = dataclasses.replace(self, workdir=None, neighbors=None)
            for point, arrays in enumerate(one._train(inside, None)):
                hits[point][:, place[rows]] = scored.hits(arrays, inside.test.labels)
        return hits


class _Scored:
    """Samples with their products, which the runs of all points share.

    A few class's logits are combinations of its sources' products; base classes keep
    theirs, so the best of these is looked for once.

    Args:
      products: Products of the samples with the given weights, with shape `[n, C]`.
      data: The dataset.
    """

    def __init__(self, products: np.ndarray, data: Dataset) -> None:
        self._products, self._bias = products, data.bias
        base = np.sort(data.base_classes).astype(np.int32)
        self._best = posthoc.winners(products, data.bias[base], columns=base)

    def hits(self, arrays: Mapping[str, np.ndarray], labels: np.ndarray) -> np.ndarray:
        """Computes which samples every seed gets right, with shape `[S, n]`."""
        return np.stack([found == labels for _, found in self.runs(arrays)])

    def runs(
        self, arrays: Mapping[str, np.ndarray]
    ) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Yields logits of few classes, `[n, F]`, and predictions of every seed."""
        few, alphas = arrays["few_classes"], arrays["alphas"]
        no_bias = np.zeros(len(few), self._products.dtype)
        own = few[:, None]
        for seed, coefficients in enumerate(alphas):
            neighbors = arrays["neighbors"]
            if neighbors.ndim == 3:
                neighbors = neighbors[seed % len(neighbors)]
            sources = np.concatenate([own, neighbors], axis=1)
            combine = np.zeros((self._products.shape[1], len(few)), np.float32)
            columns = np.broadcast_to(np.arange(len(few))[:, None], sources.shape)
            np.add.at(combine, (sources, columns), coefficients)
            logits = self._products @ combine + self._bias[few]
            found = posthoc.winners(logits, no_bias)
            found = found._replace(classes=few[found.classes].astype(np.int32))
            yield logits, self._best.against(found).classes

    def logits(self, few: np.ndarray, of_few: np.ndarray) -> Iterator[np.ndarray]:
        """Yields the logits of all classes, with shape `[m, C]`, of some rows in turn.

        Args:
          few: The few classes, with shape `[F]`.
          of_few: Their logits, with shape `[n, F]`.
        """
        size = streaming.rows_at_a_time(len(self._bias))
        for start in range(0, len(self._products), size):
            logits = self._products[start : start + size] + self._bias
            logits[:, few] = of_few[start : start + size]
            yield logits


def _measure(
    index: int, arrays: Mapping[str, np.ndarray], scored: _Scored, test: Samples
) -> Chosen:
    """Measures every seed; `correct` is of the first."""
    found, first = [], None
    for of_few, predictions in scored.runs(arrays):
        first = predictions == test.labels if first is None else first
        logits = scored.logits(arrays["few_classes"], of_few)
        found.append(measure(logits, predictions, test))
    if first is None:
        raise UserError("alphanet has no seeds to judge")
    means = {name: float(np.mean([run[name] for run in found])) for name in found[0]}
    return Chosen(index, means, first)
