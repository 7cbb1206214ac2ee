"""Class accuracy, or its change, against the distance to a class's neighbors."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np

from alphanet_jax.errors import UserError
from alphanet_jax.figures import distances, drawing, statistics
from alphanet_jax.figures.classes import experiment_looks, line_over_classes
from alphanet_jax.figures.kind import Kind
from alphanet_jax.figures.numbers import (
    Columns,
    Numbers,
    Sources,
    make_columns,
    select,
    split_by,
    with_constants,
)
from alphanet_jax.figures.options import (
    BOOT_SEED,
    COL_WRAP,
    N_BOOT,
    About,
    LegendOptions,
)
from alphanet_jax.figures.panel import (
    CORNERS,
    draw_band,
    draw_guide,
    emptiest_corner,
    label_log,
    limit_bands,
    make_room_for_notes,
    note_box,
    set_ticks,
    zero_line,
)
from alphanet_jax.figures.settling import settle
from alphanet_jax.figures.style import CONTEXTS, Style

__all__ = ["KIND"]

_DESCRIPTION = """\
Accuracy of classes, or its change from the unchanged classifier, against the mean
distance to their k neighbors: a point for each class and run (with --r_group_classes,
for each class), a panel for each split. Neighbors of few classes are the base classes
that they are combined with; those of base classes (medium and many), for comparison,
the k nearest few classes. Lines are fitted by least squares, with 95 percent bootstrap
bands over classes; r is Pearson's. The dataset itself is read where base classes or
random neighbors are drawn. The original's PlotSplitClsAccDeltaVsNNDist.

  python main.py plot accuracy_vs_distance --base_res_dir=results/quickstart \\
      --out=distance.png"""

_ACC_LABELS = {
    "baseline": "Baseline accuracy (%)",
    "alphanet": "Class accuracy (%)",
    "delta": "Change in accuracy (points)",
}
# Correlations that a corner of a panel has room for.
_MOST_INSIDE = 4
# Their lines, and how wide they are, by the size of their text.
_LINE_OF_R, _WIDTH_OF_R = 1.3, 5.0
# Inches of a panel that has others beside it, for text of the usual size.
_LEAST_BESIDE = 1.05


@dataclass(frozen=True)
class _NumbersOptions:
    splits: Annotated[
        Sequence[str],
        About(
            "panels: many, medium, few, base (medium and many)",
            choices=("many", "medium", "few", "base"),
        ),
    ] = ("few", "base")
    acc: Annotated[
        str,
        About(
            "accuracy of the unchanged classifier, of AlphaNet's, or the change",
            choices=("baseline", "alphanet", "delta"),
        ),
    ] = "delta"
    dist_for_rand: Annotated[
        str,
        About(
            "metric of distances where neighbors were drawn at random",
            choices=("euclidean", "cosine"),
        ),
    ] = "euclidean"
    dist_on_x: Annotated[bool, "distance on the x axis, accuracy on the y axis"] = True
    r_group_classes: Annotated[
        bool,
        "points, and so r, are means over the runs of every class, not single runs",
    ] = False
    n_boot: Annotated[int, N_BOOT] = 1000
    boot_seed: Annotated[int, BOOT_SEED] = 0


@dataclass(frozen=True)
class _DrawOptions(LegendOptions):
    col_wrap: Annotated[int, COL_WRAP] = 0
    sharex: Annotated[bool, "the same x axis for all panels"] = True
    sharey: Annotated[bool, "the same y axis for all panels"] = True
    fit_reg: Annotated[bool, "draw the fitted lines"] = True
    plot_r: Annotated[bool, "write the correlation into the panel"] = True
    plot_r_loc: Annotated[
        str,
        About(
            "where: best (the emptiest corner, if it has room; beside the panel for "
            "more than four), " + ", ".join(CORNERS),
            choices=("best", *CORNERS),
        ),
    ] = "best"
    r_font_size: Annotated[
        float, About("its size, in points; 0 for that of ticks", low=0)
    ] = 0.0
    despine: Annotated[bool, "leave the upper and right borders of panels out"] = True
    add_axes_guide: Annotated[bool, "a panel at the end that only names the axes"] = (
        False
    )
    rasterize_scatter: Annotated[
        bool, "points as pixels in pdf, svg and pgf (in files beside it), for very many"
    ] = False
    add_dummy_before: Annotated[
        bool, "room for a panel before the first, where a legend inside is then"
    ] = False
    add_dummy_after: Annotated[
        bool, "room for a panel after the last, likewise if there is none before"
    ] = False
    add_axlabels: Annotated[bool, "name the axes, where no guide does"] = True
    log_xscale: Annotated[bool, "x axis on a log scale"] = False
    log_yscale: Annotated[bool, "y axis on a log scale"] = False
    xlim: Annotated[Sequence[float] | None, "ends of the x axis, as 0 20"] = None
    ylim: Annotated[Sequence[float] | None, "ends of the y axis, as --ylim -5 5"] = None
    xticks: Annotated[Sequence[float] | None, "values with a tick on the x axis"] = None
    yticks: Annotated[Sequence[float] | None, "values with a tick on the y axis"] = None
    xticklabels: Annotated[Sequence[str] | None, "labels of --xticks"] = None
    yticklabels: Annotated[Sequence[str] | None, "labels of --yticks"] = None
    xlabel: Annotated[str | None, "name of the x axis"] = None
    ylabel: Annotated[str | None, "name of the y axis"] = None


def _compute(sources: Sources, options: _NumbersOptions) -> Numbers:
    """Computes distances and accuracies, in percent, and lines through them.

    Classes without test samples do not count.

    Returns:
      A table of points, columns split, experiment, run (from 0; NaN for means), class,
      name, neighbors (their number), metric, distance, accuracy, acc, x (distance or
      accuracy); a table 'lines', columns split, experiment, x, y, low, high; and a
      table 'correlations', columns split, experiment, points, r. Lines and correlations
      are missing where distances or accuracies do not vary.
    """
    points: list[tuple[Any, ...]] = []
    lines: list[tuple[Any, ...]] = []
    correlations: list[tuple[Any, ...]] = []
    rng = np.random.default_rng(options.boot_seed)
    splits = dict.fromkeys(options.splits)
    for split in splits:
        for experiment, runs in sources.named():
            part = distances.class_distances(
                runs,
                sources.finder,
                split=split,
                acc=options.acc,
                dist_for_rand=options.dist_for_rand,
            )
            if options.r_group_classes:
                part = distances.means_of_runs(part)
            points += [
                (split, experiment, *row[:2], runs.label_name(row[1]), *row[2:])
                for row in part
            ]
            labels, *pair = (
                np.array([row[column] for row in part]) for column in (1, 4, 5)
            )
            x, y = pair if options.dist_on_x else pair[::-1]
            line = line_over_classes(x, y, labels, n_boot=options.n_boot, rng=rng)
            if line is not None:
                lines += [(split, experiment, *row) for row in zip(*line, strict=True)]
            r = statistics.pearson(x, y) if len(x) > 1 else np.nan
            if np.isfinite(r):
                correlations.append((split, experiment, len(x), r))
    if not points:
        raise UserError(f"no class of {', '.join(splits)} has test samples")
    names = ("split", "experiment", "run", "class", "name", "neighbors", "metric")
    table = make_columns((*names, "distance", "accuracy"), points)
    x_name = "distance" if options.dist_on_x else "accuracy"
    return {
        "": with_constants(table, acc=options.acc, x=x_name),
        "lines": make_columns(("split", "experiment", "x", "y", "low", "high"), lines),
        "correlations": make_columns(
            ("split", "experiment", "points", "r"), correlations
        ),
    }


def _render(numbers: Numbers, style: Style, options: _DrawOptions) -> "drawing.Figure":
    """Draws points, lines and correlations, a panel for each split."""
    columns = numbers[""]
    splits = list(dict.fromkeys(columns["split"].tolist()))
    experiments = list(dict.fromkeys(columns["experiment"].tolist()))
    figure, shown, guide, empty = _make_panels(style, len(splits), options)
    looks = experiment_looks(style, len(experiments))
    several = len(experiments) > 1
    dist_on_x = columns["x"][0] == "distance"
    handles: dict[str, Any] = {}
    for axes, split in zip(shown, splits, strict=True):
        by_experiment = split_by(select(columns, split=split), "experiment")
        for experiment, part in by_experiment.items():
            look = looks[experiments.index(experiment)]
            color = look.color if several else style.splits[split]
            handles[experiment] = _draw_points(
                axes,
                *_x_and_y(part, dist_on_x),
                color=color,
                marker=look.marker if several else style.markers[split],
                rasterized=options.rasterize_scatter,
            )
            if options.fit_reg:
                handles[experiment].set_linestyle(look.line)
            if not (options.fit_reg and numbers["lines"]["x"].size):
                continue
            line = select(numbers["lines"], split=split, experiment=experiment)
            if line["x"].size:
                dashes = {"linestyle": look.line if several else "-", "zorder": 3}
                draw_band(axes, line, "x", "y", alpha=0.2, color=color, **dashes)
        if columns["acc"][0] == "delta":
            zero_line(axes, style, vertical=not dist_on_x)
        if not options.despine:
            axes.spines[["top", "right"]].set_visible(True)
    for axis, values in zip("xy", _x_and_y(columns, dist_on_x), strict=True):
        for axes in shown:
            _set_axis(axes, axis, values, style, options)
    if options.ylim is None:
        for axes in shown:
            limit_bands(axes)
    correlations = numbers["correlations"]
    rows = [select(correlations, split=split) for split in splits]
    if not options.plot_r or not correlations["r"].size:
        rows = []
    # A long list has no room among the points: it takes room beside the panel.
    beside = options.plot_r_loc == "best" and any(
        len(part["r"]) > _MOST_INSIDE for part in rows
    )
    colors = [look.color if several else style.foreground for look in looks]
    color_of = dict(zip(experiments, colors, strict=True))
    if beside:
        for axes, part in zip(shown, rows, strict=True):
            _write_r(axes, part, color_of, style, options, beside=True)
    texts = [distances.distance_label(columns), _ACC_LABELS[str(columns["acc"][0])]]
    x_name, y_name = (
        default if text is None else style.text(text)
        for text, default in zip(
            (options.xlabel, options.ylabel),
            texts if dist_on_x else texts[::-1],
            strict=True,
        )
    )
    named = options.add_axlabels and guide is None
    drawing.finish(
        figure,
        shown,
        style,
        x=x_name if named else "",
        y=y_name if named else "",
        titles=[drawing.SPLIT_TITLES[split] for split in splits],
        handles=[handles[name] for name in experiments] if several else (),
        labels=[style.text(name) for name in experiments],
        legend=options,
        legend_axes=empty,
    )
    # Among the points, where these are.
    settle(figure)
    if rows and not beside:
        unit = _size_of_r(style, options) / 72.0 * figure.dpi
        fits = [True] * len(rows)
        if options.plot_r_loc == "best":
            heights = [_LINE_OF_R * unit * len(part["r"]) for part in rows]
            fits = make_room_for_notes(shown, _WIDTH_OF_R * unit, heights)
        # All or none, so that what is missing is not taken for zero.
        for axes, part in zip(shown, rows, strict=True) if all(fits) else ():
            _write_r(axes, part, color_of, style, options, beside=False)
    if guide is not None:
        draw_guide(figure, guide, x_name, y_name, style)
    return figure


def _make_panels(
    style: Style, count: int, options: _DrawOptions
) -> "tuple[drawing.Figure, list[Any], Any, Any]":
    """Makes the panels, the guide and room for others.

    Returns:
      The figure, the axes to draw in, those of the guide, and empty ones for a legend;
      None where there are none.
    """
    before, after = options.add_dummy_before, options.add_dummy_after
    extra = before + after + options.add_axes_guide
    total = count + extra
    col_wrap = options.col_wrap
    if extra and not col_wrap:
        # They are to stand beside the panels, also where these become narrow.
        width = style.size()[0] / style.scale / CONTEXTS[style.context]
        col_wrap = max(1, int(width / _LEAST_BESIDE))
    figure, every = drawing.panels(
        style,
        total,
        col_wrap=col_wrap,
        aspect=1.6,
        sharex=options.sharex,
        sharey=options.sharey,
    )
    shown = every[int(before) :][:count]
    guide = every[-1] if options.add_axes_guide else None
    wrap = every[0].get_gridspec().ncols
    # Panels beside empty ones have tick labels of their own.
    for place, axes in enumerate(every):
        row = every[place - place % wrap : place]
        if not any(left in shown for left in row):
            axes.tick_params(labelleft=True)
        if not any(below in shown for below in every[place + wrap :: wrap]):
            axes.tick_params(labelbottom=True)
        axes.set_visible(axes in shown or axes is guide)
    empty = every[0] if before else every[count] if after else None
    if empty is not None and options.legend_loc not in drawing.OUTSIDE:
        empty.set_visible(True)
        empty.set_axis_off()
    return figure, shown, guide, empty


def _x_and_y(columns: Columns, dist_on_x: bool) -> tuple[np.ndarray, np.ndarray]:
    pair = columns["distance"], columns["accuracy"]
    return pair if dist_on_x else pair[::-1]


def _draw_points(axes: Any, x: np.ndarray, y: np.ndarray, **looks: Any) -> Any:
    """Draws points, smaller where there are many; returns what a legend explains."""
    import matplotlib as mpl
    from matplotlib.lines import Line2D

    size = mpl.rcParams["lines.markersize"]
    many = len(x) > 400
    axes.plot(
        x,
        y,
        linestyle="none",
        markersize=(0.5 if many else 0.75) * size,
        markeredgewidth=0.0,
        alpha=0.35 if many else 0.6,
        **looks,
    )
    return Line2D(
        [], [], color=looks["color"], marker=looks["marker"], linestyle="none"
    )


def _set_axis(
    axes: Any, axis: str, values: np.ndarray, style: Style, options: _DrawOptions
) -> None:
    """Sets scale, limits and ticks of an axis."""
    log: bool = getattr(options, f"log_{axis}scale")
    limits: Sequence[float] | None = getattr(options, f"{axis}lim")
    if log:
        if values.min() <= 0.0:
            raise UserError(
                f"--log_{axis}scale needs positive values, but the least is "
                f"{values.min():g}"
            )
        getattr(axes, f"set_{axis}scale")("log", nonpositive="mask")
        label_log(getattr(axes, f"{axis}axis"), values)
    if limits is not None:
        if len(limits) != 2 or limits[0] == limits[1] or (log and min(limits) <= 0):
            raise UserError(
                f"--{axis}lim must be two different numbers"
                f"{', positive on a log axis' if log else ''}, got "
                f"{' '.join(f'{limit:g}' for limit in limits)}"
            )
        getattr(axes, f"set_{axis}lim")(*limits)
    set_ticks(
        axes,
        axis,
        style,
        ticks=getattr(options, f"{axis}ticks"),
        labels=getattr(options, f"{axis}ticklabels"),
        flag=f"{axis}ticks",
    )


def _size_of_r(style: Style, options: _DrawOptions) -> float:
    """Returns the size of correlations, in points."""
    import matplotlib as mpl

    if options.r_font_size:
        return options.r_font_size * style.scale * CONTEXTS[style.context]
    return float(mpl.rcParams["legend.fontsize"])


def _write_r(
    axes: Any,
    correlations: Columns,
    colors: dict[str, Any],
    style: Style,
    options: _DrawOptions,
    *,
    beside: bool,
) -> None:
    """Writes the correlation of every experiment into a corner of a panel.

    Args:
      axes: The panel, whose layout is done unless it is beside it.
      correlations: Those of the panel.
      colors: Color of every experiment.
      style: The style.
      options: How large, and where.
      beside: Whether they are outside of the panel, at its right.
    """
    size = _size_of_r(style, options)
    place, count = options.plot_r_loc, len(correlations["r"])
    if beside:
        place = "upper right"
    elif place == "best":
        needed = size / 72.0 * axes.figure.dpi
        corner = _WIDTH_OF_R * needed, _LINE_OF_R * count * needed
        place, _ = emptiest_corner(axes, *corner)
    vertical, side = place.split()
    upper, right = vertical == "upper", side == "right"
    names, values = correlations["experiment"].tolist(), correlations["r"].tolist()
    for row, (name, r) in enumerate(zip(names, values, strict=True)):
        from_edge = 2 + _LINE_OF_R * size * (row if upper else count - 1 - row)
        axes.annotate(
            f"$r = {round(r, 2) + 0.0:.2f}$",
            (float(right), float(upper)),
            xycoords="axes fraction",
            xytext=(
                -3 if right and not beside else 3,
                -from_edge if upper else from_edge,
            ),
            textcoords="offset points",
            ha="left" if beside else side,
            va="top" if upper else "bottom",
            fontsize=size,
            color=colors[name],
            bbox=note_box(style),
            zorder=4,
        )


KIND = Kind(
    name="accuracy_vs_distance",
    description=_DESCRIPTION,
    reads="experiments",
    numbers_options=_NumbersOptions,
    compute=_compute,
    draw_options=_DrawOptions,
    render=_render,
    needs_data=True,
)
