"""Whether a classifier and samples fit each other, as its own predictions tell.

Labels may follow the rows of a file or its `idxs`, classes may be numbered in another
order, features may be those of another model: in all of these shapes are right, and
only what the classifier gets right shows the difference.

Notation: n samples, d feature dimensions, C classes.
"""

from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np

from alphanet_jax import files
from alphanet_jax.data.feature_files import FeatureFile
from alphanet_jax.data.registry import READINGS
from alphanet_jax.errors import UserError

__all__ = [
    "Reading",
    "check_reading",
    "choose_reading",
    "memorised",
    "near_chance",
    "predict_sample",
    "read_labels",
    "reorder",
    "sample_rows",
]

_MAX_ROWS: Final = 20_000
_MIN_ROWS: Final = 1_000
_MAX_FLOP: Final = 5e10  # about a second
# Nothing is as far from chance as a classifier on what it was trained on: a fifth of
# the rows tells, and this is looked at whenever data is loaded.
_FLOP_OF_LOADING: Final = 1e10
_LEAST_ROWS: Final = 100  # fewer say too little about many classes
_LEAST_FEW_ROWS: Final = 20
_MOST_FEW_ROWS: Final = 1_000  # more take time, and tell no more
_BY_HEART: Final = 0.98  # accuracy on training rows, and how far others lie below it
_FAR_LESS: Final = 0.2
_ROWS_AT_A_TIME: Final = 1024
# Of two readings the one is clearly better that wins by this many standard deviations,
# were every row that they disagree on a toss of a coin.
_CLEARLY: Final = 4.0


def sample_rows(
    num_rows: int, *, num_classes: int, num_features: int, flop: float = _MAX_FLOP
) -> np.ndarray:
    """Chooses rows that tell enough and take about a second, evenly spaced.

    Args:
      num_rows: Number of rows to choose from.
      num_classes: Number of classes C.
      num_features: Number of feature dimensions d.
      flop: Operations that their products with the classifier may take, unless that
        is too few rows to tell anything.

    Returns:
      Numbers of rows, ascending.

    Examples:
      >>> sample_rows(3, num_classes=2, num_features=2).tolist()
      [0, 1, 2]
      >>> len(sample_rows(10**6, num_classes=1000, num_features=2048))
      12207
    """
    affordable = int(flop / (2 * num_classes * num_features))
    most = min(max(affordable, _MIN_ROWS), _MAX_ROWS, num_rows)
    return np.linspace(0, num_rows - 1, most).astype(np.int64)


def predict_sample(
    features: np.ndarray, rows: np.ndarray, *, weight: np.ndarray, bias: np.ndarray
) -> np.ndarray:
    """Predicts the classes of some rows, a piece at a time.

    Args:
      features: Features, with shape `[n, d]`, perhaps mapped from a file.
      rows: Ascending numbers of rows, with shape `[m]`.
      weight: Weights of the classifier, with shape `[C, d]`.
      bias: Biases of the classifier, with shape `[C]`.

    Returns:
      The classes, with shape `[m]`.
    """
    predicted = []
    for start in range(0, len(rows), _ROWS_AT_A_TIME):
        piece = rows[start : start + _ROWS_AT_A_TIME]
        with np.errstate(all="ignore"):  # whether all is finite is checked elsewhere
            x = np.asarray(features[piece], np.float32)
            predicted.append(np.argmax(x @ weight.T + bias, axis=1))
        files.release_rows(features, int(piece[0]), int(piece[-1]) + 1)
    return np.concatenate(predicted)


def reorder(labels: np.ndarray, idxs: np.ndarray) -> np.ndarray:
    """Gives labels the order of rows, where labels[i] is that of feats[idxs[i]].

    Examples:
      >>> reorder(np.array([7, 8, 9]), np.array([2, 0, 1])).tolist()
      [8, 9, 7]
    """
    reordered = np.empty_like(labels)
    reordered[idxs] = labels
    return reordered


def choose_reading(
    predicted: np.ndarray, by_row: np.ndarray, by_idxs: np.ndarray
) -> str | None:
    """Finds the reading under which clearly more predictions are right.

    Args:
      predicted: Predicted classes of some rows, with shape `[m]`.
      by_row: Their labels as the rows of the file have them.
      by_idxs: Their labels as `idxs` has them.

    Returns:
      'row' or 'idxs'; None where neither is clearly better.

    Examples:
      >>> labels = np.arange(40) % 5
      >>> choose_reading(labels, labels, labels[::-1])
      'row'
      >>> choose_reading(labels[:4], labels[:4], labels[3::-1]) is None
      True
    """
    row, idxs = predicted == by_row, predicted == by_idxs
    difference = int(row.sum()) - int(idxs.sum())
    undecided = int((row != idxs).sum())
    if not undecided or abs(difference) < _CLEARLY * undecided**0.5:
        return None
    return READINGS[difference < 0]


class Reading(NamedTuple):
    """The labels of a group in the order of its rows."""

    labels: np.ndarray  # shape=(n,), dtype=np.int32
    name: str | None  # which of `READINGS` was taken; None where there is one way only
    note: str | None  # what a person should know


def read_labels(
    parts: Sequence[FeatureFile],
    *,
    where: str,
    weight: np.ndarray,
    bias: np.ndarray,
    labels_by: str = "",
    usual: str | None = None,
) -> Reading:
    """Gives labels the order of rows, by the reading that fits a classifier.

    Args:
      parts: The files of a group, in order.
      where: File to name.
      weight: Weights of the classifier, with shape `[C, d]`.
      bias: Biases of the classifier, with shape `[C]`.
      labels_by: The reading that somebody chose; empty to try both.
      usual: The reading of the training group, if that is known: the same program
        wrote both, and small groups tell little.

    Returns:
      The labels, and how they were read.

    Raises:
      UserError: If neither reading is clearly better, or another than the usual one.
    """
    readings = {"row": np.concatenate([part.labels for part in parts])}
    if all(part.idxs is None for part in parts):
        return Reading(readings["row"], None, None)
    readings["idxs"] = np.concatenate(
        [
            part.labels if part.idxs is None else reorder(part.labels, part.idxs)
            for part in parts
        ]
    )
    if labels_by:
        note = "idxs is not in order: labels were taken by it, as asked"
        return Reading(
            readings[labels_by], labels_by, note if labels_by == "idxs" else None
        )
    rows, predicted = _predict_parts(parts, weight=weight, bias=bias)
    right = {
        name: f"{100 * np.mean(predicted == labels[rows]):.1f}"
        for name, labels in readings.items()
    }
    found = choose_reading(predicted, *(labels[rows] for labels in readings.values()))
    choose = 'choose with labels_by = "row" or "idxs" (in the registry, or the option)'
    if found is None and usual is None:
        raise UserError(
            f"{where}: idxs is not in order, and whose labels are whose is not clear: "
            f"the classifier gets {right['row']} percent right by row and "
            f"{right['idxs']} by idxs; {choose}"
        )
    if found is not None and usual is not None and found != usual:
        raise UserError(
            f"{where}: labels belong together by {found}, but those of the training "
            f"group by {usual}; {choose}"
        )
    taken = found or usual
    assert taken is not None
    note = (
        f"idxs is not in order: labels were taken by {taken}; the classifier gets "
        f"{right['row']} percent right by row, {right['idxs']} by idxs "
        "(labels_by chooses the other)"
    )
    return Reading(readings[taken], taken, note)


def _predict_parts(
    parts: Sequence[FeatureFile], *, weight: np.ndarray, bias: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Predicts some rows of every part; returns their numbers and their classes."""
    num_classes, num_features = weight.shape
    rows, predicted = [], []
    first = 0
    for part in parts:
        some = sample_rows(
            len(part.labels), num_classes=num_classes, num_features=num_features
        )
        rows.append(first + some)
        predicted.append(predict_sample(part.features, some, weight=weight, bias=bias))
        first += len(part.labels)
    return np.concatenate(rows), np.concatenate(predicted)


def near_chance(
    features: np.ndarray, labels: np.ndarray, *, weight: np.ndarray, bias: np.ndarray
) -> str | None:
    """Returns a warning if a classifier is near chance on its own training rows.

    Classes count alike, so that one that is large and right by luck does not hide
    that all others are wrong.

    Args:
      features: Training features, with shape `[n, d]`.
      labels: Their labels, with shape `[n]`.
      weight: Weights of the classifier, with shape `[C, d]`.
      bias: Biases of the classifier, with shape `[C]`.

    Returns:
      A line that names the causes; None where all is well, or too few rows tell.
    """
    num_classes, num_features = weight.shape
    if len(labels) < _LEAST_ROWS:
        return None
    rows = sample_rows(
        len(labels),
        num_classes=num_classes,
        num_features=num_features,
        flop=_FLOP_OF_LOADING,
    )
    predicted = predict_sample(features, rows, weight=weight, bias=bias)
    labels = labels[rows]
    counts = np.bincount(labels, minlength=num_classes)
    right = np.bincount(labels[predicted == labels], minlength=num_classes)
    mean = float(np.mean(right[counts > 0] / counts[counts > 0]))
    chance = 1.0 / num_classes
    # A few classes keep their places in any other order.
    if mean >= chance + min(0.15, max(0.02, 3 * chance)):
        return None
    return (
        "warning: the classifier is near chance on its own training rows: it gets "
        f"{100 * np.mean(predicted == labels):.1f} percent of {len(labels):,} right, "
        f"{100 * mean:.1f} as a mean over classes (chance {100 * chance:.1f}); its "
        "classes may be in another order than the labels, the labels scrambled, or "
        "the features those of another model"
    )


def memorised(
    train: tuple[np.ndarray, np.ndarray],
    held_out: tuple[np.ndarray, np.ndarray],
    *,
    few_classes: np.ndarray,
    weight: np.ndarray,
    bias: np.ndarray,
    name: str = "validation",
) -> str | None:
    """Returns a remark if a classifier knows the few classes' training rows by heart.

    What it gets all right has little to teach: the loss on such rows is small, however
    wrong the classifier is on others.

    Args:
      train: Training features, with shape `[n, d]`, and labels, with shape `[n]`.
      held_out: Features and labels of samples that the classifier was not trained on.
      few_classes: Ids of the few classes.
      weight: Weights of the classifier, with shape `[C, d]`.
      bias: Biases of the classifier, with shape `[C]`.
      name: What to call the samples that it was not trained on.

    Returns:
      A line that says what helps; None where all is well, or too few rows tell.
    """
    found = []
    for features, labels in (train, held_out):
        rows = np.flatnonzero(np.isin(labels, few_classes))
        if len(rows) < _LEAST_FEW_ROWS:
            return None
        some = np.linspace(0, len(rows) - 1, min(len(rows), _MOST_FEW_ROWS))
        rows = rows[some.astype(np.int64)]
        predicted = predict_sample(features, rows, weight=weight, bias=bias)
        found.append(float(np.mean(predicted == labels[rows])))
        if found[0] < _BY_HEART:  # the usual case, and no more need be looked at
            return None
    known, other = found
    if known - other < _FAR_LESS:
        return None
    return (
        f"the classifier gets {100 * known:.1f} percent of the few classes' own "
        f"training rows right, but {100 * other:.1f} of their {name} samples: it knows "
        "these rows by heart, and training has little to learn from them; what helps "
        "is features of samples that it was not trained on, or of augmented ones, a "
        "smaller rho, which costs the base classes more, or another correction"
    )


def check_reading(where: str, name: str) -> str:
    """Checks the name of a reading; empty leaves the choice to the classifier.

    Raises:
      UserError: If there is no such reading.
    """
    if name not in ("", *READINGS):
        raise UserError(
            f"{where} must be 'row' or 'idxs', or empty to try both, got {name!r}"
        )
    return name
