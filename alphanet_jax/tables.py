"""Tables that a person reads."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

__all__ = ["Row", "Table", "Value", "accuracy_table", "format_table", "mean_and_std"]

COLUMNS = ("Few", "Med.", "Many", "Overall")


class Value(NamedTuple):
    """A number of a table, in percent; NaN where there is nothing to count."""

    mean: float
    std: float | None = None  # None where there is one run


class Row(NamedTuple):
    """A row of a table."""

    labels: tuple[str, ...]  # what it is: the cells of its first columns
    cells: tuple[Value | str | None, ...]  # None is a cell with nothing in it


@dataclasses.dataclass(frozen=True)
class Table:
    """A table before it is made into text.

    Attributes:
      title: Heading.
      label_columns: Headings of the first columns, which say what a row is.
      columns: Headings of the others.
      rows: The rows.
      caption: What a reader has to know, in a sentence or two.
      name: Short name, for files and references.
    """

    title: str
    label_columns: tuple[str, ...]
    columns: tuple[str, ...]
    rows: tuple[Row, ...]
    caption: str = ""
    name: str = ""


def mean_and_std(fractions: np.ndarray) -> Value:
    """Gives mean and sample standard deviation (ddof 1) over runs, in percent.

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


def format_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Lines columns up: the first to the left, the others to the right.

    Examples:
      >>> print(format_table(["Experiment", "Few"], [["Baseline", "31.7"]]))
      Experiment   Few
      ----------  ----
      Baseline    31.7
    """
    columns = list(zip(header, *rows, strict=True))
    widths = [max(map(len, column)) for column in columns]
    rule = ["-" * width for width in widths]

    def line(cells: Sequence[str]) -> str:
        first, *others = (
            cell.ljust(width) if index == 0 else cell.rjust(width)
            for index, (cell, width) in enumerate(zip(cells, widths, strict=True))
        )
        return "  ".join([first, *others]).rstrip()

    return "\n".join(line(cells) for cells in [header, rule, *rows])


def _cells(values: np.ndarray) -> list[str]:
    """Formats percentages, as mean and standard deviation where there are several."""
    percent = 100.0 * np.atleast_2d(values)
    means = percent.mean(axis=0)
    if len(percent) == 1:
        return ["-" if np.isnan(mean) else f"{mean:.1f}" for mean in means]
    # ddof 1, as the paper's tables.
    deviations = percent.std(axis=0, ddof=1)
    return [
        "-" if np.isnan(mean) else f"{mean:.1f} ± {deviation:.2f}"
        for mean, deviation in zip(means, deviations, strict=True)
    ]


def accuracy_table(
    results: Mapping[str, Mapping[str, np.ndarray]],
    *,
    baseline: Mapping[str, np.ndarray] | None = None,
) -> str:
    """Makes the table of test accuracy per split, baseline first.

    Args:
      results: Arrays of result files of one dataset, by the names of their rows.
      baseline: Arrays of the one whose baseline is shown; by default the first.

    Returns:
      Percentages in text; mean and sample standard deviation over seeds.
    """

    def row(title: str, result: Mapping[str, np.ndarray], prefix: str) -> list[str]:
        values = np.concatenate(
            [
                np.atleast_2d(result[f"{prefix}_acc_per_split"]),
                np.atleast_1d(result[f"{prefix}_accuracy"])[:, None],
            ],
            axis=1,
        )
        return [title, *_cells(values)]

    first = next(iter(results.values())) if baseline is None else baseline
    title = str(first["proper_name"])
    rows = [row(name, result, "test") for name, result in results.items()]
    table = format_table(
        ["Experiment", *COLUMNS], [row("Baseline", first, "baseline_test"), *rows]
    )
    return f"{title}\n{'=' * len(title)}\n\n{table}"
