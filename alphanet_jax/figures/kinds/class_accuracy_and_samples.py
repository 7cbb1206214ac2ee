"""Accuracy of every class before and after, by the number of its training samples."""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np

from alphanet_jax.figures import drawing, fitting, wrapping
from alphanet_jax.figures.classes import LEAST_WIDTH, MANY_BARS, class_accuracy
from alphanet_jax.figures.kind import Kind
from alphanet_jax.figures.numbers import (
    Columns,
    Numbers,
    Sources,
    make_columns,
    split_by,
)
from alphanet_jax.figures.options import About, PanelOptions
from alphanet_jax.figures.panel import label_log, spell_splits
from alphanet_jax.figures.settling import settle
from alphanet_jax.figures.style import Style

__all__ = ["KIND"]

_DESCRIPTION = """\
Accuracy of every class of the unchanged classifier and of AlphaNet's (the mean over
runs), as bars in the order of class size, and above them the number of training samples
of every class, as a line on a log axis; a panel for each experiment. Of a bar, what was
gained or lost has a color of its own: with what was lost it is the accuracy before,
with what was gained the accuracy after. Of more classes than --max_bars, or than
have room, those next to each other share a bar. The original's PlotClsAccAndSamples.

  python main.py plot class_accuracy_and_samples --base_res_dir=results/quickstart \\
      --width=full --out=classes.pdf"""

# Part of the height of a panel that bars have, and that the line has above them.
_BARS, _LINE = 0.7, 0.24
# Points from a bar to the next, at least.
_LEAST_PITCH = 1.2
# Points from a tick of training samples to the next, at least.
_APART = 1.5


@dataclass(frozen=True)
class _NumbersOptions:
    max_bars: Annotated[
        int,
        About(
            "most bars in a panel: of more classes, those next to each other are "
            "averaged; 0 for a bar for each class",
            low=0,
        ),
    ] = 250


def _compute(sources: Sources, options: _NumbersOptions) -> Numbers:
    """Computes accuracies, in percent, and sizes of all classes, largest first.

    Returns:
      A table of classes, columns experiment, rank (by size, from 0), class, name,
      split, samples, before, after; and a table 'bars', columns experiment, first
      (rank), classes (their number), before, after. Accuracies without test samples
      are NaN.
    """
    bars: list[tuple[Any, ...]] = []
    rows: list[tuple[Any, ...]] = []
    for name, runs in sources.named():
        values = class_accuracy(runs)
        after = values.after.mean(axis=0)
        splits, counts = runs.split_names, runs.common("class_counts")
        order = np.argsort(-counts, kind="stable")
        for first, end in _ranges(splits[order], options.max_bars):
            pair = values.before[order[first:end]], after[order[first:end]]
            bars.append((name, first, end - first, *map(_mean, pair)))
        for rank, label in enumerate(order.tolist()):
            rows.append(
                (
                    *(name, rank, label, runs.label_name(label), splits[label]),
                    *(counts[label], values.before[label], after[label]),
                )
            )
    columns = ("experiment", "rank", "class", "name", "split", "samples")
    return {
        "": make_columns((*columns, "before", "after"), rows),
        "bars": make_columns(
            ("experiment", "first", "classes", "before", "after"), bars
        ),
    }


def _ranges(splits: np.ndarray, max_bars: int) -> list[tuple[int, int]]:
    """Returns about `max_bars` ranges of ranks that share a bar, each of one split."""
    size = -(-len(splits) // max_bars) if max_bars else 1
    starts = _starts(splits)
    ends = [*starts[1:], len(splits)]
    return [
        (first, next_first)
        for start, end in zip(starts, ends, strict=True)
        for first, next_first in itertools.pairwise(_evenly(start, end, size))
    ]


def _evenly(start: int, end: int, size: int) -> list[int]:
    """Returns the ends of parts of at most a size, as equal as they can be."""
    parts = np.array_split(np.arange(start, end), -(-(end - start) // size))
    return [*(int(part[0]) for part in parts), end]


def _starts(splits: np.ndarray) -> list[int]:
    """Returns the ranks where another split begins."""
    changes = np.flatnonzero(splits[1:] != splits[:-1]) + 1
    return [0, *changes.tolist()]


def _mean(values: np.ndarray) -> float:
    """Averages the values that there are."""
    there = values[np.isfinite(values)]
    return float(there.mean()) if len(there) else float("nan")


def _render(numbers: Numbers, style: Style, options: PanelOptions) -> "drawing.Figure":
    """Draws a panel for each experiment."""
    columns = numbers[""]
    by_experiment = split_by(columns, "experiment")
    bars = split_by(numbers["bars"], "experiment")
    figure, all_axes = drawing.panels(
        style,
        len(by_experiment),
        col_wrap=options.col_wrap,
        inches=LEAST_WIDTH,
        aspect=1.8,
        sharex=False,
    )
    wrap = all_axes[0].get_gridspec().ncols
    sizes = columns["samples"]
    handles: list[Any] = []
    most = 1
    names: list[Any] = []
    rights: list[Any] = []
    for place, (axes, (name, part)) in enumerate(
        zip(all_axes, by_experiment.items(), strict=True)
    ):
        shared = _share_more(all_axes[0], bars[name], _starts(part["split"]))
        most = max(most, int(shared["classes"].max()))
        handles = _draw_bars(axes, shared, style)
        _label_splits(axes, part, style)
        right = axes.twinx()
        rights.append(right)
        handles.append(_draw_sizes(right, part, style))
        _scale_sizes(right, sizes)
        is_end = place % wrap == wrap - 1
        if is_end or (axes is all_axes[-1] and options.legend_loc == "none"):
            # Beside the line, as far as it has room there; not between panels, where a
            # legend names it, too.
            names.append(right.set_ylabel("Training samples", y=1.0, ha="right"))
        elif axes is not all_axes[-1]:
            right.tick_params(labelright=False)
        axes.spines["left"].set_bounds(0.0, 100.0)
        axes.set_yticks([0.0, 50.0, 100.0])
    all_axes[0].set_ylim(0.0, 100.0 / _BARS)
    sharing = f" (up to {most} a bar)" if most > 1 else ""
    drawing.finish(
        figure,
        all_axes,
        style,
        x=f"Classes, largest first{sharing}",
        y="Class accuracy (%)",
        titles=list(by_experiment),
        handles=handles,
        labels=["Kept", "Gained", "Lost", "Training samples"],
        legend=options,
    )
    spell_splits(figure, all_axes, style)
    shorter = ["Training\nsamples"]
    if options.legend_loc != "none":
        shorter.append("")  # the legend says what the line is
    for text in shorter:
        settle(figure)
        renderer = wrapping.renderer_of(figure, style)
        longest = max(name.get_window_extent(renderer).height for name in names)
        if longest <= all_axes[0].bbox.height:
            break
        for name in names:
            name.set(text=text, multialignment="center")
    _thin_minor_ticks(rights)
    return figure


def _share_more(axes: Any, bars: Columns, starts: Sequence[int]) -> Columns:
    """Averages bars next to each other, of one split, where they would be too thin.

    Args:
      axes: A panel.
      bars: Its bars.
      starts: Ranks where splits begin.
    """
    grid = axes.get_subplotspec().get_gridspec()
    # Where the axes begin and end is known only when all is drawn: labels take about
    # this much.
    points = 72.0 * max(0.72 * axes.get_figure().get_figwidth() / grid.ncols, 0.3)
    count = len(bars["first"])
    share = int(np.ceil(_LEAST_PITCH * count / points)) if count > 1 else 1
    if share <= 1:
        return bars
    places = np.searchsorted(bars["first"], starts).tolist()
    ends = [*places[1:], count]
    firsts = [
        first
        for place, end in zip(places, ends, strict=True)
        for first in _evenly(place, end, share)[:-1]
    ]
    classes = np.add.reduceat(bars["classes"], firsts)
    made = {"first": bars["first"][firsts], "classes": classes}
    for name in ("before", "after"):
        values = bars[name]
        weights = np.where(np.isfinite(values), bars["classes"], 0)
        sums = np.add.reduceat(np.where(weights > 0, values, 0.0) * weights, firsts)
        totals = np.add.reduceat(weights, firsts)
        made[name] = np.where(totals > 0, sums / np.maximum(totals, 1), np.nan)
    return made


def _draw_bars(axes: Any, part: Any, style: Style) -> list[Any]:
    """Draws what was kept, gained and lost; returns what a legend explains."""
    from matplotlib.patches import Patch

    before, after = part["before"], part["after"]
    kept, top = np.minimum(before, after), np.maximum(before, after)
    gained, lost = (
        np.where(after > before, top, kept),
        np.where(after < before, top, kept),
    )
    end = part["first"][-1] + part["classes"][-1]
    handles = []
    for color, alpha, low, high in (
        (style.secondary, 0.45, np.zeros(len(kept)), kept),
        (style.cycle[0], 1.0, kept, gained),
        (style.cycle[4], 1.0, kept, lost),
    ):
        looks: dict[str, Any] = {"facecolor": color, "alpha": alpha, "linewidth": 0.0}
        if end < MANY_BARS and (part["classes"] == 1).all():
            axes.bar(part["first"], high - low, bottom=low, width=0.8, **looks)
        else:
            edges = np.append(part["first"], end) - 0.5
            axes.stairs(high, edges, baseline=low, fill=True, **looks)
        handles.append(Patch(**looks))
    axes.set_xlim(-1.0, end)
    return handles


def _draw_sizes(axes: Any, part: Any, style: Style) -> Any:
    """Draws the numbers of training samples; returns what a legend explains."""
    axes.set_yscale("log")
    axes.spines["right"].set_visible(True)
    (line,) = axes.plot(part["rank"], part["samples"], color=style.foreground)
    return line


def _scale_sizes(axes: Any, sizes: np.ndarray) -> None:
    """Sets a log axis so that all sizes are in the band above the bars."""
    from matplotlib import ticker

    low, high = float(sizes.min()), float(sizes.max())
    # Classes that are equally large have a line in the middle of the band.
    pad = 1.0 if high > low else 2.0
    bottom, top = np.log10(low / pad), np.log10(high * pad)
    unit = (top - bottom) / _LINE
    margin = (1.0 - _BARS - _LINE) / 2.0
    end = top + margin * unit
    axes.set_ylim(10.0 ** (end - unit), 10.0**end)
    label_log(axes.yaxis, sizes)
    decades = 10.0 ** np.arange(np.floor(np.log10(low)), np.ceil(np.log10(high)) + 1)
    ticks = np.outer(decades, range(2, 10)).ravel()
    inside = ticks[(ticks >= low) & (ticks <= high)]
    axes.yaxis.set_minor_locator(ticker.FixedLocator(inside.tolist()))
    axes.spines["right"].set_bounds(low / pad, high * pad)


def _thin_minor_ticks(all_axes: Sequence[Any]) -> None:
    """Leaves small ticks of sizes out where they would merge: all but 2, 20, 50 ..."""
    from matplotlib import ticker

    settle(all_axes[0].figure)
    for axes in all_axes:
        ticks = np.sort(axes.yaxis.get_minorticklocs())
        first = np.round(ticks / 10.0 ** np.floor(np.log10(ticks)))
        for some in (ticks, ticks[(first == 2) | (first == 5)], ticks[:0]):
            axes.yaxis.set_minor_locator(ticker.FixedLocator(some.tolist()))
            # Large ones are where no small one is.
            both = np.sort([*some, *axes.yaxis.get_majorticklocs()])
            places = axes.transData.transform([(0.0, tick) for tick in both])[:, 1]
            apart = np.diff(places) * 72.0 / axes.figure.dpi
            if not apart.size or apart[apart > 1e-6].min(initial=np.inf) >= _APART:
                break


def _label_splits(axes: Any, part: Any, style: Style) -> None:
    """Names the splits below their classes where sizes separate them."""
    splits = part["split"]
    starts = _starts(splits)
    names = splits[starts].tolist()
    if len(set(names)) < len(names):
        return  # ranks, as on any axis
    ends = [*starts[1:], len(splits)]
    for end in ends[:-1]:
        axes.axvline(end - 0.5, color=style.secondary, linewidth=0.8, linestyle=":")
    centers = [(a + b - 1) / 2 for a, b in zip(starts, ends, strict=True)]
    axes.set_xticks(centers, [drawing.SPLIT_TITLES[name] for name in names])
    axes.tick_params(axis="x", length=0)


KIND = Kind(
    name="class_accuracy_and_samples",
    description=_DESCRIPTION,
    reads="experiments",
    numbers_options=_NumbersOptions,
    compute=_compute,
    draw_options=PanelOptions,
    render=_render,
    # Bars for many classes are to be wide.
    room=fitting.Room(aspect=LEAST_WIDTH),
)
