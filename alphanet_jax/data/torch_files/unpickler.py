"""The machine that runs a pickle, with nothing in reach but a table of names."""

import struct
import sys
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final, TypeVar

from alphanet_jax.data.torch_files.tensors import (
    FindStorage,
    Storage,
    StorageClass,
    StorageId,
)
from alphanet_jax.data.torch_files.values import (
    LONG_BYTES,
    MAX_NAME,
    Function,
    LongBytes,
    Marker,
    Placeholder,
    Shell,
    check_key,
    find_placeholder,
)
from alphanet_jax.data.untrusted import (
    Allowance,
    Refused,
    expect,
    expect_size,
    quote,
)

# The magic number takes ten bytes and labels take eight at most. Python's time for
# a long integer grows with the square of its length.
_MAX_INT_BYTES: Final = 64
_Set = TypeVar("_Set", set[object], frozenset[object])
_MAX_TUPLE_KEYS: Final = 4096
_MIN_SETS: Final = 1000
_BYTES_OF_A_SET: Final = 4  # of the file
# Of memory, about.
BYTES_OF_A_MARK: Final = 80
_BYTES_OF_BYTES: Final = 33
_BYTES_OF_A_NAME: Final = 64
_BYTES_OF_AN_ITEM: Final = 130  # of a dict, with its key
_BYTES_OF_A_SLOT: Final = 9  # of a list or stack


class Machine:
    """The state of a pickle that runs, with nothing in reach but a table of names.

    Attributes:
      data: The buffer.
      pos: Where the machine reads next.
      allowance: What is left of the memory that the file may take.
      read_nested: Reads a byte string of the pickle that is a file itself; None where
        the buffer is such a byte string.
      stack: The values above the newest mark.
    """

    def __init__(
        self,
        data: memoryview,
        start: int,
        *,
        names: Mapping[tuple[object, object], object],
        find_storage: FindStorage | None,
        plain_bytes: frozenset[int],
        allowance: Allowance,
        read_nested: "Callable[[Machine, memoryview], object] | None",
    ) -> None:
        self.data = data
        self.pos = start
        self.allowance = allowance
        self.read_nested = read_nested
        self.stack: list[Any] = []
        self._memo: list[Any] = []
        self._more_memo: dict[int, Any] = {}  # numbers with gaps before them
        self._below: list[list[Any]] = []  # the stacks under the open marks
        self._names = names
        self._find_storage = find_storage
        self._plain_bytes = plain_bytes
        # An honest file holds what it works on, and works on it twice at most: to
        # make text into bytes, and then to read those. The rest is leeway.
        self._budget = 4 * len(data)
        self._tuple_keys = 0
        self._sets = 0

    def spend(self, amount: int) -> None:
        """Counts work that the file could ask for again and again."""
        self._budget -= amount
        if self._budget < 0:
            raise Refused("repeats its own content too often")

    def check_key(self, key: object) -> object:
        """Returns a dict key or set member, if it is cheap to hash and to compare."""
        if type(key) is tuple:
            # The hash of a tuple of numbers can be foreseen: a dict of many that
            # collide takes time that grows with the square of their number.
            self._tuple_keys += 1
            if self._tuple_keys > _MAX_TUPLE_KEYS:
                raise Refused(
                    f"has more than {_MAX_TUPLE_KEYS} tuples as dict keys or members"
                )
        return check_key(key)

    def make_set(
        self, kind: Callable[[Iterable[object]], _Set], members: Iterable[object] = ()
    ) -> _Set:
        """Makes a set, which takes far more memory than the operation in the file."""
        self._sets += 1
        if self._sets > _MIN_SETS + len(self.data) // _BYTES_OF_A_SET:
            raise Refused("has more sets than a file of its size can fill")
        made = kind(map(self.check_key, members))
        self.allowance.take(sys.getsizeof(made))
        return made

    def call(self, function: object, args: object) -> object:
        """Calls one of the functions of the table with arguments from the file.

        Nothing else is called: what is made by a name that is not in the table, or of
        a placeholder, is a placeholder.
        """
        if type(function) is Placeholder:
            return instance(function, args)
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
        text = decode(self.skip(length), "utf-8")
        self.allowance.take(sys.getsizeof(text))
        self.stack.append(text)

    def push_bytes(self, length: int) -> None:
        """Pushes the next so many bytes."""
        start, content = self.pos, self.skip(length)
        if length < LONG_BYTES or start in self._plain_bytes:
            self.allowance.take(_BYTES_OF_BYTES + length)
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
        self.allowance.take(2 * length)
        self.stack.append(int.from_bytes(content, "little", signed=True))

    def push_mark(self) -> None:
        """Starts a new stack above the present one."""
        self._below.append(self.stack)
        self.stack = []

    def pop_mark(self) -> list[Any]:
        """Goes back to the stack under the newest mark; returns what was above."""
        items = self.stack
        self.stack = self._below.pop()
        self.allowance.left += BYTES_OF_A_MARK
        return items

    def collect(self, make: Callable[[list[Any]], object]) -> None:
        """Replaces the newest mark, and all above it, by one value made of it."""
        items = self.pop_mark()
        self.allowance.take(_BYTES_OF_A_SLOT * len(items))
        self.stack.append(make(items))

    def store(self, key: int) -> None:
        """Numbers the topmost value."""
        if key < len(self._memo):
            self._memo[key] = self.stack[-1]
        elif key == len(self._memo):
            self._memo.append(self.stack[-1])
            self._more_memo.pop(key, None)
        else:
            self.allowance.take(_BYTES_OF_AN_ITEM)
            self._more_memo[key] = self.stack[-1]

    def store_next(self) -> None:
        """Numbers the topmost value by how many have a number."""
        self.store(len(self._memo) + len(self._more_memo))

    def push_memo(self, key: int) -> None:
        """Pushes a numbered value once more."""
        if 0 <= key < len(self._memo):
            value = self._memo[key]
        elif key in self._more_memo:
            value = self._more_memo[key]
        else:
            raise Refused(f"refers to a value {key} that was never stored")
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
            self.allowance.take(_BYTES_OF_A_NAME + sys.getsizeof(full))
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


def decode(data: bytes | memoryview, encoding: str) -> str:
    """Decodes text from a file."""
    try:
        # Python's own pickles let lone surrogates through.
        return str(data, encoding, "surrogatepass")
    except UnicodeDecodeError:
        raise Refused(f"holds text that is not {encoding}") from None


# Functions of Python that make an instance of the class that is their first argument.
_MAKERS: Final = frozenset(
    f"{module}.{name}"
    for module in ("copyreg", "copy_reg")
    for name in ("_reconstructor", "__newobj__", "__newobj_ex__")
)


def instance(maker: Placeholder, args: object) -> Placeholder:
    """Makes the placeholder of what an unknown class or function would make."""
    if type(args) is not tuple:
        raise Refused(f"calls {quote(maker.name)} without a tuple of arguments")
    if maker.name in _MAKERS and args and type(args[0]) is Placeholder:
        maker = args[0]
    return Placeholder(maker.name)
