"""Small datasets in the original's form, made to be converted and to be broken."""

import contextlib
import dataclasses
import io
import json
import pickle
import shutil
import struct
from pathlib import Path

import numpy as np

from alphanet_jax.commands import cli
from alphanet_jax.commands import convert as command
from alphanet_jax.data import convert, registry
from alphanet_jax.data.loading import load_dataset

NUM_CLASSES, NUM_FEATURES = 6, 4
SPLITS = {"few": (0, 3), "medium": (1, 4), "many": (2, 5)}
SIZES = {"train": 23, "val": 9, "test": 12}
FEATURES, CLASSIFIER = "data/features/m", "data/classifiers/m.pth"
GROUP_FILES = [
    f"{FEATURES}/{group}{end}"
    for group in SIZES
    for end in (".npy", "_labels.npy", ".json")
]
CONVERTED = sorted(
    [
        *GROUP_FILES,
        *("data/classifiers/m.npz", "data/classifiers/m.json"),
        *(f"data/splits/{split}.txt" for split in SPLITS),
        "data/names.txt",
    ]
)


@dataclasses.dataclass
class Made:
    """A dataset below a directory, and what was put into it."""

    root: Path
    weight: np.ndarray
    bias: np.ndarray
    groups: dict[str, dict[str, np.ndarray]]
    table: dict[str, object]

    @property
    def registry(self):
        return self.root / "datasets.toml"

    def write_registry(self, **changes):
        self.table |= changes
        lines = [
            f"{key} = {json.dumps(value)}"
            for key, value in self.table.items()
            if value is not None
        ]
        self.registry.write_text("\n".join(["[made]", *lines]) + "\n")

    @property
    def entry(self):
        return registry.get_entry(self.registry, "made")

    def path(self, name):
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        return path

    def dump(self, name, content, protocol=4):
        self.path(name).write_bytes(pickle.dumps(content, protocol))

    def dump_group(self, group, **changes):
        """Writes a group's file anew; a value of None removes the key."""
        content = self.groups[group] | changes
        content = {key: value for key, value in content.items() if value is not None}
        self.dump(f"{FEATURES}/{group}.pkl", content)

    def dump_classifier(self, **changes):
        content = {"weight": self.weight, "bias": self.bias} | changes
        self.dump(CLASSIFIER, content)

    def flags(self, out, *more):
        return [
            f"--registry={self.registry}",
            "--dataset=made",
            f"--data_root={self.root}",
            f"--out={out}",
            *more,
        ]

    def convert(self, out, *more):
        """Runs the program; returns its exit status, output and errors."""
        return run_convert(*self.flags(out, *more))


def run_convert(*flags):
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        status = cli.run_program(command, ["convert_torch_features.py", *flags])
    return status, out.getvalue(), err.getvalue()


def make(root, *, seed=0, num_features=NUM_FEATURES):
    rng = np.random.default_rng(seed)
    weight = rng.standard_normal((NUM_CLASSES, num_features), np.float32)
    bias = rng.standard_normal(NUM_CLASSES, np.float32)
    groups = {
        name: {
            "feats": rng.standard_normal((size, num_features), np.float32),
            # Every class, and none at the row of its number.
            "labels": (np.arange(size) + 1) % NUM_CLASSES,
        }
        for name, size in SIZES.items()
    }
    table = {
        "split_files_dir": "data/splits",
        "feature_files_dir": FEATURES,
        "classifier_file": CLASSIFIER,
        "classifier_loader": "LinearClassifierLoader",
        "label_names_file": "data/names.txt",
    }
    made = Made(Path(root), weight, bias, groups, table)
    made.root.mkdir(parents=True, exist_ok=True)
    made.write_registry()
    for split, classes in SPLITS.items():
        text = "".join(f"{label}\n" for label in classes)
        made.path(f"data/splits/{split}.txt").write_text(text)
    names = "".join(f"name {label}\n" for label in range(NUM_CLASSES))
    made.path("data/names.txt").write_text(names)
    made.dump_classifier()
    for group in groups:
        made.dump_group(group)
    return made


def put(values, index, value):
    values[index] = value
    return values


def load(made, **arguments):
    """Loads it; returns that, and what was said."""
    lines = []
    loaded = load_dataset(made.entry, made.root, report=lines.append, **arguments)
    return loaded, lines


def converted_alone(made, out):
    """Converts a dataset, and removes what it was made of; returns the new one."""
    convert.convert_dataset(made.entry, made.root, out)
    shutil.copy(made.registry, out)
    shutil.rmtree(made.root)
    return Made(out, made.weight, made.bias, made.groups, made.table)


def snapshot(root):
    """What is below a directory: content and times of files, names of directories."""
    root = Path(root)
    if not root.exists():
        return None
    return {
        path.relative_to(root).as_posix(): (
            (path.read_bytes(), path.stat().st_mtime_ns) if path.is_file() else None
        )
        for path in root.rglob("*")
    }


def names(root):
    root = Path(root)
    return sorted(
        p.relative_to(root).as_posix() for p in root.rglob("*") if p.is_file()
    )


def load_group(root, group):
    directory = Path(root) / FEATURES
    return np.load(directory / f"{group}.npy"), np.load(
        directory / f"{group}_labels.npy"
    )


def load_classifier(root):
    with np.load(Path(root) / "data/classifiers/m.npz") as arrays:
        assert sorted(arrays.files) == ["bias", "weight"]
        return arrays["weight"], arrays["bias"]


def record(root, name):
    return json.loads((Path(root) / f"{name}.json").read_text())


def safetensors(path, **arrays):
    """Writes a file of that form: a header in JSON, then the bytes."""
    kinds = {"<f4": "F32", "<f2": "F16", "<i8": "I64", "<f8": "F64"}
    header, data = {}, b""
    for name, array in arrays.items():
        header[name] = {
            "dtype": kinds[array.dtype.str],
            "shape": array.shape,
            "data_offsets": [len(data), len(data) + array.nbytes],
        }
        data += array.tobytes()
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + data)


class System:
    """Calls os.system when a pickle that holds it is loaded the usual way."""

    def __init__(self, command):
        self.command = command

    def __reduce__(self):
        import os

        return os.system, (self.command,)
