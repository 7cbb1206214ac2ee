"""Where output goes: tried before there is any, and held by one program at a time."""

import contextlib
import errno
import json
import os
import shutil
import socket
import stat
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from alphanet_jax.errors import UserError

__all__ = [
    "LOCK_NAME",
    "check_directory",
    "check_file",
    "check_space",
    "hold",
    "hold_file",
    "leave_place",
    "other_places",
    "release",
    "size_text",
]

LOCK_NAME = ".in_use"
_TRIED_BYTES = 4096
_HELD = contextlib.ExitStack()
_HELD_PATHS: set[Path] = set()


def check_directory(name: str, path: Path) -> None:
    """Tries whether files can be made in a directory, and leaves nothing behind.

    Args:
      name: Name of the flag.
      path: The directory, which need not exist.

    Raises:
      UserError: If it or what it is to be in is a file, or cannot be written to.
    """
    _try(name, path, "choose another directory")


def check_file(name: str, path: Path) -> None:
    """Tries whether a file can be made, and leaves nothing behind.

    Args:
      name: Name of the flag.
      path: The file, which may be there.

    Raises:
      UserError: If it is a directory or a device, or cannot be written.
    """
    try:
        mode = path.stat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        pass  # what it is to be in is looked at next
    except (OSError, ValueError) as error:
        raise _refused(name, path, path, error, "name another file") from None
    else:
        if stat.S_ISDIR(mode):
            raise UserError(f"--{name}: {path} is a directory; name a file in it")
        if not stat.S_ISREG(mode):
            raise UserError(f"--{name}: {path} is no file but a device; name a file")
    _try(name, path.parent, "name a file elsewhere", shown=path)


def _try(name: str, path: Path, way_out: str, *, shown: Path | None = None) -> None:
    """Writes a file, and removes it, in a directory or the nearest there is above."""
    shown, parent = shown or path, path
    try:
        # Not `exists`, which says no for what may not be looked at.
        while not _is_there(parent):
            parent = parent.parent
        if not parent.is_dir():
            raise UserError(f"--{name}: {parent} is a file; {way_out}")
        # The permissions decide for the superuser, too, who could write anyway.
        if not parent.stat().st_mode & 0o222:
            raise OSError(errno.EACCES, os.strerror(errno.EACCES))
        with tempfile.TemporaryFile(dir=parent) as file:
            file.write(bytes(_TRIED_BYTES))
            file.flush()
            os.fsync(file.fileno())
    except UserError:
        raise
    except (OSError, ValueError) as error:
        raise _refused(name, shown, parent, error, way_out) from None


def _is_there(path: Path) -> bool:
    try:
        path.stat()
    except FileNotFoundError:
        return path == path.parent
    except NotADirectoryError:
        return False
    return True


def _refused(
    name: str, path: Path, where: Path, error: Exception, way_out: str
) -> UserError:
    reason = getattr(error, "strerror", None) or str(error)
    shown = ascii(str(path))[1:-1] if "\0" in str(path) else str(path)
    if len(shown) > 300:
        shown = f"{shown[:140]}...{shown[-140:]}"
    at = "" if where == path or len(str(where)) > 300 else f" (in {where})"
    return UserError(f"--{name}: cannot write to {shown}{at}: {reason}; {way_out}")


def check_space(name: str, path: Path, needs: Mapping[str, int]) -> None:
    """Compares what is going to be written with the free space.

    Args:
      name: Name of the flag.
      path: The directory, which need not exist.
      needs: Bytes that are needed at most, by what they are.

    Raises:
      UserError: If there is less.
    """
    parent = next(p for p in (path.absolute(), *path.absolute().parents) if p.exists())
    try:
        free = shutil.disk_usage(parent).free
    except OSError:
        return  # nobody says
    needed = sum(needs.values())
    if needed > free:
        parts = ", ".join(f"{what} {size_text(size)}" for what, size in needs.items())
        raise UserError(
            f"--{name}: {path} may need {size_text(needed)} ({parts}), and its disk "
            f"has {size_text(free)} free; free some, or choose another directory"
        )


def size_text(size: int) -> str:
    """Writes a number of bytes.

    Examples:
      >>> size_text(0), size_text(512_000), size_text(3_400_000_000)
      ('0 MB', '0.5 MB', '3,400 MB')
    """
    return f"{size / 1e6:,.{1 if 0 < size < 1e7 else 0}f} MB"


def other_places(path: Path) -> list[Path]:
    """Lists where a file may go that cannot be written where it belongs, in order.

    Returns:
      Paths that end as the file's own does, each below a directory of this process.
    """
    parents = [Path.cwd()]
    with contextlib.suppress(RuntimeError):
        parents.insert(0, Path.home())
    with contextlib.suppress(OSError):
        parents.insert(0, Path(tempfile.gettempdir()))
    name = _rescued()
    return [
        parent / name / path.absolute().relative_to(path.absolute().anchor)
        for parent in dict.fromkeys(parents)
    ]


def leave_place(place: Path) -> None:
    """Removes the directories of one of `other_places` that are empty."""
    names = [directory.name for directory in place.parents]
    if _rescued() not in names:
        return
    for directory in place.parents[: names.index(_rescued()) + 1]:
        try:
            directory.rmdir()
        except OSError:
            if directory.exists():  # there is something in it
                return


def _rescued() -> str:
    return f"alphanet_jax_rescued_{os.getpid()}"


def hold(name: str, directory: Path) -> None:
    """Keeps other programs from writing to a directory, until `release` or the end.

    A process that is dead holds nothing. Where the file system has no such locks, as
    some of a network, nobody is kept out.

    Args:
      name: Name of the flag.
      directory: The directory, which is made if it is not there.

    Raises:
      UserError: If another program holds it, naming that.
    """
    _hold(name, directory, directory / LOCK_NAME, "choose another directory")


def hold_file(name: str, file: Path) -> None:
    """Keeps other programs from writing a file, as `hold` does for a directory.

    Args:
      name: Name of the flag.
      file: The file, or a directory that is made as a whole; neither need be there.

    Raises:
      UserError: If another program holds it, naming that.
    """
    lock = file.parent / f".{file.name}{LOCK_NAME}"
    _hold(name, file, lock, "choose another name")
    for other in file.parent.glob(f".*{LOCK_NAME}"):
        _remove_if_left(other)


def _remove_if_left(lock: Path) -> None:
    """Removes the lock of a process that is dead; that of a living one stays."""
    if lock.absolute() in _HELD_PATHS:
        return
    with contextlib.suppress(ImportError, OSError):
        import fcntl

        descriptor = os.open(lock, os.O_RDWR)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            lock.unlink()
        finally:
            os.close(descriptor)


def _hold(name: str, shown: Path, lock: Path, way_out: str) -> None:
    try:
        import fcntl
    except ImportError:
        return
    path = lock.absolute()
    if path in _HELD_PATHS:
        return
    made = [p for p in (path.parent, *path.parent.parents) if not p.exists()]
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_CREAT | os.O_RDWR, 0o644)
    except OSError as error:
        raise _refused(name, shown, shown, error, way_out) from None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if not _same(descriptor, path):  # just released, and removed, by another
            raise BlockingIOError
    except BlockingIOError:
        holder = _holder(path)
        os.close(descriptor)
        raise UserError(
            f"--{name}: {shown} is in use by {holder}; wait until that has ended, or "
            f"{way_out}"
        ) from None
    except OSError as error:
        os.close(descriptor)
        path.unlink(missing_ok=True)
        print(
            f"note: {shown} cannot be locked ({error.strerror}): see to it that "
            "no other program writes to it",
            file=sys.stderr,
        )
        return
    me: dict[str, Any] = {
        "process": os.getpid(),
        "host": socket.gethostname(),
        "command": " ".join(sys.argv)[:200],
        "since": time.strftime("%Y-%m-%d %H:%M:%S"),
    }
    with contextlib.suppress(OSError):  # the lock holds without it
        os.ftruncate(descriptor, 0)
        os.write(descriptor, (json.dumps(me) + "\n").encode())
    _HELD_PATHS.add(path)
    _HELD.callback(_let_go, path, descriptor, made)


def _same(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except OSError:
        return False


def _holder(path: Path) -> str:
    """Describes who holds a lock."""
    try:
        who = json.loads(path.read_bytes()[:4096].decode())
        text = (
            f"process {int(who['process'])} on {who['host']} ({who['command']}, since "
            f"{who['since']})"
        )
    except (OSError, ValueError, KeyError, TypeError, ArithmeticError, RecursionError):
        return "another program"
    return "".join(c if c.isprintable() else "?" for c in text)[:400]


def _let_go(path: Path, descriptor: int, made: Sequence[Path]) -> None:
    """Removes a lock, and directories that were made for it and are empty."""
    path.unlink(missing_ok=True)  # while it is held: no other can have it
    os.close(descriptor)
    _HELD_PATHS.discard(path)
    for directory in made:
        try:
            directory.rmdir()
        except OSError:
            break


def release() -> None:
    """Lets go of all directories that this process holds."""
    with contextlib.suppress(OSError):
        _HELD.close()
