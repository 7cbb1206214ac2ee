"""One HTML file with everything: what was run, tables, and figures.

It needs nothing but itself: styles and figures are inside. Colors follow the reader's
system until the button at its top is used.
"""

import dataclasses
from collections.abc import Iterable, Sequence
from html import escape
from pathlib import Path
from typing import NamedTuple

from alphanet_jax.pages import html
from alphanet_jax.pages.html import render_value, tag
from alphanet_jax.paper import published
from alphanet_jax.paper.compared import (
    COLUMNS,
    Compared,
    ComparedRow,
    ComparedTable,
    difference_text,
)
from alphanet_jax.results.tables import Table, Value

__all__ = ["Content", "DatasetStatus", "PageFigure", "noise_text", "render_page"]

# Differences of more standard errors than this are marked.
_FAR = 3.0


class DatasetStatus(NamedTuple):
    """What is there of a dataset."""

    name: str
    proper_name: str
    points: int  # results that are there
    points_in_all: int
    runs: int
    remark: str = ""  # why some are missing


class PageFigure(NamedTuple):
    """A figure of the page, and the heading that it is under."""

    section: str
    figure: html.Figure


@dataclasses.dataclass(frozen=True)
class Content:
    """What the page shows.

    Attributes:
      settings: What was run and how: names and texts.
      datasets: What is there of each dataset.
      tables: Tables of accuracy.
      static: Tables of facts.
      figures: Figures.
      remarks: What went wrong, or was left out.
      formats: Endings of the files that tables are in, below `tables/`.
      root: Directory of the page, which links are relative to.
    """

    settings: Sequence[tuple[str, str]]
    datasets: Sequence[DatasetStatus]
    tables: Sequence[ComparedTable]
    static: Sequence[Table]
    figures: Sequence[PageFigure]
    remarks: Sequence[str]
    formats: Sequence[str]
    root: Path


def noise_text() -> str:
    """Describes how far two sets of runs of one setting are apart in the paper."""
    repeats = published.independent_repeats()
    most = {
        metric: [
            max(abs(r.differences[place]) for r in repeats if r.metric == metric)
            for place in range(len(COLUMNS))
        ]
        for metric in ("top1", "top5")
    }
    rhos = ", ".join(f"{r.rho:g}" for r in repeats if r.metric == "top1")
    top1, top5 = (
        ", ".join(
            f"{value:.1f} ({name.lower()})"
            for value, name in zip(most[metric], COLUMNS, strict=True)
        )
        for metric in ("top1", "top5")
    )
    return (
        "The paper has one setting twice, with different runs: ImageNet-LT with cRT "
        f"and 5 nearest neighbors at rho {rhos} is in the tables against rho and in "
        "those against the number of neighbors. Its means of ten runs differ there by "
        f"up to {top1} points in top-1 and {top5} in top-5 accuracy. A difference of "
        "that size means nothing."
    )


def _agreement(tables: Iterable[ComparedTable]) -> str:
    """Counts how many numbers are how far from the paper's."""
    errors = [
        abs(cell.errors)
        for table in tables
        for row in table.rows
        for cell in row.cells
        if cell.errors is not None
    ]
    if not errors:
        return (
            "None of the numbers here can be compared with the paper's yet: the data "
            "of none of its datasets is there."
        )
    near = [sum(error <= limit for error in errors) for limit in (2.0, _FAR)]
    return (
        f"Of {len(errors)} means that the paper has too, {near[0]} lie within 2 "
        f"standard errors of it and {near[1]} within 3; the farthest is "
        f"{max(errors):.1f} away."
    )


# --- Pieces ---------------------------------------------------------------------------


def _cells(cell: Compared, has_paper: bool) -> str:
    ours = tag("td", render_value(cell.ours), class_="ours")
    if not has_paper:
        return ours
    text, bracket, errors = difference_text(cell).partition(" (")
    small = tag("small", f" {errors.rstrip(')')}") if bracket else ""
    far = cell.errors is not None and abs(cell.errors) > _FAR
    return (
        ours
        + tag("td", render_value(cell.paper), class_="paper")
        + tag("td", text, small, class_="far" if far else "near")
    )


def _accuracy_table(table: ComparedTable) -> str:
    def head(text: str, **more: str | int | None) -> str:
        return tag("th", escape(text), scope="col", **more)

    if table.has_paper:
        top = [head(name, rowspan=2, class_="label") for name in table.label_columns]
        top += [
            tag("th", name, scope="colgroup", colspan=3, class_="first")
            for name in COLUMNS
        ]
        below = head("ours", class_="first") + head("paper") + head("difference")
        rows = [tag("tr", *top), tag("tr", below * len(COLUMNS))]
    else:
        labels = [head(name, class_="label") for name in table.label_columns]
        rows = [tag("tr", *labels, *(head(name, class_="first") for name in COLUMNS))]
    body = []
    for place, row in enumerate(table.rows):
        new = place == 0 or row.block != table.rows[place - 1].block
        body.append(_row(row, table.has_paper, "block" if new else None))
    made = tag("table", tag("thead", *rows), tag("tbody", "\n".join(body)))
    return html.box(table.title, made)


def _row(row: ComparedRow, has_paper: bool, class_: str | None) -> str:
    labels = [
        tag("th", escape(label), scope="row", class_="label") for label in row.labels
    ]
    cells = [_cells(cell, has_paper) for cell in row.cells]
    return tag("tr", *labels, *cells, class_=class_)


def _plain_table(table: Table) -> str:
    heads = [
        tag("th", escape(name), scope="col", class_="label")
        for name in table.label_columns
    ] + [tag("th", escape(name), scope="col") for name in table.columns]
    body = []
    for row in table.rows:
        cells = [
            tag("th", escape(label), scope="row", class_="label")
            if place == 0
            else tag("td", escape(label), class_="label")
            for place, label in enumerate(row.labels)
        ]
        for cell in row.cells:
            text = render_value(cell) if isinstance(cell, Value) else escape(cell or "")
            cells.append(tag("td", text))
        body.append(tag("tr", *cells))
    made = tag("table", tag("thead", tag("tr", *heads)), tag("tbody", "\n".join(body)))
    return html.box(table.title, made)


def _table_files(name: str, formats: Sequence[str]) -> str:
    return html.links((ending, f"tables/{name}.{ending}") for ending in formats)


def _has_ours(table: ComparedTable) -> bool:
    return any(row.has_ours for row in table.rows)


def _show_table(table: ComparedTable, formats: Sequence[str]) -> str:
    notes = [tag("p", escape(note), class_="note") for note in table.notes]
    content = [
        tag("p", escape(table.caption)),
        _accuracy_table(table),
        *notes,
        _table_files(table.name, formats),
    ]
    if _has_ours(table):
        return tag("section", tag("h3", escape(table.title)), *content, id=table.name)
    # What has no numbers of ours takes little room.
    summary = tag(
        "summary",
        tag("h3", escape(table.title)),
        tag("span", "paper only", class_="tag"),
    )
    return tag("section", tag("details", summary, *content), id=table.name)


def _show_facts(table: Table, formats: Sequence[str]) -> str:
    return tag(
        "section",
        tag("h3", escape(table.title)),
        tag("p", escape(table.caption)),
        _plain_table(table),
        _table_files(table.name, formats),
        id=table.name,
    )


def _status_table(datasets: Sequence[DatasetStatus]) -> str:
    rows = []
    for status in datasets:
        state = f"{status.points} of {status.points_in_all}"
        cells = [tag("th", escape(status.proper_name), scope="row", class_="label")]
        cells.append(tag("td", tag("code", escape(status.name)), class_="label"))
        cells.append(tag("td", state if status.points_in_all else "-"))
        cells.append(tag("td", f"{status.runs:,}" if status.runs else "-"))
        cells.append(tag("td", escape(status.remark), class_="label"))
        rows.append(tag("tr", *cells))
    heads = [
        tag("th", name, scope="col", class_="label" if place in (0, 1, 4) else "")
        for place, name in enumerate(
            ("Dataset", "In the registry", "Settings", "Runs", "Remark")
        )
    ]
    made = tag("table", tag("thead", tag("tr", *heads)), tag("tbody", "\n".join(rows)))
    return html.box("Datasets", made)


# --- The page -------------------------------------------------------------------------


def render_page(content: Content) -> str:
    """Makes the page.

    Args:
      content: What it shows; the files of its figures are read.

    Returns:
      HTML, with a newline at its end.
    """
    own = [table for table in content.tables if not table.has_paper]
    paper = [table for table in content.tables if table.has_paper]
    parts = {
        "paper-tables": ("Tables of the paper", _table_section(paper, content)),
        "own-tables": (
            "Tables of other datasets and comparisons",
            _table_section(own, content),
        ),
        "figures": ("Figures", _figure_section(content)),
        "facts": (
            "Datasets and settings",
            "\n".join(_show_facts(table, content.formats) for table in content.static),
        ),
    }
    order = list(parts)
    if not any(map(_has_ours, paper)):  # what was run comes before what was not
        order = ["own-tables", "figures", "paper-tables", "facts"]
    sections = [
        html.Section("run", "What was run", _run_section(content)),
        html.Section(
            "differences", "How to read differences", _difference_section(content)
        ),
        *(html.Section(name, *parts[name]) for name in order if parts[name][1]),
    ]
    title = "The paper's experiments"
    intro = "".join(
        [
            "AlphaNet mends the rare classes of a trained long-tailed classifier. This "
            "page has the tables and figures of the paper (",
            tag("a", "arXiv 2008.07073", href="https://arxiv.org/abs/2008.07073"),
            "), computed here, each number beside the one published where there is "
            "one.",
        ]
    )
    return html.document(title, intro, sections)


def _table_section(tables: Sequence[ComparedTable], content: Content) -> str:
    if not tables:
        return ""
    shown = [_show_table(table, content.formats) for table in tables]
    return "\n".join([_contents(tables), *shown])


def _figure_section(content: Content) -> str:
    made = []
    for heading in dict.fromkeys(one.section for one in content.figures):
        shown = [
            html.figure(one.figure, content.root)
            for one in content.figures
            if one.section == heading
        ]
        made.append(tag("h3", escape(heading)))
        made.append(tag("div", "\n".join(shown), class_="figures"))
    return "\n".join(made)


def _run_section(content: Content) -> str:
    settings = [
        tag("div", tag("dt", escape(name)), tag("dd", escape(text)))
        for name, text in content.settings
    ]
    return "\n".join(
        [
            tag("dl", *settings),
            _status_table(content.datasets),
            html.note_list(content.remarks),
        ]
    )


def _difference_section(content: Content) -> str:
    paragraphs = [
        "Differences are ours less the paper's, in points, and in standard errors (se) "
        "of both means: the square root of the sum of both variances, each divided by "
        "its number of runs. The unchanged classifier is evaluated once, so its "
        f"difference has no standard error. More than {_FAR:g} standard errors are "
        "marked.",
        noise_text(),
        _agreement(content.tables),
    ]
    return "".join(tag("p", escape(text)) for text in paragraphs)


def _contents(tables: Sequence[ComparedTable]) -> str:
    items = [
        tag("li", tag("a", escape(table.title), href=f"#{table.name}"))
        for table in tables
    ]
    return tag("ul", *items, class_="contents")
