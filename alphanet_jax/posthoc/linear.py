"""The linear classifier: what a correction takes, and what a linear one gives."""

from typing import NamedTuple

from jax import Array

__all__ = ["Linear"]


class Linear(NamedTuple):
    """A linear classifier: the logits of features x are `x @ weight.T + bias`."""

    weight: Array  # shape=(C, d).
    bias: Array  # shape=(C,).
