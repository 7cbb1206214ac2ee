"""Docstrings as they are written here: indented examples, and fields with comments."""

import ast
import functools
import inspect
import re
import textwrap
from typing import Any

import jax.typing
import numpy.typing
from sphinx.application import Sphinx
from sphinx.util.typing import stringify_annotation

__all__ = ["setup"]

_SECTIONS = ("Args:", "Attributes:", "Examples:", "Raises:", "Returns:", "Yields:")


def setup(app: Sphinx) -> dict[str, Any]:
    """Registers what is done with docstrings."""
    # Before napoleon, which is at 500.
    app.connect("autodoc-process-docstring", _prepare, priority=400)
    app.connect("autodoc-process-signature", _shorten)
    app.connect("autodoc-skip-member", _is_no_doc)
    return {"parallel_read_safe": True, "parallel_write_safe": True}


def _prepare(
    app: Sphinx, what: str, name: str, found: Any, options: Any, lines: list[str]
) -> None:
    lines[:] = _untyped(_literal(lines))
    if what == "class" and not any(line.strip() == "Attributes:" for line in lines):
        fields = _commented_fields(found)
        if fields:
            lines += ["", "Attributes:", *(f"  {key}: {say}" for key, say in fields)]


def _literal(lines: list[str]) -> list[str]:
    """Makes code of blocks that are indented after a paragraph, as in Markdown."""
    done: list[str] = []
    for index, line in enumerate(lines):
        done.append(line)
        later = lines[index + 1 :]
        # Google's sections indent too, but with nothing between.
        if (
            not line.strip()
            or line.strip() in _SECTIONS
            or not later
            or later[0].strip()
        ):
            continue
        following = next(filter(str.strip, later), "")
        if _indent(following) >= _indent(line) + 4:
            if line.endswith(":"):
                done[-1] += ":"
            else:
                done += ["", f"{' ' * _indent(line)}::"]
    return done


def _untyped(lines: list[str]) -> list[str]:
    """Keeps what is returned from being read as a type, up to a colon in it."""
    done = list(lines)
    for index, line in enumerate(lines[:-1]):
        if line.strip() in ("Returns:", "Yields:"):
            text = lines[index + 1]
            done[index + 1] = f"{' ' * _indent(text)}: {text.strip()}"
    return done


def _indent(line: str) -> int:
    return len(line) - len(line.lstrip())


def _commented_fields(found: Any) -> list[tuple[str, str]]:
    """Lists the fields of a class whose source says in comments what they are."""
    if not (hasattr(found, "_fields") or hasattr(found, "__dataclass_fields__")):
        return []
    source = textwrap.dedent(inspect.getsource(found))
    tree = ast.parse(source).body[0]
    lines = source.splitlines()
    fields = []
    for node in getattr(tree, "body", []):
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            comment = _comment(lines, node.lineno - 1, (node.end_lineno or 1) - 1)
            fields.append(
                (node.target.id, comment or f"`{ast.unparse(node.annotation)}`")
            )
    return [] if all(text.startswith("`") for _, text in fields) else fields


def _comment(lines: list[str], first: int, last: int) -> str:
    """Returns the comment behind a field, or that of its own lines above."""
    if behind := re.search(r"#\s*(.+)$", lines[last]):
        return behind[1].strip()
    above: list[str] = []
    while first and (match := re.fullmatch(r"\s*#\s*(.+)", lines[first - 1])):
        above.insert(0, match[1].strip())
        first -= 1
    return " ".join(above)


def _shorten(
    app: Sphinx,
    what: str,
    name: str,
    found: Any,
    options: Any,
    signature: str | None,
    returned: str | None,
) -> tuple[str | None, str | None]:
    """Writes types by the names that the source has for them."""

    def short(text: str | None) -> str | None:
        for long, alias in _aliases().items():
            text = text and text.replace(long, alias)
        return text and re.sub(r"= <[^,)]*>", "= ...", text)

    return short(signature), short(returned)


@functools.cache
def _aliases() -> dict[str, str]:
    """Returns what Sphinx writes for types that have a name."""
    found = {}
    named = {
        "ArrayLike": (numpy.typing.ArrayLike, jax.typing.ArrayLike),
        "DTypeLike": (numpy.typing.DTypeLike,),
    }
    for name, alias in ((n, each) for n, several in named.items() for each in several):
        for mode in ("smart", "fully-qualified-except-typing"):
            found[stringify_annotation(alias, mode)] = name
    return found


def _is_no_doc(
    app: Sphinx, what: str, name: str, found: Any, skip: bool, options: Any
) -> bool | None:
    """Leaves out what others have put into a class, and said nothing of."""
    said = getattr(found, "__doc__", None) or ""
    of_tuples = said.startswith("Alias for field number")
    of_sklearn = name.startswith("set_") and name.endswith("_request")
    of_flax = name == "replace" and said.startswith("Returns a new object")
    return True if of_tuples or of_sklearn or of_flax else None
