"""The scores of a cohort: of its samples by the frozen classifier, on the devices.

Notation: n samples, R runs, F 'few' classes, k neighbors.
"""

import contextlib
import functools
import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.sharding import Mesh

from alphanet_jax import eval as evaluation
from alphanet_jax import scores
from alphanet_jax.data.dataset import Group
from alphanet_jax.eval import Counts, Metrics
from alphanet_jax.experiment import devices, feature_pass, programs
from alphanet_jax.experiment.cohorts import Cohort, pad_runs
from alphanet_jax.experiment.hooks import Onlooker
from alphanet_jax.experiment.memory import Plan
from alphanet_jax.experiment.outcome import no_metrics
from alphanet_jax.sampling import Batches
from alphanet_jax.stages import Report, stage

__all__ = ["CohortScores", "TrainingRows"]


class TrainingRows(NamedTuple):
    """Scores of the training rows that are used at all."""

    table: scores.ScoreTable
    places: np.ndarray  # shape=(n,): row of the table of every training row

    def relocate(self, batches: Batches) -> Batches:
        """Turns rows of the training data into rows of the table."""
        rows = np.where(batches.valid, self.places[batches.rows], 0)
        return Batches(rows, batches.valid)


def _scoring(
    report: Report, group: str, count: int
) -> contextlib.AbstractContextManager[Any]:
    return stage(report, f"scores of {group} samples", total=count, unit="samples")


class CohortScores:
    """Scores the samples that a cohort needs, and evaluates coefficients by them.

    Args:
      cohort: The cohort.
      plan: Its plan of memory.
      report: Takes lines of text about progress.
      onlooker: Looks at validation and test data with it.
    """

    def __init__(
        self,
        cohort: Cohort,
        plan: Plan,
        report: Report = lambda line: None,
        onlooker: Onlooker | None = None,
    ) -> None:
        self._report, self._onlooker = report, onlooker
        problem = cohort.problem
        self._dataset, self._settings = problem.dataset, problem.settings
        self._scales = np.asarray(cohort.scales, np.float32)
        self._capacity = plan.table_rows
        self.mesh: Mesh | None = devices.make_mesh()
        self.frozen: scores.Frozen = devices.place(problem.frozen, self.mesh)
        self._arguments = devices.place(dict(problem.score_arguments), self.mesh)
        self.val: scores.ScoreTable | None = None
        self.test: scores.ScoreTable | None = None

    def compile_passes(self) -> None:
        """Compiles what scores samples, by scoring none."""
        train, test = (
            Group(np.zeros((0, group.features.shape[1]), group.features.dtype), nobody)
            for group in (self._dataset.train, self._dataset.test)
            for nobody in [np.zeros(0, group.labels.dtype)]
        )
        if self._settings.train_epochs:
            feature_pass.score_table(train, pred_scale=self._scales, **self._arguments)
        kinds = {self._looks_at("test")}
        if self._dataset.val is not None:
            kinds.add(self._looks_at("val"))
        for looked_at in kinds:
            self._score_chunks(test, (lambda products: None) if looked_at else None)

    def score_evaluation(self) -> None:
        """Scores validation data, where there is any, and test data."""
        if (val := self._dataset.val) is not None:
            with _scoring(self._report, "validation", len(val.labels)):
                self.val = self._score_chunks(val, self._seen_of("val"))
        test = self._dataset.test
        with _scoring(self._report, "test", len(test.labels)):
            self.test = self._score_chunks(test, self._seen_of("test"))

    def _looks_at(self, group: str) -> bool:
        return self._onlooker is not None and self._onlooker.looks_at(group)

    def _seen_of(self, group: str) -> Callable[[np.ndarray], None] | None:
        """Returns what takes the products of a group; None where nobody looks."""
        if self._onlooker is None or not self._onlooker.looks_at(group):
            return None
        return functools.partial(self._onlooker.see, group)

    def _score_chunks(
        self, group: Group, see_products: Callable[[np.ndarray], None] | None
    ) -> scores.ScoreTable:
        return feature_pass.score_chunks(
            group,
            chunk_size=self._settings.rows_evaluated,
            mesh=self.mesh,
            see_products=see_products,
            **self._arguments,
        )

    def score_training(self, epochs: Sequence[Batches]) -> TrainingRows | None:
        """Scores the training rows that batches use; None where there are none."""
        if not epochs:
            return None
        rows = [epoch.rows[epoch.valid] for epoch in epochs]
        used = np.unique(np.concatenate(rows))
        places = np.zeros(len(self._dataset.train.labels), np.int32)
        places[used] = np.arange(len(used))
        with _scoring(self._report, "training", len(used)):
            table = feature_pass.score_table(
                self._dataset.train,
                used,
                capacity=self._capacity,
                mesh=self.mesh,
                pred_scale=self._scales,
                **self._arguments,
            )
        return TrainingRows(table, places)

    def evaluate(
        self, alphas: np.ndarray, chunks: scores.ScoreTable | None
    ) -> tuple[Metrics, np.ndarray]:
        """Evaluates sets of coefficients.

        Args:
          alphas: Coefficients, with shape `[R, F, k + 1]`.
          chunks: Scores of the samples, `val` or `test`.

        Returns:
          Metrics, with shape `[R]`, NaN without samples; and predictions, with shape
          `[R, n]`, padding included.
        """
        if chunks is None:
            nothing = no_metrics((len(alphas),), self._dataset.num_classes)
            return nothing, np.zeros((len(alphas), 0), np.int32)
        num_devices = 1 if self.mesh is None else self.mesh.size
        size = math.ceil(len(alphas) / num_devices) * num_devices
        index = pad_runs(0, size, len(alphas))
        found = devices.fetch(
            programs.evaluate(
                self._dataset.num_classes,
                devices.split(alphas[index], self.mesh),
                chunks,
                self.frozen,
            )
        )
        counts, classes = jax.tree.map(lambda part: part[: len(alphas)], found)
        return self.metrics(counts), classes

    def evaluate_unchanged(self) -> Metrics:
        """Evaluates the classifier as it is on validation data.

        Returns:
          Metrics, NaN without such data.
        """
        num_classes = self._dataset.num_classes
        if self.val is None:
            return no_metrics((), num_classes)
        here = jax.tree.map(devices.own_copy, (self.val, self.frozen))
        return self.metrics(
            evaluation.evaluate_unchanged(*here, num_classes=num_classes)
        )

    def metrics(self, counts: Counts) -> Metrics:
        """Computes metrics from counts, with any leading axes."""
        return evaluation.metrics_from_counts(counts, self._dataset.splits)
