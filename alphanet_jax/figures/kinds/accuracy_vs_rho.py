"""Accuracy of few, medium, many and all classes against rho."""

from typing import Any

import numpy as np

from alphanet_jax.errors import UserError
from alphanet_jax.figures import drawing, rho, splits
from alphanet_jax.figures.numbers import Numbers, Sources, select
from alphanet_jax.figures.options import N_BOOT, SEED, Option
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
Accuracy of the few, medium and many splits and of all test samples against rho: means
over runs with 95 percent bootstrap intervals. Dotted lines are the unchanged
classifier. The original's PlotSplitAccVsRhosSingle.

  python main.py plot accuracy_vs_rho --base_res_dir=results/sweep --out=rho.png"""

READS = "one"
NEEDS_DATA = True
DATA_OPTIONS = (
    splits.Y,
    splits.ACC_K,
    N_BOOT,
    SEED,
)
DRAWING_OPTIONS = (
    *drawing.LEGEND_OPTIONS,
    Option(
        "major_xticks", None, "rho values with a labeled tick", of=float, several=True
    ),
    Option("major_xticklabels", None, "labels of --major_xticks", several=True),
    Option(
        "minor_xticks", None, "rho values with a tick alone", of=float, several=True
    ),
)


def numbers(
    sources: Sources,
    *,
    y: str = "acc",
    acc_k: int = 1,
    n_boot: int = 1000,
    boot_seed: int = 0,
) -> Numbers:
    """Gives mean accuracy, in percent, for every rho and split.

    Args:
      sources: Results of one dataset.
      y: 'acc' or 'acc_delta'.
      acc_k: How many of the best classes count.
      n_boot: Number of bootstrap samples.
      boot_seed: Their seed.

    Returns:
      Columns experiment, rho, split, accuracy, low, high, baseline, runs, y, acc_k.

    Raises:
      UserError: If results are of several datasets, or rho is not what tells them
        apart.
    """
    names = list(dict.fromkeys(runs.proper_name for runs in sources.sets))
    if len(names) > 1:
        raise UserError(
            f"this figure is of one dataset, the results are of {', '.join(names)}; "
            "plot change_vs_rho takes several"
        )
    experiments = [(names[0], sources.sets)]
    columns = rho.split_accuracies_by_rho(
        experiments,
        sources.finder,
        y=y,
        acc_k=acc_k,
        n_boot=n_boot,
        boot_seed=boot_seed,
    )
    more = {"y": y, "acc_k": acc_k}
    return {"": columns | {k: np.full(len(columns["rho"]), v) for k, v in more.items()}}


def draw(
    numbers: Numbers,
    style: Style,
    *,
    legend_ncols: int = 0,
    legend_loc: str = "above",
    major_xticks: list[float] | None = None,
    major_xticklabels: list[str] | None = None,
    minor_xticks: list[float] | None = None,
) -> Any:
    """Draws lines with error bars.

    Raises:
      UserError: If there are not as many labels as ticks.
    """
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
        drawing.zero_line(axes, style)
    rho.label_rhos(axes, columns["rho"])
    if major_xticks is not None:
        labels = major_xticklabels or [f"{tick:g}" for tick in major_xticks]
        if len(labels) != len(major_xticks):
            raise UserError(
                f"--major_xticklabels has {len(labels)} labels for "
                f"{len(major_xticks)} ticks"
            )
        axes.set_xticks(major_xticks, [style.text(label) for label in labels])
    elif major_xticklabels is not None:
        raise UserError("--major_xticklabels needs --major_xticks")
    if minor_xticks is not None:
        axes.set_xticks(minor_xticks, minor=True, labels=[""] * len(minor_xticks))
    drawing.finish(
        figure,
        [axes],
        style,
        x=r"$\rho$",
        y=splits.y_name(is_change=is_change, acc_k=int(columns["acc_k"][0])),
        handles=handles,
        labels=titles,
        legend_ncols=legend_ncols,
        legend_loc=legend_loc,
    )
    return figure
