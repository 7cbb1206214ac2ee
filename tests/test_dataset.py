import contextlib
import io
import os
import shutil
import subprocess
import sys
from pathlib import Path

import jax.numpy as jnp
import made_data
import numpy as np
import pytest
from made_data import CLASSIFIER, CONVERTED, FEATURES, snapshot

from alphanet_jax import files, hashing
from alphanet_jax.commands import cli
from alphanet_jax.data import convert, dataset, paths, registry
from alphanet_jax.data.dataset import Dataset
from alphanet_jax.data.loading import load_dataset
from alphanet_jax.errors import UserError

ROOT = Path(__file__).parents[1]
RECORDED = Path(__file__).parent / "recorded"
CACHE = paths.CACHE_NAME


@pytest.fixture(autouse=True)
def user_cache(tmp_path, monkeypatch):
    path = tmp_path / "home cache"
    monkeypatch.setenv("XDG_CACHE_HOME", str(path))
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)
    return path


@pytest.fixture
def made(tmp_path):
    return made_data.make(tmp_path / "original")


@pytest.fixture
def converted(made, tmp_path):
    """The same dataset, where only its converted form is."""
    out = tmp_path / "converted"
    convert.convert_dataset(made.entry, made.root, out)
    shutil.copy(made.registry, out)
    shutil.rmtree(made.root)
    return made_data.Made(out, made.weight, made.bias, made.groups, made.table)


def load(made, **arguments):
    lines = []
    loaded = load_dataset(made.entry, made.root, report=lines.append, **arguments)
    return loaded, lines


def check_loaded(loaded, made, groups=("train", "val", "test")):
    np.testing.assert_array_equal(loaded.weight, made.weight)
    np.testing.assert_array_equal(loaded.bias, made.bias)
    found = (loaded.train, loaded.val, loaded.test)
    for group, name in zip(found, groups, strict=True):
        if not name:
            assert group is None
            continue
        np.testing.assert_array_equal(group.features, made.groups[name]["feats"])
        np.testing.assert_array_equal(group.labels, made.groups[name]["labels"])
        assert group.labels.dtype == np.int32
        assert isinstance(group.features, np.memmap)
        assert not group.features.flags.writeable


# --- What is loaded -------------------------------------------------------------------


def test_everything(converted):
    loaded, lines = load(converted)
    assert lines == []
    check_loaded(loaded, converted)
    assert loaded.name == loaded.proper_name == "made"
    assert loaded.num_classes == 6
    assert loaded.label_names == tuple(f"name {label}" for label in range(6))
    np.testing.assert_array_equal(loaded.few_classes, [0, 3])
    np.testing.assert_array_equal(loaded.base_classes, [1, 2, 4, 5])
    assert loaded.few_classes.dtype == loaded.base_classes.dtype == np.int32
    np.testing.assert_array_equal(loaded.class_counts, [3, 4, 4, 4, 4, 4])


def test_embedded_dataset():
    entry = registry.get_entry(
        ROOT / "configs/datasets.toml", "cifar100lt_effnetlite0_crt"
    )
    lines = []
    loaded = load_dataset(entry, ROOT, report=lines.append)
    assert lines == []
    assert loaded.weight.shape == (100, 128)
    assert loaded.train.features.dtype == np.float16
    assert loaded.proper_name == "CIFAR-100-LT | cRT"
    assert len(loaded.label_names) == 100


def test_converted_in_place_equals_recorded(tmp_path):
    shutil.copytree(RECORDED, tmp_path / "recorded")
    entry = registry.get_entry(tmp_path / "recorded/datasets.toml", "small")
    loaded = load_dataset(entry, tmp_path / "recorded")
    assert loaded.weight.shape == (60, 64)
    assert [len(c) for c in loaded.splits.values()] == [15, 25, 20]
    assert len(loaded.train.labels) == 4923


@pytest.mark.parametrize(
    "groups",
    [("train", "", "test"), ("train", "test", "test"), ("train", "train", "train")],
)
def test_groups(groups, converted):
    train, val, test = groups
    loaded, _ = load(converted, train_group=train, val_group=val, test_group=test)
    check_loaded(loaded, converted, groups)


@pytest.mark.parametrize("option", ["train", "test"])
def test_group_without_a_name(option, converted):
    match = rf"^{option}_datagrp must name a group of samples, got ''$"
    with pytest.raises(UserError, match=match):
        load(converted, **{f"{option}_group": ""})


def test_hashes_are_those_of_the_files(converted):
    loaded, _ = load(converted)
    assert sorted(loaded.file_hashes) == [
        "data/classifiers/m.npz",
        *(
            f"{FEATURES}/{name}"
            for name in (
                *("test.npy", "test_labels.npy", "train.npy", "train_labels.npy"),
                *("val.npy", "val_labels.npy"),
            )
        ),
        *(f"data/splits/{split}.txt" for split in ("few", "many", "medium")),
    ]
    for name, sha256 in loaded.file_hashes.items():
        assert sha256 == hashing.file_sha256(converted.root / name)


def test_hashes_of_changed_files_are_not_taken_from_records(converted):
    path = converted.root / FEATURES / "val_labels.npy"
    before = load(converted)[0].file_hashes
    stat = path.stat()
    labels = np.load(path)
    np.save(path, labels[::-1])
    os.utime(path, ns=(stat.st_mtime_ns, stat.st_mtime_ns + 1))
    after = load(converted)[0].file_hashes
    changed = {name for name in after if after[name] != before[name]}
    assert changed == {f"{FEATURES}/val_labels.npy"}
    assert after[f"{FEATURES}/val_labels.npy"] == hashing.file_sha256(path)


def test_files_are_hashed_once_in_a_process(converted, monkeypatch):
    read = []
    real = hashing.file_sha256
    monkeypatch.setattr(
        hashing, "file_sha256", lambda p: read.append(p.name) or real(p)
    )
    monkeypatch.setattr(hashing, "_KNOWN", {})
    load(converted)
    load(converted)
    arrays = [
        f"{group}{end}.npy"
        for group in ("train", "val", "test")
        for end in ("", "_labels")
    ]
    assert sorted(read) == sorted(
        ["few.txt", "m.npz", "many.txt", "medium.txt", *arrays]
    )


def test_a_converted_file_that_was_changed_is_not_believed(made, monkeypatch):
    """Not even where its size and its time are as they were."""
    before = load(made)[0]
    features = np.array(before.train.features)
    (path,) = made.root.glob(f"{CACHE}/**/train.npy")
    stat, content = path.stat(), bytearray(path.read_bytes())
    content[-1] ^= 0x80  # a sign
    path.write_bytes(content)
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    monkeypatch.setattr(hashing, "_KNOWN", {})  # as another process would have it
    again, lines = load(made)
    assert any("converting" in line for line in lines)
    np.testing.assert_array_equal(again.train.features, features)
    assert again.file_hashes == before.file_hashes


def test_a_cache_that_others_may_write_to_is_not_used(made, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "own"))
    load(made)
    cache = made.root / CACHE
    assert not any(files.others_may_write(p) for p in cache.rglob("*") if p.is_dir())
    (cache / FEATURES).chmod(0o777)
    _, lines = load(made)
    assert any(
        line.startswith(f"not using {cache}: others may write to {cache / FEATURES};")
        for line in lines
    )
    assert list(tmp_path.glob("own/**/train.npy"))


def test_hashes_do_not_depend_on_the_place(made, tmp_path, monkeypatch):
    first = load(made)[0].file_hashes
    assert f"{FEATURES}/train.npy" in first
    copy = made_data.make(tmp_path / "copy")
    real = os.access
    monkeypatch.setattr(
        os, "access", lambda p, mode: copy.root not in (p, *p.parents) and real(p, mode)
    )
    assert load(copy)[0].file_hashes == first
    assert not (copy.root / CACHE).exists()


# --- From arrays ----------------------------------------------------------------------


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


# --- Converting on first use ----------------------------------------------------------


class TestCache:
    def test_first_use_and_second(self, made):
        originals = snapshot(made.root)
        loaded, lines = load(made)
        cache = made.root / CACHE
        assert lines[0] == f"converting on first use, into {cache}"
        assert lines[1] == f"made: {made.root} -> {cache}"
        check_loaded(loaded, made)
        assert made_data.names(cache) == CONVERTED
        after = snapshot(made.root)
        assert originals.items() <= after.items()
        loaded, lines = load(made)
        assert lines == []
        check_loaded(loaded, made)
        assert snapshot(made.root) == after

    def test_only_groups_that_are_needed(self, made):
        load(made, val_group="")
        cache = made.root / CACHE
        assert not [n for n in made_data.names(cache) if "val" in n]
        before = snapshot(cache)
        loaded, lines = load(made)
        assert [line for line in lines if "-> " in line][2:] == []
        check_loaded(loaded, made)
        assert before.items() <= snapshot(cache).items()

    def test_stale(self, made):
        load(made)
        before = snapshot(made.root / CACHE)
        made.groups["val"]["feats"] = made.groups["val"]["feats"] * 2
        made.dump_group("val")
        loaded, lines = load(made)
        assert lines[0].startswith("converting on first use")
        check_loaded(loaded, made)
        after = snapshot(made.root / CACHE)
        changed = {name for name in after if after[name] != before[name]}
        assert changed == {
            f"{FEATURES}/val{end}" for end in (".npy", "_labels.npy", ".json")
        }
        assert load(made)[1] == []

    def test_new_shard(self, made):
        path = made.root / FEATURES / "train.pkl"
        path.rename(path.with_name("train_1.pkl"))
        load(made)
        made.dump(f"{FEATURES}/train_2.pkl", made.groups["val"])
        loaded, lines = load(made)
        assert lines
        assert len(loaded.train.labels) == 23 + 9

    def test_changed_classifier_and_splits_need_no_conversion(self, made):
        load(made)
        made.weight = made.weight + 1
        made.dump_classifier()
        (made.root / "data/splits/medium.txt").write_text("1\n")
        (made.root / "data/splits/many.txt").write_text("2\n4\n5\n")
        loaded, lines = load(made)
        assert lines == []
        check_loaded(loaded, made)
        np.testing.assert_array_equal(loaded.splits["many"], [2, 4, 5])

    def test_damaged_cache_is_redone(self, made):
        load(made)
        path = made.root / CACHE / FEATURES / "val.npy"
        path.write_bytes(path.read_bytes()[:-4])
        loaded, lines = load(made)
        assert lines
        check_loaded(loaded, made)

    def test_data_that_cannot_be_written_to(self, made, user_cache, monkeypatch):
        real, asked = os.access, []

        def access(path, mode):
            asked.append(path)
            return made.root not in (path, *path.parents) and real(path, mode)

        monkeypatch.setattr(os, "access", access)
        before = snapshot(made.root)
        loaded, lines = load(made)
        check_loaded(loaded, made)
        assert asked[0] == made.root
        (place,) = (user_cache / "alphanet_jax" / "converted").iterdir()
        assert lines[0] == f"converting on first use, into {place}"
        assert made_data.names(place) == CONVERTED
        assert snapshot(made.root) == before
        monkeypatch.undo()
        monkeypatch.setenv("XDG_CACHE_HOME", str(user_cache))
        loaded, lines = load(made)  # found even when it could be written elsewhere
        assert lines == []
        check_loaded(loaded, made)

    def test_read_only_data_stays_as_it_is_even_for_the_superuser(
        self, made, user_cache
    ):
        before = snapshot(made.root)
        mode = made.root.stat().st_mode
        made.root.chmod(0o555)
        try:
            loaded, lines = load(made)
        finally:
            made.root.chmod(mode)
        check_loaded(loaded, made)
        assert str(user_cache) in lines[0]
        assert snapshot(made.root) == before

    def test_users_cache_by_default(self, made, monkeypatch):
        monkeypatch.delenv("XDG_CACHE_HOME")
        monkeypatch.setenv("HOME", "/home/someone")
        place = paths.cache_roots(made.root)[1]
        assert place.parent == Path("/home/someone/.cache/alphanet_jax/converted")
        assert place == paths.cache_roots(made.root / "data" / "..")[1]
        assert place != paths.cache_roots(made.root / "data")[1]

    def test_no_place_at_all(self, made, monkeypatch):
        monkeypatch.setenv("XDG_CACHE_HOME", "/dev/null")
        monkeypatch.setattr(os, "access", lambda path, mode: False)
        before = snapshot(made.root)
        with pytest.raises(UserError, match=r"^/dev/null/.*: Not a directory$"):
            load(made)
        assert snapshot(made.root) == before

    def test_error_leaves_no_cache(self, made):
        made.dump_group("test", labels=[9] * 12)
        before = snapshot(made.root)
        with pytest.raises(UserError, match="got 9 in row 0"):
            load(made)
        assert snapshot(made.root) == before

    def test_original_missing(self, made):
        (made.root / FEATURES / "val.pkl").unlink()
        match = (
            rf"^{made.root / FEATURES}: no features of group 'val'; expected "
            r"val\.pkl .*; --config\.training\.val_datagrp= \(empty\) trains without "
        )
        with pytest.raises(UserError, match=match):
            load(made)
        assert not (made.root / CACHE).exists()

    def test_several_experts(self, tmp_path, rng):
        made = made_data.make(tmp_path / "original", num_features=8)
        made.dump(
            "data/classifiers/e.pth", {"weight": made.weight[:, :4], "bias": None}
        )
        item = {
            "classifier_loader": "LinearClassifierLoader",
            "classifier_file": "e.pth",
        }
        made.dump(CLASSIFIER, [item, item])
        made.write_registry(classifier_loader="CombinedClassifierLoader")
        for _ in range(2):
            loaded, lines = load(made)
            wanted = np.tile(made.weight[:, :4], 2) / 2
            np.testing.assert_array_equal(loaded.weight, wanted)
            assert {CLASSIFIER, "data/classifiers/e.pth"} <= loaded.file_hashes.keys()
        assert lines == [
            "m.pth: classifier: mean of 2 experts, those of m.pth, with their 8 "
            "features side by side"
        ]


class TestPlaces:
    def test_in_place(self, made):
        convert.convert_dataset(made.entry, made.root, made.root)
        loaded, lines = load(made)
        assert lines == []
        check_loaded(loaded, made)
        # The originals may go, all of them or some.
        (made.root / CLASSIFIER).unlink()
        check_loaded(load(made)[0], made)
        for path in (made.root / FEATURES).glob("*.pkl"):
            path.unlink()
        loaded, lines = load(made)
        assert lines == []
        check_loaded(loaded, made)
        assert not (made.root / CACHE).exists()

    def test_in_place_and_then_changed(self, made):
        convert.convert_dataset(made.entry, made.root, made.root)
        made.groups["val"]["feats"] = -made.groups["val"]["feats"]
        made.dump_group("val")
        loaded, lines = load(made)
        assert lines[0] == f"converting on first use, into {made.root / CACHE}"
        check_loaded(loaded, made)

    def test_arrays_of_the_users_own(self, made):
        """Plain arrays for some groups, the original's files for the rest."""
        directory = made.root / FEATURES
        np.save(directory / "val.npy", made.groups["val"]["feats"].astype(">f8"))
        np.save(directory / "val_labels.npy", made.groups["val"]["labels"])
        (directory / "val.pkl").unlink()
        loaded, lines = load(made)
        assert lines
        assert loaded.val.features.dtype == np.dtype(">f8")
        np.testing.assert_array_equal(loaded.val.labels, made.groups["val"]["labels"])
        assert load(made)[1] == []
        for group in ("train", "test"):
            np.save(directory / f"{group}.npy", made.groups[group]["feats"])
            np.save(directory / f"{group}_labels.npy", made.groups[group]["labels"])
            (directory / f"{group}.pkl").unlink()
        shutil.rmtree(made.root / CACHE)
        loaded, lines = load(made)  # with the classifier as it was
        assert lines == []
        check_loaded(loaded, made)

    def test_arrays_of_unknown_origin_are_refused(self, made):
        np.save(made.root / FEATURES / "val.npy", np.zeros((9, 4), np.float32))
        np.save(made.root / FEATURES / "val_labels.npy", np.zeros(9, int))
        with pytest.raises(
            UserError, match=r"may be any of val\.npy, val\.pkl; choose"
        ):
            load(made)

    @pytest.mark.parametrize("keep", [True, False])
    def test_paths_outside_of_the_root(self, keep, made, tmp_path):
        """Absolute paths and `..` lead to the same place below a converted root."""
        for name in ("data/splits", FEATURES, CLASSIFIER, "data/names.txt"):
            target = tmp_path / "moved" / name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.move(made.root / name, target)
        made.write_registry(
            split_files_dir="../moved/data/splits",
            feature_files_dir=str(tmp_path / "moved" / FEATURES),
            classifier_file=f"../moved/{CLASSIFIER}",
            label_names_file=str(tmp_path / "moved" / "data/names.txt"),
        )
        out = tmp_path / "a" / "b"
        convert.convert_dataset(made.entry, made.root, out)
        if not keep:
            shutil.rmtree(tmp_path / "moved")
        lines = []
        loaded = load_dataset(made.entry, out, report=lines.append)
        assert lines == []
        check_loaded(loaded, made)
        assert loaded.label_names[5] == "name 5"
        assert str(out) in str(loaded.train.features.filename)


# --- Errors ---------------------------------------------------------------------------

ERRORS = {}


def breaks(expected):
    def register(function):
        ERRORS[function.__name__] = (function, expected)
        return function

    return register


def array(made, name, change):
    """Replaces a converted array by what is made of it."""
    path = made.root / FEATURES / f"{name}.npy"
    values = np.load(path)
    np.save(path, change(values), allow_pickle=True)


def put(values, index, value):
    values[index] = value
    return values


@breaks("test.npy: feats must be finite in float32, got nan in row 3, column 2")
def nan(made):
    array(made, "test", lambda x: put(x, (3, 2), np.nan))


@breaks("test.npy: feats must be finite in float32, got inf in row 11, column 0")
def infinite_half(made):
    array(made, "test", lambda x: put(x.astype(np.float16), (11, 0), np.inf))


@breaks("test.npy: feats must be finite in float32, got 1e+39 in row 0, column 1")
def too_large(made):
    array(made, "test", lambda x: put(x.astype(np.float64), (0, 1), 1e39))


@breaks(
    "test.npy: feats must have shape (samples, features) and at least one sample, "
    "got (48,)"
)
def one_dimension(made):
    array(made, "test", np.ravel)


@breaks(
    "test.npy: feats must have shape (samples, features) and at least one sample, "
    "got (0, 4)"
)
def no_samples(made):
    array(made, "test", lambda x: x[:0])
    array(made, "test_labels", lambda x: x[:0])


@breaks("test.npy: feats must be floats, got int64")
def integers(made):
    array(made, "test", lambda x: x.astype(int))


@breaks("test.npy: feats has 3 features a sample, but the classifier takes 4")
def another_width(made):
    array(made, "test", lambda x: x[:, :3])


@breaks(
    "test.npy: not a readable .npy file (it holds Python objects, perhaps "
    "a dict, which are not read; where it is from, load it with pickles allowed"
)
def objects(made):
    array(made, "test", lambda x: x.astype(object))


@breaks(
    "test_labels.npy: not a readable .npy file (it holds Python objects, perhaps "
    "a dict, which are not read; where it is from, load it with pickles allowed"
)
def objects_in_labels(made):
    array(made, "test_labels", lambda x: x.astype(object))


@breaks("test.npy: not a readable .npy file (it says 192 bytes and holds 191)")
def cut(made):
    path = made.root / FEATURES / "test.npy"
    path.write_bytes(path.read_bytes()[:-1])


@breaks("test.npy: not a readable .npy file (the magic string is not correct;")
def no_array(made):
    (made.root / FEATURES / "test.npy").write_bytes(b"PK\3\4 and so on")


@breaks("test.npy: not a readable .npy file (EOF: reading magic string")
def empty(made):
    (made.root / FEATURES / "test.npy").write_bytes(b"")


@breaks("test.npy: not a readable .npy file (Is a directory)")
def directory(made):
    (made.root / FEATURES / "test.npy").unlink()
    (made.root / FEATURES / "test.npy").mkdir()


@breaks(
    "data/features/m: no features of group 'test'; expected test.pkl (or .pickle, "
    ".pth, .pt, .pth.tar, .npz, .npy, .safetensors), numbered parts test_0.pkl, "
    "test_1.pkl, ..., or one file that begins with test; there are test.json, "
    "test_labels.npy, train.json, train.npy, train_labels.npy, val.json, val.npy, "
    "val_labels.npy; another group may be named: --config.training.test_datagrp=NAME"
)
def missing(made):
    (made.root / FEATURES / "test.npy").unlink()


@breaks("test_labels.npy: no such file")
def labels_missing(made):
    (made.root / FEATURES / "test_labels.npy").unlink()


@breaks("test_labels.npy: 11 labels for 12 samples")
def label_count(made):
    array(made, "test_labels", lambda x: x[1:])


@breaks("test_labels.npy: labels must be whole numbers, got 0.5 in row 0")
def float_labels(made):
    array(made, "test_labels", lambda x: x + 0.5 - x[0])


@breaks("test_labels.npy: labels must be a list of integers, got bool of shape (12,)")
def bool_labels(made):
    array(made, "test_labels", lambda x: x > 2)


@breaks(
    "test_labels.npy: labels must be in 0..5 (the classifier has 6 classes), got -1 "
    "in row 7"
)
def negative_label(made):
    array(made, "test_labels", lambda x: put(x, 7, -1))


@breaks(
    "m: group 'train': every class needs a training sample, but 2 of 6 have none: 2, 5"
)
def class_without_training_sample(made):
    array(made, "train_labels", lambda x: np.where(x % 3 == 2, 0, x))


def classifier(made, **changes):
    arrays = {"weight": made.weight, "bias": made.bias} | changes
    path = made.root / "data/classifiers/m.npz"
    np.savez(path, **{k: v for k, v in arrays.items() if v is not None})


@breaks("m.npz: weight must be finite in float32, got nan at (1, 1)")
def weight_nan(made):
    classifier(made, weight=put(made.weight.copy(), (1, 1), np.nan))


@breaks("m.npz: bias must have shape (6,) to fit weight (6, 4), got (4,)")
def bias_shape(made):
    classifier(made, bias=made.bias[:4])


@breaks(
    "6 classes was found; not loaded: weight (array of Python objects); save arrays"
)
def weight_of_objects(made):
    classifier(made, weight=made.weight.astype(object))


@breaks("m.npz: not a readable .npz file (File is not a zip file)")
def classifier_no_zip(made):
    (made.root / "data/classifiers/m.npz").write_bytes(b"\x93NUMPY")


@breaks("m.pth: No such file or directory")
def classifier_missing(made):
    (made.root / "data/classifiers/m.npz").unlink()


@breaks("train.npy: feats has 4 features a sample, but the classifier takes 5")
def classifier_of_another_width(made):
    classifier(made, weight=np.ones((6, 5)))


@breaks("labels must be in 0..4 (the classifier has 5 classes), got 5 in row 4")
def classifier_of_fewer_classes(made):
    classifier(made, weight=made.weight[:5], bias=made.bias[:5])
    (made.root / "data/splits/many.txt").write_text("2\n")
    (made.root / "data/names.txt").write_text("a\nb\nc\nd\ne\n")


@breaks("data/splits: class 0 is in few.txt and in many.txt")
def splits_overlap(made):
    (made.root / "data/splits/many.txt").write_text("2\n5\n0\n")


@breaks("data/splits/few.txt:2: expected one class number a line, got 'three'")
def split_text(made):
    (made.root / "data/splits/few.txt").write_text("0\nthree\n")


@breaks("data/names.txt: 7 names for 6 classes")
def names(made):
    with (made.root / "data/names.txt").open("a") as file:
        file.write("seven")


def run_main(*flags):
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        status = cli.main(["main.py", *flags])
    return status, out.getvalue(), err.getvalue()


def train_flags(made, tmp_path):
    return [
        f"--config={ROOT / 'configs/quickstart.py'}",
        f"--config.registry={made.registry}",
        "--config.dataset=made",
        f"--config.data_root={made.root}",
        f"--workdir={tmp_path / 'work'}",
        "--compilation_cache=off",
    ]


@pytest.mark.parametrize("name", ERRORS)
def test_error(name, converted, tmp_path):
    breaking, expected = ERRORS[name]
    breaking(converted)
    before = snapshot(converted.root)
    status, out, err = run_main(*train_flags(converted, tmp_path))
    assert (status, out) == (1, "")
    assert err.startswith("error: ")
    assert err.endswith("\n")
    assert err.count("\n") == 1
    assert expected in err
    assert snapshot(converted.root) == before
    assert not (tmp_path / "work").exists()


@pytest.mark.parametrize(
    ("flag", "expected"),
    [
        ("train_datagrp=", "train_datagrp must name a group of samples, got ''"),
        ("test_datagrp=", "test_datagrp must name a group of samples, got ''"),
        ("val_datagrp=vla", "no features of group 'vla'"),
        ("val_datagrp=../m/val", "groups of samples must have plain names"),
    ],
)
def test_error_of_groups(flag, expected, converted, tmp_path):
    flags = [*train_flags(converted, tmp_path), f"--config.training.{flag}"]
    status, out, err = run_main(*flags)
    assert (status, out) == (1, "")
    assert err.startswith("error: ")
    assert expected in err
    assert err.count("\n") == 1


@pytest.mark.slow
def test_error_of_the_program(converted, tmp_path):
    nan(converted)
    result = subprocess.run(
        [sys.executable, ROOT / "main.py", *train_flags(converted, tmp_path)],
        capture_output=True,
        text=True,
        cwd=ROOT,
    )
    assert (result.returncode, result.stdout) == (1, "")
    assert result.stderr == (
        f"error: {converted.root / FEATURES}/test.npy: feats must be finite in "
        "float32, got nan in row 3, column 2\n"
    )


def test_dataset_is_exported():
    assert dataset.__all__ == [
        "Dataset",
        "Group",
        "array_sha256",
        "checked_group",
        "classifier_of_arrays",
    ]
