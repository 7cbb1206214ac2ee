"""The classifier of a few class before and after, among its samples, in the plane."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np

from alphanet_jax.errors import UserError
from alphanet_jax.figures import wrapping
from alphanet_jax.figures.drawing import draw_legend, grow
from alphanet_jax.figures.embedding import embed
from alphanet_jax.figures.extents import text_box
from alphanet_jax.figures.kind import Kind
from alphanet_jax.figures.numbers import (
    Columns,
    Numbers,
    Sources,
    make_columns,
    select,
    split_by,
)
from alphanet_jax.figures.options import About, LegendOptions
from alphanet_jax.figures.style import Style
from alphanet_jax.results import accuracy
from alphanet_jax.results.sets import ResultFile, ResultSet

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["KIND"]

_DESCRIPTION = """\
A few class's template (its weights in the classifier) before and after, the templates
of its neighbors, and its test samples by what they are predicted to be, in the plane:
principal components, then multidimensional scaling, which keep distances as well as the
plane allows. The classifier compares samples and templates by their inner product, so
what is embedded are directions: of templates from the mean template, of samples from
the mean test sample, all of length 1. The original's PlotTemplateDeltas.

  python main.py plot template_embedding --res_file=results/quickstart/result.npz \\
      --n_deltas=2 --out=templates.pdf"""

_SAMPLE_MARKERS = "s^Dv<>pPhX*d"
_OWN, _OTHER = 0, -1  # ranks of what is no neighbor


@dataclass(frozen=True)
class _NumbersOptions:
    run_seed: Annotated[int | None, "seed of the run [the first]"] = None
    delta_type: Annotated[
        str,
        About(
            "the few classes whose accuracy has risen most (max) or least (min)",
            choices=("max", "min"),
        ),
    ] = "max"
    n_deltas: Annotated[int, About("number of classes", low=1)] = 1
    n_pcs: Annotated[int, About("principal components, at most", low=2)] = 50
    mds_iters: Annotated[
        int, About("most iterations of multidimensional scaling", low=1)
    ] = 300


def _compute(sources: Sources, options: _NumbersOptions) -> Numbers:
    """Embeds templates and samples of few classes.

    Returns:
      Columns class, name, seed, before, after (accuracies in percent), kind ('before',
      'after', 'neighbor'), label, label_name, rank, x, y, stress of templates; and a
      table 'samples' with class, sample, x, y, before, before_rank, after, after_rank:
      what each is predicted to be, and the rank of that neighbor, 0 for its own class
      and -1 for any other. Stress is the root of the squared errors of distances by
      that of the squared distances: 0.1 is fair, 0.2 poor.
    """
    runs = sources.sets[0]
    file = runs.files[0]
    run, seed = _find_run(file, options.run_seed)
    labels = runs.common("test_labels")
    before = runs.common("baseline_test_pred")
    after = file.per_run("test_pred")[run]
    accuracies = 100.0 * accuracy.per_class(
        accuracy.is_correct(np.stack([before, after]), labels),
        labels,
        num_classes=runs.num_classes,
    )
    rows = _choose(runs, accuracies[1] - accuracies[0], options)
    data = sources.finder.dataset(file)
    neighbors, weight_few = file.per_run("neighbors")[run], file.per_run("weight_few")
    center = data.weight.mean(axis=0, dtype=np.float64)
    middle = np.mean(data.test.features, axis=0, dtype=np.float64)
    templates: list[tuple[Any, ...]] = []
    samples: list[tuple[Any, ...]] = []
    for row in rows:
        label = int(runs.common("few_classes")[row])
        near = neighbors[row].tolist()
        chosen = np.flatnonzero(labels == label)
        weights = np.concatenate(
            [data.weight[[label]], weight_few[run, [row]], data.weight[near]]
        )
        points, stress = embed(
            np.concatenate(
                [
                    _directions(weights - center),
                    _directions(data.test.features[chosen] - middle),
                ]
            ),
            n_pcs=options.n_pcs,
            mds_iters=options.mds_iters,
        )
        name = runs.label_name(label)
        shown = [("before", label, 0), ("after", label, 0)]
        shown += [("neighbor", other, rank) for rank, other in enumerate(near, 1)]
        templates += [
            (
                *(label, name, seed, *accuracies[:, label]),
                *(kind, of, runs.label_name(of), rank, *point, stress),
            )
            for (kind, of, rank), point in zip(shown, points[: len(shown)], strict=True)
        ]
        ranks = np.full(runs.num_classes, _OTHER)
        ranks[near] = np.arange(len(near)) + 1
        ranks[label] = _OWN
        samples += [
            (label, i, *point, before[i], ranks[before[i]], after[i], ranks[after[i]])
            for i, point in zip(chosen, points[len(shown) :], strict=True)
        ]
    names = ("class", "name", "seed", "before", "after", "kind", "label")
    ends = ("before", "before_rank", "after", "after_rank")
    return {
        "": make_columns((*names, "label_name", "rank", "x", "y", "stress"), templates),
        "samples": make_columns(("class", "sample", "x", "y", *ends), samples),
    }


def _find_run(file: ResultFile, seed: int | None) -> tuple[int, int]:
    """Returns the place and seed of a run."""
    seeds = file.arrays["seeds"].tolist()
    if seed is None:
        return 0, seeds[0]
    if seed not in seeds:
        raise UserError(
            f"--run_seed={seed}: {file.path} has the seeds {', '.join(map(str, seeds))}"
        )
    return seeds.index(seed), seed


def _choose(
    runs: ResultSet, changes: np.ndarray, options: _NumbersOptions
) -> np.ndarray:
    """Returns the places among few classes of those whose accuracy changed most."""
    count = options.n_deltas
    changes = changes[runs.common("few_classes")]
    order = np.argsort(
        changes if options.delta_type == "min" else -changes, kind="stable"
    )
    order = np.asarray(order[np.isfinite(changes[order])])
    if count > len(order):
        raise UserError(
            f"--n_deltas must be at most {len(order)}, the number of few classes with "
            f"test samples, got {count}"
        )
    return order[:count]


def _directions(vectors: np.ndarray) -> np.ndarray:
    """Scales vectors to length 1; those of length 0 stay."""
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.asarray(vectors / np.where(lengths > 0.0, lengths, 1.0))


def _render(numbers: Numbers, style: Style, options: LegendOptions) -> "Figure":
    """Draws two panels for each class: predictions before and after."""
    import matplotlib as mpl
    import matplotlib.pyplot as plt

    classes = split_by(numbers[""], "class")
    samples = split_by(numbers["samples"], "class")
    size = style.size(aspect=1.0, rows=len(classes), columns=2)
    figure: Figure = plt.figure(figsize=size)
    # Besides the panels, a class has a title and the names of its neighbors.
    grow(figure, style, 6.0 * mpl.rcParams["font.size"] / 72.0 * len(classes))
    rows = figure.subfigures(len(classes), 1, squeeze=False)[:, 0]
    for row, (label, here) in zip(rows, classes.items(), strict=True):
        row.set_facecolor("none")
        _draw_class(figure, row, here, samples[label], style)
    draw_legend(figure, rows[0].axes[1], style, *_explanations(style), options)
    _thin_ranks(figure, style)
    return figure


def _thin_ranks(figure: Any, style: Style) -> None:
    """Leaves out ranks of neighbors that lie below nearer ones.

    Their markers still tell them, as color and form are named below the panels.
    """
    figure.draw_without_rendering()
    renderer = wrapping.renderer_of(figure, style)
    for axes in figure.axes:
        kept: list[Any] = []
        ranks = [text for text in axes.texts if text.get_text()]
        for text in sorted(ranks, key=lambda text: int(text.get_text())):
            box = text_box(text, renderer)
            if any(box.overlaps(other) for other in kept):
                text.set_visible(False)
            else:
                kept.append(box)


def _look(style: Style, rank: int) -> dict[str, Any]:
    """Returns color and marker of what is predicted to be of a class."""
    if rank == _OTHER:
        return {"color": style.outcomes["other"], "marker": "x"}
    if rank == _OWN:
        return {"color": style.outcomes["correct"], "marker": "o"}
    # The first color is that of the class itself, the last a gray as that of others.
    colors = (*style.cycle[1:-1], style.foreground)
    return {
        "color": colors[(rank - 1) % len(colors)],
        "marker": _SAMPLE_MARKERS[(rank - 1) % len(_SAMPLE_MARKERS)],
    }


def _template_look(style: Style, *, open_: bool) -> dict[str, Any]:
    """Returns how the template of the class itself is drawn."""
    import matplotlib as mpl

    own = style.outcomes["correct"]
    return {
        "marker": "*",
        "markersize": 2.6 * mpl.rcParams["lines.markersize"],
        "markerfacecolor": style.background if open_ else own,
        "markeredgecolor": own if open_ else style.foreground,
        "markeredgewidth": 0.7 * mpl.rcParams["lines.linewidth"],
        "linestyle": "none",
    }


def _explanations(style: Style) -> tuple[list[Any], list[str]]:
    """Returns the handles and texts of the legend."""
    import matplotlib as mpl
    from matplotlib.lines import Line2D

    size = 0.8 * mpl.rcParams["lines.markersize"]
    points = {"linestyle": "none", "markersize": size}
    handles = [
        Line2D([], [], **_template_look(style, open_=True)),
        Line2D([], [], **_template_look(style, open_=False)),
        Line2D([], [], **points, **_look(style, _OWN)),
        Line2D([], [], **points, **_look(style, _OTHER)),
    ]
    return handles, [
        "Template before",
        "Template after",
        "Sample, predicted right",
        "Sample, another class",
    ]


def _draw_class(figure: Any, row: Any, here: Any, samples: Any, style: Style) -> None:
    """Draws the panels of one class."""
    import matplotlib as mpl
    from matplotlib.lines import Line2D

    all_axes = row.subplots(1, 2)
    xlim, ylim = _limits(here, samples, style.panel_aspect or 1.0)
    name = str(here["name"][0])
    width = 0.95 * figure.get_figwidth()
    row.suptitle(
        wrapping.wrapped(figure, style, name, width=width, lines=2),
        fontsize=mpl.rcParams["font.size"],
    )
    by_kind = split_by(here, "kind")
    near = by_kind["neighbor"]
    for axes, when in zip(all_axes, ("before", "after"), strict=True):
        axes.set_title(
            style.text(f"{when.capitalize()} ({here[when][0]:.0f}%)"),
            fontsize=mpl.rcParams["xtick.labelsize"],
        )
        _draw_samples(axes, samples, f"{when}_rank", style)
        _draw_neighbors(axes, near, style)
        _draw_templates(axes, by_kind, style, with_after=when == "after")
        # In a figure of a given height, panels are as wide as they are.
        free = style.aspect is not None
        axes.set(xticks=[], yticks=[])
        axes.set_xlim(*xlim, auto=free)
        axes.set_ylim(*ylim, auto=free)
        axes.set_aspect("equal", adjustable="datalim" if free else "box")
        axes.spines[:].set(visible=True, color=style.secondary)
    marker = {"linestyle": "none", "markersize": mpl.rcParams["lines.markersize"]}
    handles = [Line2D([], [], **marker, **_look(style, r)) for r in near["rank"]]
    labels = [
        (f"{rank} ", str(label_name))
        for rank, label_name in zip(near["rank"], near["label_name"], strict=True)
    ]
    _draw_names(figure, row, handles, labels, style)


def _draw_samples(axes: Any, samples: Columns, rank_name: str, style: Style) -> None:
    """Draws samples in the looks of what they are predicted to be."""
    import matplotlib as mpl

    # Ranks in turn, so that each is one thing of the drawing.
    for rank in np.unique(samples[rank_name]).tolist():
        part = select(samples, **{rank_name: rank})
        axes.plot(
            part["x"],
            part["y"],
            linestyle="none",
            markersize=0.8 * mpl.rcParams["lines.markersize"],
            markeredgewidth=0.5 * mpl.rcParams["lines.linewidth"],
            alpha=0.85,
            zorder=2,
            **_look(style, rank),
        )


def _draw_neighbors(axes: Any, near: Columns, style: Style) -> None:
    """Draws templates of neighbors, with their ranks."""
    import matplotlib as mpl

    # The nearest comes last, and is seen where they meet.
    for place in np.argsort(-near["rank"], kind="stable"):
        rank, x, y = (near[name][place] for name in ("rank", "x", "y"))
        color = _look(style, int(rank))["color"]
        axes.plot(
            x,
            y,
            marker="o",
            markersize=2.3 * mpl.rcParams["lines.markersize"],
            color=color,
            markeredgecolor=style.foreground,
            markeredgewidth=0.6 * mpl.rcParams["lines.linewidth"],
            zorder=3,
        )
        axes.annotate(
            f"{rank}",
            (x, y),
            ha="center",
            va="center_baseline",
            color=_contrast(color),
            fontsize=mpl.rcParams["xtick.labelsize"],
            zorder=3,
        )


def _draw_templates(
    axes: Any, by_kind: Mapping[str, Columns], style: Style, *, with_after: bool
) -> None:
    """Draws the template of the class, and where it went if that is to be shown."""
    import matplotlib as mpl

    before, after = by_kind["before"], by_kind["after"]
    size = mpl.rcParams["lines.markersize"]
    if with_after:
        axes.annotate(
            "",
            (after["x"][0], after["y"][0]),
            (before["x"][0], before["y"][0]),
            arrowprops={
                "arrowstyle": "-|>",
                "color": style.foreground,
                "linewidth": 0.8 * mpl.rcParams["lines.linewidth"],
                "shrinkA": size,
                "shrinkB": size,
                "mutation_scale": 2.0 * size,
            },
            zorder=4,
        )
    for part in (before, after)[: 1 + with_after]:
        look = _template_look(style, open_=part is before)
        axes.plot(part["x"], part["y"], zorder=5, **look)


def _limits(here: Any, samples: Any, aspect: float) -> list[tuple[float, float]]:
    """Returns limits of x and y that hold everything, in the ratio of the panel."""
    values = [np.concatenate([here[name], samples[name]]) for name in ("x", "y")]
    centers = [(part.min() + part.max()) / 2.0 for part in values]
    reach = max(np.ptp(values[0]) / aspect, np.ptp(values[1]), 1e-9) * 0.56
    return [
        (center - part * reach, center + part * reach)
        for center, part in zip(centers, (aspect, 1.0), strict=True)
    ]


def _draw_names(
    figure: Any, row: Any, handles: list[Any], labels: list[Any], style: Style
) -> None:
    """Names the neighbors below the panels, in as many columns as have room."""
    import matplotlib as mpl

    size = mpl.rcParams["legend.fontsize"]
    measure = wrapping.text_ruler(figure, style, size=size)
    # A marker and what is around it.
    extra = 3.2 * size / 72.0
    room = 0.96 * figure.get_figwidth()
    texts = [
        wrapping.wrapped(figure, style, rank + name, width=room - extra, size=size)
        for rank, name in labels
    ]
    widest = max(measure(text)[0] for text in texts) + extra
    row.legend(
        handles,
        texts,
        loc="outside lower center",
        ncols=max(1, min(len(texts), int(room / widest))),
        handlelength=1.0,
        handletextpad=0.4,
        columnspacing=1.0,
        borderpad=0.1,
    )


def _contrast(color: str) -> str:
    """Returns black or white, whichever can be read on a color."""
    from matplotlib.colors import to_rgb

    red, green, blue = to_rgb(color)
    return "black" if 0.3 * red + 0.59 * green + 0.11 * blue > 0.5 else "white"


KIND = Kind(
    name="template_embedding",
    description=_DESCRIPTION,
    reads="file",
    numbers_options=_NumbersOptions,
    compute=_compute,
    draw_options=LegendOptions,
    render=_render,
    needs_data=True,
    packages=("sklearn",),
)
