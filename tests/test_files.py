import contextlib
import multiprocessing
import os
import random
import shutil
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import numpy as np
import pytest
from made_data import snapshot
from resident import mapped_bytes

from alphanet_jax import files
from alphanet_jax.errors import UserError


@pytest.fixture
def root(tmp_path):
    """A directory with files of its own."""
    path = tmp_path / "root"
    path.mkdir()
    (path / "a").write_text("old a")
    (path / "mine").write_text("mine")
    return path


class Trouble(BaseException):
    """What no code expects."""


def stage(root, contents, error=None):
    """Writes text into files, or asks for them only; raises an error at the end."""
    with files.staging(root) as place:
        for name, text in contents.items():
            staged = place(root / name)
            if text is not None:
                staged.write_text(text)
        if error:
            raise error


# --- Whole or not at all --------------------------------------------------------------


class TestStaging:
    def test_files_move_in_at_the_end(self, root):
        before = snapshot(root)
        with files.staging(root) as place:
            for name in ("a", "deep/er/b"):
                staged = place(root / name)
                staged.write_text(f"new {name}")
                assert not staged.is_relative_to(root / "deep")
            now = snapshot(root)
            assert before.items() <= now.items()
            assert not (root / "deep").exists()
        assert {p: c and c[0] for p, c in snapshot(root).items()} == {
            "a": b"new a",
            "deep": None,
            "deep/er": None,
            "deep/er/b": b"new deep/er/b",
            "mine": b"mine",
        }

    def test_makes_the_root(self, tmp_path):
        with files.staging(tmp_path / "x" / "y") as place:
            place(tmp_path / "x" / "y" / "a").write_text("a")
        assert (tmp_path / "x" / "y" / "a").read_text() == "a"

    def test_nothing_to_write(self, root):
        before = snapshot(root)
        with files.staging(root):
            pass
        assert snapshot(root) == before

    @pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, Trouble])
    def test_error_leaves_no_trace(self, error, root, tmp_path):
        before = snapshot(tmp_path)
        for place_in in (root, tmp_path / "x" / "y"):
            with pytest.raises(error):
                stage(place_in, {"a": "new", "z/b": "new"}, error)
        assert snapshot(tmp_path) == before

    def test_error_keeps_what_another_made_meanwhile(self, tmp_path):
        def make_other():
            (tmp_path / "x" / "other").write_text("other")
            return Trouble

        with pytest.raises(Trouble), files.staging(tmp_path / "x" / "y"):
            raise make_other()
        assert [p.name for p in tmp_path.rglob("*")] == ["x", "other"]

    @pytest.mark.parametrize("error", [OSError, Trouble])
    def test_failing_moves_are_undone(self, error, root, tmp_path, monkeypatch):
        before = snapshot(tmp_path)
        real = Path.replace
        for failing in range(4):  # a goes away; a, deep/b and c come
            left = [failing]

            def replace(self, target, left=left):
                left[0] -= 1
                if left[0] == -1:
                    raise error
                return real(self, target)

            monkeypatch.setattr(Path, "replace", replace)
            with pytest.raises(error):
                stage(root, dict.fromkeys(["a", "deep/b", "c"], "new"))
            assert snapshot(tmp_path) == before

    @pytest.mark.parametrize("there", ["file", "directory"])
    def test_something_in_the_way(self, there, root):
        if there == "file":
            (root / "deep").write_text("mine")
        else:
            (root / "deep" / "b").mkdir(parents=True)
        before = snapshot(root)
        with pytest.raises(OSError, match=f"{root / 'deep'}"):
            stage(root, {"a": "new", "deep/b": "new"})
        assert snapshot(root) == before

    def test_a_forgotten_file_is_an_error(self, root):
        before = snapshot(root)
        with pytest.raises(FileNotFoundError):
            stage(root, {"a": "new", "b": None})
        assert snapshot(root) == before

    def test_order_of_moves(self, root, monkeypatch):
        """A file asked for last is there only while the others are."""
        moves = []
        real = Path.replace

        def replace(self, target):
            moves.append((self.name, target.name))
            return real(self, target)

        (root / "record").write_text("old")
        monkeypatch.setattr(Path, "replace", replace)
        with files.staging(root) as place:
            for name in ("b", "a", "record"):
                place(root / name).write_text("new")
            place(root / "b").write_text("newer")  # as the first
        away, come = moves[:2], moves[2:]
        assert [name for name, _ in away] == ["record", "a"]
        assert come == [(name, name) for name in ("b", "a", "record")]
        assert (root / "b").read_text() == "newer"

    def test_content_is_on_the_disk_before_it_moves(self, root, monkeypatch):
        events = []
        monkeypatch.setattr(os, "fsync", lambda fd: events.append("sync"))
        real = Path.replace
        monkeypatch.setattr(
            Path, "replace", lambda self, to: events.append("move") or real(self, to)
        )
        stage(root, {"b": "new", "c": "new"})
        # The third is the list of moves, by which others go on.
        assert events == [*["sync"] * 3, "move", "move"]

    @pytest.mark.parametrize("was_there", [True, False])
    def test_killed_at_every_move(self, root, monkeypatch, was_there):
        """What was written is there after the next visit, whoever comes."""
        names = ["a" if was_there else "b", "deep/er/c", "record"]
        (root / "record").write_text("old record")
        real = {"replace": Path.replace, "rmtree": shutil.rmtree}
        for survives in range(7):
            target = root.with_name(f"root{survives}")
            shutil.copytree(root, target)
            left = [survives]

            def replace(self, to, left=left):
                left[0] -= 1
                if left[0] < 0:
                    raise Trouble  # and so does all that would clear up
                return real["replace"](self, to)

            def rmtree(*args, **kwargs):
                """Nothing more is done by what is dead."""

            with monkeypatch.context() as patched:
                patched.setattr(Path, "replace", replace)
                patched.setattr(shutil, "rmtree", rmtree)
                patched.setattr(files, "_make_directories", _only_make)
                with contextlib.suppress(Trouble):
                    stage(target, dict.fromkeys(names, "new"))
            assert any(target.glob(".staging-*"))
            files.recover(target)
            assert not any(target.glob(".staging-*"))
            for name in names:
                assert (target / name).read_text() == "new"
            assert (target / "mine").read_text() == "mine"

    def test_a_list_of_moves_of_a_stranger(self, root):
        """It leads nowhere out of the directory."""
        stage_of_other = root / ".staging-x"
        (stage_of_other / "new").mkdir(parents=True)
        (root.parent / "target").mkdir()
        (root / "link").symlink_to(root.parent / "target")
        for name in ("x", "b"):
            (stage_of_other / "new" / name).write_text("evil")
        for text in (
            '[["../x", false]]',
            f'[["{root.parent}/x", false]]',
            '[["link/x", false]]',
            "[" * 100_000,
            "[1]",
            '{"a": 1}',
            "null",
        ):
            (stage_of_other / "moves.json").write_text(text)
            files.recover(root)
            with files.staging(root):
                pass
            assert not (root.parent / "x").exists()
            assert not any((root.parent / "target").iterdir())
            assert (stage_of_other / "new" / "x").exists()

    def test_what_a_killed_process_left_goes_away(self, root):
        left = root / ".staging-abc"
        (left / "new").mkdir(parents=True)
        (left / "new" / "a").write_text("part of")
        (root / ".other").mkdir()
        with files.staging(root):
            assert not left.exists()
        assert sorted(snapshot(root)) == [".other", "a", "mine"]

    @pytest.mark.slow
    def test_one_process_at_a_time(self, root):
        context = multiprocessing.get_context("spawn")
        started, results = context.Event(), context.Queue()
        with files.staging(root) as place:
            place(root / "a").write_text("first")
            other = context.Process(target=_stage, args=(root, started, results))
            other.start()
            assert started.wait(60)
            time.sleep(0.2)
            assert results.empty()
        assert results.get(timeout=60) == "first"
        other.join(60)
        assert (root / "a").read_text() == "second"

    def test_where_there_are_no_locks(self, root, monkeypatch):
        import fcntl

        def flock(descriptor, operation):
            raise OSError("no locks available")

        monkeypatch.setattr(fcntl, "flock", flock)
        other = root / ".staging-other"  # perhaps of a process that is still at it
        other.mkdir()
        stage(root, {"a": "new"})
        assert (root / "a").read_text() == "new"
        assert other.exists()

    def test_no_descriptors_are_left_open(self, root):
        before = len(os.listdir("/proc/self/fd"))
        for _ in range(3):
            with contextlib.suppress(Trouble):
                stage(root, {"a": "new"}, Trouble)
            stage(root, {"a": "new"})
        assert len(os.listdir("/proc/self/fd")) == before


def _only_make(path, undo):
    path.mkdir(parents=True, exist_ok=True)


def _stage(root, started, results):
    started.set()
    with files.staging(root) as place:
        results.put((root / "a").read_text())
        place(root / "a").write_text("second")


class TestReplacing:
    @pytest.mark.slow
    def test_what_killed_processes_left_goes_away(self, root):
        """What is of one that is alive stays, whatever the numbers say."""
        code = "import os, sys, time\nfrom pathlib import Path\n"
        code += "from alphanet_jax import files\n"
        code += f"with files.replacing(Path({str(root / 'b')!r})) as path:\n"
        code += "    path.write_text('half')\n    print(path, flush=True)\n"
        code += "    time.sleep(60)\n"
        process = subprocess.Popen(
            [sys.executable, "-c", code], stdout=subprocess.PIPE, text=True
        )
        left = Path(process.stdout.readline().strip())
        with files.replacing(root / "a") as temporary:
            temporary.write_text("new")
        assert left.read_text() == "half"
        process.kill()
        process.communicate()
        assert left.exists()
        (root / ".notes.tmp").write_text("mine")
        with files.replacing(root / "a") as temporary:
            temporary.write_text("newer")
        assert sorted(snapshot(root)) == [".notes.tmp", "a", "mine"]

    def test_takes_the_place(self, root):
        with files.replacing(root / "a") as temporary:
            temporary.write_text("new")
            assert (root / "a").read_text() == "old a"
        assert sorted(snapshot(root)) == ["a", "mine"]
        assert (root / "a").read_text() == "new"

    def test_makes_directories(self, tmp_path):
        with files.replacing(tmp_path / "x" / "y") as temporary:
            temporary.write_text("new")
        assert (tmp_path / "x" / "y").read_text() == "new"

    @pytest.mark.parametrize("error", [ValueError, Trouble])
    def test_error(self, error, root):
        before = snapshot(root)

        def write(path):
            path.write_text("new")
            return error

        with pytest.raises(error), files.replacing(root / "a") as temporary:
            raise write(temporary)
        assert snapshot(root) == before


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
