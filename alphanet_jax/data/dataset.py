"""A dataset in memory: features, labels, splits and the frozen classifier, checked.

It comes from files (`load_dataset`) or from arrays (`Dataset.from_arrays`), by the same
checks. Features of files are mapped, and stay on disk until they are needed.

Notation: n samples, d feature dimensions, C classes.
"""

import dataclasses
import functools
import hashlib
import itertools
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TypeAlias

import numpy as np
from numpy.typing import ArrayLike, DTypeLike

from alphanet_jax import files, hashing, streaming
from alphanet_jax.data import agreement, checks, classifiers, hints
from alphanet_jax.data.class_files import (
    read_counts,
    read_label_names,
    read_splits,
    split_paths,
)
from alphanet_jax.data.contents import describe
from alphanet_jax.data.convert import Report
from alphanet_jax.data.converted import find_groups
from alphanet_jax.data.paths import ArrayPaths, cache_roots
from alphanet_jax.data.registry import DatasetEntry
from alphanet_jax.errors import UserError
from alphanet_jax.splits import (
    FEW_BELOW,
    MANY_ABOVE,
    SPLITS,
    base_classes,
    check_limit,
    describe_splits,
    splits_from_counts,
)
from alphanet_jax.stages import stage

__all__ = [
    "Dataset",
    "Group",
    "array_sha256",
    "classifier_of_arrays",
    "load_dataset",
]


@dataclasses.dataclass(frozen=True)
class Group:
    """Samples: those to train on, to validate or to test.

    Attributes:
      features: Features, with shape `[n, d]` and any float dtype; mapped, if they are
        from a file.
      labels: Classes, with shape `[n]`, int32.
    """

    features: np.ndarray
    labels: np.ndarray


GroupLike: TypeAlias = Group | tuple[ArrayLike, ArrayLike]


@dataclasses.dataclass(frozen=True)
class Dataset:
    """Everything that AlphaNet takes, checked.

    Attributes:
      name: Name in the registry.
      proper_name: Display name.
      weight: Weights of the classifier, with shape `[C, d]`, float32.
      bias: Biases of the classifier, with shape `[C]`, float32.
      splits: Class ids of 'few', 'medium' and 'many', each ascending, int32.
      train: Training samples; every class has one.
      val: Validation samples, or None.
      test: Test samples.
      label_names: Class names in the order of class ids, or None.
      file_hashes: SHA-256 of everything that results depend on: by path of files, by
        name of arrays.
      train_files: Those of its keys that are the training features and labels.
      splits_from: How splits were made of counts; empty where they were given.
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
    splits_from: str = ""

    @classmethod
    def from_arrays(
        cls,
        *,
        train: GroupLike,
        test: GroupLike,
        weight: ArrayLike,
        splits: Mapping[str, ArrayLike],
        bias: ArrayLike | None = None,
        val: GroupLike | None = None,
        label_names: Sequence[str] | None = None,
        name: str = "arrays",
        proper_name: str | None = None,
    ) -> "Dataset":
        """Makes a dataset of arrays, with the checks that files get.

        Features are not copied, and must not change afterwards. They may be mapped.

        Args:
          train: Training features, with shape `[n, d]`, and labels, with shape `[n]`.
          test: Test features and labels.
          weight: Weights of the classifier, with shape `[C, d]`.
          splits: Class ids of 'few', 'medium' and 'many', in any order.
          bias: Biases of the classifier, with shape `[C]`; None for zeros.
          val: Validation features and labels, or None.
          label_names: Class names in the order of class ids, or None.
          name: Name of the dataset.
          proper_name: Display name; by default `name`.

        Returns:
          The dataset. Its `file_hashes` are those of the arrays, so the same arrays
          are known again in results and checkpoints.

        Raises:
          UserError: If anything is not right, naming the argument.

        Examples:
          >>> x, y = np.random.default_rng(0).normal(size=(40, 8)), np.arange(40) % 4
          >>> data = Dataset.from_arrays(
          ...     train=(x, y),
          ...     test=(x, y),
          ...     weight=np.eye(4, 8),
          ...     splits={"few": [3], "medium": [1], "many": [0, 2]},
          ... )
          >>> data.num_classes, data.base_classes.tolist()
          (4, [0, 1, 2])
        """
        weights = classifier_of_arrays(weight, bias)
        num_classes, num_features = weights["weight"].shape
        classes = _splits_of_arrays(splits)
        checks.check_splits("splits", classes, num_classes=num_classes, ending="")
        if label_names is not None:
            label_names = _checked_names(label_names, num_classes=num_classes)
        groups = {
            argument: _group_of_arrays(
                argument, group, num_classes=num_classes, num_features=num_features
            )
            for argument, group in (("train", train), ("val", val), ("test", test))
            if group is not None
        }
        checks.check_covered(
            "train", np.bincount(groups["train"].labels, minlength=num_classes)
        )
        hashed = {
            **weights,
            **{f"splits.{split}": ids for split, ids in classes.items()},
            **{f"{key}.features": group.features for key, group in groups.items()},
            **{f"{key}.labels": group.labels for key, group in groups.items()},
        }
        return cls(
            name=name,
            proper_name=proper_name or name,
            weight=weights["weight"],
            bias=weights["bias"],
            splits=classes,
            train=groups["train"],
            val=groups.get("val"),
            test=groups["test"],
            label_names=label_names,
            file_hashes={key: array_sha256(array) for key, array in hashed.items()},
            train_files=("train.features", "train.labels"),
        )

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
        return base_classes(self.splits)

    @property
    def class_counts(self) -> np.ndarray:
        """Number of training samples of every class, with shape `[C]`."""
        return np.bincount(self.train.labels, minlength=self.num_classes)

    def class_means(self, dtype: DTypeLike = np.float32) -> np.ndarray:
        """Computes the mean training feature of every class, with shape `[C, d]`.

        They are computed once, in float64, and cannot be written to.

        Args:
          dtype: Of the means.
        """
        means = self._class_means.astype(dtype, copy=False)
        means.setflags(write=False)
        return means

    @functools.cached_property
    def _class_means(self) -> np.ndarray:
        means = streaming.class_means(
            self.train.features,
            self.train.labels,
            num_classes=self.num_classes,
            dtype=np.float64,
        )
        means.setflags(write=False)
        return means


def _checked_group(
    features: tuple[str, np.ndarray],
    labels: tuple[str, np.ndarray],
    *,
    num_classes: int,
    num_features: int,
) -> Group:
    """Checks features and labels, each given with the name of where they are from."""
    where, rows = features
    checks.check_feature_shape(where, rows, num_features=num_features)
    values = checks.check_labels(
        *labels, num_samples=len(rows), num_classes=num_classes
    )
    checks.check_finite(where, rows)
    return Group(rows, values)


# --- From arrays ----------------------------------------------------------------------


def _array(argument: str, values: object) -> np.ndarray:
    """Makes an array of an argument; one that is mapped stays so."""
    if isinstance(values, np.memmap):
        return values
    try:
        return np.asarray(values)
    except (TypeError, ValueError, OverflowError, RuntimeError) as error:
        reason = " ".join(str(error).split())
        raise UserError(f"{argument} must be an array: {reason}") from None


def classifier_of_arrays(
    weight: ArrayLike, bias: ArrayLike | None
) -> dict[str, np.ndarray]:
    """Checks a classifier; returns its `weight` and `bias`, copied."""
    arrays = {"weight": _array("weight", weight)}
    num_classes = arrays["weight"].shape[:1]
    arrays["bias"] = np.zeros(num_classes) if bias is None else _array("bias", bias)
    for name, array in arrays.items():
        checks.check_floats("classifier", name, array)
    checks.check_classifier("classifier", **arrays)
    return {name: np.array(array, np.float32) for name, array in arrays.items()}


def _splits_of_arrays(splits: Mapping[str, ArrayLike]) -> dict[str, np.ndarray]:
    """Sorts the class ids of splits, once they are integers."""
    if not isinstance(splits, Mapping) or set(splits) != set(SPLITS):
        raise UserError(
            "splits must be a dict of 'few', 'medium' and 'many', "
            f"got {describe(splits)}"
        )
    classes = {}
    for name in SPLITS:
        ids = _array(f"splits: {name}", splits[name])
        if ids.ndim != 1 or (ids.size and ids.dtype.kind not in "iu"):
            raise UserError(
                f"splits: {name} must be a list of integers, got {ids.dtype} of shape "
                f"{ids.shape}"
            )
        # As Python's integers: a cast would wrap what is too large around.
        wrong = [label for label in ids.tolist() if not 0 <= label < 2**31]
        if wrong:
            raise UserError(f"splits: {name} must hold class numbers, got {wrong[0]}")
        classes[name] = np.sort(ids.astype(np.int32))
    return classes


def _checked_names(names: Sequence[str], *, num_classes: int) -> tuple[str, ...]:
    """Checks that there is one name for every class."""
    if isinstance(names, str) or not all(isinstance(name, str) for name in names):
        raise UserError(f"label_names must be a list of text, got {describe(names)}")
    if len(names) != num_classes:
        raise UserError(f"label_names: {len(names)} names for {num_classes} classes")
    return tuple(map(str, names))


def _group_of_arrays(
    argument: str, group: GroupLike, *, num_classes: int, num_features: int
) -> Group:
    if isinstance(group, Group):
        group = (group.features, group.labels)
    if not isinstance(group, tuple) or len(group) != 2:
        raise UserError(
            f"{argument} must be a tuple of features and labels, got {describe(group)}"
        )
    return _checked_group(
        (argument, _array(f"{argument}: feats", group[0])),
        (argument, _array(f"{argument}: labels", group[1])),
        num_classes=num_classes,
        num_features=num_features,
    )


def array_sha256(array: np.ndarray) -> str:
    """Hashes an array's dtype, shape and bytes."""
    digest = hashlib.sha256(f"{array.dtype.str} {array.dtype} {array.shape}".encode())
    for _, rows in streaming.row_chunks(array):
        digest.update(np.ascontiguousarray(rows).view(np.uint8).data)
    return digest.hexdigest()


# --- From files -----------------------------------------------------------------------


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
    contents = {
        name: [hashes[path] for path in found[:2]] for name, found in paths.items()
    }
    for first, second in itertools.combinations(contents, 2):
        if contents[first] == contents[second]:
            report(
                f"warning: {first} and {second} hold the same samples: accuracies of "
                f"{second} are of what was learned from or chosen by"
            )
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
    return _checked_group(
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
