"""Passes over mapped features: a chunk of rows at a time, never all in memory.

The functions of `nn_search` and `scores` take arrays; here they meet features that
may be larger than memory. Every chunk has the same shape, so each compiles once.
"""

from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from alphanet_jax import nn_search, scores
from alphanet_jax.dataset import Group

__all__ = ["class_means", "score_table"]

_CHUNK_BYTES = 32 * 2**20
_MIN_ROWS, _MAX_ROWS = 256, 4096

_class_sums = jax.jit(nn_search.class_sums, static_argnames="num_classes")
_score_table = jax.jit(scores.score_table)


def _chunks(
    group: Group, rows: np.ndarray | None
) -> Iterator[tuple[int, np.ndarray, np.ndarray]]:
    """Yields `(number of rows, features, labels)`, padded to one shape."""
    total = len(group.labels) if rows is None else len(rows)
    num_features = group.features.shape[1]
    size = int(np.clip(_CHUNK_BYTES // (4 * num_features), _MIN_ROWS, _MAX_ROWS))
    for start in range(0, total, size):
        stop = min(start + size, total)
        index: Any = slice(start, stop) if rows is None else rows[start:stop]
        features = np.zeros((size, num_features), np.float32)
        labels = np.full(size, -1, np.int32)
        features[: stop - start] = group.features[index]
        labels[: stop - start] = group.labels[index]
        yield stop - start, features, labels


def class_means(group: Group, *, num_classes: int) -> np.ndarray:
    """Computes the mean feature of every class, with shape `[C, d]`, float32."""
    sums = np.zeros((num_classes, group.features.shape[1]), np.float64)
    counts = np.zeros(num_classes, np.int64)
    for _, features, labels in _chunks(group, None):
        part, part_counts = _class_sums(features, labels, num_classes=num_classes)
        sums += np.asarray(part)
        counts += np.asarray(part_counts)
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
