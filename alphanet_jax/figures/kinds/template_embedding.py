"""The classifier of a few class before and after, among its samples, in the plane."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np

from alphanet_jax.errors import UserError
from alphanet_jax.figures import fitting, templates, wrapping
from alphanet_jax.figures.drawing import draw_legend, grow
from alphanet_jax.figures.embedding import embed
from alphanet_jax.figures.kind import Kind
from alphanet_jax.figures.numbers import (
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

# Inches of a panel in which a few marks do not cover each other.
_ROOM = fitting.Room(least=(0.58, 0.58), enough=2.0, aspect=1.0)
# Width by height of what a class has in a figure of a given height, and the part of
# the figure that names beside panels may have.
_SHAPE, _ASIDE = 1.5, 0.4
# Inches of a marker of a legend and what is around it, for text of one point.
_MARK = 3.2 / 72.0


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
    points_of: list[tuple[Any, ...]] = []
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
        points_of += [
            (
                *(label, name, seed, *accuracies[:, label]),
                *(kind, of, runs.label_name(of), rank, *point, stress),
            )
            for (kind, of, rank), point in zip(shown, points[: len(shown)], strict=True)
        ]
        ranks = np.full(runs.num_classes, templates.OTHER)
        ranks[near] = np.arange(len(near)) + 1
        ranks[label] = templates.OWN
        samples += [
            (label, i, *point, before[i], ranks[before[i]], after[i], ranks[after[i]])
            for i, point in zip(chosen, points[len(shown) :], strict=True)
        ]
    names = ("class", "name", "seed", "before", "after", "kind", "label")
    ends = ("before", "before_rank", "after", "after_rank")
    return {
        "": make_columns((*names, "label_name", "rank", "x", "y", "stress"), points_of),
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
    columns = _columns_of_classes(style, len(classes))
    rows = -(-len(classes) // columns)
    size = style.size(aspect=1.0, rows=rows, columns=2 * columns)
    figure: Figure = plt.figure(figsize=size)
    # Besides the panels, a class has a title and the names of its neighbors.
    grow(figure, style, 6.0 * mpl.rcParams["font.size"] / 72.0 * rows)
    # In a figure of a given height, panels have more where all names are beside them.
    aside = style.aspect is not None and options.legend_loc == "beside"
    aside = aside and len(classes) == 1
    width = figure.get_figwidth() / columns
    parts = figure.subfigures(rows, columns, squeeze=False).ravel()
    for part, here in zip(parts, classes.values(), strict=False):
        part.set_facecolor("none")
        label = here["class"][0]
        _draw_panels(figure, part, here, samples[label], style, width=width)
        if not aside:
            names = _names_of_neighbors(figure, here, style, room=0.96 * width)
            _draw_names(figure, part, *names, style, room=0.96 * width)
    handles, labels = _explanations(style)
    if aside:
        (here,) = classes.values()
        named = _names_of_neighbors(figure, here, style, room=_ASIDE * width)
        handles, labels = [*handles, *named[0]], [*labels, *named[1]]
    draw_legend(figure, parts[0].axes[1], style, handles, labels, options)
    templates.fit_marks(figure, style)
    return figure


def _columns_of_classes(style: Style, count: int) -> int:
    """Returns how many classes are beside each other in a figure of a given height."""
    if style.aspect is None:
        return 1
    whole = style.aspect

    def is_off(number: int) -> float:
        rows = -(-count // number)
        unused = float(np.log(rows * number / count))
        return abs(float(np.log(whole * rows / number / _SHAPE))) + unused

    return min(range(1, count + 1), key=is_off)


def _explanations(style: Style) -> tuple[list[Any], list[str]]:
    """Returns the handles and texts of the legend."""
    import matplotlib as mpl
    from matplotlib.lines import Line2D

    size = 0.8 * mpl.rcParams["lines.markersize"]
    points = {"linestyle": "none", "markersize": size}
    handles = [
        Line2D([], [], **templates.template_look(style, open_=True)),
        Line2D([], [], **templates.template_look(style, open_=False)),
        Line2D([], [], **points, **templates.mark_look(style, templates.OWN)),
        Line2D([], [], **points, **templates.mark_look(style, templates.OTHER)),
    ]
    return handles, [
        "Template before",
        "Template after",
        "Sample, predicted right",
        "Sample, another class",
    ]


def _draw_panels(
    figure: Any, part: Any, here: Any, samples: Any, style: Style, *, width: float
) -> None:
    """Draws the panels of one class, in a part of the figure of a width in inches."""
    import matplotlib as mpl

    all_axes = part.subplots(1, 2)
    xlim, ylim = templates.limits(here, samples, style)
    # In a figure of a given height, panels are as wide as they are, and lines few.
    free = style.aspect is not None
    name = str(here["name"][0])
    part.suptitle(
        wrapping.wrapped(
            figure,
            style,
            wrapping.short_names([name])[name] if free else name,
            width=0.95 * width,
            lines=1 if free else 2,
        ),
        fontsize=mpl.rcParams["font.size"],
    )
    by_kind = split_by(here, "kind")
    for axes, when in zip(all_axes, ("before", "after"), strict=True):
        axes.set_title(
            style.text(f"{when.capitalize()} ({here[when][0]:.0f}%)"),
            fontsize=mpl.rcParams["xtick.labelsize"],
        )
        templates.draw_samples(axes, samples, f"{when}_rank", style)
        templates.draw_neighbors(axes, by_kind["neighbor"], style)
        templates.draw_templates(axes, by_kind, style, with_after=when == "after")
        axes.set(xticks=[], yticks=[])
        axes.set(xlim=xlim, ylim=ylim)
        axes.set_aspect("auto" if free else "equal")
        axes.spines[:].set(visible=True, color=style.secondary)


def _names_of_neighbors(
    figure: Any, here: Any, style: Style, *, room: float
) -> tuple[list[Any], list[str]]:
    """Returns what a legend has of neighbors, in lines of so many inches."""
    import matplotlib as mpl
    from matplotlib.lines import Line2D

    size = mpl.rcParams["legend.fontsize"]
    near = select(here, kind="neighbor")
    names = near["label_name"].tolist()
    if style.aspect is not None:
        shorter = wrapping.short_names([*names, str(here["name"][0])])
        names = [shorter[name] for name in names]
    marker = {"linestyle": "none", "markersize": mpl.rcParams["lines.markersize"]}
    looks = [templates.mark_look(style, rank) for rank in near["rank"]]
    handles = [Line2D([], [], **marker, **look) for look in looks]
    texts = [
        wrapping.wrapped(
            figure,
            style,
            f"{rank} {name}",
            width=room - _MARK * size,
            size=size,
            lines=0 if style.aspect is None else 1,
        )
        for rank, name in zip(near["rank"], names, strict=True)
    ]
    return handles, texts


def _draw_names(
    figure: Any,
    part: Any,
    handles: list[Any],
    texts: list[str],
    style: Style,
    *,
    room: float,
) -> None:
    """Names the neighbors below the panels, in as many columns as have room."""
    import matplotlib as mpl

    size = mpl.rcParams["legend.fontsize"]
    measure = wrapping.text_ruler(figure, style, size=size)
    widest = max(measure(text)[0] for text in texts) + _MARK * size
    part.legend(
        handles,
        texts,
        loc="outside lower center",
        ncols=max(1, min(len(texts), int(room / widest))),
        handlelength=1.0,
        handletextpad=0.4,
        columnspacing=1.0,
        borderpad=0.1,
    )


KIND = Kind(
    name="template_embedding",
    description=_DESCRIPTION,
    reads="file",
    numbers_options=_NumbersOptions,
    compute=_compute,
    draw_options=LegendOptions,
    render=_render,
    needs_data=True,
    room=_ROOM,
    packages=("sklearn",),
)
