"""Recorded runs of the original program go through our training.

Beside a run of the original itself there are two of its algorithm in plain PyTorch:
`sgd` with other names for all that is looked up by name, and `adam` on a combined
classifier without validation data, whose epochs draw different numbers of rows. The
original keeps to the first epoch's number of batches: a later epoch is cut, or begins
again after a partial batch in its middle.
"""

import dataclasses
import json
import pathlib

import numpy as np
import pytest
import replay_trace

from alphanet_jax.data import loading, registry
from alphanet_jax.errors import UserError

RECORDED = pathlib.Path(__file__).parent / "recorded"


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    # Conversion goes to a copy of the tree, beside which the cache may be written.
    root = tmp_path_factory.mktemp("recorded")
    (root / "data").symlink_to(RECORDED / "data")
    return root


@pytest.fixture(scope="module")
def data(root):
    entry = registry.get_entry(RECORDED / "datasets.toml", "small")
    return loading.load_dataset(entry, root)


@pytest.fixture(scope="module")
def trace():
    with np.load(RECORDED / "trace_a.npz", allow_pickle=False) as archive:
        return dict(archive)


CASE = {"dataset": "small", "seed": 0, "epochs": 12}


@pytest.mark.slow
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


def run_command(root, name):
    return replay_trace.main(
        [
            f"--data_root={root}",
            f"--registry={RECORDED / 'datasets.toml'}",
            f"--trace={RECORDED / name}.npz",
        ]
    )


@pytest.mark.slow
@pytest.mark.parametrize(("name", "lines"), [("trace_a", 26), ("sgd", 24)])
def test_command(root, capsys, name, lines):
    assert run_command(root, name) == 0
    out = capsys.readouterr().out.splitlines()
    assert [line for line in out if line.split()[3] != "ok"] == []
    assert all(len(line.split()) == 4 for line in out)
    assert len(out) == lines


@pytest.mark.slow
def test_without_validation_and_with_uneven_epochs(root, capsys):
    assert run_command(root, "adam") == 0
    out = capsys.readouterr().out.splitlines()
    assert [line for line in out if line.split()[3] != "ok"] == []
    names = {line.split()[0] for line in out}
    assert {"losses", "best_alphas", "test_pred", "best_templates"} <= names
    assert "val_metrics" not in names
    # The recording has what it is for: a partial batch that is not its epoch's last.
    with np.load(RECORDED / "adam.npz") as trace:
        sizes = trace["batch_sizes"].reshape(10, 7)
    assert (sizes[:, :-1] < 6).any()
    assert (sizes[:, -1] == 6).any()


# What of the settings by name makes a difference, and so is really followed.
CHANGES = {
    "sgd": [
        {"optim_params": "lr=0.05,momentum=0.9,nesterov=true"},
        {"hact": "relu"},
    ],
    "adam": [
        {"optim": "AdamW"},
        {"sched_params": {"gamma": 0.91}},
    ],
}


@pytest.mark.parametrize(
    ("name", "change"),
    [(name, change) for name, changes in CHANGES.items() for change in changes],
)
@pytest.mark.slow
def test_another_setting_fails(root, tmp_path, capsys, name, change):
    case = json.loads((RECORDED / f"{name}.json").read_text()) | change
    (tmp_path / "case.json").write_text(json.dumps(case))
    status = replay_trace.main(
        [
            f"--data_root={root}",
            f"--registry={RECORDED / 'datasets.toml'}",
            f"--trace={RECORDED / name}.npz",
            f"--case={tmp_path / 'case.json'}",
        ]
    )
    assert status == 1
    lines = capsys.readouterr().out.splitlines()
    assert "losses" in [line.split()[0] for line in lines if "FAIL" in line]


@pytest.mark.parametrize("value", ["lr=0.1,nesterov=True", "lr"])
def test_parameters_that_are_no_text_of_ours(value):
    with pytest.raises(UserError, match="expected key=value"):
        replay_trace.settings_from_case({"optim_params": value})


def test_names_of_every_setting():
    case = {
        "epochs": 3, "min_epochs": 2, "k": 4, "dist": "cosine", "batch": 7,
        "hdims": "8 6", "hact": "tanh", "optim": "SGD", "pred_scale": 100,
        "optim_params": "lr=0.1,momentum=0.9", "sched": "OneCycleLR",
        "sched_params": {"max_lr": 1.0, "total_steps": 3},
        "samplers": ["AllBaseSampler"], "sampler_args": [""], "seed": 5, "val": "",
    }  # fmt: skip
    found = dataclasses.asdict(replay_trace.settings_from_case(case))
    expected = {
        "train_epochs": 3, "min_epochs": 2, "n_neighbors": 4, "nn_dist": "cosine",
        "train_batch_size": 7, "hdims": (8, 6), "hact": "tanh", "optim_cls": "SGD",
        "optim_params": {"lr": 0.1, "momentum": 0.9}, "lr_sched_cls": "OneCycleLR",
        "lr_sched_params": {"max_lr": 1.0, "total_steps": 3}, "pred_scale": 100.0,
    }  # fmt: skip
    assert {name: found[name] for name in expected} == expected


def test_command_with_unknown_dataset(tmp_path, capsys):
    case = tmp_path / "case.json"
    case.write_text('{"dataset": "smal"}')
    arguments = [f"--data_root={RECORDED}", f"--registry={RECORDED / 'datasets.toml'}"]
    arguments += [f"--trace={RECORDED / 'trace_a.npz'}", f"--case={case}"]
    assert replay_trace.main(arguments) == 2
    assert "did you mean 'small'?" in capsys.readouterr().err
