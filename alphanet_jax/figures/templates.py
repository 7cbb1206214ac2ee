"""Templates and samples of a class as marks in the plane.

Ranks tell marks apart: 0 is the class itself, 1 its nearest neighbor, -1 any other.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from alphanet_jax.figures import wrapping
from alphanet_jax.figures.extents import text_box
from alphanet_jax.figures.numbers import Columns, select
from alphanet_jax.figures.settling import settle
from alphanet_jax.figures.style import CONTEXTS, Style

__all__ = [
    "OTHER",
    "OWN",
    "draw_neighbors",
    "draw_samples",
    "draw_templates",
    "fit_marks",
    "limits",
    "mark_look",
    "template_look",
]

OWN, OTHER = 0, -1  # ranks of what is no neighbor
_SAMPLE_MARKERS = "s^Dv<>pPhX*d"
# Inches of a panel that has marks of the usual size; in others they are smaller, but no
# less than by a factor, another for those with a number in them.
_USUAL_SIDE, _LEAST_FACTOR, _LEAST_NUMBERED = 1.4, 0.6, 0.8
# Size of a star, by that of marks.
_STAR = 2.6
# How long an arrow is at least, by the size of marks.
_LEAST_ARROW = 4.2


def mark_look(style: Style, rank: int) -> dict[str, Any]:
    """Returns color and marker of what is predicted to be of a class."""
    if rank == OTHER:
        return {"color": style.outcomes["other"], "marker": "x"}
    if rank == OWN:
        return {"color": style.outcomes["correct"], "marker": "o"}
    # The first color is that of the class itself, the last a gray as that of others.
    colors = (*style.cycle[1:-1], style.foreground)
    return {
        "color": colors[(rank - 1) % len(colors)],
        "marker": _SAMPLE_MARKERS[(rank - 1) % len(_SAMPLE_MARKERS)],
    }


def template_look(style: Style, *, open_: bool) -> dict[str, Any]:
    """Returns how the template of the class itself is drawn."""
    import matplotlib as mpl

    own = style.outcomes["correct"]
    return {
        "marker": "*",
        "markersize": _STAR * mpl.rcParams["lines.markersize"],
        "markerfacecolor": style.background if open_ else own,
        "markeredgecolor": own if open_ else style.foreground,
        "markeredgewidth": 0.7 * mpl.rcParams["lines.linewidth"],
        "linestyle": "none",
    }


def draw_samples(axes: Any, samples: Columns, rank_name: str, style: Style) -> None:
    """Draws samples in the looks of what they are predicted to be."""
    import matplotlib as mpl

    # Ranks in turn, so that each is one thing of the drawing.
    for rank in np.unique(samples[rank_name]).tolist():
        part = select(samples, **{rank_name: rank})
        axes.plot(
            part["x"],
            part["y"],
            linestyle="none",
            markersize=0.8 * mpl.rcParams["lines.markersize"],
            markeredgewidth=0.5 * mpl.rcParams["lines.linewidth"],
            alpha=0.85,
            zorder=2,
            **mark_look(style, rank),
        )


def draw_neighbors(axes: Any, near: Columns, style: Style) -> None:
    """Draws templates of neighbors, with their ranks."""
    import matplotlib as mpl

    # The nearest comes last, and is seen where they meet.
    for place in np.argsort(-near["rank"], kind="stable"):
        rank, x, y = (near[name][place] for name in ("rank", "x", "y"))
        color = mark_look(style, int(rank))["color"]
        axes.plot(
            x,
            y,
            marker="o",
            markersize=2.3 * mpl.rcParams["lines.markersize"],
            color=color,
            markeredgecolor=style.foreground,
            markeredgewidth=0.6 * mpl.rcParams["lines.linewidth"],
            zorder=3,
        )
        axes.annotate(
            f"{rank}",
            (x, y),
            ha="center",
            va="center_baseline",
            color=_contrast(color),
            fontsize=mpl.rcParams["xtick.labelsize"],
            zorder=3,
        )


def draw_templates(
    axes: Any, by_kind: Mapping[str, Columns], style: Style, *, with_after: bool
) -> None:
    """Draws the template of the class, and where it went if that is to be shown."""
    import matplotlib as mpl

    before, after = by_kind["before"], by_kind["after"]
    size = mpl.rcParams["lines.markersize"]
    if with_after:
        axes.annotate(
            "",
            (after["x"][0], after["y"][0]),
            (before["x"][0], before["y"][0]),
            arrowprops={
                "arrowstyle": "-|>",
                "color": style.foreground,
                "linewidth": 0.8 * mpl.rcParams["lines.linewidth"],
                "shrinkA": size,
                "shrinkB": size,
                "mutation_scale": 2.0 * size,
            },
            zorder=4,
        )
    for part in (before, after)[: 1 + with_after]:
        look = template_look(style, open_=part is before)
        axes.plot(part["x"], part["y"], zorder=5, **look)


def limits(here: Any, samples: Any, style: Style) -> list[tuple[float, float]]:
    """Returns limits of x and y that hold all marks, in the ratio of the panel.

    In a figure of a given height, panels have a ratio when all is drawn: `fit_marks`
    makes room for what are their ends until then.
    """
    values = [np.concatenate([here[name], samples[name]]) for name in ("x", "y")]
    if style.aspect is not None:
        return [(part.min() - 1e-9, part.max() + 1e-9) for part in values]
    aspect = style.panel_aspect or 1.0
    centers = [(part.min() + part.max()) / 2.0 for part in values]
    reach = max(np.ptp(values[0]) / aspect, np.ptp(values[1]), 1e-9) * 0.56
    return [
        (center - part * reach, center + part * reach)
        for center, part in zip(centers, (aspect, 1.0), strict=True)
    ]


def fit_marks(figure: Any, style: Style) -> None:
    """Makes marks smaller in small panels, and leaves out what would be hidden."""
    import matplotlib as mpl

    settle(figure)
    scale = style.scale * CONTEXTS[style.context]
    size = mpl.rcParams["lines.markersize"]
    for axes in figure.axes:
        factor = 1.0
        if style.aspect is not None:
            side = min(axes.bbox.size) / figure.dpi / scale
            factor = float(np.clip(side / _USUAL_SIDE, _LEAST_FACTOR, 1.0))
            _spread(axes, _STAR * size * factor * figure.dpi / 72.0)
        for line in axes.lines:
            # What has a number in it is not as small.
            numbered = line.get_marker() == "o" and line.get_markersize() > 2.0 * size
            least = _LEAST_NUMBERED if numbered else 0.0
            line.set_markersize(line.get_markersize() * max(factor, least))
        for text in axes.texts:
            text.set_fontsize(text.get_fontsize() * max(factor, _LEAST_NUMBERED))
            if (arrow := getattr(text, "arrow_patch", None)) is not None:
                arrow.shrinkA = arrow.shrinkB = factor * size
                text.arrowprops["mutation_scale"] *= factor
                ends = axes.transData.transform([text.xy, text.xyann])
                points = np.linalg.norm(ends[0] - ends[1]) * 72.0 / figure.dpi
                # Between stars that nearly touch there is no arrow to be seen.
                arrow.set_visible(points > _LEAST_ARROW * factor * size)
    _thin_ranks(figure, style)


def _spread(axes: Any, mark: float) -> None:
    """Makes units of both axes as long as the panel allows, and equally long.

    Args:
      axes: A panel, whose layout is done, with limits that are the ends of the data.
      mark: Size of the largest mark, in pixels.
    """
    ends = [axes.get_xlim(), axes.get_ylim()]
    lengths = [max(high - low, 1e-9) for low, high in ends]
    sizes = axes.bbox.size
    # Pixels of a unit.
    unit = max(min((sizes - 1.3 * mark) / lengths), 1e-9)
    for (low, high), size, which in zip(ends, sizes, ("xlim", "ylim"), strict=True):
        middle, reach = (low + high) / 2.0, size / unit / 2.0
        getattr(axes, f"set_{which}")(middle - reach, middle + reach, auto=True)
    # As the layout changes a little yet.
    axes.set_aspect("equal", adjustable="datalim")


def _thin_ranks(figure: Any, style: Style) -> None:
    """Leaves out ranks of neighbors that lie below nearer ones.

    Their markers still tell them, as color and form are named below the panels.
    """
    renderer = wrapping.renderer_of(figure, style)
    for axes in figure.axes:
        kept: list[Any] = []
        ranks = [text for text in axes.texts if text.get_text()]
        for text in sorted(ranks, key=lambda text: int(text.get_text())):
            box = text_box(text, renderer)
            if any(box.overlaps(other) for other in kept):
                text.set_visible(False)
            else:
                kept.append(box)


def _contrast(color: str) -> str:
    """Returns black or white, whichever can be read on a color."""
    from matplotlib.colors import to_rgb

    red, green, blue = to_rgb(color)
    return "black" if 0.3 * red + 0.59 * green + 0.11 * blue > 0.5 else "white"
