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

import collections
import hashlib
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
from alphanet_jax.splits import SPLITS

__all__ = ["TensorBoardLogs", "bytes_of_run", "check_free", "mark_of"]

_WRITE_EVERY = 1.0  # seconds
_MOST_KEPT = 2**25  # bytes of coefficients that wait to be written
_OVER_SEEDS = (("mean", np.mean), ("min", np.min), ("max", np.max))
_METRICS = ("accuracy", "top-5 accuracy", "f1")
_CURVES = (*SPLITS, "overall")
_LOSS, _TEST = "batch_loss", "test"

# Numbers by the tag and, where one has several curves, the name of the curve.
_Curves = Mapping[tuple[str, str], np.ndarray]


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
            *(name for name, _ in _OVER_SEEDS),
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


class _Epoch(NamedTuple):
    """What came of an epoch of a run."""

    epoch: int  # counted from 0
    time: float
    losses: np.ndarray  # shape=(T,), of the steps that there were
    alphas: np.ndarray | None  # shape=(F, k + 1); None where only means are known
    mean_alphas: np.ndarray  # shape=(k + 1,)
    val: np.ndarray | None  # shape=(M,); see `_rows`


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
        self._runs: dict[RunName, _RunLog] = {}
        self._kept, self._written = 0, time.monotonic()

    def _open(self, point: str, name: str) -> "_RunLog":
        return _RunLog(
            self._directory / self._directories[point] / name,
            self._marks.get(point, "alphanet"),
            subruns=self._subruns,
        )

    def _logged(self, runs: Sequence[RunName]) -> "list[tuple[int, _RunLog]]":
        """Returns the places of runs that are logged, and their logs."""
        found = []
        for index, run in enumerate(runs):
            if run.point in self._directories:
                if run not in self._runs:
                    log = self._runs[run] = self._open(run.point, f"seed_{run.seed}")
                    log.begin()
                found.append((index, self._runs[run]))
        return found

    def resumed(
        self,
        runs: Sequence[RunName],
        losses: np.ndarray,
        mean_alphas: np.ndarray,
        val: Metrics | None,
    ) -> None:
        """Goes on after some epochs; see `hooks.Watcher`."""
        rows = None if val is None else _rows(val)
        now = time.time()
        for index, run in enumerate(runs):
            if run.point not in self._directories:
                continue
            log = self._runs[run] = self._open(run.point, f"seed_{run.seed}")
            log.go_on(
                _Epoch(
                    epoch,
                    now,
                    _real(losses[index, epoch]),
                    None,
                    mean_alphas[index, epoch],
                    None if rows is None else rows[index, epoch],
                )
                for epoch in range(losses.shape[1])
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
        rows = None if val is None else _rows(val)
        means, now = alphas.mean(axis=1), time.time()
        for index, log in self._logged(runs):
            log.waiting.append(
                _Epoch(
                    epoch,
                    now,
                    _real(losses[index]),
                    alphas[index],
                    means[index],
                    None if rows is None else rows[index],
                )
            )
        self._kept += alphas.nbytes
        if self._kept > _MOST_KEPT or time.monotonic() - self._written > _WRITE_EVERY:
            self.flush()

    def flush(self) -> None:
        """Writes what waits; see `hooks.Watcher`."""
        for log in self._runs.values():
            log.flush()
        self._kept, self._written = 0, time.monotonic()

    def tested(self, runs: Sequence[RunName], test: Metrics) -> None:
        """Takes the final metrics of runs; see `hooks.Watcher`."""
        rows = _rows(test)
        for index, log in self._logged(runs):
            log.flush()
            log.write_test(rows[index])

    def point_ended(self, name: str, outcome: Outcome) -> None:
        """Writes the mean, the least and the most over the seeds of a point."""
        val, test = _rows(outcome.val), _rows(outcome.test)
        for kind, reduce in _OVER_SEEDS:
            log = self._open(name, kind)
            log.begin()
            losses = [
                # Runs may have different numbers of steps; over those that all have.
                reduce(losses[:, ~np.isnan(losses).any(axis=0)], axis=0)
                for losses in outcome.step_loss
            ]
            log.write_losses(losses, np.full(len(losses), time.time()))
            rows = reduce(val, axis=0)
            (epochs,) = np.nonzero(~np.isnan(rows[:, 0]))
            if len(epochs):
                log.write(_of_metrics("validation", rows[epochs]), steps=epochs + 1)
            log.write_test(reduce(test, axis=0))
            log.end()

    def close(self) -> None:
        """Writes what waits, for the last time."""
        self.flush()


class _RunLog:
    """The logs of a run: a file and, with sub-runs, one for each of other curves.

    Args:
      directory: Where they are.
      mark: The end of their names.
      subruns: Whether curves of one chart are runs of their own.
    """

    def __init__(self, directory: Path, mark: str, *, subruns: bool) -> None:
        self.waiting: list[_Epoch] = []
        self._directory, self._mark, self._subruns = directory, mark, subruns
        self._paths: dict[str, Path] = {}
        self._content: dict[str, bytes] = collections.defaultdict(bytes)
        self._steps = 0

    def _old(self) -> list[Path]:
        return list(self._directory.rglob(f"events.out.tfevents.*.{self._mark}"))

    def begin(self) -> None:
        """Removes what an earlier start of the same run wrote."""
        for path in self._old():
            path.unlink()

    def go_on(self, done: Iterable[_Epoch]) -> None:
        """Takes out all but what is of some epochs, the first ones, and adds the rest.

        What was to be logged may not be there: they may have been trained without logs.
        """
        epochs = {epoch.epoch + 1: epoch for epoch in done}
        steps = sum(len(epoch.losses) for epoch in epochs.values())

        def wanted(event: Any) -> bool:
            tag = event.summary.value[0].tag
            if tag == _LOSS:
                return bool(event.step <= steps)
            return event.step <= len(epochs) and not tag.startswith(f"{_TEST}/")

        known: set[tuple[bool, int]] = set()
        for path in self._old():
            where = path.parent.relative_to(self._directory).as_posix()
            where = "" if where == "." else where
            left = event_files.keep(path, wanted)
            if left:
                self._paths[where] = path
            if not where:
                known = {(e.summary.value[0].tag == _LOSS, e.step) for e in left}
        for number, epoch in epochs.items():
            first = self._steps + 1
            missing = [
                (True, first + place) not in known for place in range(len(epoch.losses))
            ]
            self.write_losses([epoch.losses], np.full(1, epoch.time), only=missing)
            if (False, number) not in known:
                self._write_epochs([epoch])
        self.end()

    def flush(self) -> None:
        """Writes the epochs that wait."""
        if self.waiting:
            epochs, self.waiting = self.waiting, []
            times = np.asarray([epoch.time for epoch in epochs])
            self.write_losses([epoch.losses for epoch in epochs], times)
            self._write_epochs(epochs)
            self.end()

    def write_losses(
        self,
        losses: Sequence[np.ndarray],
        times: np.ndarray,
        *,
        only: Sequence[bool] | None = None,
    ) -> None:
        """Writes the losses of the next steps, those of an epoch in each array."""
        values = np.concatenate(losses) if losses else np.empty(0)
        when = np.repeat(times, [len(some) for some in losses])
        steps = self._steps + 1 + np.arange(len(values))
        self._steps += len(values)
        chosen = np.ones(len(values), bool) if only is None else np.asarray(only, bool)
        curves = {(_LOSS, ""): values[chosen]}
        self.write(curves, steps=steps[chosen], times=when[chosen])

    def write_test(self, row: np.ndarray) -> None:
        """Writes the metrics of test data, which have no step."""
        self.write(_of_metrics(_TEST, row[None]), steps=np.zeros(1, int))
        self.end()

    def _write_epochs(self, epochs: Sequence[_Epoch]) -> None:
        """Writes what there is of each epoch, the same for all of them."""
        curves = _of_places("mean", np.stack([epoch.mean_alphas for epoch in epochs]))
        rows = [epoch.val for epoch in epochs if epoch.val is not None]
        if rows:
            curves |= _of_metrics("validation", np.stack(rows))
        given = [epoch.alphas for epoch in epochs if epoch.alphas is not None]
        alphas = np.stack(given) if given else None  # shape=(E, F, k + 1)
        if alphas is not None:
            curves |= _of_places("min", alphas.min(axis=1))
            curves |= _of_places("max", alphas.max(axis=1))
        steps = np.asarray([epoch.epoch + 1 for epoch in epochs])
        times = np.asarray([epoch.time for epoch in epochs])
        self.write(curves, alphas, steps=steps, times=times)

    def write(
        self,
        curves: _Curves,
        alphas: np.ndarray | None = None,
        *,
        steps: np.ndarray,
        times: np.ndarray | None = None,
    ) -> None:
        """Adds numbers to what `end` writes.

        Args:
          curves: The numbers of every curve, with shape `[N]`.
          alphas: Coefficients for histograms, with shape `[N, F, k + 1]`.
          steps: Their steps, with shape `[N]`.
          times: When each was; now by default.
        """
        if times is None:
            times = np.full(len(steps), time.time())
        # A run that fails has coefficients that no histogram can be made of.
        finite = np.ones((len(steps), 0), bool)
        if alphas is not None:
            finite = np.isfinite(alphas).all(axis=1)
        for pattern in np.unique(finite, axis=0):
            (rows,) = np.nonzero((finite == pattern).all(axis=1))
            parts: dict[str, list[bytes | np.ndarray]] = collections.defaultdict(list)
            for (tag, curve), values in curves.items():
                name = f"{tag}/{curve}" if curve else tag
                where = name if curve and self._subruns else ""
                shown = tag if where else name
                parts[where] += event_files.scalar_values(shown, values[rows])
            for place in np.flatnonzero(pattern):
                assert alphas is not None
                tag = f"alphas/alpha_{place}_hist"
                column = alphas[rows, :, place]
                parts[""] += event_files.histogram_values(tag, column)
            for where, some in parts.items():
                self._content[where] += event_files.events(
                    some, times[rows], steps[rows]
                )

    def end(self) -> None:
        """Puts what was added into the files."""
        content, self._content = self._content, collections.defaultdict(bytes)
        for where, records in content.items():
            if where not in self._paths:
                path = event_files.name_file(self._directory / where, self._mark)
                self._paths[where] = path
                first = event_files.version_event()
                if not self._subruns:  # they share charts anyway
                    first += _layout()
                records = first + records
            event_files.append(self._paths[where], records)


def _real(losses: np.ndarray) -> np.ndarray:
    real: np.ndarray = losses[~np.isnan(losses)]
    return real


def _rows(metrics: Metrics) -> np.ndarray:
    """Stacks the metrics that are logged along a last axis."""
    accuracy = np.asarray(metrics.accuracy)[..., None]
    parts = (
        accuracy,
        np.asarray(metrics.top5)[..., None],
        np.asarray(metrics.f1)[..., None],
        np.asarray(metrics.acc_per_split),
        accuracy,
    )
    return np.concatenate(parts, axis=-1)


def _of_metrics(group: str, rows: np.ndarray) -> dict[tuple[str, str], np.ndarray]:
    """Names the columns of `_rows`."""
    names = [(f"{group}/{name}", "") for name in _METRICS]
    names += [(f"{group}/per_split_acc", curve) for curve in _CURVES]
    return dict(zip(names, rows.T, strict=True))


def _of_places(kind: str, values: np.ndarray) -> dict[tuple[str, str], np.ndarray]:
    return {
        (f"alphas/{kind}", str(place)): column for place, column in enumerate(values.T)
    }


def _layout() -> bytes:
    """Makes the record that puts curves of one kind into one chart each."""
    # Imported here: it takes a while, and most runs write no logs.
    from tensorboardX import summary

    def chart(tag: str, curves: Iterable[str]) -> list[Any]:
        return ["Multiline", [f"{tag}/{curve}$" for curve in curves]]

    accuracies = {
        f"{group}: few, medium, many": chart(f"{group}/per_split_acc", _CURVES)
        for group in ("validation", _TEST)
    }
    alphas = {
        f"{kind} over few classes": chart(f"alphas/{kind}", [r"\d+"])
        for kind, _ in _OVER_SEEDS
    }
    made = summary.custom_scalars({"accuracy": accuracies, "coefficients": alphas})
    return event_files.summary_event(made.SerializeToString())
