"""TensorBoard's event files: records made many at a time, and cut where a run goes on.

A record is the length of a message (8 bytes), a checksum of that (4), the message, and
its checksum (4). A message is an `Event` of Protocol Buffers: a time, a summary of
named values, and a step.

Records that look alike are written into one array, a row for each, and their checksums
taken together. One by one, in Python, they cost more than the training they tell of.

Notation: N records of one kind, L bytes of a message.
"""

import functools
import itertools
import math
import socket
import struct
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from alphanet_jax import files

__all__ = [
    "append",
    "events",
    "events_of_files",
    "find",
    "histogram_values",
    "keep",
    "name_file",
    "num_buckets",
    "scalar_values",
    "summary_event",
    "version_event",
]

# What a message is put together from: bytes that all rows share, and columns of bytes,
# with shape `[N, width]`.
Parts = Sequence[bytes | np.ndarray]

_POLYNOMIAL = 0x82F63B78  # of CRC-32C, its bits in reverse
_MASK_DELTA = 0xA282EAD8
_BLOCK_BYTES = 2**20  # of messages at a time, which bounds the memory
_MOST_BUCKETS = 30  # as many as TensorBoard shows


def name_file(directory: Path, mark: str) -> Path:
    """Names an event file as TensorBoard expects it, with a mark at its end."""
    host = socket.gethostname()
    return directory / f"events.out.tfevents.{int(time.time()):010}.{host}.{mark}"


def find(directory: Path) -> list[Path]:
    """Lists the event files of a run, in the order in which TensorBoard reads them."""
    return sorted(directory.glob("events.out.tfevents.*"))


def append(path: Path, content: bytes) -> None:
    """Appends records to a file, all of them or none.

    Raises:
      OSError: If they cannot be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("ab", buffering=0) as file:
        size = file.tell()
        try:
            view = memoryview(content)
            while view:
                view = view[file.write(view) :]
        except OSError:
            file.truncate(size)
            raise


def version_event() -> bytes:
    """Makes the record that every file begins with."""
    text = b"brain.Event:2"
    return _frame(
        np.frombuffer(_now() + _field(3, text), np.uint8)[None],
    ).tobytes()


def summary_event(summary: bytes) -> bytes:
    """Makes a record of a serialized `Summary`, without a step."""
    message = _now() + _field(5, summary)
    return _frame(np.frombuffer(message, np.uint8)[None]).tobytes()


def events(parts: Parts, times: np.ndarray, steps: np.ndarray) -> bytes:
    """Makes records of values that are alike but for their numbers.

    Args:
      parts: The values of a summary, from `scalar_values` and `histogram_values`.
      times: When each was, in seconds of `time.time`; with shape `[N]`.
      steps: Their steps, in ascending order; with shape `[N]`.
    """
    (records,) = events_of_files(
        parts, times, steps, files=np.zeros(len(steps), np.int64), num_files=1
    )
    return records


def events_of_files(
    parts: Parts,
    times: np.ndarray,
    steps: np.ndarray,
    *,
    files: np.ndarray,
    num_files: int,
) -> list[bytes]:
    """Makes records as `events` does, for several files at once.

    Args:
      parts: The values of a summary, from `scalar_values` and `histogram_values`.
      times: When each was, in seconds of `time.time`; with shape `[N]`.
      steps: Their steps, in ascending order within a file; with shape `[N]`.
      files: Numbers of the files that they are for, ascending; with shape `[N]`.
      num_files: Number of files.

    Returns:
      The records of each file.
    """
    size = sum(p.shape[1] if isinstance(p, np.ndarray) else len(p) for p in parts)
    head: Parts = (b"\x09", _columns(times, "<f8"), b"\x2a" + _varint(size))
    written: list[list[bytes]] = [[] for _ in range(num_files)]
    # Steps of as many bytes make messages of one length.
    widths = _varint_widths(steps)
    for width in np.unique(widths):
        (rows,) = np.nonzero(widths == width)
        for some in _blocks(rows, size):
            tail: Parts = (b"\x10", _varints(steps[some], int(width)))
            whole = [
                part[some] if isinstance(part, np.ndarray) else part
                for part in (*head, *parts)
            ]
            frames = _frame(_fill([*whole, *tail], len(some)))
            ends = np.searchsorted(files[some], np.arange(num_files + 1))
            for number, (begin, end) in enumerate(itertools.pairwise(ends.tolist())):
                if begin < end:
                    written[number].append(frames[begin:end].tobytes())
    return [b"".join(each) for each in written]


def scalar_values(tag: str, values: np.ndarray) -> Parts:
    """Makes a value of a summary for each of some numbers, with shape `[N]`."""
    name = _field(1, tag.encode())
    return (
        b"\x0a" + _varint(len(name) + 5) + name + b"\x15",
        _columns(values, "<f4"),
    )


def num_buckets(count: int) -> int:
    """Returns how many buckets a histogram of so many numbers has."""
    return min(_MOST_BUCKETS, int(np.ceil(2 * count ** (1 / 3))))


def histogram_values(tag: str, values: np.ndarray) -> Parts:
    """Makes a histogram of each row of numbers that are finite.

    Buckets are equally wide, as many as the Rice rule says but 30 at most, and one for
    a column that is constant.

    Args:
      tag: The name.
      values: The numbers, with shape `[N, M]`.
    """
    numbers = values.astype(np.float64)
    least, most = numbers.min(axis=1), numbers.max(axis=1)
    size = numbers.shape[1]
    buckets = 1 if (least == most).all() else num_buckets(size)
    width = (most - least)[:, None]
    with np.errstate(invalid="ignore"):
        place = np.where(width > 0, (numbers - least[:, None]) / width, 0) * buckets
    index = np.minimum(place.astype(np.int64), buckets - 1)
    index += buckets * np.arange(len(numbers))[:, None]
    counts = np.bincount(index.ravel(), minlength=buckets * len(numbers))
    limits = least[:, None] + width * np.arange(1, buckets + 1) / buckets
    limits[:, -1] = most
    packed = _varint(8 * buckets)
    name = _field(1, tag.encode())
    inner = 5 * 9 + 2 * (1 + len(packed) + 8 * buckets)
    return (
        b"\x0a" + _varint(len(name) + 1 + len(_varint(inner)) + inner) + name,
        b"\x2a" + _varint(inner) + b"\x09",
        _columns(least, "<f8"),
        b"\x11",
        _columns(most, "<f8"),
        b"\x19" + struct.pack("<d", size) + b"\x21",
        _columns(numbers.sum(axis=1), "<f8"),
        b"\x29",
        _columns((numbers**2).sum(axis=1), "<f8"),
        b"\x32" + packed,
        _columns(limits, "<f8"),
        b"\x3a" + packed,
        _columns(counts.reshape(-1, buckets), "<f8"),
    )


def keep(path: Path, wanted: Callable[[Any], bool]) -> list[Any]:
    """Removes from a file what is not wanted, and what is damaged at its end.

    Args:
      path: The file, which is replaced where anything goes; and removed where no
        values stay.
      wanted: Tells of an `Event` with values whether it stays.

    Returns:
      The events with values that stay.
    """
    content = path.read_bytes()
    left, told = [], []
    for record, event in _read(content):
        if not event.summary.value:
            left.append(record)
        elif wanted(event):
            left.append(record)
            told.append(event)
    if not told:
        path.unlink()
    elif sum(map(len, left)) < len(content):
        with files.replacing(path) as temporary:
            temporary.write_bytes(b"".join(left))
    return told


def _read(content: bytes) -> Iterator[tuple[bytes, Any]]:
    """Yields the records of a file, and their events, up to one that is not whole."""
    # Imported here: it takes a while, and most runs write no logs.
    from tensorboardX.proto.event_pb2 import Event

    for record in _whole_records(content):
        yield record, Event.FromString(record[12:-4])


def _whole_records(content: bytes) -> list[bytes]:
    """Cuts a file into its records, up to one whose checksums are not right."""
    records = []
    at = 0
    while at + 16 <= len(content):
        end = at + 16 + int(struct.unpack_from("<Q", content, at)[0])
        if end > len(content):
            break
        records.append(content[at:end])
        at = end
    sizes = np.asarray([len(record) for record in records])
    right = np.ones(len(records), bool)
    for size in np.unique(sizes):
        (rows,) = np.nonzero(sizes == size)
        for some in _blocks(rows, size):
            found = np.frombuffer(b"".join(records[i] for i in some), np.uint8)
            found = found.reshape(-1, size)
            right[some] = (found == _frame(found[:, 12:-4])).all(axis=1)
    return records if right.all() else records[: int(right.argmin())]


# --- Bytes ----------------------------------------------------------------------------


def _now() -> bytes:
    return b"\x09" + struct.pack("<d", time.time())


def _varint(number: int) -> bytes:
    found = bytearray()
    while number > 127:
        found.append(number & 127 | 128)
        number >>= 7
    return bytes([*found, number])


def _varint_widths(numbers: np.ndarray) -> np.ndarray:
    """Counts the bytes that each number takes."""
    widths = np.ones(len(numbers), np.int64)
    left = numbers >> 7
    while left.any():
        widths += left > 0
        left = left >> 7
    return widths


def _varints(numbers: np.ndarray, width: int) -> np.ndarray:
    """Writes numbers that take so many bytes, with shape `[N, width]`."""
    digits = numbers[:, None] >> (7 * np.arange(width)) & 127
    digits[:, :-1] |= 128
    return digits.astype(np.uint8)


def _field(number: int, content: bytes) -> bytes:
    return _varint(number << 3 | 2) + _varint(len(content)) + content


def _columns(values: np.ndarray, dtype: str) -> np.ndarray:
    """Returns the bytes of numbers: a row for each along the first axis."""
    width = math.prod(values.shape[1:])
    rows = np.ascontiguousarray(values, dtype).reshape(len(values), width)
    return rows.view(np.uint8)


def _fill(parts: Parts, num_rows: int) -> np.ndarray:
    columns = [
        part
        if isinstance(part, np.ndarray)
        else np.broadcast_to(np.frombuffer(part, np.uint8), (num_rows, len(part)))
        for part in parts
    ]
    return np.concatenate(columns, axis=1)


def _blocks(rows: np.ndarray, size: int) -> list[np.ndarray]:
    """Cuts numbers of rows of so many bytes each."""
    return np.array_split(rows, -(-len(rows) * int(size) // _BLOCK_BYTES))


def _frame(messages: np.ndarray) -> np.ndarray:
    """Makes records of messages of one length, with shape `[N, L + 16]`."""
    count, length = messages.shape
    size = np.frombuffer(struct.pack("<Q", length), np.uint8)[None]
    return np.concatenate(
        [
            np.broadcast_to(size, (count, 8)),
            np.broadcast_to(_columns(_checksums(size), "<u4"), (count, 4)),
            messages,
            _columns(_checksums(messages), "<u4"),
        ],
        axis=1,
    )


def _checksums(messages: np.ndarray) -> np.ndarray:
    """Computes the masked CRC-32C of each message, of 4 bytes or more.

    The sum is linear: what a byte adds to it depends on the byte and on how many come
    after it. That the sum does not begin at 0 is the same as other first bytes.
    """
    length = messages.shape[1]
    table = _checksum_table(1 << (length - 1).bit_length())
    first = messages.copy()
    first[:, :4] ^= 0xFF
    parts = table[np.arange(length - 1, -1, -1), first]
    total = ~np.bitwise_xor.reduce(parts, axis=1)
    masked: np.ndarray = ((total >> 15) | (total << 17)) + np.uint32(_MASK_DELTA)
    return masked


@functools.cache
def _checksum_table(length: int) -> np.ndarray:
    """Tabulates what a byte adds to the sum, by how many bytes come after it."""
    table = np.empty((length, 256), np.uint32)
    row = np.arange(256, dtype=np.uint32)
    for _ in range(8):
        row = np.where(row & 1, row >> 1 ^ np.uint32(_POLYNOMIAL), row >> 1)
    table[0] = first = row
    for place in range(1, length):
        row = row >> 8 ^ first[row & 0xFF]
        table[place] = row
    return table
