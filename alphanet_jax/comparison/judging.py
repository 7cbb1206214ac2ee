"""How good a method is over its knob, and at the points that are chosen.

Notation: n samples, C classes, K values of a knob, R runs.
"""

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from alphanet_jax import measures, streaming
from alphanet_jax.results import accuracy

__all__ = [
    "CRITERIA",
    "METRICS",
    "ORACLE",
    "Best",
    "Chosen",
    "Curve",
    "Samples",
    "is_balanced",
    "measure",
]

# By what a knob is chosen on validation data.
CRITERIA = ("overall", "harmonic")
ORACLE = "oracle"  # by overall accuracy on test data: nobody can

# What is measured at chosen points, besides accuracy.
METRICS = ("macro_f1", "harmonic_mean", "worst_decile", "ece", "nll")


@dataclasses.dataclass(frozen=True)
class Samples:
    """Samples that methods are judged on.

    Attributes:
      labels: True classes, with shape `[n]`.
      splits: Classes of 'few', 'medium' and 'many'.
      num_classes: Number of classes C.
      by_class: Whether accuracies are means over classes, and not over samples.
    """

    labels: np.ndarray
    splits: Mapping[str, np.ndarray]
    num_classes: int
    by_class: bool = False

    def accuracies(self, correct: np.ndarray) -> np.ndarray:
        """Computes accuracies of few, medium, many and all.

        Args:
          correct: Which samples are, or how often over runs, with shape `[K, n]`.

        Returns:
          Fractions, with shape `[K, 4]`; NaN for a split without samples.
        """
        if not self.by_class:
            return accuracy.per_split(correct, self.labels, self.splits)
        total = np.bincount(self.labels, minlength=self.num_classes)
        there = total > 0
        hits = [
            np.bincount(self.labels, weights=row, minlength=self.num_classes)
            for row in correct
        ]
        fractions = np.array(hits) / np.maximum(total, 1)
        parts = [np.isin(np.arange(self.num_classes), self.splits[name]) & there
                 for name in accuracy.PARTS[:-1]]  # fmt: skip
        columns = [
            fractions[:, part].mean(axis=1)
            if part.any()
            else np.full(len(fractions), np.nan)
            for part in (*parts, there)
        ]
        return np.stack(columns, axis=1)


def is_balanced(labels: np.ndarray) -> bool:
    """Returns whether all classes that there are have equally many samples."""
    return len(np.unique(np.unique(labels, return_counts=True)[1])) <= 1


@dataclasses.dataclass(frozen=True)
class Chosen:
    """A point of a curve that was chosen.

    Attributes:
      index: Its number.
      metrics: On test data, by name: accuracies as fractions and `METRICS`.
      correct: Which test samples are, with shape `[n]`; of the first run.
    """

    index: int
    metrics: Mapping[str, float]
    correct: np.ndarray


@dataclasses.dataclass(frozen=True)
class Curve:
    """A method over its knob.

    Attributes:
      name: Its name.
      linear: Whether its outcome is a linear classifier.
      source: Where it is from.
      knob_name: What its knob is; empty for none.
      knobs: Values of the knob, with shape `[K]`.
      choices: Further options of every point.
      val: Accuracies on validation data of few, medium, many and all, with shape
        `[K, 4]`.
      test: The same on test data.
      correct: Which test samples are, or how often over runs, with shape `[K, n]`.
      val_correct: The same of validation samples.
      chosen: Chosen points, by criterion.
    """

    name: str
    linear: bool
    source: str
    knob_name: str
    knobs: np.ndarray
    choices: Sequence[Mapping[str, Any]]
    val: np.ndarray
    test: np.ndarray
    correct: np.ndarray
    val_correct: np.ndarray
    chosen: Mapping[str, Chosen]


class Best:
    """Keeps what belongs to the best point of every criterion, as points come.

    So that of hundreds of classifiers no more than a few are in memory.
    """

    def __init__(self, *, oracle: bool) -> None:
        self._values: dict[str, float] = {}
        self._oracle = oracle
        self.index: dict[str, int] = {}
        self.kept: dict[str, Any] = {}

    def add(self, index: int, val: np.ndarray, test: np.ndarray, kept: Any) -> None:
        """Adds a point.

        Args:
          index: Its number.
          val: Its accuracies on validation data, with shape `[4]`.
          test: The same on test data.
          kept: What to keep if it is the best; of equals the first is.
        """
        values = {
            "overall": float(val[3]),
            "harmonic": float(measures.harmonic_mean(val[:3])),
        }
        if self._oracle:
            values[ORACLE] = float(test[3])
        for name, value in values.items():
            if name not in self._values or value > self._values[name]:
                self._values[name], self.index[name] = value, index
                self.kept[name] = kept

    def by_index(self) -> dict[int, Any]:
        """Returns what is kept by the number of its point; some are the best twice."""
        return {self.index[name]: kept for name, kept in self.kept.items()}


def measure(
    logits: Iterable[np.ndarray], predictions: np.ndarray, samples: Samples
) -> dict[str, float]:
    """Measures one classifier on test samples.

    Args:
      logits: Logits of the samples in order, some samples at a time, each with shape
        `[m, C]`.
      predictions: Predicted classes, with shape `[n]`.
      samples: The samples.

    Returns:
      Accuracies by 'few', 'medium', 'many' and 'overall', and `METRICS`.

    Raises:
      ValueError: If logits are not finite.
    """
    labels, num_classes = samples.labels, samples.num_classes
    certainty = _certainty(logits, labels)
    correct = predictions == labels
    parts = samples.accuracies(correct[None])[0]
    per_class = accuracy.per_class(correct, labels, num_classes=num_classes)
    found = dict(zip(accuracy.PARTS, parts.tolist(), strict=True))
    numbers = (
        measures.macro_f1(predictions, labels, num_classes=num_classes),
        measures.harmonic_mean(parts[:3]),
        measures.worst_classes(per_class),
        certainty.calibration_error(),
        certainty.log_loss,
    )
    return found | dict(zip(METRICS, map(float, numbers), strict=True))


def _certainty(pieces: Iterable[np.ndarray], labels: np.ndarray) -> measures.Certainty:
    """Computes how sure a classifier is; tables of logits are large."""
    found, start = [], 0
    for logits in pieces:
        if not streaming.all_finite(logits):
            raise ValueError("logits must be finite, got NaN or infinity.")
        end = start + len(logits)
        found.append(measures.certainty(logits, labels[start:end]))
        start = end
    return measures.Certainty(
        *(np.concatenate(parts) for parts in zip(*found, strict=True))
    )
