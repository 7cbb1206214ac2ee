"""Converting again, at the same time, and when something goes wrong midway."""

import errno
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import made_data
import numpy as np
import pytest
from converting import (
    PROGRAM,
    check_group,
    convert_another,
    good,
    run_code,
)
from made_data import CONVERTED, FEATURES, GROUP_FILES, SIZES, snapshot

from alphanet_jax import streaming
from alphanet_jax.data import checks


@pytest.fixture
def made(tmp_path):
    return made_data.make(tmp_path / "original")


@pytest.fixture
def out(tmp_path):
    return tmp_path / "out"


@pytest.fixture(scope="module")
def converted(tmp_path_factory):
    return convert_another(tmp_path_factory.mktemp("converted"))


@pytest.fixture(autouse=True)
def no_waiting_for_the_disk(monkeypatch):
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)


class TestAgain:
    def again(self, made, out, *flags):
        """Converts once more; returns the files that were written."""
        before = snapshot(out)
        lines = good(made.convert(out, *flags))
        after = snapshot(out)
        assert after.keys() == before.keys()
        written = {name for name in after if after[name] != before[name]}
        unchanged = sum("unchanged" in line for line in lines)
        assert unchanged == 4 - sum(name.endswith(".json") for name in written)
        return written

    def group(self, name):
        return {n for n in GROUP_FILES if f"/{name}" in n}

    @pytest.fixture
    def out(self, made, tmp_path):
        good(made.convert(tmp_path / "out"))
        return tmp_path / "out"

    def test_nothing_changed(self, made, out):
        assert self.again(made, out) == set()

    def test_other_content(self, made, out):
        path = made.root / FEATURES / "val.pkl"
        size = path.stat().st_size
        feats = made.groups["val"]["feats"] + 1
        made.dump_group("val", feats=feats)
        assert path.stat().st_size == size
        assert self.again(made, out) == self.group("val")
        check_group(out, "val", feats, made.groups["val"]["labels"])
        assert self.again(made, out) == set()

    def test_other_time(self, made, out):
        os.utime(made.root / FEATURES / "val.pkl", ns=(1, 1))
        assert self.again(made, out) == set()

    def test_same_size_and_time_count_as_unchanged(self, made, out):
        path = made.root / FEATURES / "val.pkl"
        stat = path.stat()
        made.dump_group("val", feats=made.groups["val"]["feats"] + 1)
        os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
        assert self.again(made, out) == set()

    def test_new_shard(self, made, out):
        path = made.root / FEATURES / "val.pkl"
        path.rename(path.with_name("val_1.pkl"))
        made.dump(f"{FEATURES}/val_2.pkl", made.groups["test"])
        assert self.again(made, out) == self.group("val")
        assert len(made_data.load_group(out, "val")[1]) == SIZES["val"] + SIZES["test"]
        (made.root / FEATURES / "val_2.pkl").unlink()
        assert self.again(made, out) == self.group("val")

    def test_renamed_shard(self, made, out):
        path = made.root / FEATURES / "val.pkl"
        path.rename(path.with_name("val_0.pkl"))
        assert self.again(made, out) == self.group("val")

    def test_other_options(self, made, out):
        groups = set(GROUP_FILES)
        assert self.again(made, out, "--feature_dtype=float16") == groups
        assert self.again(made, out, "--feature_dtype=float16") == set()
        assert self.again(made, out, "--ignore_idxs") == groups

    @pytest.mark.parametrize("name", ["val.npy", "val_labels.npy"])
    @pytest.mark.parametrize("damage", ["gone", "cut", "other"])
    def test_outputs_changed(self, name, damage, made, out):
        good_bytes = (out / FEATURES / name).read_bytes()
        path = out / FEATURES / name
        if damage == "gone":
            path.unlink()
            path.write_bytes(b"")  # so that the names of files stay the same
        else:
            cut = good_bytes[:-1]
            path.write_bytes(cut if damage == "cut" else cut + b"\x01")
        assert self.again(made, out) == self.group("val")
        assert path.read_bytes() == good_bytes

    @pytest.mark.parametrize(
        "text",
        [
            "",
            "[]",
            "{",
            "null",
            "{}",
            '{"format": 2}',
            '{"format": 1, "options": 3, "outputs": 1, "sources": 1}',
            '{"format": 1, "options": {}, "outputs": {"a": 1}, "sources": [1]}',
            '{"format": 1, "options": {}, "outputs": [], "sources": []}',
            "\udcff",
        ],
    )
    def test_damaged_record(self, text, made, out):
        path = out / FEATURES / "val.json"
        path.write_text(text, errors="surrogateescape")
        assert self.again(made, out) == self.group("val")

    def test_copied_tree(self, made, out, tmp_path):
        shutil.copytree(out, tmp_path / "copy", copy_function=shutil.copyfile)
        assert self.again(made, tmp_path / "copy") == set()

    def test_texts(self, made, out):
        path = made.root / "data/names.txt"
        path.write_text(path.read_text().upper())
        assert self.again(made, out) == {"data/names.txt"}

    def test_classifier_that_does_not_fit_unchanged_features(self, made, out):
        before = snapshot(out)
        made.dump_classifier(weight=np.ones((6, 5), np.float32))
        status, _, err = made.convert(out)
        assert status == 1
        assert "train.pkl: feats has 4 features a sample" in err
        assert snapshot(out) == before


# --- Whole or not at all --------------------------------------------------------------


def test_interrupted_in_the_last_group(made, out, converted, monkeypatch):
    shutil.copytree(converted, out, copy_function=shutil.copy2)
    before = snapshot(out)
    monkeypatch.setattr(streaming, "_CHUNK_BYTES", 16)
    real, calls = checks.check_finite, []

    def check_finite(where, features, *, dtype, first_row):
        if "test.pkl" in where and first_row == 7:
            calls.append(where)
            raise KeyboardInterrupt
        real(where, features, dtype=dtype, first_row=first_row)

    monkeypatch.setattr(checks, "check_finite", check_finite)
    for target in (out, out.with_name("new") / "deep"):
        assert made.convert(target)[0] == 130
    assert len(calls) == 2
    assert snapshot(out) == before
    assert not out.with_name("new").exists()


@pytest.mark.slow
@pytest.mark.parametrize("new", [False, True])
def test_writing_fails(new, made, out, converted, monkeypatch):
    """At any of the moves to the final places."""
    if not new:
        shutil.copytree(converted, out, copy_function=shutil.copy2)
    before = snapshot(out)
    real, full = Path.replace, os.strerror(errno.ENOSPC)

    def failing(count):
        def replace(self, target):
            nonlocal count
            count -= 1
            if count == 0:
                raise OSError(errno.ENOSPC, full, str(self), None, str(target))
            return real(self, target)

        return replace

    moves = 0
    while True:
        moves += 1
        monkeypatch.setattr(Path, "replace", failing(moves))
        status, _, err = made.convert(out)
        if not status:
            break
        assert err.startswith("error: ")
        assert err.endswith(f": {full}\n")
        assert snapshot(out) == before
    assert moves == (1 + len(CONVERTED) if new else 1 + 2 * (len(CONVERTED) - 4))


def kill_within(made, out, *, patch):
    """Converts in another process, which kills itself at a place in the code."""
    code = f"""
        import os, signal, sys
        from pathlib import Path
        from alphanet_jax.commands import cli
        from alphanet_jax.commands import convert as command
        from alphanet_jax.data import convert

        def die():
            os.kill(os.getpid(), signal.SIGKILL)

        {patch}
        cli.run_program(command, {["x", *made.flags(out)]!r})
    """
    result = run_code(code)
    assert result.returncode == -signal.SIGKILL, result.stderr


def test_killed_before_all_is_written(made, out):
    kill_within(made, out, patch="convert._copy_texts = lambda job: die()")
    (left,) = out.iterdir()
    assert left.name.startswith(".staging-")
    assert any(left.rglob("*.npy"))
    good(made.convert(out))
    assert made_data.names(out) == CONVERTED


@pytest.mark.slow
def test_killed_while_files_move(made, out, converted, tmp_path):
    """Every file is whole, and what is out of date is known to be."""
    shutil.copytree(converted, out, copy_function=shutil.copy2)
    good(made.convert(tmp_path / "wanted"))
    wanted = {n: (tmp_path / "wanted" / n).read_bytes() for n in CONVERTED}
    old = {n: (out / n).read_bytes() for n in CONVERTED}
    for moves in (3, 14, 20):
        kill_within(
            made,
            out,
            patch=f"""
        real, left = Path.replace, {moves}
        def replace(self, target):
            global left
            left -= 1
            if not left:
                die()
            return real(self, target)
        Path.replace = replace""",
        )
        assert any(path.name.startswith(".staging-") for path in out.iterdir())
        for name in CONVERTED:
            if (out / name).exists() and not name.endswith(".json"):
                assert (out / name).read_bytes() in (wanted[name], old[name])
        # A rerun that fails ends the moves all the same: nothing finished is lost.
        away = made.root / FEATURES / "val.pkl"
        away.rename(away.with_suffix(".away"))
        status, _, _ = made.convert(out)
        away.with_suffix(".away").rename(away)
        assert status == 1
        assert made_data.names(out) == sorted([*CONVERTED, "notes.txt"])
        for name in CONVERTED:
            if not name.endswith(".json"):
                assert (out / name).read_bytes() == wanted[name]
        lines = good(made.convert(out))
        assert sum("unchanged" in line for line in lines) == 4
        assert made_data.names(out) == sorted([*CONVERTED, "notes.txt"])
        for name in CONVERTED:
            if not name.endswith(".json"):
                assert (out / name).read_bytes() == wanted[name]
        shutil.rmtree(out)
        shutil.copytree(converted, out, copy_function=shutil.copy2)


@pytest.mark.slow
def test_two_at_a_time(made, out):
    """The second waits for the first, and then has nothing to do."""
    processes = [
        subprocess.Popen(
            [sys.executable, PROGRAM, *made.flags(out)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(3)
    ]
    outputs = [process.communicate() for process in processes]
    assert [process.returncode for process in processes] == [0] * 3
    assert {err for _, err in outputs} == {""}
    assert sorted(text.count("unchanged") for text, _ in outputs) == [0, 4, 4]
    assert made_data.names(out) == CONVERTED


# --- Memory ---------------------------------------------------------------------------


@pytest.mark.slow
def test_memory(tmp_path):
    """A file of 300 MB takes far less memory to convert."""
    with tempfile.TemporaryDirectory(dir=tmp_path) as directory:
        made = made_data.make(Path(directory) / "original", num_features=1024)
        out = Path(directory) / "out"
        rows = 75_000
        feats = np.tile(made.groups["train"]["feats"], (rows // 23 + 1, 1))[:rows]
        labels = (np.arange(rows) % 6).tolist()
        made.dump(f"{FEATURES}/train.pkl", {"feats": feats, "labels": labels})
        code = f"""
            import threading
            from alphanet_jax.commands import cli, convert
            peak, done = 0, threading.Event()
            def measure():
                global peak
                while not done.wait(0.002):
                    lines = open("/proc/self/status").read().splitlines()
                    (line,) = [x for x in lines if x.startswith("RssAnon")]
                    peak = max(peak, int(line.split()[1]))
            thread = threading.Thread(target=measure)
            thread.start()
            status = cli.run_program(convert, {["x", *made.flags(out)]!r})
            done.set()
            thread.join()
            print(status, peak)
        """
        result = run_code(code)
        assert result.stderr == ""
        status, peak = map(int, result.stdout.split()[-2:])
        assert status == 0
        assert 10_000 < peak < 200_000  # kB
        found = np.load(out / FEATURES / "train.npy", mmap_mode="r")
        np.testing.assert_array_equal(found[::1000], feats[::1000])
