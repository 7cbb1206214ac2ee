"""Reads the text files about classes: their splits and their names."""

import re
from pathlib import Path

import numpy as np

from alphanet_jax import files
from alphanet_jax.data.contents import brief
from alphanet_jax.data.paths import find_path
from alphanet_jax.data.registry import DatasetEntry
from alphanet_jax.errors import UserError
from alphanet_jax.splits import SPLITS

__all__ = ["read_label_names", "read_splits", "split_paths", "synsets_path"]

_CLASS_NUMBER = re.compile("-?[0-9]{1,18}", re.ASCII)


def synsets_path(entry: DatasetEntry, data_root: Path) -> Path | None:
    """Names the file of the classes' WordNet ids; None where the entry has none."""
    return find_path(data_root, entry.synsets_file) if entry.synsets_file else None


def split_paths(entry: DatasetEntry, data_root: Path) -> dict[str, Path]:
    """Names the files of the class ids of 'few', 'medium' and 'many'."""
    directory = find_path(data_root, entry.split_files_dir)
    return {split: directory / f"{split}.txt" for split in SPLITS}


def read_splits(entry: DatasetEntry, data_root: Path) -> dict[str, np.ndarray]:
    """Reads the class ids of 'few', 'medium' and 'many'.

    Args:
      entry: The dataset.
      data_root: What its paths are relative to.

    Returns:
      Class ids by split, ascending, int64: not yet checked against each other.

    Raises:
      UserError: If a file is missing or a line is not a number.
    """
    splits = {}
    for split, path in split_paths(entry, data_root).items():
        classes = []
        for number, line in enumerate(files.read_lines(path), start=1):
            if not line.strip():
                continue
            if not _CLASS_NUMBER.fullmatch(line.strip()):
                raise UserError(
                    f"{path}:{number}: expected one class number a line, "
                    f"got {brief(line.strip())}"
                )
            classes.append(int(line))
        splits[split] = np.sort(np.asarray(classes, np.int64))
    return splits


def read_label_names(
    entry: DatasetEntry, data_root: Path, *, num_classes: int
) -> tuple[str, ...] | None:
    """Reads the names of classes.

    Args:
      entry: The dataset.
      data_root: What its paths are relative to.
      num_classes: Number of classes C.

    Returns:
      The names in the order of class ids; None if the dataset has no such file.

    Raises:
      UserError: If there is not one name for every class.
    """
    if entry.label_names_file is None:
        return None
    path = find_path(data_root, entry.label_names_file)
    names = tuple(line.strip() for line in files.read_lines(path) if line.strip())
    if len(names) != num_classes:
        raise UserError(f"{path}: {len(names)} names for {num_classes} classes")
    return names
