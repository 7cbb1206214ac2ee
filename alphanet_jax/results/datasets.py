"""The datasets that results were made with, found again.

Notation: C classes, d feature dimensions, k neighbors.
"""

from collections.abc import Callable
from pathlib import Path

import numpy as np

from alphanet_jax.data import loading, registry
from alphanet_jax.data.dataset import Dataset
from alphanet_jax.errors import UserError
from alphanet_jax.results import nearest
from alphanet_jax.results.sets import ResultFile
from alphanet_jax.stages import stage

__all__ = ["DataFinder"]


class DataFinder:
    """Loads the datasets that results were made with, each once.

    Args:
      registry_file: Registry to look datasets up in; by default that of the result.
      data_root: What its paths are relative to; by default as for the result.
      data: A dataset that is loaded already, to be taken for all results; as any other
        it must be the one that they were made with.
      report: Takes lines of text about progress.
    """

    def __init__(
        self,
        registry_file: Path | None = None,
        data_root: Path | None = None,
        *,
        data: Dataset | None = None,
        report: Callable[[str], None] = lambda line: None,
    ) -> None:
        self._given = data
        self._registry = registry_file
        self._data_root = data_root
        self._report = report
        self._loaded: dict[tuple[str, ...], Dataset] = {}
        self._means: dict[int, np.ndarray] = {}
        self._nearest: dict[tuple[int, int, str], np.ndarray] = {}

    @property
    def report(self) -> Callable[[str], None]:
        """What takes lines of text about progress."""
        return self._report

    def entry(self, file: ResultFile) -> registry.DatasetEntry:
        """Looks up the dataset of a result in the registry."""
        return self._find(file)[0]

    def root(self, file: ResultFile) -> Path:
        """Returns what the paths of the dataset of a result are relative to."""
        return self._find(file)[1]

    def places(self, file: ResultFile) -> dict[str, str]:
        """Returns the fields of a config that say where the data of a result is."""
        return {
            "registry": str(self._registry or file.setting("registry")),
            "data_root": str(self._data_root or Path(file.setting("data_root"))),
        }

    def _find(self, file: ResultFile) -> tuple[registry.DatasetEntry, Path]:
        places = self.places(file)
        name = str(file.arrays["dataset"])
        return registry.find_entry(places["registry"], name, places["data_root"])

    def dataset(self, file: ResultFile) -> Dataset:
        """Loads the dataset that a result was made with.

        Raises:
          UserError: If it is no longer there, or has changed since.
        """
        data = self._given or self._load(file)
        if file.is_original and not file.file_hashes:
            _check_original(data, file)
        elif sorted(data.file_hashes.values()) != sorted(file.file_hashes.values()):
            raise UserError(
                f"the data of {str(file.arrays['dataset'])!r} is not what {file.path} "
                "was made with: its files have changed since"
            )
        return data

    def _load(self, file: ResultFile) -> Dataset:
        groups = [
            file.setting(f"training.{g}_datagrp") for g in ("train", "val", "test")
        ]
        name = str(file.arrays["dataset"])
        # What an earlier version did not have was what is the default now.
        chosen = {
            option: str(file.config.get(option, ""))
            for option in ("labels_by", "few_below", "many_above", "classifier_key")
        }
        normalize = bool(file.config.get("classifier_normalize", False))
        places = self.places(file).values()
        key = (*places, name, *groups, *chosen.values(), str(normalize))
        if key not in self._loaded:
            self._report(f"loading the data of {name}")
            try:
                entry, root = self._find(file)
                with stage(self._report, f"reading {name}"):
                    self._loaded[key] = loading.load_dataset(
                        entry,
                        root,
                        train_group=groups[0],
                        val_group=groups[1],
                        test_group=groups[2],
                        **chosen,
                        classifier_normalize=normalize,
                        report=self._report,
                    )
            except UserError as error:
                raise UserError(
                    f"the data of {file.path} is needed: {error}; where it is can be "
                    "said with --data_root and --registry"
                ) from None
        return self._loaded[key]

    def class_means(self, data: Dataset) -> np.ndarray:
        """Computes the mean training feature of every class, once for each dataset.

        Args:
          data: What `dataset` returned.

        Returns:
          The means, with shape `[C, d]`.
        """
        if id(data) not in self._means:
            self._report(f"averaging the training features of {data.name}")
            count = len(data.train.labels)
            with stage(self._report, "averaging", total=count, unit="samples"):
                self._means[id(data)] = data.class_means()
        return self._means[id(data)]

    def nearest(self, data: Dataset, *, num_neighbors: int, metric: str) -> np.ndarray:
        """Finds the nearest other classes of every class, of all splits, once.

        Args:
          data: What `dataset` returned.
          num_neighbors: Number of neighbors k.
          metric: 'euclidean' or 'cosine'.

        Returns:
          A bool array with shape `[C, C]`: whether class j is one of the k nearest of
          class i.
        """
        key = (id(data), num_neighbors, metric)
        if key not in self._nearest:
            self._nearest[key] = nearest.nearest_others(
                self.class_means(data),
                np.arange(data.num_classes),
                num_neighbors=num_neighbors,
                metric=metric,
            )
        return self._nearest[key]


def _check_original(data: Dataset, file: ResultFile) -> None:
    """Checks data by what a result of the original's has of it; it has no hashes.

    Raises:
      UserError: If they are not of each other.
    """
    mine: dict[str, np.ndarray] = {
        "class_counts": data.class_counts,
        **{f"{name}_classes": classes for name, classes in data.splits.items()},
    }
    differ = next(
        (name for name in mine if not np.array_equal(mine[name], file.array(name))), ""
    )
    for name, array in {"weight": data.weight, "bias": data.bias}.items():
        recorded = file.array(f"original_{name}")
        if not differ and (
            array.shape != recorded.shape
            or not np.allclose(array, recorded, rtol=1e-4, atol=1e-6)
        ):
            differ = f"the classifier's {name}"
    if differ:
        raise UserError(
            f"the data of {str(file.arrays['dataset'])!r} is not what {file.path} was "
            f"made with: {differ} differs"
        )
