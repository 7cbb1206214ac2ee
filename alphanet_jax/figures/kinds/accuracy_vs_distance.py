"""Class accuracy, or its change, against the distance to a class's neighbors."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from alphanet_jax import nn_search
from alphanet_jax.errors import UserError
from alphanet_jax.figures import drawing, statistics
from alphanet_jax.figures.classes import (
    class_accuracy,
    experiment_looks,
    line_over_classes,
)
from alphanet_jax.figures.numbers import (
    Numbers,
    Sources,
    columns_from_rows,
    names_of_sets,
    select,
)
from alphanet_jax.figures.options import N_BOOT, SEED, Option
from alphanet_jax.figures.style import CONTEXTS, Style
from alphanet_jax.results.datasets import DataFinder
from alphanet_jax.results.sets import ResultFile, ResultSet

__all__ = [
    "DATA_OPTIONS",
    "DESCRIPTION",
    "DRAWING_OPTIONS",
    "NEEDS_DATA",
    "READS",
    "draw",
    "numbers",
]

DESCRIPTION = """\
Accuracy of classes, or its change from the unchanged classifier, against the mean
distance to their k neighbors: a point for each class and run (with --r_group_classes,
for each class), a panel for each split. Neighbors of few classes are the base classes
that they are combined with; those of base classes (medium and many), for comparison,
the k nearest few classes. Lines are fitted by least squares, with 95 percent bootstrap
bands over classes; r is Pearson's. The dataset itself is read where base classes or
random neighbors are drawn. The original's PlotSplitClsAccDeltaVsNNDist.

  python main.py plot accuracy_vs_distance --base_res_dir=results/quickstart \\
      --out=distance.png"""

READS = "experiments"
NEEDS_DATA = True
DATA_OPTIONS = (
    Option(
        "splits",
        ("few", "base"),
        "panels: many, medium, few, base (medium and many)",
        of=str,
        choices=("many", "medium", "few", "base"),
        several=True,
    ),
    Option(
        "acc",
        "delta",
        "accuracy of the unchanged classifier, of AlphaNet's, or the change",
        choices=("baseline", "alphanet", "delta"),
    ),
    Option(
        "dist_for_rand",
        "euclidean",
        "metric of distances where neighbors were drawn at random",
        choices=("euclidean", "cosine"),
    ),
    Option("dist_on_x", True, "distance on the x axis, accuracy on the y axis"),
    Option(
        "r_group_classes",
        False,
        "points, and so r, are means over the runs of every class, not single runs",
    ),
    N_BOOT,
    SEED,
)
_CORNERS = ("upper right", "upper left", "lower left", "lower right")
DRAWING_OPTIONS = (
    *drawing.LEGEND_OPTIONS,
    Option(
        "legend_bbox_to_anchor",
        None,
        "x and y of what a --legend_loc inside is of, such as 'upper left': 1 1 is the "
        "upper right corner of the first panel",
        of=float,
        several=True,
    ),
    drawing.COL_WRAP,
    Option("sharex", True, "the same x axis for all panels"),
    Option("sharey", True, "the same y axis for all panels"),
    Option("fit_reg", True, "draw the fitted lines"),
    Option("plot_r", True, "write the correlation into the panel"),
    Option(
        "plot_r_loc",
        "best",
        "where: best (the emptiest corner; beside the panel for more than four), "
        + ", ".join(_CORNERS),
        choices=("best", *_CORNERS),
    ),
    Option("r_font_size", 0.0, "its size, in points; 0 for that of ticks", low=0),
    Option("despine", True, "leave the upper and right borders of panels out"),
    Option("add_axes_guide", False, "a panel at the end that only names the axes"),
    Option(
        "rasterize_scatter",
        False,
        "points as pixels in pdf, svg and pgf (in files beside it), for very many",
    ),
    Option("add_dummy_before", False, "room for a panel before the first"),
    Option("add_dummy_after", False, "room for a panel after the last"),
    Option("add_axlabels", True, "name the axes, where no guide does"),
    Option("log_xscale", False, "x axis on a log scale"),
    Option("log_yscale", False, "y axis on a log scale"),
    Option("xlim", None, "ends of the x axis, as 0 20", of=float, several=True),
    Option(
        "ylim",
        None,
        "ends of the y axis, as --ylim -5 5",
        of=float,
        several=True,
    ),
    Option("xticks", None, "values with a tick on the x axis", of=float, several=True),
    Option("yticks", None, "values with a tick on the y axis", of=float, several=True),
    Option("xticklabels", None, "labels of --xticks", several=True),
    Option("yticklabels", None, "labels of --yticks", several=True),
    Option("xlabel", None, "name of the x axis"),
    Option("ylabel", None, "name of the y axis"),
)
_ACC_LABELS = {
    "baseline": "Baseline accuracy (%)",
    "alphanet": "Class accuracy (%)",
    "delta": "Change in accuracy (points)",
}
# Correlations that a corner of a panel has room for.
_MOST_INSIDE = 4
_METRICS = {"euclidean": "Euclidean", "cosine": "cosine"}


def numbers(
    sources: Sources,
    *,
    splits: Sequence[str] = ("few", "base"),
    acc: str = "delta",
    dist_for_rand: str = "euclidean",
    dist_on_x: bool = True,
    r_group_classes: bool = False,
    n_boot: int = 1000,
    boot_seed: int = 0,
) -> Numbers:
    """Gives distances and accuracies, in percent, of classes, and lines through them.

    Classes without test samples do not count.

    Args:
      sources: Results.
      splits: What to draw: 'many', 'medium', 'few', 'base'.
      acc: 'baseline', 'alphanet' or 'delta'.
      dist_for_rand: Metric of distances where neighbors were drawn at random:
        'euclidean' or 'cosine'.
      dist_on_x: Whether lines give accuracy for a distance, or distance for an
        accuracy.
      r_group_classes: Whether points are means over the runs of every class.
      n_boot: Number of bootstrap samples, of classes.
      boot_seed: Their seed.

    Returns:
      A table of points, columns split, experiment, run (from 0; NaN for means), class,
      name, neighbors (their number), metric, distance, accuracy, acc, x (distance or
      accuracy); a table
      'lines', columns split, experiment, x, y, low, high; and a table 'correlations',
      columns split, experiment, points, r. Lines and correlations are missing where
      distances or accuracies do not vary.

    Raises:
      UserError: If the data is needed and not there, there are not enough few classes
        to be neighbors, or no class to draw.
    """
    points: list[tuple[Any, ...]] = []
    lines: list[tuple[Any, ...]] = []
    correlations: list[tuple[Any, ...]] = []
    rng = np.random.default_rng(boot_seed)
    names = names_of_sets(sources.sets)
    for split in dict.fromkeys(splits):
        for experiment, runs in zip(names, sources.sets, strict=True):
            part = _points(runs, split, acc, sources.finder, dist_for_rand)
            if r_group_classes:
                part = _means_of_runs(part)
            points += [
                (split, experiment, *row[:2], runs.label_name(row[1]), *row[2:])
                for row in part
            ]
            labels, *pair = (
                np.array([row[column] for row in part]) for column in (1, 4, 5)
            )
            x, y = pair if dist_on_x else pair[::-1]
            line = line_over_classes(x, y, labels, n_boot=n_boot, rng=rng)
            if line is not None:
                lines += [(split, experiment, *row) for row in zip(*line, strict=True)]
            r = statistics.pearson(x, y) if len(x) > 1 else np.nan
            if np.isfinite(r):
                correlations.append((split, experiment, len(x), r))
    if not points:
        raise UserError(
            f"no class of {', '.join(dict.fromkeys(splits))} has test samples"
        )
    table = columns_from_rows(
        (
            *("split", "experiment", "run", "class", "name"),
            *("neighbors", "metric", "distance", "accuracy"),
        ),
        points,
    )
    table["acc"] = np.full(len(points), acc)
    table["x"] = np.full(len(points), "distance" if dist_on_x else "accuracy")
    return {
        "": table,
        "lines": columns_from_rows(
            ("split", "experiment", "x", "y", "low", "high"), lines
        ),
        "correlations": columns_from_rows(
            ("split", "experiment", "points", "r"), correlations
        ),
    }


class _Point(NamedTuple):
    run: float  # from 0; NaN for a mean over runs
    label: int
    neighbors: int
    metric: str
    distance: float
    accuracy: float


def _points(
    runs: ResultSet, split: str, acc: str, finder: DataFinder, dist_for_rand: str
) -> list[_Point]:
    """Lists the points of an experiment's runs."""
    points: list[_Point] = []
    first = 0
    for file in runs.files:
        metric, classes, distances = _distances(file, split, finder, dist_for_rand)
        values = class_accuracy(file)
        shown = {
            "baseline": np.broadcast_to(values.before, values.after.shape),
            "alphanet": values.after,
            "delta": values.after - values.before,
        }[acc]
        number = file.per_run("neighbors").shape[-1]
        run, place = np.nonzero(np.isfinite(shown[:, classes]))
        points += [
            _Point(first + r, label, number, metric, distance, value)
            for r, label, distance, value in zip(
                run.tolist(),
                classes[place].tolist(),
                distances[run, place].tolist(),
                shown[run, classes[place]].tolist(),
                strict=True,
            )
        ]
        first += file.num_runs
    return points


def _means_of_runs(points: Sequence[_Point]) -> list[_Point]:
    """Averages the points of every class, of every metric and number of neighbors."""
    groups: dict[tuple[Any, ...], list[_Point]] = {}
    for point in points:
        groups.setdefault(point[1:4], []).append(point)
    return [
        group[0]._replace(
            run=np.nan,
            distance=float(np.mean([point.distance for point in group])),
            accuracy=float(np.mean([point.accuracy for point in group])),
        )
        for group in groups.values()
    ]


def _distances(
    file: ResultFile, split: str, finder: DataFinder, dist_for_rand: str
) -> tuple[str, np.ndarray, np.ndarray]:
    """Gives mean distances of the classes of a split to their neighbors.

    Returns:
      The metric, the classes, with shape `[m]`, and the distances of every run, with
      shape `[S, m]`.
    """
    few = file.arrays["few_classes"]
    chosen = ("medium", "many") if split == "base" else (split,)
    classes = np.sort(np.concatenate([file.arrays[f"{s}_classes"] for s in chosen]))
    drawn = file.setting("training.nn_dist")
    metric = dist_for_rand if drawn == "random" else drawn
    neighbors = file.per_run("neighbors")
    if split == "few":
        distances = file.per_run("neighbor_distances")
        if drawn == "random":
            # What the file has are the random numbers that the order came from.
            means = finder.class_means(finder.dataset(file))
            distances = _distances_between(means, few, neighbors, metric)
        # A result lists few classes in the order of its arrays.
        order = np.argsort(few, kind="stable")
        return metric, classes, distances.mean(axis=-1)[:, order]
    number = neighbors.shape[-1]
    if number >= len(few):
        raise UserError(
            f"{file.path}: distances of base classes are to the {number} nearest few "
            f"classes, as many as there are neighbors, but there are only {len(few)}, "
            "and one more is needed; choose --splits=few"
        )
    means = finder.class_means(finder.dataset(file))
    nearest = nn_search.find_neighbors(
        means, classes, few, num_neighbors=number, metric=metric
    )
    mean = np.asarray(nearest.distances, np.float64).mean(axis=1)
    return metric, classes, np.broadcast_to(mean, (file.num_runs, len(classes)))


def _distances_between(
    means: np.ndarray, classes: np.ndarray, neighbors: np.ndarray, metric: str
) -> np.ndarray:
    """Gives distances, as `nn_search`, of classes `[F]` to others `[S, F, k]`."""
    points = means.astype(np.float64)
    if metric == "cosine":
        norms = np.linalg.norm(points, axis=1, keepdims=True)
        points = points / np.maximum(norms, 1e-12)
    # A run at a time: features of all would be far more memory.
    squared = np.stack(
        [((points[run] - points[classes, None]) ** 2).sum(axis=-1) for run in neighbors]
    )
    return 0.5 * squared if metric == "cosine" else np.sqrt(squared)


def draw(
    numbers: Numbers,
    style: Style,
    *,
    legend_ncols: int = 0,
    legend_loc: str = "above",
    legend_bbox_to_anchor: Sequence[float] | None = None,
    col_wrap: int = 0,
    sharex: bool = True,
    sharey: bool = True,
    fit_reg: bool = True,
    plot_r: bool = True,
    plot_r_loc: str = "best",
    r_font_size: float = 0.0,
    despine: bool = True,
    add_axes_guide: bool = False,
    rasterize_scatter: bool = False,
    add_dummy_before: bool = False,
    add_dummy_after: bool = False,
    add_axlabels: bool = True,
    log_xscale: bool = False,
    log_yscale: bool = False,
    xlim: Sequence[float] | None = None,
    ylim: Sequence[float] | None = None,
    xticks: Sequence[float] | None = None,
    yticks: Sequence[float] | None = None,
    xticklabels: Sequence[str] | None = None,
    yticklabels: Sequence[str] | None = None,
    xlabel: str | None = None,
    ylabel: str | None = None,
) -> Any:
    """Draws points, lines and correlations, a panel for each split.

    Raises:
      UserError: If options do not fit each other, or what is drawn.
    """
    columns = numbers[""]
    splits = list(dict.fromkeys(columns["split"].tolist()))
    experiments = list(dict.fromkeys(columns["experiment"].tolist()))
    total = add_dummy_before + len(splits) + add_dummy_after + add_axes_guide
    figure, every = drawing.panels(
        style, total, col_wrap=col_wrap, aspect=1.6, sharex=sharex, sharey=sharey
    )
    wrap = every[0].get_gridspec().ncols
    shown = every[int(add_dummy_before) :][: len(splits)]
    guide = every[-1] if add_axes_guide else None
    _label_ticks(every, shown, wrap)
    for axes in every:
        axes.set_visible(axes in shown or axes is guide)
    looks = experiment_looks(style, len(experiments))
    handles: dict[str, Any] = {}
    several = len(experiments) > 1
    dist_on_x = columns["x"][0] == "distance"
    for axes, split in zip(shown, splits, strict=True):
        here = select(columns, split=split)
        for experiment, look in zip(experiments, looks, strict=True):
            part = select(here, experiment=experiment)
            if not part["class"].size:
                continue
            color = look.color if several else style.splits[split]
            marker = look.marker if several else style.markers[split]
            handles[experiment] = _draw_points(
                axes,
                *_x_and_y(part, dist_on_x),
                color=color,
                marker=marker,
                rasterized=rasterize_scatter,
            )
            if fit_reg and numbers["lines"]["x"].size:
                line = select(numbers["lines"], split=split, experiment=experiment)
                _draw_line(axes, line, color, look.line if several else "-")
        if columns["acc"][0] == "delta":
            drawing.zero_line(axes, style, vertical=not dist_on_x)
        if not despine:
            axes.spines[["top", "right"]].set_visible(True)
    x, y = _x_and_y(columns, dist_on_x)
    for axis, values, log, limits, ticks, labels in (
        ("x", x, log_xscale, xlim, xticks, xticklabels),
        ("y", y, log_yscale, ylim, yticks, yticklabels),
    ):
        for axes in shown:
            _set_axis(axes, axis, values, style, log, limits, ticks, labels)
    if plot_r:
        colors = [look.color if several else style.foreground for look in looks]
        for axes, split in zip(shown, splits, strict=True):
            _write_r(
                axes,
                numbers["correlations"],
                split,
                dict(zip(experiments, colors, strict=True)),
                style,
                plot_r_loc,
                r_font_size,
            )
    texts = [_distance_label(columns), _ACC_LABELS[str(columns["acc"][0])]]
    texts = texts if dist_on_x else texts[::-1]
    given = [
        default if text is None else style.text(text)
        for text, default in zip((xlabel, ylabel), texts, strict=True)
    ]
    if guide is not None:
        _draw_guide(figure, guide, given[0], given[1], style)
    named = add_axlabels and guide is None
    drawing.finish(
        figure,
        shown,
        style,
        x=given[0] if named else "",
        y=given[1] if named else "",
        titles=[drawing.SPLIT_TITLES[split] for split in splits],
        handles=[handles[name] for name in experiments] if several else (),
        labels=[style.text(name) for name in experiments],
        legend_ncols=legend_ncols,
        legend_loc=legend_loc,
    )
    if legend_bbox_to_anchor is not None:
        legend = shown[0].get_legend()
        if legend is None or len(legend_bbox_to_anchor) != 2:
            raise UserError(
                "--legend_bbox_to_anchor takes an x and a y, several experiments to "
                "be explained, and a --legend_loc inside, such as 'upper left'"
            )
        legend.set_bbox_to_anchor(tuple(legend_bbox_to_anchor), shown[0].transAxes)
    return figure


def _x_and_y(columns: Any, dist_on_x: bool) -> tuple[np.ndarray, np.ndarray]:
    pair = columns["distance"], columns["accuracy"]
    return pair if dist_on_x else pair[::-1]


def _label_ticks(every: Sequence[Any], shown: Sequence[Any], wrap: int) -> None:
    """Gives panels beside empty ones tick labels of their own."""
    for place, axes in enumerate(every):
        row = every[place - place % wrap : place]
        if not any(left in shown for left in row):
            axes.tick_params(labelleft=True)
        if not any(below in shown for below in every[place + wrap :: wrap]):
            axes.tick_params(labelbottom=True)


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


def _draw_line(axes: Any, line: Any, color: Any, dashes: Any) -> None:
    if not line["x"].size:
        return
    axes.fill_between(
        line["x"], line["low"], line["high"], color=color, alpha=0.2, linewidth=0
    )
    axes.plot(line["x"], line["y"], color=color, linestyle=dashes, zorder=3)


def _set_axis(
    axes: Any,
    axis: str,
    values: np.ndarray,
    style: Style,
    log: bool,
    limits: Sequence[float] | None,
    ticks: Sequence[float] | None,
    labels: Sequence[str] | None,
) -> None:
    """Sets scale, limits and ticks of an axis."""
    if log:
        if values.min() <= 0.0:
            raise UserError(
                f"--log_{axis}scale needs positive values, but the least is "
                f"{values.min():g}"
            )
        getattr(axes, f"set_{axis}scale")("log", nonpositive="mask")
        drawing.label_log(getattr(axes, f"{axis}axis"), values)
    if limits is not None:
        if len(limits) != 2 or limits[0] == limits[1] or (log and min(limits) <= 0):
            raise UserError(
                f"--{axis}lim must be two different numbers"
                f"{', positive on a log axis' if log else ''}, got "
                f"{' '.join(f'{limit:g}' for limit in limits)}"
            )
        getattr(axes, f"set_{axis}lim")(*limits)
    if ticks is not None:
        if labels is None:
            labels = [f"{tick:g}" for tick in ticks]
        elif len(labels) != len(ticks):
            raise UserError(
                f"--{axis}ticklabels has {len(labels)} labels for {len(ticks)} ticks"
            )
        getattr(axes, f"set_{axis}ticks")(
            ticks, [style.text(label) for label in labels]
        )
    elif labels is not None:
        raise UserError(f"--{axis}ticklabels needs --{axis}ticks")


def _write_r(
    axes: Any,
    correlations: Any,
    split: str,
    colors: dict[str, Any],
    style: Style,
    place: str,
    font_size: float,
) -> None:
    """Writes the correlation of every experiment into a corner of a panel."""
    import matplotlib as mpl

    if not correlations["r"].size:
        return
    part = select(correlations, split=split)
    size = mpl.rcParams["legend.fontsize"]
    if font_size:
        size = font_size * style.scale * CONTEXTS[style.context]
    count = len(part["r"])
    # A long list has no room among the points.
    outside = place == "best" and count > _MOST_INSIDE
    if place == "best":
        needed = size / 72.0 * axes.figure.dpi
        place = (
            "upper right"
            if outside
            else _emptiest_corner(axes, 5.0 * needed, 1.3 * count * needed)
        )
    vertical, side = place.split()
    for row, (name, r) in enumerate(
        zip(part["experiment"].tolist(), part["r"].tolist(), strict=True)
    ):
        from_edge = row if vertical == "upper" else count - 1 - row
        down = -1.0 if vertical == "upper" else 1.0
        axes.annotate(
            f"$r = {round(r, 2) + 0.0:.2f}$",
            (1.0 if side == "right" else 0.0, 1.0 if vertical == "upper" else 0.0),
            xycoords="axes fraction",
            xytext=(
                3 if side == "left" or outside else -3,
                down * (2 + 1.3 * size * from_edge),
            ),
            textcoords="offset points",
            ha="left" if outside else side,
            va="top" if vertical == "upper" else "bottom",
            fontsize=size,
            color=colors[name],
            bbox=drawing.note_box(style),
            zorder=4,
        )


def _emptiest_corner(axes: Any, width: float, height: float) -> str:
    """Names the corner in which a note, of a size in pixels, covers fewest points."""
    # Labels, whose layout is still to come, leave a panel about three quarters.
    part_x = min(width / (0.75 * axes.bbox.width), 0.5)
    part_y = min(height / (0.75 * axes.bbox.height), 0.8)
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
    for corner in _CORNERS:
        vertical, side = corner.split()
        # Distances from the corner.
        x = 1.0 - points[:, 0] if side == "right" else points[:, 0]
        y = 1.0 - points[:, 1] if vertical == "upper" else points[:, 1]
        counts[corner] = int(((x < part_x) & (y < part_y)).sum())
    return min(counts, key=lambda corner: counts[corner])


def _draw_guide(figure: Any, axes: Any, x: str, y: str, style: Style) -> None:
    """Makes a panel of two arrows with the names of the axes.

    Args:
      figure: The figure.
      axes: The panel.
      x: Name of the x axis.
      y: Name of the y axis.
      style: The style.
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
    drawing.label_axes(figure, [axes], style, x=x, y=y)


def _distance_label(columns: Any) -> str:
    """Names distances by their metric and number of neighbors, where all have one."""
    metrics = np.unique(columns["metric"]).tolist()
    counts = np.unique(columns["neighbors"]).tolist()
    kind = f"{_METRICS[metrics[0]]} " if len(metrics) == 1 else ""
    if counts == [1]:
        text = f"{kind}distance to the neighbor"
        return text[0].upper() + text[1:]
    number = f" {counts[0]}" if len(counts) == 1 else ""
    return f"Mean {kind}distance to{number} neighbors"
