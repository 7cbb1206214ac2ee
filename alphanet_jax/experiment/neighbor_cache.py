"""Neighbors and class means on disk, found again by what they were computed from.

A file's name ends in a digest of everything that its content depends on: the training
features and labels and, of neighbors, the splits, the distance, their number and, if
they are random, the seed. Other inputs have another name, so nothing is ever out of
date.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from alphanet_jax import bundled, files
from alphanet_jax.config.fields import Settings
from alphanet_jax.data.dataset import Dataset
from alphanet_jax.errors import UserError
from alphanet_jax.nn_search import Neighbors

__all__ = ["NeighborCache"]

_FORMAT = 1  # of how they are computed and kept
_MEANS = "class_means"


def _digest(*arrays: np.ndarray) -> str:
    """Hashes what is kept."""
    digest = hashlib.sha256()
    for array in arrays:
        digest.update(np.ascontiguousarray(array).view(np.uint8).data)
    return digest.hexdigest()


class NeighborCache:
    """Keeps what is found of a dataset; a `NeighborStore` of `problem.prepare_all`.

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
            "splits": {
                name: data.splits[name].tolist() for name in sorted(data.splits)
            },
            "nn_dist": settings.nn_dist,
            "n_neighbors": settings.n_neighbors,
            "seed": seed if settings.nn_dist == "random" else None,
        }
        return self._name_by(f"{settings.nn_dist}_{settings.n_neighbors}", parts)

    def _name_by(self, begin: str, parts: Mapping[str, Any]) -> str:
        """Names a file by the training data and what else it depends on."""
        data = self._dataset
        hashes = [data.file_hashes[name] for name in data.train_files]
        text = json.dumps({"format": _FORMAT, "files": hashes, **parts}, sort_keys=True)
        return f"{begin}_{hashlib.sha256(text.encode()).hexdigest()[:16]}.npz"

    def load(self, settings: Settings, seed: int) -> Neighbors | None:
        """Loads neighbors that were kept; None if there are none."""
        if not self._dataset.train_files:
            return None  # not from files: nothing tells its content
        shape = (len(self._dataset.few_classes), settings.n_neighbors)
        for classes, distances in self._kept(
            self._name(settings, seed), ("classes", "distances")
        ):
            if (
                classes.shape == distances.shape == shape
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
        }
        self._keep(
            self._name(settings, seed),
            arrays,
            few_classes=self._dataset.few_classes,
        )

    def load_means(self) -> np.ndarray | None:
        """Loads class means that were kept; None if there are none."""
        if not self._dataset.train_files:
            return None
        for (means,) in self._kept(self._name_by(_MEANS, {}), ("means",)):
            if (
                means.shape == self._dataset.weight.shape
                and means.dtype == np.float32
                and np.isfinite(means).all()
            ):
                return means
        return None

    def save_means(self, means: np.ndarray) -> None:
        """Keeps class means, if any of the directories can be written to."""
        if self._dataset.train_files:
            self._keep(self._name_by(_MEANS, {}), {"means": means})

    def _kept(
        self, file_name: str, names: Sequence[str]
    ) -> Iterator[tuple[np.ndarray, ...]]:
        """Yields the arrays of files of a name that are as they were written.

        Anybody may have put them there: only what can be right is to be used.
        """
        for directory in self._directories:
            path = directory / file_name
            if not path.is_file() or files.others_may_write(directory):
                continue
            try:
                arrays = files.open_npz(path)
                found = tuple(arrays[name] for name in names)
                digest = str(arrays["sha256"])
            except (UserError, KeyError):
                continue
            if digest == _digest(*found):
                yield found

    def _keep(
        self, file_name: str, arrays: Mapping[str, np.ndarray], **others: np.ndarray
    ) -> None:
        """Writes a file to the first directory that takes it."""
        digest = np.asarray(_digest(*arrays.values()))
        for directory in self._directories:
            if not files.is_writable(directory):
                continue
            try:
                with files.replacing(directory / file_name) as path:
                    files.write_npz(path, {**arrays, **others, "sha256": digest})
            except OSError:
                continue
            return
