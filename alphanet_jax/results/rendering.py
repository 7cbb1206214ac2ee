"""Tables as text.

`render` is the one place where a number of a table becomes text.
"""

import dataclasses
import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

from alphanet_jax.results import escapes
from alphanet_jax.results.table_records import csv_lines, csv_of, json_of
from alphanet_jax.results.tables import Table, Value

__all__ = ["FORMATS", "WITH_CSV_LINES", "Layout", "format_table", "render"]

# The last two are for programs: every digit, no titles.
FORMATS = ("plain", "pandoc", "web", "text", "markdown", "latex", "csv", "json")
# After which the means come a second time, with commas, unless they are not wanted.
WITH_CSV_LINES = ("pandoc", "web", "text")


@dataclasses.dataclass(frozen=True)
class Layout:
    """How a table looks in the formats to read.

    Attributes:
      sig_width: Width that deviations are filled to with zeros; None is that of the
        widest of the column, and for 'plain' and 'markdown' their own.
      num_width: Width of the columns of numbers; for 'pandoc' and 'web' exactly that,
        for others at least.
      name_width: The same of the first column.
      header: Whether there are a title and headings; without, the rows can be added to
        another table. Of several tables, each keeps its title.
      csv_lines: Whether 'plain' and formats of `WITH_CSV_LINES` show the means a second
        time.
      title_alone: Whether a single table has a title; of several, each has one.
    """

    sig_width: int | None = None
    num_width: int = 0
    name_width: int = 0
    header: bool = True
    csv_lines: bool = False
    title_alone: bool = True


def format_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Aligns columns of text: the first to the left, the others to the right.

    Examples:
      >>> print(format_table(["Experiment", "Few"], [["Baseline", "31.7"]]))
      Experiment   Few
      ----------  ----
      Baseline    31.7
    """
    widths = [max(map(len, column)) for column in zip(header, *rows, strict=True)]
    rule = ["-" * width for width in widths]
    return "\n".join(
        "  ".join(_line_up(cells, widths, 1)).rstrip()
        for cells in [header, rule, *rows]
    )


def render(
    tables: Table | Sequence[Table], format: str, layout: Layout | None = None
) -> str:
    r"""Writes a table, or several, as text.

    Args:
      tables: The tables. For 'csv', all must have the same columns.
      format: One of `FORMATS`:
        'plain' has 47.6 ± 1.60;
        'pandoc' is a simple table of pandoc, with $47.6^{1.60}$, as the original prints
        it; 'web' the same with 47.6^1.60^, and 'text' with 47.6^±1.60^, as the
        original's README shows it; names are as they are given, and may be Markdown;
        'markdown' is a pipe table, with 47.6 ± 1.60;
        'latex' is a tabular for the package booktabs, with $47.6^{1.60}$;
        'csv' has a column for every mean and every deviation, and for the facts;
        'json' is a list of an object for every row, null where there is no number.
      layout: What it looks like; not for 'csv' (but for the header) and 'json'.

    Returns:
      The text, without a newline at its end.

    Raises:
      ValueError: If the format is unknown, columns of 'csv' differ, or a width does
        not suffice for 'pandoc' or 'web'.

    Examples:
      >>> from alphanet_jax.results.tables import Row
      >>> table = Table(
      ...     "Toy", ("Name",), ("Few",), (Row(("a_b",), (Value(9.5, 1.0),)),)
      ... )
      >>> print(render(table, "text"))
      Toy:
      ====
      <BLANKLINE>
      Name         Few
      ----  ----------
      a_b   9.5^±1.00^
      >>> print(render(table, "latex", Layout(header=False)))
      a\_b & $9.5^{1.00}$ \\
    """
    if format not in FORMATS:
        raise ValueError(f"format must be one of {FORMATS}, got {format!r}.")
    several = [tables] if isinstance(tables, Table) else list(tables)
    layout = Layout() if layout is None else layout
    if format == "json":
        return json_of(several)
    if format == "csv":
        return csv_of(several, header=layout.header)
    titles = (layout.header and layout.title_alone) or len(several) > 1
    made = [_render(table, _STYLES[format], layout, titles) for table in several]
    return ("\n\n\n" if titles else "\n").join(made)


class _Style(NamedTuple):
    """How one format writes what a table consists of."""

    number: Callable[[str, str | None], str]  # from mean and deviation
    escape: Callable[[str], str]  # what was not written for this format, if need be
    lines: Callable[["_Lines"], list[str]]
    title: Callable[[str], list[str]]
    caption: Callable[[str, str], list[str]]  # from caption and name
    fill: bool  # whether deviations of a column are of the same width
    csv_lines: bool = False  # whether the means may come a second time
    # What a column of numbers is wider than its deviations, whatever is in it; None for
    # columns as wide as what is in them.
    beside: int | None = None


class _Lines(NamedTuple):
    """A table of texts."""

    head: list[str]
    rows: list[list[str]]
    widths: list[int]
    num_labels: int
    header: bool


def _render(table: Table, style: _Style, layout: Layout, titled: bool) -> str:
    lines = style.lines(_texts(table, style, layout))
    title = " ".join(table.title.split())
    before = style.title(title) if titled else []
    after = []
    if table.caption and titled:
        after = style.caption(style.escape(table.caption), table.name)
    if layout.csv_lines and style.csv_lines:
        after += ["", *csv_lines(table)]
        after += [""] * (style.beside is not None)  # as the original ends
    return "\n".join([*before, *lines, *after])


def _texts(table: Table, style: _Style, layout: Layout) -> _Lines:
    """Writes all cells of a table as text."""
    columns: list[list[str]] = []
    widths: list[int] = []
    num_labels = len(table.label_columns)
    for place, heading in enumerate(table.label_columns):
        cells = [heading, *(row.labels[place] for row in table.rows)]
        columns.append([style.escape(cell) for cell in cells])
        widths.append(_width(columns[-1], 0 if place else layout.name_width, style))
    for place, heading in enumerate(table.columns):
        column = [row.cells[place] for row in table.rows]
        stds = [c.std for c in column if isinstance(c, Value) and c.std is not None]
        widest = max((len(f"{std:.2f}") for std in stds), default=0)
        if style.beside is not None and 0 < (layout.sig_width or widest) < widest:
            raise ValueError(
                f"the deviations of column {heading!r} have {widest} characters, and "
                f"there is room for {layout.sig_width}."
            )
        filled = widest if style.fill else 0
        width = filled if layout.sig_width is None else layout.sig_width
        cells = [_cell(cell, style, width) for cell in column]
        columns.append([style.escape(heading), *cells])
        usual = 0
        if style.beside is not None and not layout.num_width:
            usual = style.beside + (width or len("0.00"))
        widths.append(max(_width(columns[-1], layout.num_width, style), usual))
    head, *rows = (list(row) for row in zip(*columns, strict=True))
    return _Lines(head, rows, widths, num_labels, layout.header)


def _width(cells: Sequence[str], asked: int, style: _Style) -> int:
    """Returns the width of a column: as asked for, or as its cells need."""
    longest = max(cells, key=len)
    if style.beside is not None and 0 < asked < len(longest):
        raise ValueError(
            f"{longest!r} has {len(longest)} characters, and its column {asked}."
        )
    return max(len(longest), asked)


def _cell(cell: Value | str | None, style: _Style, sig_width: int) -> str:
    if not isinstance(cell, Value):
        return style.escape(cell or "")
    if math.isnan(cell.mean):
        return "-"
    # No minus before a zero.
    std = None if cell.std is None else f"{cell.std:0{sig_width}.2f}"
    return style.number(f"{cell.mean:z.1f}", std)


def _line_up(cells: Sequence[str], widths: Sequence[int], num_labels: int) -> list[str]:
    """Fills cells with spaces: labels to the left, the others to the right."""
    return [
        cell.ljust(width) if place < num_labels else cell.rjust(width)
        for place, (cell, width) in enumerate(zip(cells, widths, strict=True))
    ]


def _simple_lines(table: _Lines) -> list[str]:
    rule = ["-" * width for width in table.widths]
    rows = [table.head, rule, *table.rows] if table.header else table.rows
    return [
        "  ".join(_line_up(row, table.widths, table.num_labels)).rstrip()
        for row in rows
    ]


def _pipe_lines(table: _Lines) -> list[str]:
    widths = [max(width, 3) for width in table.widths]
    rule = [
        "-" * width if place < table.num_labels else "-" * (width - 1) + ":"
        for place, width in enumerate(widths)
    ]
    rows = [table.head, rule, *table.rows] if table.header else table.rows
    return [
        f"| {' | '.join(_line_up(row, widths, table.num_labels))} |" for row in rows
    ]


def _latex_lines(table: _Lines) -> list[str]:
    def line(row: Sequence[str]) -> str:
        return " & ".join(_line_up(row, table.widths, table.num_labels)) + r" \\"

    rows = [line(row) for row in table.rows]
    if not table.header:
        return rows
    kinds = "l" * table.num_labels + "r" * (len(table.widths) - table.num_labels)
    return [
        rf"\begin{{tabular}}{{{kinds}}}",
        r"\toprule",
        line(table.head),
        r"\midrule",
        *rows,
        r"\bottomrule",
        r"\end{tabular}",
    ]


def _raised(mean: str, std: str | None) -> str:
    return f"${mean}$" if std is None else f"${mean}^{{{std}}}$"


def _underline(title: str) -> list[str]:
    return [title, "=" * len(title), ""]


def _text_caption(caption: str, name: str) -> list[str]:
    return ["", caption]


def _web_caption(caption: str, name: str) -> list[str]:
    return ["", f": {caption}" + f" {{#tbl:{name}}}" * bool(name)]


def _latex_caption(caption: str, name: str) -> list[str]:
    # As a comment: the document decides where to put it.
    return [f"% {caption}"]


_WEB = _Style(
    lambda mean, std: mean if std is None else f"{mean}^{std}^",
    escapes.collapse,
    _simple_lines,
    lambda title: _underline(f"{title}:"),
    _web_caption,
    fill=True,
    csv_lines=True,
    beside=len("00.0^^"),
)
_STYLES = {
    "text": _Style(
        lambda mean, std: mean if std is None else f"{mean}^±{std}^",
        escapes.collapse,
        _simple_lines,
        lambda title: _underline(f"{title}:"),
        _text_caption,
        fill=True,
        csv_lines=True,
    ),
    "plain": _Style(
        lambda mean, std: mean if std is None else f"{mean} ± {std}",
        escapes.collapse,
        _simple_lines,
        _underline,
        _text_caption,
        fill=False,
        csv_lines=True,
    ),
    "markdown": _Style(
        lambda mean, std: mean if std is None else f"{mean} ± {std}",
        escapes.escape_pipe,
        _pipe_lines,
        lambda title: _underline(escapes.escape_markdown(title)),
        _text_caption,
        fill=False,
    ),
    "web": _WEB,
    "pandoc": _WEB._replace(number=_raised, beside=len("$00.0^{}$")),
    "latex": _Style(
        _raised,
        escapes.escape_latex,
        _latex_lines,
        lambda title: [f"% {title}"],
        _latex_caption,
        fill=True,
    ),
}
