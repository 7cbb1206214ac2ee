"""Tables before they are text, and the numbers in them."""

import dataclasses
import math
from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

import numpy as np

__all__ = ["Row", "Table", "Value", "finite_or_none", "mean_and_std", "shown_change"]


class Value(NamedTuple):
    """A number of a table, in percent; NaN where there is nothing to count."""

    mean: float
    std: float | None = None  # None where there is one run


class Row(NamedTuple):
    """A row of a table."""

    labels: tuple[str, ...]  # the cells of its first columns
    cells: tuple[Value | str | None, ...]  # None is an empty cell
    # Its first columns in CSV and JSON; by default the table's title and the labels.
    facts: Mapping[str, str | int | None] = MappingProxyType({})


@dataclasses.dataclass(frozen=True)
class Table:
    """A table before it is made into text.

    Attributes:
      title: Heading.
      label_columns: Headings of the first columns, which identify a row.
      columns: Headings of the others.
      rows: The rows.
      caption: Explanation for the reader, in a sentence or two.
      name: Short name, for files and references.
      full_columns: The same headings as `columns`, where those are cut short.
    """

    title: str
    label_columns: tuple[str, ...]
    columns: tuple[str, ...]
    rows: tuple[Row, ...]
    caption: str = ""
    name: str = ""
    full_columns: tuple[str, ...] = ()


def mean_and_std(fractions: np.ndarray) -> Value:
    """Computes mean and sample standard deviation (ddof 1) over runs, in percent.

    Args:
      fractions: A fraction for every run, with shape `[R]`.

    Examples:
      >>> mean_and_std(np.array([0.25, 0.75]))
      Value(mean=50.0, std=35.35533905932738)
      >>> mean_and_std(np.array([0.25]))
      Value(mean=25.0, std=None)
    """
    percent = 100.0 * np.asarray(fractions, np.float64)
    std = float(percent.std(ddof=1)) if len(percent) > 1 else None
    return Value(float(percent.mean()), std)


def finite_or_none(number: float | None) -> float | None:
    """Returns a number fit for JSON, which has no NaN and no infinity: None for these.

    Examples:
      >>> [finite_or_none(number) for number in (0.5, math.nan, None)]
      [0.5, None, None]
    """
    return number if number is not None and math.isfinite(number) else None


def shown_change(before: float, after: float) -> str:
    """Writes by how much a number is more than another, as tables show the two.

    Who subtracts what is shown gets it. Both are in percent; '-' where one is NaN.

    Examples:
      >>> shown_change(22.64, 31.06)  # of 22.6 and 31.1, though it is 8.42
      '+8.5'
      >>> shown_change(7.0, 6.96)
      '+0.0'
    """
    if math.isnan(before) or math.isnan(after):
        return "-"
    return f"{float(f'{after:.1f}') - float(f'{before:.1f}'):+z.1f}"
