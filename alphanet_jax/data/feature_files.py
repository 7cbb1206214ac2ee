"""What is in a feature file: features, labels and `idxs`, checked."""

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from alphanet_jax import files
from alphanet_jax.data import checks, spelling
from alphanet_jax.data.contents import (
    as_array,
    describe,
    is_overlapping,
    load_content,
)
from alphanet_jax.data.group_files import Part
from alphanet_jax.errors import UserError

__all__ = ["FeatureFile", "Samples", "load_samples", "read_feature_file"]


class FeatureFile(NamedTuple):
    """The samples in one file."""

    path: Path
    features: np.ndarray  # shape=(n, d), floats as they are in the file
    labels: np.ndarray  # shape=(n,), dtype=np.int32, in the order of rows
    idxs: np.ndarray | None  # shape=(n,), a permutation that is not in order
    note: str | None  # what a person should know
    sources: dict[Path, str]  # files read, with dtypes


def read_feature_file(
    part: Part, *, num_classes: int, num_features: int
) -> FeatureFile:
    """Reads the samples of a part, and checks all but whether they are finite.

    Args:
      part: A file of features with their labels, as a dict of both or as two files.
      num_classes: Number of classes C.
      num_features: Number of feature dimensions d.

    Returns:
      The samples.

    Raises:
      UserError: If a file is missing, not of this form or does not fit.
    """
    path = part.features
    found = load_samples(part)
    if found.features is None or found.labels is None:
        raise UserError(_expected(path, found.content, part.labels))
    features = _checked_features(path, found.features, num_features=num_features)
    values = checks.check_labels(
        str(found.labels_path),
        found.labels,
        num_samples=len(features),
        num_classes=num_classes,
    )
    order, note = _order(found.idxs, len(values))
    sources = {path: str(features.dtype)}
    if part.labels is not None:
        sources[part.labels] = str(as_array(found.labels).dtype)
    return FeatureFile(path, features, values, order, note, sources)


class Samples(NamedTuple):
    """What the files of a part hold, unchecked; None for what is not there."""

    content: Any  # of the file of features
    features: Any
    labels: Any
    idxs: Any
    labels_path: Path  # where labels are from


def load_samples(part: Part) -> Samples:
    """Loads the files of a part, and finds features and labels in them.

    Args:
      part: A file of features with their labels, as a dict of both or as two files.

    Raises:
      UserError: If a file is missing or cannot be read.
    """
    content = _load(part.features)
    features, labels, idxs = content, None, None
    if isinstance(content, dict):
        features = spelling.find_value(content, spelling.FEATURES)
        labels = spelling.find_value(content, spelling.LABELS)
        idxs = content.get("idxs")
    elif _is_pair(content):
        features, labels = content
    if labels is not None or part.labels is None:
        return Samples(content, features, labels, idxs, part.features)
    labels = _load(part.labels)
    if isinstance(labels, dict):
        labels = spelling.find_value(labels, spelling.LABELS)
    return Samples(content, features, labels, idxs, part.labels)


def _load(path: Path) -> Any:
    """Loads a file; of an .npz what is needed, as other arrays may be pickled."""
    if path.suffix != ".npz":
        return load_content(path)
    names = list(files.list_npz(path))
    if names and names == [f"arr_{index}" for index in range(len(names))]:
        # Arrays that were saved without names; NumPy gave them these.
        arrays = files.open_npz(path)
        return tuple(arrays.values()) if names[1:] else arrays["arr_0"]
    wanted = {
        name
        for words in (spelling.FEATURES, spelling.LABELS)
        for name in spelling.candidates(names, words)
    }
    content: dict[str, Any] = dict.fromkeys(names)
    return content | files.open_npz(path, wanted | {"idxs"})


def _is_pair(content: Any) -> bool:
    """Tells whether there are two arrays, of rows and of one label for each."""
    if not isinstance(content, list | tuple) or len(content) != 2:
        return False
    if not all(isinstance(item, np.ndarray) for item in content):
        return False
    rows, labels = content
    return (
        rows.ndim == 2
        and labels.shape in ((len(rows),), (len(rows), 1))
        and rows.shape != labels.shape
    )


def _expected(path: Path, content: Any, labels_path: Path | None) -> str:
    """Says that features or labels are not there, and what else is read."""
    if labels_path is not None:
        return (
            f"{path}: expected features in it and labels in {labels_path.name}, got "
            f"{describe(content)}"
        )
    got = describe(content)
    if isinstance(content, np.ndarray) and content.ndim:
        return (
            f"{path}: expected a dict of 'feats' and 'labels', got an array alone; "
            f"labels may be beside it, in {_labels_beside(path)}"
        )
    if isinstance(content, list | tuple) and content:
        if all(isinstance(item, dict) for item in content):
            step = "stack what is in them, and save"
        else:
            step = "save"
        return (
            f"{path}: expected a dict of 'feats' and 'labels', got {got} of "
            f"{len(content)}; {step} {{'feats': feats, 'labels': labels}}"
        )
    return (
        f"{path}: expected a dict of 'feats' and 'labels', got {got} (read are also "
        f"{', '.join(spelling.FEATURES[1:])} and {', '.join(spelling.LABELS[1:])})"
    )


def _labels_beside(path: Path) -> str:
    """Names the file of labels that is looked for beside one of features."""
    stem = spelling.stem_of(path.name)
    return f"{stem}_labels{path.name.removeprefix(stem)}"


def _checked_features(path: Path, features: Any, *, num_features: int) -> np.ndarray:
    """Checks that features are what can be copied row by row."""
    if isinstance(features, list | tuple) and any(
        isinstance(item, np.ndarray) and item.ndim for item in features
    ):
        raise UserError(
            f"{path}: feats is a list of {len(features)} arrays: concatenate them "
            "where they are saved (torch.cat or numpy.concatenate)"
        )
    if not isinstance(features, np.ndarray):
        step = "; make one: numpy.asarray(feats, 'float32')"
        raise UserError(
            f"{path}: feats must be a tensor or array, got {describe(features)}"
            f"{step if isinstance(features, list | tuple) and features else ''}"
        )
    checks.check_feature_shape(str(path), features, num_features=num_features)
    if is_overlapping(features):
        # A small file could fill the disk.
        raise UserError(f"{path}: feats must not be an expanded tensor: clone it")
    return features


def _order(idxs: Any, num_rows: int) -> tuple[np.ndarray | None, str | None]:
    """Checks what `idxs` is.

    Returns:
      It, where it is a permutation that is not in order; and a note, where it is none.
    """
    if idxs is None:
        return None, None
    order, in_order = as_array(idxs), np.arange(num_rows)
    if order.shape == (num_rows, 1):
        order = order[:, 0]
    if order.dtype.kind in "iuf" and order.shape == in_order.shape:
        if np.array_equal(order, in_order):
            return None, None
        if np.array_equal(np.sort(order), in_order):
            return order.astype(np.int64), None
    return None, (
        f"idxs does not number the {num_rows} rows of this file: labels were taken "
        "row by row"
    )
