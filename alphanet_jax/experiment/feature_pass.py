"""Passes over mapped features: a chunk of rows at a time, never all in memory.

Notation: n samples, d feature dimensions, C classes, M source classes.
"""

import math
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.sharding import Mesh

from alphanet_jax import eval as evaluation
from alphanet_jax import files, scores, stages, streaming
from alphanet_jax.data.dataset import Group
from alphanet_jax.experiment import devices
from alphanet_jax.experiment.executables import Kept, kept

__all__ = ["score_chunks", "score_table"]

_ALIGNMENT = 64
# Rows and their scores then stay in the cache of a CPU, from one operation to the next:
# four times as many took 30 percent longer.
_ROWS_ON_CPUS = 1024
_PAGE_BYTES = 4096

_score_table = Kept(scores.score_table)


@kept(static_argnames=["with_products"])
def _score_chunk(
    *args: Any, with_products: bool, **arguments: Any
) -> tuple[scores.ScoreTable, jax.Array | None]:
    table, products = scores.score_table_and_products(*args, **arguments)
    chunk = evaluation.chunk_table(table, chunk_size=table.labels.shape[0])
    return chunk, products if with_products else None


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
    if jax.default_backend() == "cpu":
        size = min(size, _ROWS_ON_CPUS)
    if mesh is not None:
        size = -(-size // mesh.size) * mesh.size

    def score(chunk: _Chunk) -> scores.ScoreTable:
        sample_arrays = devices.split((chunk.features, chunk.labels), mesh)
        part: scores.ScoreTable = _score_table(*sample_arrays, **arguments)
        return part

    for count, part in _scored(group, rows, size, score):
        table = table or _room_for(part, max(total, capacity or 0))
        _fill(table, slice(done, done + count), part, slice(count))
        done += count
    return _placed(table, mesh)


def score_chunks(
    group: Group,
    *,
    chunk_size: int,
    mesh: Mesh | None = None,
    see_products: Callable[[np.ndarray], None] | None = None,
    **arguments: Any,
) -> scores.ScoreTable:
    """Scores a group for `eval.evaluate`: what `eval.chunk_table` makes of its scores.

    Args:
      group: The samples.
      chunk_size: Samples to score, and later evaluate, at a time.
      mesh: Devices to share the samples among.
      see_products: Takes the products of samples and weights, with shape `[m, C]`, one
        piece after another in the order of the samples; they may not be kept.
      **arguments: Further arguments of `scores.score_table`.

    Returns:
      The scores, in chunks.
    """
    total = len(group.labels)
    chunks = max(1, -(-total // chunk_size))
    table: scores.ScoreTable | None = None
    divisible = mesh is not None and chunk_size % mesh.size == 0
    place = devices.split if divisible else devices.replicate
    columns = scores.places_of_classes(
        arguments["few_classes"], arguments["base_classes"]
    )

    def score(chunk: _Chunk) -> tuple[scores.ScoreTable, jax.Array | None]:
        sample_arrays = place((chunk.features, chunk.labels), mesh)
        scored: tuple[scores.ScoreTable, jax.Array | None] = _score_chunk(
            *sample_arrays, with_products=see_products is not None, **arguments
        )
        return scored

    for index, (count, (part, products)) in enumerate(
        _scored(group, None, chunk_size, score)
    ):
        table = table or _room_for(part, chunks)
        _fill(table, index, part, 0)
        if see_products is not None and count:
            see_products(np.take(products[:count], columns, axis=1))
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


class _Chunk(NamedTuple):
    """Some samples, padded to the size that all chunks have."""

    number: int  # of samples that are real
    features: np.ndarray  # shape=(size, d)
    labels: np.ndarray  # shape=(size,); -1 for padding
    span: tuple[int, int]  # rows of the file that they are among


def _scored(
    group: Group,
    rows: np.ndarray | None,
    size: int,
    score: Callable[[_Chunk], Any],
) -> Iterator[tuple[int, Any]]:
    """Yields `(number of samples, scores)` of every chunk, on the host.

    Three things go on at a time: a chunk is read, the one before it is computed with,
    and the scores of that before are taken to where they belong.
    """
    begun: tuple[_Chunk, Any] | None = None
    for chunk in streaming.ahead(_chunks(group, rows, size)):
        following = chunk, score(chunk)
        if begun is not None:
            yield _ended(group, *begun)
        begun = following
    assert begun is not None
    yield _ended(group, *begun)


def _ended(group: Group, chunk: _Chunk, part: Any) -> tuple[int, Any]:
    """Waits for the scores of a chunk, and lets go of its rows."""
    fetched = devices.fetch(part)
    stages.done(chunk.number, "samples")
    files.release_rows(group.features, *chunk.span)
    return chunk.number, fetched


def _chunks(group: Group, rows: np.ndarray | None, size: int) -> Iterator[_Chunk]:
    """Yields samples, padded to one shape, which takes one compilation.

    There is at least one chunk.
    """
    total = len(group.labels) if rows is None else len(rows)
    everything = np.asarray(group.features)
    half = everything.dtype == np.float16
    for start in range(0, max(total, 1), size):
        stop = min(start + size, total)
        index: Any = slice(start, stop) if rows is None else rows[start:stop]
        # JAX takes rows in their file without a copy where it can.
        features = np.asarray(everything[index], np.float16 if half else np.float32)
        if rows is None:
            _read(features)
        labels = group.labels[index]
        if missing := size - len(labels):
            features = np.pad(features, ((0, missing), (0, 0)))
            labels = np.pad(labels, (0, missing), constant_values=-1)
        span = start, stop
        if rows is not None and stop > start:
            span = int(rows[start]), int(rows[stop - 1]) + 1
        yield _Chunk(stop - start, features, labels, span)


def _read(rows: np.ndarray) -> None:
    """Reads a number of every page of rows, so that those of a file are in memory."""
    step = max(1, _PAGE_BYTES // rows.itemsize)
    rows[:, ::step].max(initial=0)
