"""Corrections that change the length of the classes' weights alone.

A model trained on the long tail gives frequent classes longer weights, and so larger
logits.

Notation: d feature dimensions, C classes.
"""

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from alphanet_jax.posthoc.linear import Linear

__all__ = ["max_norm", "tau_normalization"]


def _read(weight: ArrayLike, bias: ArrayLike) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Returns weights, biases and the weights' lengths, with shape `[C, 1]`."""
    weight, bias = jnp.asarray(weight, float), jnp.asarray(bias, float)
    if weight.ndim != 2 or bias.shape != weight.shape[:1]:
        raise ValueError(
            f"weight must be (C, d) and bias (C,), got {weight.shape} and {bias.shape}."
        )
    # In units, powers of two, of their largest numbers: squares of small numbers would
    # be zero, those of large ones infinite.
    exponent = jnp.frexp(jnp.max(jnp.abs(weight), axis=1, keepdims=True))[1]
    norms = jnp.linalg.norm(jnp.ldexp(weight, -exponent), axis=1, keepdims=True)
    return weight, bias, jnp.ldexp(norms, exponent)


def tau_normalization(
    weight: ArrayLike,
    bias: ArrayLike,
    *,
    tau: ArrayLike = 1.0,
    keep_bias: bool = False,
) -> Linear:
    """Divides the weights of every class by a power of their length.

    Args:
      weight: Weights of the classifier, with shape `[C, d]`.
      bias: Biases of the classifier, with shape `[C]`.
      tau: The power: 0 leaves weights as they are, 1 makes all as long as each other.
      keep_bias: Whether biases stay; the authors' program drops them, others do not.

    Returns:
      The classifier; weights of length zero are as they were.

    Raises:
      ValueError: If shapes do not fit each other.

    Examples:
      >>> head = tau_normalization([[0.0, 4.0], [9.0, 0.0]], [1.0, 2.0], tau=0.5)
      >>> head.weight.tolist(), head.bias.tolist()
      ([[0.0, 2.0], [3.0, 0.0]], [0.0, 0.0])
    """
    weight, bias, norms = _read(weight, bias)
    lengths = jnp.where(norms > 0, norms, 1.0) ** tau
    return Linear(weight / lengths, bias if keep_bias else jnp.zeros_like(bias))


def max_norm(weight: ArrayLike, bias: ArrayLike, *, threshold: ArrayLike) -> Linear:
    """Shortens the weights that are longer than a threshold, to that.

    The projection of weight balancing, without its training.

    Args:
      weight: Weights of the classifier, with shape `[C, d]`.
      bias: Biases of the classifier, with shape `[C]`; they stay.
      threshold: The length, as a fraction of the longest; 1 changes nothing.

    Returns:
      The classifier.

    Raises:
      ValueError: If shapes do not fit each other.

    Examples:
      >>> head = max_norm([[3.0, 4.0], [0.0, 1.0]], [1.0, 2.0], threshold=0.5)
      >>> head.weight.tolist()
      [[1.5, 2.0], [0.0, 1.0]]
    """
    weight, bias, norms = _read(weight, bias)
    most = threshold * jnp.max(norms)
    return Linear(
        weight * jnp.minimum(1.0, most / jnp.where(norms > 0, norms, 1.0)), bias
    )
