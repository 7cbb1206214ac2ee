"""Accuracy of few, medium, many and all classes against rho."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

import numpy as np

from alphanet_jax.errors import UserError
from alphanet_jax.figures import drawing, rho, splits
from alphanet_jax.figures.kind import Kind
from alphanet_jax.figures.numbers import Numbers, Sources, select, with_constants
from alphanet_jax.figures.options import BOOT_SEED, N_BOOT, LegendOptions
from alphanet_jax.figures.panel import set_ticks, zero_line
from alphanet_jax.figures.style import Style

__all__ = ["KIND"]

_DESCRIPTION = """\
Accuracy of the few, medium and many splits and of all test samples against rho: means
over runs with 95 percent bootstrap intervals. Dotted lines are the unchanged
classifier. The original's PlotSplitAccVsRhosSingle.

  python main.py plot accuracy_vs_rho --base_res_dir=results/sweep --out=rho.png"""


@dataclass(frozen=True)
class _NumbersOptions:
    y: Annotated[str, splits.Y] = "acc"
    acc_k: Annotated[int, splits.ACC_K] = 1
    n_boot: Annotated[int, N_BOOT] = 1000
    boot_seed: Annotated[int, BOOT_SEED] = 0


@dataclass(frozen=True)
class _DrawOptions(LegendOptions):
    major_xticks: Annotated[
        Sequence[float] | None, "rho values with a labeled tick"
    ] = None
    major_xticklabels: Annotated[Sequence[str] | None, "labels of --major_xticks"] = (
        None
    )
    minor_xticks: Annotated[Sequence[float] | None, "rho values with a tick alone"] = (
        None
    )


def _compute(sources: Sources, options: _NumbersOptions) -> Numbers:
    """Computes mean accuracy, in percent, for every rho and split.

    Returns:
      Columns experiment, rho, split, accuracy, low, high, baseline, runs, y, acc_k.
    """
    names = list(dict.fromkeys(runs.proper_name for runs in sources.sets))
    if len(names) > 1:
        raise UserError(
            f"this figure is of one dataset, the results are of {', '.join(names)}; "
            "plot change_vs_rho takes several"
        )
    columns = rho.split_accuracies_by_rho(
        [(names[0], sources.sets)],
        sources.finder,
        y=options.y,
        acc_k=options.acc_k,
        n_boot=options.n_boot,
        boot_seed=options.boot_seed,
    )
    return {"": with_constants(columns, y=options.y, acc_k=options.acc_k)}


def _render(numbers: Numbers, style: Style, options: _DrawOptions) -> "drawing.Figure":
    """Draws lines with error bars."""
    columns = numbers[""]
    is_change = columns["y"][0] == "acc_delta"
    figure, (axes,) = drawing.panels(style, 1, aspect=1.6)
    handles = rho.draw_splits(axes, columns, style)
    titles = []
    for split in splits.PARTS:
        part = select(columns, split=split)
        if np.isfinite(part["accuracy"]).any():
            titles.append(drawing.SPLIT_TITLES[split])
            if not is_change:
                splits.draw_baseline(axes, part, style)
    if is_change:
        zero_line(axes, style)
    elif handles:
        handles.append(splits.baseline_handle(style))
        titles.append(splits.BASELINE)
    rho.label_rhos(axes, columns["rho"])
    set_ticks(
        axes,
        "x",
        style,
        ticks=options.major_xticks,
        labels=options.major_xticklabels,
        flag="major_xticks",
    )
    if (minor := options.minor_xticks) is not None:
        axes.set_xticks(minor, minor=True, labels=[""] * len(minor))
    drawing.finish(
        figure,
        [axes],
        style,
        x=r"$\rho$",
        y=splits.y_name(is_change=is_change, acc_k=int(columns["acc_k"][0])),
        handles=handles,
        labels=titles,
        legend=options,
    )
    if options.major_xticks is None and options.minor_xticks is None:
        rho.relabel_rhos(figure, {axes: columns["rho"]})
    return figure


KIND = Kind(
    name="accuracy_vs_rho",
    description=_DESCRIPTION,
    reads="one",
    numbers_options=_NumbersOptions,
    compute=_compute,
    draw_options=_DrawOptions,
    render=_render,
    needs_data=True,
)
