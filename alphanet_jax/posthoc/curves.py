"""What a method predicts for samples, over its choices and its knob.

Most methods multiply the weights of a class by a number and change its bias: their
logits follow from the products of features and the given weights, which are taken once
for all values of all such methods.

Notation: n samples, d feature dimensions, C classes.
"""

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from alphanet_jax import streaming
from alphanet_jax.posthoc.linear import Linear
from alphanet_jax.posthoc.method import Method, Point, sweep
from alphanet_jax.posthoc.outcomes import Outcome, logits

__all__ = ["Predicted", "curve", "predict", "predict_rescaled", "products"]

_NUMBERS_IN_CACHE = 2**17


class Predicted(NamedTuple):
    """A point, and the classes that it predicts."""

    point: Point
    classes: Mapping[str, np.ndarray]  # by group; shape=(n,), int32


def products(features: ArrayLike, weight: ArrayLike) -> np.ndarray:
    """Computes products of features and weights: logits without a bias.

    Args:
      features: Features, with shape `[n, d]`, perhaps mapped from a file.
      weight: Weights of a classifier, with shape `[C, d]`.

    Returns:
      Products, with shape `[n, C]`, float32.

    Raises:
      ValueError: If shapes do not fit each other.
    """
    shapes = np.shape(features), np.shape(weight)
    if [len(shape) for shape in shapes] != [2, 2] or shapes[0][1] != shapes[1][1]:
        raise ValueError(
            f"features must be (n, d) and weight (C, d), got {shapes[0]} and "
            f"{shapes[1]}."
        )
    head = Linear(jnp.asarray(weight, float), jnp.zeros(shapes[1][0]))
    found = np.empty((shapes[0][0], shapes[1][0]), np.float32)
    start = 0
    for chunk in streaming.float_chunks(features, width=shapes[1][0]):
        found[start : start + len(chunk)] = logits(head, chunk)
        start += len(chunk)
    return found


def predict(outcome: Outcome, features: ArrayLike, *, num_classes: int) -> np.ndarray:
    """Predicts the classes of features by an outcome of any method.

    Args:
      outcome: What a method gave.
      features: Features, with shape `[n, d]`, perhaps mapped from a file.
      num_classes: Number of classes C; decides how many rows are taken at a time.

    Returns:
      Classes, with shape `[n]`, int32; of equal logits the first.
    """
    found = [
        np.asarray(logits(outcome, chunk).argmax(axis=1), np.int32)
        for chunk in streaming.float_chunks(features, width=num_classes)
    ]
    return np.concatenate([np.zeros(0, np.int32), *found])


def predict_rescaled(
    outcome: Linear, weight: ArrayLike, products: np.ndarray
) -> np.ndarray:
    """Predicts by a classifier whose weights are multiples of given ones.

    Args:
      outcome: What a method gave that `rescales`.
      weight: The weights that it was given, with shape `[C, d]`.
      products: Products of features with these, with shape `[n, C]`.

    Returns:
      Classes, with shape `[n]`, int32; of equal logits the first.
    """
    scale = np.asarray(_scale(outcome.weight, weight))
    bias = np.asarray(outcome.bias)
    # In NumPy, whose argmax takes many numbers at a time, block by block in the cache:
    # a point of a curve takes a fraction of what XLA's takes on CPUs.
    block = max(1, _NUMBERS_IN_CACHE // max(1, products.shape[1]))
    plain = bool((scale == 1).all())
    found = []
    for start in range(0, len(products), block):
        rows = products[start : start + block]
        scores = (rows if plain else rows * scale) + bias
        found.append(scores.argmax(axis=1).astype(np.int32))
    return np.concatenate([np.zeros(0, np.int32), *found])


def _scale(weight: ArrayLike, given: ArrayLike) -> jax.Array | np.ndarray:
    """Computes how many times the given weights those of every class are."""
    if weight is given:
        return np.ones(len(np.asarray(given)), np.float32)
    rows = jnp.asarray(given, float)
    squares = jnp.sum(rows**2, axis=1)
    return jnp.sum(rows * weight, axis=1) / jnp.where(squares > 0, squares, 1)


def curve(
    method: Method,
    inputs: Mapping[str, Any],
    groups: Mapping[str, ArrayLike],
    *,
    shared: Mapping[str, np.ndarray] | None = None,
) -> Iterator[Predicted]:
    """Yields what a method predicts for samples, over its choices and its knob.

    Args:
      method: A method of the table.
      inputs: What it needs, by name; there may be more.
      groups: Features of validation and test samples, or any others, by name of the
        group, each with shape `[n, d]`.
      shared: Their `products` with the given weights, by name of the group, which all
        methods can share; without them, they are computed where they are of use.

    Yields:
      Points, a choice after the other, with the classes that each predicts.

    Raises:
      ValueError: If anything that the method needs is missing.
    """
    if method.rescales and shared is None:
        weight = inputs["weight"]
        shared = {name: products(rows, weight) for name, rows in groups.items()}
    given = inputs["weight"] if method.rescales else None
    for point in sweep(method, inputs):
        outcome = point.outcome
        if isinstance(outcome, Linear):
            # Points that differ in their biases alone have the very same weights.
            if not method.rescales and outcome.weight is not given:
                given = outcome.weight
                shared = {name: products(rows, given) for name, rows in groups.items()}
            assert given is not None
            assert shared is not None
            classes = {
                name: predict_rescaled(outcome, given, shared[name]) for name in groups
            }
        else:
            classes = {
                name: predict(outcome, rows, num_classes=inputs["num_classes"])
                for name, rows in groups.items()
            }
        yield Predicted(point, classes)
