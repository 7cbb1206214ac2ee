"""Files of PyTorch that ask for more than data: nothing in them is run."""

import io
import os
import pickle
import random
import struct
import sys
import tracemalloc
import zipfile
from pathlib import Path

import numpy as np
import pytest
from torch_pickles import (
    LEGACY_START,
    PROTOCOLS,
    array_pickle,
    call,
    check_equal,
    file_reader,
    legacy_storage,
    long_bytes,
    tensor_pickle,
    text,
    touch_everything,
    zipped,
)

from alphanet_jax.data.torch_files import FileFormatError, Placeholder, values


@pytest.fixture
def read(tmp_path):
    return file_reader(tmp_path / "file")


def hostile_pickles(marker):
    """Yields names and pickles that would make the marker file, if they ran."""
    command = text(f"touch {marker}")
    system = b"cos\nsystem\n"
    yield "os.system", b"\x80\x02" + system + command + b"\x85R."
    yield "os.system", b"\x80\x04\x8c\x02os\x8c\x06system\x93" + command + b"\x85R."
    yield "os.system", b"(" + command + b"ios\nsystem\n."
    yield "os.system", b"(" + system + command + b"o."
    yield "os.system", b"\x80\x02" + system + command + b"\x85\x81."
    yield "os.system", b"\x80\x04" + system + command + b"\x85}\x92."
    yield "os.system", system + b"."
    yield "posix.system", call("posix", "system", command) + b"."
    yield "subprocess.Popen", call("subprocess", "Popen", command) + b"."
    yield (
        "builtins.eval",
        call("builtins", "eval", text(f"open('{marker}','w')")) + b".",
    )
    yield "__builtin__.exec", call("__builtin__", "exec", text("1")) + b"."
    yield "builtins.getattr", b"cbuiltins\ngetattr\n."
    yield "builtins.__import__", call("builtins", "__import__", text("os")) + b"."
    yield "collections.OrderedDict.update", b"ccollections\nOrderedDict.update\n."
    yield "collections.namedtuple", b"ccollections\nnamedtuple\n."
    yield "collections.defaultdict", b"ccollections\ndefaultdict\n."
    yield "torch.storage.os.system", b"ctorch.storage\nos.system\n."
    yield "torch.load", call("torch", "load", command) + b"."
    yield "torch.hub.load", call("torch.hub", "load", command) + b"."
    yield (
        "torch._utils._rebuild_sparse_tensor",
        (b"ctorch._utils\n_rebuild_sparse_tensor\n."),
    )
    yield "torch.QInt8Storage", b"ctorch\nQInt8Storage\n."
    yield "numpy.f2py", b"cnumpy\nf2py\n."
    yield (
        "alphanet_jax.data.torch_files.load",
        b"calphanet_jax.data.torch_files\nload\n.",
    )
    # A list of names is no list of values.
    yield "numpy.ndarray", b"cnumpy\nndarray\n."
    yield "torch._utils._rebuild_tensor_v2", b"]ctorch._utils\n_rebuild_tensor_v2\na."
    # Within a byte string that would be a storage.
    inner = b"\x80\x02" + system + command + b"\x85R."
    nested = call("torch.storage", "_load_from_bytes", long_bytes(inner))
    yield "os.system", b"\x80\x03" + nested + b"."
    # With a state, items and members, which all are dropped.
    made = b"\x80\x02" + system + command + b"\x85R"
    yield "os.system", made + b"}" + text("__setstate__") + system + b"sb."
    yield "os.system", made + command + system + b"s."
    yield "os.system", made + command + b"a."
    yield "os.system", made + b"(" + command + b"\x90."
    # As an argument of functions that are on the list.
    yield "os.system", call("collections", "Counter", system) + b"."
    yield "os.system", call("builtins", "set", made[2:]) + b"."
    yield "os.system", call("numpy", "dtype", made[2:]) + b"."
    yield "os.system", call("torch", "Size", made[2:]) + b"."
    yield "os.system", array_pickle(shape=made[2:])
    yield "os.system", call("copyreg", "__newobj__", system) + b"."


def test_hostile_pickles_do_nothing(tmp_path, read):
    marker = tmp_path / "marker"
    for name, content in hostile_pickles(marker):
        with pytest.raises(FileFormatError, match=f"'{name}'"):
            read(content)
        zipped = io.BytesIO()
        with zipfile.ZipFile(zipped, "w") as archive:
            archive.writestr("a/data.pkl", content)
        with pytest.raises(FileFormatError, match=f"'{name}'"):
            read(zipped.getvalue())
        with pytest.raises(FileFormatError, match=f"'{name}'"):
            read(LEGACY_START + content)
    assert not marker.exists()


def test_the_hostile_pickles_are_real(tmp_path):
    marker = tmp_path / "marker"
    _, content = next(hostile_pickles(marker))
    pickle.loads(content)
    assert marker.exists()


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_reduce_of_an_object(protocol, tmp_path, read):
    marker = tmp_path / "marker"

    class Bomb:
        def __reduce__(self):
            return os.system, (f"touch {marker}",)

    with pytest.raises(
        FileFormatError, match=r"(posix|nt)\.system.*list of plain data"
    ):
        read(pickle.dumps(Bomb(), protocol))
    found = read(pickle.dumps({"feats": Bomb(), "labels": [1]}, protocol))
    assert type(found["feats"]) is Placeholder
    assert found["feats"].name in ("posix.system", "nt.system")
    assert found["labels"] == [1]
    assert not marker.exists()


CANARY = """
import pathlib
pathlib.Path({marker!r}).write_text("imported")


def touch(*args, **options):
    pathlib.Path({marker!r}).write_text("called")
    return Canary()


class Canary:
    def __new__(cls, *args, **options):
        touch_marker()
        return object.__new__(cls)

    def __setstate__(self, state):
        touch_marker()

    def __setitem__(self, key, value):
        touch_marker()

    append = extend = add = __hash__ = __setstate__


def touch_marker():
    pathlib.Path({marker!r}).write_text("used")
"""


def unknown_object(rng, depth=0):
    """Writes an object of a class of the canary's, made and filled in any way."""
    name = rng.choice(("touch", "Canary", "Canary.append", "missing"))
    inner = [b"N", b"K\x01", text("x"), b"]", b"}", array_pickle()[2:-1]]
    if depth < 3:
        inner += [unknown_object(rng, depth + 1) for _ in range(3)]
    one, two = rng.choices(inner, k=2)
    known = b"c" + f"canary\n{name}\n".encode()
    made = rng.choice(
        (
            known + one + b"\x85R",
            known + b"(" + one + two + b"tR",
            known + one + b"\x85\x81",
            known + one + b"\x85}" + text("y") + two + b"s\x92",
            b"(" + one + b"i" + known[1:],
            b"(" + known + one + two + b"o",
            b"ccopyreg\n_reconstructor\n" + known + b"cbuiltins\nobject\nN\x87R",
            known,
        )
    )
    filled = (
        b"",
        one + b"b",
        b"}" + text("__setstate__") + known + b"sb",
        b"}" + text("a") + two + b"sN\x86b",
        text("key") + two + b"s",
        b"(" + text("key") + two + b"K\x01" + one + b"u",
        one + b"a",
        b"(" + one + two + b"e",
        b"(K\x01" + text("m") + b"\x90",
    )
    return made + b"".join(rng.choices(filled, k=rng.randrange(3)))


@pytest.mark.slow
def test_unknown_classes_run_nothing(tmp_path, monkeypatch, read):
    marker = tmp_path / "marker"
    (tmp_path / "canary.py").write_text(CANARY.format(marker=str(marker)))
    monkeypatch.syspath_prepend(tmp_path)
    rng = random.Random(0)
    for _ in range(200):
        unknown = unknown_object(rng)
        array = array_pickle()[2:-1]
        content = b"\x80\x04}(" + text("args") + unknown + text("feats") + array
        # Also as a key of a dict, as a member of a set and in a tuple.
        content += text("more") + b"}" + unknown + b"K\x01s"
        content += text("set") + b"\x8f(" + unknown + b"\x90"
        content += text("tuple") + unknown + b"K\x01\x86u."
        for whole in (content, zipped({"a/data.pkl": content}), LEGACY_START + content):
            if whole.startswith(LEGACY_START):
                whole += b"]."  # no storages
            found = read(whole)
            assert type(found["args"]) is Placeholder
            assert found["args"].name.startswith("canary.")
            assert [type(key) for key in found["more"]] == [Placeholder]
            assert [type(member) for member in found["set"]] == [Placeholder]
            assert [type(item) for item in found["tuple"]] == [Placeholder, int]
            check_equal(found["feats"], np.zeros(2, np.float32))
            with pytest.raises(FileFormatError, match="'canary"):
                read(b"\x80\x04" + unknown + b".")
        assert not marker.exists()
        assert "canary" not in sys.modules
    pickle.loads(b"ccanary\ntouch\n)R.")
    assert marker.read_text() in ("called", "used")


def test_placeholders_are_kept_from_functions(read):
    """What a function of the list would make of one is a placeholder, too."""
    unknown = b"cmine\nThing\n)\x81"
    tensor, z = tensor_pickle(offset=unknown), bytes(24)
    for content in (
        zipped({"a/data.pkl": tensor[:2] + b"]" + tensor[2:-1] + b"a.", "a/data/0": z}),
        b"\x80\x03]" + array_pickle(dtype=b"O8")[2:-1] + b"a.",
        b"\x80\x03]" + array_pickle(dtype=b"M8")[2:-1] + b"a.",
        b"\x80\x03]" + array_pickle(shape=unknown)[2:-1] + b"a.",
    ):
        (found,) = read(content)
        assert type(found) is Placeholder


def test_unknown_kinds_of_storages(read):
    found = zipped(
        {
            "a/data.pkl": b"\x80\x02]"
            + tensor_pickle(kind=b"QInt8Storage", function=b"_rebuild_qtensor")[2:-1]
            + b"a.",
            "a/data/0": b"",
        }
    )
    (tensor,) = read(found)
    assert tensor.name == "torch._utils._rebuild_qtensor"


def test_no_placeholder_is_looked_for_in_long_tuples(read):
    """A file could have a long one looked at again and again."""
    most, unknown = values._MAX_ARGUMENTS, Placeholder("os.x")
    assert values.find_placeholder((None,) * (most - 1) + (unknown,)) is unknown
    assert values.find_placeholder((None,) * most + (unknown,)) is None
    long = b"(" + b"N" * 200_000 + b"tq\x010"
    arrays = b"cnumpy.core.multiarray\n_reconstruct\nq\x020"
    with pytest.raises(FileFormatError):
        read(b"\x80\x03" + long + arrays + b"cos\nx\nh\x01R0" * 50_000 + b"h\x01Q.")


def test_whole_models_are_refused(read):
    module = b"\x80\x02ctorch.nn.modules.linear\nLinear\n)\x81}b."
    for content in (module, zipped({"a/data.pkl": module})):
        with pytest.raises(
            FileFormatError, match=r"Linear'.*torch\.save\(model\.state_dict\(\)"
        ):
            read(content)
    with pytest.raises(FileFormatError, match=r"LogisticRegression'.*coef_"):
        read(b"csklearn.linear_model._logistic\nLogisticRegression\n)\x81}b.")
    old = b"((" + text("module") + b"cmine\nNet\n" + text("net.py") + text("source")
    with pytest.raises(FileFormatError, match=r"mine\.Net.*state_dict"):
        read(LEGACY_START + old + b"tQ)\x81}b.].")


@pytest.mark.parametrize(
    ("content", "match"),
    [
        (b"\x80\x02K\x01}b.", "state of a int"),
        (b"\x80\x02]}b.", "state of a list"),
        (b"\x80\x02}}b.", "state of a dict"),
        (b"\x80\x02ccollections\nOrderedDict\n}b.", "state of a Function"),
        (b"\x80\x02cnumpy\nndarray\n)R.", "calls numpy.ndarray"),
        (b"\x80\x02K\x01)R.", "calls a int"),
        (b"\x80\x02ccollections\nOrderedDict\n]R.", "without a tuple"),
        (b"\x80\x02ccollections\nOrderedDict\n(K\x01K\x02tR.", "2 arguments"),
        (b"\x80\x02ccollections\nOrderedDict\n)\x81.", "NEWOBJ"),
        (b"\x80\x02\x82\x01.", "extension registry"),
        (b"Pstorage\n.", "PERSID"),
        (b"\x80\x05\x97.", "NEXT_BUFFER"),
        (b"\x80\x06N.", "protocol 6"),
        (b"\x80\x02)Q.", "persistent id"),
        (b"\x80\x02h\x07.", "never stored"),
        (b"\x80\x04]]\x93.", "not text"),
        (b"\x80\x04))\x93.", "not text"),
        (b"\x80\x02\xff.", "0xff"),
        (b"\x80\x02N.N.", "goes on"),
        (b"\x80\x02K\x01]a.", "appended"),
        (b"\x80\x02]K\x01K\x02s.", "not a dict"),
        (b"\x80\x02}]K\x01s.", "list as dict key"),
        (b"\x80\x04\x8f(]\x90.", "set member"),
        (b"I1_0\n.", "whole number"),
        (b"I" + b"9" * 5000 + b"\n.", "lacks the end"),
        (b"I" + b"9" * 500 + b"\n.", "160 digits"),
        (b"L12x\n.", "whole number"),
        (b"Fx\n.", "number"),
        (b"V\\u12\n.", "raw-unicode-escape"),
        (b"X\x01\0\0\0\xff.", "utf-8"),
        (call("_codecs", "encode", b"N"), "1 arguments"),
        (b"c_codecs\nencode\n" + text("x") + text("rot13") + b"\x86R.", "latin1"),
        (b"c_codecs\nencode\n" + text("x") + b"]\x86R.", "latin1"),
        (b"c_codecs\nencode\n" + text("€") + text("latin1") + b"\x86R.", "bytes"),
        (call("torch", "Size", text("x")) + b".", "sizes"),
        (call("torch.storage", "_load_from_bytes", b"C\x02N.") + b".", "storage"),
        (call("numpy", "dtype", text("O8")) + b".", "'O8'"),
        (call("numpy", "dtype", text("V4")) + b".", "'V4'"),
        (call("numpy", "dtype", text("f8,f8")) + b".", "'f8,f8'"),
        (call("numpy", "dtype", b"]") + b".", "a list"),
        (call("numpy", "dtype", text("f8")) + b".", "bare Shell"),
    ],
)
def test_refused(content, match, read):
    with pytest.raises(FileFormatError, match=match):
        read(content)


@pytest.mark.parametrize(
    ("value", "match"),
    [
        (np.array([None, "x"]), "'O8'"),
        (np.zeros(2, [("a", "f4")]), "'V4'"),
        (np.array(["2020-01-01"], "M8[D]"), "'M8'"),
        (np.ma.masked_array([1, 2]), "numpy.ma"),
        (Path("x"), "pathlib"),
        (range(3), "range"),
        (io.BytesIO, "_io.BytesIO"),
    ],
)
@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_objects_that_are_not_plain_data(value, match, protocol, read):
    with pytest.raises(FileFormatError, match=match):
        read(pickle.dumps(value, protocol))


def test_array_made_by_hand(read):
    check_equal(read(array_pickle()), np.zeros(2, np.float32))
    huge = b"\x8a\x09" + b"\0" * 8 + b"\x01"
    for damaged in (
        array_pickle(data=b"\0" * 9),
        array_pickle(data=b""),
        array_pickle(shape=b"J\xff\xff\xff\xff\x85"),
        array_pickle(shape=huge + b"\x85"),
        array_pickle(shape=b"(" + b"J\xff\xff\xff\x7f" * 5 + b"t"),
        array_pickle(shape=b"(" + b"K\x01" * 65 + b"t"),
        array_pickle(shape=b"\x88\x85", data=b"\0" * 4),
        array_pickle(shape=b"N"),
        array_pickle(dtype=b"f3"),
        array_pickle(dtype=b"O8"),
        array_pickle(dtype=b"U0", data=b""),
        array_pickle(dtype=b"U1", data=b"\xff" * 8),
        array_pickle(order=b"K\x01"),
    ):
        with pytest.raises(FileFormatError):
            read(damaged)


def test_array_within_itself(read):
    # The promised array is stored, and used before its content is known.
    content = array_pickle().replace(b"\x87R(K\x01", b"\x87Rq\0(h\0")
    with pytest.raises(FileFormatError, match="inside of itself"):
        read(content)


@pytest.mark.parametrize(
    ("setup", "operation"),
    [
        (b"(" + b"K\x01" * 50_000 + b"l", b"cbuiltins\nset\nh\x01\x85R"),
        (text("x" * 500), b"h\x01h\x01\x93"),
        (text("x" * 99_999), b"c_codecs\nencode\nh\x01" + text("latin1") + b"\x86R"),
        (
            long_bytes(legacy_storage(99_999)),
            b"ctorch.storage\n_load_from_bytes\nh\x01\x85R",
        ),
    ],
)
def test_content_cannot_be_multiplied(setup, operation, read):
    setup = b"\x80\x03" + setup + b"q\x010"
    read(setup + operation + b"0N.")
    with pytest.raises(FileFormatError, match="repeats its own content"):
        read(setup + (operation + b"0") * 1000 + b"N.")


def test_tuples_as_keys_are_few(read):
    """Their hashes can be foreseen, and a dict of many that collide is slow."""
    keys = [b"K" + bytes([i % 256]) + b"M" + struct.pack("<H", i) + b"\x86" for i in
            range(5000)]  # fmt: skip
    for count, operations in ((4000, b"(%su"), (4000, b"\x90")):
        start = b"}(" if operations != b"\x90" else b"\x8f("
        end = b"u." if operations != b"\x90" else b"\x90."
        value = b"N" if operations != b"\x90" else b""
        few, many = (
            b"\x80\x04" + start + b"".join(key + value for key in some) + end
            for some in (keys[:count], keys)
        )
        assert len(read(few)) == count
        with pytest.raises(FileFormatError, match="more than 4096 tuples"):
            read(many)


@pytest.mark.slow
@pytest.mark.parametrize("operation", [b"\x8f0", b"(\x910"])
def test_sets_are_as_many_as_the_file_can_fill(operation, read):
    assert read(b"\x80\x04" + operation * 900 + b"N.") is None
    tracemalloc.start()
    try:
        with pytest.raises(FileFormatError, match="more sets than"):
            read(b"\x80\x04" + operation[:-1] * 60_000 + b".")
        assert tracemalloc.get_traced_memory()[1] < 60_000 * len(operation) * 64
    finally:
        tracemalloc.stop()
    value = [{i} for i in range(20_000)]
    assert read(pickle.dumps(value, 4)) == value


@pytest.mark.parametrize(
    "content",
    [
        b"\x80\x04\x8e" + struct.pack("<Q", 2**60),
        b"\x80\x05\x96" + struct.pack("<Q", 2**64 - 1),
        b"\x80\x04\x8d" + struct.pack("<Q", 2**60),
        b"\x80\x04\x95" + struct.pack("<Q", 2**60) + b"N.",
        b"\x80\x03B" + struct.pack("<I", 2**32 - 1),
        b"\x80\x03X" + struct.pack("<I", 2**32 - 1),
        b"\x80\x02T" + struct.pack("<I", 2**32 - 1),
        b"\x80\x02\x8b" + struct.pack("<I", 2**31 - 1) + b"\xff" * 100,
        b"\x80\x02\x8b" + struct.pack("<I", 2**32 - 1) + b"\xff" * 100,
        b"\x80\x02\x8a\xff" + b"\xff" * 255 + b".",
        b"\x80\x02N" + b"r" + struct.pack("<I", 2**32 - 1) + b"00.",
    ],
)
def test_declared_lengths_take_no_memory(content, read):
    tracemalloc.start()
    try:
        with pytest.raises(FileFormatError):
            read(content)
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()


@pytest.mark.slow
def test_random_programs(read):
    """Runs operations and functions in any order, with arguments of any kind."""
    array = array_pickle()[2:-1]
    values = [
        *(b"N", b"\x88", b"K\0", b"K\x02", b"J\xff\xff\xff\xff", b"G" + b"\x7f" * 8),
        *(b")", b"]", b"}", b"\x8f", b"C\x04\0\0\x80?", b"h\0", array),
        *map(text, ("f4", "U1", "<", "C", "latin1", "storage", "conj", "a")),
    ]
    operations = [bytes([code]) for code in b"(t\x85\x86\x87laedsu\x90\x91012\x94RbQ"]
    functions = [
        f"c{name.replace(':', chr(10))}\n".encode()
        for name in (
            *("_codecs:encode", "builtins:set", "builtins:bytes", "builtins:complex"),
            *("collections:OrderedDict", "collections:Counter", "numpy:dtype"),
            *("numpy.core.multiarray:_reconstruct", "numpy.core.multiarray:scalar"),
            *("numpy.core.numeric:_frombuffer", "numpy:ndarray", "torch:float32"),
            *("torch._utils:_rebuild_tensor_v2", "torch._utils:_rebuild_tensor_v3"),
            *("torch._utils:_rebuild_parameter", "torch:FloatStorage", "torch:Tensor"),
            *("torch._tensor:_rebuild_from_type_v2", "torch:Size", "torch:device"),
            "torch.storage:_load_from_bytes",
        )
    ]
    rng = random.Random(0)
    for _ in range(5000):
        program = b"\x80\x04"
        for _ in range(rng.randrange(1, 12)):
            program += rng.choice(rng.choice((values, operations, functions)))
            if rng.random() < 0.3:
                args = rng.choices(values + functions, k=rng.randrange(8))
                program += rng.choice(functions) + b"(" + b"".join(args) + b"tR"
        try:
            touch_everything(read(program + b"."))
        except FileFormatError:
            continue
