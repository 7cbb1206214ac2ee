"""Reads the text files about classes: their splits and their names."""

import array
import itertools
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np

from alphanet_jax import files
from alphanet_jax.data.contents import brief
from alphanet_jax.data.paths import find_path
from alphanet_jax.data.registry import DatasetEntry
from alphanet_jax.errors import UserError
from alphanet_jax.splits import SPLITS

__all__ = [
    "read_counts",
    "read_label_names",
    "read_splits",
    "split_paths",
    "synsets_path",
    "write_splits",
]

# 14, and what numpy.savetxt makes of it: 1.400000000000000000e+01.
_NUMBER = re.compile(
    r"[-+]?[0-9]{1,30}(?:\.[0-9]{0,30})?(?:e[-+]?[0-9]{1,2})?", re.ASCII
)
_INTEGER = re.compile("[-+]?[0-9]{1,18}", re.ASCII)
_BETWEEN = re.compile(r"[\s,;]+")
_BRACKETS = re.compile(r"[\s,;\[\]()]+")  # of a list as Python writes it


def synsets_path(entry: DatasetEntry, data_root: Path) -> Path | None:
    """Names the file of the classes' WordNet ids; None where the entry has none."""
    return find_path(data_root, entry.synsets_file) if entry.synsets_file else None


def split_paths(entry: DatasetEntry, data_root: Path) -> dict[str, Path]:
    """Names the files of the class ids of 'few', 'medium' and 'many', if any."""
    if entry.split_files_dir is None:
        return {}
    directory = find_path(data_root, entry.split_files_dir)
    return {split: directory / f"{split}.txt" for split in SPLITS}


def _whole_number(text: str) -> int | None:
    """Reads a whole number, perhaps written as a float."""
    if _INTEGER.fullmatch(text):
        return int(text)
    if not _NUMBER.fullmatch(text.lower()):
        return None
    value = float(text)
    return int(value) if value.is_integer() and abs(value) < 1e18 else None


def _fields(line: str) -> list[str]:
    """Parts what is in a line, less a comment, at spaces, commas and brackets."""
    return [field for field in _BRACKETS.split(line.partition("#")[0]) if field]


def read_splits(entry: DatasetEntry, data_root: Path) -> dict[str, np.ndarray]:
    """Reads the class ids of 'few', 'medium' and 'many'.

    Numbers stand on lines of their own, or with commas, semicolons, brackets or spaces
    between them, and may be written as floats. What follows a `#` is left out.

    Args:
      entry: The dataset; it has files of splits.
      data_root: What its paths are relative to.

    Returns:
      Class ids by split, ascending, int64: not yet checked against each other.

    Raises:
      UserError: If a file is missing or holds something that is not a whole number.
    """
    splits = {}
    for split, path in split_paths(entry, data_root).items():
        classes = []
        if not path.exists():
            raise UserError(
                f"{path}: cannot read: No such file or directory; without "
                "split_files_dir in the registry, splits are made of counts of "
                "training samples (few_below, many_above)"
            )
        for number, line in enumerate(files.read_lines(path), start=1):
            for field in _fields(line):
                label = _whole_number(field)
                if label is None:
                    raise UserError(
                        f"{path}:{number}: expected one class number a line, "
                        f"got {brief(line.strip())}"
                    )
                classes.append(label)
        splits[split] = np.sort(np.asarray(classes, np.int64))
    return splits


def write_splits(directory: Path, splits: Mapping[str, np.ndarray]) -> None:
    """Writes the class ids of splits as `read_splits` reads them."""
    for split in SPLITS:
        with files.replacing(directory / f"{split}.txt") as path:
            text = "".join(f"{label}\n" for label in splits[split])
            path.write_text(text, encoding="utf-8")


def _rows_of_counts(path: Path) -> Iterator[tuple[int, list[str]]]:
    """Yields the numbers and the fields of lines that are no comments."""
    for row, line in enumerate(files.read_lines(path), start=1):
        fields = [field for field in _BETWEEN.split(line) if field]
        if fields and not fields[0].startswith("#"):
            yield row, fields


def read_counts(
    entry: DatasetEntry, data_root: Path, *, num_classes: int
) -> np.ndarray | None:
    """Reads how many training samples classes have.

    Args:
      entry: The dataset.
      data_root: What its paths are relative to.
      num_classes: Number of classes C.

    Returns:
      The numbers, with shape `[C]`; None if the dataset has no such file. In the file,
      a line is a sample, the last thing in it its label (`train/n01/5.jpg 17`), or
      else the number of samples of a class; these may also stand in one line.

    Raises:
      UserError: If a line is neither, or labels or their number do not fit.
    """
    if entry.counts_file is None:
        return None
    path = find_path(data_root, entry.counts_file)
    # Names of files may hold anything, spaces too.
    rows = _rows_of_counts(path)
    first = next(rows, (0, []))
    second = next(rows, None)
    rows = itertools.chain(
        [first] if first[1] else [], [second] if second else [], rows
    )
    if second is None and len(first[1]) == num_classes:  # all counts in one line
        rows = ((first[0], [field]) for field in first[1])
        are_samples = False
    else:
        are_samples = len(first[1]) > 1
    numbers = array.array("q")
    for row, fields in rows:
        number = _whole_number(fields[-1])
        if number is None or number < 0 or (len(fields) > 1) != are_samples:
            raise UserError(
                f"{path}:{row}: expected a path and its label, or the number of "
                f"samples of a class, in every line, got {brief(' '.join(fields))}"
            )
        if are_samples and number >= num_classes:
            raise UserError(
                f"{path}:{row}: labels must be in 0..{num_classes - 1}, got {number}"
            )
        numbers.append(number)
    values = np.asarray(numbers, np.int64)
    if are_samples:
        return np.bincount(values, minlength=num_classes)
    if len(values) != num_classes:
        raise UserError(f"{path}: {len(values)} counts for {num_classes} classes")
    return values


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
