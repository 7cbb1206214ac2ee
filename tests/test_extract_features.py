"""`examples/extract_features.py`: what the classifier gets, and its weights."""

import importlib
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest

import alphanet_jax

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"


@pytest.fixture
def torch():
    return pytest.importorskip("torch")


@pytest.fixture
def extracting(torch, monkeypatch):
    monkeypatch.syspath_prepend(EXAMPLES)
    return importlib.import_module("extract_features")


@pytest.fixture
def model(torch):
    torch.manual_seed(0)
    nn = torch.nn
    body = [nn.Linear(6, 5), nn.BatchNorm1d(5), nn.ReLU(), nn.Dropout(0.5)]
    return nn.Sequential(*body, nn.Linear(5, 4))


@pytest.fixture
def samples(torch):
    inputs = torch.randn(23, 6, generator=torch.Generator().manual_seed(1))
    return torch.utils.data.TensorDataset(inputs, torch.arange(23) % 4)


def loader_of(torch, samples, **options):
    return torch.utils.data.DataLoader(samples, batch_size=8, **options)


@pytest.mark.parametrize("mode", [True, False])
def test_features_are_the_inputs_of_the_classifier(
    torch, extracting, model, samples, tmp_path, mode, capsys
):
    model.train(mode)
    out = tmp_path / "new" / "train"
    shape = extracting.extract(model, loader_of(torch, samples), out)
    assert shape == (23, 5)
    assert model.training == mode
    assert not list(model[4]._forward_pre_hooks)
    features = np.load(out.with_suffix(".npy"))
    with torch.no_grad():
        wanted = model.eval()[:4](samples.tensors[0]).numpy()
        logits = model(samples.tensors[0]).numpy()
    np.testing.assert_array_equal(features, wanted)
    labels = np.load(tmp_path / "new" / "train_labels.npy")
    np.testing.assert_array_equal(labels, samples.tensors[1])
    extracting.save_head(model, tmp_path / "head.npz")
    head = np.load(tmp_path / "head.npz")
    again = features @ head["weight"].T + head["bias"]
    np.testing.assert_allclose(again, logits, atol=1e-6)
    assert sorted(path.name for path in out.parent.iterdir()) == [
        "train.npy",
        "train_labels.npy",
    ]
    assert "warning" not in capsys.readouterr().out


def test_labels_go_with_features_whatever_the_order(
    torch, extracting, model, samples, tmp_path
):
    loader = loader_of(torch, samples, shuffle=True)
    extracting.extract(model, loader, tmp_path / "a", dtype="float16")
    extracting.extract(model, loader_of(torch, samples), tmp_path / "b")
    found, labels = np.load(tmp_path / "a.npy"), np.load(tmp_path / "a_labels.npy")
    assert found.dtype == np.float16
    wanted, truth = np.load(tmp_path / "b.npy"), np.load(tmp_path / "b_labels.npy")
    assert (labels != truth).any()

    def by_content(features, labels):
        rows = np.column_stack([features.astype(np.float16), labels])
        return rows[np.lexsort(rows.T)]

    np.testing.assert_array_equal(by_content(found, labels), by_content(wanted, truth))


def test_samples_left_out_are_warned_about(
    torch, extracting, model, samples, tmp_path, capsys
):
    loader = loader_of(torch, samples, drop_last=True)
    extracting.extract(model, loader, tmp_path / "train")
    assert "warning: train: the loader gave 16 of 23" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("layer", "message"),
    [
        ("fc", "no layer 'fc'; linear layers: 0, 4"),
        ("1", r"layer '1' has no weight of shape \(classes, features\)"),
    ],
)
def test_layers_that_are_no_classifier(extracting, model, layer, message):
    with pytest.raises(ValueError, match=message):
        extracting.find_layer(model, layer)


def test_names_in_a_parallel_model(torch, extracting, model):
    name, layer = extracting.find_layer(torch.nn.DataParallel(model), "4")
    assert (name, layer) == ("module.4", model[4])


def test_a_failure_leaves_nothing(torch, extracting, model, samples, tmp_path):
    wide = torch.utils.data.TensorDataset(samples.tensors[0], torch.arange(23))
    broken = torch.nn.Sequential(model[:4], torch.nn.Unflatten(1, (1, 5)), model[4])
    with pytest.raises(ValueError, match="one array"):
        extracting.extract(broken, loader_of(torch, wide), tmp_path / "train")
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_command_then_a_correction(torch, extracting, tmp_path):
    """From a file that builds a model to a corrected head, on data with a tail."""
    (tmp_path / "mine.py").write_text(
        textwrap.dedent("""
        import torch

        def build():
            torch.manual_seed(0)
            nn = torch.nn
            model = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 5))
            labels = torch.repeat_interleave(
                torch.arange(5), torch.tensor([120, 110, 40, 30, 9])
            )
            inputs = torch.randn(len(labels), 6) + torch.eye(6)[labels]
            data = torch.utils.data.TensorDataset(inputs, labels)
            loader = torch.utils.data.DataLoader(data, batch_size=64)
            return model, {"train": loader, "test": loader}
        """)
    )
    command = [sys.executable, EXAMPLES / "extract_features.py", "mine.py:build"]
    command += ["--out=made"]
    subprocess.run(command, cwd=tmp_path, check=True, capture_output=True)
    made = tmp_path / "made"
    x, y = np.load(made / "train.npy"), np.load(made / "train_labels.npy")
    head = np.load(made / "head.npz")
    correction = alphanet_jax.fit(
        x, y, head["weight"], head["bias"], seeds=2, n_neighbors=2, train_epochs=2
    )
    assert correction.splits["few"].tolist() == [4]
    failed = subprocess.run(
        [*command[:2], "mine.py:nothing", "--out=made"],
        cwd=tmp_path,
        check=False,
        capture_output=True,
        text=True,
    )
    assert failed.returncode == 2
    assert "mine.py: no function 'nothing'" in failed.stderr
