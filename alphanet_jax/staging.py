"""Several files below a directory, all of them written or none.

They are written to a stage, a hidden directory beside their places, and then moved. A
record of the moves lets the next process end what one began that was killed meanwhile.
"""

import contextlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from alphanet_jax import files

__all__ = ["PREFIX", "recover", "staged"]

PREFIX = ".staging-"  # of the names of stages
_MOVES = "moves.json"  # there once all of a stage is written, until all is moved


@contextlib.contextmanager
def staged(root: Path) -> Iterator[Callable[[Path], Path]]:
    """Writes several files below a directory, all of them or none.

    One process at a time does this to a directory; others wait for it. Should it be
    killed, the next one clears away what it left; or moves the rest, if all was
    written.

    Yields:
      A function that takes a path below `root` and returns the one to write to for
      now. When the block ends, the files move to their places in the order of these
      calls. If it raises, or a move fails, everything is as it was.
    """
    wanted: dict[Path, Path] = {}
    with contextlib.ExitStack() as undo_root:
        _make_directories(root, undo_root)
        with _lock(root) as locked:
            if locked:
                _recover(root)
            stage = Path(tempfile.mkdtemp(prefix=PREFIX, dir=root))

            def place(path: Path) -> Path:
                staged = stage / "new" / path.relative_to(root)
                staged.parent.mkdir(parents=True, exist_ok=True)
                wanted[path] = staged
                return staged

            try:
                yield place
                _move_in(root, wanted, stage)
            finally:
                shutil.rmtree(stage, ignore_errors=True)
        undo_root.pop_all()


def recover(root: Path) -> None:
    """Ends what a process began that was killed while it moved files to a directory.

    All of them were written by then, and the older ones may be out of their places.
    Where nothing of that kind is there, nothing is done; nor where others are at it, or
    files cannot be moved.
    """
    with contextlib.suppress(OSError):
        if any(root.glob(f"{PREFIX}*/{_MOVES}")):
            with _lock(root) as locked:
                if locked:
                    _recover(root)


def _recover(root: Path) -> None:
    """Moves what was to be moved, and clears the rest away.

    Raises:
      OSError: If it cannot; nothing is cleared away then.
    """
    for stage in sorted(root.glob(f"{PREFIX}*")):
        if (stage / _MOVES).exists():
            moves = _read_moves(root, stage)
            if moves is None:
                continue
            try:
                _move_forward(root, stage, moves)
            except OSError:
                _move_back(root, stage, moves)
        shutil.rmtree(stage, ignore_errors=True)


_Moves = Sequence[tuple[str, bool]]


def _read_moves(root: Path, stage: Path) -> _Moves | None:
    """Reads what was to be moved; None if it is no list of files below the root."""
    try:
        listed = json.loads((stage / _MOVES).read_text(encoding="utf-8"))
        moves = [(Path(name), was_there is True) for name, was_there in listed]
        inside = root.resolve()
        for name, _ in moves:
            if name.is_absolute() or ".." in name.parts or b"\0" in os.fsencode(name):
                return None
            if not (root / name).parent.resolve().is_relative_to(inside):
                return None
    # It may have come with data of others: neither its form nor its paths are sure.
    except (OSError, ValueError, TypeError, RuntimeError):
        return None
    return [(str(name), was_there) for name, was_there in moves]


def _move_in(root: Path, wanted: Mapping[Path, Path], stage: Path) -> None:
    """Moves files to their places, and what was there out of the way."""
    for staged in wanted.values():
        files.sync(staged)
    # For each its path below the root, and whether something is there: all that is
    # needed to go on from, or back, at whichever moment the process is killed.
    moves = [(str(p.relative_to(root)), p.is_file()) for p in wanted]
    written = stage / f"{_MOVES}.new"
    written.write_text(json.dumps(moves), encoding="utf-8")
    files.sync(written)
    with contextlib.ExitStack() as undo:
        try:
            os.rename(written, stage / _MOVES)
            for path in wanted:
                _make_directories(path.parent, undo)
            _move_forward(root, stage, moves)
        except BaseException:
            _move_back(root, stage, moves)
            raise
        undo.pop_all()


def _move_forward(root: Path, stage: Path, moves: _Moves) -> None:
    """Moves files to their places, or those that are not there yet.

    The last to come is the first to go: a record, which comes after the files that it
    describes, is there only while all of those are.
    """
    new, old = stage / "new", stage / "old"
    old.mkdir(exist_ok=True)
    for name, was_there in reversed(moves):
        if was_there and (new / name).exists() and not (old / _flat(name)).exists():
            (root / name).replace(old / _flat(name))
    for name, _ in moves:
        if (new / name).exists() or not (root / name).exists():
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (new / name).replace(root / name)


def _move_back(root: Path, stage: Path, moves: _Moves) -> None:
    """Moves files out of their places, and back what was there before."""
    new, old = stage / "new", stage / "old"
    for name, was_there in reversed(moves):
        moved = not (new / name).exists() and (root / name).exists()
        if moved and (not was_there or (old / _flat(name)).exists()):
            (root / name).replace(new / name)
    for name, _ in moves:
        if (old / _flat(name)).exists():
            (old / _flat(name)).replace(root / name)


def _flat(name: str) -> str:
    """Names a file that was moved out of the way."""
    return name.replace("%", "%25").replace(os.sep, "%2F")


def _make_directories(path: Path, undo: contextlib.ExitStack) -> None:
    """Makes a directory and those above it; undoing it removes those left empty."""

    def remove(directory: Path) -> None:
        with contextlib.suppress(OSError):
            directory.rmdir()

    missing = [p for p in (path, *path.parents) if not p.exists()]
    for directory in reversed(missing):
        directory.mkdir(exist_ok=True)
        undo.callback(remove, directory)
    path.mkdir(exist_ok=True)  # raises if it is a file


@contextlib.contextmanager
def _lock(directory: Path) -> Iterator[bool]:
    """Lets in one process at a time; yields False where there are no such locks."""
    with contextlib.ExitStack() as stack:
        locked = False
        # No such locks: Windows (ImportError), some network file systems (OSError).
        with contextlib.suppress(ImportError, OSError):
            import fcntl

            descriptor = os.open(directory, os.O_RDONLY)
            stack.callback(os.close, descriptor)
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            # While this one waited, another may have put a new directory there.
            locked = os.path.samestat(os.fstat(descriptor), os.stat(directory))
        yield locked
