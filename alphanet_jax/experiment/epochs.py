"""The loop over epochs: a batch of runs trained, selected, watched, kept and tested.

Notation: R runs of a batch, E epochs, F 'few' classes, C classes, k neighbors.
"""

import time
from typing import NamedTuple

import numpy as np

from alphanet_jax import eval as evaluation
from alphanet_jax import model, stopping
from alphanet_jax.eval import Metrics
from alphanet_jax.experiment import cohorts, devices, programs
from alphanet_jax.experiment.ahead import Ahead
from alphanet_jax.experiment.bookkeeping import Bookkeeper
from alphanet_jax.experiment.cohort_scores import CohortScores
from alphanet_jax.experiment.cohorts import Cohort
from alphanet_jax.experiment.failures import Failures
from alphanet_jax.experiment.hooks import History
from alphanet_jax.experiment.outcome import RunOutcome, empty_history, no_metrics
from alphanet_jax.experiment.programs import RunState
from alphanet_jax.experiment.run_batch import RunBatch, count_drawn, take

__all__ = ["EpochLoop", "Tested"]


class Tested(NamedTuple):
    """What came of a batch of runs, and of the unchanged classifier beside it."""

    runs: list[RunOutcome]
    baseline: Metrics  # shape=(), of test data
    baseline_pred: np.ndarray  # shape=(n,), for n test samples


class EpochLoop:
    """Trains batches of runs of a cohort, each through all epochs, and tests them.

    Args:
      cohort: The cohort.
      scores: Its scores; those of validation and test data are there by the first
        call.
      ahead: What compiles its programs meanwhile.
      failures: Takes what goes wrong with single parts.
      books: Takes what comes of every epoch.
    """

    def __init__(
        self,
        cohort: Cohort,
        scores: CohortScores,
        *,
        ahead: Ahead,
        failures: Failures,
        books: Bookkeeper,
    ) -> None:
        self._cohort, self._scores, self._ahead = cohort, scores, ahead
        self._failures, self._books = failures, books
        shape = cohort.problem.neighbors.shape
        self._baseline = evaluation.baseline_alphas(*shape)[None]

    def train(self, batch: RunBatch, params: model.Params) -> tuple[RunState, History]:
        """Trains a batch of runs from where it was stopped, if it was.

        Args:
          batch: The batch of runs.
          params: Their initial parameters, on the devices.

        Returns:
          The state and the history after the last epoch; after an earlier one where
          all of them have failed.
        """
        state = devices.resplit(
            programs.first_state(self._cohort.program, params), self._scores.mesh
        )
        num_batches = self._cohort.num_batches
        history = empty_history(self._cohort.problem, len(batch.runs), num_batches)
        first_epoch, state, history = self._books.resume(batch, state, history)
        for epoch in range(first_epoch):
            self._check_losses(batch, history, epoch)
        for epoch in range(first_epoch, len(batch.epochs)):
            started = time.perf_counter()
            with self._books.of_epoch(epoch):
                state, alphas, val = self._train_epoch(batch, state, history, epoch)
            self._check_losses(batch, history, epoch)
            if epoch == 0 and self._failures:
                before, _ = self._alphas_and_weights(params)
                self._failures.explain_zeros(batch.runs, batch.real(before))
            self._failures.check_alphas(batch.runs, alphas, epoch)
            if self._failures.all_of(batch.runs):
                break
            self._books.epoch_ended(
                batch, epoch, (state, history), alphas, val, started=started
            )
            stopping.check()
        return state, history

    def _check_losses(self, batch: RunBatch, history: History, epoch: int) -> None:
        losses, drawn = history.losses[:, epoch], batch.real(batch.epochs[epoch])
        self._failures.check_losses(batch.runs, losses, drawn, epoch)

    def _train_epoch(
        self, batch: RunBatch, state: RunState, history: History, epoch: int
    ) -> tuple[RunState, np.ndarray, Metrics | None]:
        """Trains an epoch, and writes what came of it into the history.

        Returns:
          The state, the coefficients and the metrics of validation data after it.
        """
        assert batch.rows is not None
        mesh, drawn = self._scores.mesh, batch.epochs[epoch]
        self._ahead.wait("train_epoch")
        state, record = programs.train_epoch(
            self._cohort.program,
            batch.skip_empty,
            state,
            devices.split(batch.rows.relocate(drawn), mesh),
            devices.split(cohorts.run_numbers(self._cohort, batch.index, epoch), mesh),
            programs.EpochInputs(
                epoch=np.int32(epoch),
                num_steps=np.int32(cohorts.num_steps(drawn).max()),
                table=batch.rows.table,
                val_chunks=self._scores.val,
                frozen=self._scores.frozen,
            ),
        )
        record = batch.real(devices.fetch(record))
        history.losses[:, epoch] = record.losses
        history.mean_alphas[:, epoch] = record.mean_alphas
        history.least_alphas[:, epoch] = record.alphas.min(axis=1)
        history.most_alphas[:, epoch] = record.alphas.max(axis=1)
        if record.val is None:
            return state, record.alphas, None
        for column, counts in zip(history.val, record.val, strict=True):
            column[:, epoch] = counts
        return state, record.alphas, self._scores.metrics(record.val)

    def test(self, batch: RunBatch, state: RunState, history: History) -> Tested:
        """Tests the selected epochs, and the unchanged classifier.

        Args:
          batch: The batch of runs.
          state: What `train` made of it.
          history: The same.
        """
        alphas, weight_few = self._alphas_and_weights(state.selected)
        self._ahead.wait("evaluate")
        # The unchanged classifier is one more set of coefficients.
        test, test_pred = self._scores.evaluate(
            np.concatenate([alphas, self._baseline]), self._scores.test
        )
        dataset = self._cohort.problem.dataset
        test_pred = test_pred[:, : len(dataset.test.labels)]
        selected = devices.fetch((state.selected_epoch, state.selected))
        selected_epoch, params = batch.real(selected)
        stacked = RunOutcome(
            selected_epoch=selected_epoch,
            params=params,
            alphas=batch.real(alphas),
            weight_few=batch.real(weight_few),
            losses=history.losses,
            mean_alphas=history.mean_alphas,
            least_alphas=history.least_alphas,
            most_alphas=history.most_alphas,
            drawn=count_drawn(batch, dataset.train.labels, dataset.num_classes),
            val_correct=None
            if self._scores.val is None
            else np.asarray(history.val.correct),
            val=no_metrics(history.losses.shape[:2], dataset.num_classes)
            if self._scores.val is None
            else self._scores.metrics(history.val),
            test=batch.real(test),
            test_pred=batch.real(test_pred),
        )
        self._books.tested(batch, stacked.test)
        runs = [take(stacked, place) for place in range(len(batch.runs))]
        baseline = Metrics(*(column[-1] for column in test))
        return Tested(runs, baseline, test_pred[-1])

    def _alphas_and_weights(self, params: model.Params) -> tuple[np.ndarray, ...]:
        """Computes coefficients and new few classifiers, as host arrays."""
        self._ahead.wait("alphas_and_weights")
        found: tuple[np.ndarray, ...] = devices.fetch(
            programs.alphas_and_weights(
                self._cohort.program, params, self._scores.frozen.sources
            )
        )
        return found
