"""What corrections give: a linear classifier, or something that computes logits.

Notation: n samples, d feature dimensions, C classes.
"""

from typing import Protocol

import jax
import jax.numpy as jnp
from flax import struct
from jax.typing import ArrayLike

from alphanet_jax.posthoc import offsets
from alphanet_jax.posthoc.linear import Linear

__all__ = ["NotLinear", "Outcome", "Shifted", "adjusted", "logits"]


class NotLinear(Protocol):
    """An outcome that is not linear in the features."""

    def logits(self, features: ArrayLike) -> jax.Array:
        """Computes logits, with shape `[n, C]`."""


Outcome = Linear | NotLinear


@struct.dataclass
class Shifted:
    """An outcome with a number added to all logits of a class."""

    outcome: Outcome
    shift: jax.Array  # shape=(C,).

    def logits(self, features: ArrayLike) -> jax.Array:
        """Computes the logits of features, with shape `[n, C]`."""
        return logits(self.outcome, features) + self.shift[None, :]


def adjusted(outcome: Outcome, counts: ArrayLike, tau: float) -> Outcome:
    """Adjusts the logits of an outcome; see `logit_adjustment`.

    Args:
      outcome: What a method gave.
      counts: Number of training samples of every class, with shape `[C]`.
      tau: Factor on the logarithm of the prior; 0 changes nothing.

    Returns:
      The outcome, with another bias where it is linear.
    """
    if isinstance(outcome, Linear):
        bias = offsets.logit_adjustment(outcome.bias, counts, tau=tau)
        return outcome._replace(bias=bias)
    return Shifted(outcome, -tau * offsets.log_prior(counts))


def logits(outcome: Outcome, features: ArrayLike) -> jax.Array:
    """Computes the logits of features by an outcome of any method.

    Args:
      outcome: What a method gave.
      features: Features, with shape `[n, d]`.

    Returns:
      Logits, with shape `[n, C]`.
    """
    if not isinstance(outcome, Linear):
        return outcome.logits(features)
    rows = jnp.asarray(features, float)
    products = jnp.matmul(rows, outcome.weight.T, precision="highest")
    return products + outcome.bias[None, :]
