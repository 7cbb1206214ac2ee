"""Feature files: which ones make up a group of samples, and what is in one."""

import glob
import os
from pathlib import Path
from typing import NamedTuple

import numpy as np

from alphanet_jax.data import checks
from alphanet_jax.data.contents import as_array, describe, load_content
from alphanet_jax.data.registry import DatasetEntry
from alphanet_jax.errors import UserError

__all__ = ["FeatureFile", "find_feature_files", "read_feature_file"]


def find_feature_files(entry: DatasetEntry, data_root: Path, group: str) -> list[Path]:
    """Lists the files that make up a group, in the order of their rows.

    These are all `<group>*.pkl`, in the order of their names, or else one
    `<group>.npz` or `<group>.safetensors`.

    Args:
      entry: The dataset.
      data_root: What its paths are relative to.
      group: Name of the group.

    Returns:
      The files; none where the dataset has no such group, or only its converted form.

    Raises:
      UserError: If the name is not that of a file.
    """
    if not group or Path(group).name != group:
        raise UserError(f"groups of samples must have plain names, got {group!r}")
    directory = data_root / entry.feature_files_dir
    if parts := sorted(directory.glob(f"{glob.escape(group)}*.pkl")):
        return parts
    single = [directory / f"{group}{suffix}" for suffix in (".npz", ".safetensors")]
    return [path for path in single if os.path.exists(path)][:1]


class FeatureFile(NamedTuple):
    """The samples in one file."""

    path: Path
    features: np.ndarray  # shape=(n, d), floats as they are in the file
    labels: np.ndarray  # shape=(n,), dtype=np.int32
    note: str | None  # remark on the labels, to be shown


def read_feature_file(
    path: Path, *, num_classes: int, num_features: int, use_idxs: bool
) -> FeatureFile:
    """Reads the samples in a file, and checks all but whether they are finite.

    Args:
      path: File of a dict `feats`, `labels` and perhaps `idxs`.
      num_classes: Number of classes C.
      num_features: Number of feature dimensions d.
      use_idxs: Whether labels follow `idxs` (their documented meaning) or rows.

    Returns:
      The samples.

    Raises:
      UserError: If the file is missing, not of this form or does not fit.
    """
    content = load_content(path)
    if not isinstance(content, dict) or not {"feats", "labels"} <= content.keys():
        raise UserError(
            f"{path}: expected a dict of 'feats' and 'labels', got {describe(content)}"
        )
    features = content["feats"]
    if not isinstance(features, np.ndarray):
        raise UserError(
            f"{path}: feats must be a tensor or array, got {describe(features)}"
        )
    checks.check_feature_shape(str(path), features, num_features=num_features)
    steps = zip(features.shape, features.strides, strict=True)
    if any(size > 1 and stride == 0 for size, stride in steps):
        # A small file could fill the disk.
        raise UserError(f"{path}: feats must not be an expanded tensor: clone it")
    labels = as_array(content["labels"])
    checks.check_labels(
        str(path), labels, num_samples=len(features), num_classes=num_classes
    )
    labels, note = labels.astype(np.int32), None
    if use_idxs and content.get("idxs") is not None:
        labels, note = _apply_idxs(labels, as_array(content["idxs"]))
    return FeatureFile(path, features, labels, note)


def _apply_idxs(labels: np.ndarray, idxs: np.ndarray) -> tuple[np.ndarray, str | None]:
    """Follows the documented meaning: labels[i] is the label of feats[idxs[i]]."""
    in_order = np.arange(len(labels))
    if idxs.dtype.kind in "iu" and idxs.shape == labels.shape:
        if np.array_equal(idxs, in_order):
            return labels, None
        if np.array_equal(np.sort(idxs), in_order):
            reordered = np.empty_like(labels)
            reordered[idxs] = labels
            return reordered, (
                "idxs is not in order: labels[i] was given to feats[idxs[i]]; "
                "--ignore_idxs takes labels row by row"
            )
    return labels, (
        f"idxs does not number the {len(labels)} rows of this file: labels were taken "
        "row by row"
    )
