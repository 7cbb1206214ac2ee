"""What lies around the pickles: the zip archive and the older stream of torch.save."""

import struct
import sys
from collections.abc import Iterator
from typing import Final

from alphanet_jax.data.torch_files import operations
from alphanet_jax.data.torch_files.names import NAMES
from alphanet_jax.data.torch_files.tensors import (
    FindStorage,
    Storage,
    StorageId,
    slice_storage,
)
from alphanet_jax.data.torch_files.unpickler import Machine
from alphanet_jax.data.torch_files.values import check_plain
from alphanet_jax.data.untrusted import Allowance, Refused, expect, quote

_LEGACY_MAGIC: Final = 0x1950A86A20F9469CFC6C
_LEGACY_PROTOCOL: Final = 1001
_INT64: Final = struct.Struct("<q")
_UINT64: Final = struct.Struct("<Q")
_FOREIGN: Final = (
    (0, b"\x93NUMPY", "a NumPy .npy file"),
    (0, b"\x89HDF\r\n\x1a\n", "an HDF5 file"),
    (0, b"\x1f\x8b", "gzip-compressed"),
    (257, b"ustar", "a tar archive, as PyTorch wrote before version 0.2"),
)
_ZIP_START: Final = b"PK\x03\x04"


def read(data: memoryview, *, parent: Machine | None = None) -> object:
    """Reads a buffer of any of the three kinds.

    Args:
      data: The buffer.
      parent: The machine of the pickle that it is a byte string of: a storage.

    Returns:
      What was saved.

    Raises:
      Refused: If it is damaged, or holds anything but plain data.
    """
    allowance = Allowance(len(data)) if parent is None else parent.allowance
    nested = parent is not None
    if bytes(data[: len(_ZIP_START)]) == _ZIP_START:
        return _read_zip(data, allowance, nested)
    for at, magic, what in _FOREIGN:
        if data[at : at + len(magic)] == magic:
            raise Refused(f"is {what}; allowed are files of torch.save and pickles")
    root, end = _unpickle(data, 0, None, allowance, nested)
    if type(root) is int and root == _LEGACY_MAGIC:
        return _read_legacy(data, end, allowance, nested)
    if end != len(data):
        raise Refused(f"goes on for {len(data) - end} bytes after the pickled object")
    return root


def _unpickle(
    data: memoryview,
    start: int,
    find_storage: FindStorage | None,
    allowance: Allowance,
    nested: bool,
) -> tuple[object, int]:
    """Runs one pickle; returns its object and where it ends."""

    def run(plain_bytes: frozenset[int]) -> tuple[object, int]:
        machine = Machine(
            data,
            start,
            names=NAMES,
            find_storage=find_storage,
            plain_bytes=plain_bytes,
            allowance=allowance,
            read_nested=None if nested else _read_nested,
        )
        return operations.run(machine), machine.pos

    root, end = run(frozenset())
    # Of a nested pickle only the storage is used, whatever else it holds.
    if not nested and (plain_bytes := check_plain(root)):
        # Long byte strings are rare outside of arrays. Where there are some, a
        # second run makes them bytes, now that it is known which ones to copy.
        del root
        allowance.renew()
        root, end = run(plain_bytes)
    return root, end


def _read_nested(machine: Machine, data: memoryview) -> object:
    """Reads a byte string of a pickle that is a file itself."""
    return read(data, parent=machine)


def _read_legacy(
    data: memoryview, start: int, allowance: Allowance, nested: bool
) -> object:
    """Reads what comes after the magic number of the older torch.save format."""
    version, start = _unpickle(data, start, None, allowance, nested)
    if type(version) is not int or version != _LEGACY_PROTOCOL:
        raise Refused("is of an unknown version of the older torch.save format")
    _, start = _unpickle(data, start, None, allowance, nested)

    # The storages come after the object, at places that depend on their types, which
    # only the object has. So it is read twice: to find them, and then to make it.
    known: dict[str, StorageId] = {}

    def note(spec: StorageId) -> Storage:
        first = known.setdefault(spec.key, spec)
        if (first.kind, first.size) != (spec.kind, spec.size):
            raise Refused(f"describes storage {quote(spec.key)} in two ways")
        return Storage(spec.kind.dtype, None)

    _, end = _unpickle(data, start, note, allowance, nested)
    if not nested:
        allowance.renew()
    keys, end = _unpickle(data, end, None, allowance, nested)
    contents: dict[str, memoryview] = {}
    for key in expect(keys, list, "the list of storages"):
        if type(key) is not str or key not in known or key in contents:
            raise Refused("has a list of storages that is not of those it uses")
        spec = known[key]
        if len(data) - end < _INT64.size:
            raise Refused(f"ends before storage {quote(key)}")
        (size,) = _INT64.unpack_from(data, end)
        if size != spec.size:
            raise Refused(f"has two sizes for storage {quote(key)}")
        end += _INT64.size
        contents[key] = data[end : end + size * spec.kind.width]
        end += size * spec.kind.width
    if end < len(data):
        raise Refused(f"goes on for {len(data) - end} bytes after its storages")

    def find(spec: StorageId) -> Storage:
        if spec.key not in contents:
            raise Refused(f"does not hold its storage {quote(spec.key)}")
        return slice_storage(spec, contents[spec.key])

    return _unpickle(data, start, find, allowance, nested)[0]


def _read_zip(data: memoryview, allowance: Allowance, nested: bool) -> object:
    """Reads the archive that torch.save writes."""
    entries = _zip_entries(data, allowance)
    suffix = "/data.pkl"
    roots = [name.removesuffix(suffix) for name in entries if name.endswith(suffix)]
    if len(roots) != 1 or "/" in roots[0]:
        raise Refused("is a zip archive that torch.save did not write (no data.pkl)")
    (root,) = roots
    if f"{root}/constants.pkl" in entries:
        raise Refused("is a TorchScript program; allowed are files of torch.save")
    order = entries.get(f"{root}/byteorder")
    if order is not None and bytes(order) != b"little":
        raise Refused("was written by a big-endian machine; only little is read")

    def find(spec: StorageId) -> Storage:
        content = entries.get(f"{root}/data/{spec.key}")
        if content is None:
            raise Refused(f"does not hold its storage {quote(spec.key)}")
        return slice_storage(spec, content)

    pickled = entries[f"{root}/data.pkl"]
    result, end = _unpickle(pickled, 0, find, allowance, nested)
    if end != len(pickled):
        raise Refused("goes on after the pickled object")
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
_BYTES_OF_AN_ENTRY: Final = 500  # of memory: a view, and its place in dicts


def _zip_entries(data: memoryview, allowance: Allowance) -> dict[str, memoryview]:
    """Maps the names in a zip archive to the content of the entries.

    Only uncompressed entries are taken: torch.save writes no others, and nothing
    that has to be unpacked can grow beyond the file.
    """
    try:
        return dict(_walk_zip(data, allowance))
    except struct.error:
        raise Refused("is a zip archive that ends early or is damaged") from None


def _walk_zip(
    data: memoryview, allowance: Allowance
) -> Iterator[tuple[str, memoryview]]:
    """Yields the name and the content of every entry."""
    position, end, count = _zip_directory(data)
    names = set()
    for _ in range(count):
        if position + _ZIP_ENTRY.size > end:
            raise Refused("is a zip archive whose directory is damaged")
        fields = _ZIP_ENTRY.unpack_from(data, position)
        magic, _, _, flags, method, _, _, _, packed, size = fields[:10]
        name_length, extra_length, comment_length, _, _, _, offset = fields[10:]
        name_at = position + _ZIP_ENTRY.size
        extra_at = name_at + name_length
        position = extra_at + extra_length + comment_length
        if magic != b"PK\x01\x02" or position > end:
            raise Refused("is a zip archive whose directory is damaged")
        name = str(data[name_at:extra_at], "utf-8", "replace")
        allowance.take(_BYTES_OF_AN_ENTRY + 2 * sys.getsizeof(name))
        if name in names:
            raise Refused(f"is a zip archive with two entries {quote(name)}")
        names.add(name)
        size, packed, offset = _zip64_numbers(
            data[extra_at : extra_at + extra_length], [size, packed, offset]
        )
        if method or flags & _ZIP_ENCRYPTED or packed != size:
            raise Refused(
                f"is a zip archive with {quote(name)} compressed or encrypted; "
                "torch.save writes neither"
            )
        if offset + _ZIP_LOCAL.size > len(data):
            raise Refused(f"is a zip archive with {quote(name)} outside of it")
        magic, *_, local_name, local_extra = _ZIP_LOCAL.unpack_from(data, offset)
        start = offset + _ZIP_LOCAL.size + local_name + local_extra
        if magic != _ZIP_START or start + size > len(data):
            raise Refused(f"is a zip archive with {quote(name)} outside of it")
        yield name, data[start : start + size]


def _zip_directory(data: memoryview) -> tuple[int, int, int]:
    """Finds the directory of a zip archive: its start, its end, its entries."""
    tail = bytes(data[-(_ZIP_END.size + _ZIP_MAX_COMMENT) :])
    found = tail.rfind(b"PK\x05\x06")
    if found < 0:
        raise Refused("is a zip archive that is cut short (it has no directory)")
    at = len(data) - len(tail) + found
    *_, count, size, start, comment_length = _ZIP_END.unpack_from(data, at)
    if at + _ZIP_END.size + comment_length != len(data):
        raise Refused("is a zip archive that does not end with its directory")
    locator = at - _ZIP64_LOCATOR.size
    if locator >= 0 and bytes(data[locator : locator + 4]) == b"PK\x06\x07":
        _, _, at, _ = _ZIP64_LOCATOR.unpack_from(data, locator)
        if at + _ZIP64_END.size > locator:
            raise Refused("is a zip archive whose directory is damaged")
        magic, *_, count, size, start = _ZIP64_END.unpack_from(data, at)
        if magic != b"PK\x06\x06":
            raise Refused("is a zip archive whose directory is damaged")
    if start + size > at:
        raise Refused("is a zip archive whose directory is damaged")
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
