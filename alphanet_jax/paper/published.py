"""The numbers of the paper's tables, with what they were made with.

They are facts out of the paper (arXiv 2008.07073) and its repository
(https://github.com/jayanthkoushik/alphanet), kept in `published.json`: percentages,
with the sample standard deviation over ten runs. The paper was published in two
versions, which differ in one row: the web version's numbers of the tau-normalized
classifier on Places-LT are those of ImageNet-LT. Here are those of the LaTeX version.
"""

import functools
import importlib.resources
import json
from collections.abc import Mapping
from typing import Any, NamedTuple

from alphanet_jax.results.accuracy import PARTS

__all__ = [
    "COLUMNS",
    "NUM_RUNS",
    "PublishedRow",
    "PublishedTable",
    "Repeat",
    "content",
    "find",
    "independent_repeats",
    "names",
    "tables",
]

COLUMNS = PARTS
NUM_RUNS = 10


class PublishedRow(NamedTuple):
    """A row of a table of the paper; percentages in the order of `COLUMNS`."""

    dataset: str  # the paper's name
    model: str  # classifier that AlphaNet is applied to, or another method
    config: str | None  # name in the registry; None for what is not AlphaNet's
    rho: float | None  # None for the unchanged classifier and other methods
    k: int | None  # neighbors
    means: tuple[float, ...]
    stds: tuple[float, ...] | None  # None for a single evaluation

    @property
    def num_runs(self) -> int:
        """Number of runs that it is the mean of."""
        return 1 if self.stds is None else NUM_RUNS


class PublishedTable(NamedTuple):
    """A table of the paper."""

    name: str
    metric: str  # top1, top5 or semantic4
    distance: str  # of neighbors
    rows: tuple[PublishedRow, ...]


class Repeat(NamedTuple):
    """One setting that the paper ran twice: ten runs in one table, ten in another."""

    metric: str
    rho: float
    differences: tuple[float, ...]  # of the means, in the order of `COLUMNS`


@functools.cache
def content() -> Mapping[str, Any]:
    """Loads `published.json`."""
    text = importlib.resources.files(__package__).joinpath("published.json").read_text()
    loaded: dict[str, Any] = json.loads(text)
    return loaded


@functools.cache
def tables() -> Mapping[str, PublishedTable]:
    """Returns the paper's tables of accuracy, by name."""

    def make_row(row: list[Any]) -> PublishedRow:
        dataset, model, config, rho, k, means, stds = row
        stds = None if stds is None else tuple(stds)
        return PublishedRow(dataset, model, config, rho, k, tuple(means), stds)

    return {
        name: PublishedTable(
            name, table["metric"], table["distance"], (*map(make_row, table["rows"]),)
        )
        for name, table in content()["tables"].items()
    }


def names() -> dict[str, str]:
    """Returns the paper's names of its datasets with their classifiers.

    Examples:
      >>> names()["inat_resnet152_crt"]
      'iNaturalist | cRT'
    """
    return {
        row.config: f"{row.dataset} | {row.model}"
        for table in tables().values()
        for row in table.rows
        if row.config is not None
    }


def find(
    config: str,
    *,
    metric: str = "top1",
    rho: float | None = None,
    k: int | None = 5,
    distance: str = "euclidean",
) -> dict[str, PublishedRow]:
    """Looks up what the paper has for a setting.

    Args:
      config: Name of the dataset in the registry.
      metric: 'top1', 'top5' or 'semantic4'.
      rho: Base samples for each few sample; None for the unchanged classifier.
      k: Number of neighbors; no matter for the unchanged classifier.
      distance: What neighbors were found by; no matter for it either.

    Returns:
      Rows by the name of their table. Where several have the setting, their numbers
      may be those of different runs.

    Examples:
      >>> rows = find("imagenetlt_resnext50_crt", rho=0.5)
      >>> {name.split("_vs_")[1]: row.means[0] for name, row in rows.items()}
      {'rho': 39.7, 'rho_imagenetlt': 39.7, 'k_imagenetlt_crt_euclidean': 39.1}
    """
    if rho is None:
        k = None
    return {
        name: row
        for name, table in tables().items()
        if table.metric == metric and (rho is None or table.distance == distance)
        for row in table.rows
        if (row.config, row.rho, row.k) == (config, rho, k)
    }


def independent_repeats() -> list[Repeat]:
    """Lists the settings with two sets of runs in the paper, and how those differ.

    These are AlphaNet on cRT of ImageNet-LT with five nearest neighbors, which is in
    the tables against rho and in those against k, with different runs.
    """
    found = []
    for metric in ("top1", "top5"):
        by_rho = tables()[f"models_split_{metric}_accs_vs_rho_imagenetlt"]
        by_k = tables()[f"rhos_split_{metric}_accs_vs_k_imagenetlt_crt_euclidean"]
        settings = {
            (row.config, row.rho, row.k): row for row in by_rho.rows if row.stds
        }
        for row in by_k.rows:
            other = settings.get((row.config, row.rho, row.k))
            if row.rho is not None and other is not None:
                pairs = zip(row.means, other.means, strict=True)
                found.append(
                    Repeat(metric, row.rho, tuple(round(a - b, 1) for a, b in pairs))
                )
    return found
