"""Writing files whole or not at all, and the same bytes for the same content."""

import contextlib
import hashlib
import os
import shutil
import tempfile
import zipfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import numpy as np

from alphanet_jax.errors import UserError

__all__ = ["file_sha256", "open_npz", "replacing", "staging", "write_npz"]

# No clock in a file: equal contents give equal bytes.
_EPOCH = (1980, 1, 1, 0, 0, 0)


def file_sha256(path: Path) -> str:
    """Hashes a file's content."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yields a temporary path; what is written there takes the place of `path`.

    If the block raises, the temporary file goes away and `path` stays as it was.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        yield temporary
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def staging(root: Path) -> Iterator[Callable[[Path], Path]]:
    """Writes several files below a directory, all of them or none.

    Yields:
      A function that takes a path below `root` and gives the one to write to for
      now. The files move to their places when the block ends; if it raises, none
      does, and directories made for them go away again.
    """
    missing = [p for p in (root, *root.parents) if not p.exists()]
    root.mkdir(parents=True, exist_ok=True)
    stage = Path(tempfile.mkdtemp(prefix=".staging-", dir=root))
    done = False

    def place(path: Path) -> Path:
        staged = stage / path.relative_to(root)
        staged.parent.mkdir(parents=True, exist_ok=True)
        return staged

    try:
        yield place
        for staged in sorted(p for p in stage.rglob("*") if p.is_file()):
            final = root / staged.relative_to(stage)
            final.parent.mkdir(parents=True, exist_ok=True)
            staged.replace(final)
        done = True
    finally:
        shutil.rmtree(stage, ignore_errors=True)
        if not done:
            for path in missing:
                with contextlib.suppress(OSError):
                    path.rmdir()


def write_npz(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    """Writes an uncompressed `.npz` whose bytes depend on the arrays alone.

    Args:
      path: File to write, as it is named.
      arrays: Arrays by name; none may need pickling.

    Raises:
      ValueError: If an array holds Python objects.
    """
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        for name, array in arrays.items():
            info = zipfile.ZipInfo(f"{name}.npy", date_time=_EPOCH)
            info.external_attr = 0o644 << 16
            with archive.open(info, "w", force_zip64=True) as member:
                np.lib.format.write_array(
                    member, np.asanyarray(array), allow_pickle=False
                )


def open_npz(path: Path) -> dict[str, np.ndarray]:
    """Reads all arrays of an `.npz` file, never a pickle.

    Raises:
      UserError: If the file is missing, damaged or holds pickled objects.
    """
    try:
        with np.load(path, allow_pickle=False) as archive:
            return {name: archive[name] for name in archive.files}
    except FileNotFoundError:
        raise UserError(f"{path}: no such file") from None
    except (ValueError, OSError, EOFError, AttributeError, zipfile.BadZipFile) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise UserError(f"{path}: not a readable .npz file ({reason})") from None
