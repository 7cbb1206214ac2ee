"""The data of results: found again, and what follows from it."""

import json

import made_data
import numpy as np
import pytest
import results_of_data

from alphanet_jax.data import registry
from alphanet_jax.data.loading import load_dataset
from alphanet_jax.errors import UserError
from alphanet_jax.results import nearest, semantic
from alphanet_jax.results.datasets import DataFinder


@pytest.fixture
def made(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return made_data.make(tmp_path / "data")


@pytest.fixture
def file(made, tmp_path):
    return results_of_data.load(tmp_path, results_of_data.arrays_of(made))


class TestDataFinder:
    def test_loads_once(self, made, file):
        lines = []
        finder = DataFinder(report=lines.append)
        data = finder.dataset(file)
        np.testing.assert_array_equal(data.weight, made.weight)
        assert finder.dataset(file) is data
        assert lines.count("loading the data of made") == 1
        assert finder.entry(file) == made.entry
        assert finder.root(file) == made.root

    def test_where_flags_say(self, made, file, tmp_path):
        moved = tmp_path / "moved"
        made.root.rename(moved)
        with pytest.raises(UserError, match=r"result\.npz is needed: .*--data_root"):
            DataFinder().dataset(file)
        found = DataFinder(moved / "datasets.toml", moved).dataset(file)
        np.testing.assert_array_equal(found.bias, made.bias)

    def test_data_has_changed(self, made, file):
        made.dump_classifier(bias=made.bias + 1)
        with pytest.raises(UserError, match=r"its files have changed since"):
            DataFinder().dataset(file)

    def test_a_name_in_two_registries(self, made, file, tmp_path):
        other = made.root / "other.toml"
        text = made.registry.read_text()
        other.write_text(text.replace("classifiers/m.pth", "classifiers/n.pth"))
        content = {"weight": made.weight, "bias": made.bias + 1}
        made.dump("data/classifiers/n.pth", content)
        data = load_dataset(registry.get_entry(other, "made"), made.root)
        second = results_of_data.load(
            tmp_path,
            results_of_data.arrays_of(made, registry=str(other)),
            file_hashes=json.dumps(dict(data.file_hashes)),
        )
        finder = DataFinder()
        np.testing.assert_array_equal(finder.dataset(file).bias, made.bias)
        np.testing.assert_array_equal(finder.dataset(second).bias, made.bias + 1)

    def test_groups_are_those_of_the_result(self, made, tmp_path):
        arrays = results_of_data.arrays_of(made, **{"training.val_datagrp": ""})
        # The hashes are those of all three groups.
        with pytest.raises(UserError, match=r"is not what .*result\.npz was made with"):
            DataFinder().dataset(results_of_data.load(tmp_path, arrays))

    def test_class_means(self, made, file):
        finder = DataFinder()
        data = finder.dataset(file)
        group = made.groups["train"]
        wanted = [
            group["feats"][group["labels"] == label].mean(axis=0)
            for label in range(made_data.NUM_CLASSES)
        ]
        means = finder.class_means(data)
        np.testing.assert_allclose(means, wanted, rtol=1e-5, atol=1e-6)
        assert finder.class_means(data) is means

    def test_nearest_is_found_once_for_a_setting(self, file, monkeypatch):
        finder = DataFinder()
        data = finder.dataset(file)
        first = finder.nearest(data, num_neighbors=2, metric="euclidean")
        wanted = nearest.nearest_others(
            finder.class_means(data), range(6), num_neighbors=2, metric="euclidean"
        )
        np.testing.assert_array_equal(first, wanted)
        other = finder.nearest(data, num_neighbors=1, metric="cosine")
        assert other.sum(axis=1).tolist() == [1] * 6
        monkeypatch.setattr(nearest, "nearest_others", None)
        assert finder.nearest(data, num_neighbors=2, metric="euclidean") is first


class TestVisualMask:
    def test_nearest_of_all_classes_as_many_as_the_result_has(self, made, file):
        mask = semantic.visual_mask(file, DataFinder())
        group = made.groups["train"]
        means = np.stack(
            [
                group["feats"][group["labels"] == label].mean(axis=0)
                for label in range(6)
            ]
        )
        far = np.linalg.norm(means[:, None] - means[None], axis=-1)
        np.fill_diagonal(far, np.inf)
        assert mask.dtype == bool
        for label in range(6):
            assert set(np.flatnonzero(mask[label])) == set(np.argsort(far[label])[:2])

    def test_own_distance_or_another(self, made, tmp_path):
        fields = {"training.nn_dist": "cosine", "training.n_neighbors": 1}
        file = results_of_data.load(tmp_path, results_of_data.arrays_of(made, **fields))
        finder = DataFinder()
        data = finder.dataset(file)
        for chosen, metric in ((None, "cosine"), ("euclidean", "euclidean")):
            mask = semantic.visual_mask(file, finder, nn_dist=chosen)
            near = finder.nearest(data, num_neighbors=1, metric=metric)
            np.testing.assert_array_equal(mask, near)
            assert mask.sum() == 6

    def test_random_neighbors(self, made, tmp_path):
        fields = {"training.nn_dist": "random"}
        file = results_of_data.load(tmp_path, results_of_data.arrays_of(made, **fields))
        wanted = r"result\.npz was made .*'random'.*; choose --f=euclidean or --f=cosi"
        with pytest.raises(UserError, match=wanted):
            semantic.visual_mask(file, DataFinder(), flag="--f")
        mask = semantic.visual_mask(file, DataFinder(), nn_dist="euclidean")
        assert mask.sum(axis=1).tolist() == [2] * 6

    def test_random_is_no_choice_either(self, file):
        with pytest.raises(UserError, match="--nn_dist 'random', which says nothing"):
            semantic.visual_mask(file, DataFinder(), nn_dist="random")


# dog, wolf, domestic cat, lion, car, truck
SYNSETS = (
    *("n02084071", "n02114100", "n02121808", "n02129165", "n02958343", "n04490091"),
)


class TestSemanticMask:
    def test_no_synsets(self, file):
        with pytest.raises(UserError, match=r"'made' has no synsets_file .* --synsets"):
            semantic.semantic_mask(file, DataFinder())

    def test_no_wordnet(self, file, tmp_path):
        path = tmp_path / "synsets.txt"
        path.write_text("\n".join(SYNSETS))
        with pytest.raises(UserError, match="no WordNet database here"):
            semantic.semantic_mask(
                file, DataFinder(), synsets=path, wordnet=tmp_path / "none"
            )

    @pytest.mark.slow
    @pytest.mark.usefixtures("wordnet_reader")
    def test_registry_and_flag_say_the_same(self, made, file, tmp_path):
        path = made.path("data/synsets.txt")
        path.write_text("\n".join(SYNSETS))
        given = semantic.semantic_mask(file, DataFinder(), synsets=path, level=2)
        # Canine is above dog and wolf, domestic animal above dog and domestic cat.
        assert given[0].tolist() == [False, True, True, False, False, False]
        np.testing.assert_array_equal(given, given.T)
        assert not given.diagonal().any()
        made.write_registry(synsets_file="data/synsets.txt")
        found = semantic.semantic_mask(file, DataFinder(), level=2)
        np.testing.assert_array_equal(found, given)
        wider = semantic.semantic_mask(file, DataFinder())
        assert wider.sum() > given.sum()
        assert not wider[0, 4:].any()

    @pytest.mark.slow
    @pytest.mark.usefixtures("wordnet_reader")
    def test_not_for_these_classes(self, file, tmp_path):
        path = tmp_path / "synsets.txt"
        path.write_text("\n".join(SYNSETS[:-1]))
        with pytest.raises(UserError, match=r"synsets\.txt: 5 synsets for 6 classes"):
            semantic.semantic_mask(file, DataFinder(), synsets=path)
