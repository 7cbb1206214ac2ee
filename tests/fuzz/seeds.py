"""Small files to begin with, made by code: some that are right, some that are not."""

import functools
import io
import json
import os
import struct
import tempfile
import zipfile
from pathlib import Path

import hostile
import made_checkpoints
import made_results
import numpy as np

SMALL = 4096  # bytes of a seed at most; longer ones are cut

FEATURES = np.arange(24, dtype=np.float32).reshape(6, 4)
LABELS = [0, 1, 2, 0, 1, 2]
SAMPLES = {"feats": FEATURES, "labels": LABELS}
HEAD = {"weight": FEATURES[:3].copy(), "bias": np.zeros(3, np.float32)}
STATE = {
    "state_dict": {
        "module.fc.weight": FEATURES[:3].astype(np.float16),
        "module.fc.bias": np.zeros(3, np.float64),
        "module.conv.weight": FEATURES[:3, :2].T,
    },
    "epoch": 90,
    "best": (0.5, None, True),
}


def _written(save, *values):
    """Bytes that a function writes of each value."""
    made = []
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory, "file")
        for value in values:
            save(path, value)
            made.append(path.read_bytes())
    return made


def torch_zips():
    hurt = [content[:SMALL] for content in hostile.TORCH.values()]
    return [*_written(made_checkpoints.save_zip, SAMPLES, HEAD, STATE), *hurt]


def torch_pickles():
    """The pickles within archives of torch."""
    made = []
    for content in torch_zips():
        try:
            with zipfile.ZipFile(io.BytesIO(content)) as archive:
                names = [n for n in archive.namelist() if n.endswith("data.pkl")]
                made += [archive.read(name)[:SMALL] for name in names]
        except zipfile.BadZipFile:
            pass
    return made


def torch_legacy():
    return _written(made_checkpoints.save_legacy, SAMPLES, HEAD, STATE)


def pickles():
    hurt = [content[:400] + content[-2:] for content in hostile.PICKLES.values()]
    values = (SAMPLES, HEAD, {"x": {1, 2}, "y": b"a" * 5000, "z": 1j, 3: 2**70})
    made = []
    for protocol in (0, 2, 4, 5):
        save = functools.partial(made_checkpoints.save_pickle, protocol=protocol)
        made += _written(save, *values)
    return made + hurt


def safetensors_headers():
    def entry(shape, start, stop, dtype="F32"):
        return {"dtype": dtype, "shape": shape, "data_offsets": [start, stop]}

    head = {"fc.weight": entry([3, 4], 0, 48), "fc.bias": entry([3], 48, 60)}
    samples = {"feats": entry([2, 4], 0, 32), "labels": entry([2], 32, 48, "I64")}
    rest = {"__metadata__": {"a": "b"}, "rest": entry([16], 48, 64, "U8")}
    made = [json.dumps(value).encode() for value in (head, samples | rest)]
    made[0] = json.dumps(head | {"rest": entry([4], 60, 64, "I8")}).encode()
    return made + [content[8:][:SMALL] for content in hostile.SAFETENSORS.values()]


def in_safetensors(header):
    return struct.pack("<Q", len(header)) + header + _CONTENT


# Labels of 0 and 1 where they are looked for; zeros else.
_CONTENT = bytes(40) + struct.pack("<q", 1) + bytes(16)


def npy_of(array):
    file = io.BytesIO()
    np.save(file, np.asarray(array))
    return file.getvalue()


def npys():
    arrays = (FEATURES[:3], FEATURES.T, np.array(LABELS), np.array(["a", "bc"]))
    named = [hostile.NUMPY[n] for n in hostile.NUMPY if n.endswith(".npy")]
    return [*map(npy_of, arrays), *(content[:SMALL] for content in named)]


def npzs():
    labels = {"feats": FEATURES, "labels": np.array(LABELS)}
    made = []
    for value in (labels, HEAD, STATE["state_dict"]):
        file = io.BytesIO()
        np.savez_compressed(file, **made_checkpoints.flat(value))
        made.append(file.getvalue())
    named = [hostile.NUMPY[n] for n in hostile.NUMPY if n.endswith(".npz")]
    return made + [content[:SMALL] for content in named]


def in_npz(content, name="feats.npy", *more):
    """An archive of one file, and perhaps others."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr(name, content)
        for other, bytes_of_other in more:
            archive.writestr(other, bytes_of_other)
    return file.getvalue()


REGISTRIES = [
    b'[ds]\nsplit_files_dir = "splits"\nfeature_files_dir = "feats"\n'
    b'classifier_file = "cls.pkl"\n',
    b'["ds"]\nfeature_files_dir = "f"\nclassifier_file = "c"\nfew_below = 20\n'
    b'many_above = "75%"\nclassifier_normalize = true\ndatagrps = ["train", "test"]\n'
    b'feature_files = {train = ["a", "b"], test = "c"}\nlabels_by = "row"\n'
    b'[other]\na.b.c = [1, 2.5, 1979-05-27T07:32:00Z, "\\u00e4", """x"""]\n',
    b"[ds.labels]\n[[ds.a]]\nx = 1\n[[ds.a]]\ny = 0x1f\nz = inf\n",
]


def registries():
    return REGISTRIES + [content[:SMALL] for content in hostile.TOML.values()]


def comparisons():
    point = {"knob": 0.5, "val": [0.1, 0.2, 0.3, 0.2], "test": [0.1, None, 0.3, 0.2]}
    columns = ("few", "medium", "many", "overall", "macro_f1", "harmonic_mean")
    chosen = {**point, **dict.fromkeys([*columns, "worst_decile", "ece", "nll"], 0.4)}
    entry = {
        "linear": True,
        "source": "x",
        "knob": "tau",
        "curve": [point],
        "chosen": {"overall": chosen, "harmonic": chosen | {"options": {"a": 1}}},
        "tradeoff": 0.4,
        "difference": {"tradeoff": {"estimate": 0.1, "low": -0.1, "high": 0.2}},
    }
    found = {
        "methods": {"tau": entry},
        "reference": "tau",
        "proper_name": "Made",
        "knobs_by": "validation",
        "level": 0.95,
        "choice": {"lines": ["a"], "test": [0.1, 0.2, None, 0.4]},
    }
    return [json.dumps(found).encode(), *JSONS]


JSONS = [
    b'{"a": [1, -2.5e3, "x\\u0000", null, true, {}], "b": {"c": []}}',
    b'{"weight_map": {"fc.weight": "part.safetensors", "fc.bias": "gone.npz"}}',
    b'{"methods": [], "format": 1, "options": [1], "outputs": {"a": 1}}',
    b"[" * 3000,
    b'{"a":' * 600,
    b"9" * 4400,
    b"[NaN, Infinity, 1e999, -0]",
    b"\xff\xfe[\x001\x00]\x00",
]


@functools.cache
def result_arrays():
    """The arrays of a small whole result, as files."""
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory, "result.npz")
        made_results.make_result(path, num_seeds=2)
        with zipfile.ZipFile(path) as archive:
            return {name: archive.read(name) for name in archive.namelist()}


def result_members():
    """One array of a result: its number among the names, and the file of it."""
    arrays = result_arrays()
    made = [bytes([i]) + content for i, content in enumerate(arrays.values())]
    names = list(arrays)
    for value in (np.zeros((0, 3)), np.zeros(4), np.float64("nan"), np.array(["x"])):
        made += [bytes([i]) + npy_of(value) for i in range(0, len(names), 3)]
    return [content for content in made if len(content) <= 2 * SMALL]


RESULT_TEXTS = ("config", "versions", "file_hashes")


def result_texts():
    """One text of a result: its number among `RESULT_TEXTS`, and the text."""
    arrays, made = result_arrays(), []
    for i, name in enumerate(RESULT_TEXTS):
        array = np.load(io.BytesIO(arrays[f"{name}.npy"]))
        texts = [str(array).encode(), *JSONS, b"[]", b'"x"', b"{}", b'{"rho": "x"}']
        made += [bytes([i]) + text for text in texts]
    return made


def with_json(*right):
    """Records that are right, and JSON that is not."""
    return lambda: [json.dumps(one).encode() for one in right] + JSONS


def lists():
    """Lists of classes, counts and names."""
    return [
        b"0\n1\n2\n",
        b"[0, 1,\n 2]\n# 7\n",
        b"3 400 5\n",
        b"a/b c.jpg 0\na/d.jpg 2\n",
        "ä\nfüchse\n\u72d0\n".encode("utf-16"),
        b"1.400000000000000000e+01\n-1e99\n9999999999999999999\n",
        b"\xef\xbb\xbf0;1;2\r\n",
        b"\x00\xff\n",
        b"1 " * 2000,
    ]


def neighbor_files(digest):
    """Files of neighbors of two few classes, two each."""
    classes = np.array([[2, 3], [4, 2]], np.int32)
    distances = np.array([[0.5, 1.5], [0.25, 0.25]], np.float32)
    made = []
    for one, other in (
        (classes, distances),
        (classes[:, :1], distances),
        (classes * 0 + 2, distances),
        (classes, distances * np.nan),
        (np.array(["a"]), distances),
        (np.int32(1), np.float32(1)),
    ):
        members = {"classes": one, "distances": other, "sha256": digest(one, other)}
        more = [(f"{name}.npy", npy_of(array)) for name, array in members.items()]
        made.append(in_npz(more[0][1], "classes.npy", *more[1:]))
    return made


def without_write_access_of_others(directory):
    """Makes a directory one that only its owner may write to."""
    os.chmod(directory, 0o700)
    return directory
