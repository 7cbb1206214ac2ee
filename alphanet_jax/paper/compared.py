"""Tables of accuracy, our numbers beside the paper's, and the text of their files."""

import csv
import dataclasses
import io
import json
import math
from collections.abc import Mapping
from typing import Any, NamedTuple

from alphanet_jax.paper import TABLE_FORMATS, published
from alphanet_jax.results.accuracy_tables import FULL_COLUMNS
from alphanet_jax.results.rendering import render
from alphanet_jax.results.tables import Row, Table, Value, shown_change

__all__ = [
    "COLUMNS",
    "Compared",
    "ComparedRow",
    "ComparedTable",
    "compare",
    "difference_text",
    "to_text",
]

COLUMNS = FULL_COLUMNS


class Compared(NamedTuple):
    """One number, ours and the paper's, in percent; None where there is none."""

    ours: Value | None
    paper: Value | None
    difference: float | None = None  # in points
    errors: float | None = None  # the same in standard errors; None without deviations


class ComparedRow(NamedTuple):
    """A row: what it is, and a number for each of `COLUMNS`."""

    labels: tuple[str, ...]
    cells: tuple[Compared, ...]
    facts: Mapping[str, Any]  # what it is, for programs
    block: str = ""  # rows with the same one belong together

    @property
    def has_ours(self) -> bool:
        """Whether there is a number of ours in it."""
        return any(cell.ours is not None for cell in self.cells)


@dataclasses.dataclass(frozen=True)
class ComparedTable:
    """A table of accuracy.

    Attributes:
      name: Name of its files.
      title: Heading.
      caption: What a reader has to know.
      label_columns: Headings of the first columns.
      rows: The rows.
      notes: Remarks, such as what is missing.
      has_paper: Whether there are numbers of the paper in it.
    """

    name: str
    title: str
    caption: str
    label_columns: tuple[str, ...]
    rows: tuple[ComparedRow, ...]
    notes: tuple[str, ...] = ()
    has_paper: bool = True


def compare(
    ours: Value | None, num_ours: int, paper: Value | None, num_paper: int
) -> Compared:
    """Puts two means beside each other.

    Args:
      ours: Our mean and standard deviation over runs.
      num_ours: Number of our runs.
      paper: Those of the paper.
      num_paper: Number of its runs.

    Returns:
      Both with their difference; in standard errors, too, where there is a deviation.
      That of a single evaluation is taken as zero.

    Examples:
      >>> compare(Value(40.0, 3.0), 10, Value(39.0, 1.0), 10)[2:]
      (1.0, 1.0)
      >>> compare(Value(27.5), 1, Value(27.0), 1)[2:]
      (0.5, None)
    """
    if ours is None or paper is None or math.isnan(ours.mean):
        return Compared(ours, paper)
    difference = ours.mean - paper.mean
    error = math.sqrt(
        (ours.std or 0.0) ** 2 / num_ours + (paper.std or 0.0) ** 2 / num_paper
    )
    return Compared(ours, paper, difference, difference / error if error else None)


def difference_text(cell: Compared) -> str:
    """Writes a difference in points, and in standard errors where there are some.

    Points are those between the two numbers as tables show them.
    """
    if cell.difference is None or cell.ours is None or cell.paper is None:
        return "-"
    errors = "" if cell.errors is None else f" ({cell.errors:+z.1f} se)"
    return f"{shown_change(cell.paper.mean, cell.ours.mean)}{errors}"


def to_text(table: ComparedTable | Table, ending: str) -> str:
    """Writes a table as a file holds it.

    Args:
      table: The table.
      ending: One of `TABLE_FORMATS`.

    Returns:
      The text, with a newline at its end.
    """
    if isinstance(table, Table) or ending in ("md", "tex"):
        plain = table if isinstance(table, Table) else _plain_table(table)
        return render(plain, TABLE_FORMATS[ending]) + "\n"
    records = [_record(row) for row in table.rows]
    if ending == "json":
        return json.dumps(records, ensure_ascii=False, indent=1) + "\n"
    text = io.StringIO()
    writer = csv.DictWriter(text, records[0], lineterminator="\n")
    writer.writeheader()
    writer.writerows(records)
    return text.getvalue()


def _plain_table(table: ComparedTable) -> Table:
    """Makes a table with a column for each number, or three with the paper's."""
    columns, rows = [], []
    for name in COLUMNS:
        columns += [name, "paper", "difference"] if table.has_paper else [name]
    for row in table.rows:
        cells: list[Value | str | None] = []
        for cell in row.cells:
            cells.append("-" if cell.ours is None else cell.ours)
            if table.has_paper:
                cells.append("-" if cell.paper is None else cell.paper)
                cells.append(difference_text(cell))
        rows.append(Row(row.labels, tuple(cells)))
    caption = [table.caption]
    if table.has_paper:
        caption.append(
            "Differences are ours less the paper's, in points and, in brackets, in "
            "standard errors of both means."
        )
    return Table(
        table.title,
        table.label_columns,
        tuple(columns),
        tuple(rows),
        " ".join([*caption, *table.notes]),
        table.name,
    )


def _record(row: ComparedRow) -> dict[str, Any]:
    """Returns a row with every digit, for programs."""

    def number(value: float | None) -> float | None:
        if value is None or math.isnan(value):
            return None
        return round(value, 8)  # without what float arithmetic adds at the end

    record = dict(row.facts)
    for name, cell in zip(published.COLUMNS, row.cells, strict=True):
        for whose, value in (("", cell.ours), ("_paper", cell.paper)):
            record[f"{name}{whose}"] = number(None if value is None else value.mean)
            record[f"{name}{whose}_std"] = number(None if value is None else value.std)
        record[f"{name}_difference"] = number(cell.difference)
        record[f"{name}_standard_errors"] = number(cell.errors)
    return record
