"""Storages of tensors, and the archives that hold them."""

import io
import struct
import zipfile

import numpy as np
import pytest
from torch_pickles import (
    check_equal,
    file_reader,
    number,
    tensor_pickle,
    tensor_zip,
    text,
    zipped,
)

from alphanet_jax.data.torch_files import FileFormatError


@pytest.fixture
def read(tmp_path):
    return file_reader(tmp_path / "file")


@pytest.mark.parametrize(
    ("parts", "wanted"),
    [
        ({}, [[0, 1, 2], [3, 4, 5]]),
        ({"shape": b"K\x03K\x02\x86", "strides": b"K\x01K\x03\x86"},
         [[0, 3], [1, 4], [2, 5]]),
        ({"shape": b"K\x02\x85", "strides": b"K\x03\x85", "offset": b"K\x02"}, [2, 5]),
        ({"shape": b")", "strides": b")", "offset": b"K\x05"}, 5),
        ({"shape": b"K\x04\x85", "strides": b"K\0\x85", "offset": b"K\x05"}, [5] * 4),
        ({"shape": b"K\x01\x85", "strides": number(2**62) + b"\x85"}, [0]),
        ({"shape": b"K\0\x85", "strides": b"K\x01\x85", "offset": b"K\x63"}, []),
        ({"more": b"}"}, [[0, 1, 2], [3, 4, 5]]),
        ({"size": b"K\x06N"}, [[0, 1, 2], [3, 4, 5]]),
    ],
)  # fmt: skip
def test_strided_views(parts, wanted, read):
    check_equal(read(tensor_zip(**parts)), np.array(wanted, np.float32))


@pytest.mark.parametrize(
    ("parts", "match"),
    [
        ({"offset": b"K\x01"}, "reaches to element 6 of a storage of 6"),
        ({"offset": b"J\xff\xff\xff\xff"}, "-1 for a tensor's offset"),
        ({"offset": number(2**64)}, "offset"),
        ({"offset": b"\x88"}, "offset"),
        ({"strides": b"K\x03J\xff\xff\xff\xff\x86"}, "strides"),
        ({"strides": b"K\x03\x85"}, "differ in length"),
        ({"strides": number(2**62) + b"K\x01\x86"}, "reaches"),
        ({"shape": number(2**62) * 2 + b"\x86"}, "too large"),
        (
            {"shape": number(2**62) + b"K\x02\x86", "strides": b"K\0K\0\x86"},
            "too large",
        ),
        ({"shape": b"](K\x02]e"}, "not a size"),
        ({"size": number(2**62)}, "declares"),
        ({"size": b"K\x07"}, "declares 28 bytes for storage '0' and holds 24"),
        ({"size": b"N"}, "size of a storage"),
        ({"size": b"K\x06" + text("view") + b"K\x02K\x05\x87"}, "part outside"),
        ({"kind": b"UntypedStorage"}, "without a dtype"),
        ({"kind": b"QUInt8Storage"}, "'torch.QUInt8Storage'"),
        ({"kind": b"float32"}, "storage class"),
        ({"function": b"_rebuild_tensor_v3", "more": b"N"}, "without a dtype"),
        ({"function": b"_rebuild_tensor"}, "7 arguments|6 arguments"),
        ({"function": b"_rebuild_qtensor"}, "_rebuild_qtensor"),
        ({"more": b"}" + text("conj") + b"\x88s"}, "conj"),
        ({"more": b"}" + text("neg") + b"\x88s"}, "neg"),
        ({"more": b"K\x01"}, "metadata"),
    ],
)
def test_bad_views(parts, match, read):
    with pytest.raises(FileFormatError, match=match):
        read(tensor_zip(**parts))


def test_part_of_a_storage(read):
    content = tensor_zip(
        size=b"K\x06" + text("view") + b"K\x02K\x03\x87",
        shape=b"K\x03\x85",
        strides=b"K\x01\x85",
    )
    check_equal(read(content), np.array([2, 3, 4], np.float32))


def test_references_that_are_not_storages(read):
    content = tensor_pickle().replace(b"X\x07\0\0\0storage", b"X\x06\0\0\0module")
    with pytest.raises(FileFormatError, match="'module'"):
        read(zipped({"a/data.pkl": content}))
    with pytest.raises(FileFormatError, match="does not hold its storage '0'"):
        read(zipped({"a/data.pkl": tensor_pickle()}))


@pytest.mark.parametrize(
    ("entries", "options", "match"),
    [
        ({"a/other": b""}, {}, "no data.pkl"),
        ({"a/data.pkl": b"N.", "b/data.pkl": b"N."}, {}, "no data.pkl"),
        ({"a/data.pkl": b"N.", "a/constants.pkl": b"N."}, {}, "TorchScript"),
        ({"a/data.pkl": b"N.", "a/byteorder": b"big"}, {}, "big-endian"),
        ({"a/data.pkl": b"N.N"}, {}, "goes on"),
        ({"a/data.pkl": b"N."}, {"compression": zipfile.ZIP_DEFLATED}, "compressed"),
    ],
)
def test_other_zip_archives(entries, options, match, read):
    with pytest.raises(FileFormatError, match=match):
        read(zipped(entries, **options))


def test_zip_that_points_outside_of_itself(read):
    whole = zipped({"a/data.pkl": b"N.", "a/byteorder": b"little"})
    assert read(whole) is None
    entry = whole.index(b"PK\x01\x02")
    end = whole.index(b"PK\x05\x06")
    for at, layout in (
        *((entry + 42, "<I"), (entry + 20, "<I"), (entry + 24, "<I")),
        *((entry + 28, "<H"), (entry + 30, "<H"), (entry + 32, "<H")),
        *((end + 12, "<I"), (end + 16, "<I"), (end + 20, "<H")),
        *((26, "<H"), (28, "<H")),
    ):
        for value in (0xFFFF, 0xFFFFFFFF, 0x7FFFFFF0, len(whole)):
            damaged = bytearray(whole)
            value &= (1 << 8 * struct.calcsize(layout)) - 1
            struct.pack_into(layout, damaged, at, value)
            with pytest.raises(FileFormatError):
                read(bytes(damaged))


def test_zip_with_two_entries_of_one_name(read):
    whole = zipped({"a/data.pkl": b"N.", "a/data.pk_": b"N."})
    with pytest.raises(FileFormatError, match="two entries"):
        read(whole.replace(b"data.pk_", b"data.pkl"))


def test_zip64(read):
    file = io.BytesIO()
    with (
        zipfile.ZipFile(file, "w") as archive,
        archive.open("a/data.pkl", "w", force_zip64=True) as entry,
    ):
        entry.write(b"K\x07.")
    whole = file.getvalue()
    start, end = whole.index(b"PK\x01\x02"), whole.index(b"PK\x05\x06")
    directory = bytearray(whole[start:end])
    directory[20:28] = b"\xff" * 8
    struct.pack_into("<H", directory, 30, 28)
    directory[42:46] = b"\xff" * 4
    directory += struct.pack("<2H3Q", 1, 24, 3, 3, 0)
    size = len(directory)
    zip64 = struct.pack("<4sQ2H2I4Q", b"PK\6\6", 44, 45, 45, 0, 0, 1, 1, size, start)
    locator = struct.pack("<4sIQI", b"PK\6\7", 0, start + size, 1)
    last = struct.pack("<4s4H2IH", b"PK\5\6", 0, 0, *[0xFFFF] * 2, *[0xFFFFFFFF] * 2, 0)
    whole = whole[:start] + bytes(directory) + zip64 + locator + last
    assert read(whole) == 7
    for cut in range(len(whole)):
        with pytest.raises(FileFormatError):
            read(whole[:cut])
