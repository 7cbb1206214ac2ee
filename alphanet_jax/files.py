"""Files: written whole or not at all, read without running anything that is in them."""

import codecs
import contextlib
import mmap
import os
import re
import stat
import zipfile
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Literal

import numpy as np

from alphanet_jax import parsing
from alphanet_jax.errors import UserError, printable

__all__ = [
    "check_regular",
    "decode_text",
    "is_writable",
    "keep_others_out",
    "list_npz",
    "open_npy",
    "open_npz",
    "others_may_write",
    "read_bytes",
    "read_lines",
    "release_rows",
    "replacing",
    "sync",
    "write_npz",
]

_EPOCH = (1980, 1, 1, 0, 0, 0)  # no clock in a file: equal contents, equal bytes
_TEMPORARY = re.compile(r"\..+\.\d+\.tmp")
_PICKLED = (
    "it holds Python objects, perhaps a dict, which are not read; where it is from, "
    "load it with pickles allowed and .item(), and save its arrays with numpy.savez"
)


def others_may_write(directory: Path) -> bool:
    """Returns whether anybody but this user and the superuser may change a directory.

    What is in it is then not to be trusted more than its writers are.
    """
    if not hasattr(os, "getuid"):
        return False
    status = directory.stat()
    theirs = status.st_uid not in (0, os.getuid())
    return theirs or bool(status.st_mode & (stat.S_IWGRP | stat.S_IWOTH))


def keep_others_out(root: Path) -> None:
    """Takes from others the right to write to this user's directories in a tree."""
    for directory, _, _ in os.walk(root):
        mode = os.stat(directory).st_mode
        with contextlib.suppress(OSError):
            os.chmod(directory, mode & ~(stat.S_IWGRP | stat.S_IWOTH) & 0o7777)


def is_writable(directory: Path) -> bool:
    """Returns whether files may be made in a directory, which may not exist yet."""
    parent = next(p for p in (directory, *directory.parents) if p.exists())
    # The permissions decide for the superuser, too, who could write anyway.
    return os.access(parent, os.W_OK) and bool(parent.stat().st_mode & 0o222)


def sync(path: Path) -> None:
    """Waits until a file's content is on the disk."""
    with path.open("rb+") as file:
        os.fsync(file.fileno())


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yields a temporary path; what is written there takes the place of `path`.

    If the block raises, the temporary file goes away and `path` stays as it was. What
    killed processes left of that kind in the directory goes away first.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    _clear_temporary(path.parent)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with _marked_as_ours(temporary):
            yield temporary
            sync(temporary)
            temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def _marked_as_ours(temporary: Path) -> Iterator[None]:
    """Makes a file that others see is being written: a lock, which ends with us."""
    with contextlib.ExitStack() as stack:
        with contextlib.suppress(ImportError):
            import fcntl

            # Only the process that made it may be at it: others find it locked.
            descriptor = os.open(temporary, os.O_CREAT | os.O_RDWR, 0o666)
            stack.callback(os.close, descriptor)
            with contextlib.suppress(OSError):
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield


def _clear_temporary(directory: Path) -> None:
    """Removes temporary files whose processes are gone, and those of nobody else."""
    try:
        import fcntl
    except ImportError:
        return
    for path in directory.glob(".*.tmp"):
        if not _TEMPORARY.fullmatch(path.name):
            continue
        with contextlib.suppress(OSError), path.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)  # raises if it is alive
            path.unlink()


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


def open_npz(
    path: Path, names: Collection[str] | None = None, *, without: Collection[str] = ()
) -> dict[str, np.ndarray]:
    """Reads arrays of an `.npz` file, never a pickle.

    Args:
      path: The file.
      names: Names of those to read, if they are there; by default all.
      without: Names of those not to read; one that ends in a dot stands for all that
        begin with it.

    Returns:
      The arrays by name.

    Raises:
      UserError: If the file is missing, damaged or holds pickled objects.
    """
    arrays = {}
    beginnings = tuple(name for name in without if name.endswith("."))
    with _blame(path, ".npz"), zipfile.ZipFile(path) as archive:
        wanted = {}
        for info in archive.infolist():
            name = info.filename.removesuffix(".npy")
            left_out = name in without or name.startswith(beginnings)
            if (names is None or name in names) and not left_out:
                if name in wanted:
                    raise ValueError(f"two members {name!a}")
                wanted[name] = info
        size = sum(info.file_size for info in wanted.values())
        parsing.check_unpacked(size, os.stat(path).st_size, "its arrays")
        for name, info in wanted.items():
            arrays[name] = parsing.read_array(archive, info)
    return arrays


def list_npz(path: Path) -> dict[str, tuple[tuple[int, ...], np.dtype]]:
    """Lists the shapes and dtypes in an `.npz` file, without reading the arrays.

    Args:
      path: The file.

    Returns:
      Shape and dtype of every array by name.

    Raises:
      UserError: If the file is missing or damaged.
    """
    found = {}
    with _blame(path, ".npz"), zipfile.ZipFile(path) as archive:
        for info in archive.infolist():
            with archive.open(info) as member:
                header = parsing.read_array_header(member)
            found[info.filename.removesuffix(".npy")] = (header.shape, header.dtype)
    return found


def open_npy(path: Path) -> np.ndarray:
    """Maps the array of an `.npy` file, read-only, never a pickle.

    Raises:
      UserError: If the file is missing, damaged or holds pickled objects.
    """
    with _blame(path, ".npy"):
        with path.open("rb") as file:
            header = parsing.read_array_header(file)
            start, size = file.tell(), os.fstat(file.fileno()).st_size
        if header.dtype.hasobject:
            raise UserError(_PICKLED)
        if header.nbytes > size - start:
            raise ValueError(f"it says {header.nbytes} bytes and holds {size - start}")
        if not header.nbytes:
            return np.empty(header.shape, header.dtype)
        order: Literal["C", "F"] = "F" if header.fortran else "C"
        return np.memmap(path, header.dtype, "r", start, header.shape, order)


def check_regular(path: Path) -> None:
    """Refuses pipes, devices and sockets, which reading may wait for without end.

    What is not there, and directories, are left to whoever opens them.

    Raises:
      UserError: If it is one.
    """
    try:
        mode = os.stat(path).st_mode
    except (OSError, ValueError):
        return
    if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
        raise UserError(
            f"{path}: is a pipe, a device or a socket, not a file; save what comes "
            "from it to a file"
        )


def read_bytes(path: Path) -> bytes:
    """Reads a whole file.

    Raises:
      UserError: If it is a pipe, a device or a socket.
      OSError: If it cannot be read.
    """
    check_regular(path)
    return path.read_bytes()


def decode_text(content: bytes) -> str:
    r"""Decodes text in UTF-8, or in UTF-16 where a byte-order mark says so.

    The mark is left out, and all lines end with a newline alone.

    Raises:
      UnicodeDecodeError: If it is not such text.

    Examples:
      >>> decode_text("7\r\n8".encode("utf-16"))
      '7\n8'
    """
    marks = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
    encoding = "utf-16" if content.startswith(marks) else "utf-8-sig"
    return content.decode(encoding).replace("\r\n", "\n").replace("\r", "\n")


def read_lines(path: Path) -> list[str]:
    """Reads the lines of a text file in UTF-8, or in UTF-16 with its mark.

    Raises:
      UserError: If it cannot be read.
    """
    try:
        # Not splitlines, to which some characters of names are ends of lines.
        return decode_text(read_bytes(path)).split("\n")
    except OSError as error:
        raise UserError(f"{path}: cannot read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise UserError(f"{path}: not a UTF-8 text file") from None


def release_rows(array: np.ndarray, start: int, stop: int) -> None:
    """Lets the system drop rows of a mapped array from memory.

    Otherwise every page that was ever read stays part of the process, and the memory
    that it seems to need grows to the size of the file. Rows may be read again, from
    the system's cache if they are still there. Arrays in memory are left alone, and
    those whose changes are not those of a file.
    """
    mapped = array.base
    if not isinstance(mapped, mmap.mmap) or not hasattr(mmap, "MADV_DONTNEED"):
        return
    if getattr(array, "mode", "c") == "c":
        return
    # The map begins at a page before the data; whole pages only, so that rows next
    # to these stay.
    first = len(mapped) - array.nbytes
    row_bytes = array.strides[0]
    page = mmap.PAGESIZE
    begin = -(-(first + start * row_bytes) // page) * page
    end = (first + stop * row_bytes) // page * page
    if end > begin:
        mapped.madvise(mmap.MADV_DONTNEED, begin, end - begin)


@contextlib.contextmanager
def _blame(path: Path, kind: str) -> Iterator[None]:
    """Turns whatever reading a file raises into a one-line error that names it."""
    check_regular(path)
    try:
        yield
    except FileNotFoundError:
        raise UserError(f"{path}: no such file") from None
    # Damaged files raise all sorts of errors from deep within NumPy and zipfile, which
    # may quote them at any length.
    except Exception as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        if "allow_pickle=False" in (reason or ""):
            reason = _PICKLED
        reason = printable(" ".join((reason or type(error).__name__).split())[:300])
        raise UserError(f"{path}: not a readable {kind} file ({reason})") from None
