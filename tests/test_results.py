"""Result files, the table of a result, and the names that a notebook uses."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import alphanet_jax.results
from alphanet_jax.config import compare
from alphanet_jax.errors import UserError
from alphanet_jax.results import file as results
from alphanet_jax.results.accuracy_tables import training_table


class TestFile:
    ARRAYS = {  # noqa: RUF012
        "alphas": np.ones((2, 1, 3)),
        "test_acc_per_split": np.zeros((2, 3)),
        "config": np.asarray('{"a": 1}'),
        "label_names": np.asarray(["ä", "bb"]),
    }

    def test_round_trip(self, tmp_path):
        path = tmp_path / "deep" / "result.npz"
        results.save_result(path, self.ARRAYS)
        loaded = results.load_result(path)
        assert loaded.keys() == self.ARRAYS.keys()
        for name, array in self.ARRAYS.items():
            np.testing.assert_array_equal(loaded[name], array)

    def test_equal_arrays_give_equal_bytes(self, tmp_path):
        one, other = tmp_path / "1.npz", tmp_path / "2.npz"
        for path in (one, other):
            results.save_result(path, self.ARRAYS)
        assert one.read_bytes() == other.read_bytes()

    def test_failure_leaves_the_earlier_file(self, tmp_path):
        path = tmp_path / "result.npz"
        results.save_result(path, self.ARRAYS)
        before = path.read_bytes()
        bad = self.ARRAYS | {"objects": np.asarray([None, "x"], object)}
        with pytest.raises(ValueError, match="Object arrays"):
            results.save_result(path, bad)
        assert path.read_bytes() == before
        assert list(tmp_path.iterdir()) == [path]

    @pytest.mark.parametrize(
        ("content", "message"),
        [
            (None, "no such file"),
            (b"", "not a readable .npz"),
            (b"nonsense", "not a readable .npz"),
        ],
    )
    def test_unreadable(self, tmp_path, content, message):
        path = tmp_path / "result.npz"
        if content is not None:
            path.write_bytes(content)
        with pytest.raises(UserError, match=message):
            results.load_result(path)

    def test_another_kind_of_file(self, tmp_path):
        path = tmp_path / "result.npz"
        np.savez(path, weight=np.ones(3))
        with pytest.raises(UserError, match="not a result"):
            results.load_result(path)

    def test_pickles_are_not_read(self, tmp_path):
        path = tmp_path / "result.npz"
        np.savez(path, alphas=np.asarray([None], object))
        with pytest.raises(UserError, match=r"result\.npz"):
            results.load_result(path)


def make_result(num_seeds):
    rng = np.random.default_rng(0)
    return {
        "proper_name": np.asarray("Toy | cRT"),
        "baseline_test_acc_per_split": np.asarray([0.25, 0.5, 0.75]),
        "baseline_test_accuracy": np.asarray(0.505),
        "test_acc_per_split": rng.uniform(size=(num_seeds, 3)),
        "test_accuracy": rng.uniform(size=num_seeds),
    }


class TestTrainingTable:
    def test_numbers(self):
        result = make_result(4)
        lines = training_table({"AlphaNet": result}).splitlines()
        assert lines[:2] == ["Toy | cRT", "========="]
        assert lines[5].split() == ["Baseline", "25.0", "50.0", "75.0", "50.5"]
        cells = lines[6].split("  ")
        shown = [cell.strip() for cell in cells if cell.strip()]
        values = np.column_stack(
            [result["test_acc_per_split"], result["test_accuracy"]]
        )
        expected = [
            f"{100 * column.mean():.1f} ± {100 * column.std(ddof=1):.2f}"
            for column in values.T
        ]
        assert shown == ["AlphaNet", *expected]
        assert len(set(map(len, lines[3:7]))) == 1

    def test_one_seed_has_no_deviation(self):
        assert "±" not in training_table({"AlphaNet": make_result(1)})

    def test_baseline_alone(self):
        (row,) = training_table({}, baseline=make_result(2)).splitlines()[5:]
        assert row.split() == ["Baseline", "25.0", "50.0", "75.0", "50.5"]
        with pytest.raises(ValueError, match="rows must not be empty"):
            training_table({})

    def test_says_what_is_worse_than_before(self):
        def result(*accuracies, before=0.5):
            return make_result(len(accuracies)) | {
                "test_accuracy": np.full(len(accuracies), 0.6),
                "selected_epoch": np.arange(len(accuracies)) % 2,
                # The selected epoch's, beside another one that is not looked at.
                "val_accuracy": np.array(
                    [[a, 0.9][:: 1 - 2 * (i % 2)] for i, a in enumerate(accuracies)]
                ),
                "baseline_val_accuracy": np.asarray(before),
            }

        rows = {
            "AlphaNet (r=0.1)": result(0.4, 0.43),
            "AlphaNet (r=0.5)": result(0.4, 0.55),
            "AlphaNet (r=1)": result(0.5),
            "AlphaNet (r=2)": result(0.499, 0.502),
            "no data": result(0.1, before=np.nan),
        }
        lines = training_table(rows).splitlines()
        assert lines[-1] == (
            "note: on validation data the unchanged classifier gets 50.00 overall, "
            "more than AlphaNet (r=0.1), 41.50 (mean of 2 seeds, the best 43.00); "
            "AlphaNet (r=0.5), 47.50 (mean of 2 seeds, the best 55.00); a larger rho "
            "costs the base classes less; `compare` shows other corrections"
        )
        assert lines[-2].startswith("no data")
        one = {"AlphaNet": result(0.25)}
        assert "more than AlphaNet, 25.00; a larger" in training_table(one)
        assert "note" not in training_table({"AlphaNet": result(0.5, 0.6)})
        untrained = result(0.1) | {"val_accuracy": np.zeros((1, 0))}
        assert "note" not in training_table({"AlphaNet": untrained})

    def test_says_what_rho_does(self):
        """The changes of the only row; without validation, losses on test data."""
        result = make_result(2) | {
            "test_acc_per_split": np.array([[0.5, 0.4, 0.7], [0.4, 0.4, 0.74]]),
            "test_accuracy": np.array([0.5, 0.49]),
        }
        rule = (
            "larger rho (--config.rho) takes less from medium and many, and gives few "
            "less."
        )
        text = training_table({"AlphaNet (r=0.1)": result}, explain_rho=True)
        assert text.splitlines()[-2:] == [
            "AlphaNet (r=0.1): few +20.0, medium -10.0, many -3.0, overall -1.0; a "
            + rule,
            "note: on test data the unchanged classifier gets 50.50 overall, more than "
            "AlphaNet (r=0.1), 49.50; `compare` shows other corrections",
        ]
        result["test_accuracy"] += 0.1
        result["test_acc_per_split"][:, 2] = np.nan
        (line,) = training_table({"A": result}, explain_rho=True).splitlines()[7:]
        assert line == f"A: few +20.0, medium -10.0, overall +9.0; a {rule}"
        text = training_table({"A": result, "B": result}, explain_rho=True)
        assert text.splitlines()[8:] == [f"A {rule}"]
        assert "rho" not in training_table({"A": result})

    def test_changes_are_those_of_the_cells_above(self, rng):
        """Who subtracts what is shown gets what is said."""
        differ = 0
        for _ in range(50):
            parts = rng.uniform(size=(2, 3))
            result = make_result(1) | {
                "baseline_test_acc_per_split": parts[0],
                "baseline_test_accuracy": np.asarray(parts[0].mean()),
                "test_acc_per_split": parts[1:],
                "test_accuracy": parts[1:].mean(axis=1),
            }
            lines = training_table({"A": result}, explain_rho=True).splitlines()
            baseline, row = (
                [float(cell) for cell in line.split()[1:]] for line in lines[5:7]
            )
            said = re.findall(r"[-+][0-9.]+", lines[7])
            assert said == [
                f"{after - before:+z.1f}"
                for before, after in zip(baseline, row, strict=True)
            ]
            differ += said[0] != f"{100 * (parts[1, 0] - parts[0, 0]):+.1f}"
        assert differ > 5

    def test_split_without_samples(self):
        result = make_result(2)
        result["test_acc_per_split"][:, 1] = np.nan
        result["baseline_test_acc_per_split"][1] = np.nan
        lines = training_table({"AlphaNet": result}).splitlines()
        assert lines[5].split()[2] == "-"
        cells = [cell.strip() for cell in lines[6].split("  ") if cell.strip()]
        assert cells[2] == "-"
        assert all("±" in cells[place] for place in (1, 3, 4))


class TestConfigDifferences:
    def test_named_with_both_values(self):
        found = compare.config_differences(
            {"rho": 0.5, "training": {"n_neighbors": 5}, "data_root": "/a"},
            {"rho": 0.25, "training": {"n_neighbors": 5}, "data_root": "/b"},
        )
        assert found == ["rho 0.5, now 0.25"]

    def test_fields_that_an_earlier_version_did_not_have(self):
        old = {"rho": 0.5}
        assert compare.config_differences(old, old | {"precision": "highest"}) == []
        assert compare.config_differences(old, old | {"precision": "fast"}) == [
            "precision 'highest', now 'fast'"
        ]


class TestPublicNames:
    def test_each_is_there_and_listed(self):
        names = alphanet_jax.results.__all__
        assert len(set(names)) == len(names)
        for name in names:
            assert getattr(alphanet_jax.results, name) is not None
        assert set(names) <= set(dir(alphanet_jax.results))
        assert alphanet_jax.results.load_result is results.load_result

    def test_type_checkers_see_the_same(self):
        path = Path(alphanet_jax.results.__file__)
        told = {
            alias.name: node.module.rpartition(".")[2]
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
            if isinstance(node, ast.ImportFrom) and "results" in node.module
            for alias in node.names
        }
        assert told == alphanet_jax.results._MODULES
        assert set(told) == set(alphanet_jax.results.__all__)

    def test_others_are_not(self):
        with pytest.raises(AttributeError, match=r"results' has no attribute 'nope'"):
            alphanet_jax.results.nope  # noqa: B018

    def test_nothing_is_loaded_before_it_is_used(self):
        """Also not NumPy: a program that prints help imports this."""
        code = (
            "import sys, alphanet_jax.results as results\n"
            "assert not {'jax', 'numpy'} & sys.modules.keys()\n"
            "results.per_split\n"
            "mine = {n for n in sys.modules if n.startswith('alphanet_jax.results.')}\n"
            "assert mine == {'alphanet_jax.results.accuracy'}, mine\n"
            "assert 'jax' not in sys.modules"
        )
        subprocess.run([sys.executable, "-c", code], check=True)
