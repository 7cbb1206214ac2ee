"""`alphanet fit`: features and a checkpoint in, a corrected classifier out."""

import errno
import json
import os
import sys
from pathlib import Path

import numpy as np
import pytest

import alphanet_jax
from alphanet_jax import correction, files, outputs
from alphanet_jax.commands import cli
from alphanet_jax.commands import fit as command
from alphanet_jax.data import registry
from alphanet_jax.data.registry import DatasetEntry
from alphanet_jax.results import changes
from alphanet_jax.results import file as result_file

COUNTS = [60, 50, 40, 30, 25, 9, 8, 7]
SHORT = [
    "--config.seeds=2",
    "--config.training.train_epochs=3",
    "--config.training.min_epochs=1",
    "--config.training.n_neighbors=2",
    "--config.alphanet.hdims=(4,)",
]
SAME = {"seeds": 2, "train_epochs": 3, "min_epochs": 1, "n_neighbors": 2, "hdims": (4,)}


def fit(*arguments):
    return cli.main(["alphanet", "fit", *map(str, arguments)])


@pytest.fixture(autouse=True)
def _own_directory(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path.parent / "cache"))
    monkeypatch.delitem(sys.modules, "config_config", raising=False)


@pytest.fixture
def made(tmp_path):
    """Samples of eight classes around their centers; the head is the centers."""
    rng = np.random.default_rng(0)
    centers = rng.normal(size=(len(COUNTS), 6)).astype(np.float32)
    groups = {}
    (tmp_path / "feats").mkdir()
    for group, counts in (("train", COUNTS), ("val", [6] * 8), ("test", [7] * 8)):
        labels = np.repeat(np.arange(len(counts)), counts)
        rows = centers[labels] + rng.normal(size=(len(labels), 6)).astype(np.float32)
        groups[group] = rows.astype(np.float32), labels
        np.savez(tmp_path / "feats" / f"{group}.npz", feats=rows, labels=labels)
    bias = rng.normal(size=len(COUNTS)).astype(np.float32) / 9
    np.savez(tmp_path / "head.npz", **{"fc.weight": centers, "fc.bias": bias})
    return groups, centers, bias


FILES = ["--features=feats", "--classifier=head.npz"]


@pytest.mark.slow
def test_is_the_call_on_files(made, capsys):
    groups, weight, bias = made
    Path("names.txt").write_text("\n".join("abcdefgh") + "\n")
    names = "--label_names=names.txt"
    assert fit(*FILES, names, "--workdir=w", "--out=new.npz", *SHORT) == 0
    shown = capsys.readouterr()
    lines = shown.out.splitlines()
    assert lines[0] == "w"
    assert any(line.startswith("Baseline") for line in lines)
    assert any(line.startswith("Of 3 few classes, ") for line in lines)
    assert "splits by few_below=20, many_above=100" in shown.err
    assert "saved new.npz" in shown.err
    # Labels are there as the files have them, whatever their width.
    call = alphanet_jax.fit(
        *groups["train"],
        weight,
        bias,
        val=groups["val"],
        test=groups["test"],
        label_names=list("abcdefgh"),
        **SAME,
    )
    found = alphanet_jax.load_result("w/result.npz")
    for name in ("weight_few", "alphas", "test_pred", "epoch_loss", "neighbors"):
        assert found[name].tobytes() == call.result[name].tobytes(), name
    head = np.load("new.npz")
    np.testing.assert_array_equal(head["weight"], call.head().weight)
    np.testing.assert_array_equal(head["bias"], bias)
    assert Path("w/splits/few.txt").read_text().split() == ["5", "6", "7"]
    config = json.loads(str(found["config"]))
    assert Path(config["registry"]).is_absolute()

    # Other commands find the data by what is in the work directory.
    assert cli.main(["alphanet", "export", "--result=w", "--out=again.npz"]) == 0
    assert "predictions of 56 test samples are those" in capsys.readouterr().out
    assert Path("again.npz").read_bytes() == Path("new.npz").read_bytes()
    # What is done is not done again.
    assert fit(*FILES, names, "--workdir=w", *SHORT) == 0
    assert "done already" in capsys.readouterr().err


@pytest.mark.slow
def test_training_samples_alone_and_a_sweep(made, capsys):
    for group in ("val", "test"):
        Path(f"feats/{group}.npz").unlink()
    Path("feats/train.npz").rename("feats/mine.npz")
    rhos, named = "--config.rho=(0.25, 1.0)", "--feature_files=train=mine.npz"
    assert fit(*FILES, named, "--workdir=w", "--few_below=25%", rhos, *SHORT) == 0
    shown = capsys.readouterr()
    assert "has no val samples: the last epoch is tested" in shown.err
    assert "accuracies are those of train, which it was trained on" in shown.err
    assert "there is no best of 2 points; what follows is of the first" in shown.err
    found = alphanet_jax.load_result("w/rho_0.25/result.npz")
    assert len(found["test_labels"]) == sum(COUNTS)
    assert found["selected_epoch"].tolist() == [2, 2]
    assert found["few_classes"].tolist() == [6, 7]


@pytest.mark.slow
def test_the_best_point_of_a_sweep(made, capsys):
    rhos = "--config.rho=(0.0625, 4.0)"
    assert fit(*FILES, "--workdir=w", "--out=new.npz", rhos, *SHORT) == 0
    shown = capsys.readouterr()
    results = {
        name: alphanet_jax.load_result(f"w/{name}/result.npz")
        for name in ("rho_0.0625", "rho_4.0")
    }
    means = {
        name: found["val_accuracy"][[0, 1], found["selected_epoch"]].mean()
        for name, found in results.items()
    }
    best = max(means, key=lambda name: means[name])
    value = best.removeprefix("rho_").removesuffix(".0")
    said = f"best by validation accuracy, {100 * means[best]:.1f} overall"
    assert said in shown.err
    assert f"rho={value}" in shown.err.partition(said)[2].splitlines()[0]
    seed = results[best]["val_accuracy"][[0, 1], results[best]["selected_epoch"]]
    weight = np.load("new.npz")["weight"]
    np.testing.assert_array_equal(
        weight[results[best]["few_classes"]], results[best]["weight_few"][seed.argmax()]
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--workdir=w"], "--features is missing; fit --features=DIR --classifier=FIL"),
        (["--features=feats", "--workdir=w"], "--classifier is missing"),
        (FILES, "--workdir is missing"),
        ([*FILES, "--features=none", "--workdir=w"], "there is no directory none"),
        ([*FILES, "--features=head.npz", "--workdir=w"], "is not a directory"),
        ([*FILES, "--classifier=feats", "--workdir=w"], "feats is not a file"),
        ([*FILES, "--classifier=no.pth", "--workdir=w"], "there is no file no.pth"),
        ([*FILES, "--workdir=head.npz"], "--workdir: head.npz is a file"),
        ([*FILES, "--splits=none", "--workdir=w"], "there is no directory none"),
        (
            [*FILES, "--splits=feats", "--few_below=9", "--workdir=w"],
            "--few_below makes splits of counts; give one or the other",
        ),
        ([*FILES, "--few_below=few", "--workdir=w"], "few_below must be a number"),
        (
            [*FILES, "--few_below=3", "--workdir=w"],
            "no class is few: classes have 7 to 60 training samples",
        ),
        ([*FILES, "--method=alphanets", "--workdir=w"], "did you mean 'alphanet' or"),
        ([*FILES, "--labels_by=column", "--workdir=w"], "must be one of row, idxs"),
        (
            [*FILES, "--workdir=w", "--feature_files=train.npz"],
            "--feature_files: expected GROUP=FILE, got 'train.npz'",
        ),
        (
            [*FILES, "--workdir=w", "--feature_files=train=no.npz"],
            "no.npz",
        ),
        ([*FILES, "--workdir=w", "--out=a.txt"], "a.txt: must end in .npz"),
        ([*FILES, "--workdir=w", "--out=head.npz"], "head.npz"),
        (
            [*FILES, "--workdir=w", "--config.dataset=x"],
            "fit takes --workdir instead of --config.dataset",
        ),
        ([*FILES, "--workdir=w", "--classifier_key=no"], "has the classifier_key 'no'"),
        (
            [*FILES, "--workdir=w", "--config.training.test_datagrp=exam"],
            "--config.training.test_datagrp=NAME",
        ),
        (
            [*FILES, "--workdir=w/v", "--config.pred_scale=1e300"],
            "pred_scale must be a number that float32 holds, got 1e+300",
        ),
        (
            [*FILES, "--workdir=w/v", "--memory_gib=1e300", "--config.rho=1e300"],
            "ClassBalancedBaseSampler: r=1e+300 asks for 2.4e+301 rows",
        ),
    ],
)
def test_mistakes(made, capsys, arguments, message):
    before = sorted(Path().rglob("*"))
    assert fit(*arguments, *SHORT) == 1
    shown = capsys.readouterr()
    assert shown.out == ""
    (line,) = [line for line in shown.err.splitlines() if line.startswith("error: ")]
    assert message in line
    # What files were converted to stays beside them.
    after = [
        p for p in sorted(Path().rglob("*")) if "alphanet_jax_cache" not in p.parts
    ]
    assert after == before


def test_without_training_samples(made, capsys):
    Path("feats/train.npz").unlink()
    assert fit(*FILES, "--workdir=w", *SHORT) == 1
    assert "train" in capsys.readouterr().err


def test_methods_are_those_of_the_call():
    assert tuple(correction.METHODS) == command.METHODS


def test_help(capsys):
    assert fit("--help") == 0
    text = capsys.readouterr().out
    assert "alphanet fit --features=features --classifier=model.pth" in text
    assert "--config.rho" in text


@pytest.mark.parametrize(
    "entry",
    [
        DatasetEntry("mine", "feats", "head.npz"),
        DatasetEntry(
            'a "b".c',
            "C:\\feats\nñ\x7f",
            "head.pth",
            classifier_key="a.b",
            classifier_normalize=True,
            datagrps=("train", "exam"),
            proper_name="Mine | new",
            few_below="25%",
            feature_files={"train": ("a.pt", "b.pt"), "my exam": ("c.pt",)},
        ),
    ],
)
def test_entries_survive_being_written(entry, tmp_path):
    path = tmp_path / "datasets.toml"
    path.write_text(registry.format_entry(entry), encoding="utf-8")
    again = registry.get_entry(path, entry.name)
    assert again == entry.__class__(**{**vars(entry), "proper_name": again.proper_name})
    assert again.proper_name == (entry.proper_name or entry.name)


def test_changes_by_hand():
    labels = np.array([0, 0, 1, 1, 2, 2, 3])
    arrays = {
        "test_labels": labels,
        "baseline_test_pred": np.array([1, 1, 1, 1, 2, 2, 0]),
        "test_pred": np.array([[0, 0, 1, 0, 2, 2, 0], [0, 1, 1, 0, 2, 2, 0]]),
        "class_counts": np.array([1, 300, 50, 9, 7]),  # class 4 is not in the test
        "few_classes": np.array([0, 3, 4]),
        "medium_classes": np.array([2]),
        "many_classes": np.array([1]),
        "label_names": np.array([], str),
    }
    assert changes.describe_changes(arrays).splitlines() == [
        "Of 3 few classes, 1 gained, 0 lost; of 2 base classes, 0 gained, 1 lost.",
        "Gained most:  class 0 (few, 1 sample) 0.0 -> 75.0",
        "Lost most:    class 1 (many, 300 samples) 100.0 -> 50.0",
    ]


def full(*args, **kwargs):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.mark.slow
def test_a_full_disk_loses_no_correction(made, capsys, tmp_path, monkeypatch):
    """It goes elsewhere; the classifier is written all the same, the status is 1."""
    elsewhere, real = tmp_path / "elsewhere", result_file.save_result
    elsewhere.mkdir()

    def save(path, arrays):
        (real if path.is_relative_to(elsewhere) else full)(path, arrays)

    monkeypatch.setattr(outputs.tempfile, "gettempdir", lambda: str(elsewhere))
    monkeypatch.setattr(result_file, "save_result", save)
    flags = [*FILES, "--method=tau_normalization", "--workdir=w", "--nocontrols"]
    assert fit(*flags, "--out=new.npz") == 1
    shown = capsys.readouterr()
    (place,) = elsewhere.rglob("result.npz")
    assert shown.err.splitlines()[-1] == (
        "error: w/result.npz cannot be written: No space left on device; the result "
        f"is in {place}: move it there"
    )
    assert any(line.startswith("Baseline") for line in shown.out.splitlines())
    assert Path("new.npz").exists()

    # Where it can be saved nowhere, the table is there, and what a call returns.
    monkeypatch.setattr(result_file, "save_result", full)
    assert fit(*flags, "--out=other.npz") == 1
    shown = capsys.readouterr()
    assert "nor could it be saved elsewhere" in shown.err.splitlines()[-1]
    assert any(line.startswith("Baseline") for line in shown.out.splitlines())
    groups, weight, bias = made
    monkeypatch.setattr(files, "write_npz", full)
    call = alphanet_jax.fit(
        *groups["train"], weight, bias, method="tau_normalization", workdir="x"
    )
    assert np.isfinite(call.weight).all()
    assert [line for line in call.remarks if "original_head.npz cannot be" in line]
