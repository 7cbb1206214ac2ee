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

__all__ = [
    "Predicted",
    "SharedProducts",
    "Winners",
    "curve",
    "predict",
    "predict_rescaled",
    "products",
    "winners",
]


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
    return SharedProducts(products, weight).predict(outcome)


class SharedProducts:
    """Products of samples with given weights, which many classifiers share.

    Args:
      products: The products, with shape `[n, C]`.
      weight: The weights, with shape `[C, d]`.
    """

    def __init__(self, products: np.ndarray, weight: ArrayLike) -> None:
        self._products, self._weight = products, weight
        self._last: np.ndarray | None = None  # bias of the classifier before
        self._still: _Still | None = None

    def predict(self, outcome: Linear) -> np.ndarray:
        """Predicts by a classifier whose weights are multiples of the given ones.

        Where one classifier after another differs in the biases of a few classes alone,
        the best of all other classes is looked for once.

        Args:
          outcome: What a method gave that `rescales`.

        Returns:
          Classes, with shape `[n]`, int32; of equal logits the first.
        """
        scale, bias = _scale(outcome.weight, self._weight), np.asarray(outcome.bias)
        if not (np.asarray(scale) == 1).all():
            return winners(self._products, bias, scale=np.asarray(scale)).classes
        still = self._stay(bias)
        if still is None:
            return winners(self._products, bias).classes
        found = winners(still.others, bias[still.other_classes])
        found = found._replace(classes=still.other_classes[found.classes])
        return still.best.against(found).classes

    def logits(self, outcome: Linear) -> Iterator[np.ndarray]:
        """Yields the logits of a classifier whose weights are multiples of the given.

        Args:
          outcome: What a method gave that `rescales`.

        Yields:
          Logits of some rows, in order, with shape `[m, C]`.
        """
        scale = np.asarray(_scale(outcome.weight, self._weight))
        bias = np.asarray(outcome.bias)
        size = streaming.rows_at_a_time(len(bias))
        for start in range(0, len(self._products), size):
            yield self._products[start : start + size] * scale + bias

    def _stay(self, bias: np.ndarray) -> "_Still | None":
        """Returns the best of classes that have kept their bias, if they are most."""
        last, self._last = self._last, bias
        kept = self._still
        if kept is not None and (bias[kept.mask] == kept.bias).all():
            return kept
        self._still = None
        if last is None or last.shape != bias.shape:
            return None
        mask = bias == last
        if 2 * mask.sum() < len(mask) or mask.all():
            return None
        classes, others = (np.flatnonzero(m).astype(np.int32) for m in (mask, ~mask))
        self._still = _Still(
            mask,
            bias[mask],
            winners(self._products, bias[mask], columns=classes),
            np.take(self._products, others, axis=1),
            others,
        )
        return self._still


class Winners(NamedTuple):
    """The best of some classes for every sample, of equal ones the first."""

    classes: np.ndarray  # shape=(n,), int32
    logits: np.ndarray  # shape=(n,): of them

    def against(self, others: "Winners") -> "Winners":
        """Returns the best of these and the best of other classes."""
        loses = (others.logits > self.logits) | (
            (others.logits == self.logits) & (others.classes < self.classes)
        )
        return Winners(
            np.where(loses, others.classes, self.classes),
            np.where(loses, others.logits, self.logits),
        )


class _Still(NamedTuple):
    """Classes whose biases stay as they are, and the others."""

    mask: np.ndarray  # shape=(C,): which they are
    bias: np.ndarray  # shape=(S,): of them
    best: Winners  # of them
    others: np.ndarray  # shape=(n, C - S): products of the other classes
    other_classes: np.ndarray  # shape=(C - S,)


def winners(
    products: np.ndarray,
    bias: np.ndarray,
    *,
    scale: np.ndarray | None = None,
    columns: np.ndarray | None = None,
) -> Winners:
    """Finds the class with the best logit of every sample.

    In NumPy, whose argmax takes many numbers at a time, block by block in the cache: a
    point of a curve takes a fraction of what XLA's takes on CPUs.

    Args:
      products: Products of samples and weights, with shape `[n, C]`.
      bias: Added to them, with shape `[m]`.
      scale: Factors of products, with shape `[m]`; None for 1.
      columns: Classes that are looked at, with shape `[m]`; None for all.

    Returns:
      The best of these classes.
    """
    classes = np.zeros(len(products), np.int32)
    logits = np.zeros(len(products), np.result_type(products, bias))

    def look(place: slice) -> None:
        rows = products[place]
        if columns is not None:
            rows = np.take(rows, columns, axis=1)
        scores = (rows if scale is None else rows * scale) + bias
        found = scores.argmax(axis=1)
        classes[place] = found if columns is None else columns[found]
        logits[place] = scores[np.arange(len(found)), found]

    streaming.each_block(look, len(products), width=len(bias))
    return Winners(classes, logits)


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
    given, held = None, dict[str, SharedProducts]()
    if method.rescales:
        given = inputs["weight"]
        if shared is None:
            shared = {name: products(rows, given) for name, rows in groups.items()}
        held = {name: SharedProducts(shared[name], given) for name in groups}
    for point in sweep(method, inputs):
        outcome = point.outcome
        if isinstance(outcome, Linear):
            # Points that differ in their biases alone have the very same weights.
            if not method.rescales and outcome.weight is not given:
                given = outcome.weight
                held = {
                    name: SharedProducts(products(rows, given), given)
                    for name, rows in groups.items()
                }
            classes = {name: held[name].predict(outcome) for name in groups}
        else:
            classes = {
                name: predict(outcome, rows, num_classes=inputs["num_classes"])
                for name, rows in groups.items()
            }
        yield Predicted(point, classes)
