"""Entries of JAX's cache that a kill or a full disk has cut."""

import os
import subprocess
import sys
import warnings
import zlib
from pathlib import Path

import pytest

from alphanet_jax.commands import compiled

ROOT = Path(__file__).parents[1]
WHOLE = zlib.compress(b"a program" * 100)
PROGRAM = """
import sys
from pathlib import Path
import jax, jax.numpy as jnp
from alphanet_jax.commands import compiled
jax.config.update("jax_compilation_cache_dir", sys.argv[1])
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
jax.config.update("jax_persistent_cache_min_entry_size_bytes", 0)
compiled.mend_entries(Path(sys.argv[1]), print)
@jax.jit
def double(x):
    return 2 * x
print(double(jnp.ones(3)))
"""


def warn(what, name, why="error: Error -5 while decompressing data"):
    warnings.warn(
        f"Error {what} persistent compilation cache entry for '{name}': {why}",
        UserWarning,
        stacklevel=1,
    )


@pytest.fixture
def kept(tmp_path):
    for name in ("jit_f-1", "jit_f-2", "jit_f-g-3", "jit_g-4"):
        (tmp_path / f"{name}-cache").write_bytes(WHOLE)
    return tmp_path


@pytest.fixture
def said(kept):
    lines, shown = [], []
    with warnings.catch_warnings():
        warnings.showwarning = lambda message, *rest: shown.append(str(message))
        compiled.mend_entries(kept, lines.append)
        compiled.mend_entries(kept, lines.append)  # which changes nothing
        yield lines, shown


def names(directory):
    return sorted(path.name.removesuffix("-cache") for path in directory.iterdir())


class TestEntries:
    @pytest.mark.parametrize("content", [b"", WHOLE[:5], WHOLE[:-1], b"\0" * 99])
    def test_a_cut_one_is_removed(self, kept, said, content):
        (kept / "jit_f-2-cache").write_bytes(content)
        warn("reading", "jit_f")
        assert names(kept) == ["jit_f-1", "jit_f-g-3", "jit_g-4"]
        assert said == ([], [])

    def test_where_it_is_not_clear_which_all_of_the_name(self, kept, said):
        warn("reading", "jit_f")
        assert names(kept) == ["jit_f-g-3", "jit_g-4"]
        assert said == ([], [])

    def test_each_time(self, kept, said):
        for _ in range(2):
            (kept / "jit_f-2-cache").write_bytes(b"")
            warn("reading", "jit_f")
            assert "jit_f-2" not in names(kept)

    def test_what_cannot_be_written_is_said_once(self, kept, said):
        (kept / "jit_f-2-cache").write_bytes(WHOLE[:9])
        for name in ("jit_f", "jit_g"):
            warn("writing", name, "OSError: [Errno 28] No space left on device")
        assert names(kept) == ["jit_f-1", "jit_f-g-3", "jit_g-4"]
        lines, shown = said
        assert shown == []
        assert lines == [
            f"not keeping all compiled programs in {kept}: OSError: [Errno 28] No "
            "space left on device"
        ]

    def test_other_warnings_are_shown(self, kept, said):
        with warnings.catch_warnings():
            warnings.simplefilter("always")
            warnings.warn("something else", UserWarning, stacklevel=1)
        assert said == ([], ["something else"])
        assert len(names(kept)) == 4


@pytest.mark.slow
def test_jax_compiles_again_and_keeps_it(tmp_path):
    def run():
        done = subprocess.run(
            [sys.executable, "-c", PROGRAM, tmp_path],
            env=os.environ | {"JAX_PLATFORMS": "cpu"},
            capture_output=True,
            text=True,
            cwd=ROOT,
        )
        assert (done.returncode, done.stdout) == (0, "[2. 2. 2.]\n"), done.stderr
        return done.stderr

    run()
    (entry,) = tmp_path.glob("jit_double-*-cache")
    whole = entry.read_bytes()
    entry.write_bytes(whole[: len(whole) // 2])
    assert "Error" not in run()
    # Not the same bytes: how long it took to compile is in it.
    assert len(entry.read_bytes()) > len(whole) * 0.9
    assert "Error" not in run()
