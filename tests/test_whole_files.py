"""Files come whole or not at all, one alone and several together."""

import contextlib
import multiprocessing
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
from made_data import snapshot

from alphanet_jax import files, staging


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
    with staging.staged(root) as place:
        for name, text in contents.items():
            staged = place(root / name)
            if text is not None:
                staged.write_text(text)
        if error:
            raise error


class TestStaging:
    def test_files_move_in_at_the_end(self, root):
        before = snapshot(root)
        with staging.staged(root) as place:
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
        with staging.staged(tmp_path / "x" / "y") as place:
            place(tmp_path / "x" / "y" / "a").write_text("a")
        assert (tmp_path / "x" / "y" / "a").read_text() == "a"

    def test_nothing_to_write(self, root):
        before = snapshot(root)
        with staging.staged(root):
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

        with pytest.raises(Trouble), staging.staged(tmp_path / "x" / "y"):
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
        with staging.staged(root) as place:
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
                patched.setattr(staging, "_make_directories", _only_make)
                with contextlib.suppress(Trouble):
                    stage(target, dict.fromkeys(names, "new"))
            assert any(target.glob(".staging-*"))
            staging.recover(target)
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
            staging.recover(root)
            with staging.staged(root):
                pass
            assert not (root.parent / "x").exists()
            assert not any((root.parent / "target").iterdir())
            assert (stage_of_other / "new" / "x").exists()

    def test_what_a_killed_process_left_goes_away(self, root):
        left = root / ".staging-abc"
        (left / "new").mkdir(parents=True)
        (left / "new" / "a").write_text("part of")
        (root / ".other").mkdir()
        with staging.staged(root):
            assert not left.exists()
        assert sorted(snapshot(root)) == [".other", "a", "mine"]

    @pytest.mark.slow
    def test_one_process_at_a_time(self, root):
        context = multiprocessing.get_context("spawn")
        started, results = context.Event(), context.Queue()
        with staging.staged(root) as place:
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
    with staging.staged(root) as place:
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
