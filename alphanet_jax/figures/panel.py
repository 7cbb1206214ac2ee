"""What is done in a panel: scales and ticks, guides, lines with bands, notes."""

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np

from alphanet_jax.errors import UserError
from alphanet_jax.figures import wrapping
from alphanet_jax.figures.drawing import SPLIT_TITLES
from alphanet_jax.figures.numbers import Columns
from alphanet_jax.figures.settling import settle
from alphanet_jax.figures.style import Style

__all__ = [
    "CORNERS",
    "draw_band",
    "draw_guide",
    "emptiest_corner",
    "label_log",
    "limit_bands",
    "make_room_for_notes",
    "note_box",
    "set_ticks",
    "spell_splits",
    "zero_line",
]

# Part of the height of a panel that notes may take.
_MOST_OF_NOTES = 0.45
CORNERS = ("upper right", "upper left", "lower left", "lower right")


def zero_line(axes: Any, style: Style, *, vertical: bool = False) -> None:
    """Draws a guide at zero, behind everything."""
    import matplotlib as mpl

    line = axes.axvline if vertical else axes.axhline
    width = 0.6 * mpl.rcParams["lines.linewidth"]
    line(0.0, color=style.secondary, linewidth=width, linestyle=(0, (4, 3)), zorder=0)


def label_log(axis: Any, values: np.ndarray) -> None:
    """Labels a log axis with plain numbers: 10, 100 or, where that is few, 20, 50.

    Args:
      axis: The axis, already logarithmic.
      values: What is on it, positive.
    """
    from matplotlib import ticker

    low, high = float(values.min()), float(values.max())
    # Between 2 and 4 samples are 3, not 2.5.
    whole = bool(np.allclose([low, high], np.round([low, high]), rtol=1e-6, atol=0.0))
    decades = 10.0 ** np.arange(np.floor(np.log10(low)), np.ceil(np.log10(high)) + 1)
    candidates: tuple[np.ndarray, ...] = (
        decades,
        np.outer(decades, (1.0, 2.0, 5.0)).ravel(),
        np.asarray(ticker.MaxNLocator(4, integer=whole).tick_values(low, high)),
        np.unique([low, high]),
    )
    if low == high:
        candidates = (np.array([low]),)
    for ticks in candidates:
        inside = ticks[(ticks >= 0.99 * low) & (ticks <= 1.01 * high)]
        if len(inside) > 1:
            break
    axis.set_ticks(inside, [f"{tick:,.6g}" for tick in inside])
    axis.set_minor_locator(ticker.LogLocator(subs=range(2, 10)))
    axis.set_minor_formatter(ticker.NullFormatter())


def note_box(style: Style) -> dict[str, Any]:
    """Returns the looks of the box behind a note, so that it can be read among data."""
    return {
        "facecolor": style.background,
        "alpha": 0.0 if style.transparent else 0.75,
        "linewidth": 0,
        "pad": 0.6,
    }


def spell_splits(figure: Any, all_axes: Sequence[Any], style: Style) -> None:
    """Writes the names of splits on x axes in one line, if there is room, else shorter.

    Args:
      figure: The figure.
      all_axes: Its panels, whose ticks are the names, each with a count below or none.
      style: The style.
    """
    import matplotlib as mpl

    settle(figure)
    renderer = wrapping.renderer_of(figure, style)
    gap = 0.5 * mpl.rcParams["legend.fontsize"] * figure.dpi / 72.0
    long = SPLIT_TITLES["medium"]
    texts = {
        axes: [label.get_text() for label in axes.get_xticklabels()]
        for axes in all_axes
        if axes.get_xticklabels()
    }
    for join, medium in ((" ", long), ("\n", long), ("\n", "Med."), ("", "Med.")):
        boxes = []
        for axes, labels in texts.items():
            # Where counts have no room, the name is all.
            spelled = [
                label.replace("\n", join).replace(long, medium)
                if join
                else label.partition("\n")[0].replace(long, medium)
                for label in labels
            ]
            axes.set_xticks(axes.get_xticks(), spelled)
            boxes.append(
                [label.get_window_extent(renderer) for label in axes.get_xticklabels()]
            )
        # Panels are as wide as their labels leave them, below and at their right.
        if all(a.x1 + gap <= b.x0 for row in boxes for a, b in itertools.pairwise(row)):
            return


def set_ticks(
    axes: Any,
    axis: str,
    style: Style,
    *,
    ticks: Sequence[float] | None,
    labels: Sequence[str] | None,
    flag: str,
) -> None:
    """Sets the ticks of an axis where any are given.

    Args:
      axes: The axes.
      axis: 'x' or 'y'.
      style: The style.
      ticks: Where ticks are.
      labels: Their labels, not yet made safe to draw; by default their values.
      flag: Name of the option of the ticks, such as 'xticks'.

    Raises:
      UserError: If there are not as many labels as ticks.
    """
    labels_flag = f"--{flag.removesuffix('s')}labels"
    if ticks is None:
        if labels is not None:
            raise UserError(f"{labels_flag} needs --{flag}")
        return
    if labels is None:
        labels = [f"{tick:g}" for tick in ticks]
    elif len(labels) != len(ticks):
        raise UserError(
            f"{labels_flag} has {len(labels)} labels for {len(ticks)} ticks"
        )
    shown = [style.text(label) for label in labels]
    getattr(axes, f"set_{axis}ticks")(ticks, shown)


def draw_band(
    axes: Any, columns: Columns, x: str, y: str, *, alpha: float, **looks: Any
) -> Any:
    """Draws a line over the band from `low` to `high`; returns the line.

    Args:
      axes: The axes.
      columns: Columns x, y, low and high.
      x: Name of the column of x.
      y: Name of that of y.
      alpha: How opaque the band is.
      **looks: Looks of the line.
    """
    axes.fill_between(
        columns[x],
        columns["low"],
        columns["high"],
        color=looks["color"],
        alpha=alpha,
        linewidth=0,
    )
    (line,) = axes.plot(columns[x], columns[y], **looks)
    return line


def limit_bands(axes: Any) -> None:
    """Limits the y axis where bands go far beyond the lines and points of panels.

    Bands of few points may be a hundred times as wide as these are apart.
    """
    scale = axes.yaxis.get_transform()
    parts = [
        np.asarray(line.get_ydata(), np.float64).ravel()
        for one in axes.get_shared_y_axes().get_siblings(axes)
        for line in one.lines
        # Not guides whose ends are those of the panel.
        if line.get_transform().contains_branch_seperately(one.transData)[1]
    ]
    values = np.concatenate([np.zeros(0), *parts])
    if axes.get_yscale() == "log":
        values = values[values > 0.0]
    values = scale.transform(values[np.isfinite(values)])
    if not values.size or (reach := 0.5 * float(np.ptp(values))) == 0.0:
        return
    low, high = scale.transform(np.array(axes.get_ylim()))
    ends = max(low, values.min() - reach), min(high, values.max() + reach)
    axes.set_ylim(*scale.inverted().transform(np.array(ends)))


def make_room_for_notes(
    all_axes: Sequence[Any], width: float, heights: Sequence[float]
) -> list[bool]:
    """Raises the end of the y axis of panels until notes have a corner without points.

    Args:
      all_axes: Panels, whose layout is done.
      width: Width of their notes, in pixels.
      heights: Height of the notes of each, in pixels.

    Returns:
      Whether the notes of each have room now: there is none where they would take most
      of the panel.
    """
    fits = []
    wanted: dict[Any, float] = {}
    for axes, height in zip(all_axes, heights, strict=True):
        part = 1.1 * height / axes.bbox.height
        is_free = part < 1.0 and not emptiest_corner(axes, width, height)[1]
        fits.append(is_free or part < _MOST_OF_NOTES)
        if fits[-1] and not is_free:
            group = min(axes.get_shared_y_axes().get_siblings(axes), key=id)
            wanted[group] = max(wanted.get(group, 0.0), part)
    for axes, part in wanted.items():
        scale = axes.yaxis.get_transform()
        low, high = scale.transform(np.array(axes.get_ylim()))
        ends = np.array([low, low + (high - low) / (1.0 - part)])
        axes.set_ylim(*scale.inverted().transform(ends))
    return fits


def emptiest_corner(axes: Any, width: float, height: float) -> tuple[str, int]:
    """Finds the corner in which a note, of a size in pixels, covers fewest points.

    The layout is done. A corner with the legend is the last to be taken.

    Returns:
      The name of the corner, and how many points the note covers there.
    """
    part_x = width / axes.bbox.width
    part_y = height / axes.bbox.height
    legend = axes.get_legend()
    taken = None if legend is None else legend.get_window_extent().extents
    if taken is not None:
        (x0, y0), (x1, y1) = axes.transAxes.inverted().transform(taken.reshape(2, 2))
    points = np.concatenate(
        [
            axes.transAxes.inverted().transform(axes.transData.transform(xy))
            for xy in (
                np.column_stack([line.get_xdata(), line.get_ydata()])
                for line in axes.lines
                if line.get_linestyle() == "None"
            )
        ]
    )
    counts = {}
    for corner in CORNERS:
        vertical, side = corner.split()
        # Distances from the corner.
        x = 1.0 - points[:, 0] if side == "right" else points[:, 0]
        y = 1.0 - points[:, 1] if vertical == "upper" else points[:, 1]
        counts[corner] = int(((x < part_x) & (y < part_y)).sum())
        if taken is not None:
            near_x = 1.0 - x1 if side == "right" else x0
            near_y = 1.0 - y1 if vertical == "upper" else y0
            counts[corner] += len(points) * (near_x < part_x and near_y < part_y)
    corner = min(counts, key=lambda corner: counts[corner])
    return corner, counts[corner]


def draw_guide(figure: Any, axes: Any, x: str, y: str, style: Style) -> None:
    """Makes a panel of two arrows with the names of the axes beside them.

    The names are in the panel, which has nothing else in it; the layout is done.
    """
    import matplotlib as mpl

    axes.tick_params(
        which="both", left=False, bottom=False, labelleft=False, labelbottom=False
    )
    for at, marker in (((1.0, 0.0), ">"), ((0.0, 1.0), "^")):
        axes.plot(
            *([value] for value in at),
            marker=marker,
            color=style.foreground,
            markersize=0.8 * mpl.rcParams["lines.markersize"],
            transform=axes.transAxes,
            clip_on=False,
        )
    settle(figure)
    width, height = (size / figure.dpi for size in axes.bbox.size)
    pad = 4.0 / 72.0
    for size in (mpl.rcParams["axes.labelsize"], mpl.rcParams["xtick.labelsize"]):
        measure = wrapping.text_ruler(figure, style, size=size)
        texts = {}
        left = width - pad
        for name, text in (("y", y), ("x", x)):
            room = (height if name == "y" else left) - pad
            texts[name] = wrapping.wrapped_markup(
                figure, style, text, width=max(room, pad), size=size
            )
            left -= measure(texts["y"])[1] + pad
        wide, high = measure(texts["x"])
        beside = wide + measure(texts["y"])[1] + 2.0 * pad <= width
        if beside and max(high, measure(texts["y"])[0]) + pad <= height:
            break
    for text, at, turn, sides in (
        (texts["y"], (0.0, 1.0), 90.0, ("left", "top")),
        (texts["x"], (1.0, 0.0), 0.0, ("right", "bottom")),
    ):
        axes.annotate(
            text,
            at,
            xycoords="axes fraction",
            xytext=(4.0, -4.0) if turn else (-4.0, 4.0),
            textcoords="offset points",
            rotation=turn,
            ha=sides[0],
            va=sides[1],
            multialignment="center",
            fontsize=size,
        )
