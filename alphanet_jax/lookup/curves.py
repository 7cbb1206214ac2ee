"""Rules of PyTorch's learning rate schedules that take more than a line.

Each takes the optimizer's learning rate and the number of epochs E, then the parameters
of the schedule, and returns the learning rates and the momenta or first betas of all
epochs, both with shape `[E]`; None for momenta that it leaves alone.
"""

import math
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np

__all__ = [
    "along_cosine",
    "cyclic",
    "each_epoch",
    "one_cycle",
    "part_done",
    "warm_restarts",
]

Curves = tuple[Any, Any]


def each_epoch(rate_in: Callable[..., float]) -> Callable[..., Curves]:
    """Makes a rule of the rate in one epoch, `rate_in(rate, epoch, parameters)`."""

    def rule(rate: float, num_epochs: int, **params: Any) -> Curves:
        p = SimpleNamespace(**params)
        return [rate_in(rate, epoch, p) for epoch in range(num_epochs)], None

    return rule


def part_done(epoch: int, total_iters: int) -> float:
    """Computes the part of the iterations that is over; of none, 0 as in PyTorch."""
    return min(epoch, total_iters) / (total_iters or 1)


def along_cosine(start: float, end: float, part: float) -> float:
    """Goes from `start` to `end` along half a cosine, and on beyond it."""
    return end + (start - end) * (1 + math.cos(math.pi * part)) / 2


def _along_line(start: float, end: float, part: float) -> float:
    return start + (end - start) * part


def warm_restarts(
    rate: float, num_epochs: int, *, T_0: int, T_mult: int, eta_min: float
) -> Curves:
    """Falls along half a cosine again and again, each time `T_mult` times as long."""
    rates: list[float] = []
    period = T_0
    while len(rates) < num_epochs:
        length = min(period, num_epochs)
        rates += [along_cosine(rate, eta_min, i / period) for i in range(length)]
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


def one_cycle(rate: float, num_epochs: int, **params: Any) -> Curves:
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
    along = along_cosine if p.anneal_strategy == "cos" else _along_line
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


def cyclic(rate: float, num_epochs: int, **params: Any) -> Curves:
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
