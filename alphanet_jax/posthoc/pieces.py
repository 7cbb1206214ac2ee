"""Training samples in pieces of one shape, for what goes over them again and again.

Features may be larger than memory, and are then read piece by piece in every pass. They
are centred and scaled by one number.

Notation: n samples, d feature dimensions, C classes.
"""

from collections.abc import Iterator
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from alphanet_jax import files, streaming
from alphanet_jax.posthoc.gaussian import FeatureStatistics, feature_statistics
from alphanet_jax.posthoc.linear import Linear

__all__ = [
    "TrainingRows",
    "copy_piece",
    "piece_size",
    "rows_at_most",
    "training_rows",
]

_RESIDENT_BYTES = 2**30
# Small ones stay small. Those of another byte order are not equal to these.
_KEPT_TYPES = (np.dtype(np.float32), np.dtype(np.float16), np.dtype(jnp.bfloat16))


class TrainingRows(NamedTuple):
    """Training samples in pieces of one shape, and how their features are scaled."""

    features: np.ndarray | tuple[jax.Array, ...]  # those in memory are in pieces
    labels: tuple[jax.Array, ...]  # each with shape=(rows,); -1 marks padding.
    statistics: FeatureStatistics
    centre: jax.Array  # shape=(d,).
    spread: float
    log_prior: jax.Array  # shape=(C,).
    class_weights: jax.Array  # shape=(C,): how many samples a row of it stands for.
    chosen: np.ndarray | None = None  # rows of `features` that are used; None for all.

    def pieces(self) -> Iterator[tuple[jax.Array, jax.Array]]:
        """Yields features and labels, in pieces of the same shape."""
        if isinstance(self.features, tuple):
            yield from zip(self.features, self.labels, strict=True)
            return
        size = len(self.labels[0])
        for number, labels in enumerate(self.labels):
            yield copy_piece(self.features, self.chosen, number * size, size), labels

    def point(self, head: Linear) -> jax.Array:
        """Computes what a head of the features is for scaled ones, `[C, d + 1]`."""
        weight, bias = (np.asarray(part, np.float64) for part in head)
        bias = bias + weight @ np.asarray(self.centre, np.float64)
        return jnp.asarray(
            np.concatenate([self.spread * weight, bias[:, None]], axis=1), jnp.float32
        )

    def head(self, point: ArrayLike) -> Linear:
        """Computes the head of the features; `point` undone."""
        values = np.asarray(point, np.float64)
        weight = values[:, :-1] / self.spread
        bias = values[:, -1] - weight @ np.asarray(self.centre, np.float64)
        return Linear(weight.astype(np.float32), bias.astype(np.float32))


def piece_size(number: int, dim: int) -> int:
    """Computes how many rows a piece has: as many in all, but for the last."""
    return -(-number // -(-number // streaming.rows_at_a_time(dim)))


def copy_piece(
    features: np.ndarray, chosen: np.ndarray | None, start: int, size: int
) -> jax.Array:
    """Copies rows to the device; rows of zeros fill up the last piece."""
    plain = np.asarray(features)  # slices of np.memmap are slow to make
    if chosen is None:
        rows, first, stop = plain[start : start + size], start, start + size
    else:
        places = chosen[start : start + size]
        rows, first, stop = plain[places], int(places[0]), int(places[-1]) + 1
    if len(rows) < size:
        padding = np.zeros((size - len(rows), rows.shape[1]), rows.dtype)
        rows = np.concatenate([rows, padding])
    if rows.dtype not in _KEPT_TYPES:
        rows = rows.astype(np.float32)
    piece = jnp.array(rows)
    files.release_rows(features, first, min(stop, len(plain)))
    return piece


def training_rows(
    features: ArrayLike,
    labels: ArrayLike,
    *,
    num_classes: int,
    statistics: FeatureStatistics | None = None,
    most_per_class: int | None = None,
    seed: int = 0,
    resident_bytes: int = _RESIDENT_BYTES,
) -> TrainingRows:
    """Cuts training samples into pieces, and computes how features are scaled.

    Args:
      features: Features, with shape `[n, d]` and any float dtype, perhaps mapped from
        a file.
      labels: Classes of the rows, with shape `[n]`.
      num_classes: Number of classes C, each with a sample.
      statistics: Those of these samples, where they are known.
      most_per_class: Most rows of a class that are used, drawn by `seed`: each then
        stands for several, so that the mean over samples is still estimated. Counts and
        statistics are of all samples. None for all rows.
      seed: Of the rows that are used.
      resident_bytes: Features of at most this size are kept on the device. Others are
        read again in every pass.

    Raises:
      ValueError: If shapes or labels do not fit.
    """
    if not isinstance(features, np.ndarray):
        features = np.asarray(features)
    truth, chosen = np.asarray(labels), None
    if statistics is None:
        statistics = feature_statistics(features, labels, num_classes=num_classes)
    counts = kept = statistics.counts
    if most_per_class is not None and counts.max() > most_per_class:
        chosen = rows_at_most(truth, most_per_class, seed=seed)
        truth, kept = truth[chosen], np.minimum(counts, most_per_class)
    number, dim = len(truth), features.shape[1]
    size = piece_size(number, dim)
    padded = np.full(-(-number // size) * size, -1, np.int32)
    padded[:number] = truth
    pieces: np.ndarray | tuple[jax.Array, ...] = features
    if number * dim * features.dtype.itemsize <= resident_bytes:
        starts = range(0, number, size)
        pieces = tuple(copy_piece(features, chosen, at, size) for at in starts)
    return TrainingRows(
        features=pieces,
        labels=tuple(jnp.asarray(part) for part in padded.reshape(-1, size)),
        statistics=statistics,
        centre=jnp.asarray(statistics.centre, jnp.float32),
        spread=statistics.spread,
        log_prior=jnp.asarray(np.log(counts / counts.sum()), jnp.float32),
        class_weights=jnp.asarray(counts / kept, jnp.float32),
        chosen=chosen,
    )


def rows_at_most(labels: ArrayLike, number: int, *, seed: int = 0) -> np.ndarray:
    """Draws rows so that no class has more than a number of them.

    A head of fewer samples of the largest classes takes less time; see
    `training_rows`.

    Args:
      labels: Classes of the rows, with shape `[n]`.
      number: Most rows of a class, at least 1.
      seed: Of what is drawn.

    Returns:
      The rows that stay, in ascending order; all of the classes with no more.

    Raises:
      ValueError: If `number` is less than 1.

    Examples:
      >>> rows_at_most([0, 1, 0, 0, 2, 1], 1).size
      3
    """
    if number < 1:
        raise ValueError(f"number must be at least 1, got {number}.")
    labels = np.asarray(labels)
    drawn = np.random.default_rng(seed).permutation(len(labels))
    by_class = drawn[np.argsort(labels[drawn], kind="stable")]
    _, first, counts = np.unique(
        labels[by_class], return_index=True, return_counts=True
    )
    place = np.arange(len(labels)) - np.repeat(first, counts)  # in its class
    return np.sort(by_class[place < number])
