"""Optimizers by PyTorch's names, with its meanings, and by optax's, with optax's.

The optimizer takes the rate of the moment as the extra argument `learning_rate` of its
`update`, and a momentum that a schedule changes as `momentum`, so neither a schedule
nor a sweep over rates recompiles a training step. Schedules are in `schedules`.

Notation: t steps taken, counted from 1.
"""

import inspect
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax.typing import ArrayLike

from alphanet_jax.lookup import by_name
from alphanet_jax.lookup.by_name import check_flag, check_number, check_pair
from alphanet_jax.lookup.schedules import (
    SCHEDULES,
    Schedule,
    learning_rates,
    make_schedule,
)

__all__ = [
    "OPTAX_OPTIMIZERS",
    "OPTIMIZERS",
    "SCHEDULES",
    "Optimizer",
    "Schedule",
    "learning_rates",
    "make_optimizer",
    "make_schedule",
]


class Optimizer(NamedTuple):
    """A gradient transformation and what a schedule must know of it.

    Attributes:
      transform: Its `update` takes the extra arguments `learning_rate` and, if it was
        built to have its momentum changed, `momentum`.
      learning_rate: The learning rate that a schedule begins with.
      has_momentum: Whether it has a momentum, or first beta, that could be changed.
    """

    transform: optax.GradientTransformationExtraArgs
    learning_rate: float
    has_momentum: bool = False


_Memory = tuple[jax.Array, ...]


class _At(NamedTuple):
    """What the rule for one array is told at a step."""

    grad: jax.Array
    param: jax.Array
    memory: _Memory
    t: jax.Array  # of the gradient's dtype, as are the others
    learning_rate: jax.Array
    momentum: Any  # the one given at this step, or else the constant


class _State(NamedTuple):
    num_steps: jax.Array  # taken so far
    memory: tuple[_Memory, ...]  # of each array of the parameters


# Gives what to subtract from the parameter, and the new memory.
_Rule = Callable[[_At], tuple[jax.Array, _Memory]]


def _transform(
    start: Callable[[jax.Array], _Memory],
    rule: _Rule,
    *,
    weight_decay: float = 0.0,
    decoupled: bool = False,
    maximize: bool,
    momentum: float | None = None,
    momentum_changes: bool = False,
) -> optax.GradientTransformationExtraArgs:
    """Makes a transformation of the rule for one array.

    Args:
      start: Takes a parameter and gives the memory before the first step.
      rule: What to do at a step.
      weight_decay: Weight decay of every parameter.
      decoupled: Whether it acts on the parameter itself, not through the gradient.
      maximize: Whether to go up the gradient.
      momentum: The momentum where none is given at a step.
      momentum_changes: Whether one can be given.

    Returns:
      The transformation.
    """
    constant = momentum

    def init(params: optax.Params) -> _State:
        memory = tuple(start(jnp.asarray(leaf)) for leaf in jax.tree.leaves(params))
        return _State(jnp.zeros([], jnp.int32), memory)

    def update(
        updates: optax.Updates,
        state: _State,
        params: optax.Params | None = None,
        *,
        learning_rate: ArrayLike,
        momentum: ArrayLike | None = None,
        **extra: Any,
    ) -> tuple[optax.Updates, _State]:
        del extra
        if not momentum_changes:
            _refuse_momentum(momentum)
        grads, structure = jax.tree.flatten(updates)
        num_steps = state.num_steps + 1
        changes, memories = [], []
        for grad, param, memory in zip(
            grads, jax.tree.leaves(params), state.memory, strict=True
        ):
            rate = jnp.asarray(learning_rate, grad.dtype)
            if maximize:
                grad = -grad
            if weight_decay and not decoupled:
                grad = grad + weight_decay * param
            change, memory = rule(
                _At(
                    grad,
                    param,
                    memory,
                    t=jnp.asarray(num_steps, grad.dtype),
                    learning_rate=rate,
                    momentum=constant
                    if momentum is None
                    else jnp.asarray(momentum, grad.dtype),
                )
            )
            if weight_decay and decoupled:
                change = change + rate * weight_decay * param
            changes.append(-change)
            memories.append(memory)
        return jax.tree.unflatten(structure, changes), _State(
            num_steps, tuple(memories)
        )

    return optax.GradientTransformationExtraArgs(init, update)


def _refuse_momentum(momentum: ArrayLike | None) -> None:
    if momentum is not None:
        raise ValueError(
            "this optimizer was built with a fixed momentum; see momentum_changes of "
            "make_optimizer."
        )


def _zeros(number: int) -> Callable[[jax.Array], _Memory]:
    """Begins with this many arrays of zeros like the parameter."""
    return lambda param: tuple(jnp.zeros_like(param) for _ in range(number))


def _one_minus_power(base: Any, t: jax.Array) -> jax.Array:
    """Computes 1 - base**t, exact to the last digits where that is near 0."""
    if isinstance(base, jax.Array):
        return -jnp.expm1(t * jnp.log(base))
    return -jnp.expm1(t * (math.log(base) if base else -math.inf))


def _average(old: jax.Array, new: jax.Array, decay: ArrayLike) -> jax.Array:
    return old * decay + new * (1 - decay)


def _scale_by_negative_learning_rate() -> optax.GradientTransformationExtraArgs:
    """Multiplies updates by minus the extra argument `learning_rate`."""

    def update(
        updates: optax.Updates,
        state: optax.EmptyState,
        params: optax.Params | None = None,
        *,
        learning_rate: ArrayLike,
        momentum: ArrayLike | None = None,
        **extra: Any,
    ) -> tuple[optax.Updates, optax.EmptyState]:
        del params, extra
        _refuse_momentum(momentum)
        return jax.tree.map(lambda u: u * -jnp.asarray(learning_rate), updates), state

    return optax.GradientTransformationExtraArgs(
        lambda params: optax.EmptyState(), update
    )


def _check(
    name: str,
    *,
    flags: Mapping[str, Any],
    betas: Any = None,
    **numbers: Any,
) -> None:
    """Checks parameters whose limits are the same in most optimizers."""
    for param, value in numbers.items():
        check_number(f"{name}: {param}", value)
    for param, value in flags.items():
        check_flag(f"{name}: {param}", value)
    if betas is not None:
        check_pair(f"{name}: betas", betas, "[0, 1)")


# Builders take by position whether the momentum changes, and by keyword what a person
# gives.


def _sgd(
    momentum_changes: bool,
    /,
    *,
    lr: float = 1e-3,
    momentum: float = 0.0,
    dampening: float = 0.0,
    weight_decay: float = 0.0,
    nesterov: bool = False,
    maximize: bool = False,
) -> Optimizer:
    _check(
        "SGD",
        flags={"nesterov": nesterov, "maximize": maximize},
        lr=lr,
        momentum=momentum,
        weight_decay=weight_decay,
    )
    # PyTorch takes any number; more than 1 would turn the gradient around.
    check_number("SGD: dampening", dampening, "[0, 1]")
    if nesterov and (not momentum or dampening):
        raise ValueError(
            "SGD: nesterov needs a momentum and no dampening, "
            f"got {momentum=}, {dampening=}."
        )
    has_memory = bool(momentum) or momentum_changes
    if dampening and not has_memory:
        raise ValueError(f"SGD: dampening needs a momentum, got {dampening=}.")

    def rule(x: _At) -> tuple[jax.Array, _Memory]:
        if not has_memory:
            return x.learning_rate * x.grad, ()
        # The first gradient is not dampened.
        fresh = jnp.where(x.t == 1, x.grad, (1 - dampening) * x.grad)
        trace = x.momentum * x.memory[0] + (fresh if dampening else x.grad)
        change = x.grad + x.momentum * trace if nesterov else trace
        return x.learning_rate * change, (trace,)

    transform = _transform(
        _zeros(int(has_memory)),
        rule,
        weight_decay=weight_decay,
        maximize=maximize,
        momentum=momentum,
        momentum_changes=momentum_changes,
    )
    return Optimizer(transform, lr, has_momentum=True)


def _adam_of_any_kind(
    name: str,
    momentum_changes: bool,
    *,
    lr: float,
    betas: Sequence[float],
    eps: float,
    weight_decay: float,
    amsgrad: bool,
    maximize: bool,
    decoupled: bool,
) -> Optimizer:
    _check(
        name,
        flags={
            "amsgrad": amsgrad,
            "maximize": maximize,
            "decoupled_weight_decay": decoupled,
        },
        betas=betas,
        lr=lr,
        eps=eps,
        weight_decay=weight_decay,
    )
    b1, b2 = betas
    if not amsgrad and not momentum_changes:
        # Here optax means the same.
        decay = optax.add_decayed_weights(weight_decay)
        transform = optax.chain(
            *([optax.scale(-1.0)] if maximize else []),
            *([] if decoupled or not weight_decay else [decay]),
            optax.scale_by_adam(b1=b1, b2=b2, eps=eps),
            *([decay] if decoupled else []),
            _scale_by_negative_learning_rate(),
        )
        return Optimizer(transform, lr, has_momentum=True)

    def rule(x: _At) -> tuple[jax.Array, _Memory]:
        mean = _average(x.memory[0], x.grad, x.momentum)
        square = _average(x.memory[1], x.grad**2, b2)
        # The largest so far, of averages whose bias is not corrected yet.
        bound = jnp.maximum(x.memory[2], square) if amsgrad else square
        root = jnp.sqrt(bound / _one_minus_power(b2, x.t))
        rate = x.learning_rate / _one_minus_power(x.momentum, x.t)
        memory = (mean, square, bound) if amsgrad else (mean, square)
        return rate * mean / (root + eps), memory

    transform = _transform(
        _zeros(3 if amsgrad else 2),
        rule,
        weight_decay=weight_decay,
        decoupled=decoupled,
        maximize=maximize,
        momentum=b1,
        momentum_changes=momentum_changes,
    )
    return Optimizer(transform, lr, has_momentum=True)


def _adam(
    momentum_changes: bool,
    /,
    *,
    lr: float = 1e-3,
    betas: Sequence[float] = (0.9, 0.999),
    eps: float = 1e-8,
    weight_decay: float = 0.0,
    amsgrad: bool = False,
    maximize: bool = False,
    decoupled_weight_decay: bool = False,
) -> Optimizer:
    return _adam_of_any_kind(
        "Adam",
        momentum_changes,
        lr=lr,
        betas=betas,
        eps=eps,
        weight_decay=weight_decay,
        amsgrad=amsgrad,
        maximize=maximize,
        decoupled=decoupled_weight_decay,
    )


def _adamw(
    momentum_changes: bool,
    /,
    *,
    lr: float = 1e-3,
    betas: Sequence[float] = (0.9, 0.999),
    eps: float = 1e-8,
    weight_decay: float = 1e-2,
    amsgrad: bool = False,
    maximize: bool = False,
) -> Optimizer:
    return _adam_of_any_kind(
        "AdamW",
        momentum_changes,
        lr=lr,
        betas=betas,
        eps=eps,
        weight_decay=weight_decay,
        amsgrad=amsgrad,
        maximize=maximize,
        decoupled=True,
    )


def _nadam(
    momentum_changes: bool,
    /,
    *,
    lr: float = 2e-3,
    betas: Sequence[float] = (0.9, 0.999),
    eps: float = 1e-8,
    weight_decay: float = 0.0,
    momentum_decay: float = 4e-3,
    decoupled_weight_decay: bool = False,
    maximize: bool = False,
) -> Optimizer:
    _check(
        "NAdam",
        flags={
            "decoupled_weight_decay": decoupled_weight_decay,
            "maximize": maximize,
        },
        betas=betas,
        lr=lr,
        eps=eps,
        weight_decay=weight_decay,
        momentum_decay=momentum_decay,
    )
    b1, b2 = betas

    def rule(x: _At) -> tuple[jax.Array, _Memory]:
        mean, square, product = x.memory
        mean = _average(mean, x.grad, x.momentum)
        square = _average(square, x.grad**2, b2)
        # The momentum of a step warms up, and the next one's already acts.
        now, later = (
            x.momentum * (1 - 0.5 * 0.96 ** (t * momentum_decay))
            for t in (x.t, x.t + 1)
        )
        product = product * now
        change = x.grad * ((1 - now) / (1 - product)) + mean * (
            later / (1 - product * later)
        )
        root = jnp.sqrt(square / _one_minus_power(b2, x.t))
        return x.learning_rate * change / (root + eps), (mean, square, product)

    transform = _transform(
        lambda param: (*_zeros(2)(param), jnp.ones([], param.dtype)),
        rule,
        weight_decay=weight_decay,
        decoupled=decoupled_weight_decay,
        maximize=maximize,
        momentum=b1,
        momentum_changes=momentum_changes,
    )
    return Optimizer(transform, lr, has_momentum=True)


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


def _radam(
    momentum_changes: bool,
    /,
    *,
    lr: float = 1e-3,
    betas: Sequence[float] = (0.9, 0.999),
    eps: float = 1e-8,
    weight_decay: float = 0.0,
    decoupled_weight_decay: bool = False,
    maximize: bool = False,
) -> Optimizer:
    _check(
        "RAdam",
        flags={
            "decoupled_weight_decay": decoupled_weight_decay,
            "maximize": maximize,
        },
        betas=betas,
        lr=lr,
        eps=eps,
        weight_decay=weight_decay,
    )
    b1, b2 = betas
    longest = 2 / (1 - b2) - 1

    def rule(x: _At) -> tuple[jax.Array, _Memory]:
        mean = _average(x.memory[0], x.grad, x.momentum)
        square = _average(x.memory[1], x.grad**2, b2)
        rate = x.learning_rate / _one_minus_power(x.momentum, x.t)
        if longest > 5:
            length = _length_of_average(b2, x.t)
            rectified = length > 5
            length = jnp.where(rectified, length, 6.0)
            factor = jnp.sqrt(
                ((length - 4) * (length - 2) / length)
                * (longest / ((longest - 4) * (longest - 2)))
                * _one_minus_power(b2, x.t)
            )
            scale = jnp.where(rectified, factor / (jnp.sqrt(square) + eps), 1.0)
            rate = rate * scale
        return rate * mean, (mean, square)

    transform = _transform(
        _zeros(2),
        rule,
        weight_decay=weight_decay,
        decoupled=decoupled_weight_decay,
        maximize=maximize,
        momentum=b1,
        momentum_changes=momentum_changes,
    )
    return Optimizer(transform, lr, has_momentum=True)


def _adamax(
    momentum_changes: bool,
    /,
    *,
    lr: float = 2e-3,
    betas: Sequence[float] = (0.9, 0.999),
    eps: float = 1e-8,
    weight_decay: float = 0.0,
    maximize: bool = False,
) -> Optimizer:
    _check(
        "Adamax",
        flags={"maximize": maximize},
        betas=betas,
        lr=lr,
        eps=eps,
        weight_decay=weight_decay,
    )
    b1, b2 = betas

    def rule(x: _At) -> tuple[jax.Array, _Memory]:
        mean = _average(x.memory[0], x.grad, x.momentum)
        largest = jnp.maximum(b2 * x.memory[1], jnp.abs(x.grad) + eps)
        rate = x.learning_rate / _one_minus_power(x.momentum, x.t)
        return rate * mean / largest, (mean, largest)

    transform = _transform(
        _zeros(2),
        rule,
        weight_decay=weight_decay,
        maximize=maximize,
        momentum=b1,
        momentum_changes=momentum_changes,
    )
    return Optimizer(transform, lr, has_momentum=True)


def _rmsprop(
    momentum_changes: bool,
    /,
    *,
    lr: float = 1e-2,
    alpha: float = 0.99,
    eps: float = 1e-8,
    weight_decay: float = 0.0,
    momentum: float = 0.0,
    centered: bool = False,
    maximize: bool = False,
) -> Optimizer:
    _check(
        "RMSprop",
        flags={"centered": centered, "maximize": maximize},
        lr=lr,
        eps=eps,
        weight_decay=weight_decay,
        momentum=momentum,
    )
    check_number("RMSprop: alpha", alpha, "[0, 1]")
    has_trace = bool(momentum) or momentum_changes

    def rule(x: _At) -> tuple[jax.Array, _Memory]:
        square = _average(x.memory[0], x.grad**2, alpha)
        memory: _Memory = (square,)
        if centered:
            mean = _average(x.memory[1], x.grad, alpha)
            memory = (square, mean)
            # Rounding may take a variance of 0 below it.
            square = jnp.maximum(square - mean**2, 0)
        change = x.grad / (jnp.sqrt(square) + eps)
        if has_trace:
            change = x.momentum * x.memory[-1] + change
            memory = (*memory, change)
        return x.learning_rate * change, memory

    transform = _transform(
        _zeros(1 + centered + has_trace),
        rule,
        weight_decay=weight_decay,
        maximize=maximize,
        momentum=momentum,
        momentum_changes=momentum_changes,
    )
    return Optimizer(transform, lr, has_momentum=True)


def _adagrad(
    momentum_changes: bool,
    /,
    *,
    lr: float = 1e-2,
    lr_decay: float = 0.0,
    weight_decay: float = 0.0,
    initial_accumulator_value: float = 0.0,
    eps: float = 1e-10,
    maximize: bool = False,
) -> Optimizer:
    del momentum_changes
    _check(
        "Adagrad",
        flags={"maximize": maximize},
        lr=lr,
        lr_decay=lr_decay,
        weight_decay=weight_decay,
        initial_accumulator_value=initial_accumulator_value,
        eps=eps,
    )

    def rule(x: _At) -> tuple[jax.Array, _Memory]:
        total = x.memory[0] + x.grad**2
        rate = x.learning_rate / (1 + (x.t - 1) * lr_decay)
        return rate * x.grad / (jnp.sqrt(total) + eps), (total,)

    transform = _transform(
        lambda param: (jnp.full_like(param, initial_accumulator_value),),
        rule,
        weight_decay=weight_decay,
        maximize=maximize,
    )
    return Optimizer(transform, lr)


def _adadelta(
    momentum_changes: bool,
    /,
    *,
    lr: float = 1.0,
    rho: float = 0.9,
    eps: float = 1e-6,
    weight_decay: float = 0.0,
    maximize: bool = False,
) -> Optimizer:
    del momentum_changes
    _check(
        "Adadelta",
        flags={"maximize": maximize},
        lr=lr,
        eps=eps,
        weight_decay=weight_decay,
    )
    check_number("Adadelta: rho", rho, "[0, 1]")

    def rule(x: _At) -> tuple[jax.Array, _Memory]:
        square = _average(x.memory[0], x.grad**2, rho)
        change = x.grad * jnp.sqrt((x.memory[1] + eps) / (square + eps))
        return x.learning_rate * change, (square, _average(x.memory[1], change**2, rho))

    transform = _transform(
        _zeros(2), rule, weight_decay=weight_decay, maximize=maximize
    )
    return Optimizer(transform, lr)


def _asgd(
    momentum_changes: bool,
    /,
    *,
    lr: float = 1e-2,
    lambd: float = 1e-4,
    alpha: float = 0.75,
    weight_decay: float = 0.0,
    maximize: bool = False,
) -> Optimizer:
    # The average that gives it its name is not what is trained, so it is not kept.
    del momentum_changes
    _check(
        "ASGD",
        flags={"maximize": maximize},
        lr=lr,
        lambd=lambd,
        alpha=alpha,
        weight_decay=weight_decay,
    )

    def rule(x: _At) -> tuple[jax.Array, _Memory]:
        # A learning rate acts from the step after, but for the first.
        eta = jnp.where(x.t == 1, x.learning_rate, x.memory[0])
        later = x.learning_rate / (1 + lambd * x.learning_rate * x.t) ** alpha
        return eta * (x.grad + lambd * x.param), (later,)

    transform = _transform(
        lambda param: (jnp.zeros([], param.dtype),),
        rule,
        weight_decay=weight_decay,
        maximize=maximize,
    )
    return Optimizer(transform, lr)


def _rprop(
    momentum_changes: bool,
    /,
    *,
    lr: float = 1e-2,
    etas: Sequence[float] = (0.5, 1.2),
    step_sizes: Sequence[float] = (1e-6, 50.0),
    maximize: bool = False,
) -> Optimizer:
    del momentum_changes
    _check("Rprop", flags={"maximize": maximize}, lr=lr)
    check_pair("Rprop: etas", etas, "(0, inf)")
    check_pair("Rprop: step_sizes", step_sizes)
    if not etas[0] < 1 < etas[1] or not step_sizes[0] <= step_sizes[1]:
        raise ValueError(
            "Rprop: etas must be below and above 1 and step_sizes ascend, "
            f"got {etas=}, {step_sizes=}."
        )

    def rule(x: _At) -> tuple[jax.Array, _Memory]:
        previous, sizes = x.memory
        # The rate is the first step's size, and is not asked for again.
        sizes = jnp.where(x.t == 1, x.learning_rate, sizes)
        turn = jnp.sign(x.grad) * jnp.sign(previous)
        factor = jnp.where(turn > 0, etas[1], jnp.where(turn < 0, etas[0], 1.0))
        sizes = jnp.clip(sizes * factor, *step_sizes)
        grad = jnp.where(turn < 0, 0.0, x.grad)
        return sizes * jnp.sign(grad), (grad, sizes)

    return Optimizer(_transform(_zeros(2), rule, maximize=maximize), lr)


def _adafactor(
    momentum_changes: bool,
    /,
    *,
    lr: float = 1e-2,
    beta2_decay: float = -0.8,
    eps: Sequence[float | None] = (None, 1e-3),
    d: float = 1.0,
    weight_decay: float = 0.0,
    maximize: bool = False,
) -> Optimizer:
    del momentum_changes
    _check("Adafactor", flags={"maximize": maximize}, lr=lr, weight_decay=weight_decay)
    check_number("Adafactor: beta2_decay", beta2_decay, "(-inf, 0]")
    check_number("Adafactor: d", d, "[1, inf)")
    # The first may be null: as much as the dtype resolves.
    if isinstance(eps, list | tuple) and len(eps) == 2 and eps[0] is None:
        check_number("Adafactor: the second of eps", eps[1])
    else:
        check_pair("Adafactor: eps", eps)
    least_square, least_scale = eps[0], float(eps[1] or 0)

    # As in PyTorch, averages are factored over the last two axes. The original's first
    # layer has four, of which these are neighbors and features, and ours has two.

    def start(param: jax.Array) -> _Memory:
        if param.ndim < 2:
            return (jnp.zeros_like(param),)
        rows = jnp.zeros_like(param[..., :1])
        return rows, jnp.zeros_like(param[..., :1, :])

    def rule(x: _At) -> tuple[jax.Array, _Memory]:
        least = least_square
        if least is None:
            least = float(jnp.finfo(x.param.dtype).eps)
        decay = 1 - x.t**beta2_decay
        square = x.grad**2
        if x.grad.ndim < 2:
            estimate = _average(x.memory[0], square, decay)
            memory: _Memory = (estimate,)
        else:
            rows = jnp.mean(square, axis=-1, keepdims=True)
            columns = jnp.mean(square, axis=-2, keepdims=True)
            rows = _average(x.memory[0], rows, decay)
            columns = _average(x.memory[1], columns, decay)
            memory = rows, columns
            mean = jnp.mean(rows, axis=-2, keepdims=True)
            estimate = rows * columns / jnp.maximum(mean, least)
        change = x.grad / jnp.sqrt(jnp.maximum(estimate, least**2))
        change = change / jnp.maximum(1.0, _root_mean_square(change) / d)
        rate = jnp.minimum(x.learning_rate, x.t**-0.5)
        scale = jnp.maximum(_root_mean_square(x.param), least_scale)
        return rate * scale * change, memory

    transform = _transform(
        start, rule, weight_decay=weight_decay, decoupled=True, maximize=maximize
    )
    return Optimizer(transform, lr)


def _root_mean_square(x: jax.Array) -> jax.Array:
    return jnp.sqrt(jnp.mean(x**2))


# Looked up by the names of torch.optim.
OPTIMIZERS: dict[str, Callable[..., Optimizer]] = {
    "ASGD": _asgd,
    "Adadelta": _adadelta,
    "Adafactor": _adafactor,
    "Adagrad": _adagrad,
    "Adam": _adam,
    "AdamW": _adamw,
    "Adamax": _adamax,
    "NAdam": _nadam,
    "RAdam": _radam,
    "RMSprop": _rmsprop,
    "Rprop": _rprop,
    "SGD": _sgd,
}

# Looked up by the names of optax; its older versions have fewer.
OPTAX_OPTIMIZERS: dict[str, Callable[..., optax.GradientTransformation]] = {
    name: getattr(optax, name)
    for name in (
        "adabelief",
        "adadelta",
        "adafactor",
        "adagrad",
        "adam",
        "adamax",
        "adamaxw",
        "adamw",
        "adan",
        "amsgrad",
        "fromage",
        "lamb",
        "lars",
        "lion",
        "nadam",
        "nadamw",
        "novograd",
        "optimistic_adam_v2",
        "optimistic_gradient_descent",
        "radam",
        "rmsprop",
        "sgd",
        "sign_sgd",
        "signum",
        "sm3",
        "yogi",
    )
    if hasattr(optax, name)
}

_EVALUATES_LOSS = "it evaluates the loss more than once a step"
_REFUSED = {
    "LBFGS": _EVALUATES_LOSS,
    "Muon": "it takes matrices only, and the network has vectors of biases",
    "SparseAdam": "it takes sparse gradients, and the network's are dense",
    "lbfgs": _EVALUATES_LOSS,
    "noisy_sgd": "it needs random numbers at each step",
    "optimistic_adam": "optax has replaced it by optimistic_adam_v2",
    "polyak_sgd": "it needs the value of the loss",
    "rprop": "it reads the learning rate only before the first step; see Rprop",
}
_REFUSED_PARAMS = {
    **dict.fromkeys(
        ("capturable", "differentiable", "foreach", "fused"),
        "it only chooses how PyTorch computes; leave it out",
    ),
    "t0": "it places the start of an average of weights that nothing reads",
}

# Parameters of optax's that text cannot give, or that leave float32.
_NOT_NUMBERS = (
    "accumulator_dtype",
    "dtype_momentum",
    "mask",
    "mu_dtype",
    "trust_ratio_mask",
    "weight_decay_mask",
)
_RATE = "learning_rate"
_MOMENTUM_NAMES = ("b1", "momentum")


def _from_optax(
    name: str, params: Mapping[str, Any], momentum_changes: bool
) -> Optimizer:
    """Builds one of optax's, anew at each step with the rate of the moment.

    The rate is where optax has it, before a momentum or after, linear or not; only what
    an optimizer remembers must not depend on it.
    """
    alias = OPTAX_OPTIMIZERS[name]
    defaults = {
        key: parameter.default
        for key, parameter in inspect.signature(alias).parameters.items()
        if key not in _NOT_NUMBERS
    }
    constants = {_RATE if key == "lr" else key: value for key, value in params.items()}
    if len(constants) < len(params):
        raise ValueError(f"{name} takes lr or learning_rate, got both.")
    if unknown := sorted(set(constants) - set(defaults)):
        raise ValueError(f"{name} takes {['lr', *defaults]}, got {unknown}.")
    if _RATE not in constants:
        raise ValueError(f"{name} needs ['learning_rate'], or lr for short.")
    rate = constants.pop(_RATE)
    check_number(f"{name}: learning_rate", rate)
    for key, value in constants.items():
        if isinstance(defaults[key], bool):
            check_flag(f"{name}: {key}", value)
        # Where optax has None by default, or here as well, it means without.
        elif value is not None or not (
            defaults[key] is None or key == "clipping_threshold"
        ):
            check_number(f"{name}: {key}", value)
    momentum_name = next((key for key in _MOMENTUM_NAMES if key in defaults), None)
    if momentum_changes and momentum_name and constants.get(momentum_name) is None:
        # A number, so that there is memory for it.
        constants[momentum_name] = defaults[momentum_name] or 0.0

    def build(
        learning_rate: ArrayLike, momentum: ArrayLike | None
    ) -> optax.GradientTransformationExtraArgs:
        arguments = {**constants, _RATE: learning_rate}
        if momentum is not None and momentum_name is not None:
            arguments[momentum_name] = momentum
        return optax.with_extra_args_support(alias(**arguments))

    def update(
        updates: optax.Updates,
        state: optax.OptState,
        params: optax.Params | None = None,
        *,
        learning_rate: ArrayLike,
        momentum: ArrayLike | None = None,
        **extra: Any,
    ) -> tuple[optax.Updates, optax.OptState]:
        if not momentum_changes:
            _refuse_momentum(momentum)
        changed: tuple[optax.Updates, optax.OptState] = build(
            jnp.asarray(learning_rate), momentum
        ).update(updates, state, params, **extra)
        return changed

    return Optimizer(
        optax.GradientTransformationExtraArgs(build(1.0, None).init, update),
        rate,
        has_momentum=momentum_name is not None,
    )


def make_optimizer(
    name: str, params: Mapping[str, Any], *, momentum_changes: bool = False
) -> Optimizer:
    """Builds an optimizer.

    Args:
      name: Name in `OPTIMIZERS`, as in `torch.optim`, or in `OPTAX_OPTIMIZERS`, as in
        optax.
      params: Parameters by the names there, and the defaults there for those left out.
        Optax's `learning_rate` may be called `lr`.
      momentum_changes: Whether a schedule changes the momentum or first beta; each
        step is then told it as `momentum`.

    Returns:
      The optimizer; weight decay acts on every parameter. What takes norms or means of
      a parameter array, such as Adafactor, must be given one network's: lift `update`
      over seeds by `vmap`.

    Raises:
      ValueError: If the name or a parameter is unknown or out of range, or there is no
        momentum to change.
    """
    known = OPTIMIZERS | OPTAX_OPTIMIZERS
    by_name.look_up(name, "optim_cls", known, _REFUSED)
    optimizer: Optimizer
    if name in OPTAX_OPTIMIZERS:
        optimizer = _from_optax(name, params, momentum_changes)
    else:
        optimizer = by_name.call(
            OPTIMIZERS[name], name, params, momentum_changes, refused=_REFUSED_PARAMS
        )
    if momentum_changes and not optimizer.has_momentum:
        raise ValueError(f"{name} has no momentum that could be changed.")
    return optimizer
