"""Reads JSON, TOML and `.npy` as strangers may have written them.

Their usual readers are right about what is right. These here stop before what is wrong
takes time or memory far beyond its size, and raise `ValueError` for all of it.
"""

import dataclasses
import io
import json
import math
import re
import struct
import tomllib
import zipfile
from collections.abc import Mapping
from typing import IO, Any, Final, NamedTuple

import numpy as np

__all__ = [
    "ArrayHeader",
    "Each",
    "check_form",
    "check_unpacked",
    "parse_json",
    "parse_toml",
    "read_array",
    "read_array_header",
]

# What is unpacked may be so many times what it is packed in, and so much more.
TIMES_PACKED: Final = 16
FREE_BYTES: Final = 8 << 20
_MAX_HEADER: Final = 10_000  # NumPy's own limit, in bytes
_MAX_DIMS: Final = 64
_MAX_LEVELS: Final = 64  # of JSON
_CHUNK: Final = 1 << 22
_MAX_TOML_BYTES: Final = 1 << 20
_MAX_TOML_PARTS: Final = 20_000  # keys, tables, lists and parts of keys
_MAX_KEY_PARTS: Final = 64
_MAX_DIGITS: Final = 4300  # Python's own limit for whole numbers
# Parts of a key of TOML, with dots between. Each may be in quotes.
_LONG_KEY: Final = re.compile(
    r"""(?<![\w.-])(?:(?:[\w-]++|"[^"\n]*+"|'[^'\n]*+')[ \t]*+\.[ \t]*+){"""
    f"{_MAX_KEY_PARTS}}}"
)


def parse_json(text: str | bytes) -> Any:
    """Parses JSON, whose objects may not have two entries of one name.

    Args:
      text: The text; bytes in UTF-8.

    Returns:
      What is in it.

    Raises:
      ValueError: If it is not such JSON, or nested too deep.

    Examples:
      >>> parse_json('{"a": [1, 2]}')
      {'a': [1, 2]}
    """

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        made = dict(pairs)
        if len(made) != len(pairs):
            raise ValueError("two entries of one name")
        return made

    try:
        found = json.loads(
            text if isinstance(text, str) else text.decode("utf-8"),
            object_pairs_hook=unique,
        )
    except RecursionError:
        raise ValueError("nested too deep") from None
    # Who uses it goes down by calls, of which Python allows fewer than JSON has levels.
    level = [found] if isinstance(found, dict | list) else []
    for _ in range(_MAX_LEVELS):
        level = [
            inner
            for each in level
            for inner in (each.values() if isinstance(each, dict) else each)
            if isinstance(inner, dict | list)
        ]
        if not level:
            return found
    raise ValueError("nested too deep")


@dataclasses.dataclass(frozen=True)
class Each:
    """The form of every entry of an object, whatever their names."""

    form: Any


_CALLED: Final[Mapping[Any, str]] = {
    str: "text",
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    dict: "an object",
    list: "a list",
    type(None): "null",
}


def check_form(value: Any, form: Any, name: str = "it") -> None:
    """Checks that what was parsed has the form that its reader expects.

    Args:
      value: What JSON or TOML came to.
      form: A type: `str`, `bool`, `int`, `float` (any finite number), `dict`, `list` or
        `type(None)`; a tuple of forms, of which one must be right; a list of one form,
        that of all items; `Each` of the form of all entries of an object; or a mapping
        from names of entries to their forms. An entry whose name ends in a question
        mark may be missing; unknown ones are left alone.
      name: What to call the value.

    Raises:
      ValueError: If it has another form; the first wrong part is named.

    Examples:
      >>> check_form({"a": [1, 2]}, {"a": [int], "b?": str})
      >>> check_form({"a": [1, "x"]}, {"a": [int]})
      Traceback (most recent call last):
      ValueError: a[1] must be a whole number, got 'x'
    """
    if isinstance(form, tuple):
        reasons = []
        for one in form:
            try:
                return check_form(value, one, name)
            except ValueError as error:
                reasons.append(str(error))
        raise ValueError(reasons[0])
    if isinstance(form, type):
        if not _is_of(value, form):
            shown = repr(value)
            shown = shown if len(shown) <= 40 else f"{shown[:40]}..."
            raise ValueError(f"{name} must be {_CALLED[form]}, got {shown}")
    elif isinstance(form, list):
        check_form(value, list, name)
        for index, item in enumerate(value):
            check_form(item, form[0], f"{name}[{index}]")
    else:
        check_form(value, dict, name)
        before = "" if name == "it" else f"{name}."
        entries = (
            dict.fromkeys(value, form.form) if isinstance(form, Each) else dict(form)
        )
        for key, inner in entries.items():
            bare = key if isinstance(form, Each) else key.removesuffix("?")
            if bare in value:
                check_form(value[bare], inner, f"{before}{bare}")
            elif bare == key:
                raise ValueError(f"{before}{key} is missing")
    return None


def _is_of(value: Any, form: type) -> bool:
    if form is float:
        number = isinstance(value, int | float) and not isinstance(value, bool)
        return number and math.isfinite(value)
    return type(value) is form


def parse_toml(text: str) -> dict[str, Any]:
    r"""Parses TOML of a size and depth that people write.

    Args:
      text: The text.

    Returns:
      Its tables.

    Raises:
      ValueError: If it is not TOML, or too large, or nested too deep.

    Examples:
      >>> parse_toml("[a]\nb = 1")
      {'a': {'b': 1}}
    """
    # A short key makes some kilobytes, and one of n parts takes time in n squared.
    size = len(text)
    if size > _MAX_TOML_BYTES:
        raise ValueError(f"{size} characters; at most {_MAX_TOML_BYTES} are read")
    count = sum(map(text.count, "=[{."))
    if count > _MAX_TOML_PARTS:
        raise ValueError(
            f"{count} keys, tables and lists; at most {_MAX_TOML_PARTS} are read"
        )
    if _LONG_KEY.search(text):
        raise ValueError(f"a key of more than {_MAX_KEY_PARTS} parts")
    try:
        return tomllib.loads(text)
    except RecursionError:
        raise ValueError("nested too deep") from None
    except tomllib.TOMLDecodeError:
        raise
    except ValueError as error:
        if "digits" in str(error):
            reason = f"a whole number of more than {_MAX_DIGITS} digits"
            raise ValueError(reason) from None
        raise


class ArrayHeader(NamedTuple):
    """What the header of an array says of it."""

    shape: tuple[int, ...]
    fortran: bool
    dtype: np.dtype

    @property
    def nbytes(self) -> int:
        """Bytes of its elements."""
        return math.prod(self.shape) * self.dtype.itemsize


def read_array_header(file: IO[bytes]) -> ArrayHeader:
    """Reads the header of an `.npy` file, and leaves the file at its content.

    Raises:
      ValueError: If it is none, or says what no array can be.
    """
    version = np.lib.format.read_magic(file)
    layout = struct.Struct("<H" if version == (1, 0) else "<I")
    packed = file.read(layout.size)
    if len(packed) < layout.size:
        raise ValueError("it ends within its header")
    (length,) = layout.unpack(packed)
    if length > _MAX_HEADER:
        raise ValueError(f"a header of {length} bytes; at most {_MAX_HEADER} are read")
    content = file.read(length)
    if len(content) < length:
        raise ValueError("it ends within its header")
    shape, fortran, dtype = _parse_header(content)
    if len(shape) > _MAX_DIMS or any(size < 0 for size in shape):
        raise ValueError(f"an array of shape {str(shape)[:60]}")
    if shape and not dtype.itemsize:
        raise ValueError("an array whose elements have no size")
    # As NumPy does, which leaves zeros out.
    if math.prod(size for size in shape if size) * max(dtype.itemsize, 1) >= 1 << 63:
        raise ValueError("an array that is too large for any memory")
    return ArrayHeader(shape, fortran, dtype)


def _parse_header(content: bytes) -> tuple[tuple[int, ...], bool, np.dtype]:
    """Parses the text of a header with NumPy, which takes it from a file."""
    # Version 3 differs from 2 in the names of fields, which plain arrays lack.
    whole = io.BytesIO(struct.pack("<I", len(content)) + content)
    try:
        found: tuple[tuple[int, ...], bool, np.dtype] = (
            np.lib.format.read_array_header_2_0(whole)
        )
    except (RecursionError, MemoryError):
        raise ValueError("a header that is nested too deep") from None
    return found


def check_unpacked(size: int, packed: int, what: str) -> None:
    """Checks that something is not far larger unpacked than it is packed.

    Args:
      size: Bytes that it unpacks to.
      packed: Bytes of the file.
      what: What it is.

    Raises:
      ValueError: If it is.
    """
    most = TIMES_PACKED * packed + FREE_BYTES
    if size > most:
        raise ValueError(
            f"{what} unpack to {size:,} bytes, far more than the file of {packed:,} "
            f"bytes may ({most:,}); save them with numpy.savez, uncompressed"
        )


def read_array(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> np.ndarray:
    """Reads an array of an `.npz` file, never a pickle.

    Args:
      archive: The file.
      info: Its member, of a size that was found to be right.

    Returns:
      The array, in memory of its own.

    Raises:
      ValueError: If it is damaged or holds anything but plain numbers or text.
    """
    if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise ValueError(f"{info.filename!a} is compressed in a way that is not read")
    with archive.open(info) as member:
        header = read_array_header(member)
        if header.dtype.hasobject:
            raise ValueError("Object arrays cannot be loaded when allow_pickle=False")
        if header.dtype.fields or header.dtype.subdtype:
            raise ValueError(f"{info.filename!a} holds records, not plain numbers")
        left = info.file_size - member.tell()
        if header.nbytes != left:
            raise ValueError(
                f"{info.filename!a} says it is {header.nbytes} bytes and holds {left}"
            )
        content = bytearray(left)
        filled = 0
        with memoryview(content) as view:
            while filled < left:
                piece = member.read(min(left - filled, _CHUNK))
                if not piece:
                    raise ValueError(f"{info.filename!a} ends early")
                view[filled : filled + len(piece)] = piece
                filled += len(piece)
        if member.read(1):
            raise ValueError(f"{info.filename!a} is longer than it says")
    array: np.ndarray = np.ndarray(
        header.shape, header.dtype, content, order="F" if header.fortran else "C"
    )
    if header.dtype.kind == "U" and array.size:
        # NumPy fails on these much later, when an element is looked at.
        codes = np.dtype("u4").newbyteorder(header.dtype.byteorder)
        if np.frombuffer(content, codes).max() > 0x10FFFF:
            raise ValueError(f"{info.filename!a} holds what is not a character")
    return array
