"""Choosing a correction by what is needed: targets, judged with their uncertainty.

A target is a bound on an accuracy, `few >= 45`, or on its change from the unchanged
classifier, `overall >= -1`. It holds for sure where the lower bound of its estimate on
validation samples does. That is of one point; the best of many points that seem to hold
is taken, so that on other samples targets hold somewhat less often than stated.

Notation: n samples, C classes, K points of a method.
"""

import dataclasses
import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np

from alphanet_jax import measures
from alphanet_jax.comparison.judging import Samples
from alphanet_jax.errors import UserError, count_of, did_you_mean
from alphanet_jax.results.accuracy import PARTS

__all__ = ["LEVEL", "Choice", "Points", "Target", "choose", "parse_target"]

LEVEL = 0.95  # of bounds and intervals
_ONE_SIDED, _TWO_SIDED = 1.6449, 1.96  # normal quantiles of the level
HARMONIC = "harmonic"
_NAMES = (*PARTS, HARMONIC)
_TARGET = re.compile(
    r"\s*([A-Za-z_]+)\s*(>=|=>|>|<=|=<|<|==?)\s*([+-]?)\s*(\S+?)\s*%?\s*"
)
_EXAMPLE = 'such as "overall >= -1", "few >= +5" or "few >= 45"'


class Points(Protocol):
    """A method over its knob, on validation samples."""

    @property
    def name(self) -> str:
        """Name of the method."""

    @property
    def knob_name(self) -> str:
        """What its knob is; empty for none."""

    @property
    def knobs(self) -> np.ndarray:
        """Values of the knob, with shape `[K]`."""

    @property
    def choices(self) -> Sequence[Mapping[str, Any]]:
        """Further options of every point."""

    @property
    def val(self) -> np.ndarray:
        """Accuracies of few, medium, many and all, with shape `[K, 4]`."""

    @property
    def val_correct(self) -> np.ndarray:
        """Which samples are right, or how often over runs, with shape `[K, n]`."""


class Target(NamedTuple):
    """A bound that a correction must keep.

    Attributes:
      part: What is bounded: an accuracy of `PARTS`, or their harmonic mean.
      bound: Least value, a fraction.
      is_change: Whether of the change from the unchanged classifier.
    """

    part: str
    bound: float
    is_change: bool

    def __str__(self) -> str:
        value = f"{100 * self.bound:{'+' if self.is_change else ''}g}"
        return f"{self.part} >= {value}"


def parse_target(text: str) -> Target:
    """Reads a target.

    Args:
      text: A name, `>=` and a number: with a sign, points against the unchanged
        classifier; without, percent.

    Returns:
      The target.

    Raises:
      UserError: If it is none.

    Examples:
      >>> parse_target("overall >= -1")
      Target(part='overall', bound=-0.01, is_change=True)
      >>> str(parse_target("few>=45"))
      'few >= 45'
    """
    found = _TARGET.fullmatch(text)
    if found is None:
        raise UserError(f"target {text!r} must be a name, >= and a number, {_EXAMPLE}")
    part, relation, sign, number = found.groups()
    if part not in _NAMES:
        raise UserError(
            f"target {text!r}: unknown accuracy {part!r}; {did_you_mean(part, _NAMES)}"
        )
    if relation != ">=":
        raise UserError(f"target {text!r} must have >=, got {relation}")
    try:
        value = float(number)
    except ValueError:
        value = np.nan
    if not np.isfinite(value) or value < 0:
        raise UserError(f"target {text!r}: {number!r} is no number; {_EXAMPLE}")
    if value > 100:
        raise UserError(f"target {text!r}: at most 100 can be reached")
    signed = -value if sign == "-" else value
    return Target(part, signed / 100, bool(sign))


@dataclasses.dataclass(frozen=True, eq=False)
class Choice:
    """A method and a point of it that were chosen.

    Attributes:
      method: Name of the method.
      index: Number of the point.
      knob: Its value of the knob.
      options: Its further options.
      val: Its accuracies on validation samples, with shape `[4]`.
      targets: What was to hold.
      held: 'surely', 'likely' (the estimate holds, its bound does not), or 'not'.
      lines: What was chosen, why, and how sure that is.
    """

    method: str
    index: int
    knob: float
    options: Mapping[str, Any]
    val: np.ndarray
    targets: tuple[Target, ...]
    held: str
    lines: tuple[str, str, str]


@dataclasses.dataclass(frozen=True, eq=False)
class _Judged:
    """A point with what decides."""

    curve: Points
    index: int
    value: float  # of what is maximized
    shortfall: float  # of the worst target's estimate, 0 where all hold
    doubt: float  # of the worst target's bound


def _weights(samples: Samples) -> dict[str, np.ndarray]:
    """Computes what a sample that is right adds to each accuracy, with shape `[n]`."""
    labels = samples.labels
    counts = np.bincount(labels, minlength=samples.num_classes)
    found = {}
    for part in PARTS:
        inside = (
            np.ones(len(labels), bool)
            if part == PARTS[-1]
            else np.isin(labels, samples.splits[part])
        )
        if samples.by_class:
            classes = max(1, len(np.unique(labels[inside])))
            found[part] = inside / (classes * np.maximum(counts[labels], 1))
        else:
            found[part] = inside / max(1, inside.sum())
    return found


class _Uncertain:
    """Estimates on validation samples, with their standard errors.

    Samples of the same class are taken to be drawn anew; of a class with one sample,
    one of its split is.
    """

    def __init__(self, samples: Samples) -> None:
        self._weights = _weights(samples)
        order = np.argsort(samples.labels, kind="stable")
        labels = samples.labels[order]
        counts = np.bincount(samples.labels, minlength=samples.num_classes)
        group = np.arange(samples.num_classes)
        for place, part in enumerate(PARTS[:-1]):
            classes = np.asarray(samples.splits[part], np.int64)
            group[classes[counts[classes] == 1]] = samples.num_classes + place
        self._order = order
        _, self._groups = np.unique(group[labels], return_inverse=True)
        self._sizes = np.bincount(self._groups)

    def scores(self, right: np.ndarray, part: str) -> np.ndarray:
        """Returns what samples add to an accuracy; to the harmonic mean, about."""
        right = np.asarray(right, np.float64)
        if part != HARMONIC:
            return np.asarray(right * self._weights[part])
        parts = [name for name in PARTS[:-1] if self._weights[name].any()]
        values = np.array([(right * self._weights[name]).sum() for name in parts])
        if (values <= 0).any():
            return np.zeros(len(right))
        mean = len(values) / (1 / values).sum()
        slopes = mean**2 / (len(values) * values**2)
        return np.asarray(
            sum(
                slope * right * self._weights[name]
                for slope, name in zip(slopes, parts, strict=True)
            )
        )

    def error(self, scores: np.ndarray) -> float:
        """Computes the standard error of the sum of scores."""
        ordered = scores[self._order]
        sums = np.bincount(self._groups, ordered)
        squares = np.bincount(self._groups, ordered**2)
        spread = np.maximum(squares - sums**2 / self._sizes, 0)
        spread = spread * self._sizes / np.maximum(self._sizes - 1, 1)
        return float(np.sqrt(spread.sum()))


def _value(val: np.ndarray, part: str) -> float:
    if part == HARMONIC:
        return float(measures.harmonic_mean(val[:3]))
    return float(val[PARTS.index(part)])


def _objective(targets: Sequence[Target]) -> str:
    """Returns the accuracy that is to be best: of few, unless that is a target."""
    if not targets:
        return "overall"
    return "overall" if any(each.part == "few" for each in targets) else "few"


def choose(
    curves: Sequence[Points],
    samples: Samples,
    *,
    unchanged: Points,
    targets: Sequence[Target] = (),
    by_tradeoff: bool = True,
) -> Choice:
    """Chooses a method and a point of it on validation samples.

    Without targets it is the method with the best trade-off S, at its best overall
    accuracy. With targets it is, of the points for which all of them hold for sure, the
    one with the best few accuracy, or the best overall accuracy where few accuracy is a
    target itself. Where there is none, those that hold by estimate alone are taken, or
    else the one that lacks least; `held` says so. Of equal ones the first is taken.

    Args:
      curves: Methods over their knobs.
      samples: The validation samples.
      unchanged: The unchanged classifier, which changes are taken from.
      targets: What must hold.
      by_tradeoff: Whether without targets the method is chosen by S; otherwise the
        point with the best overall accuracy is taken, of whichever method.

    Returns:
      What was chosen.

    Raises:
      UserError: If there are no samples of what a target is about.
    """
    own = unchanged
    judge = _Uncertain(samples)
    part = _objective(targets)
    for target in targets:
        if np.isnan(_value(own.val[0], target.part)):
            raise UserError(
                f"target {target}: there are no validation samples of {target.part} "
                "classes"
            )
    judged = [
        _judge(curve, index, part, targets, own, judge)
        for curve in curves
        for index in range(len(curve.knobs))
    ]
    judged = [one for one in judged if not np.isnan(one.value)]
    if targets:
        held, pool = _pool(judged)
        if held == "not":
            best = min(pool, key=lambda one: one.shortfall)
        else:
            best = max(pool, key=lambda one: one.value)
    elif not by_tradeoff:
        held, pool = "surely", judged
        best = max(pool, key=lambda one: one.value)
    else:
        held, pool = "surely", judged
        tradeoffs = {
            each.name: float(measures.tradeoff(each.val, each.val)) for each in curves
        }
        name = max(tradeoffs, key=lambda each: tradeoffs[each])
        best = max(
            (one for one in pool if one.curve.name == name), key=lambda one: one.value
        )
    lines = (
        f"chosen: {_describe(best.curve, best.index)}, on validation data "
        + _percent(best.curve.val[best.index]),
        _reason(best, pool, judged, curves, part, targets, held)
        if targets or by_tradeoff
        else "why: the best overall accuracy over its knob, "
        + count_of(len(judged), "point"),
        _confidence(best, pool if held != "not" else [], own, part, judge),
    )
    curve = best.curve
    return Choice(
        curve.name,
        best.index,
        float(curve.knobs[best.index]),
        dict(curve.choices[best.index]),
        np.asarray(curve.val[best.index]),
        tuple(targets),
        held,
        lines,
    )


def _judge(
    curve: Points,
    index: int,
    part: str,
    targets: Sequence[Target],
    own: Points,
    judge: _Uncertain,
) -> _Judged:
    """Judges a point: its value, and how far it is from its targets."""
    val, right = curve.val[index], curve.val_correct[index]
    shortfall = doubt = 0.0
    for target in targets:
        estimate = _value(val, target.part)
        scores = judge.scores(right, target.part)
        if target.is_change:
            estimate -= _value(own.val[0], target.part)
            scores = scores - judge.scores(own.val_correct[0], target.part)
        bound = estimate - _ONE_SIDED * judge.error(scores)
        # A target that the classifier keeps by not changing holds for sure.
        shortfall = max(shortfall, target.bound - estimate)
        doubt = max(doubt, target.bound - bound)
    return _Judged(curve, index, _value(val, part), shortfall, doubt)


def _pool(judged: Sequence[_Judged]) -> tuple[str, list[_Judged]]:
    """Returns how well targets can be held, and the points that do."""
    for held, name in (("surely", "doubt"), ("likely", "shortfall")):
        pool = [one for one in judged if getattr(one, name) <= 1e-12]
        if pool:
            return held, pool
    return "not", list(judged)


def _describe(curve: Points, index: int) -> str:
    parts = [f"{curve.knob_name} {curve.knobs[index]:g}"] if curve.knob_name else []
    parts += [
        f"{name} {value:g}" if isinstance(value, float) else f"{name} {value}"
        for name, value in curve.choices[index].items()
    ]
    return f"{curve.name} ({', '.join(parts)})" if parts else curve.name


def _percent(val: np.ndarray) -> str:
    return ", ".join(
        f"{name} {100 * value:.1f}"
        for name, value in zip(PARTS, val, strict=True)
        if not np.isnan(value)
    )


def _reason(
    best: _Judged,
    pool: Sequence[_Judged],
    judged: Sequence[_Judged],
    curves: Sequence[Points],
    part: str,
    targets: Sequence[Target],
    held: str,
) -> str:
    """Says why a point was chosen."""
    what = count_of(len(curves), "method")
    if not targets:
        value = float(measures.tradeoff(best.curve.val, best.curve.val))
        return (
            f"why: of {what} it has the best trade-off of few and overall accuracy, "
            f"S {100 * value:.1f}; of its points, the best overall accuracy"
        )
    wanted = " and ".join(map(str, targets))
    if held == "not":
        return (
            f"why: no point of {what} keeps {wanted}; this one lacks least, "
            f"{100 * best.shortfall:.1f} points"
        )
    sure = (
        f"for sure (bounds of {100 * LEVEL:g} %)"
        if held == "surely"
        else f"by estimate, none for sure: this one may lack {100 * best.doubt:.1f} "
        "points"
    )
    return (
        f"why: of {what} with {len(judged)} points, {len(pool)} keep {wanted} {sure}; "
        f"of those it has the best {part} accuracy"
    )


def _confidence(
    best: _Judged,
    pool: Sequence[_Judged],
    own: Points,
    part: str,
    judge: _Uncertain,
) -> str:
    """Says how sure differences from the unchanged classifier and the next are."""

    def difference(curve: Points, index: int, name: str) -> tuple[float, float]:
        scores = judge.scores(best.curve.val_correct[best.index], name)
        scores = scores - judge.scores(curve.val_correct[index], name)
        value = _value(best.curve.val[best.index], name)
        return value - _value(curve.val[index], name), _TWO_SIDED * judge.error(scores)

    text = "how sure: it is the unchanged classifier"
    if best.curve.name != own.name:
        shown = []
        for name in ("few", "overall"):
            estimate, half = difference(own, 0, name)
            shown.append(
                f"{name} {100 * estimate:+.1f} ({100 * (estimate - half):+.1f} to "
                f"{100 * (estimate + half):+.1f})"
            )
        text = f"how sure: against unchanged {', '.join(shown)}"
    others = [one for one in pool if one.curve.name != best.curve.name]
    if not others:
        return text
    following = max(others, key=lambda one: one.value)
    estimate, half = difference(following.curve, following.index, part)
    verdict = "" if abs(estimate) > half else ", so either may be the better"
    return (
        f"{text}; next is {following.curve.name}, {100 * estimate:.1f} less {part} "
        f"({100 * (estimate - half):+.1f} to {100 * (estimate + half):+.1f}){verdict}"
    )
