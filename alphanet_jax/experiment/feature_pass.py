"""Passes over mapped features: a chunk of rows at a time, never all in memory.

Notation: n samples, d feature dimensions, C classes, M source classes.
"""

import math
from collections.abc import Iterator
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh

from alphanet_jax import eval as evaluation
from alphanet_jax import files, scores, stages, streaming
from alphanet_jax.data.dataset import Group
from alphanet_jax.experiment import devices

__all__ = ["score_chunks", "score_table"]

_ALIGNMENT = 64

_score_table = jax.jit(scores.score_table)


@jax.jit
def _score_chunk(*args: Any, **arguments: Any) -> scores.ScoreTable:
    table = scores.score_table(*args, **arguments)
    return evaluation.chunk_table(table, chunk_size=table.labels.shape[0])


def score_table(
    group: Group,
    rows: np.ndarray | None = None,
    *,
    capacity: int | None = None,
    mesh: Mesh | None = None,
    **arguments: Any,
) -> scores.ScoreTable:
    """Scores a group, or some of its rows, with the frozen classifier.

    Args:
      group: The samples.
      rows: Rows to score, in the order of the result; ascending order reads the
        file front to back. By default all.
      capacity: Number of rows of the result, where there shall be more than are
        scored: the others are not set. A number that does not depend on the rows
        keeps programs that take the table from being compiled again.
      mesh: Devices to share the samples among.
      **arguments: Further arguments of `scores.score_table`.

    Returns:
      The scores.
    """
    total = len(group.labels) if rows is None else len(rows)
    table: scores.ScoreTable | None = None
    done = 0
    size = streaming.rows_at_a_time(group.features.shape[1])
    if mesh is not None:
        size = -(-size // mesh.size) * mesh.size
    for count, features, labels in _chunks(group, rows, size):
        sample_arrays = devices.split((features, labels), mesh)
        part = devices.fetch(_score_table(*sample_arrays, **arguments))
        table = table or _room_for(part, max(total, capacity or 0))
        _fill(table, slice(done, done + count), part, slice(count))
        done += count
    return _placed(table, mesh)


def score_chunks(
    group: Group, *, chunk_size: int, mesh: Mesh | None = None, **arguments: Any
) -> scores.ScoreTable:
    """Scores a group for `eval.evaluate`: what `eval.chunk_table` makes of its scores.

    Args:
      group: The samples.
      chunk_size: Samples to score, and later evaluate, at a time.
      mesh: Devices to share the samples among.
      **arguments: Further arguments of `scores.score_table`.

    Returns:
      The scores, in chunks.
    """
    total = len(group.labels)
    chunks = max(1, -(-total // chunk_size))
    table: scores.ScoreTable | None = None
    divisible = mesh is not None and chunk_size % mesh.size == 0
    for index, (_, *samples) in enumerate(_chunks(group, None, chunk_size)):
        sample_arrays = (
            devices.split(samples, mesh)
            if divisible
            else devices.replicate(samples, mesh)
        )
        part = devices.fetch(_score_chunk(*sample_arrays, **arguments))
        table = table or _room_for(part, chunks)
        _fill(table, index, part, 0)
    return _placed(table, mesh)


def _room_for(part: scores.ScoreTable, length: int) -> scores.ScoreTable:
    """Makes arrays like those of a part, but of another length."""
    room: scores.ScoreTable = jax.tree.map(
        lambda column: _empty((length, *column.shape[1:]), column.dtype), part
    )
    return room


def _fill(
    table: scores.ScoreTable, place: Any, part: scores.ScoreTable, rows: Any
) -> None:
    """Writes some rows of a part of the scores into the arrays of all."""
    columns, pieces = jax.tree.leaves(table), jax.tree.leaves(part)
    for column, piece in zip(columns, pieces, strict=True):
        column[place] = piece[rows]


def _empty(shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
    """Makes an array that JAX takes as it is on CPUs, where others would be copied."""
    size = math.prod(shape) * dtype.itemsize
    memory = np.empty(size + _ALIGNMENT, np.uint8)
    start = -memory.ctypes.data % _ALIGNMENT
    return memory[start : start + size].view(dtype).reshape(shape)


def _placed(table: scores.ScoreTable | None, mesh: Mesh | None) -> scores.ScoreTable:
    """Puts arrays of the host on the devices."""
    if mesh is not None:
        placed: scores.ScoreTable = devices.replicate(table, mesh)
    else:
        placed = jax.device_put(table)
    return placed


def _chunks(
    group: Group, rows: np.ndarray | None, size: int
) -> Iterator[tuple[int, np.ndarray, np.ndarray]]:
    """Yields `(number of rows, features, labels)`, padded to one shape.

    One shape takes one compilation. There is at least one chunk.
    """
    total = len(group.labels) if rows is None else len(rows)
    everything = np.asarray(group.features)
    half = everything.dtype == np.float16
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
        stages.done(stop - start, "samples")
        if stop > start:
            first, last = (start, stop - 1) if rows is None else rows[[start, stop - 1]]
            files.release_rows(group.features, int(first), int(last) + 1)
