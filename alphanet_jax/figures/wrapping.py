"""Text in lines that are no wider than there is room."""

from typing import Any

from alphanet_jax.figures.style import Style

__all__ = ["panel_title", "wrapped"]

_MORE = "..."


def wrapped(
    figure: Any,
    style: Style,
    text: str,
    *,
    width: float,
    size: str = "medium",
    lines: int = 0,
) -> str:
    """Breaks a text into lines, between words where that is possible.

    Args:
      figure: The figure that it is for.
      style: The style.
      text: Any text; it is made safe to draw.
      width: Room for a line, in inches.
      size: Size of the text, one that matplotlib knows.
      lines: Most lines; what is left out is told by dots. 0 for any number.

    Returns:
      The text with line breaks, safe to draw.
    """
    renderer = figure.canvas.get_renderer()
    # Never broken as a formula: names are measured as they are, not as they are told
    # to LaTeX.
    ruler = figure.text(0.0, 0.0, "", fontsize=size, parse_math=False)
    # The fonts of LaTeX are not those measured with.
    room = width * figure.dpi * 0.96

    def fits(line: str) -> bool:
        ruler.set_text(line)
        return not line or ruler.get_window_extent(renderer).width <= room

    broken: list[str] = []
    line = ""
    for word in text.split():
        joined = f"{line} {word}".strip()
        if fits(joined):
            line = joined
            continue
        if line:
            broken.append(line)
        while not fits(word) and len(word) > 1:
            count = max(1, sum(fits(word[:end]) for end in range(1, len(word))))
            broken.append(word[:count])
            word = word[count:]
        line = word
    broken.append(line)
    if lines and len(broken) > lines:
        last = broken[lines - 1] + _MORE
        while not fits(last) and len(last) > len(_MORE):
            last = last[: -len(_MORE) - 1] + _MORE
        broken = [*broken[: lines - 1], last]
    ruler.remove()
    return "\n".join(style.text(part) for part in broken)


def panel_title(figure: Any, axes: Any, style: Style, text: str) -> None:
    """Gives a panel a title, in lines no wider than its part of the figure."""
    place = axes.get_subplotspec()
    columns = place.get_gridspec().ncols
    width = 0.94 * figure.get_figwidth() * len(place.colspan) / columns
    # The axes are narrower than that by the labels of their ticks.
    axes.set_title(wrapped(figure, style, text, width=0.9 * width, lines=3))
