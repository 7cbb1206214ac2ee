"""A result or checkpoint of the original's, checked and put in our order.

Its classes come in an order of its own, few ones first, and each in that of a hash;
here they are in that of their numbers.

Notation: C classes, F 'few' classes, k neighbors, d feature dimensions, E epochs.
"""

import dataclasses
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from alphanet_jax.config.fields import Settings
from alphanet_jax.data import torch_files
from alphanet_jax.data.untrusted import Allowance, FileFormatError, Refused, blame
from alphanet_jax.errors import UserError, printable
from alphanet_jax.results.pytorch import fields
from alphanet_jax.results.pytorch.epochs import Epochs, per_split, read_epochs
from alphanet_jax.results.pytorch.fields import Fields
from alphanet_jax.results.pytorch.settings import read_settings
from alphanet_jax.results.pytorch.telling import RESULT, tell, tell_text
from alphanet_jax.splits import SPLITS

__all__ = [
    "Record",
    "checkpoint_number",
    "load_record",
    "network_of",
    "newest_checkpoint",
]

_HINT = "a result of the original is what its --save-file was"
_PREFIX = "alphanet."
_CONV, _LINEAR = "conv_layer", "linear_layer__seq"
_MOST_CLASSES = 10_000_000


@dataclasses.dataclass(frozen=True)
class Record:
    """What is in a file, by class in the order of their numbers.

    Attributes:
      path: The file.
      is_checkpoint: Whether it is one: of the last epoch, and never tested.
      dataset: Name of the dataset.
      splits: Classes of every split, ascending.
      class_counts: Training samples of every class, with shape `[C]`.
      neighbors: Of every few class, nearest first, with shape `[F, k]`.
      means: Mean features of every few class and its neighbors, with shape
        `[F, k + 1, d]`; None where they are not recorded.
      sources: Classifiers of every few class and its neighbors, of the same shape.
      weight: The classifier before training, with shape `[C, d]`.
      bias: Its biases, with shape `[C]`.
      network: Arrays of the network, named as in the original without `alphanet.`.
      settings: The settings, in our words.
      best_epoch: Epoch of the network, from 0; None for the last.
      epochs: What was recorded of every epoch.
      test: Accuracies on test data, by the names of `schema`.
    """

    path: Path
    is_checkpoint: bool
    dataset: str
    splits: Mapping[str, np.ndarray]
    class_counts: np.ndarray
    neighbors: np.ndarray
    means: np.ndarray | None
    sources: np.ndarray
    weight: np.ndarray
    bias: np.ndarray
    network: Mapping[str, np.ndarray]
    settings: Settings
    best_epoch: int | None
    epochs: Epochs
    test: Mapping[str, np.ndarray]


def load_record(path: Path, *, checkpoint: bool = False) -> Record:
    """Reads a result of the original's.

    Args:
      path: The file.
      checkpoint: Whether a checkpoint of its training is taken, too.

    Returns:
      What is in it, checked.

    Raises:
      UserError: If it cannot be read, or is something else: one line says what.
    """
    try:
        root = torch_files.load(path)
    except FileFormatError as error:
        reason = tell_text(path) or str(error).removeprefix(f"{path}: ")
        raise UserError(printable(f"{path}: no result: it {reason}; {_HINT}")) from None
    size = path.stat().st_size
    with blame(str(path)):
        whole, is_checkpoint = root, False
        if isinstance(root, dict) and {"model", "train_result"} <= root.keys():
            whole, is_checkpoint = _result_of_checkpoint(root), True
        if is_checkpoint and not checkpoint:
            raise Refused(
                f"no result: {tell(root)}, which was not tested; import takes it, and "
                f"{_HINT}"
            )
        if not isinstance(whole, dict) or any(whole.get(n) is None for n in RESULT):
            raise Refused(f"no result: {tell(whole)}; {_HINT}")
        return _read(path, Fields(whole, "", Allowance(size)), is_checkpoint)


def newest_checkpoint(directory: Path) -> Path | None:
    """Finds the newest checkpoint of the original's, by the number in its name.

    Returns:
      The file; None where the directory has none.
    """
    found = {
        number: path
        for path in directory.glob("checkpoint_*.pt")
        if (number := checkpoint_number(path)) is not None
    }
    return found[max(found)] if found else None


def checkpoint_number(path: Path) -> int | None:
    """Returns the number in the name of a checkpoint of the original's, if it is one.

    Examples:
      >>> checkpoint_number(Path("checkpoint_12.pt"))
      12
    """
    match = re.fullmatch(r"checkpoint_(\d{1,9})\.pt", path.name)
    return None if match is None else int(match[1])


def _result_of_checkpoint(root: Mapping[Any, Any]) -> object:
    """Returns what a checkpoint has of a result, with the network of its epoch."""
    result = root["train_result"]
    if not isinstance(result, dict):
        return result
    # Of an earlier epoch, or empty.
    left_out = {name for name in result if str(name).startswith(("test_", "best_"))}
    kept = {name: result[name] for name in result if name not in left_out}
    return kept | {"best_alphanet_classifier_state_dict": root["model"]}


def _read(path: Path, whole: Fields, is_checkpoint: bool) -> Record:
    info = whole.inner("train_data_info")
    counts = _class_counts(info, "n_imgs__per__class")
    num_classes = len(counts)
    splits = _splits(info, num_classes)
    few = splits["few"]
    neighbors, means = _neighbors(whole.inner("nn_info"), splits, num_classes)
    order = whole.indices("fbclass_ordered_idx__vec", num_classes)
    places = order[few]
    if not np.array_equal(np.sort(places), np.arange(len(few))):
        raise Refused("fbclass_ordered_idx__vec does not have the few classes first")

    matrices = whole.sequence("alphanet_source__mat__seq")
    if len(matrices) != len(few):
        raise Refused(
            f"alphanet_source__mat__seq has {len(matrices)} tensors, and there are "
            f"{len(few)} few classes"
        )
    state = whole.inner("best_alphanet_classifier_state_dict")
    base_weight = state.array("base_clf.weight", (num_classes - len(few), None))
    shape = (neighbors.shape[1] + 1, base_weight.shape[1])
    sources = np.stack(
        [
            whole.tensor(matrices[place], shape, "alphanet_source__mat__seq")
            for place in places
        ]
    )
    if means is not None and means.shape != sources.shape:
        raise Refused(
            f"nn_info.nn_mean_feat__mat__per__fclass has tensors of shape "
            f"{means.shape[1:]}, and must have {shape} as the sources have"
        )
    # Few classes come first there, and base ones by their places after them.
    base = np.setdiff1d(np.arange(num_classes), few)
    weight = np.empty((num_classes, shape[1]), np.float32)
    weight[few], weight[base] = sources[:, 0], base_weight[order[base] - len(few)]
    bias = np.empty(num_classes, np.float32)
    bias[few] = state.array("alphanet_b__vec", (len(few),))[places]
    of_base = state.array("base_clf.bias", (num_classes - len(few),))
    bias[base] = of_base[order[base] - len(few)]
    epochs = read_epochs(whole, neighbors.shape[1], num_classes)
    best = None
    if "best_epoch" in whole:
        best = whole.integer("best_epoch")
        if "epoch_data__seq" in whole and best >= max(epochs.count, 1):
            raise Refused(f"best_epoch is {best}, and there are {epochs.count} epochs")
    return Record(
        path=path,
        is_checkpoint=is_checkpoint,
        dataset=info.text("dataset_name"),
        splits=splits,
        class_counts=counts,
        neighbors=neighbors,
        means=means,
        sources=sources,
        weight=weight,
        bias=bias,
        network=network_of(state, places=shape[0], num_features=shape[1]),
        settings=read_settings(whole, neighbors.shape[1], best),
        best_epoch=best,
        epochs=epochs,
        test={} if is_checkpoint else _test(whole, num_classes),
    )


def _class_counts(info: Fields, key: str) -> np.ndarray:
    """Reads how many samples every class has, with shape `[C]`."""
    values = info.by_class(key)
    num_classes = len(values)
    if not 2 <= num_classes <= _MOST_CLASSES:
        raise Refused(f"{info.name}{key} has {num_classes} classes")
    counts = info.per_class(key, num_classes, most=float(2**53))
    if not np.array_equal(counts, np.rint(counts)):
        raise Refused(f"{info.name}{key} must have a whole number for every class")
    return counts.astype(np.int64)


def _splits(info: Fields, num_classes: int) -> dict[str, np.ndarray]:
    """Reads the classes of every split; a split without classes may be missing."""
    sets = info.inner("class__set__per__split")
    splits = {
        name: sets.classes(name, num_classes) if name in sets else np.zeros(0, np.int32)
        for name in SPLITS
    }
    together = np.sort(np.concatenate(list(splits.values())))
    if not np.array_equal(together, np.arange(num_classes)):
        raise Refused(
            f"{sets.name[:-1]} must have every class from 0 to {num_classes - 1} in "
            "one split"
        )
    if not 0 < len(splits["few"]) < num_classes:
        raise Refused(f"{sets.name[:-1]} must have few classes and others")
    return splits


def _neighbors(
    info: Fields, splits: Mapping[str, np.ndarray], num_classes: int
) -> tuple[np.ndarray, np.ndarray | None]:
    """Reads the neighbors of every few class, and the mean features of these."""
    key = "nn_class__seq__per__fclass"
    lists, few = info.by_class(key), splits["few"].tolist()
    rows: list[list[int]] = []
    for label in few:
        row = lists.get(label)
        if not isinstance(row, list | tuple) or not row:
            raise Refused(f"{info.name}{key} has no list for class {label}")
        if rows and len(row) != len(rows[0]):
            raise Refused(
                f"{info.name}{key} has lists of {len(rows[0])} and {len(row)}"
            )
        info.allowance.take(8 * len(row))
        rows.append([fields.class_id(n, num_classes, info.name + key) for n in row])
    neighbors = np.asarray(rows, np.int32)
    ordered = np.sort(neighbors, axis=1)
    if (ordered[:, 1:] == ordered[:, :-1]).any():
        raise Refused(f"{info.name}{key} has a neighbor twice for one class")
    if np.isin(neighbors, splits["few"]).any():
        raise Refused(f"{info.name}{key} has few classes among the neighbors")
    name = "nn_mean_feat__mat__per__fclass"
    if name not in info:
        return neighbors, None
    tensors = info.by_class(name)
    shape: tuple[int | None, ...] = (neighbors.shape[1] + 1, None)
    means = []
    for label in few:
        means.append(info.tensor(tensors.get(label), shape, info.name + name))
        shape = means[0].shape
    return neighbors, np.stack(means)


def network_of(
    state: Fields, *, places: int, num_features: int
) -> dict[str, np.ndarray]:
    """Reads the network out of a state dict.

    Args:
      state: The state dict.
      places: How many classifiers it takes at a time, k + 1.
      num_features: Number of feature dimensions d.

    Returns:
      Its arrays by the original's names, without `alphanet.`.

    Raises:
      Refused: If one is missing, or does not fit the others.
    """
    conv = state.array(f"{_PREFIX}{_CONV}.weight", (None, 1, places, num_features))
    made = {f"{_CONV}.weight": conv}
    made[f"{_CONV}.bias"] = state.array(f"{_PREFIX}{_CONV}.bias", (len(conv),))
    pattern = re.compile(rf"{re.escape(_PREFIX + _LINEAR)}\.(\d{{1,6}})\.weight")
    found = [int(m[1]) for m in map(pattern.fullmatch, state.keys()) if m]
    if not found or sorted(found) != list(range(len(found))):
        raise Refused(
            f"{state.name}{_PREFIX}{_LINEAR} must have layers 0, 1 ..., and has "
            f"{', '.join(map(str, sorted(found)[:8])) or 'none'}"
        )
    units = len(conv)
    for layer in range(len(found)):
        outputs = places - 1 if layer == len(found) - 1 else None
        name = f"{_LINEAR}.{layer}"
        weight = state.array(f"{_PREFIX}{name}.weight", (outputs, units))
        units = len(weight)
        made[f"{name}.weight"] = weight
        made[f"{name}.bias"] = state.array(f"{_PREFIX}{name}.bias", (units,))
    return made


def _test(whole: Fields, num_classes: int) -> dict[str, np.ndarray]:
    """Reads what was measured on test data, as far as it is recorded."""
    found: dict[str, np.ndarray] = {}
    if "test_acc__per__split" in whole:
        found["test_acc_per_split"] = per_split(whole, "test_acc__per__split")
    if "test_acc__per__class" in whole:
        found["test_acc_per_class"] = whole.per_class(
            "test_acc__per__class", num_classes
        )
    if "test_metrics" in whole:
        metrics = whole.inner("test_metrics")
        for ours, theirs in (
            ("accuracy", "accuracy"),
            ("top5", "top-5 accuracy"),
            ("f1", "f1"),
        ):
            if theirs in metrics:
                name = metrics.name + theirs
                value = fields.number(metrics.raw(theirs), name, most=1.0)
                found[f"test_{ours}"] = np.asarray(value)
    return found
