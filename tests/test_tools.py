"""What is missing is skipped, and noticed where everything must run."""

import os
import shutil
import subprocess
import sys

import pytest
import tools

from alphanet_jax.errors import UserError
from alphanet_jax.results import wordnet


def test_missing(monkeypatch):
    monkeypatch.setenv("PATH", "")
    for need in (tools.need_latex, lambda: tools.need_program("pdftotext")):
        with pytest.raises(
            pytest.skip.Exception, match=r"needs LaTeX|there is no pdftotext"
        ):
            need()


def test_hidden(monkeypatch, tmp_path):
    there = tmp_path / "bin"
    there.mkdir()
    for name in ("xelatex", "pdftotext", "kept"):
        (there / name).write_text("#!/bin/sh\n")
        (there / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(there))
    monkeypatch.setenv("NLTK_DATA", "kept")
    monkeypatch.setattr(wordnet, "_DEBIAN", wordnet._DEBIAN)
    nltk = pytest.importorskip("nltk")
    monkeypatch.setattr(nltk.data, "path", ["kept"])
    tools.hide(tmp_path / "links")
    assert shutil.which("xelatex") is None
    assert shutil.which("pdftotext") is None
    assert shutil.which("kept") == str(tmp_path / "links" / "kept")
    with pytest.raises(UserError, match="no WordNet database on this machine"):
        wordnet.open_wordnet()


@pytest.mark.slow
@pytest.mark.parametrize("asked", ["", "1"])
def test_skipped_tests_are_listed_and_may_fail_the_run(tmp_path, asked):
    (tmp_path / "conftest.py").write_text(
        "from skipping import pytest_sessionfinish, pytest_terminal_summary\n"
    )
    (tmp_path / "test_it.py").write_text(
        "import pytest\n"
        "@pytest.mark.parametrize('x', ['a b', 'c'])\n"
        "def test_one(x): pytest.skip('there is no program')\n"
        "def test_two(): pass\n"
    )
    env = os.environ | {
        "ALPHANET_TESTS_SKIPPED": str(tmp_path / "skipped"),
        "ALPHANET_TESTS_NEED_ALL": asked,
        "PYTHONPATH": str(tmp_path.joinpath(tools.__file__).parent),
    }
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"]
    done = subprocess.run(
        [*command, "--rootdir=.", "test_it.py"],
        cwd=tmp_path,
        env=env,
        capture_output=True,
        text=True,
    )
    assert done.returncode == (1 if asked else 0), done.stdout
    assert ("2 tests were skipped, and none may be" in done.stdout) == bool(asked)
    assert (tmp_path / "skipped").read_text() == (
        "test_it.py::test_one[a b]\ntest_it.py::test_one[c]\n"
    )
    again = subprocess.run(
        [*command, "--rootdir=.", f"@{tmp_path / 'skipped'}"],
        cwd=tmp_path,
        env=env | {"ALPHANET_TESTS_SKIPPED": ""},
        capture_output=True,
        text=True,
    )
    assert "2 skipped" in again.stdout
