"""Finds result files below a directory, ours or the original's."""

from pathlib import Path

from alphanet_jax.errors import UserError
from alphanet_jax.results.file import FILE_NAME

__all__ = ["ORIGINAL_PATTERN", "PATTERN", "find_results"]

PATTERN = f"**/{FILE_NAME}"
# The original's, where there are none of ours.
ORIGINAL_PATTERN = "**/*.pth"


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
        raise UserError(
            f"no result matches {pattern!r} below {directory}; a result is made with "
            f"python main.py --config=configs/quickstart.py --workdir={directory}"
        )
    return found
