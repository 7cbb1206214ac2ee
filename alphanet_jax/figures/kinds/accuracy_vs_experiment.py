"""Accuracy of few, medium and many classes for named experiments."""

from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np

from alphanet_jax.errors import UserError
from alphanet_jax.figures import drawing, splits
from alphanet_jax.figures.kind import Kind
from alphanet_jax.figures.numbers import (
    Numbers,
    Sources,
    make_columns,
    select,
    split_by,
)
from alphanet_jax.figures.options import BOOT_SEED, N_BOOT, About, PanelOptions
from alphanet_jax.figures.panel import zero_line
from alphanet_jax.figures.style import Style
from alphanet_jax.results.sets import ResultFile, ResultSet

__all__ = ["KIND"]

_DESCRIPTION = """\
Accuracy of the few, medium and many splits and of all test samples for named
experiments, such as values of rho or numbers of neighbors, in the order in which they
are given: means over runs with 95 percent bootstrap intervals, joined by lines. With
--col=dataset there is a panel for each dataset, with --col=metric for each distance
between classes that neighbors were found by. Dotted lines are the unchanged classifier.
The original's PlotSplitAccVsExp.

  python main.py plot accuracy_vs_experiment --base_res_dir=results/sweep \\
      --exp_sub_dirs rho_0.1 rho_0.5 rho_1.0 --exp_names 0.1 0.5 1 \\
      --xlabel='\\rho' --xlabel_style=math --out=experiments.png"""

_METRICS = {"euclidean": "Euclidean", "cosine": "Cosine", "random": "Random"}
_NAMES = (
    *("panel", "experiment", "dataset", "metric", "split", "accuracy", "low", "high"),
    *("baseline", "runs", "y", "acc_k"),
)


@dataclass(frozen=True)
class _NumbersOptions:
    y: Annotated[str, splits.Y] = "acc"
    acc_k: Annotated[int, splits.ACC_K] = 1
    col: Annotated[
        str,
        About(
            "what there is a panel for each of: dataset, metric, or none for one panel",
            choices=("none", "dataset", "metric"),
        ),
    ] = "none"
    n_boot: Annotated[int, N_BOOT] = 1000
    boot_seed: Annotated[int, BOOT_SEED] = 0


@dataclass(frozen=True)
class _DrawOptions(PanelOptions):
    xlabel: Annotated[str, "label of the x axis"] = "Experiment"
    xlabel_style: Annotated[
        str,
        About(
            "how it is written: normal, italic, oblique, or math for a formula such as "
            "\\rho",
            choices=("normal", "italic", "oblique", "math"),
        ),
    ] = "normal"
    show_titles: Annotated[bool, "titles of panels, where there are several"] = True
    show_xlabels: Annotated[bool, "the label of the x axis"] = True


def _compute(sources: Sources, options: _NumbersOptions) -> Numbers:
    """Computes mean accuracy, in percent, for every panel, experiment and split.

    Returns:
      Columns panel, experiment, dataset, metric, split, accuracy (or its change), low,
      high, baseline, runs, y, acc_k.
    """
    y, acc_k = options.y, options.acc_k
    rng = np.random.default_rng(options.boot_seed)
    rows: list[tuple[Any, ...]] = []
    for panel, runs in _by_panel(sources, options.col):
        metric = runs.files[0].setting("training.nn_dist")
        rows += [
            (panel, runs.name, runs.proper_name, metric, *row, y, acc_k)
            for row in splits.split_accuracies(
                runs, sources.finder, y=y, acc_k=acc_k, n_boot=options.n_boot, rng=rng
            )
        ]
    return {"": make_columns(_NAMES, rows)}


def _by_panel(sources: Sources, col: str) -> list[tuple[str, ResultSet]]:
    """Returns the runs that make a point together, with the name of its panel."""
    datasets = {runs.dataset: runs.proper_name for runs in sources.sets}
    if len(set(datasets.values())) < len(datasets):
        datasets = {name: name for name in datasets}
    if col != "dataset" and len(datasets) > 1:
        raise UserError(
            f"results are of several datasets, {', '.join(datasets)}: give "
            "--col=dataset for a panel each, or choose with --exp_sub_dirs or "
            "--res_files_pattern"
        )
    made = []
    for runs in sources.sets:
        by_metric: dict[str, list[ResultFile]] = {}
        for file in runs.files:
            metric = file.setting("training.nn_dist")
            by_metric.setdefault(metric, []).append(file)
        if col != "metric" and len(by_metric) > 1:
            raise UserError(
                f"experiment {runs.name!r} has results with neighbors by "
                f"{' and '.join(by_metric)}, which are not runs of one thing: give "
                "--col=metric, or choose with --exp_sub_dirs or --res_files_pattern"
            )
        panels = {
            "metric": {name: _METRICS.get(name, name) for name in by_metric},
            "dataset": dict.fromkeys(by_metric, datasets[runs.dataset]),
            "none": dict.fromkeys(by_metric, ""),
        }[col]
        made += [
            (panels[metric], ResultSet(runs.name, tuple(files)))
            for metric, files in by_metric.items()
        ]
    return made


def _render(numbers: Numbers, style: Style, options: _DrawOptions) -> "drawing.Figure":
    """Draws a panel of points joined by lines for each dataset or distance."""
    columns = numbers[""]
    by_panel = split_by(columns, "panel")
    experiments = list(dict.fromkeys(columns["experiment"].tolist()))
    is_change = columns["y"][0] == "acc_delta"
    figure, all_axes = drawing.panels(
        style, len(by_panel), col_wrap=options.col_wrap, aspect=1.6
    )
    wrap = all_axes[0].get_gridspec().ncols
    handles: dict[str, Any] = {}
    for place, (axes, here) in enumerate(zip(all_axes, by_panel.values(), strict=True)):
        for split in splits.PARTS:
            part = select(here, split=split)
            if np.isfinite(part["accuracy"]).any():
                x = [experiments.index(each) for each in part["experiment"].tolist()]
                handles[split] = splits.draw_split(axes, x, part, style)
                if not is_change:
                    splits.draw_baseline(axes, part, style)
        if is_change:
            zero_line(axes, style)
        axes.set_xticks(
            range(len(experiments)), [style.text(name) for name in experiments]
        )
        axes.set_xlim(-0.4, len(experiments) - 0.6)
        if options.show_xlabels and place + wrap >= len(by_panel):
            _label_x(axes, style, options.xlabel, options.xlabel_style)
    shown = [split for split in splits.PARTS if split in handles]
    labels = [drawing.SPLIT_TITLES[split] for split in shown]
    explained = [handles[split] for split in shown]
    if shown and not is_change:
        explained.append(splits.baseline_handle(style))
        labels.append(splits.BASELINE)
    drawing.finish(
        figure,
        all_axes,
        style,
        y=splits.y_name(is_change=is_change, acc_k=int(columns["acc_k"][0])),
        titles=list(by_panel) if options.show_titles else (),
        handles=explained,
        labels=labels,
        legend=options,
        turn_xticklabels=True,
    )
    return figure


def _label_x(axes: Any, style: Style, text: str, how: str) -> None:
    """Labels the x axis with a text or, in the style 'math', a formula."""
    if how != "math":
        axes.set_xlabel(style.text(text), fontstyle=how)
        return
    from matplotlib.mathtext import MathTextParser

    try:
        MathTextParser("path").parse(f"${text}$")
    except ValueError as error:
        reason = str(error).strip().splitlines()[-1]
        raise UserError(f"--xlabel: no formula: {text!r}: {reason}") from None
    axes.set_xlabel(f"${text}$")


KIND = Kind(
    name="accuracy_vs_experiment",
    description=_DESCRIPTION,
    reads="experiments",
    numbers_options=_NumbersOptions,
    compute=_compute,
    draw_options=_DrawOptions,
    render=_render,
    needs_data=True,
)
