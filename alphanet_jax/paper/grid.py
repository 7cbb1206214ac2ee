"""Which points the paper's experiments have for a dataset, and where each goes.

The layout is the original's, with a file for all seeds:

    main/DATASET/rho_R/result.npz                   5 nearest neighbors, each rho
    randomnns/DATASET/rho_R/result.npz              5 random ones, a control
    nnsweep_euclidean/DATASET/rho_R/k_K/result.npz  1 to 10 nearest neighbors
    nnsweep_cosine/DATASET/rho_R/k_K/result.npz
"""

import dataclasses
import re
from collections.abc import Sequence

from alphanet_jax.config import presets
from alphanet_jax.config.fields import Settings
from alphanet_jax.data.registry import DatasetEntry

__all__ = [
    "NEIGHBORS",
    "NUM_NEIGHBORS",
    "PARTS",
    "GridPoint",
    "grid_points",
    "parts_of",
    "path_name",
    "rhos_of",
]

# Part -> its folders, each with the distance of neighbors.
PARTS = {
    "main": {"main": "euclidean"},
    "random": {"randomnns": "random"},
    "nnsweep": {"nnsweep_euclidean": "euclidean", "nnsweep_cosine": "cosine"},
}
NUM_NEIGHBORS = 5  # by default
NEIGHBORS = tuple(range(1, 11))

_RHOS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0, 1.25, 1.5, 1.75, 2.0, 3.0)
_SWEEP_RHOS = (0.25, 0.5, 1.0, 2.0)
# With so many few classes an epoch is large, and the paper has fewer base samples.
_INAT_RHOS = (0.01, 0.02, 0.03, 0.04, 0.05)
# The one dataset of the paper that it took all parts for.
_ALL_PARTS = "imagenetlt_resnext50_crt"


@dataclasses.dataclass(frozen=True)
class GridPoint:
    """One point: a setting, trained for all seeds.

    Attributes:
      dataset: Name of the dataset in the registry.
      folder: The first part of its directory, such as 'main' or 'randomnns'.
      rho: Base samples of an epoch for each few sample.
      k: Number of neighbors.
      settings: Its settings.
    """

    dataset: str
    folder: str
    rho: float
    k: int
    settings: Settings

    @property
    def directory(self) -> str:
        """Its directory below the work directory."""
        last = f"/k_{self.k}" if self.folder.startswith("nnsweep_") else ""
        return f"{self.folder}/{path_name(self.dataset)}/rho_{self.rho:g}{last}"

    @property
    def work(self) -> float:
        """About how long it trains, in any unit."""
        # Rows of an epoch, times the size of the network's first layer.
        return (1 + self.rho) * (1 + self.k) * float(self.settings.seeds)


def path_name(dataset: str) -> str:
    """Makes the name of a dataset fit for files: letters, digits, '_', '-' and '.'.

    Examples:
      >>> path_name("my data/v2")
      'my-data-v2'
    """
    return re.sub(r"[^\w.-]", "-", dataset, flags=re.ASCII).lstrip(".") or "-"


def parts_of(dataset: str) -> tuple[str, ...]:
    """Returns the parts to run for a dataset by default.

    The paper has random neighbors and other numbers of them for one of its datasets
    only. Those that are not the paper's get everything.
    """
    if dataset in presets.CHANGES and dataset != _ALL_PARTS:
        return ("main",)
    return tuple(PARTS)


def rhos_of(dataset: str, part: str) -> tuple[float, ...]:
    """Lists the values of rho for a part, those of the paper where it has it."""
    if dataset.startswith("inat_") and dataset in presets.CHANGES:
        return _INAT_RHOS
    return _SWEEP_RHOS if part == "nnsweep" else _RHOS


def grid_points(
    entry: DatasetEntry,
    *,
    parts: Sequence[str] = (),
    rhos: Sequence[float] = (),
    neighbors: Sequence[int] = (),
    seeds: int = 10,
    selection: str = "reference",
    registry: str = "configs/datasets.toml",
    data_root: str = ".",
) -> list[GridPoint]:
    """Makes the points of a dataset.

    Args:
      entry: The dataset.
      parts: Names in `PARTS`; by default `parts_of`.
      rhos: Values of rho for every part; by default `rhos_of`.
      neighbors: Numbers of neighbors for 'nnsweep'; by default `NEIGHBORS`.
      seeds: Number of seeds.
      selection: Rule by which the epoch to test is selected.
      registry: Registry file, as configs name it.
      data_root: What its paths are relative to, as configs name it.

    Returns:
      The points, part by part, with different directories.

    Examples:
      >>> entry = DatasetEntry("mine", "splits", "features", "classifier.npz")
      >>> found = grid_points(entry, parts=["nnsweep"], rhos=[0.5], neighbors=[3])
      >>> [point.directory for point in found]
      ['nnsweep_euclidean/mine/rho_0.5/k_3', 'nnsweep_cosine/mine/rho_0.5/k_3']
    """
    base = dataclasses.replace(
        presets.dataset_settings(entry.name),
        registry=registry,
        data_root=data_root,
        seeds=seeds,
        selection=selection,
    )
    if "val" not in entry.datagrps:
        base = dataclasses.replace(base, val_datagrp="")
    points = []
    for part in dict.fromkeys(parts or parts_of(entry.name)):
        counts = neighbors or NEIGHBORS
        if part != "nnsweep":
            counts = (NUM_NEIGHBORS,)
        for folder, distance in PARTS[part].items():
            for rho in dict.fromkeys(rhos or rhos_of(entry.name, part)):
                for k in dict.fromkeys(counts):
                    settings = dataclasses.replace(
                        base, rho=float(rho), n_neighbors=k, nn_dist=distance
                    )
                    points.append(
                        GridPoint(entry.name, folder, float(rho), k, settings)
                    )
    return points
