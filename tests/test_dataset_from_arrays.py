"""Datasets of arrays in memory: as those of files, and checked like them."""

import jax.numpy as jnp
import made_data
import numpy as np
import pytest
from made_data import load, put

from alphanet_jax.data.dataset import Dataset
from alphanet_jax.errors import UserError


def arrays_of(made, **changes):
    """Arguments of `Dataset.from_arrays` for what is in the made files."""
    groups = {
        name: (group["feats"], group["labels"]) for name, group in made.groups.items()
    }
    splits = {name: list(classes) for name, classes in made_data.SPLITS.items()}
    return groups | {
        "weight": made.weight,
        "bias": made.bias,
        "splits": splits,
        **changes,
    }


class TestFromArrays:
    def test_equals_what_is_loaded(self, converted):
        loaded, _ = load(converted)
        names = [f"name {label}" for label in range(6)]
        data = Dataset.from_arrays(
            **arrays_of(converted, label_names=names, name="made")
        )
        for field in ("name", "proper_name", "label_names"):
            assert getattr(data, field) == getattr(loaded, field)
        for field in ("weight", "bias", "few_classes", "base_classes", "class_counts"):
            found, wanted = getattr(data, field), getattr(loaded, field)
            assert found.dtype == wanted.dtype
            np.testing.assert_array_equal(found, wanted)
        assert list(data.splits) == list(loaded.splits)
        for group in ("train", "val", "test"):
            found, wanted = getattr(data, group), getattr(loaded, group)
            np.testing.assert_array_equal(found.features, wanted.features)
            np.testing.assert_array_equal(found.labels, wanted.labels)
            assert found.labels.dtype == np.int32
        np.testing.assert_array_equal(data.class_means(), loaded.class_means())

    def test_what_may_be_left_out(self, made):
        data = Dataset.from_arrays(**arrays_of(made, bias=None, val=None))
        assert (data.val, data.label_names) == (None, None)
        assert data.name == data.proper_name == "arrays"
        assert data.bias.dtype == np.float32
        np.testing.assert_array_equal(data.bias, np.zeros(6))

    def test_kinds_of_arrays(self, made):
        """Lists, JAX's arrays, groups of other datasets, classes in any order."""
        usual = Dataset.from_arrays(**arrays_of(made))
        feats, labels = (made.groups["val"][key] for key in ("feats", "labels"))
        data = Dataset.from_arrays(
            **arrays_of(
                made,
                train=usual.train,
                val=(feats.tolist(), labels.tolist()),
                weight=jnp.asarray(made.weight),
                splits={"few": (3, 0), "many": np.uint8([5, 2]), "medium": [4, 1]},
            )
        )
        assert data.train.features is usual.train.features
        assert data.few_classes.tolist() == [0, 3]
        assert data.splits["few"].dtype == data.splits["many"].dtype == np.int32
        np.testing.assert_array_equal(data.weight, usual.weight)
        np.testing.assert_array_equal(data.val.features, usual.val.features)

    def test_features_stay_where_they_are(self, made, tmp_path):
        feats, labels = (made.groups["train"][key] for key in ("feats", "labels"))
        np.save(tmp_path / "x.npy", feats)
        mapped = np.load(tmp_path / "x.npy", mmap_mode="r")
        data = Dataset.from_arrays(**arrays_of(made, train=(mapped, labels)))
        assert data.train.features is mapped
        assert data.test.features is made.groups["test"]["feats"]
        # What is small is copied: changing it later changes nothing.
        assert not np.shares_memory(data.weight, made.weight)
        assert not np.shares_memory(data.bias, made.bias)
        assert not np.shares_memory(data.train.labels, labels)

    def test_hashes_are_of_the_content(self, made, tmp_path):
        first = Dataset.from_arrays(**arrays_of(made)).file_hashes
        assert set(first) == {
            *("weight", "bias", "splits.few", "splits.medium", "splits.many"),
            *(
                f"{g}.{a}"
                for g in ("train", "val", "test")
                for a in ("features", "labels")
            ),
        }
        assert len(set(first.values())) == len(first)
        np.save(tmp_path / "x.npy", made.groups["train"]["feats"])
        mapped = np.load(tmp_path / "x.npy", mmap_mode="r")
        turned = np.asfortranarray(made.groups["test"]["feats"])
        again = Dataset.from_arrays(
            **arrays_of(
                made,
                train=(mapped, made.groups["train"]["labels"].tolist()),
                test=(turned, made.groups["test"]["labels"].astype(np.uint8)),
            )
        ).file_hashes
        assert again == first
        half = made.groups["test"]["feats"].astype(np.float16)
        other = Dataset.from_arrays(
            **arrays_of(made, test=(half, made.groups["test"]["labels"]))
        ).file_hashes
        assert {key for key in first if other[key] != first[key]} == {"test.features"}

    def test_training_data_is_named(self, made):
        data = Dataset.from_arrays(**arrays_of(made))
        assert set(data.train_files) == {"train.features", "train.labels"}
        assert set(data.train_files) <= data.file_hashes.keys()

    @pytest.mark.parametrize(
        ("change", "expected"),
        [
            (
                lambda a: {"train": a["train"][0]},
                "train must be a tuple of features and labels, got a ndarray",
            ),
            (
                lambda a: {"val": (a["val"][0],)},
                "val must be a tuple of features and labels, got a tuple",
            ),
            (
                lambda a: {"val": ([[1.0], [1.0, 2.0]], [0, 1])},
                "val: feats must be an array: setting an array element with a sequence",
            ),
            (
                lambda a: {"val": (a["val"][0][:, :3], a["val"][1])},
                "val: feats has 3 features a sample, but the classifier takes 4",
            ),
            (
                lambda a: {"test": (a["test"][0].astype(int), a["test"][1])},
                "test: feats must be floats, got int64",
            ),
            (
                lambda a: {"test": (put(a["test"][0], (3, 2), np.nan), a["test"][1])},
                "test: feats must be finite in float32, got nan in row 3, column 2",
            ),
            (
                lambda a: {"test": (a["test"][0], a["test"][1][1:])},
                "test: 11 labels for 12 samples",
            ),
            (
                lambda a: {"test": (a["test"][0], a["test"][1] * 0.5)},
                "test: labels must be whole numbers, got 0.5 in row 0",
            ),
            (
                lambda a: {"test": (a["test"][0], a["test"][1] + 1)},
                "test: labels must be in 0..5 (the classifier has 6 classes), got 6 in "
                "row 4",
            ),
            (
                lambda a: {"train": (a["train"][0], np.minimum(a["train"][1], 4))},
                "train: every class needs a training sample, but 1 of 6 have none: 5",
            ),
            (
                lambda a: {"weight": a["weight"].astype(int)},
                "classifier: weight must hold floats, got int64",
            ),
            (
                lambda a: {"weight": a["weight"][0]},
                "classifier: weight must have shape (classes, features), got (4,)",
            ),
            (
                lambda a: {"bias": a["bias"][1:]},
                "classifier: bias must have shape (6,) to fit weight (6, 4), got (5,)",
            ),
            (
                lambda a: {"bias": put(a["bias"], 2, np.inf)},
                "classifier: bias must be finite in float32, got inf at (2,)",
            ),
            (
                lambda a: {"splits": {"few": [0, 3], "base": [1, 2, 4, 5]}},
                "splits must be a dict of 'few', 'medium' and 'many', got a dict of "
                "'few', 'base'",
            ),
            (
                lambda a: {"splits": a["splits"] | {"few": [0.0, 3.0]}},
                "splits: few must be a list of integers, got float64 of shape (2,)",
            ),
            (
                lambda a: {"splits": a["splits"] | {"few": [0, 2**32 + 3]}},
                f"splits: few must hold class numbers, got {2**32 + 3}",
            ),
            (
                lambda a: {"splits": a["splits"] | {"few": [0, 3, 6]}},
                "splits: few: classes must be in 0..5, got 6",
            ),
            (
                lambda a: {"splits": a["splits"] | {"few": [0, 3, 1]}},
                "splits: class 1 is in few and in medium",
            ),
            (
                lambda a: {"splits": a["splits"] | {"medium": []}},
                "splits: 2 of 6 classes are in no split: 1, 4",
            ),
            (
                lambda a: {
                    "splits": {"few": [], "medium": range(3), "many": [3, 4, 5]}
                },
                "splits: few is empty: there is nothing to mend",
            ),
            (
                lambda a: {"label_names": ["a", "b"]},
                "label_names: 2 names for 6 classes",
            ),
            (
                lambda a: {"label_names": "abcdef"},
                "label_names must be a list of text, got a str",
            ),
        ],
    )
    def test_error(self, change, expected, made):
        arguments = arrays_of(made)
        arguments |= change(arguments)
        with pytest.raises(UserError) as error:
            Dataset.from_arrays(**arguments)
        assert str(error.value).startswith(expected)
        assert "\n" not in str(error.value)
