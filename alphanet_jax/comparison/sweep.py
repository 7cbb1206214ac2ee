"""AlphaNet over rho, judged as the other methods are; its seeds are averaged.

Notation: n samples, C classes, F 'few' classes, S seeds, k neighbors, K values of rho.
"""

import dataclasses
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from alphanet_jax import posthoc
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
            hits_of_val: Iterable[np.ndarray] = (
                self._hits(arrays, products["val"], data, val) for arrays in trained
            )
        else:
            hits_of_val = self._cross_validate(data, fold_of)
        of_val, val_correct = [], []
        for right in hits_of_val:
            of_val.append(val.accuracies(right).mean(axis=0))
            val_correct.append(right.mean(axis=0, dtype=np.float32))
        best = Best(oracle=oracle)
        correct = []
        for index, (arrays, val_row) in enumerate(zip(trained, of_val, strict=True)):
            right = self._hits(arrays, products["test"], data, test)
            correct.append(right.mean(axis=0, dtype=np.float32))
            test_row = test.accuracies(right).mean(axis=0)
            best.add(index, val_row, test_row, arrays)
        hits = np.stack(correct)
        measured = {
            index: self._measure(index, arrays, products, data, test)
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
            one = dataclasses.replace(self, workdir=None, neighbors=None)
            for point, arrays in enumerate(one._train(inside, None)):
                for seed, (_, predictions) in enumerate(
                    self._runs(arrays, products, data.bias)
                ):
                    hits[point, seed, place[rows]] = predictions == inside.test.labels
        return hits

    def _runs(
        self, arrays: Mapping[str, np.ndarray], products: np.ndarray, bias: np.ndarray
    ) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Yields logits and predictions of every seed.

        A few class's logits are combinations of its sources' products.
        """
        few, alphas = arrays["few_classes"], arrays["alphas"]
        own = few[:, None]
        for seed, coefficients in enumerate(alphas):
            neighbors = arrays["neighbors"]
            if neighbors.ndim == 3:
                neighbors = neighbors[seed % len(neighbors)]
            sources = np.concatenate([own, neighbors], axis=1)
            combine = np.zeros((products.shape[1], len(few)), np.float32)
            columns = np.broadcast_to(np.arange(len(few))[:, None], sources.shape)
            np.add.at(combine, (sources, columns), coefficients)
            logits = products + bias
            logits[:, few] = products @ combine + bias[few]
            yield logits, logits.argmax(axis=1)

    def _hits(
        self,
        arrays: Mapping[str, np.ndarray],
        products: np.ndarray,
        data: Dataset,
        samples: Samples,
    ) -> np.ndarray:
        """Computes which samples every seed gets right, with shape `[S, n]`."""
        runs = self._runs(arrays, products, data.bias)
        return np.stack([found == samples.labels for _, found in runs])

    def _measure(
        self,
        index: int,
        arrays: Mapping[str, np.ndarray],
        products: Mapping[str, np.ndarray],
        data: Dataset,
        test: Samples,
    ) -> Chosen:
        """Measures every seed; `correct` is of the first."""
        found, first = [], None
        for logits, predictions in self._runs(arrays, products["test"], data.bias):
            first = predictions == test.labels if first is None else first
            found.append(measure([logits], predictions, test))
        if first is None:
            raise UserError("alphanet has no seeds to judge")
        means = {
            name: float(np.mean([run[name] for run in found])) for name in found[0]
        }
        return Chosen(index, means, first)
