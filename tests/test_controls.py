"""The corrections of one number that stand beside AlphaNet in tables."""

import dataclasses
import sys

import made_data
import numpy as np
import pytest
import results_of_data
from test_experiment import SETTINGS, make_dataset

from alphanet_jax import comparison, posthoc
from alphanet_jax.commands import cli
from alphanet_jax.comparison.controls import Controls, find_controls
from alphanet_jax.data.dataset import Group
from alphanet_jax.experiment import training
from alphanet_jax.results import accuracy
from alphanet_jax.results.accuracy_tables import Control, training_table

DATA = make_dataset()


def by_hand(data, name):
    """Tries every number in NumPy; returns the best on validation data, tested."""
    few = np.isin(np.arange(data.num_classes), data.few_classes)
    prior = np.log(data.class_counts / data.class_counts.sum())
    shift = few if name == "few_offset" else -prior

    def right(group, knob):
        scores = np.asarray(group.features, np.float64) @ data.weight.T + data.bias
        return (scores + knob * shift).argmax(axis=1) == group.labels

    def of_classes(group, hits):
        return np.mean(
            [hits[group.labels == c].mean() for c in np.unique(group.labels)]
        )

    grid = posthoc.METHODS[name].grid
    shares = [of_classes(data.val, right(data.val, knob)) for knob in grid]
    best = grid[int(np.argmax(shares))]
    tested = right(data.test, best)[None]
    return best, accuracy.per_split(tested, data.test.labels, data.splits)[0]


def test_against_numpy():
    offset, adjustment = find_controls(DATA)
    for control, name, title in (
        (offset, "few_offset", "Offset on few ({:g})"),
        (adjustment, "logit_adjustment", "Logit adj. (tau {:g})"),
    ):
        knob, fractions = by_hand(DATA, name)
        assert control.title == title.format(knob)
        np.testing.assert_allclose(control.fractions, fractions, atol=1e-12)


def test_without_validation_data():
    (control,) = find_controls(dataclasses.replace(DATA, val=None))
    assert control.title == "Logit adj. (tau 1)"


def test_validation_data_without_few_classes():
    keep = ~np.isin(DATA.val.labels, DATA.few_classes)
    val = dataclasses.replace(
        DATA.val, features=DATA.val.features[keep], labels=DATA.val.labels[keep]
    )
    (control,) = find_controls(dataclasses.replace(DATA, val=val))
    assert control.title == "Logit adj. (tau 1)"


def same(found, wanted):
    assert [each.title for each in found] == [each.title for each in wanted]
    for one, other in zip(found, wanted, strict=True):
        np.testing.assert_array_equal(one.fractions, other.fractions)


@pytest.mark.parametrize("group", ["val and few", "val without few", "no val"])
def test_found_while_training_scores(group, monkeypatch):
    data = DATA
    if group == "no val":
        data = dataclasses.replace(DATA, val=None)
    elif group == "val without few":
        keep = ~np.isin(DATA.val.labels, DATA.few_classes)
        val = Group(DATA.val.features[keep], DATA.val.labels[keep])
        data = dataclasses.replace(DATA, val=val)
    wanted = find_controls(data)
    controls, passes = Controls(data), []
    # Two programs, as numbers of neighbors differ; the first alone is looked at.
    points = [dataclasses.replace(SETTINGS, n_neighbors=k) for k in (2, 3)]
    plain = training.train(points, data, report=lambda line: None)
    looked_at = training.train(
        points, data, onlooker=controls, report=lambda line: None
    )
    monkeypatch.setattr(posthoc, "logits", lambda *args: passes.append(args))
    same(controls.find(), wanted)
    assert passes == []
    for one, other in zip(plain, looked_at, strict=True):
        for name in ("test_pred", "weight_few", "val_accuracy"):
            np.testing.assert_array_equal(one.arrays()[name], other.arrays()[name])


def test_what_was_not_seen_is_looked_for():
    """As where training was stopped, or was done already."""
    controls, wanted = Controls(DATA), find_controls(DATA)
    products = DATA.val.features @ DATA.weight.T
    assert controls.looks_at("val")
    assert controls.looks_at("test")
    assert not controls.looks_at("train")
    controls.see("val", products[:5])  # and no more: it begins anew
    assert not controls.looks_at("val")
    lines = []
    same(controls.find(report=lines.append), wanted)
    same(controls.find(report=lines.append), wanted)


@pytest.mark.slow
def test_are_those_of_compare():
    found = comparison.compare(
        DATA,
        methods=["few_offset", "logit_adjustment"],
        num_draws=10,
        report=lambda line: None,
    )
    for control, name in zip(
        find_controls(DATA), ("few_offset", "logit_adjustment"), strict=True
    ):
        chosen = found["methods"][name]["chosen"]["overall"]
        assert control.title.endswith(f"{chosen['knob']:g})")
        np.testing.assert_allclose(control.fractions, chosen["test"], atol=1e-12)


def test_table():
    baseline = {
        "proper_name": np.asarray("X"),
        "baseline_test_acc_per_split": np.array([0.1, 0.2, 0.3]),
        "baseline_test_accuracy": np.array(0.2),
        "baseline_val_accuracy": np.array(0.2),
    }
    controls = [
        Control("Offset on few (1)", np.array([0.25, 0.5, np.nan, 0.125])),
        Control("Logit adj. (tau 1)", np.array([0.5, 0.5, np.nan, 0.5])),
    ]
    lines = training_table({}, baseline=baseline, controls=controls).splitlines()
    (row,) = (line for line in lines if line.startswith("Offset"))
    assert row.split("  ")[0] == "Offset on few (1)"
    assert row.split()[4:] == ["25.0", "50.0", "-", "12.5"]
    assert lines[-1] == (
        "The offset and logit adjustment need no training: one number, by val; see "
        "also `compare`."
    )
    table = training_table({}, baseline=baseline, controls=controls[1:])
    assert table.splitlines()[-1] == (
        "Logit adjustment needs no training; without val samples of few classes tau is "
        "1, and no offset is chosen."
    )


@pytest.mark.slow
@pytest.mark.parametrize("flags", [[], ["--nocontrols"]])
def test_real_command(tmp_path, monkeypatch, capsys, flags):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delitem(sys.modules, "config_config", raising=False)
    made = made_data.make(tmp_path / "data")
    command = [
        *("alphanet", "train", "--config=default", "--config.dataset=made"),
        *(f"--config.registry={made.registry}", f"--config.data_root={made.root}"),
        *(*results_of_data.SHORT, f"--workdir={tmp_path / 'w'}"),
        *flags,
    ]
    for _ in range(2):  # also where it is done already
        assert cli.main(command) == 0
        shown = capsys.readouterr().out
        assert ("Offset on few (" in shown) == (not flags)
        assert ("Logit adj. (tau " in shown) == (not flags)
