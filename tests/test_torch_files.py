"""What the reader takes, what it refuses, and that it never runs anything.

Nothing here needs torch but the comparisons with it: small files of the real
torch.save and pickle.dump are kept in `torch_pickles`, compressed.
"""

import collections
import io
import itertools
import os
import pickle
import random
import struct
import subprocess
import sys
import textwrap
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest
from torch_pickles import (
    PROTOCOLS,
    REAL_FILES,
    check_equal,
    file_reader,
    touch_everything,
)

from alphanet_jax.data.torch_files import FileFormatError, load
from alphanet_jax.errors import UserError


@pytest.fixture
def read(tmp_path):
    return file_reader(tmp_path / "file")


@pytest.fixture
def torch():
    return pytest.importorskip("torch")


def torch_formats(torch, value):
    """Yields the value in every format that torch and pickle write it in."""
    for new, protocol in itertools.product((True, False), (2, 4, 5)):
        file = io.BytesIO()
        torch.save(
            value,
            file,
            _use_new_zipfile_serialization=new,
            pickle_protocol=protocol,
        )
        yield file.getvalue()
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        yield pickle.dumps(value, protocol)


# --- Without torch: real files -------------------------------------------------


@pytest.mark.parametrize("name", REAL_FILES)
def test_real_file(name, read):
    found = read(REAL_FILES[name])
    assert list(found) == ["feats", "labels", "half", "turned"]
    check_equal(found["feats"], np.array([[1, 2], [3, 4]], np.float32))
    assert found["labels"] == [0, 300, 70000, -1]
    check_equal(found["half"], np.array([1.5, -2], ml_dtypes.bfloat16))
    check_equal(found["turned"], np.arange(6).reshape(2, 3).T)
    assert found["turned"].strides == (8, 24)


@pytest.mark.slow
@pytest.mark.parametrize("name", REAL_FILES)
def test_cut_anywhere(name, read):
    whole = REAL_FILES[name]
    for end in range(len(whole)):
        with pytest.raises(FileFormatError):
            read(whole[:end])


@pytest.mark.parametrize("name", REAL_FILES)
def test_followed_by_something(name, read):
    with pytest.raises(FileFormatError):
        read(REAL_FILES[name] + b"\0")


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", [*REAL_FILES, "arrays0", "arrays2", "arrays4", "arrays5"]
)
def test_damaged_anywhere(name, read):
    if name in REAL_FILES:
        whole = REAL_FILES[name]
    else:
        value = [
            np.arange(6, dtype=">i4").reshape(2, 3, order="F"),
            np.array(["one", "three"]),
            np.array([b"", b"1"]),
            np.float32(1.5),
            {"set": {1, 2}, "more": (frozenset("a"), 1j, 2**70, None, True, b"x")},
            collections.OrderedDict(a=collections.Counter("aab")),
        ]
        whole = pickle.dumps(value, int(name[-1]))
    rng = random.Random(name)
    for _ in range(1500):
        damaged = bytearray(whole)
        for _ in range(rng.choice((1, 1, 2, 5))):
            at = rng.randrange(len(damaged))
            change = rng.randrange(3)
            if change == 0:
                damaged[at] ^= 1 << rng.randrange(8)
            elif change == 1:
                damaged[at] = rng.choice(b"\x00\xff()]}tuaesbRqhQ.N\x85\x86\x94\x93012")
            else:
                start = rng.randrange(len(damaged))
                damaged[at:at] = damaged[start : start + rng.randrange(20)]
        try:
            touch_everything(read(bytes(damaged)))
        except FileFormatError:
            continue


@pytest.mark.parametrize("content", [b"", b"\0", b"hello\n", b"{}", b"."])
def test_not_a_file_of_any_kind(content, read):
    with pytest.raises(FileFormatError):
        read(content)


@pytest.mark.parametrize(
    ("content", "name"),
    [
        (b"\x93NUMPY\x01\x00", ".npy"),
        (b"\x89HDF\r\n\x1a\n", "HDF5"),
        (b"\x1f\x8b\x08", "gzip"),
        (b"sys_info".ljust(257, b"\0") + b"ustar", "tar"),
    ],
)
def test_foreign_files_are_named(content, name, read):
    with pytest.raises(FileFormatError, match=name):
        read(content)


def test_no_such_file(tmp_path):
    with pytest.raises(UserError, match="No such file") as caught:
        load(tmp_path / "nothing")
    assert not isinstance(caught.value, FileFormatError)
    with pytest.raises(FileFormatError, match="regular"):
        load(tmp_path)


def test_odd_path_gives_one_line(tmp_path):
    path = tmp_path / "two\nlines"
    path.write_bytes(b"x")
    with pytest.raises(FileFormatError) as caught:
        load(path)
    assert "\n" not in str(caught.value)


# --- Without torch: pickles ----------------------------------------------------


def numpy_1(pickled):
    """Rewrites a pickle to the module names of NumPy 1."""
    for long in (b"numpy._core.multiarray", b"numpy._core.numeric"):
        short = long.replace(b"_core", b"core")
        pickled = pickled.replace(
            b"\x8c" + bytes([len(long)]) + long, b"\x8c" + bytes([len(short)]) + short
        ).replace(long, short)
    if pickled[2:3] == b"\x95":
        pickled = pickled[:3] + struct.pack("<Q", len(pickled) - 11) + pickled[11:]
    return pickled


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("rename", [numpy_1, lambda pickled: pickled])
def test_numpy_arrays(protocol, rename, read):
    arrays = {
        "plain": np.arange(6).reshape(2, 3),
        "fortran": np.asfortranarray(np.arange(6.0).reshape(2, 3)),
        "axes": np.arange(24).reshape(2, 3, 4).transpose(1, 0, 2),
        "steps": np.arange(10)[::3],
        "back": np.arange(10)[::-1],
        "big-endian": np.arange(5, dtype=">f4"),
        "0-d": np.array(3, np.int16),
        "empty": np.zeros((0, 3), np.float16),
        "text": np.array(["a", "bcd", "ü"]),
        "big-endian text": np.array(["a", "bcd"], ">U3"),
        "bytes": np.array([b"a", b"bcd"]),
        "bool": np.array([True, False]),
        "complex": np.array([1j, 2], np.complex64),
        "bfloat16": np.array([1, 2], ml_dtypes.bfloat16),
        "long": np.arange(10_000),
    }
    check_equal(read(rename(pickle.dumps(arrays, protocol))), arrays)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_numpy_scalars(protocol, read):
    values = [
        *(np.float32(1.5), np.int64(-3), np.bool_(True), np.complex128(1j)),
        *(np.str_("text"), np.str_(""), np.bytes_(b"bytes")),
    ]
    check_equal(read(pickle.dumps(values, protocol)), values)
    check_equal(read(numpy_1(pickle.dumps(values, protocol))), values)
    keys = {np.int64(3): "a", np.str_("b"): 1}
    assert read(pickle.dumps(keys, protocol)) == keys
    assert read(pickle.dumps(np.dtype(">f4"), protocol)) == np.dtype(">f4")


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_python_objects(protocol, read):
    shared = [1]
    values = [
        *(
            None,
            True,
            False,
            1.5,
            float("inf"),
            1 + 2j,
            "ü\n\\\ud800",
            "",
            b"",
            b"\xff",
        ),
        *(0, 255, 256, 65535, 65536, -1, 2**31, -(2**31) - 1, 2**63, 2**500, -(2**500)),
        *((), (1,), (1, 2), (1, 2, 3), (1, 2, 3, 4), [], [1], {}, {"a": 1}),
        *(set(), {1, "a"}, frozenset(), frozenset({b"b", 2.5})),
        {1: 2, (1, "a"): 3, None: 4, b"k": 5, False: 6, 0.5: 7},
        collections.OrderedDict([("b", 1), ("a", 2)]),
        collections.Counter("hello"),
        list(range(3000)),
        b"x" * 10_000,
        ("x" * 100_000, [(b"y" * 5_000,)], {"z": b"z" * 5_000}),
    ]
    check_equal(read(pickle.dumps(values, protocol)), values)
    found = read(pickle.dumps([shared, shared], protocol))
    assert found[0] is found[1]
    assert read(pickle.dumps(bytearray(b"abc"), protocol)) == b"abc"


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_objects_within_themselves(protocol, read):
    loop = [1]
    loop.append(({"loop": loop},))
    found = read(pickle.dumps(loop, protocol))
    assert found[1][0]["loop"] is found


def test_text_of_python_2(read):
    assert read(b"\x80\x02}(U\x01aK\x01T\x01\0\0\0bK\x02u.") == {"a": 1, "b": 2}


@pytest.mark.slow
def test_deep_nesting(read):
    depth = 60_000
    found = read(b"\x80\x02" + b"]" * depth + b"a" * (depth - 1) + b".")
    assert len(found) == 1
    read(b"\x80\x02" + b")" + b"\x85" * depth + b".")
    with pytest.raises(FileFormatError, match="key"):
        read(b"\x80\x02})" + b"\x85" * depth + b"K\x01s.")
    with pytest.raises(FileFormatError):
        read(b"(" * depth + b".")


def test_work_grows_with_the_number_of_labels_and_no_faster(read):
    def calls(count):
        labels, seen = list(range(count)), 0

        def note(frame, event, argument):
            nonlocal seen
            seen += event == "call"

        content = pickle.dumps(labels, 2)
        sys.setprofile(note)
        try:
            found = read(content)
        finally:
            sys.setprofile(None)
        assert found == labels
        return seen

    few, many = calls(5_000), calls(20_000)
    assert many - few < 4.5 * few  # three times as many more, and what a file takes
    assert many < 10 * 20_000


# --- Without torch: memory -----------------------------------------------------


@pytest.mark.skipif(
    not sys.platform.startswith("linux"), reason="only Linux can cap private memory"
)
@pytest.mark.slow
def test_large_arrays_stay_in_the_file(tmp_path):
    content = pickle.dumps({"feats": np.zeros(1 << 12, np.uint8)}, 5)
    size = 200 << 20
    length = struct.pack("<Q", 1 << 12)
    before, after = content.split(b"\x96" + length + b"\0" * (1 << 12))
    after = after.replace(b"M\x00\x10\x85", b"J" + struct.pack("<i", size) + b"\x85")
    before = before[:2] + before[11:]  # without the frame
    path = tmp_path / "feats.pkl"
    with path.open("wb") as file:
        file.write(before + b"\x96" + struct.pack("<Q", size))
        file.seek(size, os.SEEK_CUR)
        file.write(after)
    code = """
        import re, resource, sys
        from alphanet_jax.data.torch_files import load
        status = open("/proc/self/status").read()
        used = int(re.search(r"VmData:\\s*([0-9]+) kB", status)[1]) << 10
        resource.setrlimit(resource.RLIMIT_DATA, (used + (50 << 20),) * 2)
        feats = load(sys.argv[1])["feats"]
        assert feats.shape == (200 << 20,)
        assert feats.max() == 0
        try:
            feats.copy()
        except MemoryError:
            print("fits")
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code), str(path)],
        capture_output=True,
        text=True,
        cwd=Path(__file__).parent.parent,
        check=False,
    )
    assert done.stdout == "fits\n", done.stderr


def test_arrays_outlive_the_file(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(REAL_FILES["zip"])
    feats = load(path)["feats"]
    path.unlink()
    assert feats.tolist() == [[1, 2], [3, 4]]


# --- With torch ----------------------------------------------------------------

TORCH_DTYPES = [
    *("float16", "float32", "float64", "bfloat16", "bool", "complex64", "complex128"),
    *("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"),
    *("float8_e4m3fn", "float8_e5m2"),
]


@pytest.mark.parametrize("name", TORCH_DTYPES)
def test_torch_dtypes(name, torch, read):
    values = torch.tensor([[0, 1, 2], [3, 5, 100]]).to(getattr(torch, name))
    value = {
        "whole": values,
        "turned": values.t(),
        "0-d": values[1, 1],
        "empty": values[:0],
        "row": values[1],
    }
    for content in torch_formats(torch, value):
        check_equal(read(content), value)


def test_torch_objects(torch, read):
    base = torch.arange(24.0)
    parameter = torch.nn.Parameter(torch.randn(2, 2))
    marked = torch.nn.Parameter(torch.randn(2))
    marked.note = "text"
    attributed = torch.zeros(2)
    attributed.note = "text"
    value = collections.OrderedDict(
        parameter=parameter,
        again=parameter,
        marked=marked,
        attributed=attributed,
        expanded=base[:1].expand(3, 4),
        steps=base[1::5],
        block=base.reshape(2, 3, 4)[:, 1:, ::2],
        axes=base.reshape(2, 3, 4).permute(2, 0, 1),
        nested={"list": [base, (base[3:5], None)], "set": {1, 2}},
        size=torch.Size([2, 3]),
        array=np.arange(3),
    )
    for content in torch_formats(torch, value):
        found = read(content)
        check_equal(found, value)
    for new in (True, False):
        file = io.BytesIO()
        torch.save(value, file, _use_new_zipfile_serialization=new)
        found = read(file.getvalue())
        assert np.shares_memory(found["steps"], found["nested"]["list"][0])
        assert found["again"] is found["parameter"]


def test_torch_plain_markers(torch, read):
    value = [
        torch.float32,
        torch.bfloat16,
        torch.device("cuda", 1),
        torch.device("cpu"),
    ]
    wanted = [np.dtype("f4"), np.dtype(ml_dtypes.bfloat16), "cuda:1", "cpu"]
    for content in torch_formats(torch, value):
        assert read(content) == wanted


def test_torch_module(torch, read):
    module = torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.BatchNorm1d(2))
    for content in torch_formats(torch, {"state": module.state_dict(), "epoch": 3}):
        found = read(content)
        check_equal(found, {"state": dict(module.state_dict()), "epoch": 3})
    file = io.BytesIO()
    torch.save(module, file)
    with pytest.raises(FileFormatError, match=r"torch\.nn\.modules"):
        read(file.getvalue())


def test_torch_refused(torch, read):
    conjugate = torch.zeros(2, dtype=torch.complex64).conj()
    sparse = torch.eye(3).to_sparse()
    for value, match in (
        ({"a": conjugate}, "conj"),
        (sparse, "'torch._utils._rebuild_sparse_tensor'"),
    ):
        for content in torch_formats(torch, value):
            with pytest.raises(FileFormatError, match=match):
                read(content)


def test_torch_reads_the_same(torch, read):
    for name in ("zip", "legacy"):
        wanted = torch.load(io.BytesIO(REAL_FILES[name]), weights_only=True)
        check_equal(read(REAL_FILES[name]), wanted)
    wanted = pickle.loads(REAL_FILES["pickle2"])
    check_equal(read(REAL_FILES["pickle2"]), wanted)


def test_bare_storage(torch, read):
    for content in torch_formats(torch, torch.zeros(2).untyped_storage()):
        with pytest.raises(FileFormatError, match="bare Storage"):
            read(content)
