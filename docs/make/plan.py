"""The plan of the house, from the list that a test holds all imports to."""

import ast
import functools
import html
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from texts import say, table

import alphanet_jax

__all__ = ["imports_of_rooms", "layers", "purposes", "read_list", "rooms"]

_PACKAGE = Path(alphanet_jax.__file__).parent
_TEST = _PACKAGE.parent / "tests" / "test_layers.py"


def read_list(name: str) -> Any:
    """Reads a list of `tests/test_layers.py`, without running it."""
    for node in ast.parse(_TEST.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Assign):
            (target,) = node.targets
            if isinstance(target, ast.Name) and target.id == name:
                return ast.literal_eval(node.value)
    raise ValueError(f"{_TEST} has no list {name}")


def purposes() -> dict[str, str]:
    """Returns what every room is for, as the package's docstring says it."""
    found: dict[str, str] = {}
    for names, text in re.findall(
        r"^ {4}(\S+(?:, \S+)*) {2,}(.+)$", alphanet_jax.__doc__ or "", re.MULTILINE
    ):
        text = re.sub(r" +\(pure\)$", "", text)
        found |= {name.strip("/"): text for name in names.split(", ")}
    return found


@functools.cache
def imports_of_rooms() -> dict[str, set[str]]:
    """Finds which rooms each room imports from, wherever in its files."""
    known = {room for layer in read_list("LAYERS") for room in layer}
    found: dict[str, set[str]] = {room: set() for room in known}
    for path in sorted(_PACKAGE.rglob("*.py")):
        room = path.relative_to(_PACKAGE).parts[0].removesuffix(".py")
        if room in known:
            found[room] |= set(_imported_rooms(path)) & known - {room}
    return found


def _imported_rooms(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        for name in names:
            head, _, rest = name.partition(".")
            if head == "alphanet_jax":
                yield rest.partition(".")[0]


def layers() -> str:
    """Draws the layers, what is typed on top and the ground at the bottom."""
    pure, imported = read_list("PURE"), imports_of_rooms()
    no_jax = {*read_list("NO_JAX"), *(r for r in imported if not imported[r])}
    rows = []
    for layer in reversed(read_list("LAYERS")):
        boxes = []
        for room in layer:
            kind = "pure" if room in pure else "plain" if room in no_jax else "jax"
            folder = "/" if (_PACKAGE / room).is_dir() else ""
            boxes.append(
                f'<span class="room {kind}">{html.escape(room)}{folder}</span>'
            )
        rows.append(f'<div class="layer">{"".join(boxes)}</div>')
    legend = (
        '<p class="rooms"><span class="room pure">pure: arrays in, arrays out</span> '
        '<span class="room jax">uses JAX</span> '
        '<span class="room plain">imported without JAX</span></p>'
    )
    return f'<div class="layers">\n{"".join(rows)}\n</div>\n{legend}\n'


def rooms() -> str:
    """Lists all rooms from the ground up: what they are for, what they import."""
    known, imported = purposes(), imports_of_rooms()
    order = [room for layer in read_list("LAYERS") for room in layer]
    rows = [
        (
            f"`{room}`",
            say(known[room]),
            ", ".join(f"`{other}`" for other in order if other in imported[room]),
        )
        for room in order
    ]
    return table(("room", "what it is", "imports from"), rows)
