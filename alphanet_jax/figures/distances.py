"""Distances of classes to their neighbors, beside their accuracy.

Notation: S runs of a file, m classes, F few classes, k neighbors.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from alphanet_jax.errors import UserError
from alphanet_jax.figures.classes import class_accuracy, classes_in
from alphanet_jax.figures.numbers import Columns
from alphanet_jax.results import nearest
from alphanet_jax.results.datasets import DataFinder
from alphanet_jax.results.sets import ResultFile, ResultSet

__all__ = ["ClassDistance", "class_distances", "distance_label", "means_of_runs"]

_METRICS = {"euclidean": "Euclidean", "cosine": "cosine"}


class ClassDistance(NamedTuple):
    """A class in a run."""

    run: float  # from 0; NaN for a mean over runs
    label: int
    neighbors: int  # how many
    metric: str
    distance: float  # the mean over them
    accuracy: float  # in percent, or its change in points


def class_distances(
    runs: ResultSet, finder: DataFinder, *, split: str, acc: str, dist_for_rand: str
) -> list[ClassDistance]:
    """Lists the classes with test samples in every run of an experiment.

    Args:
      runs: Results.
      finder: Finds their data, where that is needed.
      split: 'many', 'medium', 'few' or 'base'. Neighbors of few classes are those of
        the result; those of others are the k nearest few classes.
      acc: Accuracy of the unchanged classifier ('baseline'), 'alphanet', or 'delta'.
      dist_for_rand: Metric where neighbors were drawn at random.

    Raises:
      UserError: If the data is needed and not there, or there are not enough few
        classes to be neighbors.
    """
    made: list[ClassDistance] = []
    first = 0
    classes = classes_in(runs.splits, split)
    for file in runs.files:
        drawn = file.setting("training.nn_dist")
        metric = dist_for_rand if drawn == "random" else drawn
        find = _of_few if split == "few" else _of_base
        distances = find(file, classes, finder, metric)
        values = class_accuracy(file)
        shown = {
            "baseline": np.broadcast_to(values.before, values.after.shape),
            "alphanet": values.after,
            "delta": values.after - values.before,
        }[acc]
        number = file.per_run("neighbors").shape[-1]
        run, place = np.nonzero(np.isfinite(shown[:, classes]))
        made += [
            ClassDistance(first + r, label, number, metric, distance, value)
            for r, label, distance, value in zip(
                run.tolist(),
                classes[place].tolist(),
                distances[run, place].tolist(),
                shown[run, classes[place]].tolist(),
                strict=True,
            )
        ]
        first += file.num_runs
    return made


def means_of_runs(made: Sequence[ClassDistance]) -> list[ClassDistance]:
    """Averages over runs for every class, metric and number of neighbors."""
    same_class: dict[tuple[Any, ...], list[ClassDistance]] = {}
    for each in made:
        same_class.setdefault(each[1:4], []).append(each)
    return [
        same[0]._replace(
            run=np.nan,
            distance=float(np.mean([each.distance for each in same])),
            accuracy=float(np.mean([each.accuracy for each in same])),
        )
        for same in same_class.values()
    ]


def distance_label(columns: Columns) -> str:
    """Names distances by their metric and number of neighbors, where all have one."""
    metrics = np.unique(columns["metric"]).tolist()
    counts = np.unique(columns["neighbors"]).tolist()
    kind = f"{_METRICS[metrics[0]]} " if len(metrics) == 1 else ""
    if counts == [1]:
        text = f"{kind}distance to the neighbor"
        return text[0].upper() + text[1:]
    number = f" {counts[0]}" if len(counts) == 1 else ""
    return f"Mean {kind}distance to{number} neighbors"


def _of_few(
    file: ResultFile, classes: np.ndarray, finder: DataFinder, metric: str
) -> np.ndarray:
    """Returns mean distances of few classes to their neighbors, shape `[S, F]`."""
    few = file.arrays["few_classes"]
    distances = file.per_run("neighbor_distances")
    if file.setting("training.nn_dist") == "random":
        # What the file has are the random numbers that the order came from. A run at a
        # time: features of all would be far more memory.
        means = finder.class_means(finder.dataset(file))
        distances = np.stack(
            [
                nearest.distances_to(means, few, rows, metric=metric)
                for rows in file.per_run("neighbors")
            ]
        )
    # A result lists few classes in the order of its arrays.
    order = np.argsort(few, kind="stable")
    return np.asarray(distances.mean(axis=-1)[:, order])


def _of_base(
    file: ResultFile, classes: np.ndarray, finder: DataFinder, metric: str
) -> np.ndarray:
    """Returns mean distances of classes to the nearest few classes, shape `[S, m]`."""
    few = file.arrays["few_classes"]
    number = file.per_run("neighbors").shape[-1]
    if number >= len(few):
        raise UserError(
            f"{file.path}: distances of base classes are to the {number} nearest few "
            f"classes, as many as there are neighbors, but there are only {len(few)}, "
            "and one more is needed; choose --splits=few"
        )
    found = nearest.nearest_among(
        finder.class_means(finder.dataset(file)),
        classes,
        few,
        num_neighbors=number,
        metric=metric,
    )
    mean = found.distances.astype(np.float64).mean(axis=1)
    return np.broadcast_to(mean, (file.num_runs, len(classes)))
