"""The operations of pickles, and the loop that runs them on a `Machine`."""

import collections
import re
import struct
import sys
from collections.abc import Callable
from typing import Any, Final

from alphanet_jax.data.torch_files.unpickler import (
    BYTES_OF_A_MARK,
    Machine,
    decode,
    instance,
)
from alphanet_jax.data.torch_files.values import (
    DICTS,
    PLAIN_DATA,
    Placeholder,
    Shell,
    find_placeholder,
)
from alphanet_jax.data.untrusted import Refused, expect, quote

__all__ = ["run"]

_HIGHEST_PICKLE_PROTOCOL: Final = 5
_MAX_INT_DIGITS: Final = 160
_Handler = Callable[[Machine], None]
_UINT16: Final = struct.Struct("<H")
_INT32: Final = struct.Struct("<i")
_UINT32: Final = struct.Struct("<I")
_INT64: Final = struct.Struct("<q")
_UINT64: Final = struct.Struct("<Q")
_DOUBLE: Final = struct.Struct(">d")
_DECIMAL: Final = re.compile(rb"-?[0-9]{1,%d}" % _MAX_INT_DIGITS)
_STOP: Final = ord(".")


def run(machine: Machine) -> object:
    """Runs a pickle to its end and returns the object that it makes."""
    data, allowance = machine.data, machine.allowance
    try:
        while True:
            code = data[machine.pos]
            machine.pos += 1
            allowance.left -= _COSTS[code]
            if allowance.left < 0:
                allowance.refuse()
            if code == _STOP:
                return machine.stack.pop()
            _HANDLERS[code](machine)
    except (IndexError, struct.error):
        # A read past the end, or a pop from an empty stack.
        raise Refused(f"ends early or is damaged near byte {machine.pos}") from None


def _integer(text: bytes) -> int:
    if not _DECIMAL.fullmatch(text):
        raise Refused(
            f"has {quote(text)} for a whole number; it can have {_MAX_INT_DIGITS} "
            "digits and a minus sign"
        )
    return int(text)


def _put_items(machine: Machine, target: object, items: list[Any]) -> object:
    """Puts alternating keys and values into a dict and returns it."""
    if type(target) is Placeholder:
        return target
    if type(target) not in DICTS or len(items) % 2:
        raise Refused("sets items of something that is not a dict")
    assert isinstance(target, dict)
    before = sys.getsizeof(target)
    for i in range(0, len(items), 2):
        target[machine.check_key(items[i])] = items[i + 1]
    machine.allowance.take(sys.getsizeof(target) - before)
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
    text = decode(machine.line(len(machine.data)), "raw-unicode-escape")
    machine.allowance.take(sys.getsizeof(text))
    machine.stack.append(text)


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
    machine.allowance.take(_SLOT * len(items))
    if type(machine.stack[-1]) is not Placeholder:
        expect(machine.stack[-1], list, "what values are appended to").extend(items)


def _set_item(machine: Machine) -> None:
    value = machine.stack.pop()
    key = machine.stack.pop()
    _put_items(machine, machine.stack[-1], [key, value])


def _set_items(machine: Machine) -> None:
    items = machine.pop_mark()
    _put_items(machine, machine.stack[-1], items)


def _add_items(machine: Machine) -> None:
    members = map(machine.check_key, machine.pop_mark())
    if type(machine.stack[-1]) is Placeholder:
        return
    target = expect(machine.stack[-1], set, "what members are added to")
    before = sys.getsizeof(target)
    target.update(members)
    machine.allowance.take(sys.getsizeof(target) - before)


def _pop(machine: Machine) -> None:
    if machine.stack:
        machine.stack.pop()
    else:  # by the format, POP also takes back a mark
        machine.pop_mark()


def _pop_mark(machine: Machine) -> None:
    machine.pop_mark()


def _global(machine: Machine) -> None:
    module = decode(machine.line(), "utf-8")
    machine.push_global(module, decode(machine.line(), "utf-8"))


def _stack_global(machine: Machine) -> None:
    name = machine.stack.pop()
    machine.push_global(machine.stack.pop(), name)


def _make_instance(machine: Machine, kind: object, args: object, name: str) -> None:
    """Pushes a placeholder of an unknown class; there are no known ones to make."""
    if type(kind) is not Placeholder:
        raise _refusal(f"make an instance of a class ({name})")
    machine.stack.append(instance(kind, args))


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
    b"d": lambda m: m.collect(lambda items: _put_items(m, {}, items)),
    b"s": _set_item,
    b"u": _set_items,
    b"\x8f": lambda m: m.stack.append(m.make_set(set)),
    b"\x90": _add_items,
    b"\x91": lambda m: m.collect(lambda items: m.make_set(frozenset, items)),
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
    b"\x94": lambda m: m.store_next(),
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
# What an operation makes takes about so many bytes of memory; what depends on its
# arguments is counted where it is made. A container takes more when the result is
# walked.
_SLOT: Final = 9  # of a stack, which is a list that grows
_WALKED: Final = 70
_BYTES: Final[dict[bytes, int]] = {
    b"MJIL\x8a\x8b": 40,
    b"GF": 24,
    b"(": BYTES_OF_A_MARK,
    b"]": 72 + _WALKED,
    b"}": 80 + _WALKED,
    b"tl": 72 + _WALKED,
    b"d": 80 + _WALKED,
    b"\x85\x86\x87": 80 + _WALKED,
    b"\x81\x92io": 64,
    # The memory of calls: views of the file, or what is to become one.
    b"RQb": 600,
}
_COSTS: Final = [
    _SLOT + sum(size for codes, size in _BYTES.items() if code in codes)
    for code in range(256)
]
_HANDLERS: Final = [_OPERATIONS.get(bytes([code]), _unknown) for code in range(256)]
