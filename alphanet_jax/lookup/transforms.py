"""PyTorch's update rules as gradient transformations.

Each is optax's where that means the same; docstrings name the differences where it does
not. Its updates are to be multiplied by minus the learning rate; rules that take `lr`
return the step itself, to be subtracted. A momentum or first beta is a number or, where
it changes, an array.

Notation: t steps taken, counted from 1; x what a rule for one array is given; p its
parameters, which the table of optimizers declares.
"""

import math
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax.typing import ArrayLike

__all__ = [
    "adafactor",
    "adagrad",
    "adam",
    "asgd",
    "nadam",
    "radam",
    "rmsprop",
    "rprop",
    "sgd",
    "with_decay",
]

_Memory = tuple[jax.Array, ...]
_MakesTransformation = Callable[..., optax.GradientTransformation]


def with_decay(
    rule: _MakesTransformation, *, takes_lr: bool = False, decoupled: bool = False
) -> _MakesTransformation:
    """Completes a rule by what PyTorch's optimizers have in common.

    Args:
      rule: One of this module, or of optax's.
      takes_lr: Whether the rule takes `lr`.
      decoupled: Whether weight decay acts on the parameters themselves, as in AdamW,
        not through the gradients, unless `decoupled_weight_decay` is given.

    Returns:
      A function of `lr`, `maximize`, the parameters of weight decay and those of the
      rule, which returns the complete transformation.
    """

    def build(
        *,
        lr: Any,
        maximize: bool,
        weight_decay: float = 0.0,
        decoupled_weight_decay: bool = decoupled,
        **params: Any,
    ) -> optax.GradientTransformation:
        if takes_lr:
            parts = [rule(lr=lr, **params), optax.scale(-1.0)]
        else:
            parts = [rule(**params), optax.scale(-lr)]
        if weight_decay and decoupled_weight_decay:
            strength = weight_decay * lr if takes_lr else weight_decay
            parts.insert(1, optax.add_decayed_weights(strength))
        elif weight_decay:
            parts.insert(0, optax.add_decayed_weights(weight_decay))
        if maximize:
            parts.insert(0, optax.scale(-1.0))
        return optax.chain(*parts)

    return build


class _At(NamedTuple):
    """What a rule for one array is given at a step."""

    grad: jax.Array
    param: jax.Array
    t: jax.Array  # of the gradient's dtype
    memory: _Memory


class EachArrayState(NamedTuple):
    """State of a rule for each array of the parameters."""

    num_steps: jax.Array  # taken so far, with shape=(), dtype=jnp.int32.
    memory: tuple[_Memory, ...]  # of each array, in their order


def _zeros(number: int) -> Callable[..., _Memory]:
    """Begins with this many arrays of zeros like the parameter."""
    return lambda param, p: tuple(jnp.zeros_like(param) for _ in range(number))


def _each_array(
    start: Callable[[jax.Array, Any], _Memory],
) -> Callable[[Callable[[_At, Any], tuple[jax.Array, _Memory]]], _MakesTransformation]:
    """Decorates a rule, `rule(x, p) -> (update, memory)`, for all parameter arrays.

    `start(param, p)` returns the memory of an array before the first step.
    """

    def decorate(rule: Callable[..., tuple[jax.Array, _Memory]]) -> Any:
        def make(**params: Any) -> optax.GradientTransformation:
            p = SimpleNamespace(**params)

            def init(params: optax.Params) -> EachArrayState:
                memory = tuple(start(leaf, p) for leaf in jax.tree.leaves(params))
                return EachArrayState(jnp.zeros([], jnp.int32), memory)

            def update(
                updates: optax.Updates, state: EachArrayState, params: Any = None
            ) -> tuple[optax.Updates, EachArrayState]:
                grads, structure = jax.tree.flatten(updates)
                leaves = jax.tree.leaves(params)
                num_steps = state.num_steps + 1
                done = [
                    rule(_At(grad, leaf, num_steps.astype(grad.dtype), memory), p)
                    for grad, leaf, memory in zip(
                        grads, leaves, state.memory, strict=True
                    )
                ]
                changes, memory = zip(*done, strict=True)
                state = EachArrayState(num_steps, memory)
                return jax.tree.unflatten(structure, changes), state

            return optax.GradientTransformation(init, update)

        make.__doc__ = rule.__doc__
        return make

    return decorate


def _average(old: jax.Array, new: jax.Array, decay: ArrayLike) -> jax.Array:
    return old * decay + new * (1 - decay)


def _moments(x: _At, p: Any) -> _Memory:
    """Averages the gradient and its square, the first two arrays of the memory."""
    mean, square = x.memory[:2]
    return _average(mean, x.grad, p.b1), _average(square, x.grad**2, p.b2)


def _one_minus_power(base: Any, t: jax.Array) -> jax.Array:
    """Computes 1 - base**t, exact to the last digits where that is near 0."""
    if isinstance(base, jax.Array):
        return -jnp.expm1(t * jnp.log(base))
    return -jnp.expm1(t * (math.log(base) if base else -math.inf))


def _acts(momentum: ArrayLike) -> bool:
    """Whether there is a momentum: a number that is not 0, or one that changes."""
    return isinstance(momentum, jax.Array) or bool(momentum)


def sgd(
    *, momentum: ArrayLike, dampening: float, nesterov: bool
) -> optax.GradientTransformation:
    """Accumulates updates as SGD and optax do; dampens them, which optax does not."""
    if nesterov and (not _acts(momentum) or dampening):
        raise ValueError(
            "SGD: nesterov needs a momentum and no dampening, "
            f"got {momentum=}, {dampening=}."
        )
    if dampening and not _acts(momentum):
        raise ValueError(f"SGD: dampening needs a momentum, got {dampening=}.")
    if not _acts(momentum):
        return optax.identity()
    trace = optax.trace(momentum, nesterov=nesterov)
    if not dampening:
        return trace
    # The first gradient is not dampened.
    dampen = optax.scale_by_schedule(lambda t: jnp.where(t == 0, 1.0, 1 - dampening))
    return optax.chain(dampen, trace)


@_each_array(_zeros(3))
def _amsgrad(x: _At, p: Any) -> tuple[jax.Array, _Memory]:
    mean, square = _moments(x, p)
    bound = jnp.maximum(x.memory[2], square)
    root = jnp.sqrt(bound / _one_minus_power(p.b2, x.t))
    update = mean / _one_minus_power(p.b1, x.t) / (root + p.eps)
    return update, (mean, square, bound)


def adam(*, amsgrad: bool, **params: Any) -> optax.GradientTransformation:
    """Scales updates by Adam, as optax does, or by AMSGrad.

    Of AMSGrad, PyTorch remembers the largest average before the correction of bias,
    optax the largest after.
    """
    return _amsgrad(**params) if amsgrad else optax.scale_by_adam(**params)


@_each_array(lambda param, p: (*_zeros(2)(param, p), jnp.ones([], param.dtype)))
def nadam(x: _At, p: Any) -> tuple[jax.Array, _Memory]:
    """Scales updates by NAdam; the momentum warms up, in optax it is constant."""
    mean, square = _moments(x, p)
    # The momentum of the next step acts already.
    now, later = (
        p.b1 * (1 - 0.5 * 0.96 ** (t * p.momentum_decay)) for t in (x.t, x.t + 1)
    )
    product = x.memory[2] * now
    update = x.grad * ((1 - now) / (1 - product))
    update = update + mean * (later / (1 - product * later))
    root = jnp.sqrt(square / _one_minus_power(p.b2, x.t))
    return update / (root + p.eps), (mean, square, product)


def _length_of_average(decay: float, t: jax.Array) -> jax.Array:
    """Computes how many steps RAdam takes an average to span, about t in the beginning.

    That is rho - 2 t b**t / (1 - b**t) with b the decay and rho = 2 / (1 - b) - 1. In
    float32 this would be a small difference of large numbers; with x = -t log(b) it is
    one of numbers of its own size.
    """
    scale = -math.log(decay)
    x = scale * t
    series = t * (1 - x / 6 + x**3 / 360 - x**5 / 15120)
    length = jnp.where(x < 0.5, series, 2 / scale * (1 - x / jnp.expm1(x)))
    return length + (2 / (1 - decay) - 1 - 2 / scale)


@_each_array(_zeros(2))
def radam(x: _At, p: Any) -> tuple[jax.Array, _Memory]:
    """Scales updates by RAdam; `eps` is added to what is not corrected for bias yet."""
    mean, square = _moments(x, p)
    update = mean / _one_minus_power(p.b1, x.t)
    longest = 2 / (1 - p.b2) - 1
    if longest > 5:
        length = _length_of_average(p.b2, x.t)
        rectified = length > 5
        length = jnp.where(rectified, length, 6.0)
        factor = jnp.sqrt(
            ((length - 4) * (length - 2) / length)
            * (longest / ((longest - 4) * (longest - 2)))
            * _one_minus_power(p.b2, x.t)
        )
        update = update * jnp.where(rectified, factor / (jnp.sqrt(square) + p.eps), 1.0)
    return update, (mean, square)


@_each_array(_zeros(2))
def _centered_rmsprop(x: _At, p: Any) -> tuple[jax.Array, _Memory]:
    square = _average(x.memory[0], x.grad**2, p.alpha)
    mean = _average(x.memory[1], x.grad, p.alpha)
    # Rounding may take a variance of 0 below it.
    variance = jnp.maximum(square - mean**2, 0)
    return x.grad / (jnp.sqrt(variance) + p.eps), (square, mean)


def rmsprop(
    *, alpha: float, eps: float, momentum: ArrayLike, centered: bool
) -> optax.GradientTransformation:
    """Scales updates by RMSprop; `eps` is outside of the root, in optax inside.

    Centered, a variance below 0, by rounding, is 0; in `optax.scale_by_stddev` NaN.
    """
    if centered:
        scale = _centered_rmsprop(alpha=alpha, eps=eps)
    else:
        scale = optax.scale_by_rms(alpha, eps, eps_in_sqrt=False)
    return optax.chain(scale, optax.trace(momentum)) if _acts(momentum) else scale


@_each_array(lambda param, p: (jnp.full_like(param, p.initial_accumulator_value),))
def adagrad(x: _At, p: Any) -> tuple[jax.Array, _Memory]:
    """Scales updates by Adagrad; `eps` is outside of the root, in optax inside."""
    total = x.memory[0] + x.grad**2
    return x.grad / (1 + (x.t - 1) * p.lr_decay) / (jnp.sqrt(total) + p.eps), (total,)


@_each_array(lambda param, p: (jnp.zeros([], param.dtype),))
def asgd(x: _At, p: Any) -> tuple[jax.Array, _Memory]:
    """Computes steps of ASGD, which optax lacks.

    The average of weights that it is named after is not trained, so it is not kept.
    """
    # A learning rate acts from the step after, but for the first.
    eta = jnp.where(x.t == 1, p.lr, x.memory[0])
    later = p.lr / (1 + p.lambd * p.lr * x.t) ** p.alpha
    return eta * (x.grad + p.lambd * x.param), (later,)


@_each_array(_zeros(2))
def _rprop(x: _At, p: Any) -> tuple[jax.Array, _Memory]:
    previous, sizes = x.memory
    # The learning rate is the first size, and does not act later.
    sizes = jnp.where(x.t == 1, p.lr, sizes)
    turn = jnp.sign(x.grad) * jnp.sign(previous)
    factor = jnp.where(turn > 0, p.etas[1], jnp.where(turn < 0, p.etas[0], 1.0))
    sizes = jnp.clip(sizes * factor, *p.step_sizes)
    grad = jnp.where(turn < 0, 0.0, x.grad)
    return sizes * jnp.sign(grad), (grad, sizes)


def rprop(*, etas: Any, step_sizes: Any, lr: ArrayLike) -> optax.GradientTransformation:
    """Computes steps of Rprop; optax takes the learning rate before the first step."""
    if not etas[0] < 1 < etas[1] or not step_sizes[0] <= step_sizes[1]:
        raise ValueError(
            "Rprop: etas must be below and above 1 and step_sizes ascend, "
            f"got {etas=}, {step_sizes=}."
        )
    return _rprop(lr=lr, etas=etas, step_sizes=step_sizes)


def _start_of_adafactor(param: jax.Array, p: Any) -> _Memory:
    if param.ndim < 2:
        return (jnp.zeros_like(param),)
    return jnp.zeros_like(param[..., :1]), jnp.zeros_like(param[..., :1, :])


@_each_array(_start_of_adafactor)
def adafactor(x: _At, p: Any) -> tuple[jax.Array, _Memory]:
    """Computes steps of Adafactor.

    As in PyTorch, averages are factored over the last two axes, whatever their sizes;
    optax takes the two largest axes, and those only from a size of 128. The original's
    first layer has four, of which these are neighbors and features, and ours has two.
    """
    least, least_scale = p.eps
    if least is None:
        least = float(jnp.finfo(x.param.dtype).eps)
    decay = 1 - x.t**p.beta2_decay
    square = x.grad**2
    if x.grad.ndim < 2:
        estimate = _average(x.memory[0], square, decay)
        memory: _Memory = (estimate,)
    else:
        rows = jnp.mean(square, axis=-1, keepdims=True)
        columns = jnp.mean(square, axis=-2, keepdims=True)
        rows = _average(x.memory[0], rows, decay)
        columns = _average(x.memory[1], columns, decay)
        mean = jnp.mean(rows, axis=-2, keepdims=True)
        estimate = rows * columns / jnp.maximum(mean, least)
        memory = (rows, columns)
    update = x.grad / jnp.sqrt(jnp.maximum(estimate, least**2))
    update = update / jnp.maximum(1.0, _root_mean_square(update) / p.d)
    rate = jnp.minimum(p.lr, x.t**-0.5)
    scale = jnp.maximum(_root_mean_square(x.param), least_scale)
    return rate * scale * update, memory


def _root_mean_square(x: jax.Array) -> jax.Array:
    return jnp.sqrt(jnp.mean(x**2))
