"""Outcomes of predictions: correct, wrong as a neighbor, or else wrong.

Notation: R runs, n test samples, C classes.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from alphanet_jax.errors import UserError
from alphanet_jax.figures.classes import classes_in
from alphanet_jax.figures.numbers import Columns, Sources
from alphanet_jax.figures.options import About
from alphanet_jax.results import accuracy, nearest, semantic
from alphanet_jax.results.sets import ALPHANET, ResultFile, ResultSet

__all__ = [
    "NN_DIST",
    "SPLIT_PHRASES",
    "UNCHANGED",
    "Neighborhoods",
    "Outcomes",
    "corrected_title",
    "find_outcomes",
    "with_method",
]

SPLIT_PHRASES = {
    "few": "Few-split samples (%)",
    "base": "Base-split samples (%)",
    "all": "Test samples (%)",
}
# The correction of results that have none.
UNCHANGED = "baseline"
NN_DIST = About(
    "distance by which classes are near: euclidean or cosine [the result's]",
    choices=semantic.METRICS,
)


class Neighborhoods(NamedTuple):
    """Which classes count as neighbors of a class.

    Those of `nn_split` 'few', 'base' or 'all' are the k nearest other classes of that
    split by mean training feature, with k and, unless `nn_dist` is given, the distance
    of the result; all of them where there are no more than k. Those of a few
    class among the base classes are the ones that the result itself was trained with.
    Those of 'semantic' are the classes within `level` edges of WordNet.
    """

    nn_split: str
    nn_dist: str | None = None
    level: int = semantic.LEVEL


class Outcomes(NamedTuple):
    """What the predictions for the test samples of some classes are.

    Outcomes are indices into `accuracy.OUTCOMES`. Those of the unchanged classifier may
    differ between runs where these have neighbors of their own.
    """

    before: np.ndarray  # shape=(R, n), of the unchanged classifier.
    after: np.ndarray  # shape=(R, n)
    labels: np.ndarray  # shape=(n,): the true classes.
    lonely: np.ndarray  # shape=(n,): whether that has no neighbor, in any run.


def find_outcomes(
    runs: ResultSet, sources: Sources, *, split: str, near: Neighborhoods
) -> Outcomes:
    """Finds the outcomes of predictions for the test samples of a split.

    Args:
      runs: Results.
      sources: Where the results' data and WordNet are.
      split: 'few', 'base' or 'all'.
      near: Which classes are neighbors.

    Returns:
      The outcomes.

    Raises:
      UserError: If the split has no test samples; or if data is needed but not there,
        or neighbors of random classes are, which only the results have.
    """
    classes = classes_in(runs.splits, split)
    chosen = np.asarray(np.isin(runs.common("test_labels"), classes))
    if not chosen.any():
        raise UserError(f"{runs.files[0].path}: split {split!r} has no test samples")
    labels = runs.common("test_labels")[chosen]
    baseline = runs.common("baseline_test_pred")[chosen]
    before, after = [], []
    lonely = np.full(len(labels), True)
    for file in runs.files:
        predictions = file.per_run("test_pred")[:, chosen]
        masks = _masks(runs, file, sources, split=split, near=near)
        for predicted, mask in zip(predictions, masks, strict=True):
            before.append(accuracy.outcomes(baseline, labels, mask))
            after.append(accuracy.outcomes(predicted, labels, mask))
            lonely &= ~np.asarray(mask.any(axis=1))[labels]
    return Outcomes(np.stack(before), np.stack(after), labels, lonely)


def _masks(
    runs: ResultSet,
    file: ResultFile,
    sources: Sources,
    *,
    split: str,
    near: Neighborhoods,
) -> Iterator[np.ndarray]:
    """Yields a mask of neighbors, shape `[C, C]`, for every run of a file.

    Only the rows of the split's classes are right. One mask at a time: those of
    thousands of classes are large.
    """
    if near.nn_split == "semantic":
        mask = semantic.semantic_mask(
            file,
            sources.finder,
            level=near.level,
            synsets=sources.synsets,
            wordnet=sources.wordnet,
        )
        yield from [mask] * file.num_runs
        return
    own = near.nn_dist in (None, file.setting("training.nn_dist"))
    stored = own and near.nn_split == "base" and split != "base"
    mask = np.zeros((runs.num_classes, runs.num_classes), bool)
    if not (stored and split == "few"):
        metric, count = semantic.visual_neighbors(file, nn_dist=near.nn_dist)
        data = sources.finder.dataset(file)
        mask = nearest.nearest_others(
            sources.finder.class_means(data),
            classes_in(runs.splits, near.nn_split),
            num_neighbors=count,
            metric=metric,
        )
    few = runs.splits["few"]
    neighbors = file.per_run("neighbors")
    shared = file.arrays["neighbors"].ndim == 2
    for run, rows in enumerate(neighbors):
        if stored and (run == 0 or not shared):
            mask[few] = False
            mask[few[:, None], rows] = True
        yield mask


def with_method(columns: Columns, sources: Sources) -> Columns:
    """Adds a column of the correction, where any result is not of AlphaNet.

    That of results of the unchanged classifier is 'baseline'.
    """
    methods = {
        panel: UNCHANGED if runs.is_unchanged else runs.files[0].method
        for panel, runs in sources.named()
    }
    if set(methods.values()) <= {ALPHANET}:
        return columns
    each = [methods[panel] for panel in columns["panel"].tolist()]
    return {**columns, "method": np.array(each)}


def corrected_title(columns: Columns) -> str:
    """Returns what to call the corrected classifiers of a figure."""
    if "method" not in columns:
        return "AlphaNet"
    methods = set(columns["method"].tolist()) - {UNCHANGED}
    if methods <= {ALPHANET}:
        return "AlphaNet"
    return methods.pop() if len(methods) == 1 else "Corrected"
