"""Features and labels in a file, or a directory, of no dataset."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from alphanet_jax.data import checks
from alphanet_jax.data.feature_files import read_feature_file
from alphanet_jax.data.group_files import (
    GroupFiles,
    expected_names,
    find_feature_files,
    found_instead,
)
from alphanet_jax.data.registry import DatasetEntry
from alphanet_jax.errors import UserError

__all__ = ["SampleFiles", "read_samples"]


class SampleFiles(NamedTuple):
    """Samples of files, in the order of their rows."""

    features: np.ndarray  # shape=(n, d), perhaps mapped
    labels: np.ndarray  # shape=(n,), dtype=np.int32


def read_samples(
    path: Path,
    *,
    num_features: int,
    groups: Sequence[str],
    num_classes: int | None = None,
    report: Callable[[str], None] = lambda line: None,
) -> SampleFiles:
    """Reads features and labels, in any of the forms that features of datasets have.

    Args:
      path: A file of both, or of features, with the labels in one beside it; or a
        directory that has such files of a group.
      num_features: Number of feature dimensions d.
      groups: Groups to look for in a directory; the first that is there is read.
      num_classes: Number of classes C; None where it is not known.
      report: Takes lines of text about what a person should know.

    Returns:
      The samples; labels are taken row by row.

    Raises:
      UserError: If files are missing, damaged or do not fit.
    """
    parts = []
    for part in _find(path, groups).parts:
        read = read_feature_file(
            part,
            num_classes=num_classes or np.iinfo(np.int32).max,
            num_features=num_features,
        )
        checks.check_finite(str(read.path), read.features)
        if read.note is not None:
            report(f"note: {read.path}: {read.note}")
        elif read.idxs is not None:
            report(f"note: {read.path}: idxs are left aside: labels are of their rows")
        parts.append(read)
    if len(parts) == 1:
        return SampleFiles(parts[0].features, parts[0].labels)
    return SampleFiles(
        np.concatenate([part.features for part in parts]),
        np.concatenate([part.labels for part in parts]),
    )


def _find(path: Path, groups: Sequence[str]) -> GroupFiles:
    """Finds the files that are meant."""
    if path.is_dir():
        entry = DatasetEntry("samples", str(path), "", datagrps=tuple(groups))
        for group in groups:
            found = find_feature_files(entry, Path(), group)
            if found.parts:
                return found
        raise UserError(
            f"{path}: no features of group {groups[0]!r}; expected "
            f"{expected_names(groups[0])}; {found_instead(path)}"
        )
    if not path.exists():
        raise UserError(f"{path}: no such file or directory")
    entry = DatasetEntry(
        "samples", str(path.parent), "", feature_files={groups[0]: (path.name,)}
    )
    return find_feature_files(entry, Path(), groups[0])
