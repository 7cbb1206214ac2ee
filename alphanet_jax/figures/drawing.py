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
from alphanet_jax.figures.labels import ends_of_panels, label_axes
from alphanet_jax.figures.options import LegendOptions
from alphanet_jax.figures.settling import settle
from alphanet_jax.figures.style import CONTEXTS, Style

if TYPE_CHECKING:
    # Also what kinds call the type of what they draw.
    from matplotlib.figure import Figure as Figure

__all__ = [
    "OUTSIDE",
    "SPLIT_TITLES",
    "columns_that_fit",
    "draw_legend",
    "finish",
    "grow",
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
# In a figure of a given height, panels may be as narrow. About so much width and height
# is around all panels, and around each.
_LEAST_NARROW = 1.0
_AROUND, _LABELS = (0.35, 0.45), (0.3, 0.35)
# Where a legend is that is not inside of a panel.
OUTSIDE = ("above", "beside", "none")
_PLACES = (
    *("best", "upper right", "upper left", "lower left", "lower right", "right"),
    *("center left", "center right", "lower center", "upper center", "center"),
)


def grow(figure: Any, style: Style, inches: float) -> None:
    """Makes a figure higher, so that its panels stay as high as they are meant to be.

    One whose height the style has keeps it: panels have what is left.
    """
    if style.aspect is None:
        width, height = figure.get_size_inches()
        figure.set_size_inches(width, height + inches)


def draw_legend(
    figure: Any,
    axes: Any,
    style: Style,
    handles: Sequence[Any],
    labels: Sequence[str],
    options: LegendOptions | None = None,
) -> None:
    """Draws the legend of a figure.

    Args:
      figure: The figure.
      axes: The axes that the legend is in where it is inside.
      style: The style.
      handles: What is explained.
      labels: Its explanations, safe to draw.
      options: Number of columns, and 'above' the axes, 'beside' them, 'none', or a
        place inside, and what that is a place of.

    Raises:
      UserError: If there is no such place.
    """
    options = options or LegendOptions()
    _check_place(options)
    columns, place = options.legend_ncols, options.legend_loc
    anchor = options.legend_bbox_to_anchor
    if place == "above":
        _draw_above(figure, style, handles, labels, columns)
    elif place == "beside":
        _draw_beside(figure, handles, labels, columns)
    elif place in _PLACES:
        legend = axes.legend(
            handles,
            labels,
            loc=place,
            ncols=columns or 1,
            bbox_to_anchor=None if anchor is None else tuple(anchor),
            # Seen on whatever it lies.
            frameon=not style.transparent,
            framealpha=0.8,
            facecolor=style.background,
            edgecolor="none",
            borderpad=0.2,
        )
        legend.set_zorder(6)


def _check_place(options: LegendOptions) -> None:
    """Checks where a legend is to be.

    Raises:
      UserError: If there is no such place.
    """
    place, anchor = options.legend_loc, options.legend_bbox_to_anchor
    known = (*OUTSIDE, *_PLACES)
    if place not in known:
        raise UserError(
            f"--legend_loc: unknown place {place!r}; "
            f"{did_you_mean(place, known, most_listed=len(known))}"
        )
    if anchor is not None and (place not in _PLACES or len(anchor) not in (2, 4)):
        raise UserError(
            "--legend_bbox_to_anchor takes an x and a y, or also a width and a height, "
            "and a --legend_loc inside, such as 'upper left'; got "
            f"{' '.join(f'{part:g}' for part in anchor)} and --legend_loc={place!r}"
        )


def _draw_beside(
    figure: Any, handles: Sequence[Any], labels: Sequence[str], columns: int
) -> None:
    """Draws a legend beside the axes, in as few columns as are not too high."""
    for count in [columns] if columns else range(1, len(handles) + 1):
        legend = figure.legend(
            handles,
            labels,
            loc="outside right center",
            ncols=count,
            columnspacing=1.0,
            handletextpad=0.5,
        )
        box = legend.get_window_extent(figure.canvas.get_renderer())
        if columns or box.height <= figure.bbox.height:
            return
        if box.width > 0.7 * figure.bbox.width:
            return  # no room for panels with any more
        legend.remove()


def _draw_above(
    figure: Any,
    style: Style,
    handles: Sequence[Any],
    labels: Sequence[str],
    columns: int,
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
            grow(figure, style, box.height / figure.dpi)
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
      aspect: Width by height of a panel, where the style has none, nor one of the
        figure, and its labels have room.
      sharex: Whether all have the same x axis.
      sharey: Whether all have the same y axis.

    Returns:
      The figure and the axes of its panels, row by row.
    """
    import matplotlib.pyplot as plt

    columns = col_wrap or columns_that_fit(style, count, inches=inches, aspect=aspect)
    columns = min(columns, count)
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


def columns_that_fit(
    style: Style, count: int, *, inches: float = _LEAST_WIDTH, aspect: float = 1.5
) -> int:
    """Returns how many panels have room in a row.

    Args:
      style: The style.
      count: Number of panels.
      inches: Least width of a panel, for text of the usual size.
      aspect: Width by height that a panel is meant to have: in a figure of a given
        height, rows are as many as come nearest.
    """
    unit = CONTEXTS[style.context]
    # Rather narrow panels than low ones, where the figure does not grow.
    least = inches if style.aspect is None else min(inches, _LEAST_NARROW)
    width, height = (size / style.scale / unit for size in style.size())
    most = min(count, max(1, int(width / least)))
    fewest = -(-count // most)
    # Rows as long as each other, as far as they can be.
    columns = [-(-count // rows) for rows in range(fewest, count + 1)]
    if style.aspect is None:
        return columns[0]

    def is_off(number: int) -> float:
        rows = -(-count // number)
        wide = max((width - _AROUND[0]) / number - _LABELS[0], 0.01)
        high = max((height - _AROUND[1]) / rows - _LABELS[1], 0.01)
        # Also what the last row has no panels for, and how much is missing to the
        # least width.
        unused, missing = rows * number / count, max(inches * number / width, 1.0)
        return float(abs(np.log(wide / high / aspect)) + np.log(unused * missing))

    return min(columns, key=is_off)


def _fit_xticklabels(figure: Any, all_axes: Sequence[Any], style: Style) -> None:
    """Turns the labels of x ticks as far as they need; the figure grows by it."""
    settle(figure)
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
    grow(figure, style, more / figure.dpi)


def _thin_log_labels(figure: Any) -> None:
    """Leaves labels of log axes out where they would meet."""
    logs = [
        (place, axis)
        for axes in figure.axes
        for place, axis in enumerate((axes.xaxis, axes.yaxis))
        if axis.get_scale() == "log"
    ]
    if not logs:
        return
    settle(figure)
    renderer = figure.canvas.get_renderer()
    for place, axis in logs:
        last = -np.inf
        for tick in sorted(axis.get_major_ticks(), key=lambda tick: tick.get_loc()):
            for label in (tick.label1, tick.label2):
                if not (label.get_visible() and label.get_text()):
                    continue
                box = label.get_window_extent(renderer)
                # Digits have no room below them: lines may be close.
                if box.min[place] < last + (0.4, -0.1)[place] * box.height:
                    label.set_visible(False)
                else:
                    last = box.max[place]


def title_panels(
    figure: Any, all_axes: Sequence[Any], style: Style, titles: Sequence[str]
) -> None:
    """Writes the titles of panels, in several lines where one has no room.

    The figure grows by these lines. Titles are not yet made safe to draw, and whatever
    takes room at the sides of panels must be there already.
    """
    settle(figure)
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
    grow(figure, style, sum(more.values()) / figure.dpi)


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
    legend_axes: Any = None,
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
      legend_axes: What a legend inside is in; by default the first panel.
      turn_xticklabels: Whether labels of x ticks are turned where they would meet.

    Raises:
      UserError: If the legend has no such place.
    """
    if legend is not None:
        _check_place(legend)
    legend_axes = all_axes[0] if legend_axes is None else legend_axes
    # A figure that does not grow has only so much room beside its legend.
    early = style.aspect is not None
    if handles and early:
        draw_legend(figure, legend_axes, style, handles, labels, legend)
    label_axes(figure, all_axes, style, x=x, y=y)
    if len(titles) > 1:
        title_panels(figure, all_axes, style, titles)
    if handles and not early:
        draw_legend(figure, legend_axes, style, handles, labels, legend)
    _thin_log_labels(figure)
    if turn_xticklabels:
        _fit_xticklabels(figure, all_axes, style)
    if getattr(figure, "_supxlabel", None) or getattr(figure, "_supylabel", None):
        # Beside the middle of panels, not of all that is around them.
        settle(figure)
        for place, name in enumerate("xy"):
            label = getattr(figure, f"_sup{name}label", None)
            if label is not None:
                middle = (
                    sum(ends_of_panels(all_axes, place)) / 2.0 / figure.bbox.size[place]
                )
                getattr(label, f"set_{name}")(middle)
