"""Finds result files below a directory, ours or the original's."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from alphanet_jax.config.compare import setting_key
from alphanet_jax.errors import UserError
from alphanet_jax.results import pytorch, recorded
from alphanet_jax.results.file import FILE_NAME, is_npz, load_result

__all__ = [
    "ORIGINAL_PATTERN",
    "PATTERN",
    "find_results",
    "group_by_setting",
    "left_aside",
    "unreadable",
]

PATTERN = f"**/{FILE_NAME}"
# The original's, where there are none of ours.
ORIGINAL_PATTERN = "**/*.pth"
# How its users call them, and what all of them begin with: keys of a pickle.
_ORIGINAL_ENDINGS = (".pth", ".pt", ".pkl")
_BEGINNING, _MARK, _CHECKPOINT = 4096, b"train_data_info", b"train_result"


def find_results(directory: Path, pattern: str | None = None) -> list[Path]:
    """Lists the files below a directory that match a pattern, sorted.

    Args:
      directory: Where to look; a file stands for itself.
      pattern: Glob pattern relative to the directory; `**` is any directories. By
        default our own results are found, and where there are none the original's.

    Raises:
      UserError: If there is no such directory, the pattern is none, or nothing
        matches.
    """
    if directory.is_file():
        return [directory]
    if pattern is None:
        ours = any(path.is_file() for path in directory.glob(PATTERN))
        theirs = any(path.is_file() for path in directory.glob(ORIGINAL_PATTERN))
        pattern = PATTERN if ours or not theirs else ORIGINAL_PATTERN
    if not directory.is_dir():
        raise UserError(f"no such directory: {directory}")
    if not pattern or Path(pattern).anchor:
        raise UserError(
            "--res_files_pattern must be relative to the directory of results, as "
            f"{PATTERN}, got {pattern!r}"
        )
    try:
        found = sorted(path for path in directory.glob(pattern) if path.is_file())
    except ValueError as error:  # such as ** in a part with something else
        raise UserError(f"--res_files_pattern {pattern!r}: {error}") from None
    if not found:
        closed = unreadable(directory)
        way_out = (
            f"{closed[0]} cannot be read"
            if closed
            else "a result is made with alphanet train --config=quickstart "
            f"--workdir={directory}"
        )
        raise UserError(f"no result matches {pattern!r} below {directory}; {way_out}")
    return found


def unreadable(directory: Path) -> list[Path]:
    """Lists directories at or below one in which nothing can be found, sorted.

    Where results are looked for, such directories are passed over.
    """
    found: list[Path] = []
    for _ in os.walk(directory, onerror=lambda e: found.append(Path(e.filename))):
        pass
    return sorted(found)


def left_aside(directory: Path) -> list[Path]:
    """Lists results of the original below a directory that has ours, too.

    They are told by how their files begin; without a pattern `find_results` leaves them
    out.

    Args:
      directory: Where to look.

    Returns:
      The files, sorted; none where there are none of ours.
    """
    if directory.is_file() or not any(directory.glob(PATTERN)):
        return []
    return sorted(
        path
        for path in directory.rglob("*")
        if path.suffix in _ORIGINAL_ENDINGS and path.is_file() and _is_marked(path)
    )


def _is_marked(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            beginning = file.read(_BEGINNING)
    except OSError:  # whoever asks for it will be told
        return False
    return _MARK in beginning and _CHECKPOINT not in beginning


def group_by_setting(paths: Sequence[Path], directory: Path) -> dict[str, list[Path]]:
    """Collects results of the same setting, whatever their seeds.

    Args:
      paths: Result files below the directory.
      directory: What names are relative to.

    Returns:
      The files of every setting by a name for it, in the order of the first files.
      The name is that of the deepest directory that holds all of them, with the
      files' names where that alone would be ambiguous.

    Raises:
      UserError: If a file is no result.
    """
    settings: dict[str, list[Path]] = {}
    for path in paths:
        settings.setdefault(setting_key(_read_config(path)), []).append(path)
    parents = [
        Path(os.path.commonpath([path.parent for path in those]))
        for those in settings.values()
    ]
    names = []
    for parent, those in zip(parents, settings.values(), strict=True):
        name = parent.relative_to(directory).as_posix()
        name = directory.resolve().name if name == "." else name
        if parents.count(parent) > 1:
            name += "/" + those[0].relative_to(parent).with_suffix("").as_posix()
        names.append(name)
    for place, those in enumerate(settings.values()):
        # A directory may be called as the one above it, or as a file.
        if names.count(names[place]) > 1:
            names[place] = those[0].relative_to(directory).as_posix()
    return dict(zip(names, settings.values(), strict=True))


def _read_config(path: Path) -> dict[str, Any]:
    if is_npz(path):
        return recorded.config_of(str(load_result(path, ["config"])["config"]))
    return pytorch.load_record(path).settings.as_config()
