"""Reads the tensor files of PyTorch, NumPy pickles and safetensors, without them.

`load` takes three kinds of file and tells them apart by their content:

* the zip archive that ``torch.save`` writes: ``<name>/data.pkl`` is a pickle of
  the object, and every storage is an uncompressed entry ``<name>/data/<key>``;
* the older stream of ``torch.save``: four pickles (a magic number, a version,
  facts about the writing system, the object), a pickled list of storage keys,
  and then every storage as an element count followed by its bytes;
* a plain pickle, any protocol, of Python objects that hold tensors (each storage
  is then a byte string with a whole ``torch.save`` stream inside) or arrays.

`read_safetensors` takes the safetensors format.

A pickle is a program, and these files come from strangers. They are therefore
run by a machine of this module's own (`_Machine`), which is safe by what it lacks:

* It imports nothing and looks nothing up. A name in a file is a key into
  `_GLOBALS`, a fixed table of this module's own functions and inert markers; any
  other name is refused, and the refusal says the name. The operations that make
  instances of classes or take objects from elsewhere are refused altogether.
* Those functions take nothing on trust. They check the type and range of every
  argument and build plain values; the setters of NumPy and of PyTorch that trust
  their arguments are never called.
* Memory follows what is in the file. A declared length is checked against the
  bytes that are left before anything is made, and work that one short operation
  could repeat over long data is counted and limited (`_Machine.spend`).
* At the end the result is walked, and anything but plain data is refused.

Tensors and arrays are read-only views of the memory-mapped file, which stays
mapped for as long as one of them lives. A file must not be cut short while it is
mapped. Checksums are not verified, because that would read every page.
"""

import collections
import contextlib
import json
import math
import mmap
import os
import re
import stat
import struct
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final, NamedTuple, NoReturn, TypeVar

import ml_dtypes
import numpy as np

from alphanet_jax.errors import UserError

__all__ = ["FileFormatError", "load", "read_safetensors"]

_PLAIN_DATA: Final = "plain data (tensors, arrays, numbers, text, lists, dicts)"
_LEGACY_MAGIC: Final = 0x1950A86A20F9469CFC6C
_LEGACY_PROTOCOL: Final = 1001
_HIGHEST_PICKLE_PROTOCOL: Final = 5

# From this length on, byte strings stay views of the file until it is clear that
# they are data in their own right and not the content of an array.
_LONG_BYTES: Final = 1 << 12
# The magic number takes ten bytes and labels take eight at most. Python's time for
# a long integer grows with the square of its length.
_MAX_INT_BYTES: Final = 64
_MAX_INT_DIGITS: Final = 160
_MAX_NAME: Final = 512
_MAX_KEY_PARTS: Final = 64
_MAX_DIMS: Final = 64  # NumPy's own limit
_MAX_ARRAY_BYTES: Final = (1 << 63) - 1
_MAX_JSON_HEADER: Final = 100_000_000  # the limit of the safetensors format


class FileFormatError(UserError):
    """A file that is damaged or holds what this package does not read.

    The message is one line: the path, what was found and what is allowed.
    """


class _Refused(Exception):  # noqa: N818 (never leaves this module)
    """Why a file is refused; `_blame` turns it into a `FileFormatError`."""


def _quote(text: str | bytes) -> str:
    """Shows text from a file, shortened, in quotes and without odd characters."""
    return ascii(text[:120])


def _not_listed(name: str) -> NoReturn:
    raise _Refused(
        f"refuses to load {_quote(name)}: the file asks for something that is not "
        f"on the list of {_PLAIN_DATA}"
    )


@contextlib.contextmanager
def _blame(path: str) -> Iterator[None]:
    """Turns refusals within the block into one-line errors that name the file."""
    try:
        yield
    except (_Refused, OSError) as error:
        reason = (error.strerror if isinstance(error, OSError) else None) or str(error)
        line = "".join(c if c.isprintable() else "?" for c in f"{path}: {reason}")
        kind = FileFormatError if isinstance(error, _Refused) else UserError
        raise kind(line) from None


def _map(path: str) -> memoryview:
    """Maps a file for reading; views of the result keep the map alive."""
    if not stat.S_ISREG(os.stat(path).st_mode):
        raise _Refused("is not a regular file")
    with open(path, "rb") as file:
        if not os.fstat(file.fileno()).st_size:  # mmap takes no empty files
            raise _Refused("is empty")
        return memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))


# --- Arrays over bytes ---------------------------------------------------------

_EXTENSION_DTYPES: Final = {
    name: np.dtype(getattr(ml_dtypes, name))
    for name in (
        "bfloat16",
        "float8_e4m3fn",
        "float8_e4m3fnuz",
        "float8_e5m2",
        "float8_e5m2fnuz",
        "float8_e8m0fnu",
    )
}
_TORCH_DTYPES: Final = _EXTENSION_DTYPES | {
    name: np.dtype(name)
    for name in (
        *("float64", "float32", "float16", "complex128", "complex64", "bool"),
        *("int64", "int32", "int16", "int8", "uint64", "uint32", "uint16", "uint8"),
    )
}
_TORCH_STORAGES: Final = {
    "DoubleStorage": "float64",
    "FloatStorage": "float32",
    "HalfStorage": "float16",
    "BFloat16Storage": "bfloat16",
    "LongStorage": "int64",
    "IntStorage": "int32",
    "ShortStorage": "int16",
    "CharStorage": "int8",
    "ByteStorage": "uint8",
    "BoolStorage": "bool",
    "ComplexDoubleStorage": "complex128",
    "ComplexFloatStorage": "complex64",
}
_NUMPY_DTYPE_CODE: Final = re.compile(
    r"(b1|[iu][1248]|f[248]|c8|c16|[SU][0-9]{1,7})", re.ASCII
)
_SAFETENSORS_DTYPES: Final = {
    "F64": np.dtype("<f8"),
    "F32": np.dtype("<f4"),
    "F16": np.dtype("<f2"),
    "BF16": _EXTENSION_DTYPES["bfloat16"],
    "F8_E4M3": _EXTENSION_DTYPES["float8_e4m3fn"],
    "F8_E5M2": _EXTENSION_DTYPES["float8_e5m2"],
    "I64": np.dtype("<i8"),
    "I32": np.dtype("<i4"),
    "I16": np.dtype("<i2"),
    "I8": np.dtype("i1"),
    "U64": np.dtype("<u8"),
    "U32": np.dtype("<u4"),
    "U16": np.dtype("<u2"),
    "U8": np.dtype("u1"),
    "BOOL": np.dtype("?"),
}


def _check_sizes(value: Any, what: str) -> tuple[int, ...]:
    """Returns a shape or strides from a file once they are sane numbers."""
    if type(value) not in _SEQUENCES or len(value) > _MAX_DIMS:
        raise _Refused(f"an array's {what} is not a tuple of at most {_MAX_DIMS} sizes")
    for size in value:
        if type(size) is not int or not 0 <= size <= _MAX_ARRAY_BYTES:
            raise _Refused(f"an array's {what} holds something that is not a size")
    return tuple(value)


def _count(shape: tuple[int, ...], dtype: np.dtype[Any]) -> int:
    """Counts the elements of an array; NumPy must be able to address them."""
    # NumPy leaves zeros out of its own check too.
    addressed = math.prod(size for size in shape if size) * max(dtype.itemsize, 1)
    if addressed > _MAX_ARRAY_BYTES:
        raise _Refused("an array's shape is too large for any memory")
    return math.prod(shape)


def _whole_array(
    data: memoryview, dtype: np.dtype[Any], shape: tuple[int, ...], fortran: bool
) -> np.ndarray:
    """Views bytes as an array that takes up exactly all of them."""
    if shape and not dtype.itemsize:  # any shape at all would fit no bytes
        raise _Refused("an array's elements have no size")
    wanted = _count(shape, dtype) * dtype.itemsize
    if wanted != len(data):
        raise _Refused(f"an array of {wanted} bytes comes with {len(data)} bytes")
    array: np.ndarray = np.ndarray(shape, dtype, data, order="F" if fortran else "C")
    if dtype.kind == "U" and data:
        # NumPy fails on these much later, when an element is looked at.
        codes = np.frombuffer(data, np.dtype("u4").newbyteorder(dtype.byteorder))
        if codes.max() > 0x10FFFF:
            raise _Refused("a text array holds something that is not a character")
    return array


def _strided_array(
    data: memoryview,
    dtype: np.dtype[Any],
    offset: int,
    shape: tuple[int, ...],
    strides: tuple[int, ...],
) -> np.ndarray:
    """Views a storage as a tensor; offset and strides count elements."""
    if len(shape) != len(strides):
        raise _Refused("a tensor's shape and strides differ in length")
    if not _count(shape, dtype):
        return np.ndarray(shape, dtype, b"")
    # An axis of size one is never stepped along, so its stride may be anything.
    steps = [
        stride if size > 1 else 0 for size, stride in zip(shape, strides, strict=True)
    ]
    last = offset + sum(
        (size - 1) * step for size, step in zip(shape, steps, strict=True)
    )
    if (last + 1) * dtype.itemsize > len(data):
        raise _Refused(
            f"a tensor reaches to element {last} of a storage of "
            f"{len(data) // dtype.itemsize}"
        )
    width = dtype.itemsize
    array: np.ndarray = np.ndarray(
        shape, dtype, data, offset * width, [step * width for step in steps]
    )
    return array


# --- What the machine keeps on its stack besides plain data --------------------


class _Function(NamedTuple):
    """A function of this module under the name that files call it by."""

    name: str
    run: Callable[..., object]
    fewest: int
    most: int


class _Marker(NamedTuple):
    """A class that is only ever an argument."""

    name: str


class _StorageClass(NamedTuple):
    """A class of storages; an untyped one counts in bytes."""

    dtype: np.dtype[Any] | None

    @property
    def width(self) -> int:
        """Bytes in an element."""
        return self.dtype.itemsize if self.dtype is not None else 1


class _Storage(NamedTuple):
    """A tensor's bytes, or None while it is not known where they lie."""

    dtype: np.dtype[Any] | None
    data: memoryview | None


class _StorageId(NamedTuple):
    """How an object pickle refers to a storage."""

    kind: _StorageClass
    key: str
    size: int  # elements of `kind`
    part: tuple[int, int] | None  # offset and size of a view, in elements


class _LongBytes(NamedTuple):
    """A long byte string that is still in the file."""

    start: int
    data: memoryview


class _Shell:
    """An array or a dtype whose content comes with a later BUILD."""

    def __init__(self, fill: Callable[[object], object]) -> None:
        self.fill = fill
        self.value: object = None


def _type_name(value: object) -> str:
    """Names a type for a message: `_LongBytes` as LongBytes."""
    return type(value).__name__.lstrip("_")


_FindStorage = Callable[[_StorageId], _Storage]
_T = TypeVar("_T")


def _expect(value: object, kind: type[_T], what: str) -> _T:
    """Returns the value if it is of the type itself, not of a subclass."""
    if type(value) is not kind:
        raise _Refused(
            f"has a {_type_name(value)}, not a {kind.__name__.lstrip('_')}, for {what}"
        )
    return value


def _expect_size(value: object, what: str) -> int:
    number = _expect(value, int, what)
    if not 0 <= number <= _MAX_ARRAY_BYTES:
        raise _Refused(f"has {number} for {what}")
    return number


def _bytes_of(value: object) -> memoryview:
    """Returns the content of a byte string of any length."""
    if isinstance(value, _LongBytes):
        return value.data
    return memoryview(_expect(value, bytes, "the content of an array"))


def _is_scalar_key(key: object) -> bool:
    if type(key) is int:
        # Python's hash of an integer repeats only beyond 61 bits: with a limit
        # near that no file can make a dict slow with keys that all collide.
        return -(1 << 63) <= key < 1 << 64
    if isinstance(key, (str, bytes)):
        return len(key) < _LONG_BYTES
    return type(key) in _KEY_TYPES


def _check_key(key: object) -> object:
    """Returns a dict key or set member that is cheap to hash and to compare.

    A NumPy number becomes the Python number of the same hash, to which it is equal:
    compared with a tuple it would not answer with a truth value.
    """
    if isinstance(key, np.generic) and key.dtype.kind in "biuf":
        key = key.item()
    if _is_scalar_key(key) or (
        type(key) is tuple
        and len(key) <= _MAX_KEY_PARTS
        and all(map(_is_scalar_key, key))
    ):
        return key
    raise _Refused(
        f"holds a {_type_name(key)} as dict key or set member; those can be numbers, "
        "short text and short flat tuples of them"
    )


_KEY_TYPES: Final = frozenset((float, bool, type(None)))
_DICTS: Final = frozenset((dict, collections.OrderedDict, collections.Counter))
_SEQUENCES: Final = frozenset((list, tuple))
# The members of sets were checked on their way in.
_LEAVES: Final = _KEY_TYPES | {*(int, complex, str, bytes, set, frozenset, np.ndarray)}


def _check_plain(root: object) -> frozenset[int]:
    """Refuses a result that holds anything but plain data.

    Args:
      root: What the machine returned.

    Returns:
      Where the long byte strings start that are data in their own right.
    """
    long_bytes = set()
    seen = set()
    pending: list[Any] = [root]
    while pending:
        value = pending.pop()
        kind = type(value)
        if kind in _LEAVES:
            continue
        if kind in _SEQUENCES or kind in _DICTS:
            if id(value) not in seen:
                seen.add(id(value))
                pending.extend(value.values() if kind in _DICTS else value)
        elif isinstance(value, _LongBytes):
            long_bytes.add(value.start)
        elif isinstance(value, (_Function, _Marker)):
            _not_listed(value.name)
        elif not isinstance(value, (np.generic, np.dtype)):
            raise _Refused(f"holds a bare {_type_name(value)}, not {_PLAIN_DATA}")
    return frozenset(long_bytes)


# --- The pickle machine --------------------------------------------------------

_Handler = Callable[["_Machine"], None]
_UINT16: Final = struct.Struct("<H")
_INT32: Final = struct.Struct("<i")
_UINT32: Final = struct.Struct("<I")
_INT64: Final = struct.Struct("<q")
_UINT64: Final = struct.Struct("<Q")
_DOUBLE: Final = struct.Struct(">d")
_DECIMAL: Final = re.compile(rb"-?[0-9]{1,%d}" % _MAX_INT_DIGITS)
_STOP: Final = ord(".")


class _Machine:
    """Runs one pickle over a buffer, with nothing in reach but `_GLOBALS`.

    Attributes:
      data: The buffer.
      pos: Where the machine reads next.
      nested: Whether the buffer is itself a byte string of another pickle.
      stack: The values above the newest mark.
      memo: The values that the pickle has numbered for later use.
    """

    def __init__(
        self,
        data: memoryview,
        start: int,
        find_storage: _FindStorage | None,
        plain_bytes: frozenset[int],
        nested: bool,
    ) -> None:
        self.data = data
        self.pos = start
        self.nested = nested
        self.stack: list[Any] = []
        self.memo: dict[int, Any] = {}
        self._below: list[list[Any]] = []  # the stacks under the open marks
        self._find_storage = find_storage
        self._plain_bytes = plain_bytes
        # An honest file holds what it works on, and works on it twice at most: to
        # make text into bytes, and then to read those. The rest is leeway.
        self._budget = 4 * len(data)

    def run(self) -> object:
        """Runs to the end of the pickle and returns the object it makes."""
        data, handlers = self.data, _HANDLERS
        try:
            while True:
                code = data[self.pos]
                self.pos += 1
                if code == _STOP:
                    return self.stack.pop()
                handlers[code](self)
        except (IndexError, struct.error):
            # A read past the end, or a pop from an empty stack.
            raise _Refused(f"ends early or is damaged near byte {self.pos}") from None

    def spend(self, amount: int) -> None:
        """Counts work that the file could ask for again and again."""
        self._budget -= amount
        if self._budget < 0:
            raise _Refused("repeats its own content too often")

    def call(self, function: object, args: object) -> object:
        """Calls one of this module's functions with arguments from the file."""
        if not isinstance(function, _Function):
            name = function.name if isinstance(function, _Marker) else None
            raise _Refused(f"calls {name or 'a ' + _type_name(function)}")
        if type(args) is not tuple:
            raise _Refused(f"calls {function.name} without a tuple of arguments")
        if not function.fewest <= len(args) <= function.most:
            raise _Refused(f"calls {function.name} with {len(args)} arguments")
        return function.run(self, *args)

    def skip(self, length: int) -> memoryview:
        """Steps over a number of bytes, which must be there, and returns them."""
        left = len(self.data) - self.pos
        if length > left:
            raise _Refused(
                f"declares {length} bytes at byte {self.pos} and holds {left}"
            )
        self.pos += length
        return self.data[self.pos - length : self.pos]

    def byte(self) -> int:
        """Reads an unsigned number of one byte."""
        self.pos += 1
        return self.data[self.pos - 1]

    def number(self, layout: struct.Struct) -> Any:
        """Reads a number of the given layout."""
        (number,) = layout.unpack_from(self.data, self.pos)
        self.pos += layout.size
        return number

    def line(self, limit: int = _MAX_NAME) -> bytes:
        """Reads up to the next newline, which is not part of the result."""
        size = 64
        while True:
            chunk = bytes(self.data[self.pos : self.pos + size])
            end = chunk.find(b"\n")
            if end >= 0:
                self.pos += end + 1
                return chunk[:end]
            if len(chunk) < size or size > limit:
                raise _Refused(f"lacks the end of a line after byte {self.pos}")
            size *= 4

    def push_text(self, length: int) -> None:
        """Pushes text that takes the next so many bytes."""
        self.stack.append(_decode(self.skip(length), "utf-8"))

    def push_bytes(self, length: int) -> None:
        """Pushes the next so many bytes."""
        start, content = self.pos, self.skip(length)
        if length < _LONG_BYTES or start in self._plain_bytes:
            self.stack.append(bytes(content))
        else:
            self.stack.append(_LongBytes(start, content))

    def push_long(self, length: int) -> None:
        """Pushes a whole number that takes the next so many bytes."""
        if length > _MAX_INT_BYTES:
            raise _Refused(
                f"has a whole number of {length} bytes; {_MAX_INT_BYTES} are allowed"
            )
        content = self.skip(length)
        self.stack.append(int.from_bytes(content, "little", signed=True))

    def push_mark(self) -> None:
        """Starts a new stack above the present one."""
        self._below.append(self.stack)
        self.stack = []

    def pop_mark(self) -> list[Any]:
        """Goes back to the stack under the newest mark; returns what was above."""
        items = self.stack
        self.stack = self._below.pop()
        return items

    def collect(self, make: Callable[[list[Any]], object]) -> None:
        """Replaces the newest mark, and all above it, by one value made of it."""
        items = self.pop_mark()
        self.stack.append(make(items))

    def store(self, key: int) -> None:
        """Numbers the topmost value."""
        self.memo[key] = self.stack[-1]

    def push_memo(self, key: int) -> None:
        """Pushes a numbered value once more."""
        if key not in self.memo:
            raise _Refused(f"refers to a value {key} that was never stored")
        value = self.memo[key]
        if type(value) is _Shell:
            value = value.value
            if value is None:
                raise _Refused("uses an array or dtype inside of itself")
        self.stack.append(value)

    def push_global(self, module: object, name: object) -> None:
        """Pushes what stands for a name, if it is on the list."""
        if type(module) is not str or type(name) is not str:
            raise _Refused("asks for a name that is not text")
        if (module, name) not in _GLOBALS:
            _not_listed(f"{module[:_MAX_NAME]}.{name[:_MAX_NAME]}")
        self.stack.append(_GLOBALS[module, name])

    def open_storage(self, spec: object) -> _Storage:
        """Finds the storage that a persistent id stands for."""
        if self._find_storage is None:
            raise _Refused("refers to data outside of itself (a persistent id)")
        if type(spec) is not tuple or len(spec) not in (5, 6):
            raise _Refused("refers to its storages in an unknown way")
        tag, kind, key, _, size, *rest = spec
        if _expect(tag, str, "a reference's kind") != "storage":
            raise _Refused(f"refers to a {_quote(tag)}; only storages are allowed")
        if not isinstance(kind, _StorageClass):
            raise _Refused("refers to a storage without a storage class")
        if len(_expect(key, str, "a storage's name")) > _MAX_NAME:
            raise _Refused("refers to a storage by a very long name")
        part = None
        if rest and rest[0] is not None:
            view = _expect(rest[0], tuple, "a part of a storage")
            if len(view) != 3:
                raise _Refused("refers to a part of a storage in an unknown way")
            part = (
                _expect_size(view[1], "the offset of a storage's part"),
                _expect_size(view[2], "the size of a storage's part"),
            )
        size = _expect_size(size, "the size of a storage")
        return self._find_storage(_StorageId(kind, key, size, part))


def _decode(data: bytes | memoryview, encoding: str) -> str:
    try:
        # Python's own pickles let lone surrogates through.
        return str(data, encoding, "surrogatepass")
    except UnicodeDecodeError:
        raise _Refused(f"holds text that is not {encoding}") from None


def _integer(text: bytes) -> int:
    if not _DECIMAL.fullmatch(text):
        raise _Refused(
            f"has {_quote(text)} for a whole number; it can have {_MAX_INT_DIGITS} "
            "digits and a minus sign"
        )
    return int(text)


def _put_items(target: object, items: list[Any]) -> object:
    """Puts alternating keys and values into a dict and returns it."""
    if type(target) not in _DICTS or len(items) % 2:
        raise _Refused("sets items of something that is not a dict")
    assert isinstance(target, dict)
    for i in range(0, len(items), 2):
        target[_check_key(items[i])] = items[i + 1]
    return target


def _unknown(machine: _Machine) -> None:
    at = machine.pos - 1
    raise _Refused(
        f"has no pickle operation 0x{machine.data[at]:02x} at byte {at}: it is "
        "damaged, or neither a file of torch.save nor a pickle"
    )


def _refuse(what: str) -> _Handler:
    def handler(machine: _Machine) -> None:
        raise _Refused(f"refuses to {what}: this is not needed for {_PLAIN_DATA}")

    return handler


def _proto(machine: _Machine) -> None:
    protocol = machine.byte()
    if protocol > _HIGHEST_PICKLE_PROTOCOL:
        raise _Refused(f"is a pickle of protocol {protocol}, newer than 5")


def _frame(machine: _Machine) -> None:
    length = machine.number(_UINT64)
    if length > len(machine.data) - machine.pos:
        raise _Refused(f"declares a frame of {length} bytes, more than it holds")


def _bin_int_1(machine: _Machine) -> None:
    machine.stack.append(machine.data[machine.pos])
    machine.pos += 1


def _bin_int_2(machine: _Machine) -> None:
    machine.stack.append(_UINT16.unpack_from(machine.data, machine.pos)[0])
    machine.pos += 2


def _int(machine: _Machine) -> None:
    text = machine.line()
    is_bool = text in (b"00", b"01")
    machine.stack.append(text == b"01" if is_bool else _integer(text))


def _float(machine: _Machine) -> None:
    text = machine.line()
    try:
        machine.stack.append(float(text))
    except ValueError:
        raise _Refused(f"has {_quote(text)} for a number") from None


def _unicode(machine: _Machine) -> None:
    line = machine.line(len(machine.data))
    machine.stack.append(_decode(line, "raw-unicode-escape"))


def _tuple_1(machine: _Machine) -> None:
    machine.stack[-1] = (machine.stack[-1],)


def _tuple_2(machine: _Machine) -> None:
    second = machine.stack.pop()
    machine.stack[-1] = (machine.stack[-1], second)


def _tuple_3(machine: _Machine) -> None:
    third = machine.stack.pop()
    second = machine.stack.pop()
    machine.stack[-1] = (machine.stack[-1], second, third)


def _append(machine: _Machine) -> None:
    item = machine.stack.pop()
    _expect(machine.stack[-1], list, "what a value is appended to").append(item)


def _appends(machine: _Machine) -> None:
    items = machine.pop_mark()
    _expect(machine.stack[-1], list, "what values are appended to").extend(items)


def _set_item(machine: _Machine) -> None:
    value = machine.stack.pop()
    key = machine.stack.pop()
    _put_items(machine.stack[-1], [key, value])


def _set_items(machine: _Machine) -> None:
    items = machine.pop_mark()
    _put_items(machine.stack[-1], items)


def _add_items(machine: _Machine) -> None:
    members = map(_check_key, machine.pop_mark())
    _expect(machine.stack[-1], set, "what members are added to").update(members)


def _pop(machine: _Machine) -> None:
    if machine.stack:
        machine.stack.pop()
    else:  # by the format, POP also takes back a mark
        machine.pop_mark()


def _pop_mark(machine: _Machine) -> None:
    machine.pop_mark()


def _global(machine: _Machine) -> None:
    module = _decode(machine.line(), "utf-8")
    machine.push_global(module, _decode(machine.line(), "utf-8"))


def _stack_global(machine: _Machine) -> None:
    name = machine.stack.pop()
    machine.push_global(machine.stack.pop(), name)


def _inst(machine: _Machine) -> None:
    _global(machine)  # to say the name, if it is not on the list
    _refuse("make an instance of a class (INST)")(machine)


def _reduce(machine: _Machine) -> None:
    args = machine.stack.pop()
    machine.stack[-1] = machine.call(machine.stack[-1], args)


def _build(machine: _Machine) -> None:
    state = machine.stack.pop()
    target = machine.stack[-1]
    if type(target) is _Shell:
        target.value = machine.stack[-1] = target.fill(state)
    # State dicts of modules carry an attribute with versions, not needed here.
    elif type(target) is not collections.OrderedDict or type(state) is not dict:
        raise _Refused(f"refuses to set the state of a {_type_name(target)}")


def _bin_pers_id(machine: _Machine) -> None:
    machine.stack[-1] = machine.open_storage(machine.stack[-1])


_OPERATIONS: Final[dict[bytes, _Handler]] = {
    b"\x80": _proto,
    b"\x95": _frame,
    # Constants and numbers.
    b"N": lambda m: m.stack.append(None),
    b"\x88": lambda m: m.stack.append(True),
    b"\x89": lambda m: m.stack.append(False),
    b"K": _bin_int_1,
    b"M": _bin_int_2,
    b"J": lambda m: m.stack.append(m.number(_INT32)),
    b"\x8a": lambda m: m.push_long(m.byte()),
    b"\x8b": lambda m: m.push_long(m.number(_UINT32)),
    b"I": _int,
    b"L": lambda m: m.stack.append(_integer(m.line().removesuffix(b"L"))),
    b"G": lambda m: m.stack.append(m.number(_DOUBLE)),
    b"F": _float,
    # Text. The one string type of Python 2 (U, T) holds names in old torch files.
    b"\x8c": lambda m: m.push_text(m.byte()),
    b"X": lambda m: m.push_text(m.number(_UINT32)),
    b"\x8d": lambda m: m.push_text(m.number(_UINT64)),
    b"U": lambda m: m.push_text(m.byte()),
    b"T": lambda m: m.push_text(m.number(_UINT32)),
    b"S": _refuse("read an escaped string of Python 2 (STRING)"),
    b"V": _unicode,
    # Bytes, and last a bytearray, which is the content of an array.
    b"C": lambda m: m.push_bytes(m.byte()),
    b"B": lambda m: m.push_bytes(m.number(_UINT32)),
    b"\x8e": lambda m: m.push_bytes(m.number(_UINT64)),
    b"\x96": lambda m: m.push_bytes(m.number(_UINT64)),
    b"\x97": _refuse("use a buffer kept outside of the file (NEXT_BUFFER)"),
    b"\x98": _refuse("use a buffer kept outside of the file (READONLY_BUFFER)"),
    # Containers.
    b"(": lambda m: m.push_mark(),
    b")": lambda m: m.stack.append(()),
    b"t": lambda m: m.collect(tuple),
    b"\x85": _tuple_1,
    b"\x86": _tuple_2,
    b"\x87": _tuple_3,
    b"]": lambda m: m.stack.append([]),
    b"l": lambda m: m.collect(list),
    b"a": _append,
    b"e": _appends,
    b"}": lambda m: m.stack.append({}),
    b"d": lambda m: m.collect(lambda items: _put_items({}, items)),
    b"s": _set_item,
    b"u": _set_items,
    b"\x8f": lambda m: m.stack.append(set()),
    b"\x90": _add_items,
    b"\x91": lambda m: m.collect(lambda items: frozenset(map(_check_key, items))),
    # The stack and the memo.
    b"0": _pop,
    b"1": _pop_mark,
    b"2": lambda m: m.stack.append(m.stack[-1]),
    b"g": lambda m: m.push_memo(_integer(m.line())),
    b"h": lambda m: m.push_memo(m.byte()),
    b"j": lambda m: m.push_memo(m.number(_UINT32)),
    b"p": lambda m: m.store(_integer(m.line())),
    b"q": lambda m: m.store(m.byte()),
    b"r": lambda m: m.store(m.number(_UINT32)),
    b"\x94": lambda m: m.store(len(m.memo)),
    # Names, calls and storages.
    b"c": _global,
    b"\x93": _stack_global,
    b"R": _reduce,
    b"b": _build,
    b"Q": _bin_pers_id,
    b"P": _refuse("use a text reference to outside data (PERSID)"),
    b"i": _inst,
    b"o": _refuse("make an instance of a class (OBJ)"),
    b"\x81": _refuse("make an instance of a class (NEWOBJ)"),
    b"\x92": _refuse("make an instance of a class (NEWOBJ_EX)"),
    b"\x82": _refuse("use the extension registry (EXT1)"),
    b"\x83": _refuse("use the extension registry (EXT2)"),
    b"\x84": _refuse("use the extension registry (EXT4)"),
}
_HANDLERS: Final = [_OPERATIONS.get(bytes([code]), _unknown) for code in range(256)]


# --- The names that a file may use ---------------------------------------------

_GLOBALS: Final[dict[tuple[object, object], object]] = {}


def _offer(value: object, *names: str) -> None:
    """Puts a value on the list of names."""
    for name in names:
        module, _, attribute = name.rpartition(".")
        _GLOBALS[module, attribute] = value


def _stand_in(*names: str) -> Callable[[Callable[..., object]], Callable[..., object]]:
    """Makes a function stand in for the ones of other libraries.

    It is given the machine and then the arguments from the file, which can be of
    any type but as many as it has parameters.
    """

    def register(function: Callable[..., object]) -> Callable[..., object]:
        most = function.__code__.co_argcount - 1
        fewest = most - len(function.__defaults__ or ())
        for name in names:
            _offer(_Function(name, function, fewest, most), name)
        return function

    return register


for _name in ("numpy.ndarray", "torch.Tensor", "torch._tensor.Tensor"):
    _offer(_Marker(_name), _name)
_offer(_Marker("torch.nn.Parameter"), "torch.nn.parameter.Parameter")
for _name, _dtype in _TORCH_DTYPES.items():
    _offer(_dtype, f"torch.{_name}")
for _name, _dtype in _EXTENSION_DTYPES.items():
    _offer(_dtype, f"ml_dtypes.{_name}")
for _name, _dtype_name in _TORCH_STORAGES.items():
    _offer(_StorageClass(_TORCH_DTYPES[_dtype_name]), f"torch.{_name}")
_offer(_StorageClass(None), "torch.storage.UntypedStorage", "torch.UntypedStorage")


# Python.


@_stand_in("_codecs.encode")
def _codecs_encode(machine: _Machine, text: object, encoding: object) -> object:
    """Makes bytes of text: how pickles before protocol 3 store bytes."""
    if type(encoding) is not str or encoding not in ("latin1", "latin-1"):
        raise _Refused("encodes text, and not as latin1, which stands for bytes")
    content = _expect(text, str, "text that stands for bytes")
    machine.spend(len(content))
    try:
        return content.encode("latin1")
    except UnicodeEncodeError:
        raise _Refused("has text for bytes that does not stand for bytes") from None


@_stand_in(
    *("builtins.bytes", "__builtin__.bytes"),
    *("builtins.bytearray", "__builtin__.bytearray"),
)
def _bytes(machine: _Machine, content: object = b"") -> object:
    _bytes_of(content)
    return content


@_stand_in("builtins.complex", "__builtin__.complex")
def _complex(machine: _Machine, real: object, imaginary: object) -> object:
    return complex(
        _expect(real, float, "a part of a complex number"),
        _expect(imaginary, float, "a part of a complex number"),
    )


def _members(machine: _Machine, source: object) -> Sequence[Any]:
    """Returns what a container is made of."""
    if type(source) not in _SEQUENCES:
        raise _Refused("makes a set or OrderedDict of something that is not a list")
    assert isinstance(source, (list, tuple))
    machine.spend(len(source))
    return source


@_stand_in("builtins.set", "__builtin__.set")
def _make_set(machine: _Machine, members: object = ()) -> object:
    return set(map(_check_key, _members(machine, members)))


@_stand_in("builtins.frozenset", "__builtin__.frozenset")
def _make_frozenset(machine: _Machine, members: object = ()) -> object:
    return frozenset(map(_check_key, _members(machine, members)))


@_stand_in("collections.OrderedDict")
def _ordered_dict(machine: _Machine, pairs: object = ()) -> object:
    made: collections.OrderedDict[object, object] = collections.OrderedDict()
    for pair in _members(machine, pairs):
        if type(pair) not in _SEQUENCES or len(pair) != 2:
            raise _Refused("makes an OrderedDict of something that is not pairs")
        made[_check_key(pair[0])] = pair[1]
    return made


@_stand_in("collections.Counter")
def _counter(machine: _Machine, counts: object = None) -> object:
    made: collections.Counter[object] = collections.Counter()
    if counts is not None:
        content = _expect(counts, dict, "the content of a Counter")
        machine.spend(len(content))
        made.update(content)
    return made


# NumPy.


@_stand_in("numpy.core.multiarray._reconstruct", "numpy._core.multiarray._reconstruct")
def _numpy_array(
    machine: _Machine, kind: object, shape: object, code: object
) -> object:
    """Promises an array; its shape, dtype and content come with a BUILD."""
    if not isinstance(kind, _Marker) or kind.name != "numpy.ndarray":
        raise _Refused("makes an array of a class other than numpy.ndarray")

    def fill(state: object) -> object:
        if type(state) is not tuple or len(state) != 5:
            raise _Refused("has an array whose state is not that of an array")
        _, shape, dtype, fortran, content = state
        return _array_of(machine, content, dtype, shape, fortran)

    return _Shell(fill)


def _array_of(
    machine: _Machine, content: object, dtype: object, shape: object, fortran: object
) -> np.ndarray:
    if not isinstance(dtype, np.dtype):
        raise _Refused("has an array without a dtype")
    if isinstance(content, list):
        raise _Refused("holds an array of Python objects; arrays hold numbers or text")
    data = _bytes_of(content)
    if dtype.kind == "U":  # the characters are read, and could be so repeatedly
        machine.spend(len(data))
    return _whole_array(
        data,
        dtype,
        _check_sizes(shape, "shape"),
        _expect(fortran, bool, "the memory order of an array"),
    )


@_stand_in("numpy.core.numeric._frombuffer", "numpy._core.numeric._frombuffer")
def _numpy_frombuffer(
    machine: _Machine,
    content: object,
    dtype: object,
    shape: object,
    order: object,
    axes: object = None,
) -> object:
    """Makes an array of bytes: how pickles of protocol 5 store arrays."""
    if type(order) is not str or order not in ("C", "F", "K"):
        raise _Refused("has an array in an unknown memory order")
    array = _array_of(machine, content, dtype, shape, order == "F")
    if order != "K" or axes is None:
        return array
    permutation = _check_sizes(axes, "order of axes")
    if sorted(permutation) != list(range(array.ndim)):
        raise _Refused("has an array with a wrong order of axes")
    return array.transpose(permutation)


@_stand_in("numpy.dtype")
def _numpy_dtype(
    machine: _Machine, code: object, align: object = False, copy: object = True
) -> object:
    """Promises a dtype; its byte order comes with a BUILD."""
    if isinstance(code, np.dtype):
        dtype = code
    elif type(code) is str and _NUMPY_DTYPE_CODE.fullmatch(code):
        dtype = np.dtype(code)
    else:
        name = _quote(code) if type(code) is str else f"of a {_type_name(code)}"
        raise _Refused(f"holds an array of dtype {name}; arrays hold numbers or text")

    def fill(state: object) -> object:
        if type(state) is not tuple or len(state) != 8 or type(state[1]) is not str:
            raise _Refused("has a dtype whose state is not that of a plain dtype")
        _, order, *inner = state[:5]
        if order not in ("<", ">", "|") or any(x is not None for x in inner):
            raise _Refused("has a dtype with fields or of unknown byte order")
        if order == ">" and dtype in _EXTENSION_DTYPES.values():
            raise _Refused(f"has big-endian data of dtype {dtype}")
        return dtype if order == "|" else dtype.newbyteorder(order)

    return _Shell(fill)


@_stand_in("numpy.core.multiarray.scalar", "numpy._core.multiarray.scalar")
def _numpy_scalar(machine: _Machine, dtype: object, content: object) -> object:
    # Text is copied here, and could be so repeatedly.
    machine.spend(len(_bytes_of(content)))
    return _array_of(machine, content, dtype, (), False)[()]


# PyTorch.


@_stand_in("torch.storage._load_from_bytes")
def _load_from_bytes(machine: _Machine, content: object) -> object:
    """Reads the storage that a plain pickle holds as a file within the file."""
    if machine.nested:
        raise _Refused("holds a storage within a storage")
    data = _bytes_of(content)
    machine.spend(len(data))
    return _expect(_read(data, nested=True), _Storage, "a tensor's storage")


def _tensor(
    storage: object,
    dtype: np.dtype[Any] | None,
    offset: object,
    shape: object,
    strides: object,
    metadata: object,
) -> np.ndarray:
    """Builds a tensor as a view of its storage."""
    if not isinstance(storage, _Storage):
        raise _Refused("has a tensor without a storage")
    if metadata is not None:
        flags = _expect(metadata, dict, "the metadata of a tensor")
        set_bits = [
            bit for bit in ("conj", "neg") if flags.get(bit, False) is not False
        ]
        if set_bits:
            raise _Refused(
                f"has a tensor with its lazy {' and '.join(set_bits)} bit set; save "
                "it after resolve_conj() and resolve_neg()"
            )
    dtype = dtype if dtype is not None else storage.dtype
    if dtype is None:
        raise _Refused("has a tensor without a dtype")
    start = _expect_size(offset, "a tensor's offset")
    sizes = _check_sizes(shape, "shape")
    steps = _check_sizes(strides, "strides")
    if storage.data is None:
        return _UNREAD
    return _strided_array(storage.data, dtype, start, sizes, steps)


# Stands for the tensors while it is not known where their storages lie.
_UNREAD: Final[np.ndarray] = np.ndarray(0, buffer=b"")


@_stand_in("torch._utils._rebuild_tensor")
def _rebuild_tensor(
    machine: _Machine, storage: object, offset: object, shape: object, strides: object
) -> object:
    return _tensor(storage, None, offset, shape, strides, None)


@_stand_in("torch._utils._rebuild_tensor_v2")
def _rebuild_tensor_v2(
    machine: _Machine,
    storage: object,
    offset: object,
    shape: object,
    strides: object,
    requires_grad: object,
    hooks: object,
    metadata: object = None,
) -> object:
    return _tensor(storage, None, offset, shape, strides, metadata)


@_stand_in("torch._utils._rebuild_tensor_v3")
def _rebuild_tensor_v3(
    machine: _Machine,
    storage: object,
    offset: object,
    shape: object,
    strides: object,
    requires_grad: object,
    hooks: object,
    dtype: object,
    metadata: object = None,
) -> object:
    if not isinstance(dtype, np.dtype):
        raise _Refused("has a tensor without a dtype")
    return _tensor(storage, dtype, offset, shape, strides, metadata)


@_stand_in("torch._utils._rebuild_parameter")
def _rebuild_parameter(
    machine: _Machine, tensor: object, requires_grad: object, hooks: object
) -> object:
    return _expect(tensor, np.ndarray, "the content of a parameter")


@_stand_in("torch._utils._rebuild_parameter_with_state")
def _rebuild_parameter_with_state(
    machine: _Machine,
    tensor: object,
    requires_grad: object,
    hooks: object,
    state: object,
) -> object:
    return _expect(tensor, np.ndarray, "the content of a parameter")


_TENSOR_BUILDERS: Final = frozenset(
    value
    for (module, _), value in _GLOBALS.items()
    if module == "torch._utils" and isinstance(value, _Function)
)
_TENSOR_CLASSES: Final = frozenset(
    value
    for (module, _), value in _GLOBALS.items()
    if str(module).startswith("torch") and isinstance(value, _Marker)
)


@_stand_in("torch._tensor._rebuild_from_type_v2")
def _rebuild_from_type_v2(
    machine: _Machine, function: object, kind: object, args: object, state: object
) -> object:
    """Builds a tensor that carries attributes, which are left out."""
    if not isinstance(kind, _Marker) or kind not in _TENSOR_CLASSES:
        raise _Refused("has a tensor of a class other than torch.Tensor")
    if not isinstance(function, _Function) or function not in _TENSOR_BUILDERS:
        raise _Refused("builds a tensor with something that builds no tensors")
    return machine.call(function, args)


@_stand_in("torch.Size")
def _torch_size(machine: _Machine, sizes: object) -> object:
    return _check_sizes(sizes, "shape")


@_stand_in("torch.device")
def _torch_device(machine: _Machine, kind: object, index: object = None) -> object:
    name = _expect(kind, str, "the name of a device")
    if index is None:
        return name
    return f"{name[:_MAX_NAME]}:{_expect_size(index, 'the number of a device')}"


# --- The files around the pickles ----------------------------------------------

_FOREIGN: Final = (
    (0, b"\x93NUMPY", "a NumPy .npy file"),
    (0, b"\x89HDF\r\n\x1a\n", "an HDF5 file"),
    (0, b"\x1f\x8b", "gzip-compressed"),
    (257, b"ustar", "a tar archive, as PyTorch wrote before version 0.2"),
)
_ZIP_START: Final = b"PK\x03\x04"


def _read(data: memoryview, nested: bool) -> object:
    """Reads a buffer of any of the three kinds."""
    if data[: len(_ZIP_START)] == _ZIP_START:
        return _read_zip(data, nested)
    for at, magic, what in _FOREIGN:
        if data[at : at + len(magic)] == magic:
            raise _Refused(f"is {what}; allowed are files of torch.save and pickles")
    root, end = _unpickle(data, 0, None, nested)
    if type(root) is int and root == _LEGACY_MAGIC:
        return _read_legacy(data, end, nested)
    if end != len(data):
        raise _Refused(f"goes on for {len(data) - end} bytes after the pickled object")
    return root


def _unpickle(
    data: memoryview, start: int, find_storage: _FindStorage | None, nested: bool
) -> tuple[object, int]:
    """Runs one pickle; returns its object and where it ends."""
    machine = _Machine(data, start, find_storage, frozenset(), nested)
    root = machine.run()
    # Of a nested pickle only the storage is used, whatever else it holds.
    if not nested and (plain_bytes := _check_plain(root)):
        # Long byte strings are rare outside of arrays. Where there are some, a
        # second run makes them bytes, now that it is known which ones to copy.
        del root
        machine = _Machine(data, start, find_storage, plain_bytes, nested)
        root = machine.run()
    return root, machine.pos


def _slice_storage(spec: _StorageId, data: memoryview) -> _Storage:
    """Makes a storage of at least the bytes that it should have."""
    width = spec.kind.width
    if spec.size * width > len(data):
        raise _Refused(
            f"declares {spec.size * width} bytes for storage {_quote(spec.key)} and "
            f"holds {len(data)}"
        )
    offset, size = spec.part if spec.part is not None else (0, spec.size)
    if offset + size > spec.size:
        raise _Refused(f"uses a part outside of storage {_quote(spec.key)}")
    return _Storage(spec.kind.dtype, data[offset * width : (offset + size) * width])


def _read_legacy(data: memoryview, start: int, nested: bool) -> object:
    """Reads what comes after the magic number of the older torch.save format."""
    version, start = _unpickle(data, start, None, nested)
    if type(version) is not int or version != _LEGACY_PROTOCOL:
        raise _Refused("is of an unknown version of the older torch.save format")
    _, start = _unpickle(data, start, None, nested)

    # The storages come after the object, at places that depend on their types,
    # which only the object says. So it is read twice: to learn of them, and then
    # to make it.
    known: dict[str, _StorageId] = {}

    def note(spec: _StorageId) -> _Storage:
        first = known.setdefault(spec.key, spec)
        if (first.kind, first.size) != (spec.kind, spec.size):
            raise _Refused(f"describes storage {_quote(spec.key)} in two ways")
        return _Storage(spec.kind.dtype, None)

    _, end = _unpickle(data, start, note, nested)
    keys, end = _unpickle(data, end, None, nested)
    contents: dict[str, memoryview] = {}
    for key in _expect(keys, list, "the list of storages"):
        if type(key) is not str or key not in known or key in contents:
            raise _Refused("has a list of storages that is not of those it uses")
        spec = known[key]
        if len(data) - end < _INT64.size:
            raise _Refused(f"ends before storage {_quote(key)}")
        (size,) = _INT64.unpack_from(data, end)
        if size != spec.size:
            raise _Refused(f"gives two sizes for storage {_quote(key)}")
        end += _INT64.size
        contents[key] = data[end : end + size * spec.kind.width]
        end += size * spec.kind.width
    if end < len(data):
        raise _Refused(f"goes on for {len(data) - end} bytes after its storages")

    def find(spec: _StorageId) -> _Storage:
        if spec.key not in contents:
            raise _Refused(f"does not hold its storage {_quote(spec.key)}")
        return _slice_storage(spec, contents[spec.key])

    return _unpickle(data, start, find, nested)[0]


def _read_zip(data: memoryview, nested: bool) -> object:
    """Reads the archive that torch.save writes."""
    entries = _zip_entries(data)
    suffix = "/data.pkl"
    roots = [name.removesuffix(suffix) for name in entries if name.endswith(suffix)]
    if len(roots) != 1 or "/" in roots[0]:
        raise _Refused("is a zip archive that torch.save did not write (no data.pkl)")
    (root,) = roots
    if f"{root}/constants.pkl" in entries:
        raise _Refused("is a TorchScript program; allowed are files of torch.save")
    order = entries.get(f"{root}/byteorder")
    if order is not None and order != b"little":
        raise _Refused("was written by a big-endian machine; only little is read")

    def find(spec: _StorageId) -> _Storage:
        content = entries.get(f"{root}/data/{spec.key}")
        if content is None:
            raise _Refused(f"does not hold its storage {_quote(spec.key)}")
        return _slice_storage(spec, content)

    pickled = entries[f"{root}/data.pkl"]
    result, end = _unpickle(pickled, 0, find, nested)
    if end != len(pickled):
        raise _Refused("goes on after the pickled object")
    return result


_ZIP_END: Final = struct.Struct("<4s4H2IH")
_ZIP64_LOCATOR: Final = struct.Struct("<4sIQI")
_ZIP64_END: Final = struct.Struct("<4sQ2H2I4Q")
_ZIP_ENTRY: Final = struct.Struct("<4s6H3I5H2I")
_ZIP_LOCAL: Final = struct.Struct("<4s5H3I2H")
_ZIP_EXTRA: Final = struct.Struct("<2H")
_ZIP_MAX_COMMENT: Final = 0xFFFF
_ZIP_IN_EXTRA: Final = 0xFFFFFFFF  # the real number is in the zip64 extra field
_ZIP_ENCRYPTED: Final = 1


def _zip_entries(data: memoryview) -> dict[str, memoryview]:
    """Maps the names in a zip archive to the content of the entries.

    Only uncompressed entries are taken: torch.save writes no others, and nothing
    that has to be unpacked can grow beyond the file.
    """
    try:
        return dict(_walk_zip(data))
    except struct.error:
        raise _Refused("is a zip archive that ends early or is damaged") from None


def _walk_zip(data: memoryview) -> Iterator[tuple[str, memoryview]]:
    position, end, count = _zip_directory(data)
    names = set()
    for _ in range(count):
        if position + _ZIP_ENTRY.size > end:
            raise _Refused("is a zip archive whose directory is damaged")
        fields = _ZIP_ENTRY.unpack_from(data, position)
        magic, _, _, flags, method, _, _, _, packed, size = fields[:10]
        name_length, extra_length, comment_length, _, _, _, offset = fields[10:]
        name_at = position + _ZIP_ENTRY.size
        extra_at = name_at + name_length
        position = extra_at + extra_length + comment_length
        if magic != b"PK\x01\x02" or position > end:
            raise _Refused("is a zip archive whose directory is damaged")
        name = str(data[name_at:extra_at], "utf-8", "replace")
        if name in names:
            raise _Refused(f"is a zip archive with two entries {_quote(name)}")
        names.add(name)
        size, packed, offset = _zip64_numbers(
            data[extra_at : extra_at + extra_length], [size, packed, offset]
        )
        if method or flags & _ZIP_ENCRYPTED or packed != size:
            raise _Refused(
                f"is a zip archive with {_quote(name)} compressed or encrypted; "
                "torch.save writes neither"
            )
        if offset + _ZIP_LOCAL.size > len(data):
            raise _Refused(f"is a zip archive with {_quote(name)} outside of it")
        magic, *_, local_name, local_extra = _ZIP_LOCAL.unpack_from(data, offset)
        start = offset + _ZIP_LOCAL.size + local_name + local_extra
        if magic != _ZIP_START or start + size > len(data):
            raise _Refused(f"is a zip archive with {_quote(name)} outside of it")
        yield name, data[start : start + size]


def _zip_directory(data: memoryview) -> tuple[int, int, int]:
    """Finds the directory of a zip archive: its start, its end, its entries."""
    tail = bytes(data[-(_ZIP_END.size + _ZIP_MAX_COMMENT) :])
    found = tail.rfind(b"PK\x05\x06")
    if found < 0:
        raise _Refused("is a zip archive that is cut short (it has no directory)")
    at = len(data) - len(tail) + found
    *_, count, size, start, comment_length = _ZIP_END.unpack_from(data, at)
    if at + _ZIP_END.size + comment_length != len(data):
        raise _Refused("is a zip archive that does not end with its directory")
    locator = at - _ZIP64_LOCATOR.size
    if locator >= 0 and data[locator : locator + 4] == b"PK\x06\x07":
        _, _, at, _ = _ZIP64_LOCATOR.unpack_from(data, locator)
        if at + _ZIP64_END.size > locator:
            raise _Refused("is a zip archive whose directory is damaged")
        magic, *_, count, size, start = _ZIP64_END.unpack_from(data, at)
        if magic != b"PK\x06\x06":
            raise _Refused("is a zip archive whose directory is damaged")
    if start + size > at:
        raise _Refused("is a zip archive whose directory is damaged")
    return start, start + size, count


def _zip64_numbers(extra: memoryview, numbers: list[int]) -> list[int]:
    """Replaces the numbers that are too large for the directory itself."""
    while len(extra) >= _ZIP_EXTRA.size and _ZIP_IN_EXTRA in numbers:
        kind, length = _ZIP_EXTRA.unpack_from(extra)
        field = extra[_ZIP_EXTRA.size : _ZIP_EXTRA.size + length]
        extra = extra[_ZIP_EXTRA.size + length :]
        if kind == 1:
            for i, number in enumerate(numbers):
                if number == _ZIP_IN_EXTRA:
                    (numbers[i],) = _UINT64.unpack_from(field)
                    field = field[_UINT64.size :]
            break
    return numbers


# --- The public functions ------------------------------------------------------


def load(path: str | os.PathLike[str]) -> object:
    """Reads a file of ``torch.save`` or a plain pickle of tensors and arrays.

    Args:
      path: The file. Its kind is told by its content, not by its name.

    Returns:
      What was saved, as nested Python objects: dicts (also `OrderedDict` and
      `Counter`), lists, tuples, sets, text, bytes, numbers, booleans and None.
      Every tensor, parameter and array in them is a read-only NumPy array, mostly
      a view of the mapped file; NumPy's scalars stay such. A `torch.dtype` becomes
      a NumPy dtype, a `torch.Size` a tuple, a `torch.device` text and a bytearray
      bytes. Gradients, hooks and attributes of tensors are left out. A view that
      torch expanded keeps its strides of zero, so a copy of it can be far larger
      than the file.

    Raises:
      FileFormatError: If the file is damaged, or asks for anything but that.
      UserError: If the file cannot be opened.
    """
    with _blame(os.fsdecode(path)):
        return _read(_map(os.fsdecode(path)), nested=False)


def read_safetensors(path: str | os.PathLike[str]) -> dict[str, np.ndarray]:
    """Reads a safetensors file.

    Args:
      path: The file.

    Returns:
      The tensors by name, as read-only views of the mapped file.

    Raises:
      FileFormatError: If the file is damaged or is not a safetensors file.
      UserError: If the file cannot be opened.
    """
    with _blame(os.fsdecode(path)):
        data = _map(os.fsdecode(path))
        if len(data) < _UINT64.size:
            raise _Refused("is too short for a safetensors file")
        (length,) = _UINT64.unpack_from(data)
        if length > min(len(data) - _UINT64.size, _MAX_JSON_HEADER):
            raise _Refused(f"is no safetensors file: its header has {length} bytes")
        content = data[_UINT64.size + length :]
        header = _parse_header(bytes(data[_UINT64.size : _UINT64.size + length]))
        header.pop("__metadata__", None)
        spans = []
        tensors = {}
        for name, entry in header.items():
            start, end, tensors[name] = _safetensor(name, entry, content)
            spans.append((start, end))
        # The format has neither gaps nor overlaps, so this finds cut files too.
        position = 0
        for start, end in sorted(spans):
            if start != position:
                raise _Refused("has gaps or overlaps between its tensors")
            position = end
        if position != len(content):
            raise _Refused(f"has {len(content) - position} bytes in no tensor")
        return tensors


def _parse_header(text: bytes) -> dict[str, object]:
    def unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
        made = dict(pairs)
        if len(made) != len(pairs):
            raise _Refused("has two entries of one name in its header")
        return made

    try:
        header = json.loads(text.decode(), object_pairs_hook=unique)
    except (ValueError, RecursionError):
        raise _Refused("is no safetensors file: its header is not JSON") from None
    if type(header) is not dict:
        raise _Refused("is no safetensors file: its header is not a JSON object")
    return header


def _safetensor(
    name: str, entry: object, content: memoryview
) -> tuple[int, int, np.ndarray]:
    """Views one tensor; returns where it starts and ends, and the tensor."""
    if type(entry) is not dict or entry.keys() != {"dtype", "shape", "data_offsets"}:
        raise _Refused(f"describes tensor {_quote(name)} in an unknown way")
    kind = _expect(entry["dtype"], str, "a dtype")
    if kind not in _SAFETENSORS_DTYPES:
        raise _Refused(
            f"has tensor {_quote(name)} of dtype {_quote(kind)}; allowed are "
            f"{', '.join(_SAFETENSORS_DTYPES)}"
        )
    shape = _check_sizes(entry["shape"], "shape")
    offsets = _check_sizes(entry["data_offsets"], "place")
    if len(offsets) != 2 or not offsets[0] <= offsets[1] <= len(content):
        raise _Refused(f"has tensor {_quote(name)} outside of the file")
    start, end = offsets
    dtype = _SAFETENSORS_DTYPES[kind]
    return start, end, _whole_array(content[start:end], dtype, shape, False)
