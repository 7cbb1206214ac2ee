"""Passes over features larger than memory, in NumPy: a few thousand rows at a time.

Notation: n samples, d feature dimensions, C classes.
"""

import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import numpy as np
from numpy.typing import ArrayLike, DTypeLike

from alphanet_jax import files, stages

__all__ = [
    "ahead",
    "all_finite",
    "class_means",
    "each_block",
    "float_chunks",
    "row_chunks",
    "rows_at_a_time",
]

_T = TypeVar("_T")

_CHUNK_BYTES = 32 * 2**20
_MIN_ROWS, _MAX_ROWS = 256, 4096
_NUMBERS_IN_CACHE = 2**17  # of float64, in that of one core
_NUMBERS_FOR_THREADS = 2**22  # fewer are looked at sooner than threads begin
_MOST_THREADS = 8


def rows_at_a_time(num_features: int) -> int:
    """Computes how many rows of `num_features` float32 numbers make up a chunk."""
    return int(np.clip(_CHUNK_BYTES // (4 * num_features), _MIN_ROWS, _MAX_ROWS))


def ahead(pieces: Iterable[_T]) -> Iterator[_T]:
    """Yields what an iterable yields, the next piece being made in a thread meanwhile.

    Reading a file and copying rows hold no lock of Python's, so they take no time of
    those who compute with the piece before. Whatever the iterable raises is raised
    here, in its place.

    Args:
      pieces: Makes the pieces, one after another.

    Yields:
      The pieces, in order.

    Examples:
      >>> list(ahead(number**2 for number in range(4)))
      [0, 1, 4, 9]
    """
    iterator = iter(pieces)
    nothing = object()
    with ThreadPoolExecutor(1, thread_name_prefix="reading ahead") as pool:
        following = pool.submit(next, iterator, nothing)
        while (piece := following.result()) is not nothing:
            following = pool.submit(next, iterator, nothing)
            yield piece  # type: ignore[misc]


def all_finite(rows: np.ndarray) -> bool:
    """Tells whether there is neither NaN nor infinity, block by block.

    The answers of a block are looked at while they are in the cache, which takes a
    third of the time that those of all rows take.

    Args:
      rows: Rows of any float dtype, with shape `[n, d]`.

    Examples:
      >>> all_finite(np.array([[1.0, 2.0], [3.0, np.inf]]))
      False
    """
    block = max(1, _NUMBERS_IN_CACHE // max(1, rows[:1].size))
    starts = range(0, len(rows), block)
    return all(np.isfinite(rows[start : start + block]).all() for start in starts)


def each_block(work: Callable[[slice], None], num_rows: int, *, width: int) -> None:
    """Does something with all rows of a table: blocks that fit a cache, in threads.

    NumPy holds no lock of Python's while it computes, so blocks of different rows are
    computed at once, each by one thread.

    Args:
      work: Called with slices of rows, each row once; writes what it finds to rows of
        its own.
      num_rows: Number of rows n.
      width: Numbers in a row.

    Examples:
      >>> table, sums = np.arange(6.0).reshape(3, 2), np.zeros(3)
      >>> def add(rows):
      ...     sums[rows] = table[rows].sum(axis=1)
      >>> each_block(add, 3, width=2)
      >>> sums.tolist()
      [1.0, 5.0, 9.0]
    """
    block = max(1, _NUMBERS_IN_CACHE // max(1, width))

    def do(begin: int, end: int) -> None:
        for start in range(begin, end, block):
            work(slice(start, min(start + block, end)))

    threads = min(_MOST_THREADS, os.cpu_count() or 1)
    if threads == 1 or num_rows * width < _NUMBERS_FOR_THREADS:
        do(0, num_rows)
        return
    ends = np.linspace(0, num_rows, threads + 1).astype(int).tolist()
    with ThreadPoolExecutor(threads, thread_name_prefix="blocks") as pool:
        list(pool.map(do, ends[:-1], ends[1:]))


def row_chunks(features: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
    """Yields pieces of an array of some 32 MiB, to be looked at or copied in turn.

    Of a mapped array one piece at a time is in memory.

    Args:
      features: Array with at least one axis, perhaps mapped from a file.

    Yields:
      The number of the first row, and the rows.
    """
    size = max(1, _CHUNK_BYTES // max(1, features[:1].nbytes))
    for start in range(0, len(features), size):
        yield start, features[start : start + size]
        files.release_rows(features, start, min(start + size, len(features)))


def float_chunks(features: ArrayLike, *, width: int = 1) -> Iterator[np.ndarray]:
    """Yields rows as float32, to be computed with: some at a time.

    Pages of a mapped file are released as soon as the next rows are asked for.

    Args:
      features: Features, with shape `[n, d]` and any float dtype, perhaps mapped from
        a file.
      width: How many numbers a row is made into, such as the number of classes.

    Yields:
      Rows in order, with shape `[m, d]`.
    """
    # A plain array: slices of np.memmap are slow to make.
    rows = np.asarray(features)
    size = rows_at_a_time(max(width, rows.shape[1]))
    for start in range(0, len(rows), size):
        chunk = rows[start : start + size]
        yield chunk.astype(np.float32)
        stages.done(len(chunk), "samples")
        if isinstance(features, np.ndarray):
            files.release_rows(features, start, start + len(chunk))


def class_means(
    features: ArrayLike,
    labels: ArrayLike,
    *,
    num_classes: int,
    prepare: Callable[[np.ndarray], np.ndarray] | None = None,
    dtype: DTypeLike = np.float32,
) -> np.ndarray:
    """Computes the mean feature of every class.

    Sums are float64, so that large classes lose no digits. Pages of a mapped file are
    released as soon as they are read.

    Args:
      features: Features, with shape `[n, d]` and any float dtype, perhaps mapped from
        a file.
      labels: Classes of the rows, with shape `[n]`. Rows with a label outside
        `[0, num_classes)` are left out, which makes -1 a padding label.
      num_classes: Number of classes C.
      prepare: What to make of some rows before their mean is taken, if anything; keeps
        their shape.
      dtype: Of the means.

    Returns:
      The means, with shape `[C, d]`; zeros for a class without samples.

    Raises:
      ValueError: If the shapes do not fit each other.

    Examples:
      >>> x = [[0.0, 2.0], [2.0, 0.0], [5.0, 5.0]]
      >>> class_means(x, [0, 0, 1], num_classes=2).tolist()
      [[1.0, 1.0], [5.0, 5.0]]
    """
    # A plain array: slices of np.memmap are slow to make.
    rows, labels = np.asarray(features), np.asarray(labels)
    if rows.ndim != 2 or labels.shape != rows.shape[:1]:
        raise ValueError(
            "features must be (n, d) and labels (n,), "
            f"got {rows.shape} and {labels.shape}."
        )
    sums = np.zeros((num_classes + 1, rows.shape[1]), np.float64)
    # What is of no class goes to an extra row: negative indices would wrap around.
    places = np.where((labels >= 0) & (labels < num_classes), labels, num_classes)
    totals = list(sums)  # of every class a view, which takes time to make
    size = rows_at_a_time(rows.shape[1])
    block = max(1, _NUMBERS_IN_CACHE // max(1, rows.shape[1]))
    for start in range(0, len(rows), size):
        chunk = rows[start : start + size]
        if chunk.dtype.kind not in "fiu":  # bfloat16 and the like
            chunk = chunk.astype(np.float32)
        if prepare is not None:
            chunk = prepare(chunk)
        # Additions of a row in float64 run at the speed of memory; on a CPU neither
        # a segment sum nor a product with one-hot labels does.
        chunk_places = places[start : start + size].tolist()
        for first in range(0, len(chunk), block):
            doubles = chunk[first : first + block].astype(np.float64, copy=False)
            for place, row in zip(chunk_places[first:], doubles, strict=False):
                total = totals[place]
                np.add(total, row, total)
        if isinstance(features, np.ndarray):
            files.release_rows(features, start, start + len(chunk))
        stages.done(len(chunk), "samples")
    counts = np.bincount(places, minlength=num_classes + 1)
    return (sums / np.maximum(counts, 1)[:, None])[:num_classes].astype(dtype)
