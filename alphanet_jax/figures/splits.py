"""Split accuracy of experiments, as several kinds of figure compute and draw it."""

from typing import Any

import numpy as np

from alphanet_jax.figures import statistics
from alphanet_jax.figures.numbers import Columns
from alphanet_jax.figures.options import About
from alphanet_jax.figures.style import Style
from alphanet_jax.results import accuracy, top_k
from alphanet_jax.results.datasets import DataFinder
from alphanet_jax.results.sets import ResultSet

__all__ = [
    "ACC_K",
    "BASELINE",
    "PARTS",
    "Y",
    "baseline_handle",
    "draw_baseline",
    "draw_split",
    "split_accuracies",
    "y_name",
]

PARTS = accuracy.PARTS
BASELINE = "Baseline"  # what legends call the unchanged classifier
_DOTS = ":"
Y = About(
    "accuracy, or its change from the unchanged classifier",
    choices=("acc", "acc_delta"),
)
ACC_K = About(
    "a prediction is right when the true class is one of so many best; other than 1 "
    "needs the data of the results",
    low=1,
)


def split_accuracies(
    runs: ResultSet,
    finder: DataFinder,
    *,
    y: str,
    acc_k: int,
    n_boot: int,
    rng: np.random.Generator,
) -> list[tuple[Any, ...]]:
    """Computes the mean accuracy over runs of every split, with 95 percent intervals.

    Args:
      runs: Results.
      finder: Finds their data, where that is needed.
      y: 'acc', or 'acc_delta' for the change from the unchanged classifier.
      acc_k: How many of the best classes count.
      n_boot: Number of bootstrap samples, of runs.
      rng: Source of random numbers.

    Returns:
      Rows of split, accuracy (or its change), low, high, baseline, number of runs;
      accuracies in percent.
    """
    labels, splits = runs.common("test_labels"), runs.splits
    if acc_k == 1:
        right = accuracy.is_correct(runs.runs("test_pred"), labels)
        before = accuracy.is_correct(runs.common("baseline_test_pred"), labels)
    else:
        # The unchanged classifier is the same in all files.
        hits = [
            top_k.top_k_hits(finder.dataset(file), file, k=acc_k, report=finder.report)
            for file in runs.files
        ]
        right, before = np.concatenate([each for each, _ in hits]), hits[0][1]
    values = 100.0 * accuracy.per_split(right, labels, splits)
    base = 100.0 * accuracy.per_split(before.reshape(1, -1), labels, splits)[0]
    shown = values - base if y == "acc_delta" else values
    samples = statistics.bootstrap_means(shown, n_boot=n_boot, rng=rng)
    low, high = statistics.interval(samples)
    return [
        (split, shown[:, i].mean(), low[i], high[i], base[i], len(values))
        for i, split in enumerate(PARTS)
    ]


def y_name(*, is_change: bool, acc_k: int) -> str:
    """Names the y axis."""
    name = "accuracy" if acc_k == 1 else f"top-{acc_k} accuracy"
    return f"Change in {name} (points)" if is_change else f"{name.capitalize()} (%)"


def draw_split(
    axes: Any, x: Any, columns: Columns, style: Style, *, dashed: bool = False
) -> Any:
    """Draws a line with intervals for a split; returns what a legend explains."""
    import matplotlib as mpl

    split, mean = str(columns["split"][0]), columns["accuracy"]
    return axes.errorbar(
        x,
        mean,
        yerr=np.maximum([mean - columns["low"], columns["high"] - mean], 0.0),
        color=style.splits[split],
        marker=style.markers[split],
        linestyle=(0, (4, 2)) if dashed else "-",
        markerfacecolor=style.background if dashed else style.splits[split],
        elinewidth=0.7 * mpl.rcParams["lines.linewidth"],
        zorder=3 if split == "few" else 2,
    )


def draw_baseline(axes: Any, columns: Columns, style: Style) -> None:
    """Draws what the accuracy of a split was before, behind everything."""
    import matplotlib as mpl

    axes.axhline(
        columns["baseline"][0],
        color=style.splits[str(columns["split"][0])],
        linewidth=0.7 * mpl.rcParams["lines.linewidth"],
        linestyle=_DOTS,
        zorder=1,
    )


def baseline_handle(style: Style) -> Any:
    """Returns what a legend explains as the lines of `draw_baseline`."""
    import matplotlib as mpl
    from matplotlib.lines import Line2D

    width = 0.7 * mpl.rcParams["lines.linewidth"]
    return Line2D([], [], color=style.foreground, linewidth=width, linestyle=_DOTS)
