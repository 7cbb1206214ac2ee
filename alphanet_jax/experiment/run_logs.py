"""What the TensorBoard logs of runs hold: curves and histograms, made into records.

What is alike in the logs of several runs is made for all of them together.

Notation: R runs, N epochs or steps, T batches of an epoch, F 'few' classes,
k neighbors, M metrics.
"""

import collections
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from alphanet_jax.eval import Metrics
from alphanet_jax.experiment import event_files
from alphanet_jax.splits import SPLITS

__all__ = [
    "OVER_SEEDS",
    "Epochs",
    "RunLog",
    "rows_of",
    "write_epochs",
    "write_losses",
    "write_test",
    "write_validation",
]

OVER_SEEDS = (("mean", np.mean), ("min", np.min), ("max", np.max))
_METRICS = ("accuracy", "top-5 accuracy", "f1")
_CURVES = (*SPLITS, "overall")
_LOSS, _TEST = "batch_loss", "test"

# Numbers by the tag and, where one has several curves, the name of the curve.
_Curves = Mapping[tuple[str, str], np.ndarray]


class Epochs(NamedTuple):
    """What came of epochs of some runs, the same ones for all of them."""

    epochs: np.ndarray  # shape=(N,), counted from 0
    times: np.ndarray  # shape=(N,)
    losses: np.ndarray  # shape=(R, N, T); NaN where a run had no step
    mean_alphas: np.ndarray  # shape=(R, N, k + 1)
    alphas: np.ndarray | None  # shape=(R, N, F, k + 1); None: only means are known
    val: np.ndarray | None  # shape=(R, N, M); see `rows_of`

    def part(self, place: int) -> "Epochs":
        """Returns one of the epochs."""
        which = slice(place, place + 1)
        return Epochs(
            self.epochs[which],
            self.times[which],
            self.losses[:, which],
            self.mean_alphas[:, which],
            None if self.alphas is None else self.alphas[:, which],
            None if self.val is None else self.val[:, which],
        )


class RunLog:
    """The logs of a run: a file and, with sub-runs, one for each of other curves.

    Args:
      directory: Where they are.
      mark: The end of their names.
      subruns: Whether curves of one chart are runs of their own.
    """

    def __init__(self, directory: Path, mark: str, *, subruns: bool) -> None:
        self.subruns = subruns
        self.steps = 0  # of which the losses are written
        self.content: dict[str, bytes] = collections.defaultdict(bytes)
        self._directory, self._mark = directory, mark
        self._paths: dict[str, Path] = {}

    def _old(self) -> list[Path]:
        return list(self._directory.rglob(f"events.out.tfevents.*.{self._mark}"))

    def begin(self) -> None:
        """Removes what an earlier start of the same run wrote."""
        for path in self._old():
            path.unlink()

    def go_on(self, done: Epochs) -> None:
        """Takes out all but what is of some epochs, the first ones, and adds the rest.

        What was to be logged may not be there: they may have been trained without logs.
        """
        steps, count = int((~np.isnan(done.losses)).sum()), len(done.epochs)

        def wanted(event: Any) -> bool:
            tag = event.summary.value[0].tag
            if tag == _LOSS:
                return bool(event.step <= steps)
            return event.step <= count and not tag.startswith(f"{_TEST}/")

        known: set[tuple[bool, int]] = set()
        for path in self._old():
            where = path.parent.relative_to(self._directory).as_posix()
            where = "" if where == "." else where
            left = event_files.keep(path, wanted)
            if left:
                self._paths[where] = path
            if not where:
                known = {(e.summary.value[0].tag == _LOSS, e.step) for e in left}
        for place, epoch in enumerate(done.epochs.tolist()):
            one = done.part(place)
            first, real = self.steps + 1, int((~np.isnan(one.losses)).sum())
            missing = [(True, first + step) not in known for step in range(real)]
            write_losses([self], one.losses, one.times, only=np.asarray(missing, bool))
            if (False, epoch + 1) not in known:
                _write_curves([self], one)
        self.end()

    def end(self) -> None:
        """Puts what was added into the files."""
        content, self.content = self.content, collections.defaultdict(bytes)
        for where, records in content.items():
            if where not in self._paths:
                path = event_files.name_file(self._directory / where, self._mark)
                self._paths[where] = path
                first = event_files.version_event()
                if not self.subruns:  # they share charts anyway
                    first += _layout()
                records = first + records
            event_files.append(self._paths[where], records)


def write_epochs(logs: Sequence[RunLog], epochs: Epochs) -> None:
    """Adds what there is of epochs to what the logs of R runs write."""
    write_losses(logs, epochs.losses, epochs.times)
    _write_curves(logs, epochs)


def write_losses(
    logs: Sequence[RunLog],
    losses: np.ndarray,
    times: np.ndarray,
    *,
    only: np.ndarray | None = None,
) -> None:
    """Adds the losses of the next steps.

    Args:
      logs: The logs of R runs.
      losses: Losses of N epochs, with shape `[R, N, T]`; NaN where there was no step.
      times: When the epochs were, with shape `[N]`.
      only: Which of the steps that there were are added; all by default.
    """
    runs, epochs, _ = real = np.nonzero(~np.isnan(losses))
    counts = np.bincount(runs, minlength=len(logs))
    begins = np.concatenate([[0], np.cumsum(counts)[:-1]])
    before = np.asarray([log.steps for log in logs])
    steps = before[runs] + 1 + np.arange(len(runs)) - begins[runs]
    for log, count in zip(logs, counts.tolist(), strict=True):
        log.steps += count
    chosen = slice(None) if only is None else only
    parts = event_files.scalar_values(_LOSS, losses[real][chosen])
    _add(logs, "", parts, times[epochs][chosen], steps[chosen], runs[chosen])


def _write_curves(logs: Sequence[RunLog], epochs: Epochs) -> None:
    """Adds what there is of every epoch but its losses."""
    curves = _of_places("mean", epochs.mean_alphas)
    if epochs.val is not None:
        curves |= _of_metrics("validation", epochs.val)
    if epochs.alphas is not None:
        curves |= _of_places("min", epochs.alphas.min(axis=2))
        curves |= _of_places("max", epochs.alphas.max(axis=2))
    _write(logs, curves, epochs.alphas, steps=epochs.epochs + 1, times=epochs.times)


def write_validation(
    logs: Sequence[RunLog], rows: np.ndarray, *, steps: np.ndarray, times: np.ndarray
) -> None:
    """Adds the metrics of validation data; `rows` has shape `[R, N, M]`."""
    _write(logs, _of_metrics("validation", rows), steps=steps, times=times)


def write_test(logs: Sequence[RunLog], rows: np.ndarray) -> None:
    """Adds the metrics of test data, which have no step; `rows` has shape `[R, M]`."""
    curves = _of_metrics(_TEST, rows[:, None])
    _write(logs, curves, steps=np.zeros(1, int), times=np.full(1, time.time()))


def _write(
    logs: Sequence[RunLog],
    curves: _Curves,
    alphas: np.ndarray | None = None,
    *,
    steps: np.ndarray,
    times: np.ndarray,
) -> None:
    """Adds numbers to what the logs of R runs write.

    Args:
      logs: The logs.
      curves: The numbers of every curve, with shape `[R, N]`.
      alphas: Coefficients for histograms, with shape `[R, N, F, k + 1]`.
      steps: Their steps, with shape `[N]`.
      times: When each was, with shape `[N]`.
    """
    subruns = logs[0].subruns
    runs = np.repeat(np.arange(len(logs)), len(steps))
    steps, times = np.tile(steps, len(logs)), np.tile(times, len(logs))
    # A run that fails has coefficients that no histogram can be made of.
    finite = np.ones((len(runs), 0), bool)
    if alphas is not None:
        alphas = alphas.reshape(-1, *alphas.shape[2:])
        finite = np.isfinite(alphas).all(axis=1)
    for pattern in np.unique(finite, axis=0):
        (rows,) = np.nonzero((finite == pattern).all(axis=1))
        parts: dict[str, list[bytes | np.ndarray]] = collections.defaultdict(list)
        for (tag, curve), values in curves.items():
            name = f"{tag}/{curve}" if curve else tag
            where = name if curve and subruns else ""
            shown = tag if where else name
            parts[where] += event_files.scalar_values(shown, values.ravel()[rows])
        for place in np.flatnonzero(pattern):
            assert alphas is not None
            tag = f"alphas/alpha_{place}_hist"
            parts[""] += event_files.histogram_values(tag, alphas[rows, :, place])
        for where, some in parts.items():
            _add(logs, where, some, times[rows], steps[rows], runs[rows])


def _add(
    logs: Sequence[RunLog],
    where: str,
    parts: event_files.Parts,
    times: np.ndarray,
    steps: np.ndarray,
    runs: np.ndarray,
) -> None:
    """Adds records to what the logs write to one of their files each."""
    if not len(steps):
        return
    records = event_files.events_of_files(
        parts, times, steps, files=runs, num_files=len(logs)
    )
    for log, of_log in zip(logs, records, strict=True):
        log.content[where] += of_log


def rows_of(metrics: Metrics) -> np.ndarray:
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
    """Names the columns of `rows_of`, which has shape `[R, N, M]`."""
    names = [(f"{group}/{name}", "") for name in _METRICS]
    names += [(f"{group}/per_split_acc", curve) for curve in _CURVES]
    return dict(zip(names, np.moveaxis(rows, -1, 0), strict=True))


def _of_places(kind: str, values: np.ndarray) -> dict[tuple[str, str], np.ndarray]:
    columns = np.moveaxis(values, -1, 0)
    return {(f"alphas/{kind}", str(place)): each for place, each in enumerate(columns)}


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
        for kind, _ in OVER_SEEDS
    }
    made = summary.custom_scalars({"accuracy": accuracies, "coefficients": alphas})
    return event_files.summary_event(made.SerializeToString())
