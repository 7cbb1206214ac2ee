"""How many predictions are correct, wrong as a neighbor, or else wrong."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np

from alphanet_jax.figures import drawing, outcomes, statistics
from alphanet_jax.figures.kind import Kind
from alphanet_jax.figures.numbers import (
    Columns,
    Numbers,
    Sources,
    make_columns,
    select,
    split_by,
)
from alphanet_jax.figures.options import BOOT_SEED, N_BOOT, About, PanelOptions
from alphanet_jax.figures.settling import settle
from alphanet_jax.figures.style import Style
from alphanet_jax.results.accuracy import OUTCOMES

__all__ = ["KIND"]

_DESCRIPTION = """\
Percentage of the predictions for test samples of few or base classes that are correct,
wrong as a neighbor of the true class, or else wrong: of the unchanged classifier and of
AlphaNet, means over runs with 95 percent bootstrap intervals where runs differ; a panel
for each experiment. Neighbors are the k nearest classes of --nn_split by mean training
feature, with the result's k and distance; those of few classes among base classes are
the result's own. The original's PlotPredCounts.

  python main.py plot predictions --base_res_dir=results/quickstart --split=few \\
      --nn_split=base --out=predictions.png"""

_MODELS = {"baseline": "Baseline", "alphanet": "AlphaNet"}
_TICKS = ("Correct", "Neighbor", "Other")
_NAMES = (
    *("panel", "experiment", "dataset", "split", "nn_split", "model", "outcome"),
    *("percent", "low", "high", "count", "samples", "runs"),
)


@dataclass(frozen=True)
class _NumbersOptions:
    split: Annotated[
        str, About("whose test samples to look at: few, base", choices=("few", "base"))
    ] = "few"
    nn_split: Annotated[
        str,
        About(
            "which classes can be neighbors: few, base, all",
            choices=("few", "base", "all"),
        ),
    ] = "base"
    nn_dist: Annotated[str | None, outcomes.NN_DIST] = None
    models: Annotated[
        Sequence[str],
        About("one or both of baseline, alphanet", choices=tuple(_MODELS)),
    ] = ("baseline", "alphanet")
    n_boot: Annotated[int, N_BOOT] = 1000
    boot_seed: Annotated[int, BOOT_SEED] = 0


def _compute(sources: Sources, options: _NumbersOptions) -> Numbers:
    """Computes the percentage of each outcome for every experiment.

    Returns:
      Columns panel, experiment, dataset, split, nn_split, model, outcome, percent, low,
      high, count (the mean over runs), samples, runs.
    """
    split, nn_split = options.split, options.nn_split
    near = outcomes.Neighborhoods(nn_split, options.nn_dist)
    rng = np.random.default_rng(options.boot_seed)
    rows: list[tuple[Any, ...]] = []
    for panel, runs in sources.named():
        predicted = outcomes.find_outcomes(runs, sources, split=split, near=near)
        # What is not changed is there once.
        models = ["baseline"] if runs.is_unchanged else options.models
        for model in _MODELS:
            found = predicted.before if model == "baseline" else predicted.after
            counts = np.stack(
                [(found == i).sum(axis=1) for i in range(len(OUTCOMES))], axis=1
            )
            means = statistics.bootstrap_means(counts, n_boot=options.n_boot, rng=rng)
            size, count = found.shape[1], counts.mean(axis=0)
            low, high = (100.0 * end / size for end in statistics.interval(means))
            if model not in models:
                continue
            rows += [
                (
                    *(panel, runs.name, runs.proper_name, split, nn_split, model),
                    *(outcome, 100.0 * count[i] / size, low[i], high[i], count[i]),
                    *(size, runs.num_runs),
                )
                for i, outcome in enumerate(OUTCOMES)
            ]
    return {"": outcomes.with_method(make_columns(_NAMES, rows), sources)}


def _render(numbers: Numbers, style: Style, options: PanelOptions) -> "drawing.Figure":
    """Draws a panel of bars for every experiment, one or two for each outcome."""
    from matplotlib.patches import Patch

    columns = numbers[""]
    by_panel = split_by(columns, "panel")
    models = list(dict.fromkeys(columns["model"].tolist()))
    titles = _MODELS | {"alphanet": style.text(outcomes.corrected_title(columns))}
    figure, all_axes = drawing.panels(
        style, len(by_panel), col_wrap=options.col_wrap, aspect=1.6
    )
    width = 0.8 / len(models)
    tops = []
    for axes, in_panel in zip(all_axes, by_panel.values(), strict=True):
        there = set(in_panel["model"].tolist())
        drawn = [model for model in models if model in there]
        for number, model in enumerate(drawn):
            offset = (number - (len(drawn) - 1) / 2) * width
            here = select(in_panel, model=model)
            x = np.arange(len(OUTCOMES)) + offset
            _draw_bars(axes, x, here, style, width=0.94 * width)
            heights = np.maximum(here["high"], here["percent"])
            tops += [
                (axes, *top) for top in zip(x, heights, here["percent"], strict=True)
            ]
        axes.set_xticks(range(len(OUTCOMES)), _TICKS)
        axes.tick_params(axis="x", length=0.0)
    highest = max(height for _, _, height, _ in tops)
    all_axes[0].set_ylim(0.0, 1.14 * highest)  # that of all panels
    drawing.finish(
        figure,
        all_axes,
        style,
        y=outcomes.SPLIT_PHRASES[str(columns["split"][0])],
        titles=list(by_panel),
        handles=[Patch(**_looks(model, style.foreground)) for model in models],
        labels=[titles[model] for model in models],
        legend=options,
        turn_xticklabels=True,
    )
    _write_percents(figure, tops, width)
    _make_room(figure, all_axes[0], highest)
    return figure


def _make_room(figure: Any, axes: Any, highest: float) -> None:
    """Raises the end of the y axis until numbers above bars are below it."""
    from matplotlib import rcParams

    settle(figure)
    points = axes.get_window_extent().height * 72.0 / figure.dpi
    # A line of small text, and what is below it.
    needed = (0.25 + 0.833 * 1.25) * rcParams["font.size"] / max(points, 1.0)
    if needed < 0.5:
        axes.set_ylim(0.0, max(1.14 * highest, highest / (1.0 - needed)))


def _looks(model: str, color: str) -> dict[str, Any]:
    """Returns how a model's bars look: those of the unchanged classifier are pale."""
    from matplotlib.colors import to_rgba

    if model == "alphanet":
        return {"facecolor": color, "edgecolor": color}
    return {"facecolor": to_rgba(color, 0.3), "edgecolor": color}


def _draw_bars(
    axes: Any, x: np.ndarray, columns: Columns, style: Style, *, width: float
) -> None:
    """Draws a model's three bars, and intervals where runs differ."""
    from matplotlib import rcParams

    mean, low, high = (columns[name] for name in ("percent", "low", "high"))
    model = str(columns["model"][0])
    for place, height, outcome in zip(x, mean, columns["outcome"], strict=True):
        looks = _looks(model, style.outcomes[str(outcome)])
        axes.bar(place, height, width, **looks)
    differ = high - low > 1e-9
    errors = np.maximum([mean - low, high - mean], 0.0)[:, differ]
    axes.errorbar(
        x[differ],
        mean[differ],
        yerr=errors,
        fmt="none",
        ecolor=style.foreground,
        elinewidth=0.8 * rcParams["lines.linewidth"],
    )


def _write_percents(
    figure: Any, tops: Sequence[tuple[Any, float, float, float]], width: float
) -> None:
    """Writes percentages above bars, as exactly as there is room, if there is any.

    The layout is done; `tops` are axes, place, height and percentage of every bar.
    """
    axes = tops[0][0]
    sample = axes.text(0.0, 0.0, "88.8", fontsize="small")
    needed = sample.get_window_extent(figure.canvas.get_renderer()).width
    sample.remove()
    (left, _), (right, _) = axes.transData.transform([(0.0, 0.0), (width, 0.0)])
    room = (right - left) / needed
    if room < 0.6:
        return
    for axes, x, height, percent in tops:
        axes.annotate(
            f"{round(percent, 6):.{1 if room > 1.1 else 0}f}",
            (x, height),
            xytext=(0.0, 0.25),
            textcoords="offset fontsize",
            ha="center",
            va="bottom",
            fontsize="small",
        )


KIND = Kind(
    name="predictions",
    description=_DESCRIPTION,
    reads="experiments",
    numbers_options=_NumbersOptions,
    compute=_compute,
    draw_options=PanelOptions,
    render=_render,
    needs_data=True,
)
