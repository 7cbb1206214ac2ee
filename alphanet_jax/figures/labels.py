"""Names of the axes that panels share, in lines that have room."""

from collections.abc import Sequence
from typing import Any

from alphanet_jax.figures import wrapping
from alphanet_jax.figures.settling import settle
from alphanet_jax.figures.style import Style

__all__ = ["ends_of_panels", "label_axes", "refit_labels"]


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
    settle(figure)
    for axis, label, own in labels:
        _break_label(figure, all_axes, style, axis, label, own=own)
    if style.aspect is not None and len(labels) > 1:
        # Lines of one have moved the panels, and with them the room of the other.
        refit_labels(figure, all_axes, style)


def refit_labels(figure: Any, all_axes: Sequence[Any], style: Style) -> None:
    """Breaks the names of axes once more that have no room where panels are now."""
    settle(figure)
    renderer = wrapping.renderer_of(figure, style)
    for place, axis in enumerate("xy"):
        shared = getattr(figure, f"_sup{axis}label")
        label = shared or getattr(all_axes[0], f"{axis}axis").label
        if not label.get_text():
            continue
        box = label.get_window_extent(renderer)
        if box.min[place] < 0.0 or box.max[place] > figure.bbox.size[place]:
            own = shared is None
            _break_label(figure, all_axes, style, axis, label, own=own)


def _break_label(
    figure: Any,
    all_axes: Sequence[Any],
    style: Style,
    axis: str,
    label: Any,
    *,
    own: bool,
) -> None:
    """Breaks the name of an axis into lines that have room, where one has not."""
    import matplotlib as mpl

    place = 0 if axis == "x" else 1
    ends = ends_of_panels(all_axes, place)
    if axis == "x" or not own or style.aspect is not None:
        # It may be longer than the panels, as far as the figure goes.
        most = figure.bbox.size[place]
        if axis == "y":
            lows = [legend.get_window_extent().y0 for legend in figure.legends]
            # Of legends above, not of one beside.
            most = min([most, *(low for low in lows if low > ends[1] - 1.0)])
        middle = sum(ends) / 2.0
        room = 1.95 * min(middle, most - middle)
    else:
        room = ends[1] - ends[0]
    box = label.get_window_extent(figure.canvas.get_renderer())
    if box.size[place] > room:
        whole = " ".join(label.get_text().split())
        text = wrapping.wrapped_markup(figure, style, whole, width=room / figure.dpi)
        if axis == "y" and style.aspect is not None and text.count("\n") > 1:
            # In a flat figure many lines take the width of panels.
            label.set_fontsize(mpl.rcParams["ytick.labelsize"])
            text = wrapping.wrapped_markup(
                figure,
                style,
                whole,
                width=room / figure.dpi,
                size=label.get_fontsize(),
            )
        label.set_text(text)


def ends_of_panels(all_axes: Sequence[Any], place: int) -> tuple[float, float]:
    """Returns where panels begin and end, in pixels, along x (0) or y (1)."""
    boxes = [axes.get_window_extent() for axes in all_axes]
    low, high = (min(box.min[place] for box in boxes), max(b.max[place] for b in boxes))
    return float(low), float(high)
