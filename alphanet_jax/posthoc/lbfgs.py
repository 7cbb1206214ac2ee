"""L-BFGS for smooth convex functions that take a pass over data to evaluate.

The loop runs on the host, so that a function may read its data from a file piece by
piece. It is deterministic.
"""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

__all__ = ["Evaluation", "Minimum", "Step", "minimize"]

# Of the slope at the start of a line, what may be left at its end: close to 1, as an
# evaluation costs a pass. The upper one is that of Hager and Zhang's approximate Wolfe
# condition, which rounding of the values does not upset.
_SLOPE_BELOW, _SLOPE_ABOVE = 0.9, 0.8
_ROUNDING = 1e-6  # relative, of values
_MAX_TRIALS = 20


class Evaluation(NamedTuple):
    """A function at a point."""

    value: float
    gradient: jax.Array
    curvature: Any  # what the preconditioner wants to know


class Step(NamedTuple):
    """How far a minimization is."""

    iteration: int
    evaluations: int
    value: float
    expected: float  # how much lower the value is expected to get


class Minimum(NamedTuple):
    """Where a minimization ended."""

    point: jax.Array
    step: Step
    converged: bool


class _Pair(NamedTuple):
    """A step and the change of the gradient along it."""

    step: jax.Array
    change: jax.Array
    product: float


@jax.jit
def _dot(a: jax.Array, b: jax.Array) -> jax.Array:
    return jnp.vdot(a, b, precision="highest")


@jax.jit
def _axpy(factor: jax.Array, x: jax.Array, y: jax.Array) -> jax.Array:
    return y + factor * x


def _descent(
    here: Evaluation,
    pairs: list[_Pair],
    precondition: Callable[[jax.Array, Any], jax.Array],
) -> jax.Array:
    """Computes the direction to go, by the two loops of L-BFGS."""
    direction, factors = here.gradient, []
    for pair in reversed(pairs):
        factor = float(_dot(pair.step, direction)) / pair.product
        direction = _axpy(-factor, pair.change, direction)
        factors.append(factor)
    direction = precondition(direction, here.curvature)
    if pairs:  # scaled to what was seen last
        change = pairs[-1].change
        scaled = float(_dot(change, precondition(change, here.curvature)))
        direction = (pairs[-1].product / scaled) * direction
    for pair, factor in zip(pairs, reversed(factors), strict=True):
        other = float(_dot(pair.change, direction)) / pair.product
        direction = _axpy(factor - other, pair.step, direction)
    return -direction


def _search(
    function: Callable[[jax.Array], Evaluation],
    point: jax.Array,
    here: Evaluation,
    direction: jax.Array,
    slope: float,
) -> tuple[jax.Array, Evaluation, int]:
    """Walks along a line until its slope has changed enough, by secants.

    Returns:
      The point, the function there, and the number of evaluations.
    """
    low, low_slope, high, high_slope = 0.0, slope, math.inf, math.inf
    limit = here.value + _ROUNDING * abs(here.value)
    length = 1.0
    for trial in range(1, _MAX_TRIALS + 1):
        there = _axpy(length, direction, point)
        found = function(there)
        new_slope = float(_dot(found.gradient, direction))
        is_finite = math.isfinite(found.value) and math.isfinite(new_slope)
        if not is_finite or found.value > limit or new_slope > -_SLOPE_ABOVE * slope:
            high, high_slope = length, new_slope if is_finite else math.inf
        elif new_slope < _SLOPE_BELOW * slope:
            low, low_slope = length, new_slope
        else:
            return there, found, trial
        if high == math.inf:
            length *= 4.0
        elif 0 < high_slope < math.inf:
            share = -low_slope / (high_slope - low_slope)
            length = low + (high - low) * min(max(share, 0.1), 0.9)
        else:
            length = 0.5 * (low + high)
    return point, here, _MAX_TRIALS


def minimize(
    function: Callable[[jax.Array], Evaluation],
    start: jax.Array,
    *,
    first: Evaluation | None = None,
    precondition: Callable[[jax.Array, Any], jax.Array] = lambda vector, _: vector,
    tolerance: float = 1e-5,
    max_iterations: int = 500,
    memory: int = 10,
    on_step: Callable[[Step], None] | None = None,
) -> Minimum:
    """Minimizes a smooth convex function by L-BFGS.

    Args:
      function: Evaluates the function and its gradient at a point.
      start: Where to start.
      first: The function there, where it is known.
      precondition: Takes a vector and the `curvature` of an evaluation, and multiplies
        the vector by an estimate of the inverse Hessian, which must be symmetric and
        positive; its scale does not matter but for the first step.
      tolerance: It has converged when half the slope along the next step, by which
        the value is expected to fall, is at most this.
      max_iterations: It stops after so many steps.
      memory: Number of steps that are remembered.
      on_step: Called before every step and at the end.

    Returns:
      The lowest point, and whether it has converged. It also stops where rounding
      keeps it from going lower; that is not counted as converged.

    Examples:
      >>> def square(x):
      ...     return Evaluation(float(jnp.sum((x - 3) ** 2)), 2 * (x - 3), None)
      >>> found = minimize(square, jnp.zeros(2))
      >>> found.point.tolist(), found.converged
      ([3.0, 3.0], True)
    """
    point, here = start, function(start) if first is None else first
    pairs: list[_Pair] = []
    evaluations = 1
    for iteration in range(max_iterations + 1):
        direction = _descent(here, pairs, precondition)
        slope = float(_dot(here.gradient, direction))
        step = Step(iteration, evaluations, here.value, max(-0.5 * slope, 0.0))
        if on_step is not None:
            on_step(step)
        if not -0.5 * slope > tolerance:  # a slope up, or none, is rounding
            return Minimum(point, step, slope <= 0)
        if iteration == max_iterations:
            break
        there, found, trials = _search(function, point, here, direction, slope)
        evaluations += trials
        change = found.gradient - here.gradient
        moved = there - point
        product = float(_dot(moved, change))
        if there is point:
            if not pairs:
                break
            pairs = []  # once more, without what was remembered
        elif product > 0:
            pairs = [*pairs, _Pair(moved, change, product)][-memory:]
        point, here = there, found
    return Minimum(point, step, False)
