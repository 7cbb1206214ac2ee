"""Members of zip archives, changed where they lie; all other bytes stay."""

import struct
import zipfile
import zlib
from pathlib import Path
from typing import BinaryIO, Final, NamedTuple

from alphanet_jax.data.untrusted import Refused, quote

__all__ = ["DAMAGED", "Member", "find_members", "renew_checksums", "replace_compressed"]

_LOCAL: Final = struct.Struct("<4s5H3I2H")
_CENTRAL: Final = struct.Struct("<4s6H3I5H2I")
_EXTRA: Final = struct.Struct("<2H")
_DESCRIPTOR: Final = b"PK\x07\x08"
_END: Final = b"PK\x05\x06"
_HAS_DESCRIPTOR: Final = 1 << 3
_IN_EXTRA: Final = 0xFFFFFFFF  # the real number is in the zip64 extra field
# Where numbers are in the headers, from their first byte.
_LOCAL_CRC: Final = 14
_LOCAL_PACKED: Final = 18
_CENTRAL_CRC: Final = 16
_CENTRAL_PACKED: Final = 20
_CENTRAL_OFFSET: Final = 42
_END_DIRECTORY: Final = 16
_CHUNK: Final = 1 << 24
# What reading a damaged archive raises; of an offset that is no place, OSError.
DAMAGED: Final = (
    zipfile.BadZipFile,
    struct.error,
    ValueError,
    NotImplementedError,
    OSError,
)


class Member(NamedTuple):
    """A member of a zip archive, and where its parts begin in the file."""

    name: str
    method: int  # as `zipfile.ZIP_STORED`
    crc: int
    header: int  # the header before the content
    start: int  # the content, as it is stored
    stop: int
    entry: int  # what the directory at the end of the archive has of it
    has_descriptor: bool  # whether the checksum comes after the content


def find_members(path: Path) -> list[Member]:
    """Lists the members of a zip archive, in the order of its directory.

    Raises:
      Refused: If it is not a zip archive, or damaged.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            infos, position = archive.infolist(), archive.start_dir
        members = []
        with path.open("rb") as file:
            for info in infos:
                file.seek(position)
                fields = _CENTRAL.unpack(file.read(_CENTRAL.size))
                file.seek(info.header_offset)
                *_, name_length, extra_length = _LOCAL.unpack(file.read(_LOCAL.size))
                start = info.header_offset + _LOCAL.size + name_length + extra_length
                members.append(
                    Member(
                        name=info.filename,
                        method=info.compress_type,
                        crc=info.CRC,
                        header=info.header_offset,
                        start=start,
                        stop=start + info.compress_size,
                        entry=position,
                        has_descriptor=bool(info.flag_bits & _HAS_DESCRIPTOR),
                    )
                )
                position += _CENTRAL.size + sum(fields[10:13])
    except DAMAGED as error:
        raise Refused(f"is not a zip archive that is read ({error})") from None
    return members


def renew_checksums(file: BinaryIO, members: list[Member]) -> None:
    """Writes the checksums of uncompressed members whose content was changed.

    Args:
      file: The archive, open for reading and writing.
      members: Those that were changed.
    """

    def read(at: int, length: int) -> bytes:
        file.seek(at)
        return file.read(length)

    for member in members:
        crc = 0
        for at in range(member.start, member.stop, _CHUNK):
            crc = zlib.crc32(read(at, min(_CHUNK, member.stop - at)), crc)
        old = struct.pack("<I", member.crc)
        places = [member.entry + _CENTRAL_CRC]
        # With a checksum after the content, the header may have zero for it.
        header, after = member.header + _LOCAL_CRC, member.stop
        if not member.has_descriptor or read(header, 4) == old:
            places.append(header)
        if member.has_descriptor:
            after += 4 if read(after, 4) == _DESCRIPTOR else 0
            if read(after, 4) == old:
                places.append(after)
        for place in places:
            file.seek(place)
            file.write(struct.pack("<I", crc))


def replace_compressed(path: Path, name: str, content: bytes) -> None:
    """Replaces what a deflated member holds by something of the same length.

    The bytes of all other members stay as they are.

    Args:
      path: The archive, which is written anew.
      name: Name of the member.
      content: What it is to hold.

    Raises:
      Refused: If the archive is of an unusual form.
    """
    members = find_members(path)
    (member,) = (each for each in members if each.name == name)
    if member.method != zipfile.ZIP_DEFLATED or member.has_descriptor:
        raise Refused(f"has {quote(name)} compressed in a way that is not written")
    old = path.read_bytes()
    packer = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    packed = packer.compress(content) + packer.flush()
    growth = len(packed) - (member.stop - member.start)
    directory = members[0].entry
    header = bytearray(old[member.header : member.start])
    struct.pack_into("<I", header, _LOCAL_CRC, zlib.crc32(content))
    _set_packed_size(header, len(packed))
    tail = bytearray(old[directory:])
    for each in members:
        at = each.entry - directory
        if each is member:
            struct.pack_into("<I", tail, at + _CENTRAL_CRC, zlib.crc32(content))
            struct.pack_into("<I", tail, at + _CENTRAL_PACKED, len(packed))
        (offset,) = struct.unpack_from("<I", tail, at + _CENTRAL_OFFSET)
        if offset == _IN_EXTRA or each.stop - each.start >= _IN_EXTRA:
            raise Refused("is a zip archive of more than 4 GB; save it uncompressed")
        if each.header > member.header:
            struct.pack_into("<I", tail, at + _CENTRAL_OFFSET, offset + growth)
    end = tail.rfind(_END)
    (offset,) = struct.unpack_from("<I", tail, end + _END_DIRECTORY)
    if offset == _IN_EXTRA:
        raise Refused("is a zip archive of more than 4 GB; save it uncompressed")
    struct.pack_into("<I", tail, end + _END_DIRECTORY, offset + growth)
    with path.open("wb") as file:
        file.write(old[: member.header] + header + packed)
        file.write(old[member.stop : directory] + tail)


def _set_packed_size(header: bytearray, size: int) -> None:
    """Writes the compressed size into the header before the content."""
    *_, packed, unpacked, name_length, extra_length = _LOCAL.unpack_from(header)
    if packed != _IN_EXTRA:
        struct.pack_into("<I", header, _LOCAL_PACKED, size)
        return
    at = _LOCAL.size + name_length
    while at + _EXTRA.size <= _LOCAL.size + name_length + extra_length:
        kind, length = _EXTRA.unpack_from(header, at)
        if kind == 1:
            # The uncompressed size comes first, where it is there.
            place = at + _EXTRA.size + (8 if unpacked == _IN_EXTRA else 0)
            struct.pack_into("<Q", header, place, size)
            return
        at += _EXTRA.size + length
    raise Refused("is a zip archive whose headers are damaged")
