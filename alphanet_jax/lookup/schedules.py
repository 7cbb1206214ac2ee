"""Learning rate schedules by PyTorch's names, with its meanings, and by optax's.

A schedule is stepped once an epoch. It is computed for all epochs at once, on the host
in float64, and gives for an epoch what PyTorch's optimizer would then have. Its
documentation has closed forms that differ from that at a few odd values.

Notation: E epochs, e an epoch, counted from 0.
"""

import inspect
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from alphanet_jax.lookup import by_name
from alphanet_jax.lookup.by_name import check_flag, check_integer, check_number

__all__ = [
    "OPTAX_SCHEDULES",
    "SCHEDULES",
    "Schedule",
    "learning_rates",
    "make_schedule",
]


class Schedule(NamedTuple):
    """What changes from epoch to epoch.

    Attributes:
      learning_rate: Rates, with shape `[E]`, float64.
      momentum: Momenta, or first betas, with shape `[E]`, float64; None where the
        schedule leaves them alone.
    """

    learning_rate: np.ndarray
    momentum: np.ndarray | None = None


# Builders take by position what the program gives, and by keyword what a person does.


def _step_lr(
    rate: float, num_epochs: int, /, *, step_size: int, gamma: float = 0.1
) -> list[float]:
    check_integer("StepLR: step_size", step_size, least=1)
    check_number("StepLR: gamma", gamma)
    return [rate * gamma ** (epoch // step_size) for epoch in range(num_epochs)]


def _multi_step_lr(
    rate: float, num_epochs: int, /, *, milestones: Sequence[int], gamma: float = 0.1
) -> list[float]:
    if not isinstance(milestones, list | tuple):
        raise ValueError(
            f"MultiStepLR: milestones must be a list of epochs, got {milestones!r}."
        )
    for milestone in milestones:
        check_integer("MultiStepLR: each of milestones", milestone, least=0)
    check_number("MultiStepLR: gamma", gamma)
    return [
        rate * gamma ** sum(milestone <= epoch for milestone in milestones)
        for epoch in range(num_epochs)
    ]


def _exponential_lr(rate: float, num_epochs: int, /, *, gamma: float) -> list[float]:
    check_number("ExponentialLR: gamma", gamma)
    return [rate * gamma**epoch for epoch in range(num_epochs)]


def _constant_lr(
    rate: float, num_epochs: int, /, *, factor: float = 1 / 3, total_iters: int = 5
) -> list[float]:
    # PyTorch ends it with a division by the factor.
    check_number("ConstantLR: factor", factor, "(0, 1]")
    check_integer("ConstantLR: total_iters", total_iters, least=0)
    # It never ends if it has no iterations: PyTorch then misses the moment.
    end = total_iters or math.inf
    return [rate if epoch >= end else rate * factor for epoch in range(num_epochs)]


def _linear_lr(
    rate: float,
    num_epochs: int,
    /,
    *,
    start_factor: float = 1 / 3,
    end_factor: float = 1.0,
    total_iters: int = 5,
) -> list[float]:
    check_number("LinearLR: start_factor", start_factor, "(0, 1]")
    check_number("LinearLR: end_factor", end_factor, "[0, 1]")
    check_integer("LinearLR: total_iters", total_iters, least=0)
    # Without iterations PyTorch stays at the start.
    parts = (
        min(epoch, total_iters) / (total_iters or 1) for epoch in range(num_epochs)
    )
    return [
        rate * (start_factor + (end_factor - start_factor) * part) for part in parts
    ]


def _polynomial_lr(
    rate: float, num_epochs: int, /, *, total_iters: int = 5, power: float = 1.0
) -> list[float]:
    check_integer("PolynomialLR: total_iters", total_iters, least=0)
    check_number("PolynomialLR: power", power)
    # Without iterations PyTorch stays at the start.
    parts = (
        min(epoch, total_iters) / (total_iters or 1) for epoch in range(num_epochs)
    )
    return [rate * (1 - part) ** power for part in parts]


def _along_cosine(start: float, end: float, part: float) -> float:
    """Goes from `start` to `end` along half a cosine, and on beyond it."""
    return end + (start - end) * (1 + math.cos(math.pi * part)) / 2


def _along_line(start: float, end: float, part: float) -> float:
    return start + (end - start) * part


def _cosine_annealing_lr(
    rate: float, num_epochs: int, /, *, T_max: int, eta_min: float = 0.0
) -> list[float]:
    check_integer("CosineAnnealingLR: T_max", T_max, least=1)
    check_number("CosineAnnealingLR: eta_min", eta_min)
    # After T_max epochs it rises again.
    return [_along_cosine(rate, eta_min, epoch / T_max) for epoch in range(num_epochs)]


def _cosine_annealing_warm_restarts(
    rate: float,
    num_epochs: int,
    /,
    *,
    T_0: int,
    T_mult: int = 1,
    eta_min: float = 0.0,
) -> list[float]:
    check_integer("CosineAnnealingWarmRestarts: T_0", T_0, least=1)
    check_integer("CosineAnnealingWarmRestarts: T_mult", T_mult, least=1)
    check_number("CosineAnnealingWarmRestarts: eta_min", eta_min)
    rates: list[float] = []
    period = T_0
    while len(rates) < num_epochs:
        rates += [
            _along_cosine(rate, eta_min, i / period)
            for i in range(min(period, num_epochs))
        ]
        period *= T_mult
    return rates[:num_epochs]


def _momentum_limits(
    name: str,
    cycle_momentum: bool,
    base: float | None,
    most: float | None,
    defaults: tuple[float, float],
) -> tuple[float, float] | None:
    """Checks what a schedule is told of momentum; None if it leaves it alone."""
    check_flag(f"{name}: cycle_momentum", cycle_momentum)
    if not cycle_momentum:
        if base is not None or most is not None:
            raise ValueError(
                f"{name}: base_momentum and max_momentum mean nothing with "
                f"cycle_momentum=false, got {base!r} and {most!r}."
            )
        return None
    base = defaults[0] if base is None else base
    most = defaults[1] if most is None else most
    # At 0 PyTorch would leave the momentum's buffer as it is.
    check_number(f"{name}: base_momentum", base, "(0, 1)")
    check_number(f"{name}: max_momentum", most, "(0, 1)")
    return base, most


def _one_cycle_lr(
    rate: float,
    num_epochs: int,
    /,
    *,
    max_lr: float,
    total_steps: int | None = None,
    epochs: int | None = None,
    steps_per_epoch: int | None = None,
    pct_start: float = 0.3,
    anneal_strategy: str = "cos",
    cycle_momentum: bool = True,
    base_momentum: float | None = None,
    max_momentum: float | None = None,
    div_factor: float = 25.0,
    final_div_factor: float = 1e4,
    three_phase: bool = False,
) -> Schedule:
    del rate  # as in PyTorch
    if (epochs is None) != (steps_per_epoch is None) or (
        (total_steps is None) == (epochs is None)
    ):
        raise ValueError(
            "OneCycleLR needs either total_steps or both epochs and steps_per_epoch, "
            f"got {total_steps=}, {epochs=}, {steps_per_epoch=}."
        )
    if total_steps is None:
        check_integer("OneCycleLR: epochs", epochs, least=1)
        check_integer("OneCycleLR: steps_per_epoch", steps_per_epoch, least=1)
        assert epochs is not None
        assert steps_per_epoch is not None
        total_steps = epochs * steps_per_epoch
    check_integer("OneCycleLR: total_steps", total_steps, least=1)
    if num_epochs > total_steps:
        raise ValueError(
            f"OneCycleLR is over after {total_steps} steps, one an epoch, "
            f"and there are {num_epochs} epochs."
        )
    check_number("OneCycleLR: max_lr", max_lr)
    check_number("OneCycleLR: pct_start", pct_start, "[0, 1]")
    check_number("OneCycleLR: div_factor", div_factor, "(0, inf)")
    check_number("OneCycleLR: final_div_factor", final_div_factor, "(0, inf)")
    check_flag("OneCycleLR: three_phase", three_phase)
    along = {"cos": _along_cosine, "linear": _along_line}.get(anneal_strategy)
    if along is None:
        raise ValueError(
            "OneCycleLR: anneal_strategy must be 'cos' or 'linear', "
            f"got {anneal_strategy!r}."
        )
    limits = _momentum_limits(
        "OneCycleLR", cycle_momentum, base_momentum, max_momentum, (0.85, 0.95)
    )
    low, high = limits or (0.0, 0.0)
    initial_lr = max_lr / div_factor
    # The corners of the curve, and how high it is there.
    rise = pct_start * total_steps
    corners = [0.0, rise - 1]
    rates, momenta = [initial_lr, max_lr], [high, low]
    if three_phase:
        corners.append(2 * rise - 2)
        rates.append(initial_lr)
        momenta.append(high)
    corners.append(total_steps - 1)
    rates.append(initial_lr / final_div_factor)
    momenta.append(high)

    def at(epoch: int, heights: Sequence[float]) -> float:
        last = len(corners) - 2
        phase = next((i for i in range(last) if epoch <= corners[i + 1]), last)
        length = corners[phase + 1] - corners[phase]
        if length == 0:
            raise ValueError(
                f"OneCycleLR: {pct_start=} of {total_steps=} leaves a phase empty."
            )
        part = (epoch - corners[phase]) / length
        return along(heights[phase], heights[phase + 1], part)

    return _schedule(
        [at(epoch, rates) for epoch in range(num_epochs)],
        [at(epoch, momenta) for epoch in range(num_epochs)] if limits else None,
    )


def _cyclic_lr(
    rate: float,
    num_epochs: int,
    /,
    *,
    base_lr: float,
    max_lr: float,
    step_size_up: int = 2000,
    step_size_down: int | None = None,
    mode: str = "triangular",
    gamma: float | None = None,
    cycle_momentum: bool = True,
    base_momentum: float | None = None,
    max_momentum: float | None = None,
) -> Schedule:
    del rate  # as in PyTorch
    check_number("CyclicLR: base_lr", base_lr)
    check_number("CyclicLR: max_lr", max_lr)
    check_integer("CyclicLR: step_size_up", step_size_up, least=1)
    if step_size_down is None:
        step_size_down = step_size_up
    check_integer("CyclicLR: step_size_down", step_size_down, least=0)
    modes = ("triangular", "triangular2", "exp_range")
    if mode not in modes:
        raise ValueError(f"CyclicLR: mode must be one of {modes}, got {mode!r}.")
    if gamma is None:
        gamma = 1.0
    elif mode != "exp_range":
        raise ValueError(
            f"CyclicLR: gamma means nothing with {mode=}, got {gamma!r}; "
            "give mode='exp_range' or leave it out."
        )
    check_number("CyclicLR: gamma", gamma)
    limits = _momentum_limits(
        "CyclicLR", cycle_momentum, base_momentum, max_momentum, (0.8, 0.9)
    )
    heights = []  # above the base, as a part of the range
    for epoch in range(num_epochs):
        cycle, place = divmod(epoch, step_size_up + step_size_down)
        if place <= step_size_up:
            height = place / step_size_up
        else:
            height = 1 - (place - step_size_up) / step_size_down
        if mode == "triangular2":
            height /= 2**cycle
        heights.append(height * gamma**epoch)
    return _schedule(
        [_along_line(base_lr, max_lr, height) for height in heights],
        # Momentum is low where the rate is high.
        [_along_line(limits[1], limits[0], height) for height in heights]
        if limits
        else None,
    )


SCHEDULES: dict[str, Callable[..., Schedule | list[float]]] = {
    "ConstantLR": _constant_lr,
    "CosineAnnealingLR": _cosine_annealing_lr,
    "CosineAnnealingWarmRestarts": _cosine_annealing_warm_restarts,
    "CyclicLR": _cyclic_lr,
    "ExponentialLR": _exponential_lr,
    "LinearLR": _linear_lr,
    "MultiStepLR": _multi_step_lr,
    "OneCycleLR": _one_cycle_lr,
    "PolynomialLR": _polynomial_lr,
    "StepLR": _step_lr,
}

# Each with its parameter that is the optimizer's learning rate where it is left out.
OPTAX_SCHEDULES: dict[str, str] = {
    "constant_schedule": "value",
    "cosine_decay_schedule": "init_value",
    "cosine_onecycle_schedule": "peak_value",
    "exponential_decay": "init_value",
    "linear_onecycle_schedule": "peak_value",
    "linear_schedule": "init_value",
    "piecewise_constant_schedule": "init_value",
    "piecewise_interpolate_schedule": "init_value",
    "polynomial_schedule": "init_value",
    "warmup_constant_schedule": "peak_value",
    "warmup_cosine_decay_schedule": "peak_value",
    "warmup_exponential_decay_schedule": "peak_value",
}

_NEEDS_FUNCTION = "it needs a function, which text cannot give"
_NEEDS_SCHEDULES = "it is made of other schedules"
_REFUSED = {
    "LambdaLR": _NEEDS_FUNCTION,
    "MultiplicativeLR": _NEEDS_FUNCTION,
    "ReduceLROnPlateau": "it needs a metric, and the rates are known before training",
    "ChainedScheduler": _NEEDS_SCHEDULES,
    "SequentialLR": _NEEDS_SCHEDULES,
    "join_schedules": _NEEDS_SCHEDULES,
    "sgdr_schedule": f"{_NEEDS_SCHEDULES}; see CosineAnnealingWarmRestarts",
}
_REFUSED_PARAMS = {
    "last_epoch": "training begins with the first epoch",
    "scale_fn": _NEEDS_FUNCTION,
    "scale_mode": "it means nothing without scale_fn",
    "verbose": "nothing is printed",
}


def _schedule(
    learning_rate: Sequence[float] | np.ndarray,
    momentum: Sequence[float] | None = None,
) -> Schedule:
    return Schedule(
        np.asarray(learning_rate, np.float64),
        None if momentum is None else np.asarray(momentum, np.float64),
    )


def _check_optax_param(name: str, value: Any) -> Any:
    """Checks a parameter of one of optax's schedules by what its name says."""
    param = name.rpartition(" ")[2]
    if param == "staircase":
        check_flag(name, value)
    elif param == "interpolate_type":
        if value not in ("linear", "cosine"):
            raise ValueError(f"{name} must be 'linear' or 'cosine', got {value!r}.")
    elif param == "boundaries_and_scales":
        # The keys of a JSON object are text.
        if not isinstance(value, Mapping) or not all(str(k).isdigit() for k in value):
            raise ValueError(f"{name} must have a scale for epochs, got {value!r}.")
        for scale in value.values():
            check_number(f"{name}: each scale", scale)
        return {int(epoch): scale for epoch, scale in value.items()}
    elif param == "warmup_steps" or param == "transition_begin":
        check_integer(name, value, least=0)
    elif param.endswith("_steps"):
        check_integer(name, value, least=1)
    else:
        check_number(name, value)
    return value


def _from_optax(
    name: str, params: Mapping[str, Any], learning_rate: float, num_epochs: int
) -> np.ndarray:
    function = getattr(optax, name)
    allowed = inspect.signature(function).parameters
    if unknown := sorted(set(params) - set(allowed)):
        raise ValueError(f"{name} takes {list(allowed)}, got {unknown}.")
    given = {OPTAX_SCHEDULES[name]: learning_rate, **params}
    needed = {key for key, p in allowed.items() if p.default is p.empty}
    if missing := sorted(needed - set(given)):
        raise ValueError(f"{name} needs {missing}.")
    checked = {
        key: _check_optax_param(f"{name}: {key}", value) for key, value in given.items()
    }
    if num_epochs == 0:
        return np.zeros(0)
    with jax.enable_x64(True):
        rates = jax.jit(jax.vmap(function(**checked)))(jnp.arange(num_epochs))
        return np.asarray(rates, np.float64)


def make_schedule(
    name: str,
    params: Mapping[str, Any],
    *,
    learning_rate: float,
    num_epochs: int,
    has_momentum: bool = False,
) -> Schedule:
    """Computes what changes from epoch to epoch.

    Args:
      name: Name in `SCHEDULES`, as in `torch.optim.lr_scheduler`, or in
        `OPTAX_SCHEDULES`, as in optax.
      params: Parameters by the names there. Of optax's, the one that stands for the
        highest or first rate is the optimizer's where it is left out.
      learning_rate: The optimizer's learning rate.
      num_epochs: Number of epochs E.
      has_momentum: Whether the optimizer has a momentum that can be changed.

    Returns:
      The schedule. With a momentum, the optimizer must be built to have its changed.

    Raises:
      ValueError: If the name or a parameter is unknown or out of range.

    Examples:
      >>> params = {"max_lr": 1.0, "total_steps": 5, "anneal_strategy": "linear"}
      >>> params |= {"pct_start": 0.6, "div_factor": 4, "final_div_factor": 1}
      >>> make_schedule(
      ...     "OneCycleLR", params, learning_rate=0.1, num_epochs=5, has_momentum=True
      ... ).learning_rate.tolist()
      [0.25, 0.625, 1.0, 0.625, 0.25]
    """
    known = SCHEDULES | OPTAX_SCHEDULES
    by_name.look_up(name, "lr_sched_cls", known, _REFUSED)
    if name in OPTAX_SCHEDULES:
        made: Any = _from_optax(name, params, learning_rate, num_epochs)
    else:
        try:
            made = by_name.call(
                SCHEDULES[name],
                name,
                params,
                learning_rate,
                num_epochs,
                refused=_REFUSED_PARAMS,
            )
        except OverflowError:
            raise ValueError(f"{name} with {dict(params)} overflows.") from None
    schedule = made if isinstance(made, Schedule) else _schedule(made)
    wrong = ~(schedule.learning_rate >= 0) | np.isinf(schedule.learning_rate)
    if wrong.any():
        epoch = int(wrong.argmax())
        raise ValueError(
            f"{name} with {dict(params)} gives the learning rate "
            f"{schedule.learning_rate[epoch]} in epoch {epoch + 1}."
        )
    if schedule.momentum is not None and not has_momentum:
        raise ValueError(
            f"{name} changes the momentum or first beta too, and this optimizer has "
            "none; give cycle_momentum=false."
        )
    return schedule


def learning_rates(
    name: str, params: Mapping[str, Any], *, learning_rate: float, num_epochs: int
) -> np.ndarray:
    """Computes the learning rate of every epoch, of a schedule that changes no more.

    Args:
      name: Name of a schedule, see `make_schedule`.
      params: Its parameters.
      learning_rate: The optimizer's learning rate.
      num_epochs: Number of epochs E.

    Returns:
      Rates, with shape `[E]`, float64.

    Raises:
      ValueError: If the name or a parameter is unknown or out of range, or the schedule
        changes the momentum too.

    Examples:
      >>> params = {"step_size": 2, "gamma": 0.5}
      >>> learning_rates("StepLR", params, learning_rate=1.0, num_epochs=5).tolist()
      [1.0, 1.0, 0.5, 0.5, 0.25]
    """
    schedule = make_schedule(
        name,
        params,
        learning_rate=learning_rate,
        num_epochs=num_epochs,
        has_momentum=True,
    )
    if schedule.momentum is not None:
        raise ValueError(
            f"{name} changes the momentum too, and only learning rates are asked for; "
            "give cycle_momentum=false."
        )
    return schedule.learning_rate
