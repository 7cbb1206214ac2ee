"""What the tests of conversion share: runs of the program, looks at its files."""

import os
import subprocess
import sys
import textwrap
from pathlib import Path

import made_data
import numpy as np

ROOT = Path(__file__).parents[1]
RECORDED = Path(__file__).parent / "recorded"
PROGRAM = ROOT / "convert_torch_features.py"


def good(result):
    status, out, err = result
    assert (status, err) == (0, "")
    return out.splitlines()


def check_group(out, group, features, labels, dtype=np.float32):
    found, found_labels = made_data.load_group(out, group)
    assert found.dtype == dtype
    assert found_labels.dtype == np.int32
    np.testing.assert_array_equal(found, features.astype(dtype))
    np.testing.assert_array_equal(found_labels, labels)


def run_program(*flags):
    return subprocess.run(
        [sys.executable, PROGRAM, *flags], capture_output=True, text=True, cwd=ROOT
    )


def run_code(code):
    return subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)],
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )


def recorded_flags(out):
    return (
        f"--registry={RECORDED / 'datasets.toml'}",
        "--dataset=small",
        f"--data_root={RECORDED}",
        f"--out={out}",
    )


def convert_another(root):
    """Converts another dataset, and puts a file of the user's own beside it."""
    other = made_data.make(root / "original", seed=1)
    status, _, err = other.convert(root / "out")
    assert (status, err) == (0, "")
    (root / "out" / "notes.txt").write_text("mine")
    return root / "out"
