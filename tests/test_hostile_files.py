"""What small files cost that ask for much, and what they get: one line."""

import json
import os
import subprocess
import sys
from pathlib import Path

import hostile
import pytest

needs_proc = pytest.mark.skipif(
    not os.path.exists("/proc/self/clear_refs"), reason="memory is measured by /proc"
)
# What must be said of some; all others get one line, too, whatever it is.
SAYS = {
    "lists.pkl": "makes more objects than a file of 300003 bytes may",
    "sets.pkl": "has more sets than a file of its size can fill",
    "tuples_within_tuples.pkl": "28 times its size and 12 MB",
    "colliding_tuples.pkl": "more than 4096 tuples as dict keys",
    "colliding_numbers.pkl": "holds a int as dict key",
    "number_of_2_GB.pkl": "64 are allowed",
    "expanded_to_40_GB.pth": "got a dict of 'weight', 'bias'",
    "storage_that_is_not_there.pth": "does not hold its storage '9'",
    "zeros.npz": "unpack to 48,000,128 bytes, far more than the file of",
    "long_header.npz": "far more than the file",
    "header_of_4_GB.npy": "a header of 4294967295 bytes; at most 10000 are read",
    "records.npz": "holds records, not plain numbers",
    "wrapping.npz": "an array that is too large for any memory",
    "says_more.npz": "says it is 4294967296 bytes and holds 64",
    "deep.safetensors": "its header is not JSON",
    "twice.safetensors": "two entries of one name",
    "dotted.toml": "100001 keys, tables and lists; at most 20000 are read",
    "many_parts.toml": "dataset 'ds'",
    "digits.toml": "a whole number of more than 4300 digits",
}
LABELS_SAY = {
    "in itself": "labels must be a list of integers",
    "nested": "labels must be a list of integers",
    "one long text": "labels must be a list of integers",
    "one array again": "labels is a list of 30000 arrays",
    "lists of lists": "",  # a column
    "text": "labels must be a list of integers, got <U1",
    "a half": "labels must be whole numbers, got 0.5 in row 3",
    "not a number": "labels must be whole numbers, got nan in row 3",
    "large": "labels must be in 0..2 (the classifier has 3 classes), got 1e+300",
    "large number": "labels must be a list of integers",
    "too many": "100000 labels for 6 samples",
    "none": "expected a dict of 'feats' and 'labels'",
    "truth": "labels must be a list of integers, got bool",
    "a dict": "labels must be a list of integers",
    "matrix": "labels must be one number a sample, got 1000",
    "expanded": "labels must be one number a sample, got 3",
}


def measure(*paths):
    """Reads files in processes of their own; checks what that took.

    Returns:
      The line that each gets.
    """
    done = subprocess.run(
        [sys.executable, hostile.__file__, *map(str, paths)],
        env=os.environ | {"JAX_PLATFORMS": "cpu"},
        capture_output=True,
        text=True,
        check=True,
    )
    lines = {}
    for name, size, seconds, memory, line in map(json.loads, done.stdout.splitlines()):
        times, more = hostile.ALLOWED
        assert not line.startswith("!!!"), (name, line)
        assert seconds < 10, (name, seconds)
        assert memory < times * size + more, (name, size, memory)
        lines[name] = line
    assert len(lines) == len(paths)
    return lines


@needs_proc
@pytest.mark.slow
def test_every_kind_takes_little_and_gets_one_line(tmp_path):
    paths = hostile.write(tmp_path)
    before = {path: path.read_bytes() for path in paths}
    lines = measure(*paths)
    for path in paths:
        line = lines[path.name]
        assert str(path) in line, line
        assert "\n" not in line or "tensors may be the classifier" in line
        assert SAYS.get(path.name, "") in line
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before


@needs_proc
@pytest.mark.slow
def test_labels_of_every_kind_through_convert(tmp_path):
    roots = {name: tmp_path / name.replace(" ", "_") for name in hostile.LABELS}
    for name, root in roots.items():
        hostile.write_dataset(root, hostile.LABELS[name])
    lines = measure(*roots.values())
    assert LABELS_SAY.keys() == roots.keys()
    for name, root in roots.items():
        line = lines[root.name]
        if not LABELS_SAY[name]:
            assert line == "read"
            continue
        assert line.startswith(f"{root}/feats/train.pkl: ")
        assert LABELS_SAY[name] in line
        assert "\n" not in line
        assert not (root / "out").exists()


@needs_proc
@pytest.mark.slow
def test_views_larger_than_their_storage_as_classifier(tmp_path):
    names = ("expanded to 40 GB", "windows", "64 dimensions")
    roots = [tmp_path / name.replace(" ", "_") for name in names]
    for name, root in zip(names, roots, strict=True):
        hostile.write_dataset(root)
        (root / "cls.pkl").write_bytes(hostile.TORCH[name])
    lines = measure(*roots)
    for root in roots:
        assert lines[root.name].startswith(f"{root}/cls.pkl: ")
        assert "\n" not in lines[root.name]
        assert not (root / "out").exists()


@needs_proc
def test_what_is_right_is_read(tmp_path):
    root = tmp_path / "ds"
    hostile.write_dataset(root)
    assert measure(root) == {"ds": "read"}
    assert Path(root, "out", "feats", "train.npy").is_file()


@pytest.mark.parametrize(
    ("idxs", "note"),
    [
        ([0, 0, 1, 2, 3, 4], "does not number the 6 rows"),
        ([0, 1, 2, 3, 4, 60], "does not number the 6 rows"),
        ([-1, 0, 1, 2, 3, 4], "does not number the 6 rows"),
        (["a"] * 6, "does not number the 6 rows"),
        (hostile.LABELS["in itself"], "does not number the 6 rows"),
    ],
)
def test_idxs_of_every_kind(tmp_path, idxs, note):
    from alphanet_jax.data.convert import convert_dataset
    from alphanet_jax.data.registry import get_entry

    hostile.write_dataset(tmp_path, idxs=idxs)
    lines = []
    entry = get_entry(tmp_path / "reg.toml", "ds")
    convert_dataset(entry, tmp_path, tmp_path / "out", report=lines.append)
    assert any(note in line for line in lines)
