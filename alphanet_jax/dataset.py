"""A dataset in memory: mapped features, labels, splits and the frozen classifier."""

import dataclasses
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from alphanet_jax import checks, convert, files
from alphanet_jax.convert import Report, array_paths
from alphanet_jax.errors import UserError
from alphanet_jax.registry import DatasetEntry

__all__ = ["Dataset", "Group", "load_dataset"]


@dataclasses.dataclass(frozen=True)
class Group:
    """Samples: features `(n, d)`, mapped from disk, and int32 labels `(n,)`."""

    features: np.ndarray
    labels: np.ndarray


@dataclasses.dataclass(frozen=True)
class Dataset:
    """Everything that AlphaNet takes, checked.

    Attributes:
      name: Name in the registry.
      proper_name: Name for people.
      weight: Weights of the classifier, with shape `[C, d]`, float32.
      bias: Biases of the classifier, with shape `[C]`, float32.
      splits: Class ids of 'few', 'medium' and 'many', ascending, int32.
      train: Training samples; every class has one.
      val: Validation samples, or None.
      test: Test samples.
      label_names: Class names, or None.
      file_hashes: SHA-256 of every file loaded, by path.
    """

    name: str
    proper_name: str
    weight: np.ndarray
    bias: np.ndarray
    splits: Mapping[str, np.ndarray]
    train: Group
    val: Group | None
    test: Group
    label_names: tuple[str, ...] | None = None
    file_hashes: Mapping[str, str] = dataclasses.field(default_factory=dict)

    @property
    def num_classes(self) -> int:
        """Number of classes C."""
        return len(self.weight)

    @property
    def few_classes(self) -> np.ndarray:
        """Ids of the few classes, ascending."""
        return self.splits["few"]

    @property
    def base_classes(self) -> np.ndarray:
        """Ids of all other classes, ascending."""
        return np.sort(np.concatenate([self.splits["medium"], self.splits["many"]]))

    @property
    def class_counts(self) -> np.ndarray:
        """Number of training samples of every class, with shape `[C]`."""
        return np.bincount(self.train.labels, minlength=self.num_classes)


def _open_npy(path: Path, *, mmap: bool) -> np.ndarray:
    try:
        # numpy refuses an empty map; such arrays are refused below in any case.
        array = np.load(path, mmap_mode="r" if mmap else None, allow_pickle=False)
    except FileNotFoundError:
        raise UserError(f"{path}: no such file") from None
    except (ValueError, OSError, EOFError) as error:
        raise UserError(
            f"{path}: not a readable .npy file ({str(error).splitlines()[0]})"
        ) from None
    assert isinstance(array, np.ndarray)
    return array


def _load_group(
    entry: DatasetEntry, root: Path, group: str, *, num_classes: int, num_features: int
) -> Group:
    paths = array_paths(entry, root, group)
    assert paths.labels is not None
    features = _open_npy(paths.data, mmap=True)
    labels = _open_npy(paths.labels, mmap=False)
    checks.check_feature_shape(str(paths.data), features, num_features=num_features)
    checks.check_labels(
        str(paths.labels), labels, num_samples=len(features), num_classes=num_classes
    )
    checks.check_finite(str(paths.data), features)
    return Group(features, labels.astype(np.int32))


def _short_name(path: Path, *roots: Path) -> str:
    """Names a file relative to the first root that it is under."""
    for root in roots:
        if path.is_relative_to(root):
            return path.relative_to(root).as_posix()
    return str(path)


def load_dataset(
    entry: DatasetEntry,
    data_root: Path,
    *,
    train_group: str = "train",
    val_group: str = "val",
    test_group: str = "test",
    report: Report = lambda line: None,
) -> Dataset:
    """Loads a dataset, converting it first where that has not been done.

    Args:
      entry: The dataset.
      data_root: What its paths are relative to.
      train_group: Group to train on.
      val_group: Group to choose the epoch by; empty for none.
      test_group: Group to test on.
      report: Takes lines of text about conversion.

    Returns:
      The dataset. Features stay on disk and are mapped.

    Raises:
      UserError: If anything is missing or not right, naming the file.
    """
    names = [name for name in (train_group, val_group, test_group) if name]
    for option, name in (("train_datagrp", train_group), ("test_datagrp", test_group)):
        if not name:
            raise UserError(f"{option} must name a group of samples, got ''")
    arrays, root = convert.ensure_converted(
        entry, data_root, list(dict.fromkeys(names)), report=report
    )
    classifier_path = array_paths(arrays, root, None).data
    weight, bias, _ = convert.load_classifier(classifier_path, "LinearClassifierLoader")
    num_classes, num_features = weight.shape
    splits = convert.read_splits(entry, data_root)
    checks.check_splits(
        str(data_root / entry.split_files_dir), splits, num_classes=num_classes
    )
    groups = {
        name: _load_group(
            arrays, root, name, num_classes=num_classes, num_features=num_features
        )
        for name in dict.fromkeys(names)
    }
    checks.check_covered(
        str(array_paths(arrays, root, train_group).labels),
        np.bincount(groups[train_group].labels, minlength=num_classes),
    )
    hashed = [classifier_path]
    for name in groups:
        paths = array_paths(arrays, root, name)
        hashed += [path for path in (paths.data, paths.labels) if path is not None]
    hashed += [data_root / entry.split_files_dir / f"{split}.txt" for split in splits]
    return Dataset(
        name=entry.name,
        proper_name=entry.proper_name or entry.name,
        weight=weight,
        bias=bias,
        splits={name: classes.astype(np.int32) for name, classes in splits.items()},
        train=groups[train_group],
        val=groups[val_group] if val_group else None,
        test=groups[test_group],
        label_names=convert.read_label_names(entry, data_root, num_classes=num_classes),
        file_hashes={
            _short_name(path, root, data_root): files.file_sha256(path)
            for path in hashed
        },
    )
