"""Change in the accuracy of every class, sorted within its split."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, NamedTuple

import numpy as np

from alphanet_jax.figures import drawing, labels, wrapping
from alphanet_jax.figures.classes import LEAST_WIDTH, class_accuracy
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
from alphanet_jax.figures.options import COL_WRAP, NoOptions
from alphanet_jax.figures.panel import note_box, spell_splits, zero_line
from alphanet_jax.figures.settling import settle
from alphanet_jax.figures.style import Style
from alphanet_jax.splits import SPLITS

__all__ = ["KIND"]

_DESCRIPTION = """\
Change in the accuracy of every class from the unchanged classifier, mean over runs: a
bar for each class, sorted within few, medium and many; where bars would merge, equally
many classes share one, their mean, as the name of the axis says. The classes that gain
and lose most are named, in every split that has room for it. Lines, with numbers where
they have room, are the mean changes of a split's classes and of all classes; a panel
for each experiment. Classes without test samples are left out. The original's
PlotClsAccDeltaBySplit.

  python main.py plot class_changes --base_res_dir=results/quickstart --out=changes.png
"""

# Points, and pixels, from a bar to the next, of which a part is between them.
_LEAST_PITCH, _LEAST_PIXELS = 1.6, 4.0
# Lines of text that a panel is high, at least, so that classes are named in it; and
# inches of a name that is cut, at most and at least, for text of one point.
_LEAST_LINES = 5.0
_NAME_WIDTH, _LEAST_NAME_WIDTH = 0.11, 0.08
# How far, in lines, the number at a mean may be from where it belongs.
_MOST_ASTRAY = 0.35
# Points from notes to the ends of a panel: their boxes are not to hide an axis.
_ASIDE = 2.5


@dataclass(frozen=True)
class _DrawOptions:
    col_wrap: Annotated[int, COL_WRAP] = 0


def _compute(sources: Sources, options: NoOptions) -> Numbers:
    """Computes the change in accuracy of every class, in points.

    Returns:
      A table of classes, columns experiment, split, rank (within the split, from 0, by
      falling change), class, name, samples (of training), before, after, change; and a
      table 'means', columns experiment, split (few, medium, many, overall), classes,
      change: means over classes.
    """
    rows: list[tuple[Any, ...]] = []
    means: list[tuple[Any, ...]] = []
    for name, runs in sources.named():
        values = class_accuracy(runs)
        after = values.after.mean(axis=0)
        changes = after - values.before
        splits, counts = runs.split_names, runs.common("class_counts")
        tested = np.isfinite(changes)
        for split in SPLITS:
            classes = np.flatnonzero((splits == split) & tested)
            # What differs by rounding alone is the same.
            order = np.argsort(-changes[classes].round(9), kind="stable")
            classes = classes[order]
            for rank, label in enumerate(classes.tolist()):
                rows.append(
                    (
                        *(name, split, rank, label, runs.label_name(label)),
                        *(counts[label], values.before[label], after[label]),
                        changes[label],
                    )
                )
            if len(classes):
                means.append((name, split, len(classes), changes[classes].mean()))
        means.append((name, "overall", tested.sum(), changes[tested].mean()))
    return {
        "": make_columns(
            (
                *("experiment", "split", "rank", "class", "name", "samples"),
                *("before", "after", "change"),
            ),
            rows,
        ),
        "means": make_columns(("experiment", "split", "classes", "change"), means),
    }


def _render(numbers: Numbers, style: Style, options: _DrawOptions) -> "drawing.Figure":
    """Draws a panel for each experiment."""
    by_experiment = split_by(numbers[""], "experiment")
    means = split_by(numbers["means"], "experiment")
    figure, all_axes = drawing.panels(
        style,
        len(by_experiment),
        col_wrap=options.col_wrap,
        inches=LEAST_WIDTH,
        aspect=1.6,
        sharex=False,
    )
    columns_of = list(by_experiment.values())
    same = all(_sizes(part) == _sizes(columns_of[0]) for part in columns_of)
    share = max(
        _classes_per_bar(all_axes[0], style, len(part["change"]))
        for part in by_experiment.values()
    )
    lines, names = [], []
    for axes, (name, columns) in zip(all_axes, by_experiment.items(), strict=True):
        panel = _draw_panel(axes, columns, means[name], style, share=share)
        lines += panel[0]
        names += panel[1]
    if same:
        # What is below a column of panels is below each of them.
        wrap = all_axes[0].get_gridspec().ncols
        for axes in all_axes[:-wrap]:
            axes.tick_params(labelbottom=False)
    # Ticks are those of the end before labels are broken into lines beside them.
    settle(figure)
    _make_room(_line_height(figure), lines, names)
    sharing = f" ({share} a bar)" if share > 1 else ""
    drawing.finish(
        figure,
        all_axes,
        style,
        x=f"Classes, sorted within their split{sharing}",
        y="Change in accuracy (points)",
        titles=list(by_experiment),
    )
    spell_splits(figure, all_axes, style)
    if style.aspect is not None:
        labels.refit_labels(figure, all_axes, style)
    _write_notes(figure, style, lines, names)
    return figure


def _sizes(columns: Columns) -> list[tuple[str, int]]:
    """Returns how many classes of each split there are."""
    names, counts = np.unique(columns["split"], return_counts=True)
    return list(zip(names.tolist(), counts.tolist(), strict=True))


def _classes_per_bar(axes: Any, style: Style, count: int) -> int:
    """Returns how many classes share a bar, so that bars of a panel stay apart."""
    figure = axes.get_figure()
    # Where the axes begin and end is known only when all is drawn: labels take about
    # this much.
    grid = axes.get_subplotspec().get_gridspec()
    points = 72.0 * max(0.72 * figure.get_figwidth() / grid.ncols, 0.3)
    pitch = _LEAST_PITCH
    if style.format == "png":
        pitch = max(pitch, 72.0 * _LEAST_PIXELS / style.dpi)
    return max(1, int(np.ceil(pitch * count / points)))


def _draw_panel(
    axes: Any, columns: Columns, means: Columns, style: Style, *, share: int
) -> "tuple[list[_Note], list[_Note]]":
    """Draws the bars and means of an experiment.

    Returns:
      What to write at means, and at the bars of classes that change most.
    """
    import matplotlib as mpl

    unit = mpl.rcParams["lines.linewidth"]
    total = len(columns["change"])
    shorter = wrapping.short_names(columns["name"].tolist())
    gap = max(1.0, 0.03 * total)
    overall = float(select(means, split="overall")["change"][0])
    start, ticks, labels = 0.0, [], []
    lines, names = [], []
    for split in SPLITS:
        here = select(columns, split=split)
        changes = here["change"]
        if not changes.size:
            continue
        size, color = len(changes), style.splits[split]
        # Equally many, as far as they can be.
        bars = np.array_split(changes, -(-size // share))
        pitch = size / len(bars)
        axes.bar(
            start + pitch * (np.arange(len(bars)) + 0.5),
            [bar.mean() for bar in bars],
            width=0.7 * pitch,
            color=color,
            linewidth=0.0,
        )
        mean = float(select(means, split=split)["change"][0])
        axes.hlines(
            mean, start, start + size, colors=style.foreground, linewidth=unit, zorder=3
        )
        end = start + size
        up = mean >= 0.0
        # Bars fall: at the right end they do not reach a positive mean, at the left
        # end not a negative one.
        text = _signed(mean)
        lines.append(_Note(axes, text, end if up else start, mean, up, not up))
        # The names of classes that gain have room after the first bar, those of others
        # before the last.
        for place, low, at in ((0, 0, start), (-1, 1, end))[: 1 + (size > 1)]:
            change = float(changes[place])
            up = change >= 0.0 if size == 1 else not low
            # Beyond its bar: a class that loses least may gain, and the other way.
            end_of_bar = max(change, 0.0) if up else min(change, 0.0)
            name = str(here["name"][place])
            note = _Note(axes, name, at, end_of_bar, up, not place)
            names.append(
                note._replace(color=color, value=change, shorter=shorter[name])
            )
        ticks.append(start + size / 2)
        labels.append(f"{drawing.SPLIT_TITLES[split]}\n({size:,})")
        start = end + gap
    zero_line(axes, style)
    color = style.splits["overall"]
    # Unlike the guide at zero.
    dots = (0, (1, 1.2))
    axes.axhline(overall, color=color, linewidth=unit, linestyle=dots, zorder=2.5)
    axes.annotate(
        f"All\n{_signed(overall)}",
        (1.0, overall),
        xycoords=("axes fraction", "data"),
        xytext=(3, 0),
        textcoords="offset points",
        va="center",
        fontsize=mpl.rcParams["legend.fontsize"],
        color=color,
    )
    axes.set_xticks(ticks, labels)
    axes.tick_params(axis="x", length=0)
    axes.set_xlim(-0.5 * gap, start - 0.5 * gap)
    return lines, names


class _Note(NamedTuple):
    """A text to write above or below a place, toward the left or the right of it."""

    axes: Any
    text: str
    x: float
    y: float
    up: bool
    right: bool
    color: Any = None
    value: float = np.nan  # written after the text, which is a name then
    shorter: str = ""  # what may be written of that name


def _write_notes(
    figure: Any, style: Style, lines: Sequence[_Note], names: Sequence[_Note]
) -> None:
    """Writes what is at means and at bars, as far as it has room in its panel."""
    settle(figure)
    with_names = _make_room(_line_height(figure), lines, names)
    settle(figure)
    placed: dict[Any, list[Any]] = {}
    for note in lines:
        box = _place(figure, style, note, note.text, placed.get(note.axes, []))
        placed.setdefault(note.axes, []).extend([box] if box is not None else [])
    if not with_names:
        return
    # Those that change most come first. Each is as short as it may be, so that as many
    # as can be have a place; and then as whole as the others let it.
    found = []
    for note in sorted(names, key=lambda note: -abs(note.value)):
        if abs(note.value) <= 1e-9:
            continue
        spellings = _spellings(figure, style, note)
        others = placed.setdefault(note.axes, [])
        for place, text in enumerate(spellings):
            box = _place(figure, style, note, text, others)
            if box is not None:
                others.append(box)
                found.append((note, box, note.axes.texts[-1], spellings[place + 1 :]))
                break
    for note, first_box, first_shown, longer in found:
        others, (box, shown) = placed[note.axes], (first_box, first_shown)
        others.remove(box)
        for text in longer:
            other = _place(figure, style, note, text, others)
            if other is None:
                continue
            # Rather shorter than on more bars.
            if _bars_below(note.axes, other) > _bars_below(note.axes, box):
                note.axes.texts[-1].remove()
                continue
            shown.remove()
            box, shown = other, note.axes.texts[-1]
        others.append(box)


def _line_height(figure: Any) -> float:
    """Returns the height of a line of notes, in pixels."""
    import matplotlib as mpl

    return float(1.2 * mpl.rcParams["legend.fontsize"] / 72.0 * figure.dpi)


def _make_room(line: float, lines: Sequence[_Note], names: Sequence[_Note]) -> bool:
    """Makes room for notes beyond the longest bars of all panels.

    Args:
      line: Height of a line of their text, in pixels.
      lines: What is written at means.
      names: What is written at bars.

    Returns:
      Whether panels are high enough for names.
    """
    axes = lines[0].axes
    with_names = bool(axes.bbox.height > _LEAST_LINES * line)
    # Of a class alone in its split, its name is beyond the number at its mean.
    high = axes.bbox.height > 2.0 * _LEAST_LINES * line
    lonely = high and len(names) < 2 * len(lines)
    room = (2.6 if lonely else 1.3 if with_names else 0.3) * line / axes.bbox.height
    low, high = axes.dataLim.y0, axes.dataLim.y1
    for note in (*lines, *names):
        low, high = min(low, note.y), max(high, note.y)
    reach = (high - low) / max(1.0 - 2.0 * room, 0.1)
    pad = max(reach * room, 1e-9)
    axes.set_ylim(low - pad, high + pad)
    return bool(with_names)


def _spellings(figure: Any, style: Style, note: _Note) -> list[str]:
    """Returns what may be written of a class, ever longer.

    That is its first name cut, if it must be, and whole, then all of its names, each in
    two lines or one. A name is not cut to a few letters.
    """
    import matplotlib as mpl

    size = mpl.rcParams["legend.fontsize"]
    room = note.axes.bbox.width / figure.dpi - 2.0 * _ASIDE / 72.0
    value = _signed(note.value)
    ruler = wrapping.text_ruler(figure, style, size=size)
    found = []
    width = min(0.55 * room, _NAME_WIDTH * size)
    if width >= _LEAST_NAME_WIDTH * size:
        cut = wrapping.wrapped(
            figure, style, note.shorter, width=width, size=size, lines=1
        )
        found.append(f"{cut} {value}")
    for text in dict.fromkeys((note.shorter, note.text)):
        whole = f"{style.text(' '.join(text.split()))} {value}"
        length = ruler(whole)[0]
        # A little more than half of it, where words are not equally long.
        for part in (0.55, 0.65, 0.75):
            line = min(part * length, room)
            two = wrapping.wrapped_markup(figure, style, whole, width=line, size=size)
            if two.count("\n") == 1 and ruler(two)[0] <= room:
                found.append(two)
                break
        if length <= room:
            found.append(whole)
    return list(dict.fromkeys(found))


def _place(
    figure: Any, style: Style, note: _Note, text: str, placed: Sequence[Any]
) -> Any:
    """Writes a note where nothing else is.

    Returns:
      Its box; None where it has no such place, and is left out.
    """
    import matplotlib as mpl

    renderer = wrapping.renderer_of(figure, style)
    size = mpl.rcParams["legend.fontsize"]
    is_name = note.color is not None
    shown = note.axes.annotate(
        text,
        (note.x, note.y),
        xytext=(0, 0),
        textcoords="offset points",
        ha="left" if note.right else "right",
        va="bottom" if note.up else "top",
        fontsize=size,
        color=note.color,
        bbox=note_box(style),
        zorder=4,
    )
    panel = note.axes.bbox
    points = 72.0 / figure.dpi
    aside_by = _ASIDE / points
    free = []
    for row in range(3 if is_name else 1):
        away = 2.0 + 1.25 * size * row
        shown.xyann = (0.0, away if note.up else -away)
        box = text_box(shown, renderer)
        # A note that is wider than its line does not leave the panel.
        left, right = panel.x0 + aside_by - box.x0, panel.x1 - aside_by - box.x1
        aside = max(left, 0.0) + min(right, 0.0)
        low, high = panel.y0 + 0.5 * aside_by - box.y0, panel.y1 - box.y1
        updown = max(low, 0.0) + min(high, 0.0)
        if is_name and row and abs(updown) > aside_by:
            break
        if not is_name and abs(updown) * points > _MOST_ASTRAY * size:
            break
        x, y = shown.xyann
        shown.xyann = (x + points * aside, y + points * updown)
        box = text_box(shown, renderer)
        if not any(box.overlaps(other) for other in placed):
            free.append((_bars_below(note.axes, box), row, shown.xyann, box))
    if not free:
        shown.remove()
        return None
    # Rather further away than on bars.
    *_, shown.xyann, box = min(free, key=lambda place: place[:2])
    return box


def _bars_below(axes: Any, box: Any) -> int:
    """Counts the bars of a panel, whose layout is done, that a box covers a part of."""
    x0, y0, x1, y1 = box.transformed(axes.transData.inverted()).extents
    return sum(
        bar.get_x() < x1
        and bar.get_x() + bar.get_width() > x0
        and min(bar.get_height(), 0.0) < y1
        and max(bar.get_height(), 0.0) > y0
        for bar in axes.patches
    )


def _signed(value: float) -> str:
    return f"${value:+.1f}$"


KIND = Kind(
    name="class_changes",
    description=_DESCRIPTION,
    reads="experiments",
    numbers_options=NoOptions,
    compute=_compute,
    draw_options=_DrawOptions,
    render=_render,
)
