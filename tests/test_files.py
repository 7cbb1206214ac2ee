import os
import random
import shutil
import time
import zipfile

import numpy as np
import pytest
from resident import mapped_bytes

from alphanet_jax import files
from alphanet_jax.errors import UserError

# --- Arrays ---------------------------------------------------------------------------

ARRAYS = {
    "a": np.arange(6, dtype=np.float32).reshape(2, 3),
    "b": np.array("text"),
    "c/d": np.zeros((0, 3), np.int8),
    "e": np.asfortranarray(np.arange(6).reshape(2, 3)),
}


class TestNpz:
    def test_round_trip(self, tmp_path):
        path = tmp_path / "x.npz"
        files.write_npz(path, ARRAYS)
        with np.load(path, allow_pickle=False) as archive:
            found = {name: archive[name] for name in archive.files}
        for arrays in (found, files.open_npz(path)):
            assert list(arrays) == list(ARRAYS)
            for name, array in ARRAYS.items():
                assert arrays[name].dtype == array.dtype
                np.testing.assert_array_equal(arrays[name], array)

    def test_file_of_numpy(self, tmp_path):
        np.savez_compressed(tmp_path / "x.npz", **ARRAYS)
        found = files.open_npz(tmp_path / "x.npz")
        for name, array in ARRAYS.items():
            np.testing.assert_array_equal(found[name], array)

    def test_same_bytes_at_any_time(self, tmp_path, monkeypatch):
        files.write_npz(tmp_path / "x.npz", ARRAYS)
        monkeypatch.setattr(time, "time", lambda: 2e9)
        monkeypatch.setattr(time, "localtime", lambda *a: time.gmtime(2e9))
        files.write_npz(tmp_path / "y.npz", ARRAYS)
        first, second = ((tmp_path / n).read_bytes() for n in ("x.npz", "y.npz"))
        assert first == second

    def test_name_is_as_it_is_given(self, tmp_path):
        files.write_npz(tmp_path / "x", ARRAYS)
        assert [path.name for path in tmp_path.iterdir()] == ["x"]

    def test_objects_are_not_written(self, tmp_path):
        with pytest.raises(ValueError, match="Object arrays cannot be saved"):
            files.write_npz(tmp_path / "x.npz", {"a": np.array([None])})


@pytest.fixture
def good_files(tmp_path):
    files.write_npz(tmp_path / "a.npz", {"x": ARRAYS["a"], "y": np.arange(2)})
    np.savez_compressed(tmp_path / "c.npz", x=np.arange(60.0))
    np.save(tmp_path / "a.npy", ARRAYS["a"])
    return tmp_path


def reader(name):
    return files.open_npz if name.endswith(".npz") else files.open_npy


def refusal(path):
    try:
        reader(path.name)(path)
    except UserError as error:
        return str(error)
    return None


@pytest.mark.slow
@pytest.mark.parametrize("name", ["a.npz", "c.npz", "a.npy"])
def test_damaged_anywhere(name, good_files):
    """Whatever is wrong with a file, it is a one-line error that names it."""
    path = good_files / name
    data = path.read_bytes()
    rng = random.Random(0)
    refused = 0
    cases = [data[: rng.randrange(len(data))] for _ in range(100)]
    for _ in range(500):
        at = rng.randrange(len(data))
        value = rng.choice([0, data[at] ^ 1, rng.randrange(256)])
        cases.append(data[:at] + bytes([value]) + data[at + 1 :])
    for case in cases:
        path.write_bytes(case)
        if message := refusal(path):
            assert message.startswith(f"{path}: not a readable {name[-4:]} file (")
            assert "\n" not in message
            refused += 1
    assert refused > 200


@pytest.mark.parametrize("name", ["a.npz", "a.npy"])
def test_other_things_than_arrays(name, good_files):
    path = good_files / name
    path.unlink()
    with pytest.raises(UserError, match=f"{path}: no such file$"):
        reader(name)(path)
    path.mkdir()
    with pytest.raises(UserError, match=r"not a readable .* \(Is a directory\)$"):
        reader(name)(path)
    path.rmdir()
    os.mkfifo(path)  # nothing ever comes from it
    with pytest.raises(UserError, match=f"{path}: is a pipe, a device or a socket"):
        reader(name)(path)
    path.unlink()
    path.write_bytes(b"")
    with pytest.raises(UserError, match="not a readable"):
        reader(name)(path)
    other = "c.npz" if name == "a.npy" else "a.npy"
    if other == "a.npy":
        np.save(good_files / other, ARRAYS["a"])
    shutil.copy(good_files / other, path)
    with pytest.raises(UserError, match="not a readable"):
        reader(name)(path)


class Marker:
    """Makes a file when its pickle is loaded."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize("name", ["a.npz", "a.npy"])
def test_pickles_are_not_loaded(name, good_files, tmp_path):
    path, marker = good_files / name, tmp_path / "marker"
    objects = np.array([Marker(marker)], object)
    if name == "a.npz":
        np.savez(path, x=objects)
    else:
        np.save(path, objects)
    with pytest.raises(UserError, match="not a readable"):
        reader(name)(path)
    path.write_bytes(objects.dumps())
    with pytest.raises(UserError, match="not a readable"):
        reader(name)(path)
    assert not marker.exists()
    np.load(tmp_path / name, allow_pickle=True)
    assert marker.exists()


def test_huge_shape_takes_no_memory(good_files):
    header = (
        b"{'descr': '<f4', 'fortran_order': False, 'shape': (1099511627776, 999), }"
    )
    start = b"\x93NUMPY\x01\x00" + (118).to_bytes(2, "little") + header.ljust(117)
    content = start + b"\n" + b"\0" * 64
    (good_files / "a.npy").write_bytes(content)
    with pytest.raises(
        UserError, match=r"\(it says 4393648464592896 bytes and holds 64\)"
    ):
        files.open_npy(good_files / "a.npy")
    with zipfile.ZipFile(good_files / "a.npz", "w") as archive:
        archive.writestr("x.npy", content)
    with pytest.raises(UserError, match="not a readable"):
        files.open_npz(good_files / "a.npz")


def test_mapped_array(good_files):
    array = files.open_npy(good_files / "a.npy")
    assert isinstance(array, np.memmap)
    assert not array.flags.writeable
    np.testing.assert_array_equal(array, ARRAYS["a"])


class TestReleaseRows:
    @pytest.fixture
    def mapped(self, tmp_path):
        """8 MiB in rows of 4 KiB, which begin within a page."""
        array = np.random.default_rng(0).normal(size=(2048, 512))
        np.save(tmp_path / "x.npy", array)
        return array, files.open_npy(tmp_path / "x.npy")

    @pytest.mark.parametrize(
        ("start", "stop"), [(0, 2048), (0, 1), (5, 5), (7, 2000), (2047, 2048), (1, 3)]
    )
    def test_rows_keep_their_content(self, mapped, start, stop):
        array, rows = mapped
        for _ in range(2):
            np.testing.assert_array_equal(rows, array)
            files.release_rows(rows, start, stop)
        np.testing.assert_array_equal(rows, array)

    def test_memory_goes_back(self, mapped):
        array, rows = mapped
        before = mapped_bytes()
        assert rows.sum() == pytest.approx(array.sum())
        if before is None:  # nobody says what is in memory
            return
        assert mapped_bytes() - before >= 0.9 * array.nbytes
        files.release_rows(rows, 0, 1024)
        half = mapped_bytes() - before
        assert 0.4 * array.nbytes < half < 0.6 * array.nbytes
        files.release_rows(rows, 1024, 2048)
        assert mapped_bytes() - before < 0.1 * array.nbytes

    def test_other_rows_stay(self, mapped):
        # Whole pages only: those with a part of another row are not let go.
        _, rows = mapped
        rows.sum()
        before = mapped_bytes()
        files.release_rows(rows, 1000, 1001)
        assert mapped_bytes() == before

    def test_arrays_in_memory_are_left_alone(self):
        array = np.arange(1 << 16, dtype=np.float32).reshape(64, 1024)
        for one in (array, array[3:], np.asfortranarray(array)):
            expected = one.copy()
            files.release_rows(one, 0, len(one))
            np.testing.assert_array_equal(one, expected)

    def test_part_of_a_mapped_array(self, mapped):
        array, rows = mapped
        part = rows[100:200]
        files.release_rows(part, 0, 100)
        np.testing.assert_array_equal(part, array[100:200])

    @pytest.mark.parametrize("mode", ["r", "c", "r+"])
    def test_changes_are_not_lost(self, tmp_path, mode):
        array = np.ones((64, 1024), np.float32)
        np.save(tmp_path / "x.npy", array)
        mapped = np.load(tmp_path / "x.npy", mmap_mode=mode)
        if mode != "r":
            mapped[:] = 7
            array[:] = 7
        files.release_rows(mapped, 0, 64)
        np.testing.assert_array_equal(mapped, array)
