"""What is wrong with converted datasets, each in one line."""

import contextlib
import io
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from made_data import FEATURES, put, snapshot

from alphanet_jax.commands import cli

ROOT = Path(__file__).parents[1]


pytestmark = pytest.mark.usefixtures("user_cache")


ERRORS = {}


def breaks(expected):
    def register(function):
        ERRORS[function.__name__] = (function, expected)
        return function

    return register


def array(made, name, change):
    """Replaces a converted array by what is made of it."""
    path = made.root / FEATURES / f"{name}.npy"
    values = np.load(path)
    np.save(path, change(values), allow_pickle=True)


@breaks("test.npy: feats must be finite in float32, got nan in row 3, column 2")
def nan(made):
    array(made, "test", lambda x: put(x, (3, 2), np.nan))


@breaks("test.npy: feats must be finite in float32, got inf in row 11, column 0")
def infinite_half(made):
    array(made, "test", lambda x: put(x.astype(np.float16), (11, 0), np.inf))


@breaks("test.npy: feats must be finite in float32, got 1e+39 in row 0, column 1")
def too_large(made):
    array(made, "test", lambda x: put(x.astype(np.float64), (0, 1), 1e39))


@breaks(
    "test.npy: feats must have shape (samples, features) and at least one sample, "
    "got (48,)"
)
def one_dimension(made):
    array(made, "test", np.ravel)


@breaks(
    "test.npy: feats must have shape (samples, features) and at least one sample, "
    "got (0, 4)"
)
def no_samples(made):
    array(made, "test", lambda x: x[:0])
    array(made, "test_labels", lambda x: x[:0])


@breaks("test.npy: feats must be floats, got int64")
def integers(made):
    array(made, "test", lambda x: x.astype(int))


@breaks("test.npy: feats has 3 features a sample, but the classifier takes 4")
def another_width(made):
    array(made, "test", lambda x: x[:, :3])


@breaks(
    "test.npy: not a readable .npy file (it holds Python objects, perhaps "
    "a dict, which are not read; where it is from, load it with pickles allowed"
)
def objects(made):
    array(made, "test", lambda x: x.astype(object))


@breaks(
    "test_labels.npy: not a readable .npy file (it holds Python objects, perhaps "
    "a dict, which are not read; where it is from, load it with pickles allowed"
)
def objects_in_labels(made):
    array(made, "test_labels", lambda x: x.astype(object))


@breaks("test.npy: not a readable .npy file (it says 192 bytes and holds 191)")
def cut(made):
    path = made.root / FEATURES / "test.npy"
    path.write_bytes(path.read_bytes()[:-1])


@breaks("test.npy: not a readable .npy file (the magic string is not correct;")
def no_array(made):
    (made.root / FEATURES / "test.npy").write_bytes(b"PK\3\4 and so on")


@breaks("test.npy: not a readable .npy file (EOF: reading magic string")
def empty(made):
    (made.root / FEATURES / "test.npy").write_bytes(b"")


@breaks("test.npy: not a readable .npy file (Is a directory)")
def directory(made):
    (made.root / FEATURES / "test.npy").unlink()
    (made.root / FEATURES / "test.npy").mkdir()


@breaks(
    "data/features/m: no features of group 'test'; expected test.pkl (or .pickle, "
    ".pth, .pt, .pth.tar, .npz, .npy, .safetensors), numbered parts test_0.pkl, "
    "test_1.pkl, ..., or one file that begins with test; there are test.json, "
    "test_labels.npy, train.json, train.npy, train_labels.npy, val.json, val.npy, "
    "val_labels.npy; another group may be named: --config.training.test_datagrp=NAME"
)
def missing(made):
    (made.root / FEATURES / "test.npy").unlink()


@breaks("test_labels.npy: no such file")
def labels_missing(made):
    (made.root / FEATURES / "test_labels.npy").unlink()


@breaks("test_labels.npy: 11 labels for 12 samples")
def label_count(made):
    array(made, "test_labels", lambda x: x[1:])


@breaks("test_labels.npy: labels must be whole numbers, got 0.5 in row 0")
def float_labels(made):
    array(made, "test_labels", lambda x: x + 0.5 - x[0])


@breaks("test_labels.npy: labels must be a list of integers, got bool of shape (12,)")
def bool_labels(made):
    array(made, "test_labels", lambda x: x > 2)


@breaks(
    "test_labels.npy: labels must be in 0..5 (the classifier has 6 classes), got -1 "
    "in row 7"
)
def negative_label(made):
    array(made, "test_labels", lambda x: put(x, 7, -1))


@breaks(
    "m: group 'train': every class needs a training sample, but 2 of 6 have none: 2, 5"
)
def class_without_training_sample(made):
    array(made, "train_labels", lambda x: np.where(x % 3 == 2, 0, x))


def classifier(made, **changes):
    arrays = {"weight": made.weight, "bias": made.bias} | changes
    path = made.root / "data/classifiers/m.npz"
    np.savez(path, **{k: v for k, v in arrays.items() if v is not None})


@breaks("m.npz: weight must be finite in float32, got nan at (1, 1)")
def weight_nan(made):
    classifier(made, weight=put(made.weight.copy(), (1, 1), np.nan))


@breaks("m.npz: bias must have shape (6,) to fit weight (6, 4), got (4,)")
def bias_shape(made):
    classifier(made, bias=made.bias[:4])


@breaks(
    "6 classes was found; not loaded: weight (array of Python objects); save arrays"
)
def weight_of_objects(made):
    classifier(made, weight=made.weight.astype(object))


@breaks("m.npz: not a readable .npz file (File is not a zip file)")
def classifier_no_zip(made):
    (made.root / "data/classifiers/m.npz").write_bytes(b"\x93NUMPY")


@breaks("m.pth: No such file or directory")
def classifier_missing(made):
    (made.root / "data/classifiers/m.npz").unlink()


@breaks("train.npy: feats has 4 features a sample, but the classifier takes 5")
def classifier_of_another_width(made):
    classifier(made, weight=np.ones((6, 5)))


@breaks("labels must be in 0..4 (the classifier has 5 classes), got 5 in row 4")
def classifier_of_fewer_classes(made):
    classifier(made, weight=made.weight[:5], bias=made.bias[:5])
    (made.root / "data/splits/many.txt").write_text("2\n")
    (made.root / "data/names.txt").write_text("a\nb\nc\nd\ne\n")


@breaks("data/splits: class 0 is in few.txt and in many.txt")
def splits_overlap(made):
    (made.root / "data/splits/many.txt").write_text("2\n5\n0\n")


@breaks("data/splits/few.txt:2: expected one class number a line, got 'three'")
def split_text(made):
    (made.root / "data/splits/few.txt").write_text("0\nthree\n")


@breaks("data/names.txt: 7 names for 6 classes")
def names(made):
    with (made.root / "data/names.txt").open("a") as file:
        file.write("seven")


def run_main(*flags):
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        status = cli.main(["main.py", *flags])
    return status, out.getvalue(), err.getvalue()


def train_flags(made, tmp_path):
    return [
        f"--config={ROOT / 'configs/quickstart.py'}",
        f"--config.registry={made.registry}",
        "--config.dataset=made",
        f"--config.data_root={made.root}",
        f"--workdir={tmp_path / 'work'}",
        "--compilation_cache=off",
    ]


@pytest.mark.parametrize("name", ERRORS)
def test_error(name, converted, tmp_path):
    breaking, expected = ERRORS[name]
    breaking(converted)
    before = snapshot(converted.root)
    status, out, err = run_main(*train_flags(converted, tmp_path))
    assert (status, out) == (1, "")
    assert err.startswith("error: ")
    assert err.endswith("\n")
    assert err.count("\n") == 1
    assert expected in err
    assert snapshot(converted.root) == before
    assert not (tmp_path / "work").exists()


@pytest.mark.parametrize(
    ("flag", "expected"),
    [
        ("train_datagrp=", "train_datagrp must name a group of samples, got ''"),
        ("test_datagrp=", "test_datagrp must name a group of samples, got ''"),
        ("val_datagrp=vla", "no features of group 'vla'"),
        ("val_datagrp=../m/val", "groups of samples must have plain names"),
    ],
)
def test_error_of_groups(flag, expected, converted, tmp_path):
    flags = [*train_flags(converted, tmp_path), f"--config.training.{flag}"]
    status, out, err = run_main(*flags)
    assert (status, out) == (1, "")
    assert err.startswith("error: ")
    assert expected in err
    assert err.count("\n") == 1


@pytest.mark.slow
def test_error_of_the_program(converted, tmp_path):
    nan(converted)
    result = subprocess.run(
        [sys.executable, ROOT / "main.py", *train_flags(converted, tmp_path)],
        capture_output=True,
        text=True,
        cwd=ROOT,
    )
    assert (result.returncode, result.stdout) == (1, "")
    assert result.stderr == (
        f"error: {converted.root / FEATURES}/test.npy: feats must be finite in "
        "float32, got nan in row 3, column 2\n"
    )
