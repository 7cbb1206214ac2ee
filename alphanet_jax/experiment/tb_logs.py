"""TensorBoard logs of training, with the tags of the original program.

    LOGS/[point/]seed_<s>/           one run for each seed:
      batch_loss                     loss of every step, by step
      alphas/alpha_<i>_hist          coefficients of the few classes, by epoch
      alphas/mean|min|max            over few classes, one line for each i, by epoch
      validation/accuracy|top-5_accuracy|f1, validation/per_split_acc     by epoch
      test/...                       the same once, after training
    LOGS/[point/]mean, min, max/     batch_loss, validation and test over all seeds

What a compiled epoch returns is written after it: logging slows no step down.
"""

import collections
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from alphanet_jax.eval import Metrics
from alphanet_jax.experiment.hooks import RunName
from alphanet_jax.experiment.outcome import Outcome
from alphanet_jax.splits import SPLITS

__all__ = ["TensorBoardLogs"]

# Every run has some thirty files open while it trains; with more runs than this at a
# time, each is written in one go at its end.
_MOST_OPEN = 16

_Event = Callable[[Any], None]  # what is done with a writer


class TensorBoardLogs:
    """Writes logs; a `Watcher` of `loop.run_parts`.

    Args:
      directory: Where to write.
      directories: For every point, by its name, the directory below that.
    """

    def __init__(self, directory: Path, directories: dict[str, str]) -> None:
        self._directory, self._directories = directory, directories
        self._writers: dict[RunName, Any] = {}
        self._waiting: dict[RunName, list[_Event]] = collections.defaultdict(list)
        self._steps: dict[RunName, int] = collections.Counter()

    def _open(self, name: str, run: str) -> Any:
        # Imported here: it takes a while, and most runs write no logs.
        from tensorboardX import SummaryWriter

        path = self._directory / self._directories[name] / run
        return SummaryWriter(str(path), write_to_disk=True)

    def skip_steps(self, runs: Sequence[RunName], steps: Sequence[int]) -> None:
        """Counts steps that were logged before training was stopped."""
        for run, count in zip(runs, steps, strict=True):
            self._steps[run] += int(count)

    def epoch_ended(
        self,
        runs: Sequence[RunName],
        epoch: int,
        losses: np.ndarray,
        alphas: np.ndarray,
        val: Metrics | None,
    ) -> None:
        """Takes what came of an epoch; see `hooks.Watcher`."""
        for index, run in enumerate(runs):
            events = self._waiting[run]
            real = losses[index][~np.isnan(losses[index])]
            first = self._steps[run]
            self._steps[run] += len(real)
            events += _losses(real, first)
            events += _alphas(alphas[index], epoch)
            if val is not None:
                events += _metrics("validation", val, index, epoch + 1)
            if len(runs) <= _MOST_OPEN:
                self._write(run, keep_open=True)

    def tested(self, runs: Sequence[RunName], test: Metrics) -> None:
        """Takes the final metrics of runs; see `hooks.Watcher`."""
        for index, run in enumerate(runs):
            self._waiting[run] += _metrics("test", test, index, None)
            self._write(run, keep_open=False)

    def _write(self, run: RunName, *, keep_open: bool) -> None:
        name, seed = run
        if run not in self._writers:
            self._writers[run] = self._open(name, f"seed_{seed}")
        writer = self._writers[run]
        for event in self._waiting.pop(run, ()):
            event(writer)
        writer.flush()
        if not keep_open:
            self._writers.pop(run).close()

    def point_ended(self, name: str, outcome: Outcome) -> None:
        """Writes the mean, the least and the most over the seeds of a point."""
        for kind, reduce in (("mean", np.mean), ("min", np.min), ("max", np.max)):
            writer = self._open(name, kind)
            step = 0
            for losses in outcome.step_loss:
                # Runs may have different numbers of steps; over those that all have.
                whole = losses[:, ~np.isnan(losses).any(axis=0)]
                for event in _losses(reduce(whole, axis=0), step):
                    event(writer)
                step += whole.shape[1]
            num_epochs = outcome.val.accuracy.shape[1]
            for epoch in range(num_epochs):
                val = _over_seeds(Metrics(*(m[:, epoch] for m in outcome.val)), reduce)
                if not np.isnan(val.accuracy).any():
                    for event in _metrics("validation", val, 0, epoch + 1):
                        event(writer)
            for event in _metrics("test", _over_seeds(outcome.test, reduce), 0, None):
                event(writer)
            writer.close()

    def close(self) -> None:
        """Closes what is open."""
        for run in list(self._writers):
            self._write(run, keep_open=False)


def _over_seeds(metrics: Metrics, reduce: Callable[..., np.ndarray]) -> Metrics:
    return Metrics(*(reduce(part, axis=0)[None] for part in metrics))


def _losses(losses: np.ndarray, first: int) -> list[_Event]:
    def write(writer: Any) -> None:
        for step, loss in enumerate(losses, start=first + 1):
            writer.add_scalar("batch_loss", float(loss), step)

    return [write]


def _alphas(alphas: np.ndarray, epoch: int) -> list[_Event]:
    def write(writer: Any) -> None:
        for place, column in enumerate(alphas.T):
            if np.isfinite(column).all():  # else the run has failed
                writer.add_histogram(f"alphas/alpha_{place}_hist", column, epoch + 1)
        for name, values in (
            ("mean", alphas.mean(axis=0)),
            ("min", alphas.min(axis=0)),
            ("max", alphas.max(axis=0)),
        ):
            by_place = {str(place): float(v) for place, v in enumerate(values)}
            writer.add_scalars(f"alphas/{name}", by_place, epoch + 1)

    return [write]


def _metrics(
    group: str, metrics: Metrics, index: int, epoch: int | None
) -> list[_Event]:
    def write(writer: Any) -> None:
        accuracy = float(metrics.accuracy[index])
        for name, value in (
            ("accuracy", accuracy),
            ("top-5 accuracy", float(metrics.top5[index])),
            ("f1", float(metrics.f1[index])),
        ):
            writer.add_scalar(f"{group}/{name}", value, epoch)
        by_split = dict(
            zip(SPLITS, map(float, metrics.acc_per_split[index]), strict=True)
        )
        writer.add_scalars(
            f"{group}/per_split_acc", by_split | {"overall": accuracy}, epoch
        )

    return [write]
