"""What a correction changed for every class, with intervals, and who took from whom.

Notation: R runs, n test samples, C classes.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from alphanet_jax import stages
from alphanet_jax.results import accuracy, significance
from alphanet_jax.results.accuracy import PARTS
from alphanet_jax.results.sets import ResultSet

__all__ = ["Change", "Flow", "PartChange", "of_classes", "of_parts", "worst"]

_Z = 1.96  # of intervals of 95 percent
_NUM_DRAWS = 2000


class Flow(NamedTuple):
    """Samples that changed, mean over runs, by the other class."""

    label: int
    name: str
    samples: float


class Change(NamedTuple):
    """What changed for a class. Accuracies are fractions, NaN without test samples.

    Attributes:
      label: The class.
      name: Its name.
      split: Its split.
      training_samples: Their number.
      test_samples: Their number.
      before: Accuracy of the unchanged classifier.
      after: Mean accuracy over runs.
      low: Lower end of the interval of the change.
      high: Its upper end.
      gained_from: Classes that samples were taken for before, and are right now.
      lost_to: Classes that samples are taken for now that were right.
    """

    label: int
    name: str
    split: str
    training_samples: int
    test_samples: int
    before: float
    after: float
    low: float
    high: float
    gained_from: tuple[Flow, ...]
    lost_to: tuple[Flow, ...]


class PartChange(NamedTuple):
    """What changed for a split, or for all classes; fractions."""

    name: str
    before: float
    after: float
    deviation: float | None  # over runs; None of one run
    low: float  # end of the interval of the change
    high: float


def of_parts(runs: ResultSet, *, seed: int = 0) -> list[PartChange]:
    """Computes changes of few, medium, many and all.

    Intervals are of 95 percent, by a bootstrap over test samples of the same classes,
    paired: they are of the mean over the runs that there are.

    Args:
      runs: The runs.
      seed: Of the bootstrap.
    """
    labels = runs.common("test_labels")
    right = runs.runs("test_pred") == labels
    own = runs.common("baseline_test_pred") == labels
    each = accuracy.per_split(right, labels, runs.splits)
    before = accuracy.per_split(own, labels, runs.splits)
    after, first = (
        significance.part_scores(part, labels, runs.splits)
        for part in (right.mean(axis=0), own)
    )
    found = []
    for place, name in enumerate(PARTS):
        (difference,) = zip(
            *significance.differences(
                np.random.default_rng(seed),
                after[place][None],
                first[place],
                labels,
                num_draws=_NUM_DRAWS,
            ),
            strict=True,
        )
        spread = float(each[:, place].std(ddof=1)) if len(each) > 1 else None
        found.append(
            PartChange(
                name,
                float(before[place]),
                float(each[:, place].mean()),
                spread,
                *map(float, difference[1:3]),
            )
        )
        stages.done(1, "splits")
    return [one for one in found if not np.isnan(one.before)]


def of_classes(runs: ResultSet, *, most_flows: int = 3) -> list[Change]:
    """Computes what changed for every class.

    Intervals are of 95 percent, normal, of the mean paired difference over the class's
    test samples, each the mean over runs.

    Args:
      runs: The runs.
      most_flows: How many other classes to list of each kind.

    Returns:
      Changes in the order of the classes.
    """
    labels, before = runs.common("test_labels"), runs.common("baseline_test_pred")
    after = runs.runs("test_pred")
    counts, splits = runs.common("class_counts"), runs.split_names
    order = np.argsort(labels, kind="stable")
    ends = np.searchsorted(labels[order], np.arange(runs.num_classes + 1))
    found = []
    for label in range(runs.num_classes):
        rows = order[ends[label] : ends[label + 1]]
        found.append(
            _of_class(
                runs,
                label,
                str(splits[label]),
                int(counts[label]),
                before[rows],
                after[:, rows],
                most_flows,
            )
        )
        stages.done(1, "classes")
    return found


def _of_class(
    runs: ResultSet,
    label: int,
    split: str,
    training_samples: int,
    before: np.ndarray,
    after: np.ndarray,
    most_flows: int,
) -> Change:
    own, right = before == label, after == label
    num = len(before)
    if num:
        differences = right.mean(axis=0) - own
        half = (
            _Z * float(differences.std(ddof=1)) / num**0.5 if num > 1 else float("nan")
        )
        mean = float(differences.mean())
        accuracies = float(own.mean()), float(right.mean())
    else:
        half = mean = float("nan")
        accuracies = mean, mean
    gained = np.broadcast_to(before, after.shape)[right & ~own]
    lost = after[~right & own]

    def flows(classes: np.ndarray) -> tuple[Flow, ...]:
        totals = np.bincount(classes, minlength=runs.num_classes)
        largest = np.argsort(-totals, kind="stable")[:most_flows]
        return tuple(
            Flow(other, runs.label_name(other), totals[other] / len(after))
            for other in largest.tolist()
            if totals[other]
        )

    return Change(
        label,
        runs.label_name(label),
        split,
        training_samples,
        num,
        *accuracies,
        mean - half,
        mean + half,
        flows(gained),
        flows(lost),
    )


def worst(changes: Sequence[Change], *, count: int = 10) -> list[Change]:
    """Lists the classes that do worst after the correction, those first."""
    tested = [change for change in changes if change.test_samples]
    return sorted(tested, key=lambda change: (change.after, change.label))[:count]
