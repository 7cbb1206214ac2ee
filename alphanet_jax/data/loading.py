"""A dataset of files: found, converted on first use, read, checked and hashed.

Notation: n samples, d feature dimensions, C classes.
"""

import itertools
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np

from alphanet_jax import files, hashing
from alphanet_jax.data import agreement, checks, classifiers, hints
from alphanet_jax.data.class_files import (
    read_counts,
    read_label_names,
    read_splits,
    split_paths,
)
from alphanet_jax.data.convert import Report
from alphanet_jax.data.converted import find_groups
from alphanet_jax.data.dataset import Dataset, Group, array_sha256, checked_group
from alphanet_jax.data.paths import ArrayPaths, cache_roots
from alphanet_jax.data.registry import DatasetEntry
from alphanet_jax.splits import (
    FEW_BELOW,
    MANY_ABOVE,
    check_limit,
    describe_splits,
    splits_from_counts,
)
from alphanet_jax.stages import stage

__all__ = ["load_dataset"]


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
    labels_by: str = "",
    few_below: int | float | str = "",
    many_above: int | float | str = "",
    classifier_key: str = "",
    classifier_normalize: bool = False,
    report: Report = lambda line: None,
) -> Dataset:
    """Loads a dataset, converting it first where that has not been done.

    Args:
      entry: The dataset.
      data_root: What its paths are relative to.
      train_group: Group to train on.
      val_group: Group to choose the epoch by; empty for none. There is none, too, where
        the entry's `datagrps` are those to train on and to test, and no others.
      test_group: Group to test on.
      labels_by: How labels and `idxs` belong together; see `convert.convert_dataset`.
      few_below: Makes splits of counts: see `splits.splits_from_counts`; empty for what
        the registry says.
      many_above: The same for 'many'.
      classifier_key: Key of the weight in the classifier's file; empty for what the
        registry says. See `heads.read_head`.
      classifier_normalize: Whether to normalize classes, also if the registry does not.
      report: Takes lines of text about conversion and doubts.

    Returns:
      The dataset. Features stay on disk and are mapped.

    Raises:
      UserError: If anything is missing or not right, naming the file.
    """
    limits = _checked_limits(entry, few_below, many_above)
    kinds = {"train": train_group, "val": val_group, "test": test_group}
    choice = classifiers.choose(entry, classifier_key, classifier_normalize)
    paths = find_groups(
        entry, data_root, kinds, labels_by=labels_by, choice=choice, report=report
    )
    weight, bias, classifier_files, *_ = _classifier_of_files(
        entry, data_root, choice, paths[train_group], report
    )
    num_classes, num_features = weight.shape
    label_names = read_label_names(entry, data_root, num_classes=num_classes)
    by_counts = (few_below, many_above) != ("", "") or entry.split_files_dir is None
    split_files, splits = (
        ({}, {}) if by_counts else _splits_of_files(entry, data_root, num_classes)
    )
    groups = {
        name: _group_of_files(found, num_classes=num_classes, num_features=num_features)
        for name, found in paths.items()
    }
    train = groups[train_group]
    counts = np.bincount(train.labels, minlength=num_classes)
    directory = data_root / entry.feature_files_dir
    checks.check_covered(f"{directory}: group {train_group!r}", counts)
    if warning := agreement.near_chance(
        train.features, train.labels, weight=weight, bias=bias
    ):
        report(warning)
    splits_from = ""
    if by_counts:
        splits, splits_from = _splits_of_counts(
            entry, data_root, counts, limits, report
        )
    roots = [*cache_roots(data_root), data_root]
    hashes = _hashes([*classifier_files, *split_files.values()], paths.values(), report)
    file_hashes = {_short_name(path, roots): sha for path, sha in hashes.items()}
    _say_which_are_equal(paths, hashes, report)
    for name, ids in splits.items() if splits_from else ():
        file_hashes[f"splits.{name}"] = array_sha256(ids)
    if choice.options():  # of one file there may be several classifiers
        file_hashes["classifier.weight"] = array_sha256(weight)
    return Dataset(
        name=entry.name,
        proper_name=entry.proper_name or entry.name,
        weight=weight,
        bias=bias,
        splits=splits,
        train=train,
        val=groups.get(val_group),
        test=groups[test_group],
        label_names=label_names,
        file_hashes=file_hashes,
        train_files=tuple(_short_name(p, roots) for p in paths[train_group][:2]),
        splits_from=splits_from,
    )


def _say_which_are_equal(
    paths: Mapping[str, ArrayPaths], hashes: Mapping[Path, str], report: Report
) -> None:
    """Warns of groups that hold the same samples."""
    contents = {
        name: [hashes[path] for path in found[:2]] for name, found in paths.items()
    }
    for first, second in itertools.combinations(contents, 2):
        if contents[first] == contents[second]:
            report(
                f"warning: {first} and {second} hold the same samples: accuracies of "
                f"{second} are of what was learned from or chosen by"
            )


def _classifier_of_files(
    entry: DatasetEntry,
    data_root: Path,
    choice: classifiers.ClassifierChoice,
    train: ArrayPaths,
    report: Report,
) -> classifiers.Classifier:
    """Reads the classifier, and says what is to be known about it."""
    classifier = classifiers.read_classifier(
        entry,
        data_root,
        choice,
        sides=lambda: hints.sides_of_arrays(entry, data_root, train),
    )
    for remark in classifier.remarks:
        report(f"{Path(entry.classifier_file).name}: {remark}")
    return classifier


def _group_of_files(paths: ArrayPaths, *, num_classes: int, num_features: int) -> Group:
    return checked_group(
        (str(paths.features), files.open_npy(paths.features)),
        (str(paths.labels), files.open_npy(paths.labels)),
        num_classes=num_classes,
        num_features=num_features,
    )


def _checked_limits(
    entry: DatasetEntry, few_below: int | float | str, many_above: int | float | str
) -> dict[str, int | float | str]:
    """Chooses the limits of splits: as given, by the registry, or the field's."""
    chosen = {
        "few_below": (few_below, entry.few_below, FEW_BELOW),
        "many_above": (many_above, entry.many_above, MANY_ABOVE),
    }
    limits = {
        name: next(value for value in values if value != "")
        for name, values in chosen.items()
    }
    for name, limit in limits.items():
        check_limit(name, limit)
    return limits


def _splits_of_files(
    entry: DatasetEntry, data_root: Path, num_classes: int
) -> tuple[dict[str, Path], dict[str, np.ndarray]]:
    """Reads the lists of classes; returns their files, and the splits."""
    paths = split_paths(entry, data_root)
    splits = read_splits(entry, data_root)
    checks.check_splits(str(paths["few"].parent), splits, num_classes=num_classes)
    return paths, {name: ids.astype(np.int32) for name, ids in splits.items()}


def _splits_of_counts(
    entry: DatasetEntry,
    data_root: Path,
    counts: np.ndarray,
    limits: dict[str, int | float | str],
    report: Report,
) -> tuple[dict[str, np.ndarray], str]:
    """Makes splits of counts, and says so; returns them and how they were made."""
    listed = read_counts(entry, data_root, num_classes=len(counts))
    counts = counts if listed is None else listed
    splits = splits_from_counts(counts, **limits)
    splits_from = ", ".join(f"{name}={value}" for name, value in limits.items())
    report(f"splits by {splits_from}: {describe_splits(splits, counts)}")
    return splits, splits_from


def _hashes(
    paths: Sequence[Path], converted: Iterable[ArrayPaths], report: Report
) -> dict[Path, str]:
    """Hashes files and the arrays of groups, but for those that records have."""
    wanted = list(paths)
    for group in converted:
        wanted += [group.features, group.labels]
    size = sum(path.stat().st_size for path in wanted) / 1e6
    with stage(report, "hashing", total=size, unit="MB"):
        return hashing.file_hashes(wanted)
