"""How figures are laid out: panels, their titles and labels, legends, guides.

A kind makes `panels`, draws into them, and has `finish` write what is around them, so
that all figures are of one hand.
"""

import itertools
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from alphanet_jax.errors import UserError, did_you_mean
from alphanet_jax.figures import wrapping
from alphanet_jax.figures.options import LegendOptions
from alphanet_jax.figures.style import CONTEXTS, Style

if TYPE_CHECKING:
    # Also what kinds call the type of what they draw.
    from matplotlib.figure import Figure as Figure

__all__ = [
    "SPLIT_TITLES",
    "columns_that_fit",
    "draw_legend",
    "finish",
    "label_axes",
    "panels",
    "title_panels",
]

SPLIT_TITLES = {
    "few": "Few",
    "medium": "Medium",
    "many": "Many",
    "base": "Base",
    "overall": "Overall",
}

# Inches of a panel with its title and labels, for text of the usual size.
_LEAST_WIDTH = 1.55
_LEAST_HEIGHT = 1.9
_PLACES = (
    *("best", "upper right", "upper left", "lower left", "lower right", "right"),
    *("center left", "center right", "lower center", "upper center", "center"),
)


def draw_legend(
    figure: Any,
    axes: Any,
    handles: Sequence[Any],
    labels: Sequence[str],
    options: LegendOptions | None = None,
) -> None:
    """Draws the legend of a figure.

    Args:
      figure: The figure.
      axes: The axes that the legend is in where it is inside.
      handles: What is explained.
      labels: Its explanations, safe to draw.
      options: Number of columns, and 'above' the axes, 'none', or a place inside.

    Raises:
      UserError: If there is no such place.
    """
    options = options or LegendOptions()
    columns, place = options.legend_ncols, options.legend_loc
    if place == "none":
        return
    if place == "above":
        _draw_above(figure, handles, labels, columns)
    elif place in _PLACES:
        axes.legend(handles, labels, loc=place, ncols=columns or 1)
    else:
        known = ("above", "none", *_PLACES)
        raise UserError(
            f"--legend_loc: unknown place {place!r}; "
            f"{did_you_mean(place, known, most_listed=len(known))}"
        )


def _draw_above(
    figure: Any, handles: Sequence[Any], labels: Sequence[str], columns: int
) -> None:
    """Draws a legend above the axes, with no more columns than have room."""
    import matplotlib as mpl

    # A document's own fonts may be wider than those that are measured here.
    room = figure.bbox.width * (0.99 if mpl.rcParams["pgf.rcfonts"] else 0.9)
    # Rows that are equally long, as far as they can be.
    counts = {-(-len(handles) // rows): None for rows in range(1, len(handles) + 1)}
    for count in [columns] if columns else counts:
        legend = figure.legend(
            handles,
            labels,
            loc="outside upper center",
            ncols=count,
            columnspacing=1.2,
            handletextpad=0.5,
        )
        box = legend.get_window_extent(figure.canvas.get_renderer())
        if count in (1, columns) or box.width < room:
            # Panels stay as high as they are meant to be.
            figure.set_figheight(figure.get_figheight() + box.height / figure.dpi)
            return
        legend.remove()


def panels(
    style: Style,
    count: int,
    *,
    col_wrap: int = 0,
    inches: float = _LEAST_WIDTH,
    aspect: float = 1.5,
    sharex: bool = True,
    sharey: bool = True,
) -> "tuple[Figure, list[Any]]":
    """Makes a figure of panels in rows.

    Args:
      style: The style.
      count: Number of panels.
      col_wrap: Panels in a row; 0 for as many as fit.
      inches: Least width of a panel where as many are to fit.
      aspect: Width by height of a panel, where the style has none and its labels have
        room.
      sharex: Whether all have the same x axis.
      sharey: Whether all have the same y axis.

    Returns:
      The figure and the axes of its panels, row by row.
    """
    import matplotlib.pyplot as plt

    columns = min(col_wrap or columns_that_fit(style, count, inches=inches), count)
    rows = -(-count // columns)
    # However narrow panels are, their titles and labels need the height they need.
    width = style.size()[0] / style.scale / columns
    aspect = min(aspect, width / (_LEAST_HEIGHT * CONTEXTS[style.context]))
    figure, grid = plt.subplots(
        rows,
        columns,
        figsize=style.size(aspect=aspect, rows=rows, columns=columns),
        sharex=sharex,
        sharey=sharey,
        squeeze=False,
    )
    wrapping.renderer_of(figure, style)
    axes = list(grid.flat)
    for extra in axes[count:]:
        extra.set_visible(False)
    # The last of every column has labels, also where the row below is not full.
    for place in range(count):
        if sharex and place + columns >= count:
            axes[place].tick_params(labelbottom=True)
    return figure, axes[:count]


def columns_that_fit(style: Style, count: int, *, inches: float = _LEAST_WIDTH) -> int:
    """Returns how many panels have room in a row.

    Args:
      style: The style.
      count: Number of panels.
      inches: Least width of a panel, for text of the usual size.
    """
    width = style.size()[0] / style.scale
    most = max(1, int(width / (inches * CONTEXTS[style.context])))
    rows = -(-count // most)
    return -(-count // rows)  # rows as long as each other, as far as they can be


def _fit_xticklabels(figure: Any, all_axes: Sequence[Any]) -> None:
    """Turns the labels of x ticks as far as they need; the figure grows by it."""
    figure.draw_without_rendering()
    renderer = figure.canvas.get_renderer()
    more = 0.0
    for axes in all_axes:
        labels = [label for label in axes.get_xticklabels() if label.get_text()]
        # Panels above others have labels that are not shown.
        if len(labels) < 2 or not labels[0].get_visible():
            continue
        boxes = [label.get_window_extent(renderer) for label in labels]
        height = max(box.height for box in boxes)
        if all(a.x1 + 0.7 * height <= b.x0 for a, b in itertools.pairwise(boxes)):
            continue
        places = [axes.transData.transform((x, 0.0))[0] for x in axes.get_xticks()]
        pitch = min(b - a for a, b in itertools.pairwise(places))
        # Slanted lines keep apart by their height, but long ones reach far to the left.
        turn = np.radians(35.0)
        longest = max(box.width for box in boxes) * np.cos(turn)
        slant = pitch * np.sin(turn) >= height and longest < 1.5 * pitch
        for label in labels:
            label.set(
                rotation=35.0 if slant else 90.0,
                ha="right" if slant else "center",
                va="top",
                rotation_mode="anchor" if slant else "default",
            )
        turned = [label.get_window_extent(renderer).height for label in labels]
        more = max(more, max(turned) - height)
    width, height = figure.get_size_inches()
    figure.set_size_inches(width, height + more / figure.dpi)


def label_axes(
    figure: Any, all_axes: Sequence[Any], style: Style, *, x: str = "", y: str = ""
) -> None:
    """Names the axes that panels share: once, in lines that have room.

    One panel has the names itself; for several, and for a y axis without ticks, the
    figure has them. Names are safe to draw; an empty one is left out.
    """
    names = [("x", x), ("y", y)]
    labels = []
    for axis, text in names:
        if not text:
            continue
        ticks = getattr(all_axes[0], f"get_{axis}ticks")()
        own = len(all_axes) == 1 and len(ticks) > 0
        if own:
            label = getattr(all_axes[0], f"set_{axis}label")(text)
        else:
            label = getattr(figure, f"sup{axis}label")(text, fontsize="medium")
        labels.append((axis, label, own))
    figure.draw_without_rendering()
    for axis, label, own in labels:
        place = 0 if axis == "x" else 1
        ends = _ends(all_axes, place)
        if axis == "x" or not own:
            # It may be longer than the panels, as far as the figure goes.
            middle, most = sum(ends) / 2.0, figure.bbox.size[place]
            room = 1.95 * min(middle, most - middle)
        else:
            room = ends[1] - ends[0]
        box = label.get_window_extent(figure.canvas.get_renderer())
        if box.size[place] > room:
            text = wrapping.wrapped_markup(
                figure, style, label.get_text(), width=room / figure.dpi
            )
            label.set_text(text)


def _ends(all_axes: Sequence[Any], place: int) -> tuple[float, float]:
    """Returns where panels begin and end, in pixels, along x (0) or y (1)."""
    boxes = [axes.get_window_extent() for axes in all_axes]
    low, high = (min(box.min[place] for box in boxes), max(b.max[place] for b in boxes))
    return float(low), float(high)


def title_panels(
    figure: Any, all_axes: Sequence[Any], style: Style, titles: Sequence[str]
) -> None:
    """Writes the titles of panels, in several lines where one has no room.

    The figure grows by these lines. Titles are not yet made safe to draw, and whatever
    takes room at the sides of panels must be there already.
    """
    figure.draw_without_rendering()
    renderer = figure.canvas.get_renderer()
    width = figure.bbox.width
    more: dict[int, float] = {}
    for axes, text in zip(all_axes, titles, strict=True):
        title = axes.set_title(style.text(text))
        box = title.get_window_extent(renderer)
        place = axes.get_subplotspec()
        middle = (axes.bbox.x0 + axes.bbox.x1) / 2.0
        columns = place.get_gridspec().ncols
        room = min(0.95 * width / columns, 1.95 * min(middle, width - middle))
        if box.width <= room:
            continue
        title.set_text(wrapping.wrapped(figure, style, text, width=room / figure.dpi))
        taller = title.get_window_extent(renderer).height - box.height
        row = place.rowspan.start
        more[row] = max(more.get(row, 0.0), taller)
    inches, height = figure.get_size_inches()
    figure.set_size_inches(inches, height + sum(more.values()) / figure.dpi)


def finish(
    figure: Any,
    all_axes: Sequence[Any],
    style: Style,
    *,
    x: str = "",
    y: str = "",
    titles: Sequence[str] = (),
    handles: Sequence[Any] = (),
    labels: Sequence[str] = (),
    legend: LegendOptions | None = None,
    turn_xticklabels: bool = False,
) -> None:
    """Writes what is around panels, when all is drawn in them.

    The figure grows by a legend above, by titles of several lines, and by labels of
    ticks that are turned. Each is measured when all that takes room beside it is there.

    Args:
      figure: The figure.
      all_axes: Axes of its panels, row by row.
      style: The style.
      x: Name of the x axis that panels share, safe to draw; empty for none.
      y: Name of the y axis, likewise.
      titles: A title for each panel, not yet made safe to draw; one panel needs none.
      handles: What the legend explains; without any there is no legend.
      labels: Its explanations, safe to draw.
      legend: Options of the legend.
      turn_xticklabels: Whether labels of x ticks are turned where they would meet.

    Raises:
      UserError: If the legend has no such place.
    """
    label_axes(figure, all_axes, style, x=x, y=y)
    if len(titles) > 1:
        title_panels(figure, all_axes, style, titles)
    if handles:
        draw_legend(figure, all_axes[0], handles, labels, legend)
    if turn_xticklabels:
        _fit_xticklabels(figure, all_axes)
    if getattr(figure, "_supxlabel", None) or getattr(figure, "_supylabel", None):
        # Beside the middle of panels, not of all that is around them.
        figure.draw_without_rendering()
        for place, name in enumerate("xy"):
            label = getattr(figure, f"_sup{name}label", None)
            if label is not None:
                middle = sum(_ends(all_axes, place)) / 2.0 / figure.bbox.size[place]
                getattr(label, f"set_{name}")(middle)
