"""Whatever goes wrong in a command, one line says so, and the status is not zero."""

import os
import signal
import types

import pytest

from alphanet_jax.commands import cli
from alphanet_jax.errors import UserError


def command(error):
    def run(values):
        raise error

    return types.SimpleNamespace(
        DESCRIPTION="A command.", define_flags=lambda values, argv: None, run=run
    )


def of_jax(error):
    """Raises an error from within JAX."""
    import jax

    def run(values):
        jax.devices("nothing")

    del error
    return types.SimpleNamespace(
        DESCRIPTION="A command.", define_flags=lambda values, argv: None, run=run
    )


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (UserError("it is so"), "it is so"),
        (UserError("a name \x1b[31m"), "a name \N{REPLACEMENT CHARACTER}[31m"),
        (OSError(28, "No space left on device", "w/x"), "w/x: No space left on device"),
        (OSError(18, "Cross-device link", "a", None, "b"), "a -> b: Cross-device link"),
        (OSError("odd"), "odd"),
        (
            OSError(36, "File name too long", "x" * 5000),
            "x" * 300 + "...: File name too long",
        ),
        (MemoryError(), "the memory does not suffice (out of memory); see --help"),
        (
            RuntimeError("can't start new thread"),
            "the system gives no more threads, or no memory for them; see ulimit -a",
        ),
        (
            RecursionError("maximum recursion depth exceeded"),
            "something is nested too deep (maximum recursion depth exceeded); --debug "
            "shows where",
        ),
        (
            UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid start byte"),
            "text that cannot be read or written ('utf-8' codec can't decode byte 0xff "
            "in position 0: invalid start byte)",
        ),
        (
            UnicodeEncodeError("utf-8", "a/f\udcff", 3, 4, "surrogates not allowed"),
            "a/f\N{REPLACEMENT CHARACTER}: has characters that are not utf-8; rename "
            "it",
        ),
        (
            ZeroDivisionError("division by zero"),
            "unexpected, please report it: ZeroDivisionError: division by zero; "
            "--debug shows where",
        ),
        (
            AssertionError(),
            "unexpected, please report it: AssertionError(); --debug shows where",
        ),
        (
            ValueError("two\nlines"),
            "unexpected, please report it: ValueError: two lines; --debug shows where",
        ),
    ],
)
def test_one_line(capsys, error, line):
    assert cli.run_program(command(error), ["x"]) == 1
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err == f"error: {line}\n"


def test_debug_shows_where(capsys):
    error = ZeroDivisionError("division by zero")
    assert cli.run_program(command(error), ["x", "--debug"]) == 1
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "Traceback (most recent call last):"
    assert lines[-1].startswith("error: unexpected, please report it: ZeroDivision")


def test_of_jax(capsys, monkeypatch):
    monkeypatch.setenv("JAX_PLATFORMS", "cpu")
    assert cli.run_program(of_jax(None), ["x"]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: JAX: ")
    assert line.endswith("; JAX_PLATFORMS is 'cpu'; --debug shows where")


@pytest.mark.parametrize(
    "arguments",
    [
        ["fit", "--features=no\nsuch", "--classifier=x", "--workdir=w"],
        ["inspect", "no\nsuch"],
        ["results", "--base_res_dir=no\nsuch"],
        ["export", "--result", "no\nsuch", "--out=x.npz"],
    ],
)
def test_a_line_break_in_an_argument(capsys, tmp_path, monkeypatch, arguments):
    monkeypatch.chdir(tmp_path)
    assert cli.main(["alphanet", *arguments]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert "no\N{REPLACEMENT CHARACTER}such" in line
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "arguments",
    [
        ["fit", "--features=.", "--classifier=pipe", "--workdir=w"],
        ["fit", "--features=.", "--classifier=/dev/zero", "--workdir=w"],
        ["fit", "--features=.", "--classifier=f", "--label_names=pipe", "--workdir=w"],
        ["inspect", "pipe"],
        ["inspect", "pipe.npz"],
        ["train", "--config=quickstart", "--config.registry=pipe", "--workdir=w"],
        ["results", "--base_res_dir=pipe"],
        ["export", "--result=pipe", "--out=x.npz"],
        ["export", "--result=pipe.pth", "--out=x.npz"],
        ["import", "--result=pipe.pth", "--workdir=w"],
        ["report", "--compare=pipe", "--out=r"],
        ["plot", "tradeoff", "--compare=pipe", "--out=x.png"],
    ],
    ids=" ".join,
)
def test_pipes_are_not_waited_for(capsys, tmp_path, monkeypatch, arguments):
    """Nothing writes to them: who reads would wait without end."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path.parent / "cache"))
    for name in ("pipe", "pipe.npz", "pipe.pth"):
        os.mkfifo(name)
    (tmp_path / "f").touch()
    signal.alarm(60)  # ends the process
    assert cli.main(["alphanet", *arguments]) == 1
    signal.alarm(0)
    line = capsys.readouterr().err.splitlines()[-1]
    assert line.startswith("error: ")
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "f",
        "pipe",
        "pipe.npz",
        "pipe.pth",
    ]


@pytest.mark.parametrize(
    ("flag", "said"),
    [
        ("--memory_gib=nan", "--memory_gib must be a positive number, got nan"),
        ("--memory_gib=0", "--memory_gib must be a positive number, got 0"),
        ("--config.seeds=1000000000", "config.seeds must be at most 100000, got 10000"),
        (
            "--config.training.train_epochs=1000000000",
            "train_epochs must be at most 1000000, got 1000000000",
        ),
        ("--config.alphanet.hdims=('a',)", "each of hdims must be a whole number"),
    ],
)
def test_numbers_that_cannot_be(capsys, tmp_path, monkeypatch, flag, said):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path.parent / "cache"))
    assert cli.main(["alphanet", "quickstart", "--workdir=w", flag]) == 1
    line = capsys.readouterr().err.splitlines()[-1]
    assert line.startswith("error: ")
    assert said in line
    assert not (tmp_path / "w" / "result.npz").exists()
