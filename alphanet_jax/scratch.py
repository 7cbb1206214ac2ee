"""Directories for what is needed for a while, which no killed process leaves behind."""

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

__all__ = ["directory"]

_PREFIX = "alphanet_jax-"


@contextlib.contextmanager
def directory() -> Iterator[Path]:
    """Makes an empty directory, which is gone after the block.

    What processes left that were killed in such a block goes away first.

    Examples:
      >>> with directory() as path:
      ...     list(path.iterdir())
      []
      >>> path.exists()
      False
    """
    _clear()
    with contextlib.ExitStack() as stack:
        path = _make(stack)
        stack.callback(shutil.rmtree, path, ignore_errors=True)
        yield path


def _make(stack: contextlib.ExitStack) -> Path:
    """Makes a directory that others see is in use: by a lock, which ends with us."""
    while True:
        path = Path(tempfile.mkdtemp(prefix=_PREFIX))
        try:
            import fcntl

            descriptor = os.open(path, os.O_RDONLY)
        except (ImportError, OSError):
            return path
        stack.callback(os.close, descriptor)
        with contextlib.suppress(OSError):
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        # Before it was locked another process may have taken it for a leftover.
        if path.exists():
            return path


def _clear() -> None:
    """Removes directories of this user whose processes are gone."""
    try:
        import fcntl
    except ImportError:
        return
    for path in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*"):
        with contextlib.suppress(OSError), contextlib.ExitStack() as stack:
            flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW
            descriptor = os.open(path, flags)
            stack.callback(os.close, descriptor)
            if os.fstat(descriptor).st_uid != os.getuid():
                continue
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)  # raises if in use
            shutil.rmtree(path, ignore_errors=True)
