"""What generated pages are made of: cells, tables and prose in Markdown."""

import html
import re
from collections.abc import Iterable, Sequence

__all__ = ["cell", "code", "described", "say", "table"]

_SPECIAL = re.compile(r"([\\`*_\[\]$|])")
_FLAG = re.compile(r"(?<![\w-])--\w[\w\\.]*(?:=[\w./\\]*\w)?")


def cell(text: str) -> str:
    """Escapes plain text for a cell of a table."""
    return _escape(" ".join(text.split()))


def say(text: str) -> str:
    """Returns plain text for the cell of a table that explains, and needs some room."""
    return f'<span class="say">{_inline(" ".join(text.split()))}</span>'


def code(text: str) -> str:
    """Returns text as code for a cell of a table, which `|` would end."""
    escaped = html.escape(text, quote=False).replace("|", "&#124;")
    return f"<code>{escaped}</code>"


def table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Returns a table of cells that are Markdown already."""
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"


def described(text: str) -> str:
    """Turns the description of a command into Markdown: what is indented is code."""
    parts: list[str] = []
    for block in re.split(r"\n{2,}", text.strip("\n")):
        lines = block.splitlines()
        plain = [line for line in lines if line and not line.startswith("  ")]
        listed = [line for line in lines if line.startswith("  ")]
        if plain:
            parts.append(" ".join(map(_inline, plain)))
        if listed:
            shown = "\n".join(line.removeprefix("  ") for line in listed)
            parts.append(f"```bash\n{shown}\n```")
    return "\n\n".join(parts) + "\n"


def _inline(text: str) -> str:
    """Escapes prose, but for what is code between backticks."""
    pieces = text.split("`")
    if len(pieces) % 2 == 0:
        return _with_flags(_escape(text))
    return "`".join(
        piece if index % 2 else _with_flags(_escape(piece))
        for index, piece in enumerate(pieces)
    )


def _with_flags(escaped: str) -> str:
    """Makes code of flags in escaped prose."""
    return _FLAG.sub(lambda match: code(match[0].replace("\\", "")), escaped)


def _escape(text: str) -> str:
    return _SPECIAL.sub(r"\\\1", html.escape(text, quote=False))
