"""The one call, on a small problem and on the embedded data's arrays."""

import sys
import types

import numpy as np
import pytest
from test_experiment import SETTINGS, SPLITS, make_dataset

import alphanet_jax
from alphanet_jax import correction
from alphanet_jax.errors import UserError
from alphanet_jax.experiment import loop, problem

DATA = make_dataset()
FEW = np.sort(SPLITS["few"])
OPTIONS = {
    "n_neighbors": 3,
    "hdims": (8, 4),
    "optim_params": {"lr": 0.01},
    "train_epochs": 6,
    "min_epochs": 2,
    "train_batch_size": 5,
    "eval_batch_size": 32,
}


def pair(group):
    return group.features, group.labels


def fit(features=DATA.train.features, labels=DATA.train.labels, **changes):
    options = {
        "val": pair(DATA.val),
        "test": pair(DATA.test),
        "splits": SPLITS,
        "rho": 0.8,
        "seeds": 3,
    } | OPTIONS
    return correction.fit(
        features, labels, DATA.weight, DATA.bias, **(options | changes)
    )


@pytest.fixture(scope="module")
def fitted():
    return fit()


class TestFit:
    def test_is_exported(self):
        assert alphanet_jax.fit is correction.fit

    def test_trains_what_training_trains(self, fitted):
        outcome = loop.run(problem.prepare(DATA, SETTINGS), [0, 1, 2])
        np.testing.assert_array_equal(fitted.alphas, outcome.alphas)
        np.testing.assert_array_equal(fitted.result["weight_few"], outcome.weight_few)
        np.testing.assert_array_equal(
            fitted.val_accuracy(),
            outcome.val.accuracy[range(3), outcome.selected_epoch],
        )
        assert fitted.neighbors.shape == (3, 3)

    @pytest.mark.parametrize("seed", [0, 1, 2])
    def test_predicts_what_was_tested(self, fitted, seed):
        predicted = fitted.predict(DATA.test.features, seed=seed)
        np.testing.assert_array_equal(predicted, fitted.result["test_pred"][seed])

    def test_only_few_rows_differ(self, fitted):
        for which in ("best", "mean", 1):
            head = fitted.head(which)
            changed = np.flatnonzero((head.weight != DATA.weight).any(axis=1))
            np.testing.assert_array_equal(changed, FEW)
            np.testing.assert_array_equal(head.bias, DATA.bias)
        np.testing.assert_array_equal(fitted.weight, fitted.head("best").weight)
        np.testing.assert_array_equal(fitted.bias, DATA.bias)

    def test_best_and_mean(self, fitted):
        best = int(np.argmax(fitted.val_accuracy()))
        np.testing.assert_array_equal(fitted.weight, fitted.head(best).weight)
        heads = [fitted.head(seed).weight.astype(np.float64) for seed in range(3)]
        np.testing.assert_allclose(
            fitted.head("mean").weight, np.mean(heads, axis=0), 1e-6
        )
        assert (fitted.head("mean").weight != fitted.weight).any()

    def test_heads_share_no_memory(self, fitted):
        fitted.head().weight[:] = 0
        fitted.head().bias[:] = 0
        assert fitted.weight.any()
        assert fitted.original.weight.any()

    @pytest.mark.slow
    def test_without_validation_the_mean(self):
        found = fit(val=None)
        assert not found.has_validation
        assert np.isnan(found.val_accuracy()).all()
        np.testing.assert_array_equal(found.weight, found.head("mean").weight)

    @pytest.mark.slow
    def test_without_test_data(self):
        lines = []
        found = fit(test=None, seeds=1, report=lines.append)
        np.testing.assert_array_equal(found.result["test_labels"], DATA.val.labels)
        assert (
            "note: there is no test data; accuracies are those of validation"
            in (lines[0])
        )

    @pytest.mark.slow
    def test_splits_from_counts(self):
        lines = []
        found = fit(
            splits=None, few_below=5, many_above=20, seeds=1, report=lines.append
        )
        for name, classes in SPLITS.items():
            np.testing.assert_array_equal(found.splits[name], np.sort(classes))
        assert lines[0] == (
            "splits by count: 3 few, 4 medium, 5 many classes (few below 5, many above "
            "20 training samples; there are 4 to 21)"
        )

    def test_a_result_on_disk(self, fitted, tmp_path):
        found = fit(workdir=tmp_path)
        stored = alphanet_jax.load_result(tmp_path / "result.npz")
        np.testing.assert_array_equal(stored["alphas"], fitted.alphas)
        np.testing.assert_array_equal(found.weight, fitted.weight)

    def test_tensors_of_torch(self, fitted, monkeypatch):
        """By what they can do, as tests need no PyTorch."""
        module = types.ModuleType("torch")
        monkeypatch.setitem(sys.modules, "torch", module)

        class Tensor:
            def __init__(self, array, dtype="torch.float32"):
                self.array, self.dtype, self.steps = array, dtype, []

            def detach(self):
                return self

            def cpu(self):
                return self

            def float(self):
                return Tensor(self.array)

            def numpy(self):
                assert self.dtype != "torch.bfloat16"
                return self.array

        Tensor.__module__ = "torch"
        found = fit(
            Tensor(DATA.train.features, "torch.bfloat16"),
            Tensor(DATA.train.labels, "torch.int64"),
        )
        np.testing.assert_array_equal(found.alphas, fitted.alphas)
        logits = found.logits(Tensor(DATA.test.features))
        np.testing.assert_array_equal(logits, fitted.logits(DATA.test.features))


class TestReports:
    def test_accuracy_before_and_after(self, fitted):
        found = fitted.report(*pair(DATA.test), seed=1)
        for name, row, prefix in (
            ("before", found.before, "baseline_test"),
            ("after", found.after, "test"),
        ):
            splits = fitted.result[f"{prefix}_acc_per_split"]
            overall = fitted.result[f"{prefix}_accuracy"]
            splits = splits if name == "before" else splits[1]
            overall = overall if name == "before" else overall[1]
            assert list(row) == ["few", "medium", "many", "overall"]
            np.testing.assert_allclose(list(row.values()), [*splits, overall])
        lines = str(found).splitlines()
        assert lines[0] == "arrays"
        assert lines[-2].split()[0] == "Baseline"
        assert float(lines[-1].split()[1]) == pytest.approx(
            100 * found.after["few"], abs=0.06
        )

    @pytest.mark.slow
    def test_explains_a_class(self):
        names = [f"name {c}" for c in range(12)]
        found = fit(label_names=names, seeds=2)
        text = found.explain("name 4")
        assert "[name 4] = [name 4]" in text
        assert text == found.explain(4)
        first = names[found.neighbors[1, 0]]
        assert f"[{first}]" in text
        with pytest.raises(UserError, match="class: '0' is of split 'medium'"):
            found.explain(0)

    def test_saves_a_head(self, fitted, tmp_path):
        fitted.save(tmp_path / "head.npz", seed=2)
        with np.load(tmp_path / "head.npz") as head:
            np.testing.assert_array_equal(head["weight"], fitted.head(2).weight)
            np.testing.assert_array_equal(head["bias"], DATA.bias)
        fitted.save(tmp_path / "head.npz", seed=1)  # written anew
        with np.load(tmp_path / "head.npz") as head:
            np.testing.assert_array_equal(head["weight"], fitted.head(1).weight)
        with pytest.raises(UserError, match=r"head\.txt: must end in \.npz, \.safe"):
            fitted.save(tmp_path / "head.txt")

    def test_says_when_it_harms(self):
        lines = []
        # Validation data that the unchanged classifier has all right.
        logits = DATA.val.features @ DATA.weight.T + DATA.bias
        fit(val=(DATA.val.features, logits.argmax(axis=1)), report=lines.append)
        assert "overall, the unchanged one 100.0; a larger rho" in lines[-1]


class TestErrors:
    @pytest.mark.parametrize(
        ("changes", "message"),
        [
            ({"learning_rate": 1}, "unknown setting 'learning_rate'"),
            ({"val_datagrp": "x"}, "unknown setting 'val_datagrp'"),
            ({"splits": None, "few_below": 1}, "no class is few"),
            ({"splits": {"few": [1]}}, "splits"),
            ({"val": (np.ones((3, 2)), np.zeros(3, int))}, "val: "),
            ({"label_names": ["a"]}, "label_names"),
            ({"seeds": 0}, "seeds must be at least 1"),
            ({"n_neighbors": 99}, "n_neighbors must be less than the number of base"),
        ],
    )
    def test_names_the_argument(self, changes, message):
        with pytest.raises(UserError, match=message):
            fit(**changes)

    def test_limits_in_the_wrong_order(self):
        with pytest.raises(
            ValueError,
            match="few_below must not be more than many_above, got 30 and 10",
        ):
            fit(splits=None, few_below=30, many_above=10)

    @pytest.mark.parametrize("seed", [3, -1, "worst"])
    def test_seeds_that_there_are_not(self, fitted, seed):
        with pytest.raises(ValueError, match="got "):
            fitted.head(seed)
