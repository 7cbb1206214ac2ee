"""What methods say that take minutes: how long it will be, and how much is left.

Notation: n samples, d feature dimensions, C classes.
"""

import math
import time
from collections.abc import Callable, Mapping
from typing import Any

from alphanet_jax import posthoc
from alphanet_jax.errors import count_of
from alphanet_jax.experiment.progress import Report, sometimes
from alphanet_jax.posthoc import Method

__all__ = ["Announced", "duration", "seconds_of_a_pass"]

Clock = Callable[[], float]

_LEAST = 10.0  # seconds; what takes less is not announced
_MANY = 3600.0  # seconds; where it takes more, a way out is named
_EVERY = 3.0  # seconds between lines
_WAY_OUT = (
    "; fewer samples of the large classes take less: most_per_class=100, "
    "--most_per_class=100"
)


def duration(seconds: float) -> str:
    """Writes how long something takes, as one says it.

    Examples:
      >>> duration(8.2), duration(100), duration(1500), duration(40_000)
      ('9 seconds', '2 minutes', '25 minutes', '11.1 hours')
    """
    if seconds < 60:
        return count_of(max(1, math.ceil(seconds)), "second")
    if seconds < 3600:
        return count_of(round(seconds / 60), "minute")
    return f"{seconds / 3600:.1f} hours"


def seconds_of_a_pass(
    inputs: Mapping[str, Any], *, clock: Clock = time.monotonic
) -> float:
    """Measures what a pass of a head over the samples takes here, on a piece of them.

    Args:
      inputs: What methods may need; see `posthoc.make_inputs`.
      clock: Tells the time in seconds.
    """

    def one() -> int:
        return posthoc.try_piece(
            inputs["features"],
            inputs["labels"],
            num_classes=inputs["num_classes"],
            most_per_class=inputs.get("most_per_class"),
        )

    one()  # compiles
    begin = clock()
    pieces = one()
    return pieces * (clock() - begin)


class Announced:
    """Says before heads are fitted how long that takes, and then what is left.

    Methods that fit no heads, and those that take seconds, say nothing.

    Args:
      method: The method.
      report: Takes lines of text.
      num_choices: How many of its choices are tried; None for all.
      rounds: How often it is done, such as in folds.
      clock: Tells the time in seconds.
    """

    def __init__(
        self,
        method: Method,
        report: Report,
        *,
        num_choices: int | None = None,
        rounds: int = 1,
        clock: Clock = time.monotonic,
    ) -> None:
        self._method, self._report, self._clock = method, report, clock
        self._num_choices, self._rounds, self._heads = num_choices, rounds, 0
        self._say = sometimes(report, _EVERY)
        self._begin, self._begun, self._before, self._passes = clock(), 0, 0, 0
        self._is_long = False

    def begin(self, inputs: Mapping[str, Any]) -> None:
        """Says how long it will take, by the time of a pass over a piece."""
        self._heads = self._rounds * posthoc.num_heads(
            self._method, inputs, num_choices=self._num_choices
        )
        if not self._heads:
            return
        passes = self._heads * posthoc.USUAL_PASSES
        seconds = passes * seconds_of_a_pass(inputs, clock=self._clock)
        self._begin = self._clock()
        self._is_long = seconds >= _LEAST
        if self._is_long:
            given = inputs.get("most_per_class")
            hint = _WAY_OUT if seconds > _MANY and given is None else ""
            self._report(
                f"{self._method.name}: {count_of(self._heads, 'head')} of some "
                f"{posthoc.USUAL_PASSES} passes over the samples, about "
                f"{duration(seconds)} on this machine{hint}"
            )

    def on_step(self, step: Any) -> None:
        """Takes every step of a head, and says now and then what is left."""
        if step.iteration == 0:  # another head
            self._before += self._passes
            self._begun += 1
        self._passes = step.evaluations
        done = self._before + self._passes
        elapsed = self._clock() - self._begin
        if not self._is_long and elapsed < _LEAST:
            return
        left = (self._heads_left() + self._rest()) * elapsed / max(done, 1)
        self._say(
            f"{self._method.name}: head {self._begun} of "
            f"{max(self._heads, self._begun)}, pass {self._passes}, about "
            f"{duration(left)} left"
        )

    def _usual(self) -> float:
        """Returns how many passes a head takes, by those that are done."""
        finished = self._begun - 1
        return self._before / finished if finished else posthoc.USUAL_PASSES

    def _heads_left(self) -> float:
        return max(0, self._heads - self._begun) * self._usual()

    def _rest(self) -> float:
        return max(self._usual() - self._passes, 1.0)
