"""The schema of results: what is in a file is in it, and the other way round."""

import itertools
import re

import made_data
import made_results
import numpy as np
import pytest
import results_of_data

from alphanet_jax.results import schema
from alphanet_jax.results.file import load_result
from alphanet_jax.results.schema import SCHEMA, find_misfit
from alphanet_jax.results.sets import load_file, load_sets

SPECS = {spec.name: spec for spec in SCHEMA}
# Only what is imported has the classifier before training.
_IMPORTED = {"original_weight", "original_bias"}
OF_ALPHANET = {spec.name for spec in SCHEMA if spec.of != "others"} - _IMPORTED
STEPS = "step_loss"
HIDDEN = "network.conv_layer.weight"
OWN = ["--config.training.nn_per_seed=True", "--config.training.nn_dist=random"]
CHANGING = "--config.training.ptopt.lr_sched_params=max_lr=0.1,total_steps=2"


@pytest.fixture
def made(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return made_data.make(tmp_path / "data")


def test_names_come_once_and_are_described():
    assert len(SPECS) == len(SCHEMA)
    lines = schema.describe().splitlines()
    assert [line.split()[0] for line in lines[::2]] == list(SPECS)
    assert schema.describe() in schema.__doc__


@pytest.mark.parametrize("own", [False, True])
def test_every_array_of_a_real_result(made, tmp_path, own):
    path = results_of_data.train(made, tmp_path / "w", *(OWN if own else []))
    arrays = load_result(path)
    layers = [name for name in arrays if re.search(r"\.\d+\.", name)]
    assert {re.sub(r"\.\d+\.", ".<i>.", name) for name in arrays} == OF_ALPHANET
    assert find_misfit(arrays) is None
    letters = {"S": 2, "E": 2, "F": 2, "C": 6, "k": 2, "d": 4, "n": 12}
    letters |= {"medium": 2, "many": 2, "k + 1": 3, "3": 3}
    letters |= {"1": 1, "h0": arrays[HIDDEN].shape[1], "T": arrays[STEPS].shape[2]}
    for name, array in arrays.items():
        if name in layers:
            continue
        spec = SPECS[name]
        shape = tuple(letters[axis] for axis in spec.shape)
        if own and spec.own:
            shape = (2, *shape)
        assert array.shape == (shape if name != "momentum" else (0,)), name
    assert arrays["neighbors"].ndim == 2 + own
    weights = [arrays[name] for name in sorted(layers) if name.endswith("weight")]
    for before, layer in itertools.pairwise([arrays[HIDDEN], *weights]):
        assert layer.shape[::2] == (2, before.shape[1])
    assert weights[-1].shape[1] == 2  # k


def test_layers_of_a_network_chain():
    arrays = {HIDDEN: np.zeros((2, 5, 1, 3, 4))}
    arrays["network.linear_layer__seq.0.weight"] = np.zeros((2, 6, 5))
    arrays["network.linear_layer__seq.1.weight"] = np.zeros((2, 2, 6))
    assert find_misfit(arrays) is None
    arrays["network.linear_layer__seq.1.weight"] = np.zeros((2, 2, 7))
    assert "linear_layer__seq.1.weight must have shape (2, 2, 6)" in find_misfit(arrays)


def test_reports_leave_the_network_aside(made, tmp_path):
    path = results_of_data.train(made, tmp_path / "w")
    arrays = load_file(path).arrays
    assert not {name for name in arrays if name.startswith("network.")}
    assert "class_means" not in arrays


@pytest.mark.slow
def test_momentum_of_a_schedule(made, tmp_path):
    more = ["--config.training.ptopt.lr_sched_cls=OneCycleLR", CHANGING]
    arrays = load_result(results_of_data.train(made, tmp_path / "w", *more))
    assert arrays["momentum"].shape == (2,)


@pytest.mark.slow
def test_shared_neighbors_where_seeds_could_have_their_own(made, tmp_path):
    """Version 0.1 wrote these with an axis of length 1."""
    path = results_of_data.train(made, tmp_path / "w", OWN[0])
    (runs,) = load_sets({"x": [path]})
    assert runs.runs("neighbors").shape == (2, 2, 2)
    assert find_misfit(load_result(path)) is None
    assert find_misfit(a_result(neighbors=[[[0, 2]]])) is None


def test_results_made_by_tests_are_whole(tmp_path):
    made = made_results.make_result(tmp_path / "r.npz")
    assert {name.replace(".0.", ".<i>.") for name in made} == OF_ALPHANET
    assert load_result(tmp_path / "r.npz").keys() == made.keys()


def a_result(**changes):
    arrays = {
        "seeds": np.array([3, 4]),
        "class_counts": np.array([5, 1, 9]),
        "few_classes": np.array([1]),
        "neighbors": np.array([[0, 2]]),
        "alphas": np.ones((2, 1, 3)),
        "momentum": np.zeros(0),
        "epoch_loss": np.ones((2, 7)),
        "config": np.asarray("{}"),
    }
    return arrays | {name: np.asarray(value) for name, value in changes.items()}


class TestMisfit:
    def test_of_none(self):
        assert find_misfit(a_result()) is None
        assert find_misfit(a_result(label_names=np.zeros(0, np.str_))) is None
        assert find_misfit(a_result(neighbors=[[[0, 2]], [[2, 0]]])) is None
        assert find_misfit(a_result(momentum=np.ones(7))) is None

    def test_unknown_arrays_are_left_alone(self):
        assert find_misfit(a_result(of_a_later_version=[[["?"]]])) is None

    @pytest.mark.parametrize(
        ("name", "value", "message"),
        [
            ("seeds", 3, "seeds must have one axis, got shape ()"),
            ("config", ["{}"], "config must have axes (), got shape (1,)"),
            ("alphas", [[1.0]], "alphas must have axes (S, F, k + 1), got shape (1, 1"),
            ("alphas", np.ones((2, 1, 4)), "alphas must have shape (2, 1, 3) to fit"),
            ("neighbors", [[0, 3]], "neighbors must hold class ids from 0 to 2"),
            ("neighbors", [[0, 0.5]], "neighbors must hold class ids from 0 to 2"),
            ("neighbors", [[[0, 2]]] * 3, "neighbors must have shape (2, 1, 2) to fit"),
            ("test_acc_per_split", np.ones((2, 4)), "test_acc_per_split must have sha"),
            ("epoch_loss", [["a"], ["b"]], "epoch_loss must hold numbers"),
            ("config", 5, "config must hold text"),
        ],
    )
    def test_is_named(self, name, value, message):
        found = find_misfit(a_result(**{name: value}))
        assert found is not None
        assert found.startswith(message)
