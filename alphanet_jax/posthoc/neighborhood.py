"""From which classes every class borrows in alphanet+, and how much.

Notation: C classes, k neighbors of a class.
"""

from typing import NamedTuple

import numpy as np
from jax.typing import ArrayLike

from alphanet_jax.posthoc.gaussian import Discriminants

__all__ = [
    "Neighborhood",
    "borrowing_of_new",
    "find_neighborhood",
    "given_neighborhood",
    "random_neighbors",
]

_CLASSES_AT_A_TIME = 512
_ROUNDING = 1e-12  # of squared distances, by the largest squared norm
_BORROWED, _HALF_AT = 0.8, 30  # of a class without samples; samples that halve it


class Neighborhood(NamedTuple):
    """From which classes every class borrows, and how much."""

    classes: np.ndarray  # shape=(C, k), dtype=np.int32: nearest first.
    shares: np.ndarray  # shape=(C, k): k_cj, of all that a class borrows; sum to 1.
    coefficients: np.ndarray  # shape=(C, k): L_cj.

    def matrix(self) -> np.ndarray:
        """Lays coefficients out as a matrix L, with shape `[C, C]`."""
        coupling = np.zeros((len(self.classes), len(self.classes)))
        np.add.at(
            coupling,
            (np.arange(len(coupling))[:, None], self.classes),
            self.coefficients,
        )
        return coupling


def _borrowing(
    classes: np.ndarray, distances: np.ndarray, counts: np.ndarray
) -> Neighborhood:
    """Computes how much every class borrows from each of its neighbors."""
    width = 0.5 * np.median(distances)
    nearer = distances - distances.min(axis=1, keepdims=True)
    weights = np.exp(-nearer / (width if width > 0 else 1.0))
    shares = weights / weights.sum(axis=1, keepdims=True)
    amount = _BORROWED / (1 + counts / _HALF_AT)
    return Neighborhood(classes.astype(np.int32), shares, amount[:, None] * shares)


def _positions(found: Discriminants, shrunk: bool) -> np.ndarray:
    return found.shrunk if shrunk else found.means


def find_neighborhood(
    found: Discriminants,
    counts: np.ndarray,
    *,
    num_neighbors: int = 5,
    shrunk: bool = True,
) -> Neighborhood:
    """Finds the nearest classes of every class, by its mean in the discriminants.

    Args:
      found: The discriminants.
      counts: Number of training samples of every class, with shape `[C]`.
      num_neighbors: Number of neighbors k; all others where there are not as many.
      shrunk: Whether distances are those of shrunk means.

    Returns:
      The neighborhood. Equal distances go to the lower class.

    Raises:
      ValueError: If `num_neighbors` is less than 1.
    """
    if num_neighbors < 1:
        raise ValueError(f"num_neighbors must be at least 1, got {num_neighbors}.")
    places = _positions(found, shrunk)
    num_neighbors = min(num_neighbors, len(places) - 1)
    norms = (places**2).sum(axis=1)
    nearest = []
    for start in range(0, len(places), _CLASSES_AT_A_TIME):
        rows = places[start : start + _CLASSES_AT_A_TIME]
        squared = norms - 2 * rows @ places.T  # less what a row's have in common
        own = np.arange(len(rows))
        squared[own, start + own] = np.inf
        # Products round; what they leave between equal distances is rounded away.
        unit = _ROUNDING * max(norms.max(), np.finfo(np.float64).tiny)
        order = np.argsort(np.round(squared / unit), axis=1, kind="stable")
        nearest.append(order[:, :num_neighbors])
    return given_neighborhood(found, counts, np.concatenate(nearest), shrunk=shrunk)


def given_neighborhood(
    found: Discriminants,
    counts: np.ndarray,
    classes: ArrayLike,
    *,
    shrunk: bool = True,
) -> Neighborhood:
    """Computes how much every class borrows from neighbors that are given.

    Args:
      found: The discriminants.
      counts: Number of training samples of every class, with shape `[C]`.
      classes: Neighbors of every class, with shape `[C, k]`.
      shrunk: Whether distances are those of shrunk means.

    Raises:
      ValueError: If neighbors are not classes, or a class is its own.
    """
    places, classes = _positions(found, shrunk), np.asarray(classes)
    if classes.ndim != 2 or len(classes) != len(places) or not classes.shape[1]:
        raise ValueError(
            f"neighbors must be (C, k) for {len(places)} classes, got {classes.shape}."
        )
    if classes.min() < 0 or classes.max() >= len(places):
        raise ValueError(
            f"neighbors must be in [0, {len(places)}), got {classes.min()} to "
            f"{classes.max()}."
        )
    own = classes == np.arange(len(classes))[:, None]
    if own.any():
        raise ValueError(
            f"no class is a neighbor of its own, got {np.flatnonzero(own.any(axis=1))}."
        )
    distances = np.stack(
        [
            ((places[row] - place) ** 2).sum(axis=1)
            for row, place in zip(classes, places, strict=True)
        ]
    )
    return _borrowing(classes, distances, counts)


def borrowing_of_new(
    found: Discriminants,
    counts: np.ndarray,
    new: np.ndarray,
    new_counts: np.ndarray,
    *,
    num_neighbors: int = 5,
) -> tuple[np.ndarray, np.ndarray]:
    """Computes from which classes new ones borrow, and how much.

    Args:
      found: The discriminants of the classes that are there.
      counts: Their numbers of training samples, with shape `[C]`.
      new: Shrunk means of new classes in them, with shape `[m, d]`.
      new_counts: Their numbers of samples, with shape `[m]`.
      num_neighbors: Number of neighbors k; all classes where there are not as many.

    Returns:
      The nearest classes, nearest first, and coefficients, both with shape `[m, k]`.
      Distances count by what they are between the classes that are there.
    """
    usual = find_neighborhood(found, counts, num_neighbors=num_neighbors)
    places = found.shrunk
    width = 0.5 * np.median(
        [
            ((places[row] - place) ** 2).sum(axis=1)
            for row, place in zip(usual.classes, places, strict=True)
        ]
    )
    squared = np.stack([((places - place) ** 2).sum(axis=1) for place in new])
    classes = np.argsort(squared, axis=1, kind="stable")[:, :num_neighbors]
    distances = np.take_along_axis(squared, classes, axis=1)
    weights = np.exp(-(distances - distances[:, :1]) / (width if width > 0 else 1.0))
    amount = _BORROWED / (1 + new_counts / _HALF_AT)
    shares = weights / weights.sum(axis=1, keepdims=True)
    return classes.astype(np.int32), amount[:, None] * shares


def random_neighbors(seed: int, *, num_classes: int, num_neighbors: int) -> np.ndarray:
    """Draws different neighbors for every class: a control.

    Returns:
      Class ids, with shape `[C, k]`.

    Raises:
      ValueError: If there are not as many other classes.

    Examples:
      >>> random_neighbors(0, num_classes=2, num_neighbors=1).tolist()
      [[1], [0]]
    """
    if not 1 <= num_neighbors < num_classes:
        raise ValueError(
            "num_neighbors must be at least 1 and less than the number of classes, "
            f"got {num_neighbors} of {num_classes} classes."
        )
    random = np.random.default_rng(seed).random((num_classes, num_classes))
    np.fill_diagonal(random, np.inf)
    return np.argsort(random, axis=1)[:, :num_neighbors].astype(np.int32)
