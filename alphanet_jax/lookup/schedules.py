"""Learning rate schedules by PyTorch's names, with its meanings, and by optax's.

A schedule is stepped once an epoch. It is computed for all epochs at once, on the host
in float64, and gives for an epoch what PyTorch's optimizer would then have. PyTorch's
documentation has closed forms that differ from that at a few odd values.

Notation: E epochs, e an epoch, counted from 0.
"""

import inspect
import math
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from alphanet_jax.lookup import by_name
from alphanet_jax.lookup.by_name import REQUIRED, Param, Row, check
from alphanet_jax.lookup.curves import (
    Curves,
    along_cosine,
    cyclic,
    each_epoch,
    one_cycle,
    part_done,
    warm_restarts,
)

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
        each_epoch(lambda rate, e, p:
            rate if e >= (p.total_iters or math.inf) else rate * p.factor),
        factor=Param(1 / 3, "(0, 1]"),  # PyTorch ends it with a division by it.
        total_iters=_ITERS,
    ),
    "CosineAnnealingLR": Row(
        # After T_max epochs it rises again; optax.cosine_decay_schedule stays down.
        each_epoch(lambda rate, e, p: along_cosine(rate, p.eta_min, e / p.T_max)),
        T_max=_COUNT, eta_min=0.0,
    ),
    "CosineAnnealingWarmRestarts": Row(
        warm_restarts, T_0=_COUNT, T_mult=Param(1, "integer >= 1"), eta_min=0.0,
    ),
    "CyclicLR": Row(
        cyclic,
        base_lr=REQUIRED, max_lr=REQUIRED, step_size_up=Param(2000, "integer >= 1"),
        step_size_down=Param(None, "integer >= 0"),  # None: as up
        mode=Param("triangular", ("triangular", "triangular2", "exp_range")),
        gamma=None,  # None: 1
        cycle_momentum=True,
        base_momentum=_MOMENTUM, max_momentum=_MOMENTUM,  # None: 0.8 and 0.9
    ),
    "ExponentialLR": Row(
        each_epoch(lambda rate, e, p: rate * p.gamma**e), gamma=REQUIRED,
    ),
    "LinearLR": Row(
        each_epoch(lambda rate, e, p: rate * (p.start_factor
            + (p.end_factor - p.start_factor) * part_done(e, p.total_iters))),
        start_factor=Param(1 / 3, "(0, 1]"), end_factor=Param(1.0, "[0, 1]"),
        total_iters=_ITERS,
    ),
    "MultiStepLR": Row(
        each_epoch(lambda rate, e, p:
            rate * p.gamma ** sum(milestone <= e for milestone in p.milestones)),
        milestones=Param(allowed=_milestones), gamma=0.1,
    ),
    "OneCycleLR": Row(
        one_cycle,
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
        each_epoch(lambda rate, e, p:
            rate * (1 - part_done(e, p.total_iters)) ** p.power),
        total_iters=_ITERS, power=1.0,
    ),
    "StepLR": Row(
        each_epoch(lambda rate, e, p: rate * p.gamma ** (e // p.step_size)),
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

    def rule(rate: float, num_epochs: int, **params: Any) -> Curves:
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
    wrong = ~((rates >= 0) & (rates < np.inf))
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


def learning_rates(
    name: str, params: Mapping[str, Any], *, learning_rate: float, num_epochs: int
) -> np.ndarray:
    """Computes the learning rate of every epoch, of a schedule that changes no more.

    Takes and raises what `make_schedule` does, and raises ValueError too if the
    schedule changes the momentum.

    Returns:
      Rates, with shape `[E]`, float64.

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
