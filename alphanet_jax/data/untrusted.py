"""What the readers of files from strangers share: refusals, and arrays over bytes.

What a file declares is checked here against the bytes that are there, before any
memory is taken. Within a reader a refusal is a `Refused`; `blame` around the whole
makes it one line that names the file.
"""

import contextlib
import gc
import math
import mmap
import os
import stat
from collections.abc import Iterator
from typing import Any, Final, NoReturn, TypeVar

import numpy as np

from alphanet_jax.errors import UserError, printable

__all__ = [
    "Allowance",
    "FileFormatError",
    "Refused",
    "blame",
    "check_sizes",
    "count_elements",
    "expect",
    "expect_size",
    "map_file",
    "quote",
    "whole_array",
]

BYTES_OF_A_BYTE: Final = 28
FREE_BYTES: Final = 12 << 20
_MAX_DIMS: Final = 64  # NumPy's own limit
_MAX_ARRAY_BYTES: Final = (1 << 63) - 1
_T = TypeVar("_T")


class FileFormatError(UserError):
    """A file that is damaged or holds what this package does not read.

    The message is one line: the path, what was found and what is allowed.
    """


class Refused(Exception):  # noqa: N818 (never leaves the readers)
    """The reason to refuse a file; `blame` turns it into a `FileFormatError`."""


class Allowance:
    """The memory that what is made of a file may take, in bytes.

    A file of n bytes may become objects of `BYTES_OF_A_BYTE` n bytes and `FREE_BYTES`
    more, as they are estimated before or when they are made; the content of arrays,
    which stays in the file, is not counted. What a file makes and throws away counts.

    Attributes:
      left: Bytes that are left.
    """

    __slots__ = ("_size", "left")

    def __init__(self, size: int) -> None:
        self._size = size
        self.left = 0
        self.renew()

    def renew(self) -> None:
        """Begins anew, as what was made so far is not needed any more."""
        whole = BYTES_OF_A_BYTE * self._size + FREE_BYTES
        if self.left and whole - self.left > FREE_BYTES // 2:
            gc.collect()  # lists within themselves stay until then
        self.left = whole

    def take(self, amount: int) -> None:
        """Counts memory that is about to be taken."""
        self.left -= amount
        if self.left < 0:
            self.refuse()

    def refuse(self) -> NoReturn:
        """Refuses the file, as there is nothing left."""
        raise Refused(
            f"makes more objects than a file of {self._size} bytes may: they take "
            f"{BYTES_OF_A_BYTE} times its size and {FREE_BYTES >> 20} MB"
        )


def quote(text: str | bytes) -> str:
    """Quotes text from a file, shortened and in ASCII."""
    return ascii(text[:120])


@contextlib.contextmanager
def blame(path: str) -> Iterator[None]:
    """Turns refusals within the block into one-line errors that name the file."""
    try:
        yield
    except (Refused, OSError) as error:
        reason = (error.strerror if isinstance(error, OSError) else None) or str(error)
        line = printable(f"{path}: {reason}")
        kind = FileFormatError if isinstance(error, Refused) else UserError
        raise kind(line) from None


def map_file(path: str) -> memoryview:
    """Maps a file for reading; views of the result keep the map alive."""
    if not stat.S_ISREG(os.stat(path).st_mode):
        raise Refused("is not a regular file")
    with open(path, "rb") as file:
        if not os.fstat(file.fileno()).st_size:  # mmap takes no empty files
            raise Refused("is empty")
        return memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))


def expect(value: object, kind: type[_T], what: str) -> _T:
    """Returns the value if it is of the type itself, not of a subclass."""
    if type(value) is not kind:
        raise Refused(
            f"has a {type(value).__name__}, not a {kind.__name__}, for {what}"
        )
    return value


def expect_size(value: object, what: str) -> int:
    """Returns the value if it can be a number of elements or bytes."""
    number = expect(value, int, what)
    if not 0 <= number <= _MAX_ARRAY_BYTES:
        raise Refused(f"has {number} for {what}")
    return number


def check_sizes(value: Any, what: str) -> tuple[int, ...]:
    """Returns a shape or strides from a file once they are sane numbers."""
    if type(value) not in (list, tuple) or len(value) > _MAX_DIMS:
        raise Refused(f"an array's {what} is not a tuple of at most {_MAX_DIMS} sizes")
    for size in value:
        if type(size) is not int or not 0 <= size <= _MAX_ARRAY_BYTES:
            raise Refused(f"an array's {what} holds something that is not a size")
    return tuple(value)


def count_elements(shape: tuple[int, ...], dtype: np.dtype[Any]) -> int:
    """Counts the elements of an array; NumPy must be able to address them."""
    # NumPy leaves zeros out of its own check too.
    addressed = math.prod(size for size in shape if size) * max(dtype.itemsize, 1)
    if addressed > _MAX_ARRAY_BYTES:
        raise Refused("an array's shape is too large for any memory")
    return math.prod(shape)


def whole_array(
    data: memoryview, dtype: np.dtype[Any], shape: tuple[int, ...], fortran: bool
) -> np.ndarray:
    """Views bytes as an array that takes up exactly all of them."""
    if shape and not dtype.itemsize:  # any shape at all would fit no bytes
        raise Refused("an array's elements have no size")
    wanted = count_elements(shape, dtype) * dtype.itemsize
    if wanted != len(data):
        raise Refused(f"an array of {wanted} bytes comes with {len(data)} bytes")
    array: np.ndarray = np.ndarray(shape, dtype, data, order="F" if fortran else "C")
    if dtype.kind == "U" and data:
        # NumPy fails on these much later, when an element is looked at.
        codes = np.frombuffer(data, np.dtype("u4").newbyteorder(dtype.byteorder))
        if codes.max() > 0x10FFFF:
            raise Refused("a text array holds something that is not a character")
    return array
