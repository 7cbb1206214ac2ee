"""The numbers of a figure: named columns, also written as CSV."""

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from pathlib import Path

    from alphanet_jax.results.datasets import DataFinder
    from alphanet_jax.results.sets import ResultSet

__all__ = [
    "Columns",
    "Numbers",
    "Sources",
    "csv_text",
    "make_columns",
    "names_of_sets",
    "select",
    "split_by",
    "with_constants",
]

# Equally long one-dimensional arrays by the name of their column.
Columns = Mapping[str, np.ndarray]
# What is drawn; a figure that draws unlike things has a table for each. The name is
# added to that of the file; that of the main one is empty.
Numbers = Mapping[str, Columns]


class Sources(NamedTuple):
    """What the numbers of figures are made from."""

    sets: "Sequence[ResultSet]"
    finder: "DataFinder"  # for figures that need the dataset itself
    synsets: "Path | None" = None  # WordNet ids of the classes, else the registry's
    wordnet: "Path | None" = None  # the database, else where it usually is

    def named(self) -> "list[tuple[str, ResultSet]]":
        """Returns every set with a name of its own."""
        return list(zip(names_of_sets(self.sets), self.sets, strict=True))


def names_of_sets(sets: "Sequence[ResultSet]") -> list[str]:
    """Names results so that all names differ.

    Returns:
      Names of the experiments; or of the datasets where there is one experiment; or
      both where neither is enough.
    """
    names = [runs.name for runs in sets]
    if len(set(names)) == len(names) > 1:
        return names
    datasets = [runs.proper_name for runs in sets]
    if len(set(names)) == 1 and len(set(datasets)) == len(datasets):
        return datasets if len(sets) > 1 else names
    both = [f"{runs.proper_name}, {runs.name}" for runs in sets]
    if len(set(both)) == len(both):
        return both
    return [f"{runs.dataset}, {runs.name}" for runs in sets]


def make_columns(
    names: Sequence[str], rows: Iterable[Sequence[Any]]
) -> dict[str, np.ndarray]:
    """Makes columns of rows.

    Examples:
      >>> make_columns(["split", "accuracy"], [("few", 0.5), ("many", 0.75)])
      {'split': array(['few', 'many'], dtype='<U4'), 'accuracy': array([0.5 , 0.75])}
    """
    listed = list(rows)
    if not listed:
        return {name: np.zeros(0) for name in names}
    return {
        name: np.array(column)
        for name, column in zip(names, zip(*listed, strict=True), strict=True)
    }


def select(columns: Columns, **values: Any) -> dict[str, np.ndarray]:
    """Keeps the rows in which columns have certain values.

    Examples:
      >>> table = make_columns(["split", "acc"], [("few", 0.5), ("many", 0.75)])
      >>> select(table, split="many")["acc"]
      array([0.75])
    """
    keep = np.ones(len(next(iter(columns.values()))), bool)
    for name, value in values.items():
        keep &= columns[name] == value
    return {name: column[keep] for name, column in columns.items()}


def split_by(columns: Columns, name: str) -> dict[Any, dict[str, np.ndarray]]:
    """Returns the rows of every value of a column, in the order of their first rows.

    Examples:
      >>> table = make_columns(["split", "acc"], [("few", 1), ("many", 2)])
      >>> split_by(table, "split")["many"]["acc"]
      array([2])
    """
    values = dict.fromkeys(columns[name].tolist())
    return {value: select(columns, **{name: value}) for value in values}


def with_constants(columns: Columns, **values: Any) -> dict[str, np.ndarray]:
    """Adds columns that have the same value in every row."""
    length = len(next(iter(columns.values())))
    return {**columns, **{name: np.full(length, v) for name, v in values.items()}}


def csv_text(columns: Columns) -> str:
    """Writes columns as CSV; floats with all their digits, NaN as nothing."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(columns)
    for row in zip(*(column.tolist() for column in columns.values()), strict=True):
        writer.writerow("" if value != value else value for value in row)
    return out.getvalue()
