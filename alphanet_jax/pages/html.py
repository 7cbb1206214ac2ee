"""Pieces of pages: elements, tables that scroll, links, figures in both themes.

A page needs nothing but itself: styles and figures are inside. Colors follow the
reader's system until the button at its top is used.
"""

import base64
import importlib.resources
import math
import re
from collections.abc import Collection, Iterable, Sequence
from html import escape
from pathlib import Path
from typing import NamedTuple

from alphanet_jax.results.tables import Value

__all__ = [
    "Figure",
    "Section",
    "box",
    "document",
    "figure",
    "links",
    "note_list",
    "render_value",
    "resource",
    "table",
    "tag",
]

# Points of the smallest text of figures, and pixels that it has on a page at least.
_SMALL_TEXT, _LEAST_TEXT = 7.5, 11.0
_WIDTH = re.compile(r'<svg\b[^>]*?\swidth="([\d.]+)pt"')


class Figure(NamedTuple):
    """A figure of a page."""

    name: str
    title: str
    caption: str
    light: Path  # SVG files for both themes
    dark: Path
    files: tuple[Path, ...]  # all of its files, to link to
    wide: bool = False  # whether it needs the width of the page


class Section(NamedTuple):
    """A part of a page under a heading of its own."""

    name: str  # what links to it say
    title: str
    content: str  # HTML


def tag(name: str, *content: str, **attributes: str | int | None) -> str:
    """Makes an element of content that is HTML already."""
    given = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{escape(str(value))}"'
        for key, value in attributes.items()
        if value not in (None, "")
    )
    return f"<{name}{given}>{''.join(content)}</{name}>"


def render_value(value: Value | None) -> str:
    """Writes a number, with its deviation small."""
    if value is None or math.isnan(value.mean):
        return "-"
    small = "" if value.std is None else tag("small", f" ± {value.std:.2f}")
    return f"{value.mean:z.1f}{small}"


def box(label: str, content: str) -> str:
    """Puts a table into a box that scrolls, within reach of the keyboard."""
    return tag(
        "div", content, class_="scroll", role="region", tabindex=0, aria_label=label
    )


def table(
    title: str,
    heads: Sequence[str],
    rows: Iterable[Sequence[str]],
    *,
    texts: Collection[int] = (0,),
    blocks: Sequence[str] = (),
) -> str:
    """Makes a table of cells that are HTML already.

    Args:
      title: What it is, for readers who hear it.
      heads: Headings of the columns, plain text.
      rows: Cells of each row.
      texts: Numbers of the columns that are text; the first names the row.
      blocks: What each row belongs to; a line is drawn between blocks.

    Returns:
      HTML, in a box that scrolls.
    """
    top = [
        tag("th", escape(text), scope="col", class_="label" * (place in texts))
        for place, text in enumerate(heads)
    ]
    body = []
    for number, row in enumerate(rows):
        cells = [
            tag("th", text, scope="row", class_="label")
            if place == 0
            else tag("td", text, class_="label word" * (place in texts))
            for place, text in enumerate(row)
        ]
        new = bool(blocks) and (number == 0 or blocks[number] != blocks[number - 1])
        body.append(tag("tr", *cells, class_="block" * new))
    head = tag("thead", tag("tr", *top))
    return box(title, tag("table", head, tag("tbody", "\n".join(body))))


def links(paths: Iterable[tuple[str, str]]) -> str:
    """Makes links to files of texts and paths, which are relative to the page."""
    made = [tag("a", escape(text), href=path) for text, path in paths]
    return tag("p", " · ".join(made), class_="links") if made else ""


def note_list(notes: Iterable[str]) -> str:
    """Makes a list of remarks, plain text."""
    items = [tag("li", escape(note)) for note in notes]
    return tag("ul", *items, class_="remarks") if items else ""


def figure(shown: Figure, root: Path) -> str:
    """Makes a figure whose drawings are inside the page.

    They are never so small that their text can't be read: on a phone they scroll.

    Args:
      shown: The figure; its files are read.
      root: Directory of the page, which links are relative to.
    """
    images = [
        tag(
            "img",
            src=_data_uri(path),
            alt=f"{shown.title}. {shown.caption}",
            class_=f"{theme}-only",
            style=f"min-width: {_least_width(path)}px",
        ).removesuffix("</img>")
        for theme, path in (("light", shown.light), ("dark", shown.dark))
    ]
    files = links(
        (path.name.removeprefix(f"{shown.name}."), path.relative_to(root).as_posix())
        for path in shown.files
    )
    caption = tag("p", escape(shown.caption))
    return tag(
        "figure",
        box(shown.title, "".join(images)),
        tag("figcaption", tag("h4", escape(shown.title)), caption, files),
        id=f"figure-{shown.name}",
        class_="wide" if shown.wide else None,
    )


def _least_width(path: Path) -> int:
    """Returns the width, in pixels, at which the text of an SVG can be read."""
    with path.open(encoding="utf-8") as file:
        found = _WIDTH.search(file.read(4096))
    if found is None:
        return 0
    # From its text's size to the least that can be read; pixels are 96 an inch.
    return math.ceil(float(found[1]) * _LEAST_TEXT / _SMALL_TEXT)


def _data_uri(path: Path) -> str:
    data = base64.b64encode(path.read_bytes()).decode()
    return f"data:image/svg+xml;base64,{data}"


def document(title: str, intro: str, sections: Sequence[Section]) -> str:
    """Makes a page.

    Args:
      title: Its title, plain text.
      intro: What it is, HTML.
      sections: Its parts, in their order.

    Returns:
      HTML, with a newline at its end.
    """
    contents = [
        tag("li", tag("a", escape(each.title), href=f"#{each.name}"))
        for each in sections
    ]
    shown = [
        tag(
            "section",
            tag("h2", escape(each.title)),
            each.content,
            id=each.name,
            class_="part",
        )
        for each in sections
    ]
    button = tag("button", "Light or dark", type="button", id="theme", class_="theme")
    header = tag(
        "header",
        tag("div", tag("h1", escape(title)), button, class_="head"),
        tag("p", intro),
    )
    body = [
        header,
        tag("nav", tag("ol", *contents), aria_label="Contents"),
        tag("main", "\n".join(shown)),
        tag("script", resource("page.js")),
    ]
    head = [
        '<meta charset="utf-8">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        '<meta name="color-scheme" content="light dark">',
        tag("title", f"{escape(title)} - AlphaNet in JAX"),
        tag("style", resource("page.css")),
    ]
    return "\n".join(
        [
            "<!DOCTYPE html>",
            '<html lang="en">',
            tag("head", "\n".join(head)),
            tag("body", "\n".join(body)),
            "</html>\n",
        ]
    )


def resource(name: str) -> str:
    """Returns the text of a file beside this one."""
    files = importlib.resources.files("alphanet_jax.pages")
    return "\n" + files.joinpath(name).read_text(encoding="utf-8")
