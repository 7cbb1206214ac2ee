"""Where an array lies in the file that it was read from."""

import mmap
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np

from alphanet_jax.data.untrusted import Refused

__all__ = ["Place", "find_place", "is_same_place", "overlap"]

# How long NumPy may look for an element that two strided arrays share.
_MAX_WORK: Any = 1_000_000  # NumPy's annotation has two special values alone


class Place(NamedTuple):
    """An array within a file."""

    offset: int  # of the first element, in bytes
    shape: tuple[int, ...]
    strides: tuple[int, ...]  # in bytes
    dtype: np.dtype[Any]
    searched: bool = False  # whether it was found by its content

    @property
    def stop(self) -> int:
        """Where its last element ends."""
        if 0 in self.shape:
            return self.offset
        steps = zip(self.shape, self.strides, strict=True)
        return self.offset + self.dtype.itemsize + sum((n - 1) * s for n, s in steps)

    def write(self, file: BinaryIO, values: np.ndarray) -> None:
        """Writes other values there; what lies between them stays."""
        file.seek(self.offset)
        content = bytearray(file.read(self.stop - self.offset))
        view: np.ndarray = np.ndarray(
            self.shape, self.dtype, content, strides=self.strides
        )
        view[...] = values
        file.seek(self.offset)
        file.write(content)


def find_place(array: np.ndarray, path: Path) -> Place:
    """Finds where an array lies in its file.

    Args:
      array: An array as the readers of `data` return it: a view of the mapped file,
        or of bytes that were copied out of it.
      path: The file.

    Returns:
      The place.

    Raises:
      Refused: If its elements do not lie there one by one, as they are.
    """
    if _may_repeat(array):
        raise Refused("stores several elements in one place (an expanded tensor)")
    buffer = _buffer(array)
    first = np.frombuffer(buffer, np.uint8).ctypes.data
    offset = int(array.ctypes.data) - first
    if isinstance(array, np.memmap):
        # A map begins at a page, which need not be the beginning of the file.
        offset += array.offset - array.offset % mmap.ALLOCATIONGRANULARITY
    if searched := isinstance(buffer, bytes):
        offset += _find_once(buffer, path)
    return Place(offset, array.shape, array.strides, array.dtype, searched)


def is_same_place(first: np.ndarray, second: np.ndarray) -> bool:
    """Returns whether two arrays are the same elements of the same file."""
    return (
        first.ctypes.data == second.ctypes.data
        and first.shape == second.shape
        and first.strides == second.strides
        and first.dtype == second.dtype
    )


def overlap(first: np.ndarray, second: np.ndarray) -> bool:
    """Returns whether arrays share an element, also where that is hard to know."""
    try:
        return np.shares_memory(first, second, max_work=_MAX_WORK)
    except np.exceptions.TooHardError:
        return True


def _buffer(array: np.ndarray) -> mmap.mmap | bytes:
    """Returns what an array is a view of: the mapped file, or bytes of it."""
    base: Any = array
    while isinstance(base, np.ndarray):
        base = base.base
    if isinstance(base, memoryview):
        base = base.obj
    if not isinstance(base, (mmap.mmap, bytes)):
        raise Refused("is stored in a way that cannot be changed in place")
    return base


def _may_repeat(array: np.ndarray) -> bool:
    """Returns whether several elements may lie in one place."""
    reach = array.itemsize
    axes = sorted(zip(array.strides, array.shape, strict=True))
    for stride, size in axes:
        if size > 1:
            if stride < reach:
                return True
            reach = stride * (size - 1) + reach
    return False


def _find_once(part: bytes, path: Path) -> int:
    """Finds bytes in a file that are there once."""
    with (
        path.open("rb") as file,
        mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content,
    ):
        at = content.find(part)
        if at < 0:
            raise Refused(
                "is not stored as plain bytes, as in pickles of protocol 2 and older; "
                "save it again with protocol 4 or by torch.save"
            )
        if content.find(part, at + 1) >= 0:
            raise Refused(
                "cannot be told from other parts of the file with the same bytes; "
                "save it with torch.save or numpy.savez"
            )
        return at
