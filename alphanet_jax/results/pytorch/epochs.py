"""What a file of the original's recorded of every epoch.

Notation: C classes, k neighbors, E epochs, T batches of the longest epoch.
"""

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from alphanet_jax.data.untrusted import Allowance, Refused
from alphanet_jax.results.pytorch import fields
from alphanet_jax.results.pytorch.fields import Fields
from alphanet_jax.splits import SPLITS

__all__ = ["Epochs", "per_split", "read_epochs"]

_EPOCHS = "epoch_data__seq"
_MOST_EPOCHS = 1_000_000
_BYTES_OF_AN_EPOCH = 400  # of the objects by which it is read


@dataclasses.dataclass(frozen=True)
class Epochs:
    """What was recorded of every epoch; None where not all epochs have it.

    The `val_metrics` of the original are left out: all of them are the metrics of the
    final test.

    Attributes:
      count: Number of epochs E.
      step_loss: Loss of every batch, with shape `[E, T]`; NaN past an epoch's last.
      loss: Mean loss of every epoch, with shape `[E]`.
      mean_alphas: Mean coefficients after it, with shape `[E, k + 1]`.
      least_alphas: The least of them, of the same shape.
      most_alphas: The most of them.
      drawn: Training samples of every class that it drew, with shape `[E, C]`.
      val_counts: Validation samples of every class, with shape `[C]`.
      val_correct: Those that were right after it, with shape `[E, C]`.
      val_per_split: Accuracy on validation data, with shape `[E, 3]`.
      val_overall: Of all classes, with shape `[E]`.
    """

    count: int
    step_loss: np.ndarray | None
    loss: np.ndarray | None
    mean_alphas: np.ndarray | None
    least_alphas: np.ndarray | None
    most_alphas: np.ndarray | None
    drawn: np.ndarray | None
    val_counts: np.ndarray | None
    val_correct: np.ndarray | None
    val_per_split: np.ndarray | None
    val_overall: np.ndarray | None


def read_epochs(whole: Fields, num_neighbors: int, num_classes: int) -> Epochs:
    """Reads what was recorded of every epoch.

    Args:
      whole: The result.
      num_neighbors: Number of neighbors k.
      num_classes: Number of classes C.

    Returns:
      What is there, checked.

    Raises:
      Refused: If a value cannot be right.
    """
    listed = whole.sequence(_EPOCHS) if _EPOCHS in whole else ()
    if len(listed) > _MOST_EPOCHS:
        raise Refused(f"{_EPOCHS} has {len(listed)} epochs")
    whole.allowance.take(_BYTES_OF_AN_EPOCH * len(listed))
    epochs = [
        Fields(each, f"{_EPOCHS}[{number}]", whole.allowance)
        for number, each in enumerate(listed)
    ]
    losses = _of_all(epochs, "mean_batch_loss__seq", _losses)
    shape = (num_neighbors + 1,)

    def alphas(epoch: Fields, key: str) -> np.ndarray:
        # Those of a run that came apart are not finite.
        return epoch.tensor(epoch.raw(key), shape, epoch.name + key, finite=False)

    def drawn(epoch: Fields, key: str) -> np.ndarray:
        listed = epoch.per_class(key, num_classes, most=2.0**53)
        found = np.asarray(np.nan_to_num(listed))
        if not np.array_equal(found, np.rint(found)):
            raise Refused(f"{epoch.name}{key} must have whole numbers")
        return found

    def per_class(epoch: Fields, key: str) -> np.ndarray:
        return epoch.per_class(key, num_classes)

    least, mean, most = (
        _finite(_stack(_of_all(epochs, f"{kind}_alpha__vec", alphas)))
        for kind in ("min", "mean", "max")
    )
    counts = _val_counts(whole, num_classes)
    accuracies = _stack(_of_all(epochs, "val_acc__per__class", per_class))
    val_correct = _count_correct(accuracies, counts)
    draws = _stack(_of_all(epochs, "n_train__per__class", drawn))
    return Epochs(
        len(epochs),
        step_loss=_fill(losses, whole.allowance),
        loss=_finite(_stack(losses and [_mean(each) for each in losses])),
        mean_alphas=mean,
        least_alphas=least,
        most_alphas=most,
        drawn=None if draws is None else _compact(draws),
        val_counts=None if val_correct is None else counts,
        val_correct=val_correct,
        val_per_split=_stack(_of_all(epochs, "val_acc__per__split", per_split)),
        val_overall=None
        if val_correct is None or counts is None
        else val_correct.sum(axis=1, dtype=np.int64) / max(int(counts.sum()), 1),
    )


def per_split(whole: Fields, key: str) -> np.ndarray:
    """Reads the accuracies of splits; NaN for one that has no samples."""
    values = whole.inner(key)
    return np.array(
        [
            fields.number(values.raw(name), values.name + name, most=1.0)
            if name in values
            else np.nan
            for name in SPLITS
        ]
    )


def _of_all(epochs: Sequence[Fields], key: str, read: Any) -> list[Any] | None:
    """Reads an entry of every epoch; None where there is none, or not in all."""
    found = [read(epoch, key) for epoch in epochs if key in epoch]
    return found if found and len(found) == len(epochs) else None


def _stack(values: Sequence[Any] | None) -> np.ndarray | None:
    return None if values is None else np.stack(values)


def _finite(values: np.ndarray | None) -> np.ndarray | None:
    """Leaves out what has no numbers somewhere, as that of a run that came apart."""
    return None if values is None or not np.isfinite(values).all() else values


def _losses(epoch: Fields, key: str) -> np.ndarray:
    values = epoch.sequence(key)
    epoch.allowance.take(8 * len(values))
    return np.array([fields.number(v, epoch.name + key) for v in values], np.float64)


def _mean(losses: np.ndarray) -> float:
    with np.errstate(over="ignore", invalid="ignore"):
        return float(np.mean(losses)) if len(losses) else float("nan")


def _fill(
    losses: Sequence[np.ndarray] | None, allowance: Allowance
) -> np.ndarray | None:
    """Puts the losses of all epochs into one array."""
    if losses is None or not any(map(len, losses)):
        return None
    shape = (len(losses), max(map(len, losses)))
    # One long epoch makes many short ones as long.
    allowance.take(4 * math.prod(shape))
    filled = np.full(shape, np.nan, np.float32)
    with np.errstate(over="ignore"):
        for row, of_epoch in zip(filled, losses, strict=True):
            row[: len(of_epoch)] = of_epoch
    return filled


def _val_counts(whole: Fields, num_classes: int) -> np.ndarray | None:
    """Reads how many validation samples every class has; None where it does not say."""
    if "val_data_info" not in whole:
        return None
    info, key = whole.inner("val_data_info"), "n_imgs__per__class"
    if key not in info:
        return None
    counts = np.nan_to_num(info.per_class(key, num_classes, most=2.0**53))
    return np.rint(counts).astype(np.int64) if counts.any() else None


def _count_correct(
    accuracies: np.ndarray | None, counts: np.ndarray | None
) -> np.ndarray | None:
    """Makes whole numbers of samples of their fractions."""
    if accuracies is None or counts is None:
        return None
    right = np.where(counts > 0, accuracies, 0.0) * counts
    return _compact(np.rint(right)) if np.isfinite(right).all() else None


def _compact(counts: np.ndarray) -> np.ndarray:
    """Stores counts in the smallest type that holds them."""
    most = int(counts.max()) if counts.size else 0
    return counts.astype(np.min_scalar_type(most))
