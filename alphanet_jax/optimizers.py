"""Optimizers and learning rate schedules by PyTorch's names, with its meanings.

The schedule is stepped once an epoch and gives one learning rate for each; the
optimizer takes the rate of the moment as the extra argument `learning_rate` of its
`update`, so a schedule, or a sweep over rates, never recompiles a training step.
"""

import json
import math
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from alphanet_jax.errors import did_you_mean

__all__ = [
    "OPTIMIZERS",
    "SCHEDULES",
    "Optimizer",
    "learning_rates",
    "make_optimizer",
    "parse_params",
]


class Optimizer(NamedTuple):
    """A gradient transformation and the learning rate that a schedule begins with."""

    transform: optax.GradientTransformationExtraArgs
    learning_rate: float


def parse_params(text: str) -> dict[str, Any]:
    """Parses `key=value,key=value`; values are JSON, brackets may hold commas.

    Args:
      text: For example `lr=0.001,betas=[0.8,0.99]`; may be empty.

    Returns:
      The values by key.

    Raises:
      ValueError: If the text is not of this form or a key comes twice.

    Examples:
      >>> parse_params("lr=0.001,betas=[0.8,0.99]")
      {'lr': 0.001, 'betas': [0.8, 0.99]}
    """
    params: dict[str, Any] = {}
    decoder = json.JSONDecoder()
    rest = text.strip()
    while rest:
        key, equals, rest = rest.partition("=")
        key = key.strip()
        try:
            value, end = decoder.raw_decode(rest.lstrip())
        except ValueError:
            value, end = None, -1
        rest = rest.lstrip()[end:].lstrip()
        ends_well = not rest or (rest[0] == "," and rest[1:].strip())
        if not key.isidentifier() or not equals or end < 0 or not ends_well:
            raise ValueError(f"expected key=value,key=value with JSON values: {text!r}")
        if key in params:
            raise ValueError(f"{key!r} is given twice: {text!r}")
        params[key] = value
        rest = rest[1:].lstrip()
    return params


def _scale_by_negative_learning_rate() -> optax.GradientTransformationExtraArgs:
    """Multiplies updates by minus the extra argument `learning_rate`."""

    def update(
        updates: optax.Updates,
        state: optax.EmptyState,
        params: optax.Params | None = None,
        *,
        learning_rate: jax.typing.ArrayLike,
        **extra: Any,
    ) -> tuple[optax.Updates, optax.EmptyState]:
        del params, extra
        return jax.tree.map(lambda u: u * -jnp.asarray(learning_rate), updates), state

    return optax.GradientTransformationExtraArgs(
        lambda params: optax.EmptyState(), update
    )


def _check_number(
    name: str, value: Any, *, least: float = 0.0, below: float = math.inf
) -> None:
    """Checks a parameter that a person has given."""
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if not number or not least <= value < below:
        limits = f"a number in [{least:g}, {below:g})"
        raise ValueError(f"{name} must be {limits}, got {value!r}.")


def _adamw(
    *,
    lr: float = 1e-3,
    betas: tuple[float, float] = (0.9, 0.999),
    eps: float = 1e-8,
    weight_decay: float = 1e-2,
) -> Optimizer:
    _check_number("AdamW: lr", lr)
    _check_number("AdamW: eps", eps)
    _check_number("AdamW: weight_decay", weight_decay)
    if not isinstance(betas, list | tuple) or len(betas) != 2:
        raise ValueError(f"AdamW: betas must be two numbers, got {betas!r}.")
    for beta in betas:
        _check_number("AdamW: each of betas", beta, below=1.0)
    return Optimizer(
        optax.chain(
            optax.scale_by_adam(b1=betas[0], b2=betas[1], eps=eps),
            optax.add_decayed_weights(weight_decay),
            _scale_by_negative_learning_rate(),
        ),
        lr,
    )


def _step_lr(
    rate: float, epochs: int, *, step_size: int, gamma: float = 0.1
) -> np.ndarray:
    _check_number("StepLR: step_size", step_size, least=1)
    _check_number("StepLR: gamma", gamma)
    return np.asarray(rate * gamma ** (np.arange(epochs) // step_size), np.float64)


# Looked up by the names of torch.optim and torch.optim.lr_scheduler.
OPTIMIZERS: dict[str, Callable[..., Optimizer]] = {"AdamW": _adamw}
SCHEDULES: dict[str, Callable[..., np.ndarray]] = {"StepLR": _step_lr}


def _look_up(table: Mapping[str, Any], name: str, what: str) -> Any:
    if name not in table:
        raise ValueError(f"unknown {what} {name!r}; {did_you_mean(name, table)}")
    return table[name]


def _call(function: Callable[..., Any], name: str, *args: Any, **params: Any) -> Any:
    """Calls a builder; a parameter that it does not take is named, with those it does.

    Builders take their parameters by keyword only, which is what tells the two apart.
    """
    defaults = function.__kwdefaults__ or {}
    code = function.__code__
    first = code.co_argcount
    allowed = code.co_varnames[first : first + code.co_kwonlyargcount]
    if unknown := sorted(set(params) - set(allowed)):
        raise ValueError(f"{name} takes {list(allowed)}, got {unknown}.")
    if missing := sorted(set(allowed) - set(defaults) - set(params)):
        raise ValueError(f"{name} needs {missing}.")
    return function(*args, **params)


def make_optimizer(name: str, params: Mapping[str, Any]) -> Optimizer:
    """Builds an optimizer.

    Args:
      name: Name in `OPTIMIZERS`, as in `torch.optim`.
      params: Parameters by torch's names; torch's defaults for those left out.

    Returns:
      The optimizer; weight decay acts on every parameter.

    Raises:
      ValueError: If the name or a parameter is unknown.
    """
    optimizer: Optimizer = _call(
        _look_up(OPTIMIZERS, name, "optim_cls"), name, **params
    )
    return optimizer


def learning_rates(
    name: str, params: Mapping[str, Any], *, learning_rate: float, num_epochs: int
) -> np.ndarray:
    """Computes the learning rate of every epoch.

    Args:
      name: Name in `SCHEDULES`, as in `torch.optim.lr_scheduler`.
      params: Parameters by torch's names.
      learning_rate: The optimizer's learning rate.
      num_epochs: Number of epochs E.

    Returns:
      Rates, with shape `[E]`, float64.

    Raises:
      ValueError: If the name or a parameter is unknown.

    Examples:
      >>> params = {"step_size": 2, "gamma": 0.5}
      >>> learning_rates("StepLR", params, learning_rate=1.0, num_epochs=5).tolist()
      [1.0, 1.0, 0.5, 0.5, 0.25]
    """
    schedule = _look_up(SCHEDULES, name, "lr_sched_cls")
    rates: np.ndarray = _call(schedule, name, learning_rate, num_epochs, **params)
    return rates
