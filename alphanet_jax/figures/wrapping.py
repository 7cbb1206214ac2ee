"""Text measured, and broken into lines that are no wider than there is room."""

import collections
import functools
import re
from collections.abc import Callable, Sequence
from typing import Any

from alphanet_jax.figures.style import Style

__all__ = ["renderer_of", "short_names", "text_ruler", "wrapped", "wrapped_markup"]

_MORE = "..."


def short_names(names: Sequence[str]) -> dict[str, str]:
    """Returns the first of names that list synonyms, where no other has that, too.

    Examples:
      >>> short_names(["maillot, tank suit", "crane, bird"])
      {'maillot, tank suit': 'maillot', 'crane, bird': 'crane'}
      >>> short_names(["crane, bird", "crane, machine"])
      {'crane, bird': 'crane, bird', 'crane, machine': 'crane, machine'}
    """
    first = {name: name.partition(",")[0].strip() or name for name in names}
    known = collections.Counter(first.values())
    return {name: first[name] if known[first[name]] == 1 else name for name in first}


def renderer_of(figure: Any, style: Style) -> Any:
    """Returns the renderer that measures the text of a figure as it will be drawn.

    LaTeX, with fonts of its own, measures what it sets.
    """
    if style.format == "pgf":
        from matplotlib.backends.backend_pgf import FigureCanvasPgf

        if not isinstance(figure.canvas, FigureCanvasPgf):
            FigureCanvasPgf(figure)
    return figure.canvas.get_renderer()


def text_ruler(
    figure: Any, style: Style, *, size: str | float = "medium"
) -> Callable[[str], tuple[float, float]]:
    """Returns a function that measures texts as they will be drawn.

    Args:
      figure: The figure that they are for.
      style: Its style.
      size: Size of the text, in points or as a name of matplotlib.

    Returns:
      A function from a text, safe to draw, to its width and height in inches.
    """
    from matplotlib.text import Text

    renderer = renderer_of(figure, style)

    @functools.cache
    def measure(text: str) -> tuple[float, float]:
        if not text:
            return 0.0, 0.0
        artist = Text(0.0, 0.0, text, fontsize=size, figure=figure)
        box = artist.get_window_extent(renderer)
        return box.width / figure.dpi, box.height / figure.dpi

    return measure


def wrapped(
    figure: Any,
    style: Style,
    text: str,
    *,
    width: float,
    size: str | float = "medium",
    lines: int = 0,
) -> str:
    """Breaks a text into lines, between words where that is possible.

    Lines are as few as can be, and then as equally long.

    Args:
      figure: The figure that it is for.
      style: The style.
      text: Any text; it is made safe to draw.
      width: Room for a line, in inches.
      size: Size of the text, in points or as a name of matplotlib.
      lines: Most lines; dots stand for what is left out. 0 for any number.

    Returns:
      The text with line breaks, safe to draw.
    """
    ruler = text_ruler(figure, style, size=size)

    def measure(line: str) -> float:
        return ruler(style.text(line))[0]

    broken = _broken(text.split(), measure, width)
    if lines and len(broken) > lines:
        last = broken[lines - 1]
        while last and measure(last + _MORE) > width:
            last = last[:-1]
        broken = [*broken[: lines - 1], last + _MORE]
    else:
        broken = _evened(text.split(), measure, broken)
    return "\n".join(style.text(part) for part in broken)


def wrapped_markup(
    figure: Any,
    style: Style,
    text: str,
    *,
    width: float,
    size: str | float = "medium",
) -> str:
    """Breaks a text that is safe to draw already, between words alone.

    Args:
      figure: The figure that it is for.
      style: The style.
      text: The text; formulas with spaces are not broken.
      width: Room for a line, in inches.
      size: Size of the text, in points or as a name of matplotlib.
    """
    ruler = text_ruler(figure, style, size=size)
    # Every other part is a formula, which must not be torn.
    parts = re.split(r"(?<!\\)(\$.*?(?<!\\)\$)", text)
    words = "".join(
        part.replace(" ", "\0") if i % 2 else part for i, part in enumerate(parts)
    ).split()
    words = [word.replace("\0", " ") for word in words]

    def measure(line: str) -> float:
        return ruler(line)[0]

    broken = _broken(words, measure, width, tear=False)
    return "\n".join(_evened(words, measure, broken))


def _broken(
    words: list[str],
    measure: Callable[[str], float],
    width: float,
    *,
    tear: bool = True,
) -> list[str]:
    """Fills line after line; with `tear`, also breaks words that are too wide."""
    broken: list[str] = []
    line = ""
    for word in words:
        joined = f"{line} {word}".strip()
        if measure(joined) <= width:
            line = joined
            continue
        if line:
            broken.append(line)
        line = word
        while tear and len(line) > 1 and measure(line) > width:
            end = len(line) - 1
            while end > 1 and measure(line[:end]) > width:
                end -= 1
            broken.append(line[:end])
            line = line[end:]
    return [*broken, line]


def _evened(
    words: list[str], measure: Callable[[str], float], broken: list[str]
) -> list[str]:
    """Makes as many lines more equally long, if no word was torn."""
    while len(broken) > 1:
        width = max(map(measure, broken))
        narrower = _broken(words, measure, width * (1.0 - 1e-6), tear=False)
        if len(narrower) > len(broken) or max(map(measure, narrower)) >= width:
            break
        broken = narrower
    return broken
