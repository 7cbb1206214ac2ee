"""Change in the accuracy of every class, sorted within its split."""

from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np

from alphanet_jax.figures import drawing
from alphanet_jax.figures.classes import LEAST_WIDTH, MANY_BARS, class_accuracy
from alphanet_jax.figures.kind import Kind
from alphanet_jax.figures.numbers import (
    Numbers,
    Sources,
    make_columns,
    select,
    split_by,
)
from alphanet_jax.figures.options import COL_WRAP, NoOptions
from alphanet_jax.figures.panel import note_box, zero_line
from alphanet_jax.figures.style import Style
from alphanet_jax.splits import SPLITS

__all__ = ["KIND"]

_DESCRIPTION = """\
Change in the accuracy of every class from the unchanged classifier, mean over runs: a
bar for each class, sorted within few, medium and many. Lines with numbers are the mean
changes of a split's classes and of all classes; a panel for each experiment. Classes
without test samples are left out. The original's PlotClsAccDeltaBySplit.

  python main.py plot class_changes --base_res_dir=results/quickstart --out=changes.png
"""


@dataclass(frozen=True)
class _DrawOptions:
    col_wrap: Annotated[int, COL_WRAP] = 0


def _compute(sources: Sources, options: NoOptions) -> Numbers:
    """Computes the change in accuracy of every class, in points.

    Returns:
      A table of classes, columns experiment, split, rank (within the split, from 0, by
      falling change), class, name, samples (of training), before, after, change; and a
      table 'means', columns experiment, split (few, medium, many, overall), classes,
      change: means over classes.
    """
    rows: list[tuple[Any, ...]] = []
    means: list[tuple[Any, ...]] = []
    for name, runs in sources.named():
        values = class_accuracy(runs)
        after = values.after.mean(axis=0)
        changes = after - values.before
        splits, counts = runs.split_names, runs.common("class_counts")
        tested = np.isfinite(changes)
        for split in SPLITS:
            classes = np.flatnonzero((splits == split) & tested)
            # What differs by rounding alone is the same.
            order = np.argsort(-changes[classes].round(9), kind="stable")
            classes = classes[order]
            for rank, label in enumerate(classes.tolist()):
                rows.append(
                    (
                        *(name, split, rank, label, runs.label_name(label)),
                        *(counts[label], values.before[label], after[label]),
                        changes[label],
                    )
                )
            if len(classes):
                means.append((name, split, len(classes), changes[classes].mean()))
        means.append((name, "overall", tested.sum(), changes[tested].mean()))
    return {
        "": make_columns(
            (
                *("experiment", "split", "rank", "class", "name", "samples"),
                *("before", "after", "change"),
            ),
            rows,
        ),
        "means": make_columns(("experiment", "split", "classes", "change"), means),
    }


def _render(numbers: Numbers, style: Style, options: _DrawOptions) -> "drawing.Figure":
    """Draws a panel for each experiment."""
    by_experiment = split_by(numbers[""], "experiment")
    means = split_by(numbers["means"], "experiment")
    figure, all_axes = drawing.panels(
        style,
        len(by_experiment),
        col_wrap=options.col_wrap,
        inches=LEAST_WIDTH,
        aspect=1.6,
        sharex=False,
    )
    notes = []
    for axes, (name, columns) in zip(all_axes, by_experiment.items(), strict=True):
        notes += _draw_panel(axes, columns, means[name], style)
    drawing.finish(
        figure,
        all_axes,
        style,
        x="Classes, sorted within their split",
        y="Change in accuracy (points)",
        titles=list(by_experiment),
    )
    figure.draw_without_rendering()
    for note in notes:
        _keep_inside(figure, note)
    return figure


def _keep_inside(figure: Any, note: Any) -> None:
    """Moves a note that is wider than its line, whose layout is done, off the axis."""
    box = note.get_window_extent(figure.canvas.get_renderer())
    missing = note.axes.bbox.x0 - box.x0
    if missing > 0.0:
        x, y = note.xyann
        note.xyann = (x + 72.0 * missing / figure.dpi + 3.0, y)


def _draw_panel(axes: Any, columns: Any, means: Any, style: Style) -> list[Any]:
    """Draws the bars and means of an experiment; returns what is written at means."""
    import matplotlib as mpl

    unit = mpl.rcParams["lines.linewidth"]
    total = len(columns["change"])
    gap = max(1.0, 0.03 * total)
    overall = float(select(means, split="overall")["change"][0])
    start, ticks, labels, notes = 0.0, [], [], []
    for split in SPLITS:
        changes = select(columns, split=split)["change"]
        if not changes.size:
            continue
        size, color = len(changes), style.splits[split]
        if total < MANY_BARS:
            axes.bar(
                start + np.arange(size) + 0.5,
                changes,
                width=0.8,
                color=color,
                linewidth=0.0,
            )
        else:
            axes.stairs(
                changes,
                start + np.arange(size + 1),
                fill=True,
                color=color,
                linewidth=0,
            )
        mean = float(select(means, split=split)["change"][0])
        axes.hlines(
            mean, start, start + size, colors=style.foreground, linewidth=unit, zorder=3
        )
        notes.append(_write_mean(axes, style, (start, start + size), mean))
        ticks.append(start + size / 2)
        labels.append(f"{drawing.SPLIT_TITLES[split]}\n({size:,})")
        start += size + gap
    end = start - gap
    zero_line(axes, style)
    color = style.splits["overall"]
    # Unlike the guide at zero.
    dots = (0, (1, 1.2))
    axes.axhline(overall, color=color, linewidth=unit, linestyle=dots, zorder=2.5)
    axes.annotate(
        f"All\n{_signed(overall)}",
        (1.0, overall),
        xycoords=("axes fraction", "data"),
        xytext=(3, 0),
        textcoords="offset points",
        va="center",
        fontsize=mpl.rcParams["legend.fontsize"],
        color=color,
    )
    axes.set_xticks(ticks, labels)
    axes.tick_params(axis="x", length=0)
    axes.set_xlim(-0.5 * gap, end + 0.5 * gap)
    return notes


def _write_mean(axes: Any, style: Style, ends: tuple[float, float], y: float) -> Any:
    """Writes the value of a split's mean at the end of its line where bars are short.

    Bars fall: at the right end they do not reach a positive mean, at the left end not a
    negative one.
    """
    import matplotlib as mpl

    up = y >= 0.0
    return axes.annotate(
        _signed(y),
        (ends[1] if up else ends[0], y),
        xytext=(0, 2 if up else -2),
        textcoords="offset points",
        ha="right" if up else "left",
        va="bottom" if up else "top",
        fontsize=mpl.rcParams["legend.fontsize"],
        bbox=note_box(style),
        zorder=4,
    )


def _signed(value: float) -> str:
    return f"${value:+.1f}$"


KIND = Kind(
    name="class_changes",
    description=_DESCRIPTION,
    reads="experiments",
    numbers_options=NoOptions,
    compute=_compute,
    draw_options=_DrawOptions,
    render=_render,
)
