"""What the files of a dataset tell about its classifier before that is read.

A checkpoint may hold many tensors. The samples say how many features the classifier
takes, and splits or labels how many classes it knows.
"""

from pathlib import Path

import numpy as np

from alphanet_jax import files
from alphanet_jax.data.class_files import read_splits
from alphanet_jax.data.contents import as_array
from alphanet_jax.data.feature_files import load_samples
from alphanet_jax.data.group_files import Part, find_feature_files
from alphanet_jax.data.heads import Sides
from alphanet_jax.data.paths import ArrayPaths
from alphanet_jax.data.registry import DatasetEntry
from alphanet_jax.errors import UserError

__all__ = ["sides_of_arrays", "sides_of_files"]


def sides_of_arrays(entry: DatasetEntry, data_root: Path, paths: ArrayPaths) -> Sides:
    """Tells the numbers of features and classes from converted training samples.

    Args:
      entry: The dataset.
      data_root: What its paths are relative to.
      paths: The files of its training group.

    Returns:
      The numbers.
    """
    features = files.open_npy(paths.features)
    num_classes = _classes_of_splits(entry, data_root)
    if num_classes is None:
        num_classes = int(files.open_npy(paths.labels).max(initial=-1)) + 1
    return Sides(features.shape[1], num_classes)


def sides_of_files(entry: DatasetEntry, data_root: Path, group: str) -> Sides:
    """Tells the numbers of features and classes from the files of training samples.

    Args:
      entry: The dataset.
      data_root: What its paths are relative to.
      group: The training group.

    Returns:
      The numbers; None for what the files do not tell. What is wrong with them is
      said when they are converted.
    """
    try:
        found = find_feature_files(entry, data_root, group)
        parts = [_peek(part) for part in found.parts]
    except UserError:
        parts = []
    widths = {width for width, _ in parts}
    num_classes = _classes_of_splits(entry, data_root)
    if num_classes is None and parts and all(classes for _, classes in parts):
        num_classes = max(classes for _, classes in parts)
    return Sides(widths.pop() if len(widths) == 1 else None, num_classes or None)


def _classes_of_splits(entry: DatasetEntry, data_root: Path) -> int | None:
    """Counts the classes in the lists of splits, where there are such."""
    if entry.split_files_dir is None:
        return None
    return sum(map(len, read_splits(entry, data_root).values()))


def _peek(part: Part) -> tuple[int | None, int]:
    """Looks at the files of some samples: features of one, and classes in labels."""
    _, features, labels, _, _ = load_samples(part)
    shape = np.shape(features) if isinstance(features, np.ndarray) else ()
    values = as_array(labels)
    numbers = values.dtype.kind in "iuf" and values.size and np.isfinite(values).all()
    return shape[1] if len(shape) == 2 else None, int(
        values.max()
    ) + 1 if numbers else 0
