"""Class accuracy against the number of training samples, as regression lines."""

from typing import Any

import numpy as np

from alphanet_jax.errors import UserError
from alphanet_jax.figures import drawing
from alphanet_jax.figures.classes import (
    class_accuracy,
    experiment_looks,
    line_over_classes,
    names_of_datasets,
)
from alphanet_jax.figures.numbers import Numbers, Sources, columns_from_rows, select
from alphanet_jax.figures.options import SEED, Option
from alphanet_jax.figures.style import Style

__all__ = [
    "DATA_OPTIONS",
    "DESCRIPTION",
    "DRAWING_OPTIONS",
    "READS",
    "draw",
    "numbers",
]

DESCRIPTION = """\
Accuracy of classes against the number of their training samples, on a log axis:
least-squares lines, one for each experiment (the mean over its runs) and one for the
unchanged classifier, with bootstrap bands over classes; a panel for each dataset and
classifier. The original's PlotClsAccVsSamples.

  python main.py plot accuracy_vs_samples --base_res_dir=results --out=sizes.pdf"""

READS = "experiments"
DATA_OPTIONS = (
    Option("ci", 95.0, "percent of resampled lines in the band; 0 for none", low=0),
    Option("n_boot", 1000, "bootstrap samples for the bands", low=1),
    SEED,
)
DRAWING_OPTIONS = (
    *drawing.LEGEND_OPTIONS,
    drawing.COL_WRAP,
    Option(
        "use_husl",
        False,
        "colors equally far apart on a wheel of hues, for many experiments",
    ),
)
_BASELINE = "Baseline"


def numbers(
    sources: Sources, *, ci: float = 95.0, n_boot: int = 1000, boot_seed: int = 0
) -> Numbers:
    """Gives lines of class accuracy, in percent, over class size.

    A line is straight in the logarithm of the size. Classes without test samples do
    not count.

    Args:
      sources: Results.
      ci: Percent of resampled lines in the band; 0 for no band.
      n_boot: Number of bootstrap samples, of classes.
      boot_seed: Their seed.

    Returns:
      Columns dataset, classifier (baseline or alphanet), experiment, samples,
      accuracy, low, high.

    Raises:
      UserError: If `ci` is no percentage, or all classes of a dataset have the same
        number of samples.
    """
    if not 0.0 <= ci <= 100.0:
        raise UserError(f"--ci must be from 0 to 100 percent, got {ci:g}")
    rng = np.random.default_rng(boot_seed)
    rows: list[tuple[Any, ...]] = []
    names = names_of_datasets(sources.sets)
    for place, (name, runs) in enumerate(zip(names, sources.sets, strict=True)):
        values = class_accuracy(runs)
        sizes = np.log10(runs.common("class_counts"))
        drawn = [("alphanet", runs.name, values.after.mean(axis=0))]
        if name not in names[:place]:
            drawn.insert(0, ("baseline", _BASELINE, values.before))
        for classifier, experiment, accuracies in drawn:
            tested = np.flatnonzero(np.isfinite(accuracies))
            line = line_over_classes(
                sizes[tested],
                accuracies[tested],
                tested,
                n_boot=n_boot,
                rng=rng,
                percent=ci,
            )
            if line is None:
                raise UserError(
                    f"{runs.files[0].path}: no line can be drawn: all classes with "
                    "test samples have the same number of training samples"
                )
            rows += [
                (name, classifier, experiment, 10.0**x, *ys)
                for x, *ys in zip(*line, strict=True)
            ]
    columns = ("dataset", "classifier", "experiment", "samples", "accuracy")
    return {"": columns_from_rows((*columns, "low", "high"), rows)}


def draw(
    numbers: Numbers,
    style: Style,
    *,
    legend_ncols: int = 0,
    legend_loc: str = "above",
    col_wrap: int = 0,
    use_husl: bool = False,
) -> Any:
    """Draws a panel of lines for each dataset."""
    import matplotlib as mpl

    columns = numbers[""]
    names = list(dict.fromkeys(columns["dataset"].tolist()))
    experiments = list(
        dict.fromkeys(select(columns, classifier="alphanet")["experiment"].tolist())
    )
    looks = dict(
        zip(
            experiments,
            experiment_looks(style, len(experiments), wheel=use_husl),
            strict=True,
        )
    )
    figure, all_axes = drawing.panels(
        style, len(names), col_wrap=col_wrap, aspect=1.6, sharex=False
    )
    handles: dict[str, Any] = {}
    width = mpl.rcParams["lines.linewidth"]
    for axes, name in zip(all_axes, names, strict=True):
        here = select(columns, dataset=name)
        axes.set_xscale("log")
        part = select(here, classifier="baseline")
        handles[""] = _draw_line(
            axes, part, style.foreground, linestyle=(0, (4, 2)), linewidth=0.9 * width
        )
        here = select(here, classifier="alphanet")
        for experiment in dict.fromkeys(here["experiment"].tolist()):
            color, _, line = looks[experiment]
            part = select(here, experiment=experiment)
            handles[experiment] = _draw_line(axes, part, color, linestyle=line)
        drawing.label_log(axes.xaxis, select(columns, dataset=name)["samples"])
    # Bands may go where no accuracy is.
    low, high = all_axes[0].get_ylim()
    least, most = columns["accuracy"].min(), columns["accuracy"].max()
    all_axes[0].set_ylim(max(low, min(0.0, least)), min(high, max(100.0, most)))
    drawing.finish(
        figure,
        all_axes,
        style,
        x="Training samples of a class",
        y="Class accuracy (%)",
        titles=names,
        handles=[handles[key] for key in ("", *experiments)],
        labels=[_BASELINE, *map(style.text, experiments)],
        legend_ncols=legend_ncols,
        legend_loc=legend_loc,
    )
    return figure


def _draw_line(axes: Any, part: Any, color: Any, **looks: Any) -> Any:
    """Draws a line with its band; returns what a legend explains."""
    axes.fill_between(
        part["samples"], part["low"], part["high"], color=color, alpha=0.15, linewidth=0
    )
    (line,) = axes.plot(part["samples"], part["accuracy"], color=color, **looks)
    return line
