"""Places of output are tried before there is any, and held by one program."""

import errno
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from made_data import snapshot

from alphanet_jax import outputs
from alphanet_jax.commands import cli
from alphanet_jax.errors import UserError

ROOT = Path(__file__).parents[1]


def refused(tmp_path, name, path):
    before = snapshot(tmp_path)
    check = outputs.check_file if name in ("out", "json") else outputs.check_directory
    with pytest.raises(UserError) as raised:
        check(name, Path(path))
    assert snapshot(tmp_path) == before
    text = str(raised.value)
    assert "\n" not in text
    assert len(text) < 900
    return text


class TestTried:
    @pytest.mark.parametrize("name", ["workdir", "out"])
    def test_good_ones_leave_nothing(self, tmp_path, name):
        check = outputs.check_file if name == "out" else outputs.check_directory
        check(name, tmp_path / "x" / "y.npz")
        check(name, Path("y.npz"))
        assert not any(tmp_path.iterdir())

    def test_a_file_in_the_way(self, tmp_path):
        (tmp_path / "f").write_text("precious")
        for path in (tmp_path / "f", tmp_path / "f" / "deep" / "er"):
            text = refused(tmp_path, "tb_logs", path)
            assert text == (
                f"--tb_logs: {tmp_path / 'f'} is a file; choose another directory"
            )
        assert refused(tmp_path, "out", tmp_path / "f" / "x.npz").endswith(
            "f is a file; name a file elsewhere"
        )

    def test_a_directory_and_a_device_for_a_file(self, tmp_path):
        text = refused(tmp_path, "out", tmp_path)
        assert text == f"--out: {tmp_path} is a directory; name a file in it"
        text = refused(tmp_path, "json", "/dev/full")
        assert text == "--json: /dev/full is no file but a device; name a file"
        assert stat.S_ISCHR(os.stat("/dev/full").st_mode)

    def test_read_only(self, tmp_path):
        (tmp_path / "r").mkdir()
        (tmp_path / "r").chmod(0o555)
        text = refused(tmp_path, "ckpt_dir", tmp_path / "r" / "c")
        (tmp_path / "r").chmod(0o755)
        assert text == (
            f"--ckpt_dir: cannot write to {tmp_path / 'r' / 'c'} (in "
            f"{tmp_path / 'r'}): Permission denied; choose another directory"
        )

    def test_full(self, tmp_path, monkeypatch):
        def full(descriptor):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        monkeypatch.setattr(os, "fsync", full)
        text = refused(tmp_path, "workdir", tmp_path)
        assert text == (
            f"--workdir: cannot write to {tmp_path}: No space left on device; choose "
            "another directory"
        )

    @pytest.mark.parametrize("path", ["x\0y", "x" * 5000, "x/" * 5000])
    def test_names_that_are_none(self, tmp_path, path):
        for name in ("workdir", "out"):
            text = refused(tmp_path, name, path)
            assert text.startswith(f"--{name}: cannot write to ")
            assert "\0" not in text

    @pytest.mark.parametrize("flag", ["workdir", "ckpt_dir", "tb_logs"])
    def test_by_the_command(self, tmp_path, monkeypatch, capsys, flag):
        monkeypatch.chdir(tmp_path)
        Path("f").write_text("precious")
        assert cli.main(["alphanet", "quickstart", f"--{flag}=f"]) == 1
        err = capsys.readouterr().err
        assert err == f"error: --{flag}: f is a file; choose another directory\n"
        assert [p.name for p in tmp_path.iterdir()] == ["f"]


HOLDER = """
import sys
from pathlib import Path
from alphanet_jax import outputs
outputs.hold("workdir", Path(sys.argv[1]))
print("held", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def let_go():
    yield
    outputs.release()


@pytest.mark.usefixtures("let_go")
class TestHeld:
    @pytest.mark.slow
    def test_by_one_at_a_time(self, tmp_path):
        path = tmp_path / "w"
        process = subprocess.Popen(
            [sys.executable, "-c", HOLDER, str(path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
        )
        assert process.stdout.readline() == "held\n"
        with pytest.raises(UserError) as raised:
            outputs.hold("workdir", path)
        text = str(raised.value)
        assert text.startswith(
            f"--workdir: {path} is in use by process {process.pid} on "
        )
        assert "wait until that has ended, or choose another directory" in text
        process.kill()
        process.communicate()
        assert (path / outputs.LOCK_NAME).exists()
        outputs.hold("workdir", path)  # a dead process holds nothing
        outputs.release()
        assert not (path / outputs.LOCK_NAME).exists()

    def test_twice_by_the_same(self, tmp_path):
        outputs.hold("workdir", tmp_path / "w")
        outputs.hold("ckpt_dir", tmp_path / "w")
        outputs.release()
        assert not (tmp_path / "w").exists()  # nothing came of it

    @pytest.mark.parametrize("there", [False, True])
    def test_a_file(self, tmp_path, there):
        """Another name in the same directory is free."""
        out = tmp_path / "new" / "head.npz"
        if there:
            out.parent.mkdir()
            out.write_text("precious")
        outputs.hold_file("out", out)
        outputs.hold_file("out", out.parent / "other.npz")
        outputs._HELD_PATHS.clear()  # as another program would
        with pytest.raises(UserError, match="is in use by") as raised:
            outputs.hold_file("out", out)
        assert f"--out: {out} is in use by process {os.getpid()}" in str(raised.value)
        assert str(raised.value).endswith("has ended, or choose another name")
        outputs.release()
        assert out.parent.exists() == there
        if there:
            assert [path.name for path in out.parent.iterdir()] == ["head.npz"]

    def test_those_of_dead_processes_go_away(self, tmp_path):
        (tmp_path / ".dead.npz.in_use").write_text("{}")
        outputs.hold_file("out", tmp_path / "alive.npz")
        outputs._HELD_PATHS.clear()  # as another program would
        outputs.hold_file("out", tmp_path / "head.npz")
        assert sorted(path.name for path in tmp_path.iterdir()) == [
            *(".alive.npz.in_use", ".head.npz.in_use"),
        ]

    def test_what_is_in_it_stays(self, tmp_path):
        outputs.hold("workdir", tmp_path / "w")
        (tmp_path / "w" / "result.npz").write_text("precious")
        outputs.release()
        assert [p.name for p in (tmp_path / "w").iterdir()] == ["result.npz"]

    def test_without_such_locks(self, tmp_path, monkeypatch, capsys):
        import fcntl

        def flock(descriptor, operation):
            raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

        monkeypatch.setattr(fcntl, "flock", flock)
        outputs.hold("workdir", tmp_path)
        assert capsys.readouterr().err == (
            f"note: {tmp_path} cannot be locked (No locks available): see to it that "
            "no other program writes to it\n"
        )
        assert not any(tmp_path.iterdir())

    @pytest.mark.parametrize("text", ["", "[", '{"process": "x"}', "[" * 100_000, "\0"])
    def test_a_note_of_a_stranger(self, tmp_path, text):
        (tmp_path / "n").write_text(text)
        assert outputs._holder(tmp_path / "n") == "another program"
        (tmp_path / "n").write_text(
            '{"process": 1, "host": "\\\\u001b[31m", "command": "", "since": ""}'
        )
        assert "\x1b" not in outputs._holder(tmp_path / "n")


def test_sizes():
    assert outputs.size_text(3_400_000_000) == "3,400 MB"
