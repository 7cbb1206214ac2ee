"""Checks of shapes that corrections share, and of how they go together."""

import jax
import numpy as np
from jax.typing import ArrayLike

__all__ = ["along_last", "classifier", "in_range", "last_axis", "samples"]

Array = jax.Array | np.ndarray


def last_axis(name: str, array: Array, of_name: str, of_classes: Array) -> None:
    """Checks that the last axis of an array is that of classes."""
    if array.ndim < 1 or array.shape[-1:] != of_classes.shape:
        raise ValueError(
            f"{name} must be (..., C) and {of_name} (C,), got {array.shape} and "
            f"{of_classes.shape}."
        )


def samples(name: str, rows: Array, labels_name: str, labels: Array) -> None:
    """Checks that there is a label for every row."""
    if rows.ndim != 2 or labels.shape != rows.shape[:1] or not len(rows):
        raise ValueError(
            f"{name} must be (n, d) and {labels_name} (n,), with n at least 1, got "
            f"{rows.shape} and {labels.shape}."
        )


def in_range(name: str, classes: ArrayLike, num_classes: int) -> None:
    """Checks that all of some numbers are classes."""
    ids = np.asarray(classes)
    if ids.size and not 0 <= ids.min() <= ids.max() < num_classes:
        raise ValueError(
            f"{name} must be from 0 to {num_classes - 1}, got {ids.min()} to "
            f"{ids.max()}."
        )


def classifier(features: ArrayLike, weight: ArrayLike, bias: ArrayLike) -> None:
    """Checks that a classifier takes these features."""
    shapes = np.shape(features), np.shape(weight), np.shape(bias)
    if [len(shape) for shape in shapes] != [2, 2, 1] or shapes[1] != (
        shapes[2][0],
        shapes[0][1],
    ):
        raise ValueError(
            "features must be (n, d), weight (C, d) and bias (C,), got "
            f"{shapes[0]}, {shapes[1]} and {shapes[2]}."
        )


def along_last(vector: jax.Array, array: jax.Array) -> jax.Array:
    """Gives a vector the axes of an array, whose last one is its own."""
    return vector.reshape((1,) * (array.ndim - 1) + vector.shape)
