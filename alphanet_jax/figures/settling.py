"""The layout of a figure, done where something is measured in it."""

import contextlib
from typing import Any

__all__ = ["settle"]


def settle(figure: Any) -> None:
    """Does the layout of a figure: panels, legends and ticks have their places then.

    It takes two thirds of the time of `draw_without_rendering`, which also goes through
    all that is drawn.

    Args:
      figure: The figure.
    """
    # As when it is drawn, a layout that is impossible is left out.
    with contextlib.suppress(ValueError):
        figure.get_layout_engine().execute(figure)
