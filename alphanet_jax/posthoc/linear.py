"""The linear classifier: what a correction takes, and what a linear one gives."""

from typing import NamedTuple

import jax
import numpy as np

__all__ = ["Linear"]

Array = jax.Array | np.ndarray


class Linear(NamedTuple):
    """A linear classifier: the logits of features x are `x @ weight.T + bias`."""

    weight: Array  # shape=(C, d).
    bias: Array  # shape=(C,).
