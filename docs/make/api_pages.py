"""Pages of the Python API: which names are on which page; docstrings say the rest."""

import ast
import importlib
import inspect
from pathlib import Path
from types import MappingProxyType
from typing import Any

from plan import purposes, read_list
from texts import say, table

import alphanet_jax

__all__ = ["api_pages"]

_ROOT = "alphanet_jax"
_PACKAGE = Path(alphanet_jax.__file__).parent
_HEADS = ("name", "what it is")

# Names of a notebook that are no modules, and what they give, by page; those of the
# package itself come without their module.
_CALLS = MappingProxyType(
    {
        "correction": (
            "Correct a classifier",
            "Arrays in, a corrected classifier out, and what can be done with it.",
            (
                "fit",
                "load_correction",
                "correction.outcome.Correction",
                "add_classes",
                "results.extended.Extended",
                "patch_torch",
                "AlphaNetClassifier",
            ),
        ),
        "training": (
            "Train",
            "All that the command `train` does, for a notebook.",
            (
                "Settings",
                "Dataset",
                "load_data",
                "train",
                "experiment.gathering.Trained",
                "load_result",
                "errors.UserError",
            ),
        ),
    }
)
# Folders with a page of their own.
_FOLDERS = ("posthoc", "comparison", "results")


def api_pages() -> dict[str, str]:
    """Writes the pages of the API, by their paths below the site's root."""
    modules = [name for name in read_list("PURE") if _is_file(name)]
    pages = {"api/index.md": _overview(modules)}
    for page, (title, said, names) in _CALLS.items():
        shown = [_object(f"{_ROOT}.{name}") for name in names]
        pages[f"api/{page}.md"] = "\n\n".join([f"# {title}", said, *shown])
    for name in modules:
        pages[f"api/{name}.md"] = _module_page(f"{_ROOT}.{name}")
    for name in _FOLDERS:
        pages[f"api/{name}.md"] = _folder_page(f"{_ROOT}.{name}")
    return pages


def _is_file(name: str) -> bool:
    return (_PACKAGE / f"{name}.py").exists()


def _overview(modules: list[str]) -> str:
    known = purposes()
    calls = [
        (
            f"{{py:obj}}`{name.rpartition('.')[2]} <{_ROOT}.{name}>`",
            say(_first_line(_find(f"{_ROOT}.{name}"))),
        )
        for _, _, names in _CALLS.values()
        for name in names
    ]
    pure = [(f"[`{name}`]({name}.md)", say(known[name])) for name in modules]
    folders = [(f"[`{name}`]({name}.md)", say(known[name])) for name in _FOLDERS]
    listed = [
        (f"`{name}`", say(known[name]))
        for name in alphanet_jax.__all__
        if name in known and name not in (*modules, *_FOLDERS)
    ]
    return "\n\n".join(
        [
            "# Python API",
            _SAID,
            "## For a notebook",
            table(_HEADS, calls),
            "## The method, in pure functions",
            "Arrays in, arrays out, for one seed: compose them with `jit` and `vmap`. "
            "[A notebook](../examples/pure_functions.md) goes through all of them.",
            table(("module", "what it is"), pure),
            "## Around it",
            table(("package", "what it is"), folders),
            "`help()` explains the other packages, whose names are less settled:",
            table(("package", "what it is"), listed),
        ]
    )


_SAID = """\
`import alphanet_jax` takes a moment and loads nothing; every name is loaded when it is
first used. A static mistake, such as a shape, raises `ValueError` with both values; a
file or value that is not right raises `UserError`, one line that says what is wrong,
where, and the way out. Arrays may be NumPy's, JAX's, PyTorch's or mapped from a
file."""


def _rst(*lines: str) -> str:
    return "\n".join(["```{eval-rst}", *lines, "```"])


def _find(name: str) -> Any:
    """Finds what a dotted name stands for."""
    module, _, attribute = name.rpartition(".")
    return getattr(importlib.import_module(module), attribute)


def _is_documented(found: Any) -> bool:
    """Returns whether something has a docstring of its own: data has none."""
    return inspect.isclass(found) or inspect.isroutine(found) or _is_compiled(found)


def _is_compiled(found: Any) -> bool:
    return hasattr(found, "__wrapped__")


def _object(name: str) -> str:
    found = _find(name)
    if inspect.isclass(found):
        return _rst(f".. autoclass:: {name}", "   :members:")
    return _rst(f".. autofunction:: {name}")


def _objects(module: str, names: list[str]) -> list[str]:
    """Shows functions and classes, and names what else there is."""
    made = {name: _find(f"{module}.{name}") for name in names}
    shown = [name for name, found in made.items() if _is_documented(found)]
    others = [f"`{name}`" for name in names if name not in shown]
    parts = [f"Constants and types: {', '.join(others)}."] if others else []
    return parts + [_object(f"{module}.{name}") for name in shown]


def _module_page(module: str) -> str:
    names = importlib.import_module(module).__all__
    parts = [
        f"# {module.rpartition('.')[2]}",
        _rst(f".. automodule:: {module}"),
        *_objects(module, names),
    ]
    return "\n\n".join(parts)


def _folder_page(package: str) -> str:
    """Writes the page of a package, whose names are defined in its files."""
    homes: dict[str, list[str]] = {}
    for name in importlib.import_module(package).__all__:
        homes.setdefault(_home(package, name), []).append(name)
    parts = [f"# {package.rpartition('.')[2]}", _rst(f".. automodule:: {package}")]
    for home, names in homes.items():
        parts += [f"## {home}", *_objects(package, names)]
    return "\n\n".join(parts)


def _home(package: str, name: str) -> str:
    """Finds the file of a package that a name is from, by its imports."""
    source = importlib.import_module(package).__file__ or ""
    for node in ast.walk(ast.parse(Path(source).read_text(encoding="utf-8"))):
        if not isinstance(node, ast.ImportFrom):
            continue
        if node.module and name in [alias.name for alias in node.names]:
            return node.module.removeprefix(f"{package}.")
    raise ValueError(f"{package} does not import {name}")


def _first_line(found: Any) -> str:
    return (found.__doc__ or "").strip().splitlines()[0]
