"""The layout of a figure, done where something is measured in it."""

import contextlib
from typing import Any

__all__ = ["settle"]


def settle(figure: Any) -> None:
    """Does the layout of a figure, where anything in it has changed since it was done.

    Panels, legends and labels of ticks have their places then. That takes two thirds of
    the time of `draw_without_rendering`, and nothing at all of a figure that is as it
    was.

    Args:
      figure: The figure.
    """
    if not figure.stale:
        return
    # Its own draw does no less with a layout that is impossible.
    with contextlib.suppress(ValueError):
        figure.get_layout_engine().execute(figure)
    figure.stale = False
