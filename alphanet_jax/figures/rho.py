"""Split accuracy against rho: the numbers that two kinds of figure draw."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from alphanet_jax.config import compare
from alphanet_jax.errors import UserError
from alphanet_jax.figures import splits
from alphanet_jax.figures.numbers import make_columns, select
from alphanet_jax.figures.settling import settle
from alphanet_jax.figures.style import Style
from alphanet_jax.results.datasets import DataFinder
from alphanet_jax.results.sets import ResultFile, ResultSet

__all__ = ["draw_splits", "label_rhos", "relabel_rhos", "split_accuracies_by_rho"]

_NAMES = ("experiment", "rho", "split", "accuracy", "low", "high", "baseline", "runs")


def split_accuracies_by_rho(
    experiments: Sequence[tuple[str, Sequence[ResultSet]]],
    finder: DataFinder,
    *,
    y: str,
    acc_k: int,
    n_boot: int,
    boot_seed: int,
) -> dict[str, np.ndarray]:
    """Computes mean accuracy of every split at every rho, with 95 percent intervals.

    Args:
      experiments: Names and results; runs of an experiment with the same rho are
        taken together.
      finder: Finds their data, where that is needed.
      y: 'acc', or 'acc_delta' for the change from the unchanged classifier.
      acc_k: How many of the best classes count.
      n_boot: Number of bootstrap samples, of runs.
      boot_seed: Seed of the bootstrap.

    Returns:
      Columns, accuracies in percent, rho ascending.

    Raises:
      UserError: If runs differ in more than rho and seeds, or there is none but of
        the unchanged classifier.
    """
    rows: list[tuple[Any, ...]] = []
    rng = np.random.default_rng(boot_seed)
    for name, sets in experiments:
        for rho, files in _by_rho(sets):
            runs = ResultSet(name, tuple(files))
            rows += [
                (name, rho, *row)
                for row in splits.split_accuracies(
                    runs, finder, y=y, acc_k=acc_k, n_boot=n_boot, rng=rng
                )
            ]
    return make_columns(_NAMES, rows)


# What runs along one line may differ in. Arguments of samplers are rho, in another way.
_MAY_DIFFER = ("rho", "seed", "seeds", "training.sampler_builder.sampler_args")


def _by_rho(sets: Sequence[ResultSet]) -> list[tuple[float, list[ResultFile]]]:
    found: dict[float, list[ResultFile]] = {}
    first: ResultFile | None = None
    files = [file for runs in sets for file in runs.files]
    # The unchanged classifier was not trained with any rho: it is the baseline of all.
    trained = [file for file in files if not file.is_unchanged]
    if not trained:
        raise UserError(
            f"{files[0].path} is of the unchanged classifier, which has no rho, and "
            "there are no other results"
        )
    for file in trained:
        classes = file.setting("training.sampler_builder.sampler_classes")
        if len(classes) != 2 or classes[0] != "AllFewSampler":
            raise UserError(
                f"{file.path}: rho means something with AllFewSampler and one sampler "
                f"of base classes alone, but this result has {', '.join(classes)}"
            )
        first = first or file
        differences = [
            each
            for each in compare.config_differences(file.config, first.config)
            if not each.startswith(tuple(f"{name} " for name in _MAY_DIFFER))
        ]
        if differences:
            raise UserError(
                f"{file.path} and {first.path} differ in more than rho: "
                f"{differences[0].replace(', now ', ' and ')}; choose with "
                "--res_files_pattern"
            )
        found.setdefault(file.rho, []).append(file)
    return sorted(found.items())


def draw_splits(
    axes: Any, columns: Any, style: Style, *, offset: float = 0.0, dashed: bool = False
) -> list[Any]:
    """Draws a line with intervals for every split; returns what a legend explains."""
    handles = []
    for split in splits.PARTS:
        part = select(columns, split=split)
        if np.isfinite(part["accuracy"]).any():
            x = part["rho"] + offset
            handles.append(splits.draw_split(axes, x, part, style, dashed=dashed))
    return handles


def label_rhos(axes: Any, rhos: np.ndarray, *, width: float = 0.0) -> None:
    """Labels the rho axis with those of the values that have room, short ones first.

    Args:
      axes: The axes.
      rhos: The values.
      width: Width of the axes in inches; 0 where it is not known yet.
    """
    import matplotlib as mpl

    ticks = np.unique(rhos)
    axes.set_xticks(ticks, minor=True, labels=[""] * len(ticks))
    figure = axes.get_figure()
    em = mpl.rcParams["xtick.labelsize"] / 72.0
    if not width:
        # Labels of the other axis take about this much.
        columns = axes.get_subplotspec().get_gridspec().ncols
        width = max(figure.get_figwidth() / columns - 5.0 * em, 5.0 * em)
    inches = width / 1.1 / max(float(np.ptp(ticks)), 1e-9)
    ruler = axes.text(0.0, 0.0, "", fontsize=mpl.rcParams["xtick.labelsize"])
    kept: list[tuple[float, float]] = []  # middle and half width, in inches
    labeled = []
    for tick in sorted(ticks.tolist(), key=lambda tick: (len(f"{tick:g}"), tick)):
        ruler.set_text(f"{tick:g}")
        box = ruler.get_window_extent(figure.canvas.get_renderer())
        middle, half = tick * inches, (box.width / figure.dpi + 0.5 * em) / 2.0
        if all(abs(middle - other) >= half + room for other, room in kept):
            kept.append((middle, half))
            labeled.append(tick)
    ruler.remove()
    labeled.sort()
    axes.set_xticks(labeled, [f"{tick:g}" for tick in labeled])


def relabel_rhos(figure: Any, rhos: Mapping[Any, np.ndarray]) -> None:
    """Labels rho axes once more, when all is drawn that takes room beside them.

    Args:
      figure: The figure.
      rhos: The values, by the axes that they are on.
    """
    settle(figure)
    for axes, values in rhos.items():
        label_rhos(axes, values, width=axes.bbox.width / figure.dpi)
