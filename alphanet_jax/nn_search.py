"""Nearest 'base' classes of every 'few' class, by mean training feature.

Notation: n samples, d feature dimensions, C classes, F 'few' classes, A 'base'
classes ('many' + 'medium'), k neighbors of a class, D_j distinct classes at place j of
the sources.
"""

from collections.abc import Callable
from typing import Any, NamedTuple, cast

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from alphanet_jax.streaming import class_means

__all__ = [
    "METRICS",
    "Neighbors",
    "Sources",
    "class_means",
    "find_neighbors",
    "find_neighbors_on_host",
    "make_sources",
    "source_classes",
]

METRICS = ("euclidean", "cosine", "random")
# Means of another size, or so far from zero beside their spread, are moved and scaled.
_SMALL, _LARGE, _FAR = 2.0**-24, 2.0**24, 2.0**8


class Neighbors(NamedTuple):
    """The k nearest base classes of every few class, nearest first."""

    classes: jax.Array | np.ndarray  # shape=(F, k), dtype=jnp.int32.
    distances: jax.Array | np.ndarray  # shape=(F, k), dtype=jnp.float32.


class Sources(NamedTuple):
    """The source classifiers of every few class: its own, then its neighbors'.

    Source j of class f is `weights[j][rows[f, j]]`.
    """

    # For each of the k + 1 places, shape=(D_j, d).
    weights: tuple[jax.Array | np.ndarray, ...]
    rows: jax.Array | np.ndarray  # shape=(F, k + 1), dtype=jnp.int32.


def _nearest(queries: jax.Array, candidates: jax.Array, num: int) -> Neighbors:
    """Ranks candidates by squared euclidean distance; ties go to the lower index.

    By differences, one query at a time: the usual matrix product would be faster, but
    loses the digits that tell near neighbors apart to cancellation.
    """

    def rank(query: jax.Array) -> Neighbors:
        squared = jnp.sum((candidates - query[None, :]) ** 2, axis=1)
        negative, order = jax.lax.top_k(-squared, num)
        return Neighbors(order, -negative)

    ranked: Neighbors = jax.lax.map(rank, queries)
    return ranked


def _power_of_two(sizes: jax.Array) -> jax.Array:
    """Computes the power of two that brings each size to about 1; 1 for 0.

    Numbers times it lose no digits, and their squares are neither zero nor infinite.
    """
    exponent = jnp.clip(jnp.frexp(sizes)[1], -126, 126)
    return jnp.ldexp(jnp.float32(1), -exponent)


def _unit(rows: jax.Array) -> jax.Array:
    """Makes rows as long as each other; those of zeros stay."""
    rows = rows * _power_of_two(jnp.max(jnp.abs(rows), axis=1, keepdims=True))
    norms = jnp.linalg.norm(rows, axis=1, keepdims=True)
    return rows / jnp.where(norms > 0, norms, 1.0)


def _spread(rows: jax.Array) -> jax.Array:
    """Computes about how far rows are from each other, but for some few of them."""
    center = jnp.sum(rows / rows.shape[0], axis=0, keepdims=True)
    return jnp.median(jnp.max(jnp.abs(rows - center), axis=1))


def find_neighbors(
    means: ArrayLike,
    few_classes: ArrayLike,
    base_classes: ArrayLike,
    *,
    num_neighbors: int,
    metric: str = "euclidean",
    key: jax.Array | None = None,
) -> Neighbors:
    """Finds the nearest base classes of every few class.

    Distances are taken by exact differences in float32 and equal distances go to
    the class that comes first in `base_classes`, so the result is deterministic.

    Args:
      means: Mean training feature of every class, with shape `[C, d]`.
      few_classes: Class ids, with shape `[F]`.
      base_classes: Class ids, with shape `[A]`.
      num_neighbors: Number of neighbors k, less than A.
      metric: 'euclidean'; 'cosine' (1 - cosine similarity of the means); or
        'random' (uniform random distances: a control, needs `key`).
      key: Random key, for the metric 'random' only.

    Returns:
      The neighbors, nearest first; the euclidean distance is not squared.

    Raises:
      ValueError: If `metric` is unknown, `num_neighbors` is not in [1, A), or
        `key` is missing for 'random'.

    Examples:
      >>> means = [[0.0], [5.0], [1.0], [9.0]]
      >>> found = find_neighbors(means, [0], [1, 2, 3], num_neighbors=2)
      >>> found.classes.tolist(), found.distances.tolist()
      ([[2, 1]], [[1.0, 5.0]])
    """
    means = jnp.asarray(means, jnp.float32)
    few_classes = jnp.asarray(few_classes, jnp.int32)
    base_classes = jnp.asarray(base_classes, jnp.int32)
    num_base = base_classes.shape[0]
    if metric not in METRICS:
        raise ValueError(f"metric must be one of {METRICS}, got {metric!r}.")
    if not 1 <= num_neighbors < num_base:
        raise ValueError(
            "num_neighbors must be at least 1 and less than the number of base "
            f"classes, got {num_neighbors} with {num_base} base classes."
        )
    if metric == "random":
        if key is None:
            raise ValueError("metric 'random' needs a key, got None.")
        random = jax.random.uniform(key, (few_classes.shape[0], num_base))
        negative, index = jax.lax.top_k(-random, num_neighbors)
        return Neighbors(base_classes[index], -negative)
    if metric == "cosine":
        # For unit vectors |a - b|^2 = 2 (1 - cos): differences keep the digits of
        # near-ties that 1 - cos would round away.
        means = _unit(means)
    scale = _power_of_two(_spread(means))
    nearest = _nearest(
        scale * means[few_classes], scale * means[base_classes], num_neighbors
    )
    squared = jnp.asarray(nearest.distances)
    distances = (
        0.5 * squared / scale / scale
        if metric == "cosine"
        else jnp.sqrt(squared) / scale
    )
    return Neighbors(base_classes[nearest.classes], distances)


def find_neighbors_on_host(
    means: np.ndarray,
    few_classes: ArrayLike,
    base_classes: ArrayLike,
    *,
    find: Callable[..., Neighbors] = find_neighbors,
    metric: str = "euclidean",
    **options: Any,
) -> Neighbors:
    """Finds neighbors as `find_neighbors` does, of means of any size.

    Means that are very large or small, or all but the same beside their distance from
    zero, lose in float32 what tells them apart. They are moved and scaled before, in
    float64, which changes no neighbor; others are taken as they are.

    Args:
      means: Mean training feature of every class, with shape `[C, d]`, float64.
      few_classes: Class ids, with shape `[F]`.
      base_classes: Class ids, with shape `[A]`.
      find: `find_neighbors`, perhaps compiled.
      metric: See `find_neighbors`.
      **options: Further arguments of `find_neighbors`.

    Returns:
      The neighbors, as arrays of NumPy.

    Raises:
      ValueError: If a distance is too large for float32.

    Examples:
      >>> means = np.array([[0.0], [5.0], [1.0], [9.0]]) * 2.0**-100 + 2.0**-60
      >>> found = find_neighbors_on_host(means, [0], [1, 2, 3], num_neighbors=2)
      >>> found.classes.tolist()
      [[2, 1]]
    """
    moved, scale = np.asarray(means, np.float64), 1.0
    size = float(np.abs(moved).max(initial=0.0))
    if metric == "cosine":
        norms = np.sqrt(np.sum((moved / (size or 1.0)) ** 2, axis=1, keepdims=True))
        moved = moved / (size or 1.0) / np.where(norms, norms, 1.0)
    spread = moved - moved.mean(axis=0)
    width = float(np.abs(spread).max(initial=0.0))
    ordinary = _SMALL < size < _LARGE and width * _FAR > np.abs(moved).max(initial=0.0)
    if metric == "random" or not width or ordinary:
        found = find(
            np.asarray(means, np.float32),
            few_classes,
            base_classes,
            metric=metric,
            **options,
        )
        return cast(Neighbors, jax.device_get(found))
    scale = 2.0 ** np.floor(np.log2(width))  # exact, by a power of two
    found = find(
        np.asarray(spread / scale, np.float32),
        few_classes,
        base_classes,
        metric="euclidean",
        **options,
    )
    distances = np.asarray(found.distances, np.float64) * scale
    if metric == "cosine":
        distances = 0.5 * distances**2
    with np.errstate(over="ignore"):
        narrow = np.asarray(distances, np.float32)
    if not np.isfinite(narrow).all():
        raise ValueError(
            f"distances of means must fit float32, got {distances.max():.3g}; scale "
            "the features"
        )
    return Neighbors(jax.device_get(found.classes), narrow)


def source_classes(few_classes: ArrayLike, neighbor_classes: ArrayLike) -> np.ndarray:
    """Lists the classes whose classifiers make up each new few classifier.

    Runs on the host.

    Args:
      few_classes: Class ids, with shape `[F]`.
      neighbor_classes: Their neighbors, nearest first, with shape `[F, k]`.

    Returns:
      Class ids, with shape `[F, k + 1]`: the few class itself, then its neighbors.
    """
    own = np.asarray(few_classes, np.int32)[:, None]
    return np.concatenate([own, np.asarray(neighbor_classes, np.int32)], axis=1)


def make_sources(weight: ArrayLike, source_classes: ArrayLike) -> Sources:
    """Gathers the source classifiers of every few class; runs on the host.

    Args:
      weight: Weights of the frozen classifier, with shape `[C, d]`.
      source_classes: Class ids, the few class itself first, then its neighbors,
        nearest first, with shape `[F, k + 1]`.

    Returns:
      The sources.

    Raises:
      ValueError: If `source_classes` has not two axes.

    Examples:
      >>> sources = make_sources([[0.0], [1.0], [2.0]], [[1, 0], [2, 0]])
      >>> [len(weights) for weights in sources.weights], sources.rows.tolist()
      ([2, 1], [[0, 0], [1, 0]])
    """
    weight, classes = np.asarray(weight, np.float32), np.asarray(source_classes)
    if classes.ndim != 2 or weight.ndim != 2:
        raise ValueError(
            "weight must be (C, d) and source_classes (F, k + 1), got "
            f"{weight.shape} and {classes.shape}."
        )
    distinct, index = zip(
        *(np.unique(place, return_inverse=True) for place in classes.T), strict=True
    )
    return Sources(
        tuple(weight[place] for place in distinct),
        np.stack(index, axis=1).astype(np.int32),
    )
