"""Result files found, put together and loaded."""

import json
import re

import made_data
import numpy as np
import pytest
import results_of_data

from alphanet_jax import results
from alphanet_jax.errors import UserError


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    root = tmp_path_factory.mktemp("sets")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(root / "cache"))
        yield made_data.make(root / "data")


@pytest.fixture(scope="module")
def arrays(made):
    """Arrays of results that differ in nothing but seeds, but for the last."""
    return {
        "a": results_of_data.arrays_of(made, seeds=(0, 1), draw=1),
        "b": results_of_data.arrays_of(made, seeds=(2,), draw=2),
        "rho": results_of_data.arrays_of(made, seeds=(0, 1), draw=3, rho=0.25),
        "k": results_of_data.arrays_of(made, draw=4, **{"training.n_neighbors": 1}),
    }


def load(paths, lines=None):
    (made,) = results.load_sets(
        {"name": paths}, report=(lambda line: None) if lines is None else lines.append
    )
    return made


class TestFindResults:
    def test_sorted_and_only_files(self, tmp_path):
        for name in ("b/result.npz", "a/deep/result.npz", "a/other.npz", "result.npz"):
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).touch()
        (tmp_path / "c" / "result.npz").mkdir(parents=True)
        found = results.find_results(tmp_path)
        names = [path.relative_to(tmp_path).as_posix() for path in found]
        assert names == ["a/deep/result.npz", "b/result.npz", "result.npz"]
        found = results.find_results(tmp_path, "?/*.npz")
        names = [path.relative_to(tmp_path).as_posix() for path in found]
        assert names == ["a/other.npz", "b/result.npz"]

    def test_no_directory(self, tmp_path):
        with pytest.raises(UserError, match=r"no such directory: .*none"):
            results.find_results(tmp_path / "none")

    def test_nothing_there(self, tmp_path):
        with pytest.raises(UserError, match=r"no result matches '\*\*/result.npz' be"):
            results.find_results(tmp_path)

    @pytest.mark.parametrize("pattern", ["", "/abs/*.npz"])
    def test_no_relative_pattern(self, tmp_path, pattern):
        message = (
            rf"must be relative .* as \*\*/result\.npz, got '{re.escape(pattern)}'$"
        )
        with pytest.raises(UserError, match=message):
            results.find_results(tmp_path, pattern)

    def test_no_pattern(self, tmp_path):
        # From Python 3.13 on it is one, which matches nothing.
        with pytest.raises(UserError, match=r"'a\*\*b/x'"):
            results.find_results(tmp_path, "a**b/x")


class TestGroupBySetting:
    def group(self, directory):
        paths = results.find_results(directory, "**/*.npz")
        groups = results.group_by_setting(paths, directory)
        return {
            name: [path.relative_to(directory).as_posix() for path in group]
            for name, group in groups.items()
        }

    def test_seeds_and_places_do_not_count(self, tmp_path, arrays, made):
        elsewhere = json.loads(str(arrays["b"]["config"]))
        elsewhere |= {"seed": 5, "seeds": 1, "data_root": "x", "registry": "y"}
        results_of_data.write(tmp_path / "r1/run_1/result.npz", arrays["a"])
        results_of_data.write(
            tmp_path / "r1/run_2/result.npz",
            arrays["b"],
            config=json.dumps(elsewhere),
        )
        results_of_data.write(tmp_path / "r2/result.npz", arrays["rho"])
        assert self.group(tmp_path) == {
            "r1": ["r1/run_1/result.npz", "r1/run_2/result.npz"],
            "r2": ["r2/result.npz"],
        }

    def test_what_an_earlier_version_did_not_have_is_the_default(
        self, tmp_path, arrays
    ):
        earlier = json.loads(str(arrays["a"]["config"]))
        del earlier["precision"], earlier["training"]["nn_per_seed"]
        config = json.dumps(earlier)
        results_of_data.write(tmp_path / "r/1/result.npz", arrays["a"])
        results_of_data.write(tmp_path / "r/2/result.npz", arrays["a"], config=config)
        assert list(self.group(tmp_path)) == ["r"]

    def test_result_in_the_directory_itself(self, tmp_path, arrays):
        results_of_data.write(tmp_path / "mine" / "result.npz", arrays["a"])
        assert list(self.group(tmp_path / "mine")) == ["mine"]

    def test_several_settings_in_one_directory(self, tmp_path, arrays):
        for name in ("a", "rho", "k"):
            results_of_data.write(tmp_path / "x" / f"{name}.npz", arrays[name])
        assert self.group(tmp_path) == {
            "x/a": ["x/a.npz"],
            "x/k": ["x/k.npz"],
            "x/rho": ["x/rho.npz"],
        }

    def test_no_group_hides_another_of_the_same_name(self, tmp_path, arrays):
        base = tmp_path / "same"
        results_of_data.write(base / "result.npz", arrays["a"])
        results_of_data.write(base / "same" / "result.npz", arrays["rho"])
        assert self.group(base) == {
            "result.npz": ["result.npz"],
            "same": ["same/result.npz"],
        }

    @pytest.mark.parametrize("config", ["nonsense", "[1]"])
    def test_no_config(self, tmp_path, arrays, config):
        path = results_of_data.write(tmp_path / "r.npz", arrays["a"], config=config)
        with pytest.raises(UserError, match=r"r\.npz: not a result: its config"):
            results.group_by_setting([path], tmp_path)
        with pytest.raises(UserError, match=r"r\.npz: not a result: its config"):
            load([path])


class TestLoadSets:
    def test_runs_of_all_files(self, tmp_path, arrays):
        lines = []
        paths = [results_of_data.write(tmp_path / n, arrays[n[0]]) for n in ("a", "b")]
        runs = load(paths, lines)
        assert lines == ["read 1 of 1: name, 2 files, 3 runs"]
        assert (runs.name, runs.dataset, runs.proper_name) == ("name", "made", "made")
        assert (runs.num_runs, runs.num_classes) == (3, made_data.NUM_CLASSES)
        assert runs.runs("seeds").tolist() == [0, 1, 2]
        predictions = [arrays[name]["test_pred"] for name in "ab"]
        np.testing.assert_array_equal(runs.runs("test_pred"), np.vstack(predictions))
        np.testing.assert_array_equal(
            runs.common("test_labels"), arrays["a"]["test_labels"]
        )
        for split, classes in made_data.SPLITS.items():
            assert runs.splits[split].tolist() == list(classes)

    def test_weights_are_read_when_they_are_asked_for(self, tmp_path, arrays):
        runs = load([results_of_data.write(tmp_path / "a", arrays["a"])])
        assert "weight_few" not in runs.files[0].arrays
        np.testing.assert_array_equal(
            runs.runs("weight_few"), arrays["a"]["weight_few"]
        )

    def test_neighbors_of_all_and_of_each_seed(self, tmp_path, arrays, made):
        own = results_of_data.arrays_of(made, seeds=(7, 8), per_seed=True, draw=9)
        paths = [
            results_of_data.write(tmp_path / "a", arrays["a"]),
            results_of_data.write(tmp_path / "own", own),
        ]
        found = load(paths).runs("neighbors")
        shared = arrays["a"]["neighbors"]
        np.testing.assert_array_equal(found, [shared, shared, *own["neighbors"]])
        assert not np.array_equal(*own["neighbors"])

    def test_numbers_of_neighbors_differ(self, tmp_path, arrays):
        runs = load(
            [results_of_data.write(tmp_path / n, arrays[n]) for n in ("a", "k")]
        )
        assert runs.settings("training.n_neighbors") == [2, 1]
        assert runs.settings("training.nn_dist") == ["euclidean"]
        with pytest.raises(UserError, match=r"a and .*k cannot be taken together: al"):
            runs.runs("alphas")

    def test_names_of_classes(self, tmp_path, arrays):
        paths = [results_of_data.write(tmp_path / "a", arrays["a"])]
        assert load(paths).label_name(2) == "name 2"
        paths = [results_of_data.write(tmp_path / "a", arrays["a"], label_names=[])]
        assert load(paths).label_name(2) == "class 2"

    def test_a_set_for_each_dataset(self, tmp_path, arrays):
        paths = [
            results_of_data.write(tmp_path / "1", arrays["a"], dataset="other"),
            results_of_data.write(tmp_path / "2", arrays["b"]),
            results_of_data.write(tmp_path / "3", arrays["b"], dataset="other"),
        ]
        found = results.load_sets({"x": paths, "y": paths[1:2]})
        shown = [(each.name, each.dataset, each.num_runs) for each in found]
        assert shown == [("x", "other", 3), ("x", "made", 1), ("y", "made", 1)]

    @pytest.mark.parametrize(
        "name",
        ["test_labels", "few_classes", "label_names", "baseline_test_pred"],
    )
    def test_other_data(self, tmp_path, arrays, name):
        changed = arrays["b"][name].copy()
        changed[:] = changed[::-1].copy()
        paths = [
            results_of_data.write(tmp_path / "1", arrays["a"]),
            results_of_data.write(tmp_path / "2", arrays["b"], **{name: changed}),
        ]
        # Also where the two belong to different experiments.
        with pytest.raises(UserError, match=rf"'made', but of other data: {name} dif"):
            results.load_sets({"x": paths[:1], "y": paths[1:]})

    @pytest.mark.parametrize(
        "name", ["seeds", "dataset", "test_pred", "baseline_test_pred"]
    )
    def test_array_is_missing(self, tmp_path, arrays, name):
        path = results_of_data.write(tmp_path / "1", arrays["a"], **{name: None})
        with pytest.raises(UserError, match=rf"1: not a result: \['{name}'\] missing"):
            load([path])

    @pytest.mark.parametrize(
        ("name", "ask"),
        [
            ("neighbors", lambda runs: runs.runs("neighbors")),
            ("proper_name", lambda runs: runs.proper_name),
            ("file_hashes", lambda runs: runs.files[0].file_hashes),
        ],
    )
    def test_array_is_missing_that_not_all_need(self, tmp_path, arrays, name, ask):
        runs = load(
            [results_of_data.write(tmp_path / "1", arrays["a"], **{name: None})]
        )
        with pytest.raises(UserError, match=rf"1: not a whole result: '{name}' is mis"):
            ask(runs)

    def test_copies_count_once(self, tmp_path, arrays):
        lines = []
        names = ("1", "2", "3")
        paths = [results_of_data.write(tmp_path / n, arrays["a"]) for n in names]
        runs = load(paths, lines)
        assert runs.num_runs == 2
        assert [file.path for file in runs.files] == paths[:1]
        assert len(lines) == 2
        assert lines[0] == (
            f"note: {paths[1]} is a copy of {paths[0]}, and 1 more such file; what is "
            "there twice counts once"
        )
        assert lines[1].endswith("3 files, 2 runs")

    def test_same_run_twice_is_told(self, tmp_path, arrays):
        lines = []
        other = arrays["a"]["test_pred"][:, ::-1]
        paths = [
            results_of_data.write(tmp_path / "1", arrays["a"]),
            results_of_data.write(tmp_path / "2", arrays["a"], test_pred=other),
        ]
        assert load(paths, lines).num_runs == 4
        assert "same settings and seed 0; both count" in lines[1]
        lines.clear()
        # Another setting with the same seed is another run.
        paths[1] = results_of_data.write(tmp_path / "2", arrays["rho"])
        load(paths, lines)
        assert len(lines) == 1


class TestSetting:
    def file(self, **fields):
        config = {"rho": 0.5, "training": {"sampler_builder": {"sampler_args": [""]}}}
        return results.ResultFile("r.npz", {}, config | fields)

    def test_by_dotted_name(self):
        name = "training.sampler_builder.sampler_args"
        assert self.file().setting(name) == [""]

    @pytest.mark.parametrize("name", ["none", "training.none", "rho.deep"])
    def test_unknown(self, name):
        with pytest.raises(
            UserError, match=rf"r\.npz: its config has no field '{name}"
        ):
            self.file().setting(name)

    @pytest.mark.parametrize(
        ("arguments", "rho"),
        [
            ([""], 0.5),
            (["r=0.1"], 0.1),
            (["", "r=0.2"], 0.2),
            (["r=0.7", ""], 0.5),
            (["", "a=1, r=2"], 2.0),
            (["", "r=0.3", "r=0.4"], 0.3),
        ],
    )
    def test_rho_is_that_of_the_second_sampler(self, arguments, rho):
        training = {"sampler_builder": {"sampler_args": arguments}}
        assert self.file(training=training).rho == rho


class TestChecks:
    @pytest.mark.parametrize(
        ("name", "value", "message"),
        [
            (
                "test_pred",
                [[9] * 12, [0] * 12],
                "test_pred must hold class ids from 0 to",
            ),
            (
                "test_pred",
                [[-1] * 12, [0] * 12],
                "test_pred must hold class ids from 0",
            ),
            (
                "test_pred",
                [[0.5] * 12] * 2,
                "test_pred must hold class ids from 0 to 5",
            ),
            (
                "test_pred",
                [[0] * 12],
                r"test_pred must have shape \(2, 12\) to fit the",
            ),
            ("baseline_test_pred", [0], r"baseline_test_pred must have shape \(12,\)"),
            (
                "neighbors",
                [[1, 6], [1, 2]],
                "neighbors must hold class ids from 0 to 5",
            ),
            (
                "alphas",
                [[[1.0]]],
                r"alphas must have shape \(2, 2, 3\) to fit the other",
            ),
            ("few_classes", [0, 6], "few_classes must hold class ids from 0 to 5"),
            ("label_names", ["a", "b"], r"label_names must have shape \(6,\) to fit"),
            ("seeds", [[0, 1]], r"seeds must have one axis, got shape \(1, 2\)"),
        ],
    )
    def test_arrays_that_do_not_fit(self, tmp_path, arrays, name, value, message):
        path = results_of_data.write(tmp_path / "r", arrays["a"], **{name: value})
        with pytest.raises(UserError, match=f"r: {message}"):
            load([path])

    def test_names_that_a_terminal_would_obey(self, tmp_path, arrays):
        names = [f"\x1b[2J{number}\n" for number in range(6)]
        path = results_of_data.write(
            tmp_path / "r", arrays["a"], label_names=names, proper_name="a\x07"
        )
        runs = load([path])
        assert runs.label_name(3) == "\N{REPLACEMENT CHARACTER}[2J3" + (
            "\N{REPLACEMENT CHARACTER}"
        )
        assert runs.proper_name == "a\N{REPLACEMENT CHARACTER}"
