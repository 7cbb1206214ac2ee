"""A linear classifier: what most corrections come to."""

from typing import NamedTuple

from jax.typing import ArrayLike

__all__ = ["Linear"]


class Linear(NamedTuple):
    """A linear classifier: the logits of features x are `x @ weight.T + bias`."""

    weight: ArrayLike  # shape=(C, d).
    bias: ArrayLike  # shape=(C,).
