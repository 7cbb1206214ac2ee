"""What the reader of safetensors takes, and what it refuses, in one line."""

import json
import random
import struct

import ml_dtypes
import numpy as np
import pytest
from torch_pickles import file_reader

from alphanet_jax.data import safetensors
from alphanet_jax.data.torch_files import FileFormatError


@pytest.fixture
def read(tmp_path):
    return file_reader(tmp_path / "file", safetensors.load)


def encode(header, data=b""):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data


DTYPES = {
    "F64": "f8",
    "F32": "f4",
    "F16": "f2",
    "BF16": ml_dtypes.bfloat16,
    "BOOL": "?",
    "I64": "i8",
    "I32": "i4",
    "I16": "i2",
    "I8": "i1",
    "U64": "u8",
    "U32": "u4",
    "U16": "u2",
    "U8": "u1",
}


@pytest.mark.slow
def test_all_dtypes_and_damage(read):
    header, data, wanted = {"__metadata__": {"format": "pt"}}, b"", {}
    for name, dtype in DTYPES.items():
        array = np.array([[0, 1, 2], [3, 5, 100]]).astype(dtype)
        offsets = [len(data), len(data) + array.nbytes]
        header[name] = {"dtype": name, "shape": [2, 3], "data_offsets": offsets}
        data += array.tobytes()
        wanted[name] = array
    end = [len(data), len(data)]
    header["empty"] = {"dtype": "F32", "shape": [0, 3], "data_offsets": end}
    wanted["empty"] = np.zeros((0, 3), np.float32)
    whole = encode(header, data)
    found = read(whole)
    assert list(found) == list(wanted)
    for name, array in wanted.items():
        assert found[name].dtype == array.dtype
        assert not found[name].flags.writeable
        np.testing.assert_array_equal(found[name], array)
    for cut in range(0, len(whole), 7):
        with pytest.raises(FileFormatError):
            read(whole[:cut])
    rng = random.Random(0)
    for _ in range(2000):
        damaged = bytearray(whole)
        damaged[rng.randrange(len(damaged) - len(data))] = rng.randrange(256)
        try:
            read(bytes(damaged))
        except FileFormatError:
            continue


def entry(dtype="F32", shape=(2,), offsets=(0, 8)):
    return {"dtype": dtype, "shape": shape, "data_offsets": offsets}


@pytest.mark.parametrize(
    ("content", "match"),
    [
        (b"\0" * 7, "too short"),
        (struct.pack("<Q", 2**63) + b"{}", "header has"),
        (encode(b"[]"), "JSON object"),
        (encode(b"[" * 100_000), "not JSON"),
        (encode(b"\xff"), "not JSON"),
        (encode(b'{"a": ' + b"9" * 5000 + b"}"), "not JSON"),
        (encode(b'{"a": 1, "a": 2}'), "two entries"),
        (encode({"a": 1}), "unknown way"),
        (encode({"a": {"dtype": "F32"}}), "unknown way"),
        (encode({"a": entry("F4")}, b"\0" * 8), "'F4'; allowed are F64"),
        (encode({"a": entry(["F32"])}, b"\0" * 8), "dtype"),
        (encode({"a": entry(shape=[-2])}, b"\0" * 8), "shape"),
        (encode({"a": entry(shape=[True, 2])}, b"\0" * 8), "shape"),
        (encode({"a": entry(shape=[2**62, 2**62])}, b"\0" * 8), "too large"),
        (encode({"a": entry(shape=[3])}, b"\0" * 8), "12 bytes"),
        (encode({"a": entry(offsets=[0, 80])}, b"\0" * 8), "outside"),
        (encode({"a": entry(offsets=[8, 0])}, b"\0" * 8), "outside"),
        (encode({"a": entry(offsets=[0])}, b"\0" * 8), "outside"),
        (encode({"a": entry(offsets=[-8, 0])}, b"\0" * 8), "place"),
        (encode({"a": entry(offsets=[4, 12])}, b"\0" * 12), "gaps"),
        (encode({"a": entry(), "b": entry()}, b"\0" * 8), "overlaps"),
        (encode({"a": entry()}, b"\0" * 9), "no tensor"),
    ],
)
def test_refused(content, match, read):
    with pytest.raises(FileFormatError, match=match):
        read(content)
