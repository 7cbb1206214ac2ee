"""Text in lines that are no wider than there is room."""

from collections.abc import Callable
from typing import Any

from alphanet_jax.figures.style import Style

__all__ = ["panel_title", "text_ruler", "wrapped", "y_label"]

_MORE = "..."


def text_ruler(
    figure: Any, style: Style, *, size: str | float = "medium"
) -> Callable[[str], tuple[float, float]]:
    """Gives a function that measures texts as they will be drawn.

    Args:
      figure: The figure that they are for.
      style: Its style: LaTeX, with fonts of its own, measures what it sets.
      size: Size of the text, in points or one that matplotlib knows.

    Returns:
      A function from a text, safe to draw, to its width and height in inches.
    """
    from matplotlib.text import Text

    if style.format == "pgf":
        from matplotlib.backends.backend_pgf import RendererPgf

        renderer = RendererPgf(figure, None)
    else:
        renderer = figure.canvas.get_renderer()

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

    Args:
      figure: The figure that it is for.
      style: The style.
      text: Any text; it is made safe to draw.
      width: Room for a line, in inches.
      size: Size of the text, in points or one that matplotlib knows.
      lines: Most lines; what is left out is told by dots. 0 for any number.

    Returns:
      The text with line breaks, safe to draw.
    """
    measure = text_ruler(figure, style, size=size)

    def fits(line: str) -> bool:
        return measure(style.text(line))[0] <= width

    broken: list[str] = []
    line = ""
    for word in text.split():
        joined = f"{line} {word}".strip()
        if fits(joined):
            line = joined
            continue
        if line:
            broken.append(line)
        line = word
        while len(line) > 1 and not fits(line):
            end = len(line) - 1
            while end > 1 and not fits(line[:end]):
                end -= 1
            broken.append(line[:end])
            line = line[end:]
    broken.append(line)
    if lines and len(broken) > lines:
        last = broken[lines - 1]
        while last and not fits(last + _MORE):
            last = last[:-1]
        broken = [*broken[: lines - 1], last + _MORE]
    return "\n".join(style.text(part) for part in broken)


def panel_title(figure: Any, axes: Any, style: Style, text: str) -> None:
    """Gives a panel a title, in lines about as wide as its axes, three at most."""
    import matplotlib as mpl

    place = axes.get_subplotspec()
    part = len(place.colspan) / place.get_gridspec().ncols
    # A label of the y axis in two lines, and the labels of the panel's own ticks.
    em = mpl.rcParams["font.size"] / 72.0
    width = part * (figure.get_figwidth() - 3.0 * em) - 2.5 * em
    width = max(width, 3.0 * em)
    axes.set_title(wrapped(figure, style, text, width=width, lines=3))


def y_label(figure: Any, style: Style, text: str, *, axes: Any = None) -> None:
    """Names the y axis, of all panels or of one, in lines no longer than it is high.

    To be called before there is a legend above, while the figure is as high as its
    panels.
    """
    import matplotlib as mpl

    rows = axes.get_subplotspec().get_gridspec().nrows if axes is not None else 1
    # That of one panel is beside it alone, not beside what is below.
    below = 0.0 if axes is None else 2.5 * mpl.rcParams["font.size"] / 72.0
    height = 0.96 * figure.get_figheight() / rows - below
    label = wrapped(figure, style, text, width=height, lines=3)
    if axes is None:
        figure.supylabel(label, fontsize="medium")
    else:
        axes.set_ylabel(label)
