"""The fuzzer's targets, read without it: seeds, damaged seeds, and what it found."""

import os
import random
import struct
import subprocess
import sys
import time
from pathlib import Path

import pytest
from fuzz import seeds, targets, watch

from alphanet_jax.errors import UserError

SLOW = {"result", "result_texts"}  # whole results are read several times
NAMES = [
    pytest.param(name, marks=pytest.mark.slow) if name in SLOW else name
    for name in targets.TARGETS
]
needs_proc = pytest.mark.skipif(
    not os.path.exists("/proc/self/clear_refs"), reason="memory is measured by /proc"
)


@pytest.fixture
def watched(tmp_path):
    """Makes what reads inputs of a target, and ends it after the test."""
    made = []

    def make(target, first=None):
        made.append(watch.Watch(target, tmp_path, first))
        return made[-1]

    yield make
    for each in made:
        each.close()


def damaged(rng, data, words):
    """Changes an input: a byte, a part that goes away or comes twice, a word."""
    at = rng.randrange(len(data) + 1)
    other = rng.randrange(len(data) + 1)
    first, last = sorted((at, other))
    changes = [
        data[:at] + bytes([rng.randrange(256)]) + data[at + 1 :],
        data[:first] + data[last:],
        data[:last] + data[first:],
        data[:at] + rng.choice(words or (b"\xff",)) + data[at:],
    ]
    return rng.choice(changes)


@pytest.mark.parametrize("name", NAMES)
def test_seeds_and_damaged_ones(watched, name):
    target = targets.TARGETS[name]
    reader, rng = watched(target), random.Random(0)
    inputs = target.seeds()
    lines = [reader.read(data) for data in inputs]
    # Every function reads some of them, or it would not be tried at all.
    columns = zip(*lines, strict=True)
    assert all(None in column for column in columns)
    for data in rng.choices(inputs, k=40):
        reader.read(damaged(rng, data, target.words))


# What broke a promise: inputs that the fuzzer found, made short; and what is said now.
FOUND = [
    # A key that stands for an object whose name has control characters.
    ("pickle", lambda: b"\x80\x02}ca\x1b[2J\nb\nNs.", "expected a dict of 'feats'"),
    # An archive whose members are said to begin before it.
    ("torch_zip", lambda: _zip_that_begins_before_itself(),
     "is not a zip archive that is read"),
    # NumPy and zipfile quote what they do not know, whatever it is and however long.
    ("npz_labels", lambda: _npy_of_unknown_format(), "not a readable .npz file"),
    ("npz", lambda: _zip_with_long_name(), "not a readable .npz file"),
    # Names that no file system takes.
    ("index", lambda: b'{"weight_map": {"a": "%s"}}' % (b"x" * 300), "no linear"),
    ("moves", lambda: b'[["\\ud800", true]]', None),
    ("moves", lambda: b'[["a\\u0000", true]]', None),
    ("lock", lambda: b'{"process": 1e999, "host": 1, "command": 2, "since": 3}', None),
    ("lock", lambda: b'{"process": 1}'.decode().encode("utf-32"), None),
    # Comparisons without what their table shows.
    ("comparison", lambda: _comparison(b'"tradeoff": 0.4', b'"tradeoff": "x"'),
     "methods.tau.tradeoff must be a number, got 'x'"),
    ("comparison", lambda: _comparison(b'"level": 0.95, ', b""), "level is missing"),
    ("comparison", lambda: _comparison(b'"nll": 0.4', b'"none": 0.4'),
     "methods.tau.chosen.overall.nll is missing"),
    ("comparison", lambda: _comparison(b'"low": -0.1, ', b""), "low is missing"),
    ("comparison", lambda: _comparison(b'"a": 1}', b'"a": []}'),
     "harmonic.options.a must be a number, got []"),
    ("comparison", lambda: _comparison(b"[0.1, 0.2, null, 0.4]", b"[1]"),
     "accuracies must be 4 numbers"),
    ("comparison", lambda: _comparison(b'"proper_name": "Made"', b'"proper_name": []'),
     "proper_name must be text, got []"),
    ("comparison", lambda: _comparison(b'{"tau":', b'{"\\u001b[2J":'), None),
    ("comparison", lambda: _comparison(b'{"tau": {', b'{"t\\ud800\\u001b": {"no": 1, ')
     .replace(b'"tradeoff": 0.4, ', b""),
     r"methods.'t\ud800\x1b'.tradeoff is missing"),
    # Texts of results of another form.
    ("result_texts", lambda: b'\x00{"seeds": ' + b"[" * 3000, "config"),
    ("result_texts", lambda: b"\x00[]", "config"),
    ("result_texts", lambda: b'\x02{"a": 1, "b": "x"}', "file_hashes"),
    # Records of checkpoints of another form.
    ("checkpoint_record", lambda: _checkpoint(b'{"rho": 0.1}', b"[1]"), "run.json"),
    ("checkpoint_record", lambda: _checkpoint(b'"a.npy": "11"', b'"a": 1, "b": "x"'),
     "run.json"),
    ("checkpoint_record", lambda: _checkpoint(b'"runs_at_a_time": 4',
                                              b'"runs_at_a_time": "%d"'), "run.json"),
    ("checkpoint_record", lambda: _checkpoint(b'"rho"', b'"\\u007fr\\u001b[2J"'),
     "are of another experiment"),
    ("checkpoint_record", lambda: _checkpoint(b'"rho"', b'"%s"' % (b"x" * 3000)),
     "are of another experiment"),
    ("curve_cache", lambda: b"[" * 3000, None),
]  # fmt: skip


def _zip_that_begins_before_itself():
    content = bytearray(seeds.torch_zips()[0])
    at = content.rindex(b"PK\x05\x06") + 16  # where the directory is said to be
    (start,) = struct.unpack_from("<I", content, at)
    struct.pack_into("<I", content, at, start + 108)
    return bytes(content)


def _zip_with_long_name():
    content = bytearray(seeds.in_npz(bytes(4_000)))
    content[26:28] = b"\x80\x0c"  # of the name in the first header: 3,200
    return bytes(content)


def _npy_of_unknown_format():
    return _changed(seeds.npys()[0], b"<f4", b"8\x1bf")


def _changed(content, old, new):
    assert old in content
    return content.replace(old, new)


def _comparison(old, new):
    return _changed(seeds.comparisons()[0], old, new)


def _checkpoint(old, new):
    return _changed(targets.TARGETS["checkpoint_record"].seeds()[0], old, new)


@pytest.mark.parametrize(("name", "make", "said"), FOUND)
def test_what_was_found(watched, name, make, said):
    data = make()
    lines = watched(targets.TARGETS[name], [data]).read(data)
    if said is None:
        assert not any(lines), lines
    else:
        assert any(said in line for line in lines if line), lines


def _raises(error):
    def use(path):
        raise error

    return use


def _imports(path):
    sys.modules.pop("this_is_not_there", None)
    try:
        import this_is_not_there  # noqa: F401
    except ImportError:
        return


def _waits(path):
    end = time.process_time() + watch.SECONDS + 0.05
    while time.process_time() < end:
        pass


BROKEN = {
    "another error": (_raises(KeyError("a")), "KeyError"),
    "two lines": (_raises(UserError("a\nb")), "more than one line"),
    "an escape": (_raises(UserError("a\x1b[2J")), "not printable"),
    "a long line": (_raises(UserError("a" * 2_000)), "2000 characters"),
    "a new file": (lambda path: (path.parent / "b").write_text("b"), "open"),
    "a removed file": (lambda path: path.unlink(), "os.remove"),
    "code": (lambda path: exec("1"), "exec"),
    "an import": (_imports, "import"),
    "a process": (lambda path: subprocess.run(["true"], check=True), "subprocess"),
}


def _target(use):
    return targets.Target("a", "a", list, (use,))


@pytest.mark.parametrize("what", BROKEN)
def test_what_breaks_a_promise_is_noticed(watched, what):
    use, said = BROKEN[what]
    with pytest.raises(watch.BrokenPromise, match=said):
        watched(_target(use)).read(b"")


@needs_proc
@pytest.mark.slow
def test_time_and_memory_are_noticed(watched, monkeypatch):
    # Far more than what the system may take back from the process meanwhile.
    with pytest.raises(watch.BrokenPromise, match="bytes for a file of 3"):
        watched(_target(lambda path: bytearray(b"a") * 300_000_000)).read(b"abc")
    monkeypatch.setattr(watch, "SECONDS", 0.2)
    with pytest.raises(watch.BrokenPromise, match=r"0\.\d s for a file"):
        watched(_target(_waits)).read(b"abc")


@pytest.mark.slow
def test_an_input_can_be_read_again(tmp_path):
    path = tmp_path / "input"
    path.write_bytes(b"[1, 2")
    program = Path(__file__).parent / "fuzz"
    done = subprocess.run(
        [sys.executable, program, f"--replay={path}", "--target=json"],
        capture_output=True,
        text=True,
        check=True,
        cwd=tmp_path,
    )
    assert "Expecting" in done.stdout
