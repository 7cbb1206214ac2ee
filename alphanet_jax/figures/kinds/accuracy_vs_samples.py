"""Class accuracy against the number of training samples, as regression lines."""

from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np

from alphanet_jax.errors import UserError
from alphanet_jax.figures import drawing
from alphanet_jax.figures.classes import (
    class_accuracy,
    experiment_looks,
    line_over_classes,
    names_of_datasets,
)
from alphanet_jax.figures.kind import Kind
from alphanet_jax.figures.numbers import (
    Numbers,
    Sources,
    make_columns,
    select,
    split_by,
)
from alphanet_jax.figures.options import BOOT_SEED, About, PanelOptions
from alphanet_jax.figures.panel import draw_band, label_log
from alphanet_jax.figures.style import Style

__all__ = ["KIND"]

_DESCRIPTION = """\
Accuracy of classes against the number of their training samples, on a log axis:
least-squares lines, one for each experiment (the mean over its runs) and one for the
unchanged classifier, with bootstrap bands over classes; a panel for each dataset and
classifier. Results of `baseline` are that line alone. The original's
PlotClsAccVsSamples.

  python main.py plot accuracy_vs_samples --base_res_dir=results --out=sizes.pdf"""

_BASELINE = "Baseline"


@dataclass(frozen=True)
class _NumbersOptions:
    ci: Annotated[
        float, About("percent of resampled lines in the band; 0 for none", low=0)
    ] = 95.0
    n_boot: Annotated[int, About("bootstrap samples for the bands", low=1)] = 1000
    boot_seed: Annotated[int, BOOT_SEED] = 0


@dataclass(frozen=True)
class _DrawOptions(PanelOptions):
    use_husl: Annotated[
        bool, "colors equally far apart on a wheel of hues, for many experiments"
    ] = False


def _compute(sources: Sources, options: _NumbersOptions) -> Numbers:
    """Computes lines of class accuracy, in percent, over class size.

    A line is straight in the logarithm of the size. Classes without test samples do
    not count.

    Returns:
      Columns dataset, classifier (baseline or alphanet), experiment, samples,
      accuracy, low, high.
    """
    if not 0.0 <= options.ci <= 100.0:
        raise UserError(f"--ci must be from 0 to 100 percent, got {options.ci:g}")
    rng = np.random.default_rng(options.boot_seed)
    rows: list[tuple[Any, ...]] = []
    names = names_of_datasets(sources.sets)
    for place, (name, runs) in enumerate(zip(names, sources.sets, strict=True)):
        values = class_accuracy(runs)
        sizes = np.log10(runs.common("class_counts"))
        drawn = []
        if not runs.is_unchanged:  # whose line is the baseline's
            drawn.append(("alphanet", runs.name, values.after.mean(axis=0)))
        if name not in names[:place]:
            drawn.insert(0, ("baseline", _BASELINE, values.before))
        for classifier, experiment, accuracies in drawn:
            tested = np.flatnonzero(np.isfinite(accuracies))
            line = line_over_classes(
                sizes[tested],
                accuracies[tested],
                tested,
                n_boot=options.n_boot,
                rng=rng,
                percent=options.ci,
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
    return {"": make_columns((*columns, "low", "high"), rows)}


def _render(numbers: Numbers, style: Style, options: _DrawOptions) -> "drawing.Figure":
    """Draws a panel of lines for each dataset."""
    import matplotlib as mpl

    columns = numbers[""]
    by_dataset = split_by(columns, "dataset")
    experiments = list(
        dict.fromkeys(select(columns, classifier="alphanet")["experiment"].tolist())
    )
    made = experiment_looks(style, len(experiments), wheel=options.use_husl)
    looks = dict(zip(experiments, made, strict=True))
    figure, all_axes = drawing.panels(
        style, len(by_dataset), col_wrap=options.col_wrap, aspect=1.6, sharex=False
    )
    handles: dict[str, Any] = {}
    width = mpl.rcParams["lines.linewidth"]
    for axes, here in zip(all_axes, by_dataset.values(), strict=True):
        axes.set_xscale("log")
        handles[""] = draw_band(
            axes,
            select(here, classifier="baseline"),
            "samples",
            "accuracy",
            alpha=0.15,
            color=style.foreground,
            linestyle=(0, (4, 2)),
            linewidth=0.9 * width,
        )
        trained = split_by(select(here, classifier="alphanet"), "experiment")
        for experiment, part in trained.items():
            color, _, line = looks[experiment]
            handles[experiment] = draw_band(
                axes,
                part,
                "samples",
                "accuracy",
                alpha=0.15,
                color=color,
                linestyle=line,
            )
        label_log(axes.xaxis, here["samples"])
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
        titles=list(by_dataset),
        handles=[handles[key] for key in ("", *experiments)],
        labels=[_BASELINE, *map(style.text, experiments)],
        legend=options,
    )
    return figure


KIND = Kind(
    name="accuracy_vs_samples",
    description=_DESCRIPTION,
    reads="experiments",
    numbers_options=_NumbersOptions,
    compute=_compute,
    draw_options=_DrawOptions,
    render=_render,
)
