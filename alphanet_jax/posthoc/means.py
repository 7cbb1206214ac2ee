"""The nearest class mean, which needs no classifier.

Notation: n samples, d feature dimensions, C classes.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from jax.typing import ArrayLike

from alphanet_jax import streaming
from alphanet_jax.posthoc.linear import Linear

__all__ = ["VARIANTS", "ClassMeans", "nearest_class_mean"]

VARIANTS = ("un", "l2n", "cl2n", "cosine")


@struct.dataclass
class ClassMeans:
    """Class means of features of length one: not linear in the features themselves."""

    means: jax.Array  # shape=(C, d).
    center: jax.Array  # shape=(d,): taken from features before their length is.

    def logits(self, features: ArrayLike) -> jax.Array:
        """Computes logits: what distances leave when the same is added to a sample's.

        Args:
          features: Features, with shape `[n, d]`.

        Returns:
          Twice the product with each mean less its square, with shape `[n, C]`.
        """
        rows = _unit(jnp.asarray(features, float) - self.center[None, :])
        weight, bias = _distance_head(self.means)
        return jnp.matmul(rows, weight.T, precision="highest") + bias[None, :]


def nearest_class_mean(
    features: ArrayLike,
    labels: ArrayLike,
    *,
    num_classes: int,
    variant: str = "cl2n",
) -> Linear | ClassMeans:
    """Computes the classifier that takes the class whose mean feature is nearest.

    Args:
      features: Training features, with shape `[n, d]`, perhaps mapped from a file;
        they are read in pieces.
      labels: Classes of the rows, with shape `[n]`.
      num_classes: Number of classes C.
      variant: 'un': distances of features as they are. 'l2n': of features of length
        one; the means are not made so. 'cl2n': the same, of features less their mean
        over all samples. 'cosine': the angle to the mean of features of length one.

    Returns:
      A linear classifier for 'un' and 'cosine'; else `ClassMeans`.

    Raises:
      ValueError: If shapes do not fit each other, there is no such variant, or a class
        has no samples.

    Examples:
      >>> head = nearest_class_mean([[1.0], [3.0], [5.0]], [0, 0, 1],
      ...                           num_classes=2, variant="un")
      >>> head.weight.tolist(), head.bias.tolist()
      ([[4.0], [10.0]], [-4.0, -25.0])
    """
    if variant not in VARIANTS:
        raise ValueError(f"variant must be one of {VARIANTS}, got {variant!r}.")
    truth = np.asarray(labels)
    inside = truth[(truth >= 0) & (truth < num_classes)]
    counts = np.bincount(inside, minlength=num_classes)
    if not counts.all():
        raise ValueError(
            f"each of {num_classes} classes needs a sample for its mean, there are "
            f"none of {np.flatnonzero(counts == 0).tolist()}."
        )
    take_means = functools.partial(
        streaming.class_means, features, labels, num_classes=num_classes
    )
    if variant == "un":
        return _distance_head(jnp.asarray(take_means()))
    center = np.zeros(np.shape(features)[-1:], np.float32)
    if variant == "cl2n":
        total = counts @ take_means().astype(np.float64)
        center = (total / counts.sum()).astype(np.float32)
    means = jnp.asarray(take_means(prepare=lambda rows: _unit_rows(rows, center)))
    if variant == "cosine":
        return Linear(_unit(means), jnp.zeros(num_classes))
    return ClassMeans(means, jnp.asarray(center))


def _distance_head(means: jax.Array) -> Linear:
    return Linear(2.0 * means, -jnp.sum(means**2, axis=1))


# Rows are scaled by a power of two before, which is exact: squares of small numbers
# would be zero, those of large ones infinite. Rows of zeros stay.
def _unit(rows: jax.Array) -> jax.Array:
    exponent = jnp.frexp(jnp.max(jnp.abs(rows), axis=1, keepdims=True))[1]
    rows = rows * jnp.ldexp(jnp.ones_like(rows[:, :1]), -jnp.clip(exponent, -126, 126))
    norms = jnp.linalg.norm(rows, axis=1, keepdims=True)
    return rows / jnp.where(norms > 0, norms, 1.0)


def _unit_rows(rows: np.ndarray, center: np.ndarray) -> np.ndarray:
    rows = rows.astype(np.float32) - center
    exponent = np.frexp(np.max(np.abs(rows), axis=1, keepdims=True, initial=0.0))[1]
    rows = rows * np.ldexp(np.float32(1), -np.clip(exponent, -126, 126))
    norms = np.linalg.norm(rows, axis=1, keepdims=True)
    return np.asarray(rows / np.where(norms > 0, norms, np.float32(1)))
