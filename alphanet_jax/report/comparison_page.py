"""The part of the page that shows a comparison."""

from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from alphanet_jax.pages import html
from alphanet_jax.pages.html import tag
from alphanet_jax.results import comparison_file
from alphanet_jax.results.accuracy import PARTS

__all__ = ["render"]


def render(
    found: Mapping[str, Any], figures: Sequence[html.Figure], root: Path, file: str
) -> list[html.Section]:
    """Makes the sections of a comparison.

    Args:
      found: The content of a `compare.json`.
      figures: Its figures.
      root: Directory of the page.
      file: The copy of `compare.json`, relative to the page.
    """
    drawn = "".join(html.figure(one, root) for one in figures)
    content = [_choice(found), drawn]
    for criterion, heads, rows in comparison_file.tables_of(found):
        content.append(tag("h3", escape(criterion)))
        cells = [[escape(cell) for cell in row] for row in rows]
        content.append(html.table(criterion, heads, cells, texts=(0, 1)))
    content.append(
        tag(
            "p",
            f"Intervals of {100 * found['level']:g} % for all differences together; * "
            "where 0 is outside. Worst: the tenth of classes that does worst. S: mean "
            "of accuracy with few weighing 0 to half.",
            class_="note",
        )
    )
    content.append(_mcnemar(found))
    failed = [f"{name} failed: {why}" for name, why in found.get("failed", {}).items()]
    content.append(html.note_list([*found.get("notes", []), *failed]))
    content.append(html.links([("compare.json", file)]))
    title = f"{found['proper_name']}: corrections compared"
    return [html.Section("comparison", title, "".join(content))]


def _choice(found: Mapping[str, Any]) -> str:
    choice = found.get("choice")
    if not choice:
        return ""
    test = ", ".join(
        f"{name} {100 * value:.1f}"
        for name, value in zip(PARTS, choice["test"], strict=True)
        if value is not None
    )
    lines = [*choice["lines"], f"on test data: {test}"]
    return tag("ul", *(tag("li", escape(str(line))) for line in lines))


def _mcnemar(found: Mapping[str, Any]) -> str:
    """Shows the exact tests against the reference, by split."""
    rows, parts = [], []
    for name, entry in found["methods"].items():
        tests = entry.get("mcnemar")
        if not tests:
            continue
        parts = list(tests)
        rows.append(
            [escape(name)]
            + [
                f"{test['only_method']} : {test['only_reference']}"
                + tag("small", f" p {test.get('corrected', test['p_value']):.2g}")
                for test in tests.values()
            ]
        )
    if not rows:
        return ""
    heads = ["Method", *(part.capitalize() for part in parts)]
    title = f"Samples that only the method, or only {found['reference']}, has right"
    return tag("h3", escape(title)) + html.table(title, heads, rows)
