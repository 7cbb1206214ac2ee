"""A dataset in memory: features, labels, splits and the frozen classifier, checked.

It comes from files (`loading`) or from arrays (`Dataset.from_arrays`), by the same
checks. Features of files are mapped, and stay on disk until they are needed.

Notation: n samples, d feature dimensions, C classes.
"""

import dataclasses
import functools
import hashlib
from collections.abc import Mapping, Sequence
from typing import TypeAlias

import numpy as np
from numpy.typing import ArrayLike, DTypeLike

from alphanet_jax import streaming
from alphanet_jax.data import checks
from alphanet_jax.data.contents import describe
from alphanet_jax.errors import UserError
from alphanet_jax.splits import (
    SPLITS,
    base_classes,
)

__all__ = [
    "Dataset",
    "Group",
    "array_sha256",
    "checked_group",
    "classifier_of_arrays",
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


def checked_group(
    features: tuple[str, np.ndarray],
    labels: tuple[str, np.ndarray],
    *,
    num_classes: int,
    num_features: int,
) -> Group:
    """Checks features and labels, each given with the name of where they are from.

    Args:
      features: Their name, and features.
      labels: Their name, and labels.
      num_classes: Number of classes C.
      num_features: Number of feature dimensions d.

    Raises:
      UserError: If they are not right.
    """
    where, rows = features
    checks.check_feature_shape(where, rows, num_features=num_features)
    values = checks.check_labels(
        *labels, num_samples=len(rows), num_classes=num_classes
    )
    checks.check_finite(where, rows)
    return Group(rows, values)


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
    return checked_group(
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
