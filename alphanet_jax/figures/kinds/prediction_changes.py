"""How predictions changed: correct, wrong as a neighbor, or else wrong, and after."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import numpy as np

from alphanet_jax.errors import UserError
from alphanet_jax.figures import drawing, outcomes
from alphanet_jax.figures.kind import Kind, MoreFiles
from alphanet_jax.figures.numbers import (
    Columns,
    Numbers,
    Sources,
    make_columns,
    select,
    split_by,
)
from alphanet_jax.figures.options import About, PanelOptions
from alphanet_jax.figures.settling import settle
from alphanet_jax.figures.style import Style
from alphanet_jax.results import semantic
from alphanet_jax.results.accuracy import OUTCOMES
from alphanet_jax.results.sets import ResultSet

__all__ = ["KIND"]

_DESCRIPTION = """\
Predictions for the test samples of few, base or all classes that are correct, wrong as
a neighbor of the true class, or else wrong: of the unchanged classifier at the left, of
AlphaNet at the right, and between them bands for the samples whose predictions went
from one to another; means over runs, a panel for each experiment. With --split=all, the
part of the few classes is hatched. Neighbors are the k nearest classes of --nn_split by
mean training feature, with the result's k and distance; those of few classes among base
classes are the result's own. With --nn_split=semantic they are the classes within
--semantic_nns_level edges of WordNet; samples of a class that has none stay, and all
their wrong predictions are of the third group. The original's PlotPredChanges.

  python main.py plot prediction_changes --base_res_dir=results/quickstart \\
      --split=all --nn_split=semantic --out=changes.png"""

_TITLES = {
    "correct": "Correct",
    "neighbor": "Wrong: visual neighbor",
    "semantic": "Wrong: semantic neighbor",
    "other": "Wrong: other",
}
_NAMES = (
    *("panel", "experiment", "dataset", "part", "nn_split", "before", "after"),
    *("percent", "count", "samples", "without_neighbors", "runs"),
)
# Where bars lie from the left edge of a panel, 0, to the right one, 1; room in percent
# between the outcomes; and how a band is.
_BAR, _GAP = 0.2, 2.0
_CHANGED, _SAME = 0.5, 0.12


@dataclass(frozen=True)
class _NumbersOptions:
    split: Annotated[
        str,
        About(
            "whose test samples to look at: few, base, all",
            choices=("few", "base", "all"),
        ),
    ] = "few"
    nn_split: Annotated[
        str,
        About(
            "which classes can be neighbors: few, base, all; or semantic for WordNet's",
            choices=("few", "base", "all", "semantic"),
        ),
    ] = "base"
    nn_dist: Annotated[str | None, outcomes.NN_DIST] = None
    semantic_nns_level: Annotated[
        int | None,
        About(
            f"the most edges of WordNet between semantic neighbors [{semantic.LEVEL}]",
            low=1,
        ),
    ] = None


@dataclass(frozen=True)
class _DrawOptions(PanelOptions):
    label_size: Annotated[
        float, About("size of percentages, in points; 0 for small", low=0)
    ] = 0.0
    label_rot: Annotated[float, "degrees by which percentages are turned"] = 0.0


@dataclass(frozen=True)
class _FileOptions:
    save_semantic_nns_file: Annotated[
        str | None, "JSON file for the semantic neighbors of every class"
    ] = None


def _compute(sources: Sources, options: _NumbersOptions) -> Numbers:
    """Computes how many samples went from each outcome to each.

    Returns:
      Columns panel, experiment, dataset, part (few or base), nn_split, before, after,
      percent (of all samples of the panel), count (both means over runs), samples,
      without_neighbors (samples of classes that have no neighbor), runs.
    """
    near = _neighborhoods(sources, options)
    rows: list[tuple[Any, ...]] = []
    for panel, runs in sources.named():
        found = outcomes.find_outcomes(runs, sources, split=options.split, near=near)
        is_few = np.isin(found.labels, runs.splits["few"])
        size = len(found.labels)
        for part, chosen in (("few", is_few), ("base", ~is_few)):
            if not chosen.any():
                continue
            # Nine kinds of change, as numbers of two digits to the base of three.
            kinds = 3 * found.before[:, chosen] + found.after[:, chosen]
            counts = np.stack([(kinds == kind).sum(axis=1) for kind in range(9)])
            lonely = int(found.lonely[chosen].sum())
            rows += [
                (
                    *(panel, runs.name, runs.proper_name, part, near.nn_split),
                    *(OUTCOMES[kind // 3], OUTCOMES[kind % 3]),
                    *(100.0 * count / size, count, size, lonely, runs.num_runs),
                )
                for kind, count in enumerate(counts.mean(axis=1))
            ]
    return {"": outcomes.with_method(make_columns(_NAMES, rows), sources)}


def _neighborhoods(
    sources: Sources, options: _NumbersOptions
) -> outcomes.Neighborhoods:
    """Returns which classes are neighbors; refuses options of other neighbors."""
    nn_split, level = options.nn_split, options.semantic_nns_level
    if nn_split == "semantic":
        if options.nn_dist is not None:
            raise UserError("--nn_dist means nothing with --nn_split=semantic")
        return outcomes.Neighborhoods(nn_split, level=level or semantic.LEVEL)
    given = {
        "--semantic_nns_level": level,
        "--synsets or --imagenet_data_root": sources.synsets,
        "--wordnet": sources.wordnet,
    }
    for name, value in given.items():
        if value is not None:
            raise UserError(
                f"{name} needs --nn_split=semantic, got --nn_split={nn_split}"
            )
    return outcomes.Neighborhoods(nn_split, options.nn_dist)


def _more_files(
    sources: Sources, options: _NumbersOptions, file_options: _FileOptions
) -> dict[Path, str]:
    """Returns the file of semantic neighbors, if one is wanted.

    It has the level, and for every dataset its classes with their neighbors:
    `{"level": 4, "datasets": {"NAME": [{"class": 0, "name": "apple", "split": "few",
    "neighbors": [53, 57]}, ...]}}`.
    """
    path = file_options.save_semantic_nns_file
    if path is None:
        return {}
    if options.nn_split != "semantic":
        raise UserError(
            "--save_semantic_nns_file needs --nn_split=semantic, got "
            f"--nn_split={options.nn_split}"
        )
    level = options.semantic_nns_level or semantic.LEVEL
    datasets: dict[str, str] = {}
    for runs in sources.sets:
        if runs.dataset not in datasets:
            classes = _semantic_neighbors(runs, sources, level)
            lines = [json.dumps(each, ensure_ascii=False) for each in classes]
            datasets[runs.dataset] = ",\n  ".join(lines)
    lists = ",\n ".join(
        f"{json.dumps(name, ensure_ascii=False)}: [\n  {lines}\n ]"
        for name, lines in datasets.items()
    )
    return {Path(path): f'{{"level": {level}, "datasets": {{\n {lists}\n}}}}\n'}


def _semantic_neighbors(
    runs: ResultSet, sources: Sources, level: int
) -> list[dict[str, Any]]:
    """Lists the classes of a dataset with their semantic neighbors."""
    mask = semantic.semantic_mask(
        runs.files[0],
        sources.finder,
        level=level,
        synsets=sources.synsets,
        wordnet=sources.wordnet,
    )
    splits = runs.split_names.tolist()
    return [
        {
            "class": label,
            "name": runs.label_name(label),
            "split": splits[label],
            "neighbors": np.flatnonzero(near).tolist(),
        }
        for label, near in enumerate(mask)
    ]


class _Segment(NamedTuple):
    """A piece of a bar, from `low` to `high`: an outcome of a part's samples."""

    outcome: str
    part: str
    low: float
    high: float


def _render(numbers: Numbers, style: Style, options: _DrawOptions) -> "drawing.Figure":
    """Draws a panel of two bars and bands between them for every experiment."""
    from matplotlib.patches import Patch

    columns = numbers[""]
    by_panel = split_by(columns, "panel")
    figure, all_axes = drawing.panels(
        style,
        len(by_panel),
        col_wrap=options.col_wrap,
        aspect=1.3,
        sharex=outcomes.UNCHANGED not in columns.get("method", ()),
    )
    parts = set(columns["part"].tolist())
    labels_of: dict[Any, list[Any]] = {}
    bands = []
    looks = {"fontsize": options.label_size or "small", "rotation": options.label_rot}
    # Neighbors in meaning are no neighbors in looks: they have a color of their own.
    looks_as = dict(zip(OUTCOMES, OUTCOMES, strict=True))
    if "semantic" in columns["nn_split"]:
        looks_as["neighbor"] = "semantic"
    colors = {outcome: style.outcomes[name] for outcome, name in looks_as.items()}
    after = style.text(outcomes.corrected_title(columns))
    for axes, here in zip(all_axes, by_panel.values(), strict=True):
        names = ["before", "after"]
        ticks = {_BAR / 2.0: "Baseline", 1.0 - _BAR / 2.0: after}
        if outcomes.UNCHANGED in here.get("method", ()):
            # The same again would say nothing.
            names.pop()
            ticks.popitem()
        sides = [_segments(here, side) for side in names]
        if len(sides) > 1:
            bands += _draw_bands(axes, here, sides, colors)
        for x, segments in zip((0.0, 1.0 - _BAR), sides, strict=False):
            _draw_bar(axes, segments, style, colors, x=x, hatch_few=len(parts) > 1)
        labels_of[axes] = [
            _write_percents(axes, segments, is_left=is_left, looks=looks)
            for segments, is_left in zip(sides, (True, False), strict=False)
        ]
        axes.set_xlim(0.0, 1.0)
        axes.set_ylim(100.0 + 2.0 * _GAP, 0.0)
        axes.set_yticks([])
        axes.set_xticks(list(ticks), list(ticks.values()))
        axes.tick_params(axis="x", length=0.0)
        axes.spines[:].set_visible(False)
    handles = [Patch(color=colors[outcome]) for outcome in OUTCOMES]
    labels = [_TITLES[looks_as[outcome]] for outcome in OUTCOMES]
    if len(parts) > 1:
        handles.append(
            Patch(facecolor=style.secondary, hatch="////", edgecolor=style.background)
        )
        labels.append("Few split")
    drawing.finish(
        figure,
        all_axes,
        style,
        y=outcomes.SPLIT_PHRASES["all" if len(parts) > 1 else parts.pop()],
        titles=list(by_panel),
        handles=handles,
        labels=labels,
        legend=options,
        turn_xticklabels=True,
    )
    settle(figure)
    for axes, pair in labels_of.items():
        for side in pair:
            _keep_apart(figure, axes, side)
    for band in bands:
        _write_on_band(figure, band, looks)
    return figure


def _segments(columns: Columns, side: str) -> list[_Segment]:
    """Stacks the outcomes of a side, 'before' or 'after', from 0 on, with gaps."""
    made, height = [], 0.0
    for outcome in OUTCOMES:
        for part in dict.fromkeys(columns["part"].tolist()):
            rows = select(columns, part=part, **{side: outcome})
            top = height + float(rows["percent"].sum())
            made.append(_Segment(outcome, part, height, top))
            height = top
        height += _GAP
    return made


def _draw_bar(
    axes: Any,
    segments: list[_Segment],
    style: Style,
    colors: Mapping[str, str],
    *,
    x: float,
    hatch_few: bool,
) -> None:
    for segment in segments:
        hatched = hatch_few and segment.part == "few"
        axes.bar(
            x,
            segment.high - segment.low,
            _BAR,
            bottom=segment.low,
            align="edge",
            color=colors[segment.outcome],
            edgecolor=style.background,
            linewidth=0.0,
            hatch="////" if hatched else None,
            zorder=3,
        )


def _write_percents(
    axes: Any, segments: list[_Segment], *, is_left: bool, looks: Mapping[str, Any]
) -> list[Any]:
    """Writes the percentage of every outcome beside a bar; returns the texts."""
    texts = []
    for outcome in OUTCOMES:
        parts = [segment for segment in segments if segment.outcome == outcome]
        percent = sum(part.high - part.low for part in parts)
        texts.append(
            axes.text(
                -0.03 if is_left else 1.03,
                (parts[0].low + parts[-1].high) / 2.0,
                f"{round(percent, 6):.1f}",
                ha="right" if is_left else "left",
                va="center",
                **looks,
            )
        )
    return texts


def _keep_apart(figure: Any, axes: Any, texts: list[Any]) -> None:
    """Moves the texts beside a bar, whose layout is done, until none overlap."""
    renderer = figure.canvas.get_renderer()
    heights = [text.get_window_extent(renderer).height for text in texts]
    to_pixels = axes.transData.transform
    middles = [to_pixels((0.0, text.get_position()[1]))[1] for text in texts]
    for _ in range(100):
        moved = False
        for upper in range(len(texts) - 1):
            room = 1.05 * (heights[upper] + heights[upper + 1]) / 2.0
            missing = room - (middles[upper] - middles[upper + 1])
            if missing > 0.01:
                middles[upper] += missing / 2.0
                middles[upper + 1] -= missing / 2.0
                moved = True
        if not moved:
            break
    # Below the panel are the names of its bars.
    floor = axes.bbox.y0
    for place in reversed(range(len(texts))):
        middles[place] = max(middles[place], floor + heights[place] / 2.0)
        floor = middles[place] + 0.55 * heights[place]
    for text, middle in zip(texts, middles, strict=True):
        text.set_y(axes.transData.inverted().transform((0.0, middle))[1])


class _Band(NamedTuple):
    """A band of changed predictions: where it begins and ends, and how thick it is."""

    axes: Any
    start: float
    end: float
    percent: float


def _write_on_band(figure: Any, band: _Band, looks: Mapping[str, Any]) -> None:
    """Writes the percentage of a band where it is on this band alone, if it can be."""
    text = band.axes.text(
        _BAR + 0.02,
        band.start,
        f"{band.percent:.1f}",
        ha="left",
        va="center",
        zorder=4,
        **looks,
    )
    box = text.get_window_extent(figure.canvas.get_renderer())
    to_data = band.axes.transData.inverted().transform
    (first, _), (last, _) = to_data([(box.x0, 0.0), (box.x1, 0.0)])
    # What is above the band at one side of the text, and below it at the other, is not
    # on it all along.
    tops = [_height_at(x, band.start, band.end) for x in (first, last)]
    low, high = max(tops), min(tops) + band.percent
    (_, bottom), (_, top) = band.axes.transData.transform([(0.0, high), (0.0, low)])
    if top - bottom < 0.85 * box.height:
        text.remove()
    else:
        text.set_y((low + high) / 2.0)


def _height_at(x: float, start: float, end: float) -> float:
    """Returns where the edge of a band is, from its ends; x is within the panel."""
    part = np.clip((x - _BAR) / (1.0 - 2.0 * _BAR), 0.0, 1.0)
    # The curve's x is 1.5 t (1 - t) + t^3, between controls in the middle.
    t = np.linspace(0.0, 1.0, 101)
    t_there = np.interp(part, 1.5 * t * (1.0 - t) + t**3, t)
    return float(start + (end - start) * t_there**2 * (3.0 - 2.0 * t_there))


def _draw_bands(
    axes: Any,
    columns: Columns,
    sides: list[list[_Segment]],
    colors: Mapping[str, str],
) -> list[_Band]:
    """Draws a band for every flow, faint ones for no change; returns the others."""
    from matplotlib.patches import PathPatch
    from matplotlib.path import Path as Curve

    # Where the next band of each piece begins. Bands leave a piece in the order of
    # where they go, and come in that of whence, so that they cross no more than need.
    starts, ends = ({(s.outcome, s.part): s.low for s in side} for side in sides)
    changed = []
    middle = 0.5
    left, right = _BAR, 1.0 - _BAR
    flows = zip(
        *(columns[name].tolist() for name in ("part", "before", "after", "percent")),
        strict=True,
    )
    for part, before, after, percent in flows:
        a, b = starts[before, part], ends[after, part]
        starts[before, part] += percent
        ends[after, part] += percent
        if percent <= 0.0:
            continue
        if before != after:
            changed.append(_Band(axes, a, b, percent))
        points = [
            *((left, a), (middle, a), (middle, b), (right, b)),
            *((right, b + percent), (middle, b + percent), (middle, a + percent)),
            *((left, a + percent), (left, a)),
        ]
        codes = [
            *(Curve.MOVETO, Curve.CURVE4, Curve.CURVE4, Curve.CURVE4),
            *(Curve.LINETO, Curve.CURVE4, Curve.CURVE4, Curve.CURVE4, Curve.CLOSEPOLY),
        ]
        axes.add_patch(
            PathPatch(
                Curve(points, codes),
                facecolor=colors[before],
                alpha=_SAME if before == after else _CHANGED,
                linewidth=0.0,
                zorder=1 if before == after else 2,
            )
        )
    return changed


KIND = Kind(
    name="prediction_changes",
    description=_DESCRIPTION,
    reads="experiments",
    numbers_options=_NumbersOptions,
    compute=_compute,
    draw_options=_DrawOptions,
    render=_render,
    needs_data=True,
    needs_wordnet=True,
    more_files=MoreFiles(_FileOptions, _more_files),
)
