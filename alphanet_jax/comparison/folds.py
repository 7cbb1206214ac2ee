"""Stratified cross-validation on training samples, for want of validation data.

Notation: n samples, d feature dimensions.
"""

import contextlib
from collections.abc import Iterator

import numpy as np
from numpy.typing import ArrayLike

from alphanet_jax import scratch, streaming

__all__ = ["NEVER", "draw_folds", "take_rows"]

NEVER = -1  # of rows that are in no fold: they are always trained on
# Classes weigh the same, so more rows of the largest would say little.
MOST_PER_CLASS = 20
_IN_MEMORY_BYTES = 2**29


def draw_folds(
    labels: ArrayLike,
    *,
    num_folds: int,
    most_per_class: int = MOST_PER_CLASS,
    seed: int = 0,
) -> np.ndarray:
    """Draws which rows are held out together.

    Rows of a class are spread evenly over folds, so that some of each class stay to
    train on. The only row of a class is never held out.

    Args:
      labels: Classes of the rows, with shape `[n]`.
      num_folds: Number of folds, at least 2.
      most_per_class: Rows of a class that are held out in all folds together.
      seed: Of what is drawn.

    Returns:
      The fold of every row, with shape `[n]`; `NEVER` for those always trained on.

    Raises:
      ValueError: If there are fewer than two folds.

    Examples:
      >>> int(draw_folds([0, 0, 1], num_folds=2)[2])  # the only one of its class
      -1
    """
    if num_folds < 2:
        raise ValueError(f"num_folds must be at least 2, got {num_folds}.")
    truth = np.asarray(labels)
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(truth))
    order = order[np.argsort(truth[order], kind="stable")]  # by class, in random order
    _, starts, counts = np.unique(truth[order], return_index=True, return_counts=True)
    # Where the first one goes is drawn: folds get about as many rows as each other.
    firsts = rng.integers(num_folds, size=len(counts))
    rank = np.arange(len(truth)) - np.repeat(starts, counts)
    places = (np.repeat(firsts, counts) + rank) % num_folds
    held = (rank < most_per_class) & (np.repeat(counts, counts) > 1)
    folds = np.full(len(truth), NEVER, np.int64)
    folds[order[held]] = places[held]
    return folds


@contextlib.contextmanager
def take_rows(features: np.ndarray, rows: np.ndarray) -> Iterator[np.ndarray]:
    """Yields rows of features: in memory, or those of a large file in another file.

    Args:
      features: Features, with shape `[n, d]`, perhaps mapped from a file.
      rows: Numbers of rows, ascending.

    Yields:
      The rows, of the same dtype. A file is gone when the block ends.
    """
    wanted = len(rows) * features[:1].nbytes
    if wanted <= _IN_MEMORY_BYTES:
        yield np.asarray(features)[rows]
        return
    with scratch.directory() as directory:
        path = directory / "rows.npy"
        shape = (len(rows), *features.shape[1:])
        copy = np.lib.format.open_memmap(
            path, mode="w+", dtype=features.dtype, shape=shape
        )
        filled = 0
        for start, chunk in streaming.row_chunks(features):
            low, high = np.searchsorted(rows, [start, start + len(chunk)])
            copy[filled : filled + high - low] = chunk[rows[low:high] - start]
            filled += high - low
        copy.flush()
        del copy
        mapped = np.load(path, mmap_mode="r")
        yield mapped
        del mapped
