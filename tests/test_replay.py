"""A recorded run of the original program goes through our training."""

import pathlib

import numpy as np
import pytest
import replay_trace

from alphanet_jax import dataset, registry

RECORDED = pathlib.Path(__file__).parent / "recorded"


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    # Conversion goes to a copy of the tree, beside which the cache may be written.
    root = tmp_path_factory.mktemp("recorded")
    (root / "data").symlink_to(RECORDED / "data")
    entry = registry.get_entry(RECORDED / "datasets.toml", "small")
    return dataset.load_dataset(entry, root)


@pytest.fixture(scope="module")
def trace():
    with np.load(RECORDED / "trace_a.npz", allow_pickle=False) as archive:
        return dict(archive)


CASE = {"dataset": "small", "seed": 0, "epochs": 12}


def test_every_quantity_is_within_its_limit(data, trace):
    lines = replay_trace.replay(data, trace, CASE)
    assert [str(line) for line in lines if not str(line).endswith("ok")] == []
    names = {line.name for line in lines}
    assert {"losses", "epoch_mean_alphas", "val_metrics", "best_alphas"} <= names
    assert {"test_pred", "test_logits_head", "best_templates"} <= names
    assert "reference_selection/test_pred" in names


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("losses", lambda x: x * (1 + 1e-4)),
        ("epoch_mean_alphas", lambda x: x + 1e-4),
        ("val_metrics", lambda x: x + 1e-3),
        ("best_epoch", lambda x: x + 1),
        ("best_alphas", lambda x: x + 1e-4),
        ("test_pred", lambda x: (x + 1) % 60),
        ("test_acc_per_class", lambda x: x + 1e-3),
        ("best_templates", lambda x: x + 1e-3),
        ("test_logits_head", lambda x: x + 1e-2),
        ("neighbors", lambda x: x[:, ::-1]),
    ],
)
@pytest.mark.slow
def test_a_deviation_fails(data, trace, name, change):
    lines = replay_trace.replay(data, trace | {name: change(trace[name])}, CASE)
    failed = {line.name for line in lines if str(line).endswith("FAIL")}
    assert name in failed


def test_command(tmp_path, capsys):
    (tmp_path / "data").symlink_to(RECORDED / "data")
    arguments = [f"--data_root={tmp_path}", f"--registry={RECORDED / 'datasets.toml'}"]
    arguments.append(f"--trace={RECORDED / 'trace_a.npz'}")
    assert replay_trace.main(arguments) == 0
    out = capsys.readouterr().out.splitlines()
    assert all(line.split()[3] == "ok" and len(line.split()) == 4 for line in out)
    assert len(out) > 20


def test_command_with_unknown_dataset(tmp_path, capsys):
    case = tmp_path / "case.json"
    case.write_text('{"dataset": "smal"}')
    arguments = [f"--data_root={RECORDED}", f"--registry={RECORDED / 'datasets.toml'}"]
    arguments += [f"--trace={RECORDED / 'trace_a.npz'}", f"--case={case}"]
    assert replay_trace.main(arguments) == 2
    assert "did you mean 'small'?" in capsys.readouterr().err
