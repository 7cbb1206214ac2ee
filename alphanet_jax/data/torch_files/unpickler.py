"""The machine that runs a pickle, with nothing in reach but a table of names."""

import collections
import re
import struct
from collections.abc import Callable, Mapping
from typing import Any, Final

from alphanet_jax.data.torch_files.tensors import (
    FindStorage,
    Storage,
    StorageClass,
    StorageId,
)
from alphanet_jax.data.torch_files.values import (
    DICTS,
    LONG_BYTES,
    MAX_NAME,
    PLAIN_DATA,
    Function,
    LongBytes,
    Marker,
    Placeholder,
    Shell,
    check_key,
    find_placeholder,
)
from alphanet_jax.data.untrusted import Refused, expect, expect_size, quote

_HIGHEST_PICKLE_PROTOCOL: Final = 5
# The magic number takes ten bytes and labels take eight at most. Python's time for
# a long integer grows with the square of its length.
_MAX_INT_BYTES: Final = 64
_MAX_INT_DIGITS: Final = 160
_Handler = Callable[["Machine"], None]
_UINT16: Final = struct.Struct("<H")
_INT32: Final = struct.Struct("<i")
_UINT32: Final = struct.Struct("<I")
_INT64: Final = struct.Struct("<q")
_UINT64: Final = struct.Struct("<Q")
_DOUBLE: Final = struct.Struct(">d")
_DECIMAL: Final = re.compile(rb"-?[0-9]{1,%d}" % _MAX_INT_DIGITS)
_STOP: Final = ord(".")


class Machine:
    """Runs one pickle over a buffer, with nothing in reach but a table of names.

    Attributes:
      data: The buffer.
      pos: Where the machine reads next.
      read_nested: Reads a byte string of the pickle that is a file itself; None where
        the buffer is such a byte string.
      stack: The values above the newest mark.
      memo: The values that the pickle has numbered for later use.
    """

    def __init__(
        self,
        data: memoryview,
        start: int,
        *,
        names: Mapping[tuple[object, object], object],
        find_storage: FindStorage | None,
        plain_bytes: frozenset[int],
        read_nested: Callable[[memoryview], object] | None,
    ) -> None:
        self.data = data
        self.pos = start
        self.read_nested = read_nested
        self.stack: list[Any] = []
        self.memo: dict[int, Any] = {}
        self._below: list[list[Any]] = []  # the stacks under the open marks
        self._names = names
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
            raise Refused(f"ends early or is damaged near byte {self.pos}") from None

    def spend(self, amount: int) -> None:
        """Counts work that the file could ask for again and again."""
        self._budget -= amount
        if self._budget < 0:
            raise Refused("repeats its own content too often")

    def call(self, function: object, args: object) -> object:
        """Calls one of the functions of the table with arguments from the file.

        Nothing else is called: what is made by a name that is not in the table, or of
        a placeholder, is a placeholder.
        """
        if type(function) is Placeholder:
            return _instance(function, args)
        if not isinstance(function, Function):
            name = function.name if isinstance(function, Marker) else None
            raise Refused(f"calls {name or 'a ' + type(function).__name__}")
        if type(args) is not tuple:
            raise Refused(f"calls {function.name} without a tuple of arguments")
        if not function.fewest <= len(args) <= function.most:
            raise Refused(f"calls {function.name} with {len(args)} arguments")
        if unknown := find_placeholder(args):
            return Placeholder(unknown.name)
        return function.run(self, *args)

    def skip(self, length: int) -> memoryview:
        """Steps over a number of bytes, which must be there, and returns them."""
        left = len(self.data) - self.pos
        if length > left:
            raise Refused(
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

    def line(self, limit: int = MAX_NAME) -> bytes:
        """Reads up to the next newline, which is not part of the result."""
        size = 64
        while True:
            chunk = bytes(self.data[self.pos : self.pos + size])
            end = chunk.find(b"\n")
            if end >= 0:
                self.pos += end + 1
                return chunk[:end]
            if len(chunk) < size or size > limit:
                raise Refused(f"lacks the end of a line after byte {self.pos}")
            size *= 4

    def push_text(self, length: int) -> None:
        """Pushes text that takes the next so many bytes."""
        self.stack.append(_decode(self.skip(length), "utf-8"))

    def push_bytes(self, length: int) -> None:
        """Pushes the next so many bytes."""
        start, content = self.pos, self.skip(length)
        if length < LONG_BYTES or start in self._plain_bytes:
            self.stack.append(bytes(content))
        else:
            self.stack.append(LongBytes(start, content))

    def push_long(self, length: int) -> None:
        """Pushes a whole number that takes the next so many bytes."""
        if length > _MAX_INT_BYTES:
            raise Refused(
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
            raise Refused(f"refers to a value {key} that was never stored")
        value = self.memo[key]
        if type(value) is Shell:
            value = value.value
            if value is None:
                raise Refused("uses an array or dtype inside of itself")
        self.stack.append(value)

    def push_global(self, module: object, name: object) -> None:
        """Pushes what stands for a name: a placeholder, if it is not on the list."""
        if type(module) is not str or type(name) is not str:
            raise Refused("asks for a name that is not text")
        if (module, name) in self._names:
            self.stack.append(self._names[module, name])
        else:
            full = f"{module[:MAX_NAME]}.{name[:MAX_NAME]}"
            self.spend(len(full))  # two short operations make a new long name
            self.stack.append(Placeholder(full))

    def open_storage(self, spec: object) -> Storage | Placeholder:
        """Finds the storage that a persistent id stands for.

        Old files refer to the classes of modules in this way, too; these and storages
        of unknown classes are placeholders.
        """
        if self._find_storage is None:
            raise Refused("refers to data outside of itself (a persistent id)")
        if unknown := find_placeholder(spec):
            return Placeholder(unknown.name)
        if type(spec) is not tuple or len(spec) not in (5, 6):
            raise Refused("refers to its storages in an unknown way")
        tag, kind, key, _, size, *rest = spec
        if expect(tag, str, "a reference's kind") != "storage":
            raise Refused(f"refers to a {quote(tag)}; only storages are allowed")
        if not isinstance(kind, StorageClass):
            raise Refused("refers to a storage without a storage class")
        if len(expect(key, str, "a storage's name")) > MAX_NAME:
            raise Refused("refers to a storage by a very long name")
        part = None
        if rest and rest[0] is not None:
            view = expect(rest[0], tuple, "a part of a storage")
            if len(view) != 3:
                raise Refused("refers to a part of a storage in an unknown way")
            part = (
                expect_size(view[1], "the offset of a storage's part"),
                expect_size(view[2], "the size of a storage's part"),
            )
        size = expect_size(size, "the size of a storage")
        return self._find_storage(StorageId(kind, key, size, part))


def _decode(data: bytes | memoryview, encoding: str) -> str:
    try:
        # Python's own pickles let lone surrogates through.
        return str(data, encoding, "surrogatepass")
    except UnicodeDecodeError:
        raise Refused(f"holds text that is not {encoding}") from None


def _integer(text: bytes) -> int:
    if not _DECIMAL.fullmatch(text):
        raise Refused(
            f"has {quote(text)} for a whole number; it can have {_MAX_INT_DIGITS} "
            "digits and a minus sign"
        )
    return int(text)


# Functions of Python that make an instance of the class that is their first argument.
_MAKERS: Final = frozenset(
    f"{module}.{name}"
    for module in ("copyreg", "copy_reg")
    for name in ("_reconstructor", "__newobj__", "__newobj_ex__")
)


def _instance(maker: Placeholder, args: object) -> Placeholder:
    """Makes the placeholder of what an unknown class or function would make."""
    if type(args) is not tuple:
        raise Refused(f"calls {quote(maker.name)} without a tuple of arguments")
    if maker.name in _MAKERS and args and type(args[0]) is Placeholder:
        maker = args[0]
    return Placeholder(maker.name)


def _put_items(target: object, items: list[Any]) -> object:
    """Puts alternating keys and values into a dict and returns it."""
    if type(target) is Placeholder:
        return target
    if type(target) not in DICTS or len(items) % 2:
        raise Refused("sets items of something that is not a dict")
    assert isinstance(target, dict)
    for i in range(0, len(items), 2):
        target[check_key(items[i])] = items[i + 1]
    return target


def _unknown(machine: Machine) -> None:
    at = machine.pos - 1
    raise Refused(
        f"has no pickle operation 0x{machine.data[at]:02x} at byte {at}: it is "
        "damaged, or neither a file of torch.save nor a pickle"
    )


def _refusal(what: str) -> Refused:
    return Refused(f"refuses to {what}: this is not needed for {PLAIN_DATA}")


def _refuse(what: str) -> _Handler:
    def handler(machine: Machine) -> None:
        raise _refusal(what)

    return handler


def _proto(machine: Machine) -> None:
    protocol = machine.byte()
    if protocol > _HIGHEST_PICKLE_PROTOCOL:
        raise Refused(f"is a pickle of protocol {protocol}, newer than 5")


def _frame(machine: Machine) -> None:
    length = machine.number(_UINT64)
    if length > len(machine.data) - machine.pos:
        raise Refused(f"declares a frame of {length} bytes, more than it holds")


def _bin_int_1(machine: Machine) -> None:
    machine.stack.append(machine.data[machine.pos])
    machine.pos += 1


def _bin_int_2(machine: Machine) -> None:
    machine.stack.append(_UINT16.unpack_from(machine.data, machine.pos)[0])
    machine.pos += 2


def _int(machine: Machine) -> None:
    text = machine.line()
    is_bool = text in (b"00", b"01")
    machine.stack.append(text == b"01" if is_bool else _integer(text))


def _float(machine: Machine) -> None:
    text = machine.line()
    try:
        machine.stack.append(float(text))
    except ValueError:
        raise Refused(f"has {quote(text)} for a number") from None


def _unicode(machine: Machine) -> None:
    line = machine.line(len(machine.data))
    machine.stack.append(_decode(line, "raw-unicode-escape"))


def _tuple_1(machine: Machine) -> None:
    machine.stack[-1] = (machine.stack[-1],)


def _tuple_2(machine: Machine) -> None:
    second = machine.stack.pop()
    machine.stack[-1] = (machine.stack[-1], second)


def _tuple_3(machine: Machine) -> None:
    third = machine.stack.pop()
    second = machine.stack.pop()
    machine.stack[-1] = (machine.stack[-1], second, third)


def _append(machine: Machine) -> None:
    item = machine.stack.pop()
    if type(machine.stack[-1]) is not Placeholder:
        expect(machine.stack[-1], list, "what a value is appended to").append(item)


def _appends(machine: Machine) -> None:
    items = machine.pop_mark()
    if type(machine.stack[-1]) is not Placeholder:
        expect(machine.stack[-1], list, "what values are appended to").extend(items)


def _set_item(machine: Machine) -> None:
    value = machine.stack.pop()
    key = machine.stack.pop()
    _put_items(machine.stack[-1], [key, value])


def _set_items(machine: Machine) -> None:
    items = machine.pop_mark()
    _put_items(machine.stack[-1], items)


def _add_items(machine: Machine) -> None:
    members = map(check_key, machine.pop_mark())
    if type(machine.stack[-1]) is Placeholder:
        return
    expect(machine.stack[-1], set, "what members are added to").update(members)


def _pop(machine: Machine) -> None:
    if machine.stack:
        machine.stack.pop()
    else:  # by the format, POP also takes back a mark
        machine.pop_mark()


def _pop_mark(machine: Machine) -> None:
    machine.pop_mark()


def _global(machine: Machine) -> None:
    module = _decode(machine.line(), "utf-8")
    machine.push_global(module, _decode(machine.line(), "utf-8"))


def _stack_global(machine: Machine) -> None:
    name = machine.stack.pop()
    machine.push_global(machine.stack.pop(), name)


def _make_instance(machine: Machine, kind: object, args: object, name: str) -> None:
    """Pushes a placeholder of an unknown class; there are no known ones to make."""
    if type(kind) is not Placeholder:
        raise _refusal(f"make an instance of a class ({name})")
    machine.stack.append(_instance(kind, args))


def _inst(machine: Machine) -> None:
    args = tuple(machine.pop_mark())
    _global(machine)
    _make_instance(machine, machine.stack.pop(), args, "INST")


def _obj(machine: Machine) -> None:
    kind, *args = machine.pop_mark() or [None]
    _make_instance(machine, kind, tuple(args), "OBJ")


def _new_obj(machine: Machine) -> None:
    args = machine.stack.pop()
    _make_instance(machine, machine.stack.pop(), args, "NEWOBJ")


def _new_obj_ex(machine: Machine) -> None:
    machine.stack.pop()  # arguments by name
    args = machine.stack.pop()
    _make_instance(machine, machine.stack.pop(), args, "NEWOBJ_EX")


def _reduce(machine: Machine) -> None:
    args = machine.stack.pop()
    machine.stack[-1] = machine.call(machine.stack[-1], args)


def _build(machine: Machine) -> None:
    state = machine.stack.pop()
    target = machine.stack[-1]
    if type(target) is Placeholder:
        return  # of an unknown object nothing is kept
    if type(target) is Shell:
        unknown = find_placeholder(state)
        filled = Placeholder(unknown.name) if unknown else target.fill(state)
        target.value = machine.stack[-1] = filled
    # State dicts of modules carry an attribute with versions, not needed here.
    elif type(target) is not collections.OrderedDict or type(state) is not dict:
        raise Refused(f"refuses to set the state of a {type(target).__name__}")


def _bin_pers_id(machine: Machine) -> None:
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
    b"\x91": lambda m: m.collect(lambda items: frozenset(map(check_key, items))),
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
    b"o": _obj,
    b"\x81": _new_obj,
    b"\x92": _new_obj_ex,
    b"\x82": _refuse("use the extension registry (EXT1)"),
    b"\x83": _refuse("use the extension registry (EXT2)"),
    b"\x84": _refuse("use the extension registry (EXT4)"),
}
_HANDLERS: Final = [_OPERATIONS.get(bytes([code]), _unknown) for code in range(256)]
