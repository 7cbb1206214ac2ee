"""Passes over mapped features: a chunk of rows at a time, never all in memory."""

from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from alphanet_jax import scores
from alphanet_jax.dataset import Group

__all__ = ["class_means", "score_table"]

_CHUNK_BYTES = 32 * 2**20
_MIN_ROWS, _MAX_ROWS = 256, 4096

_score_table = jax.jit(scores.score_table)


def class_means(group: Group, *, num_classes: int) -> np.ndarray:
    """Computes the mean feature of every class.

    Args:
      group: The samples.
      num_classes: Number of classes C.

    Returns:
      The means, with shape `[C, d]`, float32; zeros for a class without samples.
    """
    sums = np.zeros((num_classes, group.features.shape[1]), np.float64)
    # Additions of a row in float64 run at the speed of memory; on a CPU neither
    # segment_sum nor a product with one-hot labels does.
    features = np.asarray(group.features)
    for label, row in zip(group.labels.tolist(), features, strict=True):
        sums[label] += row
    counts = np.bincount(group.labels, minlength=num_classes)
    return (sums / np.maximum(counts, 1)[:, None]).astype(np.float32)


def score_table(
    group: Group, rows: np.ndarray | None = None, **arguments: Any
) -> scores.ScoreTable:
    """Scores a group, or some of its rows, with the frozen classifier.

    Args:
      group: The samples.
      rows: Rows to score, in the order of the result; ascending order reads the
        file front to back. By default all.
      **arguments: Further arguments of `scores.score_table`.

    Returns:
      The scores.
    """
    total = len(group.labels) if rows is None else len(rows)
    columns: list[np.ndarray] = []
    done = 0
    for count, features, labels in _chunks(group, rows):
        part = jax.device_get(_score_table(features, labels, **arguments))
        if not columns:
            columns = [np.empty((total, *c.shape[1:]), c.dtype) for c in part]
        for column, piece in zip(columns, part, strict=True):
            column[done : done + count] = piece[:count]
        done += count
    return scores.ScoreTable(*map(jnp.asarray, columns))


def _chunks(
    group: Group, rows: np.ndarray | None
) -> Iterator[tuple[int, np.ndarray, np.ndarray]]:
    """Yields `(number of rows, features, labels)`, padded to one shape.

    One shape takes one compilation. There is at least one chunk.
    """
    total = len(group.labels) if rows is None else len(rows)
    everything = np.asarray(group.features)
    half = everything.dtype == np.float16
    size = int(np.clip(_CHUNK_BYTES // (4 * everything.shape[1]), _MIN_ROWS, _MAX_ROWS))
    for start in range(0, max(total, 1), size):
        stop = min(start + size, total)
        index: Any = slice(start, stop) if rows is None else rows[start:stop]
        # JAX takes rows in their file without a copy where it can.
        features = np.asarray(everything[index], np.float16 if half else np.float32)
        labels = group.labels[index]
        if missing := size - len(labels):
            features = np.pad(features, ((0, missing), (0, 0)))
            labels = np.pad(labels, (0, missing), constant_values=-1)
        yield stop - start, features, labels
