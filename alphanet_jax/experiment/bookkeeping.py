"""What is written down while a cohort trains: logs, checkpoints, lines of text.

Notation: R runs of a batch, E epochs, T batches of an epoch, F 'few' classes,
k neighbors.
"""

import contextlib
import time

import jax
import numpy as np

from alphanet_jax import stages
from alphanet_jax.eval import Metrics
from alphanet_jax.experiment import cohorts
from alphanet_jax.experiment.cohort_scores import CohortScores
from alphanet_jax.experiment.cohorts import Cohort
from alphanet_jax.experiment.hooks import Checkpoints, History, RunName, Watcher
from alphanet_jax.experiment.programs import RunState
from alphanet_jax.experiment.progress import Progress, Report
from alphanet_jax.experiment.run_batch import RunBatch
from alphanet_jax.stages import Stage

__all__ = ["Bookkeeper"]


class Bookkeeper:
    """Tells those who look on what comes of every epoch, and keeps its state.

    Args:
      cohort: The cohort that trains.
      scores: Its scores, which turn counts of validation data into metrics.
      progress: Its clock.
      checkpoints: Where the state is kept after every epoch, and taken from.
      watcher: Takes what comes of every epoch.
      report: Takes a line of text for each epoch.
    """

    def __init__(
        self,
        cohort: Cohort,
        scores: CohortScores,
        progress: Progress,
        *,
        checkpoints: Checkpoints | None,
        watcher: Watcher | None,
        report: Report,
    ) -> None:
        self._cohort, self._scores, self._progress = cohort, scores, progress
        self._checkpoints, self._watcher, self._report = checkpoints, watcher, report

    def resume(
        self, batch: RunBatch, state: RunState, history: History
    ) -> tuple[int, RunState, History]:
        """Loads what was kept of a batch of runs, if it was stopped.

        Args:
          batch: The batch of runs.
          state: Its state before the first epoch.
          history: Its history, of no epoch yet.

        Returns:
          The number of epochs that are done, and the state and the history after them.
        """
        if self._checkpoints is None or not batch.epochs:
            return 0, state, history
        found = self._checkpoints.restore(batch.name, (state, history))
        if found is None:
            return 0, state, history
        num_done, (state, history) = found
        self._report(f"resuming after epoch {num_done}")
        for drawn in batch.epochs[:num_done]:
            self._progress.skip(int(cohorts.num_steps(drawn).max()))
        self._tell_of_before(batch, history, num_done)
        return num_done, state, history

    def _tell_of_before(self, batch: RunBatch, history: History, num_done: int) -> None:
        if self._watcher is None:
            return
        done = slice(num_done)
        counts = jax.tree.map(lambda column: column[:, done], history.val)
        val = None if self._scores.val is None else self._scores.metrics(counts)
        losses, means = history.losses[:, done], history.mean_alphas[:, done]
        self._watcher.resumed(self._names(batch), losses, means, val)

    def of_epoch(self, epoch: int) -> contextlib.AbstractContextManager[Stage | None]:
        """Makes a stage of an epoch, counted from 0, where people wait for it."""
        return self._progress.of_epoch(self._report, epoch)

    def epoch_ended(
        self,
        batch: RunBatch,
        epoch: int,
        kept: tuple[RunState, History],
        alphas: np.ndarray,
        val: Metrics | None,
        *,
        started: float,
    ) -> None:
        """Tells of an epoch, and keeps the state and the history after it.

        Args:
          batch: The batch of runs.
          epoch: The epoch, counted from 0.
          kept: The state and the history.
          alphas: Coefficients after the epoch, with shape `[R, F, k + 1]`.
          val: Metrics of validation data, with shape `[R]`; None without such data.
          started: When it began, by `time.perf_counter`.
        """
        losses = kept[1].losses[:, epoch]
        if self._watcher is not None:
            names = self._names(batch)
            self._watcher.epoch_ended(names, epoch, losses, alphas, val)
        if self._checkpoints is not None:
            if self._watcher is not None:  # not told of again after a stop
                self._watcher.flush()
            self._checkpoints.save(batch.name, epoch + 1, kept)
        took = time.perf_counter() - started
        steps = int(cohorts.num_steps(batch.epochs[epoch]).max())
        self._progress.epoch_ended(steps, took)
        line = self._progress.line(epoch, losses, val, took, batch.first)
        stages.passing(self._report, line)

    def tested(self, batch: RunBatch, test: Metrics) -> None:
        """Tells of the metrics of test data, with shape `[R]`."""
        if self._watcher is not None:
            self._watcher.tested(self._names(batch), test)

    def _names(self, batch: RunBatch) -> list[RunName]:
        return [RunName(self._cohort.name_of(run), run.seed) for run in batch.runs]
