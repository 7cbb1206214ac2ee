"""Tables for programs, as CSV and JSON: every digit, no titles."""

import csv
import io
import json
import math
import re
from collections.abc import Sequence
from typing import Any

from alphanet_jax.results.tables import Row, Table, Value, finite_or_none

__all__ = ["csv_lines", "csv_of", "json_of"]


def csv_lines(table: Table) -> list[str]:
    """Returns lines of the means once more, as the original prints them after it."""
    lines = [[*table.label_columns, *(table.full_columns or table.columns)]]
    lines += [[*row.labels, *map(_csv_mean, row.cells)] for row in table.rows]
    return _write_csv(lines).split("\n")


def _csv_mean(cell: Value | str | None) -> str:
    if not isinstance(cell, Value):
        return cell or ""
    return "" if math.isnan(cell.mean) else f"{cell.mean:z.1f}"


def _write_csv(lines: Sequence[Sequence[object]]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(lines)
    return text.getvalue().removesuffix("\n")


def _key(heading: str) -> str:
    return re.sub(r"\W+", "_", heading.lower()).strip("_")


def _facts(table: Table, row: Row) -> dict[str, str | int | None]:
    if row.facts:
        return dict(row.facts)
    labels = zip(map(_key, table.label_columns), row.labels, strict=True)
    return {"table": table.title, **dict(labels)}


def json_of(tables: Sequence[Table]) -> str:
    """Returns a list of an object for every row, null where there is no number."""
    records: list[dict[str, Any]] = []
    for table in tables:
        keys = [_key(heading) for heading in table.full_columns or table.columns]
        for row in table.rows:
            record: dict[str, Any] = _facts(table, row)
            for key, cell in zip(keys, row.cells, strict=True):
                record[key] = cell
                if isinstance(cell, Value):
                    mean, std = map(finite_or_none, cell)
                    record[key] = {"mean": mean, "std": std}
            records.append(record)
    return json.dumps(records, ensure_ascii=False, allow_nan=False, indent=2)


def csv_of(tables: Sequence[Table], *, header: bool) -> str:
    """Returns a line for every row, with every digit of its means and deviations.

    Raises:
      ValueError: If the tables have not the same columns.
    """
    records: list[dict[str, object]] = []
    for table in tables:
        for row in table.rows:
            record: dict[str, object] = dict(_facts(table, row))
            headings = table.full_columns or table.columns
            for place, (heading, cell) in enumerate(
                zip(headings, row.cells, strict=True)
            ):
                numbers = any(isinstance(r.cells[place], Value) for r in table.rows)
                if isinstance(cell, Value) or (numbers and cell is None):
                    mean, std = map(finite_or_none, cell or (None, None))
                    record |= {f"{_key(heading)}_mean": mean}
                    record |= {f"{_key(heading)}_std": std}
                else:
                    record[_key(heading)] = cell
            records.append(record)
    heads = [list(record) for record in records]
    if any(head != heads[0] for head in heads):
        raise ValueError("the rows of one csv must have the same columns.")
    lines: list[list[object]] = [list(record.values()) for record in records]
    return _write_csv([*heads[:1], *lines] if header else lines)
