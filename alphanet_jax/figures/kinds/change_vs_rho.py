"""Change in split accuracy against rho, a panel for each dataset."""

from dataclasses import dataclass
from typing import Annotated

import numpy as np

from alphanet_jax.figures import drawing, rho, splits
from alphanet_jax.figures.kind import Kind
from alphanet_jax.figures.numbers import Numbers, Sources, split_by, with_constants
from alphanet_jax.figures.options import BOOT_SEED, N_BOOT, About, LegendOptions
from alphanet_jax.figures.panel import zero_line
from alphanet_jax.figures.style import Style
from alphanet_jax.results.sets import ResultSet

__all__ = ["KIND"]

_DESCRIPTION = """\
Change in the accuracy of the few, medium and many splits and of all test samples from
the unchanged classifier against rho, mean over runs with 95 percent bootstrap
intervals; a panel for each dataset and classifier that the results are of. Results with
random neighbors, where there are some, are drawn dashed beside those with the nearest.
The original's run_plot_acc_deltas_vs_rhos.

  python main.py plot change_vs_rho --base_res_dir=results/paper/main --out=main.pdf
  python main.py plot change_vs_rho --base_res_dir=results/paper --acc_k=5 \\
      --res_files_pattern="[mr]a*/*/rho*/result.npz" --out=random.pdf"""


@dataclass(frozen=True)
class _NumbersOptions:
    acc_k: Annotated[int, splits.ACC_K] = 1
    n_boot: Annotated[int, N_BOOT] = 1000
    boot_seed: Annotated[int, BOOT_SEED] = 0


@dataclass(frozen=True)
class _DrawOptions(LegendOptions):
    col_wrap: Annotated[int, About("panels in a row; 0 for at most four", low=0)] = 0
    sharey: Annotated[bool, "the same y axis for all panels"] = False


def _compute(sources: Sources, options: _NumbersOptions) -> Numbers:
    """Computes mean changes in accuracy, in points, for every dataset, rho and split.

    Returns:
      Columns experiment (the dataset), neighbors (nearest or random), rho, split,
      accuracy (the change), low, high, baseline, runs, acc_k.
    """
    by_line: dict[tuple[str, str], list[ResultSet]] = {}
    for runs in sources.sets:
        for file in runs.files:
            metric = file.setting("training.nn_dist")
            kind = "random" if metric == "random" else "nearest"
            by_line.setdefault((runs.proper_name, kind), []).append(
                ResultSet(runs.proper_name, (file,))
            )
    parts = []
    for (name, kind), sets in by_line.items():
        columns = rho.split_accuracies_by_rho(
            [(name, sets)],
            sources.finder,
            y="acc_delta",
            acc_k=options.acc_k,
            n_boot=options.n_boot,
            boot_seed=options.boot_seed,
        )
        parts.append(with_constants(columns, neighbors=kind, acc_k=options.acc_k))
    return {
        "": {key: np.concatenate([part[key] for part in parts]) for key in parts[0]}
    }


def _render(numbers: Numbers, style: Style, options: _DrawOptions) -> "drawing.Figure":
    """Draws a panel for each dataset."""
    from matplotlib.lines import Line2D

    columns = numbers[""]
    by_dataset = split_by(columns, "experiment")
    kinds = list(dict.fromkeys(columns["neighbors"].tolist()))
    figure, all_axes = drawing.panels(
        style,
        len(by_dataset),
        col_wrap=options.col_wrap or min(len(by_dataset), 4),
        aspect=1.6,
        sharex=False,
        sharey=options.sharey,
    )
    for axes, here in zip(all_axes, by_dataset.values(), strict=True):
        reach = float(np.ptp(here["rho"]))
        for kind, part in split_by(here, "neighbors").items():
            # Beside each other, so that intervals do not overlap.
            offset = 0.006 * reach * kinds.index(kind)
            rho.draw_splits(axes, part, style, offset=offset, dashed=kind == "random")
        zero_line(axes, style)
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
        titles=list(by_dataset),
        handles=handles,
        labels=labels,
        legend=options,
    )
    parts = by_dataset.values()
    rho.relabel_rhos(
        figure, {axes: p["rho"] for axes, p in zip(all_axes, parts, strict=True)}
    )
    return figure


KIND = Kind(
    name="change_vs_rho",
    description=_DESCRIPTION,
    reads="one",
    numbers_options=_NumbersOptions,
    compute=_compute,
    draw_options=_DrawOptions,
    render=_render,
    needs_data=True,
)
