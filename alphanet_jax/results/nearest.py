"""The nearest classes by mean training feature, for reports, in NumPy.

Distances and ties are those of `alphanet_jax.nn_search`, which finds the neighbors that
training uses. Here classes of any split may be near, and JAX is not needed.

Notation: C classes, Q queries, P candidates, k neighbors, d feature dimensions.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

__all__ = ["METRICS", "Nearest", "distances_to", "nearest_among", "nearest_others"]

# Not 'random', a control for training, which has no meaning for reports.
METRICS = ("euclidean", "cosine")
_CHUNK_BYTES = 32 * 2**20


class Nearest(NamedTuple):
    """The k nearest candidates of every query, nearest first."""

    classes: np.ndarray  # shape=(Q, k)
    distances: np.ndarray  # shape=(Q, k), dtype=float32


def _rows(means: ArrayLike, metric: str) -> np.ndarray:
    """Scales means so that half their squared distance is the cosine distance."""
    if metric not in METRICS:
        raise ValueError(f"metric must be 'euclidean' or 'cosine', got {metric!r}.")
    rows = np.asarray(means, np.float64)
    if metric == "cosine":
        norms = np.linalg.norm(rows, axis=1, keepdims=True)
        rows = rows / np.where(norms > 0, norms, 1.0)
    return rows


def distances_to(
    means: ArrayLike, classes: ArrayLike, others: ArrayLike, *, metric: str
) -> np.ndarray:
    """Computes the distance of every class to some others.

    Args:
      means: Mean training feature of every class, with shape `[C, d]`.
      classes: Class ids, with shape `[F]`.
      others: Class ids for each of them, with shape `[F, k]`.
      metric: 'euclidean' or 'cosine'.

    Returns:
      Distances, with shape `[F, k]`.

    Examples:
      >>> distances_to([[0.0], [3.0], [5.0]], [0], [[2, 1]], metric="euclidean")
      array([[5., 3.]])
    """
    rows = _rows(means, metric)
    own = rows[np.asarray(classes)]
    squared = ((rows[np.asarray(others)] - own[:, None]) ** 2).sum(axis=-1)
    return np.asarray(0.5 * squared if metric == "cosine" else np.sqrt(squared))


def nearest_among(
    means: ArrayLike,
    queries: ArrayLike,
    candidates: ArrayLike,
    *,
    num_neighbors: int,
    metric: str,
) -> Nearest:
    """Finds the nearest candidates of every query; equal ones in their given order.

    Args:
      means: Mean training feature of every class, with shape `[C, d]`.
      queries: Class ids, with shape `[Q]`. One that is also a candidate counts as such.
      candidates: Class ids, with shape `[P]`.
      num_neighbors: Number of neighbors k, at most P.
      metric: 'euclidean' or 'cosine'.

    Returns:
      The nearest, with distances as `nn_search.find_neighbors` returns them.

    Raises:
      ValueError: If the metric is another, or k is not in [1, P].

    Examples:
      >>> means = [[0.0], [5.0], [1.0], [9.0]]
      >>> found = nearest_among(
      ...     means, [0], [1, 2, 3], num_neighbors=2, metric="euclidean"
      ... )
      >>> found.classes.tolist(), found.distances.tolist()
      ([[2, 1]], [[1.0, 5.0]])
    """
    rows, candidates = _rows(means, metric), np.asarray(candidates)
    if not 1 <= num_neighbors <= len(candidates):
        raise ValueError(
            "num_neighbors must be from 1 to the number of candidates, "
            f"{len(candidates)}, got {num_neighbors}."
        )
    near, asked = rows[candidates], rows[np.asarray(queries)]
    squares = (near**2).sum(axis=1)
    classes = np.zeros((len(asked), num_neighbors), candidates.dtype)
    distances = np.zeros((len(asked), num_neighbors), np.float32)
    step = max(1, _CHUNK_BYTES // (8 * len(candidates)))
    for start in range(0, len(asked), step):
        part = asked[start : start + step]
        # Products rank all fast, but lose the digits that tell near ones
        # apart: those that may be among the nearest are measured by differences.
        rough = squares - 2.0 * (part @ near.T)
        last = np.partition(rough, num_neighbors - 1, axis=1)[:, num_neighbors - 1]
        slack = 1e-9 * (np.max(squares, initial=0.0) + (part**2).sum(axis=1))
        for place, query in enumerate(part):
            maybe = np.flatnonzero(rough[place] <= last[place] + slack[place])
            exact = ((near[maybe] - query) ** 2).sum(axis=1)
            # Equal ones are those that float32 cannot tell apart, in units, a power of
            # two, of what they are away: it has no squares of small and large numbers.
            least = np.partition(exact, num_neighbors - 1)[num_neighbors - 1]
            exponent = np.frexp(least)[1] // 2
            with np.errstate(over="ignore"):  # what is so far away is not among them
                rounded = np.ldexp(exact, -2 * exponent).astype(np.float32)
            order = np.argsort(rounded, kind="stable")[:num_neighbors]
            classes[start + place] = candidates[maybe[order]]
            found = (
                np.ldexp(np.float32(0.5) * rounded[order], 2 * exponent)
                if metric == "cosine"
                else np.ldexp(np.sqrt(rounded[order]), exponent)
            )
            distances[start + place] = found
    return Nearest(classes, distances)


def nearest_others(
    means: ArrayLike, candidates: ArrayLike, *, num_neighbors: int, metric: str
) -> np.ndarray:
    """Finds the nearest candidates of every class, itself left out.

    Args:
      means: Mean training feature of every class, with shape `[C, d]`.
      candidates: Class ids that may be near, with shape `[P]`.
      num_neighbors: Number of neighbors k; where there are fewer, all of them are.
      metric: 'euclidean' or 'cosine'.

    Returns:
      A bool array with shape `[C, C]`: whether class j is a neighbor of class i.

    Examples:
      >>> means = [[0.0], [1.0], [5.0], [9.0]]
      >>> near = nearest_others(
      ...     means, [0, 1, 2], num_neighbors=1, metric="euclidean"
      ... )
      >>> near.astype(int).tolist()
      [[0, 1, 0, 0], [1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0]]
    """
    candidates = np.asarray(candidates)
    count = len(np.asarray(means))
    mask = np.zeros((count, count), bool)
    if len(candidates):
        found = nearest_among(
            means,
            np.arange(count),
            candidates,
            num_neighbors=min(num_neighbors + 1, len(candidates)),
            metric=metric,
        ).classes
        # A class is usually its own nearest, but others may have the same mean: put
        # last, it is left out, or else the one too many is.
        own = found == np.arange(count)[:, None]
        order = np.argsort(own, axis=1, kind="stable")[:, :num_neighbors]
        np.put_along_axis(mask, np.take_along_axis(found, order, axis=1), True, axis=1)
    np.fill_diagonal(mask, False)
    return mask
