"""Names and files that somebody else chose."""

import dataclasses
import shutil

import made_data
import numpy as np
import pytest

from alphanet_jax import errors, parsing
from alphanet_jax.commands import cli, running
from alphanet_jax.data.contents import brief
from alphanet_jax.data.convert import convert_dataset
from alphanet_jax.errors import UserError
from alphanet_jax.results import changes, comparison_file

EVIL = "fox\x1b[2J\r\n\x07\x9b1m\N{RIGHT-TO-LEFT OVERRIDE}"


@pytest.fixture
def made(tmp_path):
    return made_data.make(tmp_path / "original")


def test_two_files_with_one_converted_form(made, tmp_path):
    entry = dataclasses.replace(made.entry, label_names_file="data/classifiers/m.npz")
    with pytest.raises(UserError) as caught:
        convert_dataset(entry, made.root, tmp_path / "out")
    assert str(caught.value) == (
        f"dataset {entry.name!r}: label_names_file and classifier_file would both be "
        "converted to data/classifiers/m.npz; give one of them another name"
    )
    assert not (tmp_path / "out").exists()


def test_a_group_and_a_list_with_one_converted_form(made, tmp_path):
    name = f"{made.entry.feature_files_dir}/train.json"
    entry = dataclasses.replace(made.entry, counts_file=name, split_files_dir=None)
    with pytest.raises(UserError, match="group 'train' and counts_file would both be"):
        convert_dataset(entry, made.root, tmp_path / "out")


def test_two_classifiers_with_one_converted_form(made, tmp_path):
    out = tmp_path / "out"
    convert_dataset(made.entry, made.root, out)
    first = made.root / made.entry.classifier_file
    other = first.with_suffix(".pkl")
    shutil.copy(first, other)
    entry = dataclasses.replace(
        made.entry, classifier_file=made.entry.classifier_file.replace(".pth", ".pkl")
    )
    before = made_data.snapshot(out)
    with pytest.raises(UserError, match=r"was made of m\.pth, which is still there"):
        convert_dataset(entry, made.root, out)
    assert made_data.snapshot(out) == before
    first.unlink()  # replaced by the other
    convert_dataset(entry, made.root, out)


@pytest.mark.parametrize("name", ["fox", "Füchse", "狐"])
def test_names_that_are_shown_stay(name):
    assert errors.printable(name) == name


def test_no_name_reaches_the_terminal_as_it_is(capsys):
    running.say(f"first\n{EVIL}")
    cli._fail(EVIL)
    shown = capsys.readouterr().err
    arrays = {
        "label_names": np.array([EVIL, "cat"]),
        "class_counts": np.array([2, 200]),
        "few_classes": np.array([0]),
        "medium_classes": np.array([], int),
        "many_classes": np.array([1]),
        "test_labels": np.array([0, 1]),
        "baseline_test_pred": np.array([1, 1]),
        "test_pred": np.array([[0, 0]]),
    }
    shown += changes.describe_changes(arrays)
    choice = {"lines": [EVIL], "test": [0.1, 0.2, 0.3, 0.4]}
    found = {"methods": {}, "choice": choice}
    shown += comparison_file.table(found)
    assert "fox\N{REPLACEMENT CHARACTER}" in shown
    assert all(c.isprintable() for c in shown if c != "\n")


def test_brief_of_what_is_far_longer():
    doubled = []
    for _ in range(200):
        doubled = [doubled, doubled]
    loop = {}
    loop["self"] = loop
    for value in (doubled, loop, "x" * 10**6, [["ü" * 100] * 100] * 100):
        assert len(brief(value)) <= 63
        assert brief(value).isascii()
    assert brief([1, "a"]) == "[1, 'a']"


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ('{"a": 1, "a": 2}', "two entries of one name"),
        ("[" * 100_000, "nested too deep"),
        ("9" * 5_000, "digits"),
        (b"\xff", "utf-8"),
    ],
)
def test_json(text, reason):
    with pytest.raises(ValueError, match=reason):
        parsing.parse_json(text)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (f"{'a.' * 64}a = 1", "a key of more than 64 parts"),
        (f"{'a . ' * 64}a = 1", "a key of more than 64 parts"),
        ('"a".' * 64 + "a = 1", "a key of more than 64 parts"),
        (f"a = {'[' * 5_000}", "nested too deep"),
        (f"a = {'9' * 5_000}", "a whole number of more than 4300 digits"),
        ("a = ", "Invalid value"),
        ("#" * (1 << 20) + "#", "1048577 characters; at most 1048576 are read"),
    ],
)
def test_toml(text, reason):
    with pytest.raises(ValueError, match=reason):
        parsing.parse_toml(text)
    assert parsing.parse_toml(f"{'a.' * 60}a = 'x.{'y.' * 20}'")
