"""TensorBoard logs of training, with the tags of the original program.

    LOGS/[point/]seed_<s>/           one run for each seed:
      batch_loss                     loss of every step, by step
      alphas/alpha_<i>_hist          coefficients of the few classes, by epoch
      alphas/mean|min|max/<i>        over few classes, by epoch
      validation/accuracy|top-5 accuracy|f1                               by epoch
      validation/per_split_acc/few|medium|many|overall                    by epoch
      test/...                       the same once, after training
    LOGS/[point/]mean, min, max/     batch_loss, validation and test over all seeds

The splits of a group are one chart of TensorBoard's custom scalars, as coefficients
are. With sub-runs, as the original has them, each of those curves is a run of its own:
`seed_<s>/validation/per_split_acc/few` with the tag `validation/per_split_acc`.

What comes of epochs is kept for a moment and written together, before any checkpoint
that has them. A run has one file, to which whole records are added: killed at any time,
it can be read. A run that goes on, or begins again, takes out what it will write anew.
"""

import hashlib
import itertools
import json
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from alphanet_jax.config import compare
from alphanet_jax.errors import UserError
from alphanet_jax.eval import Metrics
from alphanet_jax.experiment import event_files
from alphanet_jax.experiment.hooks import RunName
from alphanet_jax.experiment.outcome import Outcome
from alphanet_jax.experiment.run_logs import (
    OVER_SEEDS,
    Epochs,
    RunLog,
    rows_of,
    write_epochs,
    write_losses,
    write_test,
    write_validation,
)

__all__ = ["TensorBoardLogs", "bytes_of_run", "check_free", "mark_of"]

_WRITE_EVERY = 1.0  # seconds
_MOST_KEPT = 2**25  # bytes of coefficients that wait to be written


def mark_of(config: Mapping[str, Any], file_hashes: Iterable[str]) -> str:
    """Names what a run's logs are of: its setting, whatever its seeds, and its data."""
    text = compare.setting_key(config) + json.dumps(sorted(file_hashes))
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def check_free(
    directory: Path, points: Iterable[tuple[str, Sequence[int], str]]
) -> None:
    """Checks that no run would be mixed with another.

    Args:
      directory: Where logs go.
      points: The directory below that, the seeds and the mark of every point.

    Raises:
      UserError: If there are logs of something else where a run's are to be.
    """
    for below, seeds, mark in points:
        names = [
            *(f"seed_{seed}" for seed in seeds),
            *(name for name, _ in OVER_SEEDS),
        ]
        for name in names:
            run = directory / below / name
            for path in event_files.find(run):
                if path.suffix != f".{mark}":
                    raise UserError(
                        f"--tb_logs: {run} has logs of other settings or data "
                        f"({path.name}); choose another directory, or remove that"
                    )


def bytes_of_run(*, num_epochs: int, num_steps: int, places: int, few: int) -> int:
    """Returns how much the logs of a run take at most, without sub-runs."""
    scalar, buckets = 64, event_files.num_buckets(few)
    by_epoch = places * (3 * scalar + 128 + 16 * buckets) + 8 * scalar
    return 2**12 + num_epochs * (num_steps * scalar + by_epoch)


class _Waiting(NamedTuple):
    """An epoch of a batch of runs that is to be written."""

    logs: tuple[RunLog, ...]
    epoch: int
    time: float
    losses: np.ndarray  # shape=(R, T)
    alphas: np.ndarray  # shape=(R, F, k + 1)
    val: np.ndarray | None  # shape=(R, M)


class TensorBoardLogs:
    """Writes logs; a `Watcher` of `loop.run_parts`.

    Args:
      directory: Where to write.
      directories: For every point, by its name, the directory below that; other points
        are not logged.
      marks: For every point the end of its files' names; see `mark_of`.
      subruns: Whether curves of one chart are runs of their own.
    """

    def __init__(
        self,
        directory: Path,
        directories: Mapping[str, str],
        *,
        marks: Mapping[str, str] | None = None,
        subruns: bool = False,
    ) -> None:
        self._directory, self._directories = directory, directories
        self._marks, self._subruns = marks or {}, subruns
        self._runs: dict[RunName, RunLog] = {}
        self._waiting: list[_Waiting] = []
        self._kept, self._written = 0, time.monotonic()

    def _open(self, point: str, name: str) -> RunLog:
        return RunLog(
            self._directory / self._directories[point] / name,
            self._marks.get(point, "alphanet"),
            subruns=self._subruns,
        )

    def _logged(self, runs: Sequence[RunName]) -> tuple[list[int], tuple[RunLog, ...]]:
        """Returns the places of runs that are logged, and their logs."""
        places = [i for i, run in enumerate(runs) if run.point in self._directories]
        for run in (runs[place] for place in places):
            if run not in self._runs:
                log = self._runs[run] = self._open(run.point, f"seed_{run.seed}")
                log.begin()
        return places, tuple(self._runs[runs[place]] for place in places)

    def resumed(
        self,
        runs: Sequence[RunName],
        losses: np.ndarray,
        mean_alphas: np.ndarray,
        val: Metrics | None,
    ) -> None:
        """Goes on after some epochs; see `hooks.Watcher`."""
        rows = None if val is None else rows_of(val)
        now = time.time()
        for index, run in enumerate(runs):
            if run.point not in self._directories:
                continue
            log = self._runs[run] = self._open(run.point, f"seed_{run.seed}")
            count = losses.shape[1]
            log.go_on(
                Epochs(
                    np.arange(count),
                    np.full(count, now),
                    losses[index : index + 1],
                    mean_alphas[index : index + 1],
                    None,
                    None if rows is None else rows[index : index + 1],
                )
            )

    def epoch_ended(
        self,
        runs: Sequence[RunName],
        epoch: int,
        losses: np.ndarray,
        alphas: np.ndarray,
        val: Metrics | None,
    ) -> None:
        """Takes what came of an epoch; see `hooks.Watcher`."""
        places, logs = self._logged(runs)
        if places:
            rows = None if val is None else rows_of(val)[places]
            self._waiting.append(
                _Waiting(
                    *(logs, epoch, time.time(), losses[places], alphas[places], rows)
                )
            )
            self._kept += alphas.nbytes
        if self._kept > _MOST_KEPT or time.monotonic() - self._written > _WRITE_EVERY:
            self.flush()

    def flush(self) -> None:
        """Writes what waits; see `hooks.Watcher`."""
        waiting, self._waiting = self._waiting, []

        def batch(each: _Waiting) -> tuple[object, ...]:
            return each.logs, each.losses.shape, each.val is None

        for (logs, _, no_val), some in itertools.groupby(waiting, batch):
            epochs, times, losses, alphas, val = zip(
                *(each[1:] for each in some), strict=True
            )
            every = np.stack(alphas, axis=1)
            assert isinstance(logs, tuple)
            write_epochs(
                logs,
                Epochs(
                    np.asarray(epochs),
                    np.asarray(times),
                    np.stack(losses, axis=1),
                    every.mean(axis=2),
                    every,
                    None if no_val else np.stack(val, axis=1),
                ),
            )
            for log in logs:
                log.end()
        self._kept, self._written = 0, time.monotonic()

    def tested(self, runs: Sequence[RunName], test: Metrics) -> None:
        """Takes the final metrics of runs; see `hooks.Watcher`."""
        self.flush()
        places, logs = self._logged(runs)
        if places:
            write_test(logs, rows_of(test)[places])
        for log in logs:
            log.end()

    def point_ended(self, name: str, outcome: Outcome) -> None:
        """Writes the mean, the least and the most over the seeds of a point."""
        logs = [self._open(name, kind) for kind, _ in OVER_SEEDS]
        for log in logs:
            log.begin()

        def reduced(values: np.ndarray) -> np.ndarray:
            """Reduces the first axis in every way."""
            return np.stack([reduce(values, axis=0) for _, reduce in OVER_SEEDS])

        now = time.time()
        width = max((some.shape[1] for some in outcome.step_loss), default=0)
        losses = np.full((len(outcome.seeds), len(outcome.step_loss), width), np.nan)
        for epoch, some in enumerate(outcome.step_loss):
            losses[:, epoch, : some.shape[1]] = some
        # Runs may have different numbers of steps: NaN is what not all of them have.
        write_losses(logs, reduced(losses), np.full(losses.shape[1], now))
        rows = reduced(rows_of(outcome.val))
        (epochs,) = np.nonzero(~np.isnan(rows[0, :, 0]))
        if len(epochs):
            times = np.full(len(epochs), now)
            write_validation(logs, rows[:, epochs], steps=epochs + 1, times=times)
        write_test(logs, reduced(rows_of(outcome.test)))
        for log in logs:
            log.end()

    def close(self) -> None:
        """Writes what waits, for the last time."""
        self.flush()
