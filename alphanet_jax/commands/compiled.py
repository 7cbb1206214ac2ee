"""Compiled programs that are kept: one that is damaged is made again, without a word.

JAX writes an entry of its cache in place. Killed meanwhile, or on a full disk, it
leaves a cut one, warns of that at every later start, and never writes it again.
"""

import contextlib
import re
import warnings
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

__all__ = ["mend_entries"]

_SUFFIX = "-cache"
_WARNING = (
    r"Error (?P<what>reading|writing) persistent compilation cache entry for "
    r"'(?P<name>[^']*)': (?P<why>.*)"
)


def mend_entries(directory: Path, report: Callable[[str], None]) -> None:
    """Lets JAX write an entry again that it cannot read.

    Args:
      directory: The cache.
      report: Takes a line where entries cannot be written, once.
    """
    if getattr(warnings.showwarning, "mended", None) == directory:
        return
    show = warnings.showwarning
    told: list[str] = []

    def look(message: Warning | str, *rest: Any, **named: Any) -> None:
        found = re.match(_WARNING, str(message), re.DOTALL)
        if found is None:
            show(message, *rest, **named)
            return
        # After a failure to read JAX compiles, and writes what is not there.
        reading = found["what"] == "reading"
        _remove(directory, found["name"], also_whole=reading)
        if not reading and not told:
            why = " ".join(found["why"].split())[:200]
            told.append(why)
            report(f"not keeping all compiled programs in {directory}: {why}")

    look.mended = directory  # type: ignore[attr-defined]
    warnings.showwarning = look
    # Two entries of one name have one message, of which Python would show the first.
    warnings.filterwarnings("always", "Error .* persistent compilation cache entry")


def _remove(directory: Path, name: str, *, also_whole: bool) -> None:
    """Removes the entries of a program that are cut; all, where none is and it may."""
    entries = [
        path
        for path in directory.glob(f"*{_SUFFIX}")
        if path.name.removesuffix(_SUFFIX).rpartition("-")[0] == name
    ]
    cut = [path for path in entries if not _is_whole(path)]
    for path in cut or (entries if also_whole else ()):
        with contextlib.suppress(OSError):
            path.unlink()


def _is_whole(path: Path) -> bool:
    """Tells whether an entry is a whole compressed file, by its checksum."""
    unpacking = zlib.decompressobj()
    try:
        with path.open("rb") as file:
            while piece := file.read(2**20):
                unpacking.decompress(piece)
    except (OSError, zlib.error):
        return False
    return unpacking.eof
