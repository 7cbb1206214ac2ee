"""Neighbors on disk, found again by what they were computed from.

A file's name ends in a digest of everything that its content depends on: the training
features and labels, the splits, the distance, the number of neighbors and, if they are
random, the seed. Other inputs have another name, so nothing is ever out of date.
"""

import hashlib
import json
from pathlib import Path

import numpy as np

from alphanet_jax import bundled, files
from alphanet_jax.config.fields import Settings
from alphanet_jax.data.dataset import Dataset
from alphanet_jax.errors import UserError
from alphanet_jax.nn_search import Neighbors

__all__ = ["NeighborCache"]

_FORMAT = 1  # of how neighbors are computed and kept


def _digest(classes: np.ndarray, distances: np.ndarray) -> str:
    """Hashes what neighbors are."""
    return hashlib.sha256(classes.tobytes() + distances.tobytes()).hexdigest()


class NeighborCache:
    """Keeps the neighbors of a dataset; a `NeighborStore` of `problem.prepare_all`.

    Args:
      directories: Where files may be, but for those of an installed package; new ones
        go to the first that can be written to.
      dataset: The dataset, with the names of its training files.
    """

    def __init__(self, directories: list[Path], dataset: Dataset) -> None:
        self._directories = [d for d in directories if not bundled.is_packaged(d)]
        self._dataset = dataset

    def _name(self, settings: Settings, seed: int) -> str:
        data = self._dataset
        parts = {
            "format": _FORMAT,
            "files": [data.file_hashes[name] for name in data.train_files],
            "splits": {
                name: data.splits[name].tolist() for name in sorted(data.splits)
            },
            "nn_dist": settings.nn_dist,
            "n_neighbors": settings.n_neighbors,
            "seed": seed if settings.nn_dist == "random" else None,
        }
        digest = hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()
        return f"{settings.nn_dist}_{settings.n_neighbors}_{digest[:16]}.npz"

    def load(self, settings: Settings, seed: int) -> Neighbors | None:
        """Loads neighbors that were kept; None if there are none."""
        if not self._dataset.train_files:
            return None  # not from files: nothing tells its content
        shape = (len(self._dataset.few_classes), settings.n_neighbors)
        for directory in self._directories:
            path = directory / self._name(settings, seed)
            if not path.is_file() or files.others_may_write(directory):
                continue
            try:
                arrays = files.open_npz(path)
                classes, distances = arrays["classes"], arrays["distances"]
                digest = str(arrays["sha256"])
            except (UserError, KeyError):
                continue
            # A file that anybody may have put there: only what can be right is used.
            if (
                digest == _digest(classes, distances)
                and classes.shape == distances.shape == shape
                and classes.dtype == np.int32
                and distances.dtype == np.float32
                and np.isin(classes, self._dataset.base_classes).all()
                and (np.diff(np.sort(classes, axis=1), axis=1) > 0).all()
                and np.isfinite(distances).all()
                and (distances >= 0).all()
                and (np.diff(distances, axis=1) >= 0).all()
            ):
                return Neighbors(classes, distances)
        return None

    def save(self, settings: Settings, seed: int, neighbors: Neighbors) -> None:
        """Keeps neighbors, if any of the directories can be written to."""
        if not self._dataset.train_files:
            return
        arrays = {
            "classes": np.asarray(neighbors.classes),
            "distances": np.asarray(neighbors.distances),
            "few_classes": self._dataset.few_classes,
        }
        arrays["sha256"] = np.asarray(_digest(arrays["classes"], arrays["distances"]))
        for directory in self._directories:
            if not files.is_writable(directory):
                continue
            try:
                with files.replacing(directory / self._name(settings, seed)) as path:
                    files.write_npz(path, arrays)
            except OSError:
                continue
            return
