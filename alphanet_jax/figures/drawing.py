"""What several kinds of figure draw alike."""

from collections.abc import Sequence
from typing import Any

from alphanet_jax.figures.options import Option
from alphanet_jax.figures.style import Style

__all__ = [
    "LEGEND_OPTIONS",
    "SPLIT_TITLES",
    "draw_legend",
    "panels",
    "zero_line",
]

SPLIT_TITLES = {
    "few": "Few",
    "medium": "Medium",
    "many": "Many",
    "base": "Base",
    "overall": "Overall",
}

LEGEND_OPTIONS = (
    Option("legend_ncols", 0, "columns of the legend; 0 for as many as fit", low=0),
    Option(
        "legend_loc",
        "above",
        "where the legend is: above, none, or a place inside such as 'upper right'",
    ),
)
_PLACES = (
    *("best", "upper right", "upper left", "lower left", "lower right", "right"),
    *("center left", "center right", "lower center", "upper center", "center"),
)


def draw_legend(
    figure: Any,
    axes: Any,
    handles: Sequence[Any],
    labels: Sequence[str],
    *,
    legend_ncols: int = 0,
    legend_loc: str = "above",
) -> None:
    """Draws the legend of a figure.

    Args:
      figure: The figure.
      axes: The axes that the legend is in where it is inside.
      handles: What is explained.
      labels: Its explanations, safe to draw.
      legend_ncols: Number of columns; 0 for as many as fit above, or one inside.
      legend_loc: 'above' the axes, 'none', or a place inside.

    Raises:
      UserError: If there is no such place.
    """
    from alphanet_jax.errors import UserError, did_you_mean

    if legend_loc == "none":
        return
    if legend_loc == "above":
        _draw_above(figure, handles, labels, legend_ncols)
    elif legend_loc in _PLACES:
        axes.legend(handles, labels, loc=legend_loc, ncols=legend_ncols or 1)
    else:
        known = ("above", "none", *_PLACES)
        raise UserError(
            f"--legend_loc: unknown place {legend_loc!r}; "
            f"{did_you_mean(legend_loc, known, most_listed=len(known))}"
        )


def _draw_above(
    figure: Any, handles: Sequence[Any], labels: Sequence[str], columns: int
) -> None:
    """Draws a legend above the axes, with no more columns than have room."""
    for count in [columns] if columns else range(len(handles), 0, -1):
        legend = figure.legend(
            handles,
            labels,
            loc="outside upper center",
            ncols=count,
            columnspacing=1.2,
            handletextpad=0.5,
        )
        width = legend.get_window_extent(figure.canvas.get_renderer()).width
        if count in (1, columns) or width < 0.99 * figure.bbox.width:
            return
        legend.remove()


def zero_line(axes: Any, style: Style, *, vertical: bool = False) -> None:
    """Draws a guide at zero, behind everything."""
    line = axes.axvline if vertical else axes.axhline
    line(0.0, color=style.secondary, linewidth=0.8, linestyle=(0, (4, 3)), zorder=0)


def panels(
    style: Style,
    count: int,
    *,
    col_wrap: int = 0,
    aspect: float = 1.5,
    sharex: bool = True,
    sharey: bool = True,
) -> tuple[Any, list[Any]]:
    """Makes a figure of panels in rows.

    Args:
      style: The style.
      count: Number of panels.
      col_wrap: Panels in a row; 0 for all in one.
      aspect: Width by height of a panel, where the style says nothing.
      sharex: Whether all have the same x axis.
      sharey: Whether all have the same y axis.

    Returns:
      The figure and the axes of its panels, row by row.
    """
    import matplotlib.pyplot as plt

    columns = min(col_wrap or count, count)
    rows = -(-count // columns)
    figure, grid = plt.subplots(
        rows,
        columns,
        figsize=style.size(aspect=aspect, rows=rows, columns=columns),
        sharex=sharex,
        sharey=sharey,
        squeeze=False,
    )
    axes = list(grid.flat)
    for extra in axes[count:]:
        extra.set_visible(False)
    # The last of every column has labels, also where the row below is not full.
    for place in range(count):
        if sharex and place + columns >= count:
            axes[place].tick_params(labelbottom=True)
    return figure, axes[:count]
