"""What people read while they wait: what trains, how far it is, and what is left."""

import contextlib
import math
import threading
import time
from collections.abc import Iterator, Sequence

import jax
import numpy as np

from alphanet_jax import sampling
from alphanet_jax.errors import count_of
from alphanet_jax.eval import Metrics
from alphanet_jax.experiment.cohorts import Part
from alphanet_jax.stages import Report, Stage, stage, wrap

__all__ = ["Progress", "Report", "describe_parts", "sometimes"]

# Seconds; the epoch after may take longer than anybody waits in silence.
_LONG_EPOCH = 0.5


class Progress:
    """The clock of a cohort: time by phase, and how many steps are left.

    Args:
      num_epochs: Epochs of each run.
      num_runs: Runs in all.

    Attributes:
      seconds: Time spent, by phase; that on compiling is part of other phases.
    """

    def __init__(self, *, num_epochs: int, num_runs: int) -> None:
        self.seconds: dict[str, float] = {}
        self._num_epochs, self._num_runs = num_epochs, num_runs
        self._clock = time.perf_counter()
        self._steps_left = self._timed_steps = self._epochs_seen = 0
        self._timed_seconds = 0.0
        self._last_epoch = math.inf

    def lap(self, phase: str) -> None:
        """Books the time since the last lap."""
        now = time.perf_counter()
        self.seconds[phase] = self.seconds.get(phase, 0.0) + now - self._clock
        self._clock = now

    def restart(self) -> None:
        """Leaves out the time since the last lap."""
        self._clock = time.perf_counter()

    @contextlib.contextmanager
    def compile_clock(self) -> Iterator[None]:
        """Books the time that this thread spends on compiling in the block."""
        self.seconds["compile"] = 0.0
        thread = threading.get_ident()

        def listen(event: str, duration_secs: float, **kwargs: str | int) -> None:
            del kwargs
            if (
                event.startswith("/jax/core/compile/")
                and threading.get_ident() == thread
            ):
                self.seconds["compile"] += duration_secs

        jax.monitoring.register_event_duration_secs_listener(listen)
        try:
            yield
        finally:
            jax.monitoring.unregister_event_duration_listener(listen)

    def waited(self, seconds: float) -> None:
        """Books time spent on waiting for other threads that compile."""
        self.seconds["compile"] += seconds

    def expect(self, steps: int) -> None:
        """Counts steps that are to be taken."""
        self._steps_left += steps

    def skip(self, steps: int) -> None:
        """Counts steps that were taken before."""
        self._steps_left -= steps

    def of_epoch(
        self, report: Report, epoch: int
    ) -> contextlib.AbstractContextManager[Stage | None]:
        """Makes a stage of an epoch, unless the last one was over in no time.

        Args:
          report: Takes lines of text.
          epoch: The epoch, counted from 0.
        """
        if not self._epochs_seen:
            return stage(report, "compiling, and the first epoch")
        if self._last_epoch < _LONG_EPOCH:
            return contextlib.nullcontext()
        # What came of it is said anyway.
        return stage(report, f"epoch {epoch + 1}/{self._num_epochs}", says_done=False)

    def epoch_ended(self, steps: int, seconds: float) -> None:
        """Counts the steps of an epoch and the time that they took."""
        self._steps_left -= steps
        self._last_epoch = seconds
        self._epochs_seen += 1
        if self._epochs_seen > 1:  # the first one tells nothing: it compiles
            self._timed_steps += steps
            self._timed_seconds += seconds

    def line(
        self,
        epoch: int,
        losses: np.ndarray,
        val: Metrics | None,
        seconds: float,
        first_run: int,
    ) -> str:
        """Describes an epoch of a batch of runs.

        Args:
          epoch: The epoch, counted from 0.
          losses: Loss of every step, with shape `[R, T]`; NaN where there was none.
          val: Metrics of validation data, with shape `[R]`.
          seconds: Time that the epoch took.
          first_run: Number of the first of its runs, counted from 0.
        """
        width = len(str(self._num_epochs))
        line = f"epoch {epoch + 1:{width}}/{self._num_epochs}"
        line += f"  loss {np.nanmean(losses):.4f}"
        if val is not None:
            few, medium, many = 100 * val.acc_per_split.mean(axis=0)
            line += (
                f"  val few {few:5.1f}  med. {medium:5.1f}  many {many:5.1f}"
                f"  overall {100 * val.accuracy.mean():5.1f}"
            )
        line += f"  {seconds:.2f} s"
        if len(losses) < self._num_runs:
            last = first_run + len(losses)
            which = f"run {last}" if last == first_run + 1 else (
                f"runs {first_run + 1}-{last}"
            )  # fmt: skip
            line = f"{which} of {self._num_runs}  {line}"
        left = self._timed_seconds * self._steps_left / max(self._timed_steps, 1)
        return f"{line}, {left:.0f} s left" if left >= 5 else line


def sometimes(report: Report, seconds: float) -> Report:
    """Leaves lines out that come sooner than so many seconds after the last."""
    last = -seconds

    def maybe(line: str) -> None:
        nonlocal last
        now = time.monotonic()
        if now - last >= seconds:
            last = now
            report(line)

    return wrap(report, maybe)


def describe_parts(parts: Sequence[Part], *, num_points: int) -> str:
    """Says in two lines what is about to be trained."""
    problem = parts[0].problem
    data, settings = problem.dataset, problem.settings
    counts = ", ".join(
        f"{len(classes)} {name}" for name, classes in data.splits.items()
    )
    val = len(data.val.labels) if data.val is not None else "no"
    first = (
        f"{data.proper_name}: {data.num_classes} classes ({counts}), "
        f"{data.weight.shape[1]} features; {len(data.train.labels)} training, {val} "
        f"validation, {len(data.test.labels)} test samples\n"
    )
    runs = sum(len(part.seeds) for part in parts)
    epochs = count_of(settings.train_epochs, "epoch")
    if num_points > 1:
        return f"{first}{num_points} points, {count_of(runs, 'run')} of {epochs}"
    sizes = " + ".join(_rows_drawn(sampler) for sampler in problem.samplers)
    return (
        f"{first}{count_of(runs, 'seed')}, {epochs} of {sizes} samples, "
        f"{count_of(settings.n_neighbors, 'neighbor')} ({settings.nn_dist}), "
        f"selection {settings.selection if data.val is not None else 'last'}"
    )


def _rows_drawn(sampler: sampling.Sampler) -> str:
    per_class = sampling.SAMPLERS[sampler.name].per == "classes"
    return f"{sampler.amount} classes'" if per_class else str(sampler.amount)
