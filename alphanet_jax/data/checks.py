"""Checks of values, on the host, where data comes in.

Each raises `UserError` with one line naming the file or field, the value and what is
allowed. Compiled code cannot check values, so nothing unchecked reaches it.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from alphanet_jax import streaming
from alphanet_jax.data.contents import as_array, describe
from alphanet_jax.data.torch_files import Placeholder
from alphanet_jax.errors import UserError

__all__ = [
    "check_classifier",
    "check_covered",
    "check_feature_shape",
    "check_finite",
    "check_floats",
    "check_labels",
    "check_splits",
    "is_float",
]


def check_classifier(where: str, weight: Any, bias: Any) -> None:
    """Checks that a classifier is finite, `(C, d)` and `(C,)`, in float32."""
    if np.ndim(weight) != 2 or 0 in np.shape(weight):
        raise UserError(
            f"{where}: weight must have shape (classes, features), "
            f"got {np.shape(weight)}"
        )
    if np.shape(bias) != np.shape(weight)[:1]:
        raise UserError(
            f"{where}: bias must have shape {np.shape(weight)[:1]} to fit weight "
            f"{np.shape(weight)}, got {np.shape(bias)}"
        )
    for name, array in (("weight", weight), ("bias", bias)):
        with np.errstate(over="ignore"):
            finite = np.isfinite(np.asarray(array, np.float32))
        if not finite.all():
            first = _first(~finite)
            raise UserError(
                f"{where}: {name} must be finite in float32, got {array[first]} at "
                f"{first}"
            )


def check_floats(where: str, name: str, array: np.ndarray) -> None:
    """Checks that an array is one of floats, of any size."""
    if not is_float(array.dtype):
        raise UserError(f"{where}: {name} must hold floats, got {array.dtype}")


def is_float(dtype: np.dtype) -> bool:
    """Returns whether a dtype is of floats, bfloat16 included."""
    return dtype.kind == "f" or dtype.name == "bfloat16"


def check_feature_shape(where: str, features: Any, *, num_features: int) -> None:
    """Checks that features are floats of shape `(n, d)` with at least one row."""
    if features.ndim != 2 or features.shape[0] < 1:
        step = "; flatten them: feats.reshape(len(feats), -1)"
        raise UserError(
            f"{where}: feats must have shape (samples, features) and at least one "
            f"sample, got {features.shape}{step if features.ndim > 2 else ''}"
        )
    if not is_float(features.dtype):
        step = "; make floats of them: feats.astype('float32')"
        raise UserError(
            f"{where}: feats must be floats, got {features.dtype}"
            f"{step if features.dtype.kind in 'iub' else ''}"
        )
    if features.shape[1] != num_features:
        raise UserError(
            f"{where}: feats has {features.shape[1]} features a sample, but the "
            f"classifier takes {num_features}"
        )


def check_finite(
    where: str,
    features: np.ndarray,
    *,
    dtype: DTypeLike = np.float32,
    first_row: int = 0,
) -> None:
    """Checks features for NaN and infinity, a chunk of rows at a time.

    Args:
      where: File to name.
      features: Features, with shape `[n, d]`.
      dtype: What they will be used as; no value may be too large for it.
      first_row: Number of their first row.

    Raises:
      UserError: If one is not finite; its row and column are named.
    """
    wide = np.can_cast(features.dtype, dtype)
    for start, chunk in streaming.row_chunks(features):
        with np.errstate(over="ignore"):
            used = chunk if wide else chunk.astype(dtype)
        if not streaming.all_finite(used):
            row, column = _first(~np.isfinite(used))
            raise UserError(
                f"{where}: feats must be finite in {np.dtype(dtype)}, "
                f"got {chunk[row, column]} in row {first_row + start + row}, "
                f"column {column}"
            )


def _first(mask: np.ndarray) -> tuple[int, ...]:
    """Finds the first true element."""
    return tuple(map(int, np.unravel_index(np.argmax(mask), mask.shape)))


def check_labels(
    where: str, labels: Any, *, num_samples: int, num_classes: int
) -> np.ndarray:
    """Checks that labels are whole numbers in range, one for each sample.

    Args:
      where: File or argument to name.
      labels: An array or a sequence. Whole numbers may be written as floats, and a
        column of them counts as a list.
      num_samples: Number of samples n.
      num_classes: Number of classes C.

    Returns:
      The labels, with shape `[n]`, int32, in memory of their own.

    Raises:
      UserError: If they are not right.
    """
    values = as_array(labels)
    if isinstance(labels, Placeholder):
        raise UserError(
            f"{where}: labels must be a list of integers, got {describe(labels)}"
        )
    if isinstance(labels, list | tuple) and any(
        isinstance(item, np.ndarray) and item.size > 1 for item in labels
    ):
        raise UserError(
            f"{where}: labels is a list of {len(labels)} arrays: concatenate them "
            "where they are saved (torch.cat or numpy.concatenate)"
        )
    if values.ndim == 2 and values.shape[1] == 1:
        values = values[:, 0]
    if values.ndim == 2 and len(values) == num_samples and values.dtype.kind in "iufb":
        raise UserError(
            f"{where}: labels must be one number a sample, got {values.shape[1]}; if "
            "they are scores of classes, labels.argmax(axis=1) makes labels of them"
        )
    if values.ndim != 1 or not (values.dtype.kind in "iu" or is_float(values.dtype)):
        raise UserError(
            f"{where}: labels must be a list of integers, got {values.dtype} of shape "
            f"{values.shape}"
        )
    if len(values) != num_samples:
        raise UserError(f"{where}: {len(values)} labels for {num_samples} samples")
    if is_float(values.dtype):
        values = np.asarray(values, np.float64)
        broken = values != np.floor(values)  # also what is not a number
        if broken.any():
            row = int(np.argmax(broken))
            raise UserError(
                f"{where}: labels must be whole numbers, got {values[row]} in row {row}"
            )
    wrong = (values < 0) | (values >= num_classes)
    if wrong.any():
        row = int(np.argmax(wrong))
        from_one = values.min() == 1 and values.max() == num_classes
        step = "; if classes are counted from 1, save labels - 1" if from_one else ""
        raise UserError(
            f"{where}: labels must be in 0..{num_classes - 1} (the classifier has "
            f"{num_classes} classes), got {values[row]} in row {row}{step}"
        )
    return np.array(values, np.int32)


def check_splits(
    where: str,
    splits: Mapping[str, np.ndarray],
    *,
    num_classes: int,
    ending: str = ".txt",
) -> None:
    """Checks that the splits are disjoint and together all classes.

    Args:
      where: Directory or argument to name.
      splits: Class ids of 'few', 'medium' and 'many'.
      num_classes: Number of classes C.
      ending: What to write after the name of a split.

    Raises:
      UserError: If a class is in several splits, in none or unknown, or if there are
        no few or no base classes.
    """
    shown = {name: f"{name}{ending}" for name in splits}
    owner: dict[int, str] = {}
    every = np.concatenate(list(splits.values()))
    from_one = bool(every.size) and (every.min(), every.max()) == (1, num_classes)
    step = "; if classes are counted from 1, subtract 1" if from_one else ""
    for name, classes in splits.items():
        for label in classes.tolist():
            if not 0 <= label < num_classes:
                raise UserError(
                    f"{where}: {shown[name]}: classes must be in "
                    f"0..{num_classes - 1}, got {label}{step}"
                )
            if label in owner:
                other = shown[owner[label]]
                raise UserError(
                    f"{where}: class {label} is in {other} and in {shown[name]}"
                    if owner[label] != name
                    else f"{where}: class {label} is twice in {other}"
                )
            owner[label] = name
    missing = [label for label in range(num_classes) if label not in owner]
    if missing:
        some = ", ".join(map(str, missing[:5])) + (", ..." if missing[5:] else "")
        raise UserError(
            f"{where}: {len(missing)} of {num_classes} classes are in no split: {some}"
        )
    if not len(splits["few"]):
        raise UserError(f"{where}: {shown['few']} is empty: there is nothing to mend")
    if not len(splits["medium"]) + len(splits["many"]):
        raise UserError(
            f"{where}: {shown['medium']} and {shown['many']} are empty: no base classes"
        )


def check_covered(where: str, class_counts: np.ndarray) -> None:
    """Checks that every class has a training sample.

    Args:
      where: File or argument to name.
      class_counts: Number of training samples of every class, with shape `[C]`.

    Raises:
      UserError: If a class has none.
    """
    empty = np.flatnonzero(class_counts == 0)
    if empty.size:
        some = ", ".join(map(str, empty[:5])) + (", ..." if empty[5:].size else "")
        raise UserError(
            f"{where}: every class needs a training sample, but {empty.size} of "
            f"{len(class_counts)} have none: {some}; add samples of them, or leave "
            "them out of the classifier, the labels and the splits"
        )
