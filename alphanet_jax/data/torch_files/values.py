"""What the unpickler keeps on its stack, and which of it is plain data in the end."""

import collections
from collections.abc import Callable
from typing import Any, Final, NamedTuple, NoReturn

import numpy as np

from alphanet_jax.data.untrusted import Refused, expect, quote

PLAIN_DATA: Final = "plain data (tensors, arrays, numbers, text, lists, dicts)"
# From this length on, byte strings stay views of the file until it is clear that
# they are data in their own right and not the content of an array.
LONG_BYTES: Final = 1 << 12
MAX_NAME: Final = 512  # characters of a name in a file
_MAX_KEY_PARTS: Final = 64
_MAX_ARGUMENTS: Final = 16


class Function(NamedTuple):
    """A function of `names` under the name that files call it by."""

    name: str
    run: Callable[..., object]
    fewest: int
    most: int


class Marker(NamedTuple):
    """A class that is only ever an argument."""

    name: str


class Placeholder:
    """What stands for an object, or a name, that is not on the list.

    It has the name and nothing else: nothing is imported, called or kept for it. Each
    is a value of its own, hashed and compared by identity, as any plain object is.
    """

    __slots__ = ("name",)

    def __init__(self, name: str) -> None:
        self.name = name

    def __repr__(self) -> str:
        return f"<{self.name}, not loaded>"


class LongBytes(NamedTuple):
    """A long byte string that is still in the file."""

    start: int
    data: memoryview


class Shell:
    """An array or a dtype whose content comes with a later BUILD."""

    def __init__(self, fill: Callable[[object], object]) -> None:
        self.fill = fill
        self.value: object = None


# What to save instead of a whole object, by the first part of its class's name.
_INSTEAD: Final = {
    "torch": "torch.save(model.state_dict(), FILE)",
    "sklearn": "numpy.savez(FILE, coef_=model.coef_, intercept_=model.intercept_)",
}


def advice(name: str) -> str:
    """Says what to save instead of an object of a class."""
    instead = _INSTEAD.get(name.partition(".")[0], _INSTEAD["torch"])
    return f"save arrays instead of objects, such as {instead}"


def refuse_name(name: str) -> NoReturn:
    """Refuses a name that is not on the list, by that name."""
    raise Refused(
        f"refuses to load {quote(name)}: the file asks for something that is not "
        f"on the list of {PLAIN_DATA}; {advice(name)}"
    )


def find_placeholder(values: object) -> Placeholder | None:
    """Finds the first placeholder in a tuple, or the value itself if it is one.

    Only the first items are looked at: no function or state has as many, and a file
    could have a long tuple looked at again and again.
    """
    if type(values) is tuple:
        few = values[:_MAX_ARGUMENTS]
        return next((value for value in few if type(value) is Placeholder), None)
    return values if type(values) is Placeholder else None


def bytes_of(value: object) -> memoryview:
    """Returns the content of a byte string of any length."""
    if isinstance(value, LongBytes):
        return value.data
    return memoryview(expect(value, bytes, "the content of an array"))


def _is_scalar_key(key: object) -> bool:
    if type(key) is int:
        # Python's hash of an integer repeats only beyond 61 bits: with a limit
        # near that no file can make a dict slow with keys that all collide.
        return -(1 << 63) <= key < 1 << 64
    if isinstance(key, (str, bytes)):
        return len(key) < LONG_BYTES
    # A placeholder is hashed by where it lies in memory, which no file decides.
    return type(key) in _KEY_TYPES or type(key) is Placeholder


def check_key(key: object) -> object:
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
    raise Refused(
        f"holds a {type(key).__name__} as dict key or set member; those can be "
        "numbers, short text and short flat tuples of them"
    )


_KEY_TYPES: Final = frozenset((float, bool, type(None)))
DICTS: Final = frozenset((dict, collections.OrderedDict, collections.Counter))
SEQUENCES: Final = frozenset((list, tuple))
# The members of sets were checked on their way in.
_LEAVES: Final = _KEY_TYPES | {
    *(int, complex, str, bytes, set, frozenset, np.ndarray, Placeholder)
}


def check_plain(root: object) -> frozenset[int]:
    """Refuses a result that holds anything but plain data and placeholders in it.

    Args:
      root: What the machine returned.

    Returns:
      Where the long byte strings start that are data in their own right.
    """
    if type(root) is Placeholder:
        refuse_name(root.name)
    long_bytes = set()
    seen = set()
    pending: list[Any] = [root]
    while pending:
        value = pending.pop()
        kind = type(value)
        if kind in _LEAVES:
            continue
        if kind in SEQUENCES or kind in DICTS:
            if id(value) not in seen:
                seen.add(id(value))
                pending.extend(value.values() if kind in DICTS else value)
        elif isinstance(value, LongBytes):
            long_bytes.add(value.start)
        elif isinstance(value, (Function, Marker)):
            refuse_name(value.name)
        elif not isinstance(value, (np.generic, np.dtype)):
            raise Refused(f"holds a bare {type(value).__name__}, not {PLAIN_DATA}")
    return frozenset(long_bytes)
