"""Figures that hold what is drawn in them, or a line that says which size would.

A figure whose size is not asked for grows until all can be read. One whose size is
asked for has that size, or is refused with the least that would do.
"""

import contextlib
import dataclasses
import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from alphanet_jax.errors import UserError
from alphanet_jax.figures import extents, wrapping
from alphanet_jax.figures.style import CONTEXTS, Style

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["Room", "fitted"]

# Draws a figure in a style.
Render = Callable[[Style], "Figure"]

# By how much figures that choose their own height may grow.
_GROWTH = (1.15, 1.35, 1.6, 2.0, 2.6)
# By how much other ways must have more room.
_MUCH_MORE = 1.25
_MOST_WIDTH = 40.0  # inches, of those that are tried
_STEP = 0.1  # of aspects and of inches that are tried


class Room(NamedTuple):
    """How much room panels need, in inches for text of the usual size.

    Attributes:
      least: Width and height of a panel; what has smaller ones is refused.
      enough: Height of panels of their aspect, below which other ways are tried.
      aspect: Width by height that panels are meant to have.
    """

    least: tuple[float, float] = extents.LEAST_PANEL
    enough: float = 0.9
    aspect: float = 1.5


def fitted(
    render: Render,
    style: Style,
    *,
    instead: Sequence[Render] = (),
    needs: Room | None = None,
) -> "Figure":
    """Draws a figure so that nothing is cut off or overlaps.

    Args:
      render: Draws it in a style.
      style: The style, which is applied.
      instead: What draws it in other ways, where that has no room, or little and they
        have more.
      needs: How much room its panels need.

    Returns:
      The figure, of the size of the style where that has one.

    Raises:
      UserError: If that size does not suffice; names the least that does.
    """
    needs = needs or Room()
    figure, reasons = _try(render, style, needs)
    room = _room(figure, style, needs)
    if not reasons and (style.aspect is None or room >= needs.enough):
        return figure
    width, height = figure.get_size_inches() / style.scale
    best = None if reasons else figure
    if reasons:
        _close(figure)
    for other in instead:
        figure, still = _try(other, style, needs)
        few = best is not None and _room(figure, style, needs) < _MUCH_MORE * room
        if still or few:
            _close(figure)
            continue
        if best is not None:
            _close(best)
        best, room = figure, _room(figure, style, needs)
    if best is not None:
        return best
    if style.aspect is None and style.panel_aspect is None:
        for growth in _GROWTH:
            aspect = float(width / (growth * height))
            look = dataclasses.replace(style, aspect=aspect)
            figure, still = _try(render, look, needs, strict=False)
            if not still:
                return figure
            _close(figure)
    sizes = _Sizes([render, *instead], needs)
    raise UserError(_refusal(sizes, style, float(width), reasons))


def _try(
    render: Render,
    style: Style,
    needs: Room,
    *,
    strict: bool = True,
    stop: bool = False,
) -> "tuple[Figure, list[str]]":
    """Draws a figure; returns also what of it can't be read.

    With `strict`, labels of ticks may not touch in a figure of a given height. With
    `stop`, `_CollapsedError` is raised once panels have no room at all: whatever comes
    then, something can't be read.
    """
    with _collapse_is_silent(stop=stop) as collapsed:
        figure = render(style)
        before = _places(figure)
        figure.draw_without_rendering()
        # Labels of ticks may take other room once panels have theirs.
        if not np.allclose(before, _places(figure), rtol=0.0, atol=1e-4):
            figure.draw_without_rendering()
    reasons = extents.misfits(
        figure, wrapping.renderer_of(figure, style), least_panel=needs.least
    )
    if strict and style.aspect is not None and not reasons:
        reasons = extents.touching(figure, wrapping.renderer_of(figure, style))
    if collapsed and not reasons:
        reasons = ["panels have no room"]
    return figure, reasons


def _room(figure: Any, style: Style, needs: Room) -> float:
    """Returns how high panels of their aspect can be, in inches of usual text."""
    sizes = [
        axes.bbox.size / figure.dpi
        for axes in figure.axes
        if axes.get_visible() and axes.axison
    ]
    least = min((min(size[0] / needs.aspect, size[1]) for size in sizes), default=0.0)
    return float(least) / style.scale / CONTEXTS[style.context]


def _places(figure: Any) -> np.ndarray:
    """Returns where panels are, with shape `[panels, 4]`, in parts of the figure."""
    places = [axes.get_position().bounds for axes in figure.axes]
    return np.array(places).reshape(-1, 4)


class _CollapsedError(Exception):
    """Panels have no room at all."""


@contextlib.contextmanager
def _collapse_is_silent(*, stop: bool = False) -> Iterator[list[str]]:
    """Collects what matplotlib says of panels without room; other warnings pass.

    With `stop`, it is raised.
    """
    said: list[str] = []
    with warnings.catch_warnings():
        show = warnings.showwarning

        def listen(message: Any, *rest: Any, **named: Any) -> None:
            text = str(message)
            if "constrained_layout not applied" in text or "singular" in text:
                said.append(text)
                if stop:
                    raise _CollapsedError(text)
            else:
                show(message, *rest, **named)

        warnings.filterwarnings("always", message="constrained_layout not applied")
        warnings.filterwarnings("always", message="Attempting to set identical")
        warnings.showwarning = listen
        yield said


def _close(figure: Any) -> None:
    import matplotlib.pyplot as plt

    plt.close(figure)


def _refusal(
    sizes: "_Sizes",
    style: Style,
    width: float,
    reasons: Sequence[str],
) -> str:
    """Says what has no room, and the least sizes at which all has."""
    more = f" (and {len(reasons) - 1} more)" if len(reasons) > 1 else ""
    asked = [f"--width={style.width}"] + [
        f"--{name}={value:.4g}"
        for name in ("aspect", "panel_aspect")
        if (value := getattr(style, name)) is not None
    ]
    start = f"{' '.join(asked)} has no room for what is drawn: {reasons[0]}{more}"
    found = []
    name = "aspect" if style.panel_aspect is None else "panel_aspect"
    value = getattr(style, name)
    if value is not None:
        flat = _most_aspect(sizes, style, name, value)
        if flat is not None:
            height = f" ({width / flat:.1f} inches high)" if name == "aspect" else ""
            found.append(f"at this width the most is --{name}={flat:g}{height}")
    wide = _least_width(sizes, style, width)
    if wide is not None:
        of = (
            f"at this {name.replace('_', ' ')} the least is "
            if value
            else "the least is "
        )
        found.append(f"{of}--width={wide:g}")
    if not found:
        found.append(
            "no size up to 40 inches does; give shorter names or a smaller "
            "--context, or choose less to draw"
        )
    return f"{start}; {', '.join(found)}"


def _most_aspect(
    sizes: "_Sizes", style: Style, name: str, value: float
) -> float | None:
    """Finds the greatest aspect, of those in steps, that has room; None for none."""
    steps = [round(_STEP * i, 1) for i in range(2, int(value / _STEP + 0.999))]

    def does(aspect: float) -> bool:
        changes: dict[str, Any] = {name: aspect}
        return sizes.do(dataclasses.replace(style, **changes))

    return _first(does, steps[::-1])


def _least_width(sizes: "_Sizes", style: Style, width: float) -> float | None:
    """Finds the least width, of those in steps, that has room; None for none."""
    first = int(width / _STEP) + 1
    steps = [round(_STEP * i, 1) for i in range(first, int(_MOST_WIDTH / _STEP) + 1)]
    return _first(
        lambda inches: sizes.do(dataclasses.replace(style, width=f"{inches:g}")),
        steps,
    )


def _first(does: Callable[[float], bool], steps: Sequence[float]) -> float | None:
    """Finds about the first step that does, if all after it do, too.

    It is one that was tried, whatever others do.
    """
    # Ever longer strides, then halves: what is asked for is seldom far off.
    low, stride = -1, 1
    while True:
        high = min(low + stride, len(steps) - 1)
        if high <= low:
            return None
        if does(steps[high]):
            break
        low, stride = high, 2 * stride
    while high - low > 1:
        middle = (low + high) // 2
        if does(steps[middle]):
            high = middle
        else:
            low = middle
    return steps[high]


class _Sizes:
    """Sizes that are tried: what is drawn there is seen by nobody."""

    def __init__(self, ways: Sequence[Render], needs: Room) -> None:
        """`ways` are ways to draw a figure, of which any will do."""
        self._ways = list(ways)
        self._needs = needs

    def do(self, style: Style) -> bool:
        """Returns whether a figure can be drawn in a style."""
        for way in self._ways:
            if self._does(way, style):
                # What does here may do at other sizes, too.
                self._ways.remove(way)
                self._ways.insert(0, way)
                return True
        return False

    def _does(self, way: Render, style: Style) -> bool:
        import matplotlib.pyplot as plt

        others = plt.get_fignums()
        try:
            return not _try(way, style, self._needs, stop=True)[1]
        except _CollapsedError:
            return False
        finally:  # also a figure that was not drawn to its end
            for number in set(plt.get_fignums()).difference(others):
                plt.close(number)
