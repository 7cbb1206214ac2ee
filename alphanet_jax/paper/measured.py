"""Accuracy of splits out of result files, computed once.

Notation: R runs of a result, C classes.
"""

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

import numpy as np

from alphanet_jax import files, parsing
from alphanet_jax.config import compare
from alphanet_jax.errors import UserError
from alphanet_jax.paper.grid import NUM_NEIGHBORS, GridPoint
from alphanet_jax.results import accuracy, semantic, top_k
from alphanet_jax.results import file as results
from alphanet_jax.results.accuracy_tables import Control, hits_of_predictions
from alphanet_jax.results.datasets import DataFinder
from alphanet_jax.results.sets import ResultFile, ResultSet, load_sets
from alphanet_jax.results.tables import Value, mean_and_std

__all__ = ["METRICS", "Measured", "Results"]

METRICS = ("top1", "top5", "semantic4")


class Measured(NamedTuple):
    """Accuracy of few, medium, many and all test samples."""

    values: tuple[Value, ...]
    num_runs: int


class _Fractions(NamedTuple):
    runs: np.ndarray  # shape=(R, 4)
    baseline: np.ndarray  # shape=(4,)


class Results:
    """The results of points below a work directory, by what they are of.

    Args:
      points: Points to look for below the work directory.
      workdir: The work directory.
      finder: Finds the data of results, where that is needed.
      file_hashes: SHA-256 of the files of each dataset that is there.
      wordnet: Directory of WordNet 3.0; by default it is looked for.
      controls: Corrections without training, by dataset.
      report: Takes lines of text about progress.

    Attributes:
      not_computed: Why a metric cannot be computed, by dataset and metric.
      left_out: Results that are not taken, and why: those made with other settings
        than those of the point, but for the number of runs, or with other data.
    """

    def __init__(
        self,
        points: Iterable[GridPoint],
        workdir: Path,
        finder: DataFinder,
        *,
        file_hashes: Mapping[str, Mapping[str, str]],
        wordnet: Path | None = None,
        controls: Mapping[str, Sequence[Control]] = MappingProxyType({}),
        report: Callable[[str], None] = lambda line: None,
    ) -> None:
        self.finder, self.wordnet = finder, wordnet
        self.controls = controls
        self.not_computed: dict[tuple[str, str], str] = {}
        self._report = report
        self._cache = workdir / "cache"
        self._fractions: dict[tuple[Path, str], _Fractions] = {}
        self._sets: dict[tuple[str, str, float, int], ResultSet] = {}
        self.left_out: list[str] = []
        data = {name: sorted(known.values()) for name, known in file_hashes.items()}
        for point in points:
            path = workdir / point.directory / results.FILE_NAME
            if not path.is_file():
                continue
            try:
                (runs,) = load_sets({point.directory: [path]})
                (file,) = runs.files
                made_of = sorted(file.file_hashes.values())
                differences = _differences(file, point)
                if made_of != data.setdefault(point.dataset, made_of):
                    differences.append("other input files")
                if differences:
                    raise UserError(f"{path}: {'; '.join(differences)}")
            except UserError as error:
                self.left_out.append(f"left out: {error}")
                report(self.left_out[-1])
                continue
            self._sets[point.dataset, point.folder, point.rho, point.k] = runs

    def datasets(self) -> list[str]:
        """Lists the datasets that have results."""
        return list(dict.fromkeys(dataset for dataset, *_ in self._sets))

    def rho_and_k(self, dataset: str, folder: str) -> list[tuple[float, int]]:
        """Lists rho and k of the results of a folder, ascending."""
        return sorted(key[2:] for key in self._sets if key[:2] == (dataset, folder))

    def get(
        self, dataset: str, folder: str, rho: float, k: int = NUM_NEIGHBORS
    ) -> ResultSet | None:
        """Returns the runs of a point; None if there are none."""
        return self._sets.get((dataset, folder, rho, k))

    def all_of(self, dataset: str) -> list[ResultSet]:
        """Lists the runs of all points of a dataset."""
        return [runs for key, runs in self._sets.items() if key[0] == dataset]

    def sets(self, dataset: str, folder: str) -> list[ResultSet]:
        """Lists the runs of all points of a folder, by rho and k."""
        return [
            self._sets[dataset, folder, rho, k]
            for rho, k in self.rho_and_k(dataset, folder)
        ]

    def any_of(self, dataset: str) -> ResultSet | None:
        """Returns the runs of some point of a dataset; None if there are none."""
        return next((s for key, s in self._sets.items() if key[0] == dataset), None)

    def has_synsets(self, dataset: str) -> bool:
        """Returns whether the registry has the WordNet ids of a dataset's classes."""
        runs = self.any_of(dataset)
        if runs is None:
            return False
        return self.finder.entry(runs.files[0]).synsets_file is not None

    def measure(
        self,
        dataset: str,
        metric: str,
        *,
        folder: str = "main",
        rho: float | None = None,
        k: int | None = NUM_NEIGHBORS,
    ) -> Measured | None:
        """Computes the accuracy of a point, or of the unchanged classifier.

        Args:
          dataset: Name of the dataset.
          metric: One of `METRICS`.
          folder: Folder of the point.
          rho: Its rho; None for the unchanged classifier.
          k: Its number of neighbors.

        Returns:
          Percentages; None if there is no such result or it cannot be computed, for
          which see `not_computed`.
        """
        if rho is None:
            runs = self.any_of(dataset)
        else:
            runs = self._sets.get((dataset, folder, rho, k or NUM_NEIGHBORS))
        if runs is None or (dataset, metric) in self.not_computed:
            return None
        (file,) = runs.files
        try:
            found = self._compute(file, metric)
        except UserError as error:
            self.not_computed[dataset, metric] = str(error)
            return None
        rows = found.baseline[None] if rho is None else found.runs
        return Measured(tuple(mean_and_std(column) for column in rows.T), len(rows))

    def _compute(self, file: ResultFile, metric: str) -> _Fractions:
        key = file.path, metric
        if key not in self._fractions:
            if metric == "top5":
                self._fractions[key] = self._top5(file)
            else:
                mask = None
                if metric == "semantic4":
                    mask = semantic.semantic_mask(
                        file, self.finder, wordnet=self.wordnet
                    )
                hits = hits_of_predictions(file, mask)
                self._fractions[key] = _fractions(file, hits.runs, hits.baseline)
        return self._fractions[key]

    def _top5(self, file: ResultFile) -> _Fractions:
        """Computes top-5 accuracy from the features, or reads it where it was kept."""
        path = self._cache / f"top5_{_digest(file)}.json"
        try:
            kept = parsing.parse_json(path.read_bytes())
            rows = [[(float, type(None))]]
            parsing.check_form(kept, {"runs": rows, "baseline": rows})
            runs, baseline = (
                np.asarray(kept[name], float) for name in ("runs", "baseline")
            )
            found = _Fractions(runs, baseline[0])
            if found.runs.shape == (file.num_runs, 4) and found.baseline.shape == (4,):
                return found
        except (OSError, ValueError):
            pass  # none, or what is left of one
        self._report(f"top-5 accuracy of {file.path.parent}")
        data = self.finder.dataset(file)
        hits = top_k.top_k_hits(data, file, k=5, report=self._report)
        found = _fractions(file, *hits)
        with files.replacing(path) as temporary:
            # JSON has null for what is not a number.
            lists = {
                name: [
                    [None if np.isnan(value) else value for value in row]
                    for row in np.atleast_2d(array).tolist()
                ]
                for name, array in found._asdict().items()
            }
            temporary.write_text(json.dumps(lists))
        return found


def _differences(file: ResultFile, point: GridPoint) -> list[str]:
    """Lists how a result differs from that of a point, whatever its seeds."""
    every = compare.config_differences(file.config, point.settings.as_config())
    return [each for each in every if not each.startswith(("seeds ", "seed "))]


def _fractions(file: ResultFile, right: np.ndarray, baseline: np.ndarray) -> _Fractions:
    splits = ResultSet("", (file,)).splits
    labels = file.arrays["test_labels"]
    return _Fractions(
        accuracy.per_split(right, labels, splits),
        accuracy.per_split(baseline, labels, splits),
    )


def _digest(file: ResultFile) -> str:
    """Names what top-5 accuracy depends on: coefficients, data and the rule of ties."""
    made = hashlib.sha256(b"equal scores rank by class")
    for name in ("alphas", "neighbors", "few_classes", "test_labels"):
        made.update(np.ascontiguousarray(file.arrays[name]).tobytes())
    made.update(" ".join(sorted(file.file_hashes.values())).encode())
    return made.hexdigest()[:32]
