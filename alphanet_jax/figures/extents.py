"""Whether what is written in a figure can be read: nothing cut off, nothing overlaps.

All is measured as the renderer draws it.
"""

import itertools
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

__all__ = ["LEAST_PANEL", "TextBox", "misfits", "text_box", "text_boxes", "touching"]

# Inches of a panel in which something can be seen, for text of 7.5 points.
LEAST_PANEL = (0.45, 0.3)
# A box has room for the deepest and the highest letter, and some at its ends: so much
# of it, in parts of the height of a line, is empty.
_EMPTY = 0.11
# Least gap between labels of ticks, in lines.
_LEAST_GAP = 0.2
# Points by which a box may be outside of the figure: letters do not fill it.
_OUTSIDE = 0.8


class TextBox(NamedTuple):
    """Where a text is.

    Attributes:
      text: What it says.
      corners: The corners of its box, in pixels, with shape `[4, 2]`; turned as it is.
    """

    text: str
    corners: np.ndarray


def text_boxes(figure: Any, renderer: Any) -> list[TextBox]:
    """Lists the texts that are seen in a figure, whose layout is done.

    Args:
      figure: The figure.
      renderer: What measures text as it will be drawn.
    """
    return [
        TextBox(text.get_text().replace("\n", " "), _corners(text, renderer))
        for text in _seen(figure)
    ]


def text_box(text: Any, renderer: Any) -> Any:
    """Returns the box of a text alone, without what it points to."""
    from matplotlib.text import Text

    if hasattr(text, "update_positions"):
        text.update_positions(renderer)
    return Text.get_window_extent(text, renderer)


def misfits(
    figure: Any, renderer: Any, *, least_panel: tuple[float, float] = LEAST_PANEL
) -> list[str]:
    """Says what of a figure, whose layout is done, can't be read.

    Args:
      figure: The figure.
      renderer: What measures text as it will be drawn.
      least_panel: Width and height of a panel, at least, in inches, for text of 7.5
        points.

    Returns:
      A part of a sentence for each: of texts that are cut off at an edge or overlap
      another, legends that are cut off, and panels in which nothing can be seen.
    """
    found = []
    for axes in figure.axes:
        if not axes.get_visible() or not axes.axison:
            continue
        size = axes.bbox.width / figure.dpi, axes.bbox.height / figure.dpi
        unit = _small_text(axes) / 7.5
        least = [unit * inches for inches in least_panel]
        short = [inches < wanted for inches, wanted in zip(size, least, strict=True)]
        # Images, which keep their shape, may be short in one direction.
        if all(short) if axes.images else any(short):
            found.append(
                f"a panel has only {max(size[0], 0.0):.2f} x {max(size[1], 0.0):.2f} "
                "inches left"
            )
            break
    boxes = text_boxes(figure, renderer)
    margin = _OUTSIDE / 72.0 * figure.dpi
    legends = [
        TextBox("the legend", _corners_of(box))
        for legend in _legends(figure)
        for box in [legend.get_window_extent(renderer)]
    ]
    named = [(_quoted(box.text), box) for box in boxes]
    named += [(box.text, box) for box in legends]
    for name, box in named:
        low, high = box.corners.min(axis=0), box.corners.max(axis=0)
        if (low < -margin).any() or (high > figure.bbox.size + margin).any():
            found.append(f"{name} is cut off")
    found += [
        f"{_quoted(one.text)} and {_quoted(other.text)} overlap"
        for one, other in _overlapping(boxes)
    ]
    return found


def touching(figure: Any, renderer: Any) -> list[str]:
    """Says which labels of x ticks are so close that they read as one.

    Args:
      figure: The figure, whose layout is done.
      renderer: What measures text as it will be drawn.
    """
    found = []
    for axes in figure.axes:
        if not (axes.get_visible() and axes.axison):
            continue
        ticks = axes.xaxis.get_major_ticks()
        labels = [t.label1 for t in ticks if t.label1.get_visible() and t.get_visible()]
        boxes = sorted(
            (text_box(label, renderer).x0, index)
            for index, label in enumerate(labels)
            if label.get_text().strip() and label.get_rotation() == 0.0
        )
        for (_, one), (_, other) in itertools.pairwise(boxes):
            left, right = (text_box(labels[i], renderer) for i in (one, other))
            line = left.height / (1 + labels[one].get_text().count("\n"))
            if 0.0 <= right.x0 - left.x1 < _LEAST_GAP * line:
                texts = (labels[i].get_text().replace("\n", " ") for i in (one, other))
                found.append(f"{' and '.join(map(_quoted, texts))} touch")
    return found


def _quoted(text: str) -> str:
    """Quotes a text, its formulas in plain letters, as far as it tells what it is."""
    text = text.replace("$", "").replace("\\", "")
    return f"'{text if len(text) <= 40 else f'{text[:37]}...'}'"


def _small_text(axes: Any) -> float:
    """Returns the size of the text of ticks, in points."""
    import matplotlib as mpl
    from matplotlib.font_manager import font_scalings

    size = mpl.rcParams["xtick.labelsize"]
    if isinstance(size, str):
        size = mpl.rcParams["font.size"] * font_scalings[size]
    return float(size)


def _legends(figure: Any) -> list[Any]:
    """Lists the legends that are seen."""
    found = [legend for part in _parts(figure) for legend in part.legends]
    found += [axes.get_legend() for axes in figure.axes if axes.get_visible()]
    return [legend for legend in found if legend is not None and legend.get_visible()]


def _parts(figure: Any) -> list[Any]:
    """Lists a figure and the figures in it."""
    return [figure, *(p for part in figure.subfigs for p in _parts(part))]


def _seen(figure: Any) -> Iterator[Any]:
    """Yields the texts that are drawn."""
    from matplotlib.text import Text

    def is_seen(text: Any) -> bool:
        return bool(text.get_visible() and text.get_text().strip())

    for part in _parts(figure):
        named = (part._suptitle, part._supxlabel, part._supylabel)
        # Some are among the texts of a figure, too.
        every = dict.fromkeys((*filter(None, named), *part.texts))
        yield from filter(is_seen, every)
    for axes in figure.axes:
        if not axes.get_visible():
            continue
        titles = (axes.title, axes._left_title, axes._right_title)
        yield from filter(is_seen, (*titles, *axes.texts))
        if axes.axison:
            for axis in (axes.xaxis, axes.yaxis):
                if axis.get_visible():
                    yield from filter(is_seen, _of_axis(axis))
    for legend in _legends(figure):
        yield from filter(is_seen, legend.findobj(Text))


def _of_axis(axis: Any) -> Iterator[Any]:
    """Yields the texts of an axis: its name and the labels of ticks that it shows."""
    yield axis.label
    yield axis.offsetText
    low, high = sorted(axis.get_transform().transform(axis.get_view_interval()))
    margin = 1e-6 * (high - low)
    for tick in (*axis.get_major_ticks(), *axis.get_minor_ticks()):
        place = axis.get_transform().transform([tick.get_loc()])[0]
        if tick.get_visible() and low - margin <= place <= high + margin:
            yield from (tick.label1, tick.label2)


def _corners(text: Any, renderer: Any) -> np.ndarray:
    """Returns the corners of a text, those of a rectangle that is turned as it is."""
    box = text_box(text, renderer)
    angle = text.get_rotation()
    if angle % 90.0 == 0.0:
        return _corners_of(box)
    text.set_rotation(0.0)
    plain = text_box(text, renderer)
    text.set_rotation(angle)
    turn = np.radians(angle)
    matrix = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    middle = np.array([box.x0 + box.x1, box.y0 + box.y1]) / 2.0
    half = np.array([plain.width, plain.height]) / 2.0
    return np.asarray(middle + (_UNIT * half) @ matrix.T)


_UNIT = np.array([[-1.0, -1.0], [1.0, -1.0], [1.0, 1.0], [-1.0, 1.0]])


def _corners_of(box: Any) -> np.ndarray:
    """Returns the corners of a box that is not turned."""
    middle = np.array([box.x0 + box.x1, box.y0 + box.y1]) / 2.0
    return np.asarray(middle + _UNIT * np.array([box.width, box.height]) / 2.0)


def _overlapping(boxes: list[TextBox]) -> list[tuple[TextBox, TextBox]]:
    """Lists the pairs of boxes that overlap by more than what is empty of them."""
    if not boxes:
        return []
    shrunk = [_shrink(box.corners) for box in boxes]
    low = np.array([corners.min(axis=0) for corners in shrunk])
    high = np.array([corners.max(axis=0) for corners in shrunk])
    near = ((low[:, None] < high[None]) & (low[None] < high[:, None])).all(axis=-1)
    return [
        (boxes[i], boxes[j])
        for i, j in zip(*np.nonzero(np.triu(near, 1)), strict=True)
        if not _is_apart(shrunk[i], shrunk[j])
    ]


def _shrink(corners: np.ndarray) -> np.ndarray:
    """Moves the sides of a box inwards, where it is empty."""
    sides = np.linalg.norm(np.roll(corners, -1, axis=0) - corners, axis=1)[:2]
    empty = _EMPTY * sides.min()
    factors = np.maximum(1.0 - 2.0 * empty / np.maximum(sides, 1e-9), 0.0)
    middle = corners.mean(axis=0)
    along = (corners[1] - corners[0]) / 2.0 * factors[0]
    across = (corners[3] - corners[0]) / 2.0 * factors[1]
    return np.asarray(middle + _UNIT[:, :1] * along + _UNIT[:, 1:] * across)


def _is_apart(one: np.ndarray, other: np.ndarray) -> bool:
    """Returns whether a line along a side of one of two rectangles separates them."""
    for corners in (one, other):
        for start, end in itertools.pairwise(corners[:3]):
            axis = end - start
            a, b = one @ axis, other @ axis
            if a.max() <= b.min() or b.max() <= a.min():
                return True
    return False
