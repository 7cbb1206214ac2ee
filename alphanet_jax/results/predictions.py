"""What a linear classifier makes of features, a piece at a time.

Notation: n samples, C classes, d feature dimensions.
"""

from collections.abc import Iterator

import numpy as np
from numpy.typing import ArrayLike

from alphanet_jax import files, streaming
from alphanet_jax.data.in_memory import as_numpy
from alphanet_jax.results.corrected import Head

__all__ = ["logits", "predict"]


def logits(head: Head, features: ArrayLike) -> np.ndarray:
    """Computes the logits of features.

    Args:
      head: The classifier.
      features: Features, with shape `[n, d]`, of NumPy, JAX or PyTorch and any float
        type. Where they are not of float32, a piece at a time is made so.

    Returns:
      Logits, with shape `[n, C]`, float32.

    Raises:
      ValueError: If the classifier takes another number of features.
    """
    rows = _rows(head, features)
    found = np.empty((len(rows), len(head.weight)), np.float32)
    for start, piece in _logits_of_pieces(head, rows):
        found[start : start + len(piece)] = piece
    return found


def predict(head: Head, features: ArrayLike) -> np.ndarray:
    """Predicts the classes of features; logits of a piece at a time are in memory.

    Args:
      head: The classifier.
      features: As `logits` takes them.

    Returns:
      The classes, with shape `[n]`, int64.

    Raises:
      ValueError: If the classifier takes another number of features.
    """
    rows = _rows(head, features)
    found = np.empty(len(rows), np.int64)
    for start, piece in _logits_of_pieces(head, rows):
        found[start : start + len(piece)] = piece.argmax(axis=1)
    return found


def _rows(head: Head, features: ArrayLike) -> np.ndarray:
    rows: np.ndarray = as_numpy(features)
    if not isinstance(rows, np.memmap):  # which is let go of as it is read
        rows = np.asarray(rows)
    num_features = head.weight.shape[1]
    if rows.ndim != 2 or rows.shape[1] != num_features:
        raise ValueError(
            f"features must have shape (n, {num_features}), got {rows.shape}."
        )
    return rows


def _logits_of_pieces(head: Head, rows: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
    size = streaming.rows_at_a_time(rows.shape[1])
    for start in range(0, len(rows), size):
        piece = np.asarray(rows[start : start + size], np.float32)
        yield start, piece @ head.weight.T + head.bias
        files.release_rows(rows, start, start + len(piece))
