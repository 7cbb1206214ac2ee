"""Split accuracy of experiments: what several kinds of figure take and draw of it."""

from typing import Any

import numpy as np

from alphanet_jax import accuracy
from alphanet_jax.figures import statistics
from alphanet_jax.figures.numbers import Columns
from alphanet_jax.figures.options import Option
from alphanet_jax.figures.style import Style
from alphanet_jax.result_sets import ResultSet

__all__ = ["PARTS", "Y", "draw_baseline", "draw_split", "split_accuracies", "y_name"]

PARTS = ("few", "medium", "many", "overall")
Y = Option(
    "y",
    "acc",
    "accuracy, or its change from the unchanged classifier",
    choices=("acc", "acc_delta"),
)


def split_accuracies(
    runs: ResultSet, *, y: str, n_boot: int, rng: np.random.Generator
) -> list[tuple[Any, ...]]:
    """Gives the mean accuracy over runs of every split, with 95 percent intervals.

    Args:
      runs: Results.
      y: 'acc', or 'acc_delta' for the change from the unchanged classifier.
      n_boot: Number of bootstrap samples, of runs.
      rng: Source of random numbers.

    Returns:
      Rows of split, accuracy (or its change), low, high, baseline, number of runs;
      accuracies in percent.
    """
    labels, splits = runs.common("test_labels"), runs.splits
    right = accuracy.is_correct(runs.runs("test_pred"), labels)
    before = accuracy.is_correct(runs.common("baseline_test_pred"), labels)
    values = 100.0 * accuracy.per_split(right, labels, splits)
    base = 100.0 * accuracy.per_split(before.reshape(1, -1), labels, splits)[0]
    shown = values - base if y == "acc_delta" else values
    samples = statistics.bootstrap_means(shown, n_boot=n_boot, rng=rng)
    low, high = statistics.interval(samples)
    return [
        (split, shown[:, i].mean(), low[i], high[i], base[i], len(values))
        for i, split in enumerate(PARTS)
    ]


def y_name(*, is_change: bool) -> str:
    """Names the y axis."""
    return "Change in accuracy (points)" if is_change else "Accuracy (%)"


def draw_split(
    axes: Any,
    x: Any,
    columns: Columns,
    style: Style,
    *,
    dashed: bool = False,
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
        linestyle=":",
        zorder=1,
    )
