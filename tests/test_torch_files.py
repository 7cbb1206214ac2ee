"""What the reader takes, what it refuses, and that it never runs anything.

Nothing here needs torch but the comparisons with it: small files of the real
torch.save and pickle.dump are kept below, compressed.
"""

import base64
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
import time
import tracemalloc
import zipfile
import zlib
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest

from alphanet_jax.data.torch_files import FileFormatError, Placeholder, load
from alphanet_jax.errors import UserError

# All of one object: {"feats": 2x2 float32, "labels": list of whole numbers, "half":
# two bfloat16, "turned": arange(6) as 2x3, transposed}.
_REAL_FILES = {
    "zip": (
        "c-o~^-)qxQ6uwE?w2QMpwz;{fQ{O7iE@`{8^T#@ZL@<h7RVV`~S(~-Ntl3R&CknzqHW)tXi*KS&{"
        "t5cH2hnHW_cl;`@=uuerfrsFtaI+taG>1pJ73N@-$_YfLI6ag;J`_MA)s2droN_4*HxsZSDzZP6a"
        "$OCvrfN+AXN!tz_O+y8&Wl7VpO`?M!I2hRZClH>qfnbw3cmJ)wK)<=~Su`!2lcIR2v#(IuK4aOcg"
        "!s{K>&kg~E4u7_Kll)>hk)RYC|x78Ib+3cU%VI8d8#V5?R$4MVFT-E7(11FNoCTK%?OLmcF;l;J4"
        "^2g~qug~cp}x}+I4j6H$zlmhNgQFm996u7&Gk5<8T08Q0chKVLt*zBp299e?s3QIb|1US@W6&k@|"
        "N6-cwQK$`gW~)hZjv_c#hG(6esBN{hIvn?r-ZNVbmvF)%%)oP)kVWu3A!NuKUQj57*@TlF(u)XQD"
        "#Od|bV-RscPhW$Aq*o=>ChgIfr#6~^s;HKsHnQ8SvIbeEHR{&0wMeSXXh1>K%T?NCP03ltlPV)YU"
        "qvDiq=B1lnso=KOHeg1Qega-!x7^_Z5%?MOVPmbEKK1)v|QsfAaQ@p(A8yM8n3d-Eq<{wy%a5nDe"
        "<}nwO>PClCO@dJ)sk;~#$3=ZTU>BcEO;90&GSlJhGOWQjkvlI<ecCOIPui@U@Cp(Aq6`*UVw>E=n"
        "wzu04@x{>ZirW-@u816=*b@2PQk3888eYM8Hu&dRb`FK!lmLrTm-Zvf}J%5uRvu^<B^=-}4u>)SH"
        "WcO6{x-6xSSq;9Bo6Qvpg<O7CoZ)kYe0GNCGh#u^X7fTu6ht8}iZcRFRKB@7_cMicq#Tu$Q>va$?"
        "><NzP#)alL9}-PjQNmXDR9^Z36gkCJmEJk4f<@3AdlCGNgvN!50AS5f^e^UVm|mN0|MR+V!bZ#V?"
        "PA3LJ;enN<Vfa6u@SJSnvGBeb{Xe_K>=J$70e49twja2DYTI>{M^OnQJa`AQ10#efcHavmr~q;9x"
        "JZZ{Ly<W;>Vx=YHqzUzzB~nE"
    ),
    "legacy": (
        "c-n1|%}(4f5XWODo26-?KtJgxy`>UbLAt<l0#y|UT>7!S<btA*7!qW~JF$b*N=SQQRr(BlfIbGV("
        "?_UO3C7u7Bvw0eJj!@H^ZSqc^p_|8|K9z#eDdeZQmaq*|Jt~pf#rwumSy!ysbwNXbjnMW%K``{gt"
        "K@ea;*iAc#-CD0rY3+VNieX@kr%AxB~kO96xMeP-U{z&|oyQ@h>klxXcM1Q$rTV&}2?kjeDB>BOY"
        "r7B+;@=vQ|{-TqrLp`C*ldG}63KvW!jx52){lP167~<6{o?@QSx9WURjpgC02H9Oi7bJHf{0`g*X"
        "ny1CkhM$MA+D#P+gL-Q-M7-e(-Gw8?w?p!1&Tku4qYUO<{Q(p4)L!M|4ytiGrtKnW3W<%G=h!43?"
        "Fn0j=eP->ikiFglvG%Uec&#&w#SzSB$eWEB-`9|98#kB>6PRnky8sq5mr=xfP~)A$Lq^Ww(M4tm9"
        "&32gg{L)vuF8U^uym`%N1X0W`Dc?;=(IcV9Lu{{{)H)T8}%<4VfFxC4O_g{u-t_==5-Ft>r5FWnO"
        "2uh(_-_MnZ?lh+qmuE!mq#MTDOgiJRNy^<j40L6X%!P*5x$=udbK"
    ),
    "pickle2": (
        "c-qyI%Wl&^6o!3E0s}1#_m*3^8wo{CNSky;giseXEnqg@RF-2;Y9nLkx5t%=R4JQ8lxN@p;1Q5mI"
        "S&RivAc*wyYI;I@r-|+Ip_OlM#>Q+-Kt2EG@uSkA-gP2T)$ywEC^F#C$yghp=UE1rEy{(v<MWv)T"
        "BH(`;^#W?0EJdiNDzWLq<~q)wSK&qi#xQBt8f<Yekl%e5B;xNjUwJ|Ja)TUj3Z^{IJ~Mi#yX_s)("
        "~<mUuD4BxbQ2hxP$Y(jbl?3yHPBe}w^KA+>4b1x^Gd|7H=s$_|IrPJ^#Bg?a?7XessMgrQ<6mda;"
        "A#85RfOA|@rXdg90%QCU8Zq<akXa`c!9@*k;u}@`>kgY|o*=%=P8=dv_*5+Dgt&JkFJItUO+Af3k"
        "QKZ|0^gpreG{n}$$VadFyT_lNnDkJws-iB31yK{#32G)TjB(KfF(gAVlnE~JAWv}l*yUhC>N3tHC"
        "GQiDCe(WyxQt-og^5LmD<+o8bbT78sPEybZb&;X<?UfzmbU-$L1!F%Cmi6Kujsz&YgYZdS@dS+QF"
        "G%|mzu3ttvQ#JGhCX9xl2mv(Uf~M9pSpq?YLp$<`}n3+!l6>v24g=tQ`A-_#KA3ChpCMvn+|Ihx;"
        "c;JLe7QJFYqX(0AM2Ih@tA4!sa_oK<Ol$Yngitd{ZQa#YHQ2Lk-6iHBo6GVz#$SH(SeV#tO%!P5f"
        "%Glu6T^sMm@)Pq!$"
    ),
    "pickle4": (
        "c-qyH&u`N(6vyo(ZKamM;Kq$(K&aY6w{@pY)wILR_%SZIOjeq>OOT0c$C)&wO1ZRRC^yWFKY%}D{"
        "|<iw5)!<o=|m;UeNXm#^2;~2-^Z_Tz8*QKvWaoa#)t(vGvz%kR2X+@t`iQ+M^v$4p74ljmS#fHOV"
        "4}(`Nl$)K?p9GDK{w>K}1JNe4xWC%`#98IvAnC`rPKfz8(L3^8Wjq$KAp@{b7TjNaXsPaQ0XUEke"
        "QRB~w`<Qi(y}Z@?FxXw4aAX_N%1v_AQ5Nb0LGqgnEiWzwEV$MqYK%wnOmY!J)0VU?s>Hi_fUi{m1"
        "_kS*fmIh^VGt+{w{Wr@P7g!VC9T)$f++Y<ZtL9^fMd%Jr(JKp}*-d0a8_6^6mw2AXdOXn@@b}rGs"
        "v^eP2RKbb^aECBp7KdhP&J01sBG$}+$1`(XcA$37LJg$@?#^o!F~y>zB-B9g>6y{+Pub+bkim1D8"
        "<(Kd=lEp&5TlddV61fFfR9Y<xN&P>-38!-ium^KTISo{3vY$FwVrvU1?E;w{N@1N+;W~8f~V#>es"
        "IfC=PG4UP3zfRp!E_Y>$|hx>#vY%{--<VS|HU#tA^{iBxu)h*~N`IE~(m8_hMqt{vw-q{{ZrhF;x"
    ),
}
REAL_FILES = {
    name: zlib.decompress(base64.b85decode(text)) for name, text in _REAL_FILES.items()
}


@pytest.fixture
def torch():
    return pytest.importorskip("torch")


@pytest.fixture
def read(tmp_path):
    """Reads bytes as a file; what is refused must be refused in one line."""
    path = tmp_path / "file"

    def read_bytes(content, reader=load):
        path.write_bytes(content)
        try:
            return reader(path)
        except FileFormatError as error:
            message = str(error)
            assert message.startswith(str(path))
            assert "\n" not in message
            assert len(message) < len(str(path)) + 600
            raise

    return read_bytes


def check_equal(found, wanted):
    """Compares with the original, whose tensors torch turns into arrays."""
    if hasattr(wanted, "detach"):
        tensor = wanted.detach()
        name = str(tensor.dtype).removeprefix("torch.")
        if name == "bfloat16" or name.startswith("float8"):
            dtype = np.dtype(getattr(ml_dtypes, name))
            bits = {1: "int8", 2: "int16"}[dtype.itemsize]
            torch = sys.modules["torch"]
            wanted = tensor.contiguous().view(getattr(torch, bits)).numpy().view(dtype)
        else:
            wanted = tensor.numpy()
    if isinstance(wanted, np.ndarray):
        assert type(found) is np.ndarray
        assert found.dtype == wanted.dtype
        assert found.shape == wanted.shape
        assert found.tobytes() == wanted.tobytes()
        assert not found.flags.writeable
        with pytest.raises(ValueError, match="WRITEABLE"):
            found.flags.writeable = True
    elif isinstance(wanted, dict):
        assert list(found) == list(wanted)
        for key in wanted:
            check_equal(found[key], wanted[key])
    elif isinstance(wanted, (list, tuple)):
        assert len(found) == len(wanted)
        assert isinstance(found, (type(wanted), tuple))
        for one, other in zip(found, wanted, strict=True):
            check_equal(one, other)
    else:
        assert type(found) is type(wanted)
        assert found == wanted


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


def _touch_everything(value):
    pending, seen = [value], set()
    while pending:
        value = pending.pop()
        if isinstance(value, (dict, list, tuple)) and id(value) not in seen:
            seen.add(id(value))
            pending.extend(value.values() if isinstance(value, dict) else value)
        elif isinstance(value, np.ndarray) and value.size < 10_000:
            value.tolist()


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
            _touch_everything(read(bytes(damaged)))
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

PROTOCOLS = range(pickle.HIGHEST_PROTOCOL + 1)


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


def test_labels_are_fast(read):
    labels = list(range(500_000))
    content = pickle.dumps(labels, 2)
    start = time.perf_counter()
    assert read(content) == labels
    assert time.perf_counter() - start < 5  # some tenths of a second on any machine


# --- Without torch: files that ask for more than data --------------------------


def text(value):
    content = value.encode()
    return b"X" + struct.pack("<I", len(content)) + content


def call(module, name, argument):
    """Writes a call of a function with one argument."""
    return f"c{module}\n{name}\n".encode() + argument + b"\x85R"


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
    long = b"(" + b"N" * 200_000 + b"tq\x010"
    arrays = b"cnumpy.core.multiarray\n_reconstruct\nq\x020"
    start = time.perf_counter()
    with pytest.raises(FileFormatError):
        read(b"\x80\x03" + long + arrays + b"cos\nx\nh\x01R0" * 50_000 + b"h\x01Q.")
    assert time.perf_counter() - start < 5


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


def array_pickle(shape=b"K\x02\x85", dtype=b"f4", data=b"\0" * 8, order=b"\x89"):
    """Writes an array by hand."""
    state = b"(K\x03" + text("<") + b"NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\0tb"
    head = b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\0\x85C\x01b\x87R"
    kind = b"cnumpy\ndtype\nX\x02\0\0\0" + dtype + b"\x89\x88\x87R" + state
    content = b"C" + bytes([len(data)]) + data
    return b"\x80\x03" + head + b"(K\x01" + shape + kind + order + content + b"tb."


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


LEGACY_START = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19.\x80\x02M\xe9\x03.\x80\x02}."


def legacy_storage(size):
    """Writes a storage of bytes as torch.save did."""
    number = b"J" + struct.pack("<i", size)
    name = b"(" + text("storage") + b"ctorch\nByteStorage\n" + text("0") + text("cpu")
    head = LEGACY_START + name + number + b"NtQ.]" + text("0") + b"a."
    return head + struct.pack("<q", size) + b"\0" * size


def long_bytes(content):
    return b"B" + struct.pack("<I", len(content)) + content


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
            _touch_everything(read(program + b"."))
        except FileFormatError:
            continue


# --- Without torch: storages ---------------------------------------------------

STORAGE_PICKLE = (
    b"\x80\x02ctorch._utils\n%(function)s\n((X\x07\0\0\0storagectorch\n%(kind)s\n"
    b"X\x01\0\0\x000X\x03\0\0\0cpu%(size)stQ%(offset)s%(shape)s%(strides)s"
    b"\x89}%(more)stR."
)


def zipped(entries, **options):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", **options) as archive:
        for name, content in entries.items():
            archive.writestr(name, content)
    return file.getvalue()


def tensor_pickle(**parts):
    defaults = {
        b"function": b"_rebuild_tensor_v2",
        b"kind": b"FloatStorage",
        b"size": b"K\x06",
        b"offset": b"K\0",
        b"shape": b"K\x02K\x03\x86",
        b"strides": b"K\x03K\x01\x86",
        b"more": b"",
    }
    parts = {key.encode(): value for key, value in parts.items()}
    return STORAGE_PICKLE % (defaults | parts)


def tensor_zip(**parts):
    content = np.arange(6, dtype=np.float32).tobytes()
    return zipped({"a/data.pkl": tensor_pickle(**parts), "a/data/0": content})


def number(value):
    return b"\x8a\x0a" + value.to_bytes(10, "little", signed=True)


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
