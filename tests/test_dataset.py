"""Datasets: what is loaded, and converted on first use."""

import os
import shutil
from pathlib import Path

import made_data
import numpy as np
import pytest
from made_data import CLASSIFIER, CONVERTED, FEATURES, load, snapshot

from alphanet_jax import files, hashing
from alphanet_jax.data import convert, dataset, paths, registry
from alphanet_jax.data.loading import load_dataset
from alphanet_jax.errors import UserError

ROOT = Path(__file__).parents[1]
RECORDED = Path(__file__).parent / "recorded"
CACHE = paths.CACHE_NAME


pytestmark = pytest.mark.usefixtures("user_cache")


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


def test_dataset_is_exported():
    assert dataset.__all__ == [
        "Dataset",
        "Group",
        "array_sha256",
        "checked_group",
        "classifier_of_arrays",
    ]
