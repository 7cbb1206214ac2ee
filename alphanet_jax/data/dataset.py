"""A dataset in memory: mapped features, labels, splits and the frozen classifier."""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from alphanet_jax import files, splits, streaming
from alphanet_jax.data import checks, convert, records
from alphanet_jax.data.class_files import read_label_names, read_splits, split_paths
from alphanet_jax.data.classifiers import read_classifier
from alphanet_jax.data.convert import Report
from alphanet_jax.data.paths import ArrayPaths, cache_roots
from alphanet_jax.data.registry import DatasetEntry
from alphanet_jax.errors import UserError

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
      file_hashes: SHA-256, by path, of every file that results depend on.
      train_files: Paths among them of the training features and labels.
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
    train_files: tuple[str, ...] = ()

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
        return splits.base_classes(self.splits)

    @property
    def class_counts(self) -> np.ndarray:
        """Number of training samples of every class, with shape `[C]`."""
        return np.bincount(self.train.labels, minlength=self.num_classes)

    def class_means(self) -> np.ndarray:
        """Computes the mean training feature of every class, with shape `[C, d]`."""
        return streaming.class_means(
            self.train.features, self.train.labels, num_classes=self.num_classes
        )


def _load_group(paths: ArrayPaths, *, num_classes: int, num_features: int) -> Group:
    features, labels = files.open_npy(paths.features), files.open_npy(paths.labels)
    checks.check_feature_shape(str(paths.features), features, num_features=num_features)
    checks.check_labels(
        str(paths.labels), labels, num_samples=len(features), num_classes=num_classes
    )
    checks.check_finite(str(paths.features), features)
    return Group(features, np.array(labels, np.int32))


def _short_name(path: Path, roots: Sequence[Path]) -> str:
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
    for option, name in (("train_datagrp", train_group), ("test_datagrp", test_group)):
        if not name:
            raise UserError(f"{option} must name a group of samples, got ''")
    names = list(dict.fromkeys(filter(None, (train_group, val_group, test_group))))
    arrays = convert.ensure_converted(entry, data_root, names, report=report)
    weight, bias, classifier_files = read_classifier(entry, data_root)
    num_classes, num_features = weight.shape
    split_files = split_paths(entry, data_root)
    splits = read_splits(entry, data_root)
    checks.check_splits(str(split_files["few"].parent), splits, num_classes=num_classes)
    label_names = read_label_names(entry, data_root, num_classes=num_classes)
    groups = {
        name: _load_group(paths, num_classes=num_classes, num_features=num_features)
        for name, paths in arrays.items()
    }
    checks.check_covered(
        str(arrays[train_group].labels),
        np.bincount(groups[train_group].labels, minlength=num_classes),
    )
    loaded = [*classifier_files, *split_files.values()]
    known: dict[Path, str] = {}
    for paths in arrays.values():
        loaded += [paths.features, paths.labels]
        known |= records.known_hashes(paths)
    hashes = known | files.file_hashes([path for path in loaded if path not in known])
    roots = [*cache_roots(data_root), data_root]
    return Dataset(
        name=entry.name,
        proper_name=entry.proper_name or entry.name,
        weight=weight,
        bias=bias,
        splits={name: classes.astype(np.int32) for name, classes in splits.items()},
        train=groups[train_group],
        val=groups[val_group] if val_group else None,
        test=groups[test_group],
        label_names=label_names,
        file_hashes={_short_name(path, roots): hashes[path] for path in loaded},
        train_files=tuple(
            _short_name(path, roots)
            for path in (arrays[train_group].features, arrays[train_group].labels)
        ),
    )
