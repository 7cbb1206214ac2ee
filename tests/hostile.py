"""Files that are small and ask for much: every kind that readers were tried with.

`python tests/hostile.py DIRECTORY` writes them, reads each in a process of its own and
prints a table: the file, its size, the time, the memory beyond the program's own, and
the line that it gets.
"""

import io
import json
import os
import pickle
import struct
import sys
import time
import zipfile
from pathlib import Path

import numpy as np

SIZE = 300_000  # bytes of files that repeat one thing
ALLOWED = 40, 20_000_000  # of memory: times the size, and more
_PROTO = b"\x80\x04"


def _many(unit, start=b"", end=b"."):
    return _PROTO + start + unit * (SIZE // len(unit)) + end


def _numbered(layout, after=b"", step=1):
    count = SIZE // (struct.calcsize(layout) + 1 + len(after))
    code = b"J" if layout == "<i" else b"M"
    most = 2 ** (8 * struct.calcsize(layout) - 1)
    numbers = (i * step % most for i in range(count))
    return b"".join(code + struct.pack(layout, n) + after for n in numbers)


def _text(text):
    content = text.encode()
    return b"X" + struct.pack("<I", len(content)) + content


def _called(name, args=b")"):
    module, _, attribute = name.rpartition(".")
    start = f"c{module}\n{attribute}\n".encode() + b"\x94" + args + b"\x94"
    return _many(b"h\x00h\x01R", start)


_ARRAY = b"(cnumpy\nndarray\nK\x00C\x01bt"
# One opcode or a few, again and again: most would make far more than 40 times as much.
PICKLES = {
    "sets": _many(b"\x8f"),
    "sets in a list": _many(b"\x8f", b"(", b"l."),
    "frozensets": _many(b"(\x91"),
    "lists": _many(b"]"),
    "lists in a list": _many(b"]", b"(", b"l."),
    "lists within lists": _PROTO + b"]" * (SIZE // 2) + b"a" * (SIZE // 2) + b".",
    "dicts": _many(b"}", b"(", b"l."),
    "marks": _many(b"("),
    "tuples within tuples": _many(b"\x85", b")"),
    "tuples": _many(b"N\x85", b"(", b"l."),
    "copies": _many(b"2", b"N"),
    "numbered again": _many(b"\x94", b"N"),
    "numbered with gaps": _PROTO
    + b"N"
    + b"".join(b"r" + struct.pack("<I", i * 4001 % 2**32) for i in range(SIZE // 5))
    + b".",
    "numbered far": _PROTO + b"Nr\xff\xff\xff\x7fj\xff\xff\xff\x7f.",
    "numbered below zero": _PROTO + b"Np-5\ng-5\n.",
    "none": _many(b"N", b"(", b"l."),
    "small numbers": _many(b"K\x05", b"(", b"l."),
    "numbers": _many(b"M\xff\xff", b"(", b"l."),
    "long numbers": _many(b"\x8a\x01\xff", b"(", b"l."),
    "longer numbers": _many(b"\x8a\x40" + b"\x7f" * 64, b"(", b"l."),
    "number of 2 GB": _PROTO + b"\x8b\xff\xff\xff\x7f.",
    "floats": _many(b"G" + b"?" * 8, b"(", b"l."),
    "empty text": _many(b"\x8c\x00", b"(", b"l."),
    "text of two": _many(b"\x8c\x02ab", b"(", b"l."),
    "text of four bytes": _many(_text("\N{GRINNING FACE}"), b"(", b"l."),
    "wide text": _PROTO + _text("a" * SIZE + "\N{GRINNING FACE}") + b".",
    "text of 16 EB": _PROTO + b"\x8d" + b"\xff" * 8 + b".",
    "bytes of two": _many(b"C\x02ab", b"(", b"l."),
    "unknown names": _many(b"cA\nB\n", b"(", b"l."),
    "unknown objects": _many(b"h\x00)\x81", b"(cA\nB\n\x94", b"l."),
    "ordered dicts": _called("collections.OrderedDict"),
    "counters": _called("collections.Counter"),
    "arrays without content": _called("numpy.core.multiarray._reconstruct", _ARRAY),
    "dtypes": _called("numpy.dtype", b"\x8c\x02f4\x89\x88\x87"),
    "shapes": _called("torch.Size", b"(K\x01K\x02t\x85"),
    "dict of numbers": _PROTO + b"}(" + _numbered("<i", b"N", 7) + b"u.",
    "dict of lists": _PROTO + b"}(" + _numbered("<i", b"]", 7) + b"u.",
    "dict of one a time": _PROTO + b"}" + _numbered("<i", b"Ns", 7) + b".",
    "set of numbers": _PROTO + b"\x8f(" + _numbered("<i", b"", 7) + b"\x90.",
    "colliding tuples": _PROTO
    + b"}("
    + b"".join(
        b"\x8a\x08" + (i * (2**61 - 1) % 2**63).to_bytes(8, "little") + b"\x85N"
        for i in range(SIZE // 12)
    )
    + b"u.",
    "colliding numbers": _PROTO
    + b"}("
    + b"".join(
        b"\x8a\x40" + (i * (2**61 - 1)).to_bytes(64, "little") + b"N"
        for i in range(SIZE // 67)
    )
    + b"u.",
    "long keys": _PROTO
    + b"}"
    + _text("k" * 400)
    + b"}("
    + _numbered("<i", b"]", 7)
    + b"us.",
    "in itself": b"\x80\x04]\x94(h\x00h\x00e.",
    "nested doubles": _PROTO
    + b"]\x94"
    + b"".join(b"](h%ch%ce\x94" % (i, i) for i in range(200))
    + b".",
    "frame of 16 EB": _PROTO + b"\x95" + b"\xff" * 8 + b"N.",
    "text for outside data": _PROTO + b"Pos.system\n.",
}


def _zip(data, storages=(), extra=()):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("a/data.pkl", data)
        for name, content in [*storages, *extra]:
            archive.writestr(name, content)
    return file.getvalue()


def _tensor(shape, strides, size=1, key="0", offset=0):
    def number(n):
        return b"\x8a\x08" + n.to_bytes(8, "little", signed=True)

    def numbers(values):
        return b"(" + b"".join(map(number, values)) + b"t"

    reference = (
        b"("
        + _text("storage")
        + b"ctorch\nFloatStorage\n"
        + _text(key)
        + _text("cpu")
        + number(size)
        + b"tQ"
    )
    return (
        b"ctorch._utils\n_rebuild_tensor_v2\n("
        + reference
        + number(offset)
        + numbers(shape)
        + numbers(strides)
        + b"\x89}tR"
    )


def _head(weight, bias):
    return (
        b"\x80\x02}(" + _text("weight") + weight + _text("bias") + bias + b"u."
    )  # of a classifier


_ONE = [("a/data/0", b"\0" * 4)]
_BIAS = _tensor((4,), (0,))
TORCH = {
    "expanded to 40 GB": _zip(_head(_tensor((100_000, 100_000), (0, 0)), _BIAS), _ONE),
    "windows": _zip(
        _head(_tensor((50_000, 50_000), (1, 1), 10**5), _BIAS),
        [("a/data/0", b"\0" * 400_000)],
    ),
    "64 dimensions": _zip(_head(_tensor((2,) * 62, (0,) * 62), _BIAS), _ONE),
    "storage that is not there": _zip(
        _head(_tensor((4, 4), (4, 1), 16, "9"), _BIAS), _ONE
    ),
    "storage that is short": _zip(_head(_tensor((4, 4), (4, 1), 16), _BIAS), _ONE),
    "negative sizes": _zip(_head(_tensor((-4, 4), (4, 1), 16), _BIAS), _ONE),
    "negative offset": _zip(_head(_tensor((1, 1), (1, 1), 1, offset=-1), _BIAS), _ONE),
    "many tensors": _zip(
        b"\x80\x02"
        + _tensor((1,), (1,))
        + b"0(ctorch._utils\n_rebuild_tensor_v2\nq\x00("
        + b"h\x00" * (SIZE // 2)
        + b"tl.",
        _ONE,
    ),
    "many entries": _zip(b"\x80\x02N.", [(f"a/data/{i}", b"") for i in range(4_000)]),
}


def _npz(**arrays):
    file = io.BytesIO()
    np.savez_compressed(file, **arrays)
    return file.getvalue()


def _npy(header, content=b"", length=None):
    length = len(header) if length is None else length
    return b"\x93NUMPY\x02\x00" + struct.pack("<I", length) + header + content


def _npz_of(content):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("feats.npy", content)
    return file.getvalue()


def _header(descr, shape):
    return f"{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}}}\n".encode()


NUMPY = {
    "zeros.npz": _npz(feats=np.zeros((6_000, 2_000), np.float32)),
    "others.npz": _npz(feats=np.zeros((2, 2)), other=np.zeros(10**7)),
    "long header.npz": _npz_of(_npy(b" " * 50_000_000)),
    "header of 4 GB.npy": _npy(b"{}", length=2**32 - 1),
    "deep header.npy": _npy(b"(" * 9_000 + b"\n"),
    "records.npz": _npz_of(_npy(_header("[('a', '<f4', (2,))]", (1,)), b"\0" * 8)),
    "huge.npy": _npy(_header("'<f4'", (2**40, 2**20))),
    "wrapping.npz": _npz_of(_npy(_header("'<f4'", (2**32, 2**32)))),
    "negative.npz": _npz_of(_npy(_header("'<f4'", (-1, 4)))),
    "no size.npz": _npz_of(_npy(_header("'|S0'", (2**40,)))),
    "objects.npy": _npy(_header("'|O'", (2,)), b"cos\nsystem\n."),
    "says more.npz": _npz_of(_npy(_header("'<f4'", (2**20, 2**10)), b"\0" * 64)),
}


def _safetensors(header, content=b""):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + content


_F32 = {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}
SAFETENSORS = {
    "deep.safetensors": _safetensors(b'{"a":' + b"[" * SIZE),
    "lists.safetensors": _safetensors(b'{"a":[' + b"[]," * (SIZE // 3) + b"1]}"),
    "objects.safetensors": _safetensors(b'{"a":[' + b"{}," * (SIZE // 3) + b"1]}"),
    "digits.safetensors": _safetensors(b'{"a":' + b"9" * 5_000 + b"}"),
    "twice.safetensors": _safetensors(
        b'{"a":' + json.dumps(_F32).encode() + b',"a":{}}', b"\0" * 4
    ),
    "negative.safetensors": _safetensors(
        {"a": _F32 | {"data_offsets": [-4, 0]}}, b"\0" * 4
    ),
    "huge.safetensors": _safetensors({"a": _F32 | {"shape": [2**40, 2**40]}}),
    "overlap.safetensors": _safetensors({"a": _F32, "b": _F32}, b"\0" * 4),
    "long header.safetensors": struct.pack("<Q", 2**63) + b"{}",
}
TOML = {
    "dotted.toml": b"a." * 100_000 + b"a = 1",
    "spaced.toml": b"a . " * 50_000 + b"a = 1",
    "quoted.toml": b'"a".' * 50_000 + b"a = 1",
    "header.toml": b"[" + b"a." * 100_000 + b"a]",
    "deep.toml": b"a = " + b"[" * 100_000,
    "tables.toml": b"a = " + b"{a=" * 10_000,
    "digits.toml": b"a = " + b"9" * 5_000,
    "keys.toml": b"".join(b"k%d.a=1\n" % i for i in range(50_000)),
    "many tables.toml": b"".join(b"[t%d]\n" % i for i in range(19_999)),
    "many parts.toml": b"".join(b"k%d.%sa=1\n" % (i, b"a." * 61) for i in range(300)),
    "one long name.toml": b"a" * 1_000_000,
    "large.toml": b"a = '" + b"x" * 2_000_000 + b"'",
    "value.toml": b"[ds]\nfeature_files_dir = " + b"[" * 90 + b"]" * 90,
}
KINDS = {
    **{f"{name}.pkl": content for name, content in PICKLES.items()},
    **{f"{name}.pth": content for name, content in TORCH.items()},
    **NUMPY,
    **SAFETENSORS,
    **TOML,
}
_LOOP = []
_LOOP += [_LOOP, _LOOP]


def _doubled():
    made = [0]
    for _ in range(28):
        made = [made, made]
    return made


# What labels may be instead of a list of whole numbers, of six samples.
LABELS = {
    "in itself": _LOOP,
    "nested": _doubled(),
    "one long text": [*([""] * 20_000), "x" * 100_000],
    "one array again": [np.zeros(30_000, np.int8)] * 30_000,
    "lists of lists": [[0], [1], [2], [0], [1], [2]],
    "text": ["0"] * 6,
    "a half": [0, 1, 2, 0.5, 1, 2],
    "not a number": [0, 1, 2, float("nan"), 1, 2],
    "large": [0, 1, 2, 1e300, 1, 2],
    "large number": [0, 1, 2, 2**70, 1, 2],
    "too many": [0] * 100_000,
    "none": None,
    "truth": [True] * 6,
    "a dict": {0: 1},
    "matrix": np.zeros((6, 1000)),
    "expanded": np.zeros((6, 3)),
}


def write(directory):
    """Writes all kinds; returns their paths."""
    paths = []
    for name, content in KINDS.items():
        paths.append(Path(directory, name.replace(" ", "_")))
        paths[-1].write_bytes(content)
    return paths


def write_dataset(root, labels=(0, 1, 2, 0, 1, 2), idxs=None):
    """Writes a dataset of three classes whose training labels are given."""
    features = np.arange(24, dtype=np.float32).reshape(6, 4)
    (root / "splits").mkdir(parents=True)
    (root / "feats").mkdir()
    for label, split in enumerate(("few", "medium", "many")):
        (root / "splits" / f"{split}.txt").write_text(f"{label}\n")
    with (root / "cls.pkl").open("wb") as file:
        pickle.dump({"weight": features[:3], "bias": np.zeros(3, np.float32)}, file)
    for group in ("train", "val", "test"):
        hurt = group == "train"
        content = {"feats": features, "labels": labels if hurt else [0, 1, 2] * 2}
        if idxs is not None:
            content["idxs"] = idxs
        with (root / "feats" / f"{group}.pkl").open("wb") as file:
            pickle.dump(content, file)
    (root / "reg.toml").write_text(
        '[ds]\nsplit_files_dir = "splits"\nfeature_files_dir = "feats"\n'
        'classifier_file = "cls.pkl"\n'
    )


def _peak():
    with open("/proc/self/status", encoding="ascii") as file:
        return next(int(x.split()[1]) for x in file if x.startswith("VmHWM")) * 1024


def _read(path):
    """Reads a file as commands do: to take arrays from it, and to look at it."""
    from alphanet_jax.data.contents import load_content
    from alphanet_jax.data.convert import convert_dataset
    from alphanet_jax.data.feature_files import read_feature_file
    from alphanet_jax.data.group_files import Part
    from alphanet_jax.data.heads import read_head
    from alphanet_jax.data.inspection import inspect_file
    from alphanet_jax.data.registry import get_entry
    from alphanet_jax.errors import UserError

    if path.is_dir():
        entry = get_entry(path / "reg.toml", "ds")
        convert_dataset(entry, path, path / "out")
        return
    if path.suffix == ".toml":
        get_entry(path, "ds")
        return
    load_content(path)
    inspect_file(path)
    part = Part(path, None)
    lines = []
    for use in (
        lambda: read_feature_file(part, num_classes=3, num_features=4),
        lambda: read_head(path),
    ):
        try:
            use()
        except UserError as error:
            lines.append(str(error))
    raise UserError(lines[0] if lines else "read")


def measure(path):
    """Reads a file in a process of its own.

    Returns:
      Seconds, bytes of memory beyond the program's own, and the line that it got.
    """
    from alphanet_jax.errors import UserError

    receive, send = os.pipe()
    child = os.fork()
    if not child:
        with open("/proc/self/clear_refs", "w", encoding="ascii") as file:
            file.write("5")
        before, start = _peak(), time.monotonic()
        try:
            _read(path)
            line = "read"
        except UserError as error:
            line = str(error)
        except BaseException as error:  # what must not happen
            line = f"!!! {type(error).__name__}: {error}"
        found = time.monotonic() - start, _peak() - before, line[:2_000]
        os.write(send, json.dumps(found).encode())
        os._exit(0)
    os.close(send)
    with open(receive, "rb") as file:
        found = file.read()
    os.waitpid(child, 0)
    return json.loads(found) if found else (0.0, 0, "!!! it was killed")


def size_of(path):
    """Counts the bytes of a file, or of all in a directory."""
    paths = path.rglob("*") if path.is_dir() else [path]
    return sum(each.stat().st_size for each in paths if each.is_file())


def main():
    import alphanet_jax.data.convert
    import alphanet_jax.data.inspection  # noqa: F401 (before memory is measured)

    paths = [Path(path) for path in sys.argv[1:]]
    if len(paths) == 1 and not any(paths[0].iterdir()):
        paths = write(paths[0])
    for path in paths:
        size = size_of(path)
        print(json.dumps([path.name, size, *measure(path)]), flush=True)


if __name__ == "__main__":
    main()
