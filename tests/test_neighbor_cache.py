"""Neighbors on disk: found again by their content, and never out of date."""

import dataclasses

import jax
import numpy as np
import pytest
from test_experiment import SETTINGS, make_dataset

from alphanet_jax import files, scores
from alphanet_jax.data import dataset
from alphanet_jax.experiment import loop, neighbor_cache
from alphanet_jax.experiment import problem as problem_lib
from alphanet_jax.experiment.neighbor_cache import NeighborCache

DATA = dataclasses.replace(
    make_dataset(),
    file_hashes={"train.npy": "a", "train_labels.npy": "b", "test.npy": "c"},
    train_files=("train.npy", "train_labels.npy"),
)
RANDOM = dataclasses.replace(SETTINGS, nn_dist="random", nn_per_seed=True)


def prepare(directory, data=DATA, settings=SETTINGS, seed=0):
    store = NeighborCache([directory], data)
    return problem_lib.prepare_all(data, [(settings, seed)], store=store)[0]


def forge(path, **arrays):
    """Changes what a file holds, and its hash with it."""
    arrays = files.open_npz(path) | arrays
    digest = neighbor_cache._digest(arrays["classes"], arrays["distances"])
    files.write_npz(path, arrays | {"sha256": np.asarray(digest)})


def count(directory):
    return len(list(directory.glob("*.npz")))


class TestCache:
    def test_what_is_kept_is_used(self, tmp_path, monkeypatch):
        first = prepare(tmp_path)
        (path,) = tmp_path.glob("euclidean_3_*.npz")

        def fail(*args, **kwargs):
            raise AssertionError("searched again")

        monkeypatch.setattr(dataset.Dataset, "class_means", fail)
        again = prepare(tmp_path)
        np.testing.assert_array_equal(again.neighbors, first.neighbors)
        np.testing.assert_array_equal(
            again.neighbor_distances, first.neighbor_distances
        )
        swapped = first.neighbors[:, ::-1].copy()  # it is the file that is read
        forge(path, classes=swapped)
        np.testing.assert_array_equal(prepare(tmp_path).neighbors, swapped)

    @pytest.mark.parametrize(
        ("data", "settings", "seed", "is_new"),
        [
            ({}, {}, 5, False),  # the seed is of random neighbors alone
            ({"file_hashes": DATA.file_hashes | {"test.npy": "x"}}, {}, 0, False),
            ({"file_hashes": DATA.file_hashes | {"train.npy": "x"}}, {}, 0, True),
            (
                {"file_hashes": DATA.file_hashes | {"train_labels.npy": "x"}},
                {},
                0,
                True,
            ),
            (
                {"splits": dict(DATA.splits, few=np.array([1, 4], np.int32))},
                {},
                0,
                True,
            ),
            ({}, {"n_neighbors": 2}, 0, True),
            ({}, {"nn_dist": "cosine"}, 0, True),
            ({}, {"rho": 0.1, "hdims": (3,)}, 0, False),
        ],
    )
    def test_everything_they_depend_on_and_nothing_else(
        self, tmp_path, data, settings, seed, is_new
    ):
        prepare(tmp_path)
        prepare(
            tmp_path,
            dataclasses.replace(DATA, **data),
            dataclasses.replace(SETTINGS, **settings),
            seed,
        )
        assert count(tmp_path) == 1 + is_new

    @pytest.mark.parametrize("damage", ["sign", "twice", "nan", "order", "negative"])
    def test_what_cannot_be_right_is_found_again(self, tmp_path, damage):
        first = prepare(tmp_path)
        (path,) = tmp_path.glob("*.npz")
        classes, distances = first.neighbors.copy(), first.neighbor_distances.copy()
        if damage == "sign":  # not by somebody who knows of the hash
            distances[0, 0] *= -1
            files.write_npz(path, files.open_npz(path) | {"distances": distances})
        elif damage == "twice":
            classes[:, 1] = classes[:, 0]
        elif damage == "nan":
            distances[0, -1] = np.nan
        else:
            distances = -distances if damage == "negative" else distances[:, ::-1]
        if damage != "sign":
            forge(path, classes=classes, distances=np.ascontiguousarray(distances))
        again = prepare(tmp_path)
        np.testing.assert_array_equal(again.neighbors, first.neighbors)
        np.testing.assert_array_equal(
            again.neighbor_distances, first.neighbor_distances
        )

    def test_others_may_write_there(self, tmp_path):
        first = prepare(tmp_path)
        (path,) = tmp_path.glob("*.npz")
        forge(path, classes=first.neighbors[:, ::-1].copy())
        tmp_path.chmod(0o777)
        again = prepare(tmp_path)
        np.testing.assert_array_equal(again.neighbors, first.neighbors)

    @pytest.mark.parametrize("damage", ["bytes", "shape", "class"])
    def test_a_file_that_is_wrong_is_replaced(self, tmp_path, damage):
        expected = prepare(tmp_path).neighbors
        (path,) = tmp_path.glob("*.npz")
        arrays = files.open_npz(path)
        if damage == "bytes":
            path.write_bytes(b"no archive")
        elif damage == "shape":
            files.write_npz(path, arrays | {"classes": arrays["classes"][:, :2]})
        else:  # of the few split
            files.write_npz(path, arrays | {"classes": arrays["classes"] * 0 + 1})
        np.testing.assert_array_equal(prepare(tmp_path).neighbors, expected)
        np.testing.assert_array_equal(files.open_npz(path)["classes"], expected)

    def test_a_dataset_in_memory_is_known_again(self, tmp_path):
        prepare(tmp_path, make_dataset())
        prepare(tmp_path, make_dataset(val=False))
        assert count(tmp_path) == 1

    def test_a_dataset_without_hashes_is_not_kept(self, tmp_path):
        unknown = dataclasses.replace(make_dataset(), file_hashes={}, train_files=())
        prepare(tmp_path, unknown)
        assert count(tmp_path) == 0


class TestMeans:
    def test_kept_when_they_are_asked_for(self, tmp_path, monkeypatch):
        first = prepare(tmp_path).class_means()
        np.testing.assert_array_equal(first, DATA.class_means())
        (path,) = tmp_path.glob("class_means_*.npz")

        def fail(*args, **kwargs):
            raise AssertionError("computed again")

        monkeypatch.setattr(dataset.Dataset, "class_means", fail)
        again = prepare(tmp_path, settings=dataclasses.replace(SETTINGS, rho=0.1))
        np.testing.assert_array_equal(again.class_means(), first)
        means = first + 1  # it is the file that is read
        digest = np.asarray(neighbor_cache._digest(means))
        files.write_npz(path, {"means": means, "sha256": digest})
        np.testing.assert_array_equal(prepare(tmp_path).class_means(), means)

    @pytest.mark.parametrize("damage", ["bytes", "sign", "nan", "shape", "other data"])
    def test_what_cannot_be_right_is_computed(self, tmp_path, damage):
        means = prepare(tmp_path).class_means()
        (path,) = tmp_path.glob("class_means_*.npz")
        data, wrong = DATA, np.array(means)
        if damage == "bytes":
            path.write_bytes(b"no archive")
        elif damage == "sign":  # not by somebody who knows of the hash
            files.write_npz(path, files.open_npz(path) | {"means": -means})
        elif damage == "other data":
            hashes = DATA.file_hashes | {"train.npy": "x"}
            data = dataclasses.replace(DATA, file_hashes=hashes)
            files.write_npz(path, {"means": wrong + 1, "sha256": np.asarray("0")})
        else:
            wrong = wrong[:, :2] if damage == "shape" else wrong * np.nan
            digest = np.asarray(neighbor_cache._digest(wrong))
            files.write_npz(path, {"means": wrong, "sha256": digest})
        found = prepare(tmp_path, data).class_means()
        np.testing.assert_array_equal(found, means)
        assert len(list(tmp_path.glob("class_means_*.npz"))) == 1 + (data is not DATA)

    def test_without_a_place(self):
        problem = problem_lib.prepare(DATA, SETTINGS)
        np.testing.assert_array_equal(problem.class_means(), DATA.class_means())


class TestRandomForEverySeed:
    def test_each_seed_has_its_own_in_arrays_of_one_shape(self, tmp_path):
        one, other = (prepare(tmp_path, settings=RANDOM, seed=s) for s in (0, 1))
        assert count(tmp_path) == 2
        assert (one.neighbors != other.neighbors).any()
        shapes = [
            [np.shape(leaf) for leaf in jax.tree.leaves(p.frozen)] for p in (one, other)
        ]
        assert shapes[0] == shapes[1]

    @pytest.mark.slow
    def test_shape_changes_no_number(self):
        problem = problem_lib.prepare(DATA, RANDOM, seed=0)
        lean = dataclasses.replace(
            problem,
            frozen=scores.make_frozen(
                DATA.weight, DATA.bias, DATA.few_classes, problem.neighbors
            ),
        )
        lean.score_arguments["source_classes"] = lean.frozen.source_classes
        given = loop.run(problem, [0])
        expected = loop.run(lean, [0])
        np.testing.assert_allclose(given.alphas, expected.alphas, atol=1e-5)
        np.testing.assert_array_equal(given.test_pred, expected.test_pred)


class TestRemarks:
    @pytest.mark.parametrize(
        ("changes", "expected"),
        [
            ({}, None),
            ({"n_neighbors": 1}, "n_neighbors is 1"),
            ({"train_epochs": 1}, r"min_epochs (2) is past the last of 1 epochs"),
            ({"train_epochs": 0}, None),
        ],
    )
    def test_of_settings(self, changes, expected):
        settings = dataclasses.replace(SETTINGS, **changes)
        found = problem_lib.remarks(problem_lib.prepare(DATA, settings))
        assert len(found) == (expected is not None)
        assert expected is None or expected in found[0]

    def test_of_data(self):
        few = np.isin(DATA.test.labels, DATA.few_classes)
        test = dataclasses.replace(
            DATA.test,
            features=DATA.test.features[~few],
            labels=DATA.test.labels[~few],
        )
        names = ("same", "same", *map(str, range(10)))
        data = dataclasses.replace(DATA, test=test, label_names=names)
        found = problem_lib.remarks(problem_lib.prepare(data, SETTINGS))
        assert found == [
            "no test sample is of a 'few' class: its accuracy is '-'",
            "1 names are those of several classes: 'same'",
        ]


@pytest.mark.slow
def test_a_network_that_gives_only_zeros_is_explained():
    problem = problem_lib.prepare(DATA, SETTINGS)
    params = loop.initial_params(problem, [4])
    last = params[-1]._replace(weight=0 * params[-1].weight, bias=0 * params[-1].bias)
    with pytest.raises(
        problem_lib.UserError, match=r"seed 4 gives only zeros for class [148]"
    ):
        loop.run(problem, [4], params=(*params[:-1], last))


@pytest.mark.slow
def test_debug_finds_nothing_wrong_in_a_run():
    settings = dataclasses.replace(SETTINGS, debug=True)
    outcome = loop.run(problem_lib.prepare(DATA, settings), [0])
    assert outcome.epoch_loss.shape == (1, 6)


@pytest.mark.slow
def test_debug_notices_wrong_coefficients(monkeypatch):
    settings = dataclasses.replace(SETTINGS, debug=True)
    original = loop.programs.train_epoch

    def doubled(*arguments):
        state, record = original(*arguments)
        return state, dataclasses.replace(record, alphas=2 * record.alphas)

    monkeypatch.setattr(loop.programs, "train_epoch", doubled)
    problem = problem_lib.prepare(DATA, settings)
    with pytest.raises(
        problem_lib.UserError, match=r"debug: coefficients .* seed 0 aft"
    ):
        loop.run(problem, [0])
