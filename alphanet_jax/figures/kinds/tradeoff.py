"""Few against overall accuracy of many corrections, each over its knob."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np

from alphanet_jax.errors import UserError, did_you_mean
from alphanet_jax.figures import drawing, fitting
from alphanet_jax.figures.kind import Kind
from alphanet_jax.figures.numbers import (
    Columns,
    Numbers,
    Sources,
    make_columns,
    split_by,
)
from alphanet_jax.figures.options import About, LegendOptions
from alphanet_jax.figures.style import Style
from alphanet_jax.results import comparison_file

__all__ = ["KIND"]

_DESCRIPTION = """\
Test accuracy of few classes against that of all, for every method of a comparison over
its knob, with bands of 95 percent for overall accuracy. Filled circles are the knobs
chosen by overall accuracy on validation data, open ones those chosen by the harmonic
mean of the splits, a star what the comparison chose for its targets. Of further options
of a method, those chosen are drawn.

  python main.py plot tradeoff --compare=results/compare_quickstart/compare.json \\
      --out=tradeoff.pdf"""

_Z = 1.96  # of intervals of 95 percent
# Points below and above what is chosen that are still shown.
_MARGIN = 3.0
_OWN = ("alphanet_plus", "alphanet")  # in front, in colors of their own
# Methods that all have a band.
_MOST_BANDS = 6
_DASHES: tuple[Any, ...] = (
    "solid",
    (0, (4, 1.5)),
    (0, (1, 1.2)),
    (0, (5, 1.2, 1, 1.2)),
)


@dataclass(frozen=True)
class _NumbersOptions:
    compare: Annotated[str | None, "the comparison, a compare.json"] = None
    methods: Annotated[
        Sequence[str] | None, "names of methods to draw [all of the comparison]"
    ] = None


@dataclass(frozen=True)
class _DrawOptions(LegendOptions):
    margin: Annotated[
        float, About("points of accuracy shown around what is chosen", low=0.1)
    ] = _MARGIN
    bands: Annotated[
        Sequence[str] | None,
        "names of methods with a band [those with a knob; where these are many, "
        "AlphaNet's and what is chosen of all]",
    ] = None


def _compute(sources: Sources, options: _NumbersOptions) -> Numbers:
    """Lists points of the methods, in percent.

    Returns:
      Columns method, knob, few, overall, overall_low, overall_high, chosen: empty, or
      criteria by which the point is chosen, 'targets' for the choice of all.
    """
    if options.compare is None:
        raise UserError(
            "--compare is missing, for example "
            "--compare=results/compare_quickstart/compare.json"
        )
    found = comparison_file.load(Path(options.compare), points_only=True)
    methods = found["methods"]
    names = list(methods) if options.methods is None else list(options.methods)
    for name in names:
        if name not in methods:
            raise UserError(
                f"{options.compare} has no method {name!r}; "
                f"{did_you_mean(name, methods, most_listed=len(methods))}"
            )
    choice = found.get("choice") or {}
    taken = choice.get("method"), choice.get("index")
    rows = [
        row
        for name in names
        for row in _rows(name, methods[name], taken[1] if taken[0] == name else None)
    ]
    columns = ("method", "knob", "few", "overall", "overall_low", "overall_high")
    return {"": make_columns((*columns, "chosen"), rows)}


def _rows(
    name: str, entry: Mapping[str, Any], taken: int | None
) -> list[tuple[Any, ...]]:
    """Lists a method's points of the further options that are chosen."""
    by_overall = entry["chosen"]["overall"]
    rows = []
    for index, point in enumerate(entry["curve"]):
        criteria = [
            criterion
            for criterion in ("overall", "harmonic")
            if _same(point, entry["chosen"][criterion])
        ]
        criteria += ["targets"] * (index == taken)
        if point.get("options") != by_overall.get("options") and not criteria:
            continue
        # NaN for what is not there, as of a split without samples.
        few, *_, overall = (100.0 * np.array(point["test"], float)).tolist()
        *_, error = np.array(point.get("test_error", [0.0]), float).tolist()
        reach = 100.0 * _Z * error
        rows.append(
            (
                name,
                point["knob"],
                few,
                overall,
                overall - reach,
                overall + reach,
                " ".join(criteria),
            )
        )
    return rows


def _same(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    return (one["knob"], one.get("options")) == (other["knob"], other.get("options"))


def _render(numbers: Numbers, style: Style, options: _DrawOptions) -> "drawing.Figure":
    """Draws a line with a band for every method, and its chosen points."""
    import matplotlib as mpl

    columns = numbers[""]
    figure, (axes,) = drawing.panels(style, 1, aspect=1.3)
    size = mpl.rcParams["lines.markersize"]
    handles, labels = [], []
    parts = split_by(columns, "method")
    looks = _looks(parts, style)
    bands = _with_bands(parts) if options.bands is None else options.bands
    for place, (name, part) in enumerate(parts.items()):
        color, dashes = looks[name]
        line = _line(part)
        front = name in _OWN
        several = len(line["few"]) > 1
        (handle,) = axes.plot(
            line["few"],
            line["overall"],
            color=color,
            linestyle=dashes if several else "none",
            linewidth=(1.6 if front else 1.0) * style.scale,
            marker="" if several else "sDv^P*X"[place % 7],
            markersize=0.8 * size,
            zorder=3 if front else 2,
        )
        if several and name in bands:
            axes.fill_between(
                line["few"],
                line["overall_low"],
                line["overall_high"],
                color=color,
                alpha=0.07,
                linewidth=0,
                zorder=1,
            )
        if several:
            _mark(axes, part, color, style)
        _mark_choice(axes, part, color, style)
        handles.append(handle)
        labels.append(style.text(_title(name)))
    marks = [
        (_marker(style.secondary, style.secondary, style), "knob by overall"),
        (_marker(style.background, style.secondary, style), "by harmonic mean"),
    ]
    if any("targets" in text.split() for text in columns["chosen"].tolist()):
        marks.append((_star(style.secondary, style), "chosen of all"))
    for look, label in marks:
        (handle,) = axes.plot([], [], **look)
        handles.append(handle)
        labels.append(style.text(label))
    _limit(axes, columns, options.margin)
    drawing.finish(
        figure,
        [axes],
        style,
        x="Few accuracy (%)",
        y="Overall accuracy (%)",
        handles=handles,
        labels=labels,
        legend=options,
    )
    return figure


def _with_bands(parts: Mapping[str, Columns]) -> list[str]:
    """Names the methods with a band: more than some would make a mud of colors."""
    lines = [name for name, part in parts.items() if len(part["knob"]) > 1]
    if len(lines) <= _MOST_BANDS:
        return lines
    return [
        name
        for name in lines
        if name in _OWN or any("targets" in c for c in parts[name]["chosen"].tolist())
    ]


def _looks(parts: Mapping[str, Columns], style: Style) -> dict[str, tuple[str, Any]]:
    """Returns a color and a line style for every method."""
    first, second, *others = style.cycle
    looks: dict[str, tuple[str, Any]] = {
        "unchanged": (style.foreground, "solid"),
        **dict(zip(_OWN, ((first, "solid"), (second, "solid")), strict=True)),
    }
    # Lines differ from lines, and single points, which have markers, from each other.
    counts = {True: 0, False: 0}
    for name, part in parts.items():
        if name in looks:
            continue
        is_line = len(part["knob"]) > 1
        place = counts[is_line]
        counts[is_line] += 1
        dashes = _DASHES[place // len(others) % len(_DASHES)]
        looks[name] = (others[place % len(others)], dashes)
    return looks


def _line(part: Columns) -> dict[str, np.ndarray]:
    """Orders points along the knob; of one knob, the point chosen by overall."""
    order = np.argsort(part["knob"], kind="stable")
    ordered = {name: column[order] for name, column in part.items()}
    first = np.ones(len(order), bool)
    # Where the other criterion chose other options, its point is off the line.
    first[1:] = ordered["knob"][1:] != ordered["knob"][:-1]
    return {name: column[first] for name, column in ordered.items()}


def _mark(axes: Any, part: Columns, color: str, style: Style) -> None:
    """Marks chosen points."""
    for criterion, face in (("harmonic", style.background), ("overall", color)):
        here = [criterion in text.split() for text in part["chosen"].tolist()]
        look = _marker(face, color, style)
        axes.plot(part["few"][here], part["overall"][here], **look, zorder=4)


def _mark_choice(axes: Any, part: Columns, color: str, style: Style) -> None:
    """Marks the point that was chosen of all."""
    here = ["targets" in text.split() for text in part["chosen"].tolist()]
    if any(here):
        look = _star(color, style)
        axes.plot(part["few"][here], part["overall"][here], **look, zorder=5)


def _star(color: str, style: Style) -> dict[str, Any]:
    """Returns the look of what was chosen of all."""
    import matplotlib as mpl

    return _marker(color, style.foreground, style) | {
        "marker": "*",
        "markersize": 1.6 * mpl.rcParams["lines.markersize"],
    }


def _marker(face: str, color: str, style: Style) -> dict[str, Any]:
    """Returns the look of a chosen point."""
    import matplotlib as mpl

    return {
        "linestyle": "none",
        "marker": "o",
        "markersize": 0.75 * mpl.rcParams["lines.markersize"],
        "markerfacecolor": face,
        "markeredgecolor": color,
        "markeredgewidth": 0.9 * style.scale,
    }


def _limit(axes: Any, columns: Columns, margin: float) -> None:
    """Shows what is around chosen points: ends of knobs are far away."""
    chosen = columns["chosen"] != ""
    for name, which in (("few", "xlim"), ("overall", "ylim")):
        values = columns[name][chosen]
        axes.set(**{which: (values.min() - margin, values.max() + margin)})
    top = columns["overall_high"][chosen].max()
    axes.set_ylim(top=top + 0.3)


def _title(name: str) -> str:
    """Writes a method's name for people."""
    titles = {
        "alphanet": "AlphaNet",
        "alphanet_plus": "alphanet+",
        "nearest_class_mean_un": "NCM",
        "nearest_class_mean_l2n": "NCM, l2n",
        "nearest_class_mean_cl2n": "NCM, cl2n",
        "nearest_class_mean_cosine": "NCM, cosine",
        "tau_normalization": "tau-norm., no bias",
        "tau_normalization_bias": "tau-norm., bias",
        "prior_from_predictions": "prior from predictions",
        "balanced_softmax_head": "balanced head",
        "gaussian_scores": "Gaussian, shrunk",
        "gaussian_scores_unshrunk": "Gaussian",
        "gaussian_mix": "Gaussian mix",
        "crt": "cRT",
        "lws": "LWS",
        "marc": "MARC",
        "disalign": "DisAlign",
        "drops": "DROPS",
    }
    return titles.get(name, name.replace("_", " "))


KIND = Kind(
    name="tradeoff",
    description=_DESCRIPTION,
    reads="nothing",
    numbers_options=_NumbersOptions,
    compute=_compute,
    draw_options=_DrawOptions,
    render=_render,
    room=fitting.Room(least=(0.9, 0.6), enough=1.5, aspect=1.3),
)
