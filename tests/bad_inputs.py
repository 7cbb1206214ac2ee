"""Inputs that are wrong, each with the command that meets it and the line it gets.

`python tests/bad_inputs.py` runs them all, each in a directory of its own, and prints a
table of them. The same list is what the tests go through.
"""

import contextlib
import dataclasses
import io
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path

import made_data
import made_results
import numpy as np

from alphanet_jax import files
from alphanet_jax.commands import cli

COUNTS = (60, 50, 40, 30, 25, 9, 8, 7)
NUM_FEATURES = 6
SHORT = (
    "--config.seeds=2",
    "--config.training.train_epochs=3",
    "--config.training.min_epochs=1",
    "--config.training.n_neighbors=2",
    "--config.alphanet.hdims=(4,)",
)
TRAIN = ("train", "--config=conf.py", "--workdir=w", *SHORT)
FIT = ("fit", "--features=feats", "--classifier=head.npz", "--workdir=w", *SHORT)
RESULT = "res/a/result.npz"
CONFIG = """\
from alphanet_jax.config.fields import default_config


def get_config():
    config = default_config()
    config.dataset = "made"
    config.registry = "datasets.toml"
    config.data_root = "."
    return config
"""
Change = Callable[[], None]


@dataclasses.dataclass(frozen=True)
class Bad:
    """A wrong input: what it is, the command, what it changes, the line it gets."""

    what: str
    command: tuple[str, ...]
    change: Change | None = None
    line: str = ""  # of errors without "error: "; of remarks what they begin with
    status: int = 1


def make_world(root):
    """Makes a dataset of torch files, own files, a config and a result in `root`."""
    made_data.make(root)
    rng = np.random.default_rng(0)
    centers = rng.normal(size=(len(COUNTS), NUM_FEATURES)).astype(np.float32)
    (root / "feats").mkdir()
    for group, counts in (("train", COUNTS), ("val", [6] * 8), ("test", [7] * 8)):
        labels = np.repeat(np.arange(len(counts)), counts)
        rows = centers[labels] + rng.normal(size=(len(labels), NUM_FEATURES))
        np.savez(root / "feats" / f"{group}.npz", feats=np.float32(rows), labels=labels)
    np.savez(root / "head.npz", weight=centers, bias=np.zeros(8, np.float32))
    (root / "conf.py").write_text(CONFIG)
    (root / "res/a").mkdir(parents=True)
    made_results.make_result(root / RESULT)


def run(bad, root):
    """Runs a command within a directory; returns its status and what it said."""
    said = io.StringIO()
    before = Path.cwd()
    os.chdir(root)
    try:
        if bad.change is not None:
            bad.change()
        sys.modules.pop("config_config", None)
        with contextlib.redirect_stderr(said), contextlib.redirect_stdout(said):
            status = cli.main(["alphanet", *bad.command])
    finally:
        os.chdir(before)
    return status, said.getvalue()


def group(name="train", **changes):
    """Returns a change of the arrays of a group of own files."""

    def change():
        path = f"feats/{name}.npz"
        with np.load(path) as arrays:
            content = dict(arrays)
        for key, value in changes.items():
            content[key] = value(content[key]) if callable(value) else value
        np.savez(path, **content)

    return change


def head(**changes):
    """Returns a change of the arrays of the own classifier."""

    def change():
        with np.load("head.npz") as arrays:
            content = dict(arrays)
        for key, value in changes.items():
            content[key] = value(content[key]) if callable(value) else value
        np.savez("head.npz", **content)

    return change


def result(**changes):
    """Returns a change of the arrays of the result."""

    def change():
        with np.load(RESULT) as arrays:
            content = dict(arrays)
        for key, value in changes.items():
            content[key] = value(content[key]) if callable(value) else value
        with files.replacing(Path(RESULT)) as temporary:
            files.write_npz(temporary, {k: np.asarray(v) for k, v in content.items()})

    return change


def config(**changes):
    """Returns a change of fields of the result's config."""

    def change(text):
        found = json.loads(str(text))
        for name, value in changes.items():
            *parents, last = name.split("__")
            node = found
            for parent in parents:
                node = node[parent]
            node[last] = value
        return json.dumps(found)

    return result(config=change)


def setting(name, value):
    """Returns the command that trains with a value of a field."""
    return (*TRAIN, f"--config.{name}={value}")


def put(**changes):
    """Returns a function that puts values at indices."""

    def change(array):
        array = array.copy()
        for index, value in changes.items():
            array[int(index.removeprefix("at_"))] = value
        return array

    return change


def split(**texts):
    """Returns a change that writes files of splits for own files."""

    def change():
        Path("splits").mkdir()
        defaults = {"few": "5\n6\n7\n", "medium": "3\n4\n", "many": "0\n1\n2\n"}
        for name, text in (defaults | texts).items():
            Path(f"splits/{name}.txt").write_text(text)

    return change


def text_file(path, text):
    def change():
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        Path(path).write_text(text)

    return change


def directory(path):
    return lambda: Path(path).mkdir(parents=True)


WITH_SPLITS = (*FIT, "--splits=splits")
RESULTS = ("results", "--base_res_dir=res")
COMBOS = ("combos", "--base_res_dir=res", "--select_n=1")
PLOT = ("plot", "alphas", "--base_res_dir=res", "--rel_exp_paths=a", "--out=f.pdf")
