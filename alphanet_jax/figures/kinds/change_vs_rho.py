"""Change in split accuracy against rho, a panel for each dataset."""

from typing import Any

import numpy as np

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
Change in the accuracy of the few, medium and many splits and of all test samples from
the unchanged classifier against rho, mean over runs with 95 percent bootstrap
intervals; a panel for each dataset and classifier that the results are of. Results with
random neighbors, where there are some, are drawn dashed beside those with the nearest.
The original's run_plot_acc_deltas_vs_rhos.

  python main.py plot change_vs_rho --base_res_dir=results/paper/main --out=main.pdf
  python main.py plot change_vs_rho --base_res_dir=results/paper --acc_k=5 \\
      --res_files_pattern="[mr]a*/*/rho*/result.npz" --out=random.pdf"""

READS = "one"
NEEDS_DATA = True
DATA_OPTIONS = (splits.ACC_K, N_BOOT, SEED)
DRAWING_OPTIONS = (
    *drawing.LEGEND_OPTIONS,
    Option("col_wrap", 0, "panels in a row; 0 for at most four", low=0),
    Option("sharey", False, "the same y axis for all panels"),
)


def numbers(
    sources: Sources, *, acc_k: int = 1, n_boot: int = 1000, boot_seed: int = 0
) -> Numbers:
    """Gives mean changes in accuracy, in points, for every dataset, rho and split.

    Args:
      sources: Results.
      acc_k: How many of the best classes count.
      n_boot: Number of bootstrap samples.
      boot_seed: Their seed.

    Returns:
      Columns experiment (the dataset), neighbors (nearest or random), rho, split,
      accuracy (the change), low, high, baseline, runs, acc_k.
    """
    from alphanet_jax.results.sets import ResultSet

    groups: dict[tuple[str, str], list[ResultSet]] = {}
    for runs in sources.sets:
        for file in runs.files:
            metric = file.setting("training.nn_dist")
            kind = "random" if metric == "random" else "nearest"
            groups.setdefault((runs.proper_name, kind), []).append(
                ResultSet(runs.proper_name, (file,))
            )
    parts = []
    for (name, kind), sets in groups.items():
        columns = rho.split_accuracies_by_rho(
            [(name, sets)],
            sources.finder,
            y="acc_delta",
            acc_k=acc_k,
            n_boot=n_boot,
            boot_seed=boot_seed,
        )
        more = {"neighbors": kind, "acc_k": acc_k}
        parts.append(
            columns | {k: np.full(len(columns["rho"]), v) for k, v in more.items()}
        )
    return {
        "": {key: np.concatenate([part[key] for part in parts]) for key in parts[0]}
    }


def draw(
    numbers: Numbers,
    style: Style,
    *,
    legend_ncols: int = 0,
    legend_loc: str = "above",
    col_wrap: int = 0,
    sharey: bool = False,
) -> Any:
    """Draws a panel for each dataset."""
    from matplotlib.lines import Line2D

    columns = numbers[""]
    names = list(dict.fromkeys(columns["experiment"].tolist()))
    kinds = list(dict.fromkeys(columns["neighbors"].tolist()))
    figure, all_axes = drawing.panels(
        style,
        len(names),
        col_wrap=col_wrap or min(len(names), 4),
        aspect=1.6,
        sharex=False,
        sharey=sharey,
    )
    for axes, name in zip(all_axes, names, strict=True):
        here = select(columns, experiment=name)
        reach = float(np.ptp(here["rho"]))
        for number, kind in enumerate(kinds):
            part = select(here, neighbors=kind)
            if part["rho"].size:
                # Beside each other, so that intervals can be told apart.
                rho.draw_splits(
                    axes,
                    part,
                    style,
                    offset=0.006 * reach * number,
                    dashed=kind == "random",
                )
        drawing.zero_line(axes, style)
        rho.label_rhos(axes, here["rho"])
    handles = [
        Line2D([], [], color=style.splits[split], marker=style.markers[split])
        for split in splits.PARTS
    ]
    labels = [drawing.SPLIT_TITLES[split] for split in splits.PARTS]
    if len(kinds) > 1:
        for kind in kinds:
            line = (0, (4, 2)) if kind == "random" else "-"
            handles.append(Line2D([], [], color=style.foreground, linestyle=line))
            labels.append(f"{kind.capitalize()} neighbors")
    drawing.finish(
        figure,
        all_axes,
        style,
        x=r"$\rho$",
        y=splits.y_name(is_change=True, acc_k=int(columns["acc_k"][0])),
        titles=names,
        handles=handles,
        labels=labels,
        legend_ncols=legend_ncols,
        legend_loc=legend_loc,
    )
    return figure
