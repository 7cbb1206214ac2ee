"""SHA-256 of files: each read once in a process, also where that was begun ahead."""

import hashlib
import os
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import made_data
import pytest

from alphanet_jax import hashing
from alphanet_jax.data import converted, loading, registry


@pytest.fixture(autouse=True)
def nothing_known(monkeypatch):
    monkeypatch.setattr(hashing, "_KNOWN", {})


@pytest.fixture
def read(monkeypatch):
    """Names of the files that were read."""
    names, real = [], hashing.file_sha256
    monkeypatch.setattr(
        hashing, "file_sha256", lambda path: names.append(path.name) or real(path)
    )
    return names


def begun():
    """Waits for what `begin` has begun."""
    for thread in threading.enumerate():
        if thread.name == "hashing":
            thread.join()


def test_hashes(tmp_path, monkeypatch):
    monkeypatch.setattr(hashing, "_BYTES", 1000)  # less than, as much as, more than
    contents = {tmp_path / str(i): os.urandom(i * 500) for i in range(6)}
    for path, content in contents.items():
        path.write_bytes(content)
    wanted = {p: hashlib.sha256(c).hexdigest() for p, c in contents.items()}
    assert hashing.file_hashes(list(contents)) == wanted
    assert {path: hashing.file_sha256(path) for path in contents} == wanted
    assert hashing.file_hashes([]) == {}


def test_a_file_is_read_once(tmp_path, read):
    path = tmp_path / "a"
    path.write_bytes(b"one")
    with ThreadPoolExecutor(8) as pool:
        found = set(pool.map(hashing.content_hash, [path] * 40))
    assert found == {hashlib.sha256(b"one").hexdigest()}
    assert read == ["a"]
    path.rename(tmp_path / "b")  # known again
    hashing.content_hash(tmp_path / "b")
    assert read == ["a"]
    (tmp_path / "b").write_bytes(b"other")
    assert hashing.content_hash(tmp_path / "b") == hashlib.sha256(b"other").hexdigest()
    assert read == ["a", "b"]


def test_what_failed_is_tried_again(tmp_path, monkeypatch):
    path = tmp_path / "a"
    path.write_bytes(b"one")
    with monkeypatch.context() as patch:

        def fail(path):
            raise OSError(5, "cannot be read")

        patch.setattr(hashing, "file_sha256", fail)
        with pytest.raises(OSError, match="cannot be read"):
            hashing.content_hash(path)
    assert hashing.content_hash(path) == hashlib.sha256(b"one").hexdigest()


def test_begun_ahead(tmp_path, read):
    (tmp_path / "a").write_bytes(b"one")
    (tmp_path / "b").write_bytes(b"two")

    def find():
        yield tmp_path / "a"
        yield tmp_path / "missing"
        yield tmp_path / "b"

    hashing.begin(find)
    begun()
    assert read == ["a"]  # what is wrong is for whoever needs it
    hashing.file_hashes([tmp_path / "a", tmp_path / "b"])
    assert read == ["a", "b"]
    with pytest.raises(FileNotFoundError):
        hashing.content_hash(tmp_path / "missing")


@pytest.mark.parametrize("form", ["converted", "of PyTorch, with a cache"])
def test_a_dataset_that_was_read_ahead(tmp_path, monkeypatch, read, form):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    made = made_data.make(tmp_path / "data")
    entry = registry.get_entry(Path(made.registry), "made")
    first = loading.load_dataset(entry, made.root)
    if form == "converted":
        for path in (made.root / entry.feature_files_dir).iterdir():
            path.unlink()
        for path in made.root.glob("alphanet_jax_cache/**/*_labels.npy"):
            for moved in (path, path.with_name(path.name.replace("_labels", ""))):
                target = made.root / entry.feature_files_dir / moved.name
                target.parent.mkdir(parents=True, exist_ok=True)
                moved.rename(target)
    hashing._KNOWN.clear()
    read.clear()
    converted.read_ahead(
        entry, made.root, ["no such group", "train", "test"], labels_by=""
    )
    begun()
    ahead = list(read)
    assert {"train.npy", "test.npy"} <= set(ahead)
    again = loading.load_dataset(entry, made.root)
    assert len(read) == len(set(read))  # nothing twice
    assert sorted(again.file_hashes.values()) == sorted(first.file_hashes.values())
