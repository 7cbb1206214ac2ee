"""Finds which classes are near each other: by features, or by meaning.

Notation: C classes, k neighbors.
"""

import functools
from pathlib import Path

import numpy as np

from alphanet_jax.data.class_files import synsets_path
from alphanet_jax.errors import UserError
from alphanet_jax.results.datasets import DataFinder
from alphanet_jax.results.nearest import METRICS
from alphanet_jax.results.sets import ResultFile
from alphanet_jax.results.wordnet import (
    open_wordnet,
    parse_synsets,
    semantic_neighbors,
    synset_distances,
)

__all__ = ["LEVEL", "METRICS", "semantic_mask", "visual_mask", "visual_neighbors"]

# The paper's: at most this many edges of WordNet between neighbors.
LEVEL = 4


def visual_neighbors(
    file: ResultFile, *, nn_dist: str | None = None, flag: str = "--nn_dist"
) -> tuple[str, int]:
    """Looks up by which distance, and how many, classes are near for a result.

    Args:
      file: The result.
      nn_dist: One of `METRICS`; by default the result's own.
      flag: The flag that `nn_dist` comes from, for the error.

    Returns:
      The distance, and the number of neighbors k that the result was made with.

    Raises:
      UserError: If the distance is none of `METRICS`, as with random neighbors.
    """
    chosen = file.setting("training.nn_dist") if nn_dist is None else nn_dist
    if chosen not in METRICS:
        options = " or ".join(f"{flag}={metric}" for metric in METRICS)
        where = f"{file.path} was made with neighbors" if nn_dist is None else flag
        raise UserError(
            f"{where} {chosen!r}, which says nothing about likeness; choose {options}"
        )
    return str(chosen), int(file.setting("training.n_neighbors"))


def visual_mask(
    file: ResultFile,
    finder: DataFinder,
    *,
    nn_dist: str | None = None,
    flag: str = "--nn_dist",
) -> np.ndarray:
    """Finds which classes are near by mean training feature, all against all.

    Args:
      file: The result, whose number of neighbors k counts.
      finder: Finds its data, and keeps what was computed.
      nn_dist: 'euclidean' or 'cosine'; by default the result's own.
      flag: The flag that `nn_dist` comes from, for the error.

    Returns:
      A bool array with shape `[C, C]`: whether class j is one of the k nearest of
      class i, whatever their splits.

    Raises:
      UserError: If the result's neighbors are random, or its data is not available.
    """
    metric, count = visual_neighbors(file, nn_dist=nn_dist, flag=flag)
    return finder.nearest(finder.dataset(file), num_neighbors=count, metric=metric)


def semantic_mask(
    file: ResultFile,
    finder: DataFinder,
    *,
    level: int = LEVEL,
    synsets: Path | None = None,
    wordnet: Path | None = None,
) -> np.ndarray:
    """Finds which classes are near in WordNet.

    Args:
      file: The result.
      finder: Finds its registry; the data itself is not needed.
      level: The most edges between neighbors.
      synsets: File with the synset of each class; by default the registry's.
      wordnet: Directory of WordNet 3.0; by default it is looked for.

    Returns:
      A bool array with shape `[C, C]`: whether class j is a neighbor of class i.

    Raises:
      UserError: If there are no synsets for the classes, or no WordNet.
    """
    if synsets is None:
        entry = finder.entry(file)
        synsets = synsets_path(entry, finder.root(file))
        if synsets is None:
            raise UserError(
                f"dataset {entry.name!r} has no synsets_file in the registry; name the "
                "file with the WordNet id of each class there, or with --synsets"
            )
    names = file.arrays["label_names"].tolist()
    ids = parse_synsets(
        synsets, names or None, num_classes=len(file.arrays["class_counts"])
    )
    return semantic_neighbors(_distances(ids, wordnet), level)


@functools.lru_cache(maxsize=8)
def _distances(ids: tuple[str, ...], wordnet: Path | None) -> np.ndarray:
    """Computes distances, once for all results of a dataset."""
    distances = synset_distances(ids, _reader(wordnet))
    distances.flags.writeable = False
    return distances


_reader = functools.lru_cache(maxsize=1)(open_wordnet)
