"""Directories for a while: gone after the block, and after a kill at the next visit."""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from alphanet_jax import scratch

ROOT = Path(__file__).parents[1]
HOLDER = """
import sys, tempfile
tempfile.tempdir = sys.argv[1]
from alphanet_jax import scratch
with scratch.directory() as path:
    (path / "file").write_text("x")
    print(path, flush=True)
    sys.stdin.read()
"""


@pytest.fixture(autouse=True)
def _place(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))


def test_is_gone_after_the_block(tmp_path):
    with scratch.directory() as one, scratch.directory() as two:
        assert one != two
        assert sorted(tmp_path.iterdir()) == sorted([one, two])
        (one / "deep").mkdir()
        (one / "deep" / "file").write_text("x")
    assert not any(tmp_path.iterdir())

    def fail():
        with scratch.directory():
            raise ValueError("no")

    with pytest.raises(ValueError, match=r"^no$"):
        fail()
    assert not any(tmp_path.iterdir())


@pytest.mark.slow
def test_what_a_killed_process_leaves(tmp_path):
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(tmp_path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
    )
    theirs = Path(process.stdout.readline().strip())
    with scratch.directory():  # that of a living one stays
        assert (theirs / "file").is_file()
    process.kill()
    process.communicate()
    assert (theirs / "file").is_file()
    with scratch.directory() as mine:
        assert list(tmp_path.iterdir()) == [mine]


def test_what_is_of_others_stays(tmp_path, monkeypatch):
    precious = tmp_path / "precious"
    precious.mkdir()
    (tmp_path / "alphanet_jax-link").symlink_to(precious)
    (tmp_path / "alphanet_jax-theirs").mkdir()
    monkeypatch.setattr(os, "getuid", lambda: -1)
    with scratch.directory():
        pass
    assert len(list(tmp_path.iterdir())) == 3
    monkeypatch.undo()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with scratch.directory():
        pass
    assert {p.name for p in tmp_path.iterdir()} == {"precious", "alphanet_jax-link"}
