"""Learning rate schedules by PyTorch's names, with its meanings, and by optax's.

A schedule is stepped once an epoch. It is computed for all epochs at once, on the host
in float64: for each epoch the value that PyTorch's optimizer would have in it. The
closed forms of PyTorch's documentation differ from that at a few odd values.

Notation: E epochs, e an epoch, counted from 0.
"""

import inspect
import math
from collections.abc import Callable, Mapping
from types import SimpleNamespace
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from alphanet_jax.lookup import by_name
from alphanet_jax.lookup.by_name import REQUIRED, Param, Row, check

__all__ = ["OPTAX_SCHEDULES", "SCHEDULES", "Schedule", "make_schedule"]


class Schedule(NamedTuple):
    """What changes from epoch to epoch.

    Attributes:
      learning_rate: Rates, with shape `[E]`, float64.
      momentum: Momenta, or first betas, with shape `[E]`, float64; None where the
        schedule leaves them alone.
    """

    learning_rate: np.ndarray
    momentum: np.ndarray | None = None


# A rule takes the optimizer's learning rate and the number of epochs E, then the
# schedule's parameters, and returns the learning rates and the momenta or first betas
# of all epochs, both with shape `[E]`; None for momenta that it leaves alone.
_Curves = tuple[Any, Any]


def _each_epoch(rate_in: Callable[..., float]) -> Callable[..., _Curves]:
    """Makes a rule of the rate in one epoch, `rate_in(rate, epoch, parameters)`."""

    def rule(rate: float, num_epochs: int, **params: Any) -> _Curves:
        p = SimpleNamespace(**params)
        return [rate_in(rate, epoch, p) for epoch in range(num_epochs)], None

    return rule


def _part_done(epoch: int, total_iters: int) -> float:
    """Computes the part of the iterations that is over; of none, 0 as in PyTorch."""
    return min(epoch, total_iters) / (total_iters or 1)


def _along_cosine(start: float, end: float, part: float) -> float:
    """Goes from `start` to `end` along half a cosine, and on beyond it."""
    return end + (start - end) * (1 + math.cos(math.pi * part)) / 2


def _along_line(start: float, end: float, part: float) -> float:
    return start + (end - start) * part


def _warm_restarts(
    rate: float, num_epochs: int, *, T_0: int, T_mult: int, eta_min: float
) -> _Curves:
    """Falls along half a cosine again and again, each time `T_mult` times as long."""
    rates: list[float] = []
    period = T_0
    while len(rates) < num_epochs:
        length = min(period, num_epochs)
        rates += [_along_cosine(rate, eta_min, i / period) for i in range(length)]
        period *= T_mult
    return rates[:num_epochs], None


def _momenta(name: str, p: SimpleNamespace, low: float, high: float) -> list[float]:
    """Returns the least and the largest momentum; `low` and `high` by default."""
    given = p.base_momentum, p.max_momentum
    if not p.cycle_momentum and given != (None, None):
        raise ValueError(
            f"{name}: base_momentum and max_momentum mean nothing with "
            f"cycle_momentum=false, got {given[0]!r} and {given[1]!r}."
        )
    defaults = zip(given, (low, high), strict=True)
    return [default if value is None else value for value, default in defaults]


def _one_cycle(rate: float, num_epochs: int, **params: Any) -> _Curves:
    """Rises to `max_lr` and falls far below; the momentum goes the other way."""
    del rate  # as in PyTorch
    p = SimpleNamespace(**params)
    total_steps, pct_start = p.total_steps, p.pct_start
    epochs, steps_per_epoch = p.epochs, p.steps_per_epoch
    if total_steps is None and None not in (epochs, steps_per_epoch):
        total_steps = epochs * steps_per_epoch
    elif total_steps is None or (epochs, steps_per_epoch) != (None, None):
        raise ValueError(
            "OneCycleLR needs either total_steps or both epochs and steps_per_epoch, "
            f"got {total_steps=}, {epochs=}, {steps_per_epoch=}."
        )
    if num_epochs > total_steps:
        raise ValueError(
            f"OneCycleLR is over after {total_steps} steps, one an epoch, "
            f"and there are {num_epochs} epochs."
        )
    low, high = _momenta("OneCycleLR", p, 0.85, 0.95)
    along = _along_cosine if p.anneal_strategy == "cos" else _along_line
    initial_lr = p.max_lr / p.div_factor
    rise = pct_start * total_steps
    # The corners of the curves: epoch, rate and momentum.
    corners = [(0.0, initial_lr, high), (rise - 1, p.max_lr, low)]
    if p.three_phase:
        corners.append((2 * rise - 2, initial_lr, high))
    corners.append((total_steps - 1, initial_lr / p.final_div_factor, high))

    def at(epoch: int) -> list[float]:
        last = len(corners) - 2
        phase = next((i for i in range(last) if epoch <= corners[i + 1][0]), last)
        (start, *before), (end, *after) = corners[phase : phase + 2]
        if start == end:
            raise ValueError(
                f"OneCycleLR: {pct_start=} of {total_steps=} leaves a phase empty."
            )
        part = (epoch - start) / (end - start)
        return [along(old, new, part) for old, new in zip(before, after, strict=True)]

    curves = np.reshape([at(epoch) for epoch in range(num_epochs)], (num_epochs, 2))
    return curves[:, 0], curves[:, 1] if p.cycle_momentum else None


def _cyclic(rate: float, num_epochs: int, **params: Any) -> _Curves:
    """Goes up and down between two rates; the momentum goes the other way."""
    del rate  # as in PyTorch
    p = SimpleNamespace(**params)
    mode, gamma = p.mode, p.gamma
    if gamma is not None and mode != "exp_range":
        raise ValueError(
            f"CyclicLR: gamma means nothing with {mode=}, got {gamma!r}; "
            "give mode='exp_range' or leave it out."
        )
    low, high = _momenta("CyclicLR", p, 0.8, 0.9)
    up = p.step_size_up
    down = up if p.step_size_down is None else p.step_size_down
    heights = []  # above the base, as a part of the range
    for epoch in range(num_epochs):
        cycle, place = divmod(epoch, up + down)
        height = place / up if place <= up else 1 - (place - up) / down
        if mode == "triangular2":
            height /= 2**cycle
        heights.append(height * (1.0 if gamma is None else gamma) ** epoch)
    rates = [_along_line(p.base_lr, p.max_lr, height) for height in heights]
    momenta = [_along_line(high, low, height) for height in heights]
    return rates, momenta if p.cycle_momentum else None


def _milestones(name: str, value: Any) -> Any:
    if not isinstance(value, list | tuple):
        raise ValueError(f"{name} must be a list of epochs, got {value!r}.")
    for milestone in value:
        check(name.replace(": ", ": each of "), milestone, "integer >= 0")
    return value


def _scales(name: str, value: Any) -> dict[int, float]:
    # The keys of a JSON object are text.
    if not isinstance(value, Mapping) or not all(str(k).isdigit() for k in value):
        raise ValueError(f"{name} must have a scale for epochs, got {value!r}.")
    return {int(k): check(f"{name}: each scale", v) for k, v in value.items()}


_COUNT = Param(allowed="integer >= 1")
_COUNT_OR_NONE = Param(None, "integer >= 1")
_ITERS = Param(5, "integer >= 0")
# At 0 PyTorch would leave the momentum's buffer as it is.
_MOMENTUM = Param(None, "(0, 1)")

# By the names of torch.optim.lr_scheduler: the rule, with p for the parameters, and the
# parameters with their defaults and what they may be; see `Row`.
# fmt: off
SCHEDULES: dict[str, Row] = {
    "ConstantLR": Row(
        # It never ends if it has no iterations: PyTorch then misses the moment.
        _each_epoch(lambda rate, e, p:
            rate if e >= (p.total_iters or math.inf) else rate * p.factor),
        factor=Param(1 / 3, "(0, 1]"),  # PyTorch ends it with a division by it.
        total_iters=_ITERS,
    ),
    "CosineAnnealingLR": Row(
        # After T_max epochs it rises again; optax.cosine_decay_schedule stays down.
        _each_epoch(lambda rate, e, p: _along_cosine(rate, p.eta_min, e / p.T_max)),
        T_max=_COUNT, eta_min=0.0,
    ),
    "CosineAnnealingWarmRestarts": Row(
        _warm_restarts, T_0=_COUNT, T_mult=Param(1, "integer >= 1"), eta_min=0.0,
    ),
    "CyclicLR": Row(
        _cyclic,
        base_lr=REQUIRED, max_lr=REQUIRED, step_size_up=Param(2000, "integer >= 1"),
        step_size_down=Param(None, "integer >= 0"),  # None: as up
        mode=Param("triangular", ("triangular", "triangular2", "exp_range")),
        gamma=None,  # None: 1
        cycle_momentum=True,
        base_momentum=_MOMENTUM, max_momentum=_MOMENTUM,  # None: 0.8 and 0.9
    ),
    "ExponentialLR": Row(
        _each_epoch(lambda rate, e, p: rate * p.gamma**e), gamma=REQUIRED,
    ),
    "LinearLR": Row(
        _each_epoch(lambda rate, e, p: rate * (p.start_factor
            + (p.end_factor - p.start_factor) * _part_done(e, p.total_iters))),
        start_factor=Param(1 / 3, "(0, 1]"), end_factor=Param(1.0, "[0, 1]"),
        total_iters=_ITERS,
    ),
    "MultiStepLR": Row(
        _each_epoch(lambda rate, e, p:
            rate * p.gamma ** sum(milestone <= e for milestone in p.milestones)),
        milestones=Param(allowed=_milestones), gamma=0.1,
    ),
    "OneCycleLR": Row(
        _one_cycle,
        max_lr=REQUIRED,
        total_steps=_COUNT_OR_NONE, epochs=_COUNT_OR_NONE,
        steps_per_epoch=_COUNT_OR_NONE,
        pct_start=Param(0.3, "[0, 1]"), anneal_strategy=Param("cos", ("cos", "linear")),
        cycle_momentum=True,
        base_momentum=_MOMENTUM, max_momentum=_MOMENTUM,  # None: 0.85 and 0.95
        div_factor=Param(25.0, "(0, inf)"), final_div_factor=Param(1e4, "(0, inf)"),
        three_phase=False,
    ),
    "PolynomialLR": Row(
        _each_epoch(lambda rate, e, p:
            rate * (1 - _part_done(e, p.total_iters)) ** p.power),
        total_iters=_ITERS, power=1.0,
    ),
    "StepLR": Row(
        _each_epoch(lambda rate, e, p: rate * p.gamma ** (e // p.step_size)),
        step_size=_COUNT, gamma=0.1,
    ),
}
# fmt: on

# What parameters of optax's may be; the others are numbers from 0.
_OPTAX_ALLOWED: dict[str, by_name.Allowed] = {
    "boundaries_and_scales": _scales,
    "decay_steps": "integer >= 1",
    "interpolate_type": ("linear", "cosine"),
    "staircase": "true or false",
    "transition_begin": "integer >= 0",
    "transition_steps": "integer >= 1",
    "warmup_steps": "integer >= 0",
}


def _optax_row(function: Callable[..., optax.Schedule], main: str) -> Row:
    """Makes a row of a schedule of optax's; `main` is by default the optimizer's."""

    def rule(rate: float, num_epochs: int, **params: Any) -> _Curves:
        if params[main] is None:
            params[main] = rate
        if num_epochs == 0:
            return [], None
        with jax.enable_x64(True):
            rates = jax.jit(jax.vmap(function(**params)))(jnp.arange(num_epochs))
            return np.asarray(rates, np.float64), None

    params = inspect.signature(function).parameters
    defaults = {key: param.default for key, param in params.items()} | {main: None}
    return Row(
        rule,
        **{
            key: Param(default, _OPTAX_ALLOWED.get(key, "[0, inf)"))
            for key, default in defaults.items()
        },
    )


# By the names of optax, each with its parameter that is the optimizer's learning rate
# where it is left out.
OPTAX_SCHEDULES: dict[str, Row] = {
    name: _optax_row(getattr(optax, name), main)
    for name, main in {
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
    }.items()
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
      The schedule. If it has a momentum, build the optimizer with `momentum_changes`.

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
    row: Row = by_name.look_up(name, "lr_sched_cls", known, _REFUSED)
    refused = _REFUSED_PARAMS if name in SCHEDULES else None
    values = row.bind(name, params, refused=refused)
    try:
        rates, momenta = row.rule(learning_rate, num_epochs, **values)
    except OverflowError:
        raise ValueError(f"{name} with {dict(params)} overflows.") from None
    rates = np.asarray(rates, np.float64)
    wrong = ~((rates >= 0) & (rates <= by_name.MOST_FLOAT32))
    if wrong.any():
        epoch = int(wrong.argmax())
        raise ValueError(
            f"{name} with {dict(params)} gives the learning rate "
            f"{rates[epoch]} in epoch {epoch + 1}."
        )
    if momenta is None:
        return Schedule(rates)
    if not has_momentum:
        raise ValueError(
            f"{name} changes the momentum or first beta too, and this optimizer has "
            "none; give cycle_momentum=false."
        )
    return Schedule(rates, np.asarray(momenta, np.float64))
