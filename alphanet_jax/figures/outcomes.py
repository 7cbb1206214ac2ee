"""Predictions in three groups: correct, wrong as a neighbor, or else wrong.

Figures of predictions share which classes count as neighbors here.

Notation: R runs, n test samples, C classes, A candidates for neighbors, k neighbors, d
feature dimensions.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from alphanet_jax import nn_search
from alphanet_jax.errors import UserError
from alphanet_jax.figures.numbers import Sources
from alphanet_jax.figures.options import Option
from alphanet_jax.results import accuracy, semantic
from alphanet_jax.results.sets import ResultFile, ResultSet

__all__ = [
    "NN_DIST",
    "SPLIT_PHRASES",
    "Grouped",
    "Neighborhoods",
    "base_classes",
    "group_predictions",
    "nearest_among",
]

SPLIT_PHRASES = {
    "few": "Few-split samples (%)",
    "base": "Base-split samples (%)",
    "all": "Test samples (%)",
}
NN_DIST = Option(
    "nn_dist",
    None,
    "distance by which classes are near: euclidean or cosine [the result's]",
    choices=semantic.METRICS,
)


class Neighborhoods(NamedTuple):
    """Which classes count as neighbors of a class.

    Those of `nn_split` 'few', 'base' or 'all' are the k nearest other classes of that
    split by mean training feature, with k and, unless `nn_dist` says otherwise, the
    distance of the result; all of them where there are no more than k. Those of a few
    class among the base classes are the ones that the result itself was trained with.
    Those of 'semantic' are the classes within `level` edges of WordNet.
    """

    nn_split: str
    nn_dist: str | None = None
    level: int = semantic.LEVEL


class Grouped(NamedTuple):
    """What the predictions for the test samples of some classes are.

    Groups are indices into `accuracy.OUTCOMES`. Those of the unchanged classifier may
    differ between runs where these have neighbors of their own.
    """

    before: np.ndarray  # shape=(R, n), of the unchanged classifier.
    after: np.ndarray  # shape=(R, n)
    labels: np.ndarray  # shape=(n,): the true classes.
    lonely: np.ndarray  # shape=(n,): whether that has no neighbor, in any run.


def base_classes(runs: ResultSet) -> np.ndarray:
    """Gives the classes of 'medium' and 'many', ascending."""
    splits = runs.splits
    return np.sort(np.concatenate([splits["medium"], splits["many"]]))


def group_predictions(
    runs: ResultSet, sources: Sources, *, split: str, near: Neighborhoods
) -> Grouped:
    """Sorts predictions for the test samples of a split into groups.

    Args:
      runs: Results.
      sources: Where the results' data and WordNet are.
      split: 'few', 'base' or 'all'.
      near: Which classes are neighbors.

    Returns:
      The groups.

    Raises:
      UserError: If the split has no test samples; or if data is needed but not there,
        or neighbors of random classes are, which nothing but the results says.
    """
    classes = _classes(runs, split)
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
    return Grouped(np.stack(before), np.stack(after), labels, lonely)


def _classes(runs: ResultSet, split: str) -> np.ndarray:
    """Gives the classes of 'few', 'base' or 'all', ascending."""
    if split == "all":
        return np.arange(runs.num_classes)
    return base_classes(runs) if split == "base" else np.sort(runs.splits["few"])


def _masks(
    runs: ResultSet,
    file: ResultFile,
    sources: Sources,
    *,
    split: str,
    near: Neighborhoods,
) -> Iterator[np.ndarray]:
    """Yields who is whose neighbor, shape `[C, C]`, for every run of a file.

    Only the rows of the split's classes say anything. One mask at a time: those of
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
        mask = nearest_among(
            sources.finder.class_means(data),
            _classes(runs, near.nn_split),
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


def nearest_among(
    means: np.ndarray, candidates: np.ndarray, *, num_neighbors: int, metric: str
) -> np.ndarray:
    """Tells which candidates are the nearest of every class, itself left out.

    Args:
      means: Mean training feature of every class, with shape `[C, d]`.
      candidates: Classes, ascending, with shape `[A]`.
      num_neighbors: Number of neighbors k; where there are fewer, all of them are.
      metric: 'euclidean' or 'cosine'.

    Returns:
      A bool array with shape `[C, C]`: whether class j is a neighbor of class i.

    Examples:
      >>> means = np.array([[0.0], [1.0], [5.0], [9.0]])
      >>> near = nearest_among(
      ...     means, np.array([0, 1, 2]), num_neighbors=1, metric="euclidean"
      ... )
      >>> near.astype(int).tolist()
      [[0, 1, 0, 0], [1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0]]
    """
    classes = np.arange(len(means))
    mask = np.zeros((len(means), len(means)), bool)
    if len(candidates) <= num_neighbors:
        mask[:, candidates] = True
    else:
        found = np.asarray(
            nn_search.find_neighbors(
                means,
                classes,
                candidates,
                num_neighbors=min(num_neighbors + 1, len(candidates) - 1),
                metric=metric,
            ).classes
        )
        # A candidate is usually its own nearest: put last, it is left out.
        order = np.argsort(found == classes[:, None], axis=1, kind="stable")
        kept = np.take_along_axis(found, order[:, :num_neighbors], axis=1)
        np.put_along_axis(mask, kept, True, axis=1)
        if len(candidates) == num_neighbors + 1:
            # The search cannot rank all of them, and to each other all are.
            mask[np.ix_(candidates, candidates)] = True
    np.fill_diagonal(mask, False)
    return mask
