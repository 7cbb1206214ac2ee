"""Densities of the learned coefficients, a curve for each rank of neighbor."""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np

from alphanet_jax.errors import UserError
from alphanet_jax.figures import drawing, statistics, wrapping
from alphanet_jax.figures.kind import Kind
from alphanet_jax.figures.numbers import Numbers, Sources, make_columns, select
from alphanet_jax.figures.options import PanelOptions
from alphanet_jax.figures.panel import zero_line
from alphanet_jax.figures.settling import settle
from alphanet_jax.figures.style import Style

__all__ = ["KIND"]

_DESCRIPTION = """\
Densities of the coefficients with which neighbors take part in the new classifiers,
over few classes and runs: a curve for each rank of neighbor, with a marker at its mean,
a panel for each experiment. The coefficient of a class's own classifier is 1 always. A
rank whose coefficients have two values at most, as with one neighbor, has no density:
lines stand there for the parts of the coefficients. The original's PlotAlphaDist.

  python main.py plot alphas --base_res_dir=results/sweep --out=alphas.pdf"""

_POINTS = 201
# The areas below more curves would make a mud of colors.
_MOST_FILLED = 3
_LINES: tuple[Any, ...] = ("-", (0, (4, 1.5)), (0, (1, 1)), (0, (5, 1, 1, 1)))
_MARKERS = "os^vDP<>Xp*hd"


@dataclass(frozen=True)
class _NumbersOptions:
    source_idxs: Annotated[
        Sequence[int] | None,
        "ranks of the neighbors that are shown, 1 for the nearest [all]",
    ] = None


@dataclass(frozen=True)
class _DrawOptions(PanelOptions):
    sharey: Annotated[bool, "the same y axis for all panels"] = False


def _compute(sources: Sources, options: _NumbersOptions) -> Numbers:
    """Computes the density of the coefficients of every rank, from -1 to 1.

    Returns:
      Columns experiment, dataset, rank, x, density of the curves; a table 'means' with
      experiment, dataset, rank, mean, density (there), classes, runs; and, where ranks
      have no density, a table 'parts' with experiment, dataset, rank, x, part.
    """
    curves: list[tuple[Any, ...]] = []
    means: list[tuple[Any, ...]] = []
    parts: list[tuple[Any, ...]] = []
    # The unchanged classifier has none that were learned.
    sets = [
        (runs, runs.runs("alphas")) for runs in sources.sets if not runs.is_unchanged
    ]
    if not sets:
        raise UserError(
            f"{sources.sets[0].files[0].path} is of the unchanged classifier: no "
            "coefficients were learned"
        )
    most = max(alphas.shape[-1] - 1 for _, alphas in sets)
    wanted = sorted(set(options.source_idxs or range(1, most + 1)))
    for rank in wanted:
        if not 1 <= rank <= most:
            raise UserError(
                f"--source_idxs must be ranks of neighbors from 1 to {most}, got {rank}"
            )
    for runs, alphas in sets:
        for rank in (rank for rank in wanted if rank < alphas.shape[-1]):
            key = (runs.name, runs.proper_name, rank)
            values = alphas[:, :, rank].astype(np.float64).ravel()
            mean = values.mean() if len(values) else np.nan
            at_mean = np.nan
            # Within what float32 holds of sums.
            different, counts = np.unique(np.round(values, 5), return_counts=True)
            if len(different) > 2:
                grid = _grid(values)
                dense = statistics.density(values, grid)
                curves += [(*key, *point) for point in zip(grid, dense, strict=True)]
                at_mean = statistics.density(values, np.array([mean]))[0]
            else:
                parts += [
                    (*key, x, count / len(values))
                    for x, count in zip(different, counts, strict=True)
                ]
            means.append((*key, mean, at_mean, alphas.shape[1], len(alphas)))
    names = ("experiment", "dataset", "rank")
    tables = {
        "": make_columns((*names, "x", "density"), curves),
        "means": make_columns((*names, "mean", "density", "classes", "runs"), means),
    }
    if parts:
        tables["parts"] = make_columns((*names, "x", "part"), parts)
    return tables


def _grid(values: np.ndarray) -> np.ndarray:
    """Returns points from -1 to 1, more of them where the values are."""
    reach = 4.0 * values.std(ddof=1) * len(values) ** -0.2  # four times Scott's width
    low, high = np.clip([values.min() - reach, values.max() + reach], -1.0, 1.0)
    fine = np.linspace(low, high, _POINTS)
    return np.union1d(np.linspace(-1.0, 1.0, _POINTS), fine)


def _ordinal(rank: int) -> str:
    """Writes a rank out: 1st, 2nd, 3rd, 11th."""
    ends = {1: "st", 2: "nd", 3: "rd"}
    return f"{rank}{'th' if rank % 100 in (11, 12, 13) else ends.get(rank % 10, 'th')}"


def _render(numbers: Numbers, style: Style, options: _DrawOptions) -> "drawing.Figure":
    """Draws a panel for each experiment, a curve for each rank."""
    import matplotlib as mpl
    from matplotlib.lines import Line2D

    means = numbers["means"]
    keys = dict.fromkeys(zip(means["experiment"], means["dataset"], strict=True))
    several_datasets = len({dataset for _, dataset in keys}) > 1
    figure, all_axes = drawing.panels(
        style, len(keys), col_wrap=options.col_wrap, aspect=1.6, sharey=options.sharey
    )
    ranks = np.unique(means["rank"]).tolist()
    looks = {
        rank: {
            "color": style.cycle[i % len(style.cycle)],
            "linestyle": _LINES[i % len(_LINES)],
            "marker": _MARKERS[i % len(_MARKERS)],
        }
        for i, rank in enumerate(ranks)
    }
    marker_size = 0.9 * mpl.rcParams["lines.markersize"]
    for axes, (experiment, dataset) in zip(all_axes, keys, strict=True):
        tables = {
            name: select(table, experiment=experiment, dataset=dataset)
            for name, table in numbers.items()
            if len(table["rank"])
        }
        for rank in ranks:
            here = {name: select(table, rank=rank) for name, table in tables.items()}
            if "" in here and len(here[""]["x"]):
                filled = len(ranks) <= _MOST_FILLED
                _draw_curve(axes, here, looks[rank], marker_size, filled=filled)
        # The height of the panel stands for all of the coefficients.
        top = axes.get_ylim()[1] if axes.lines else 1.0
        for rank in ranks:
            spikes = select(tables["parts"], rank=rank) if "parts" in tables else {}
            for x, part in zip(
                *(spikes.get(n, ()) for n in ("x", "part")), strict=True
            ):
                axes.plot(
                    [x, x],
                    [0.0, part * top],
                    clip_on=False,
                    markevery=[1],
                    markersize=marker_size,
                    **looks[rank],
                )
        axes.set_ylim(0.0, top)
        # Lines at the ends are not on the axis.
        end = 1.05 if "parts" in tables else 1.0
        axes.set_xlim(-end, end)
        axes.set_xticks([-1.0, -0.5, 0.0, 0.5, 1.0])
        axes.xaxis.set_major_formatter("{x:g}")
        zero_line(axes, style, vertical=True)
    has_curves = len(numbers[""]["rank"]) > 0
    handles = [Line2D([], [], markersize=marker_size, **looks[rank]) for rank in ranks]
    labels = [f"{_ordinal(rank)} neighbor" for rank in ranks]
    if has_curves:
        # The marker of the first, as an example.
        marker = looks[ranks[0]]["marker"]
        looks_of_means = {"marker": marker, "markersize": marker_size}
        handles.append(
            Line2D([], [], color=style.secondary, linestyle="none", **looks_of_means)
        )
        labels.append("Mean" if len(ranks) == 1 else "Means")
    drawing.finish(
        figure,
        all_axes,
        style,
        x=r"Coefficient $\alpha$",
        y="Density" if has_curves else "Part",
        titles=[
            f"{experiment}, {dataset}" if several_datasets else experiment
            for experiment, dataset in keys
        ],
        handles=handles,
        labels=labels,
        legend=options,
    )
    _thin_ticks(figure, all_axes, style)
    return figure


def _thin_ticks(figure: Any, all_axes: Sequence[Any], style: Style) -> None:
    """Leaves every other tick out where their labels would touch."""
    settle(figure)
    renderer = wrapping.renderer_of(figure, style)
    for axes in all_axes:
        boxes = [label.get_window_extent(renderer) for label in axes.get_xticklabels()]
        if any(a.x1 + 0.4 * a.height > b.x0 for a, b in itertools.pairwise(boxes)):
            for other in all_axes:
                other.set_xticks([-1.0, 0.0, 1.0])
            return


def _draw_curve(
    axes: Any, here: Any, look: Any, marker_size: float, *, filled: bool
) -> None:
    """Draws the density of one rank, with a marker at its mean."""
    x, y = here[""]["x"], here[""]["density"]
    line = {"color": look["color"], "linestyle": look["linestyle"]}
    axes.plot(x, y, **line)
    if filled:
        axes.fill_between(x, y, color=look["color"], alpha=0.1, linewidth=0.0, zorder=1)
    axes.plot(
        here["means"]["mean"],
        here["means"]["density"],
        color=look["color"],
        marker=look["marker"],
        markersize=marker_size,
        linestyle="none",
        zorder=3,
    )


KIND = Kind(
    name="alphas",
    description=_DESCRIPTION,
    reads="experiments",
    numbers_options=_NumbersOptions,
    compute=_compute,
    draw_options=_DrawOptions,
    render=_render,
)
