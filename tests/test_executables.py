"""Executables that are kept, so that another process traces nothing."""

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import struct

from alphanet_jax.experiment import executables
from alphanet_jax.experiment.executables import Kept

ROOT = Path(__file__).parents[1]
SECRET = bytes(range(32))
TRACES = []
SCALE = {"by": 1.0}  # differs from run to run: JAX has not compiled with it before


@struct.dataclass
class Pair:
    first: jax.Array
    second: jax.Array | None


def scaled(times, pair, *, shift, negate=False):
    """Scales a pair."""
    TRACES.append(times)
    first = SCALE["by"] * times * pair.first + shift
    return Pair(-first if negate else first, pair.second), first.sum()


def fresh():
    """The function as another process makes it, which has nothing in memory."""
    jax.clear_caches()
    TRACES.clear()
    return Kept(scaled, static_argnums=[0], static_argnames=["negate"])


def arguments(size=3, dtype=np.float32):
    return Pair(np.arange(size, dtype=dtype), None)


@pytest.fixture
def place(tmp_path, monkeypatch):
    monkeypatch.delenv(executables.SWITCH)
    monkeypatch.setattr(executables, "_PLACE", executables._Place())
    monkeypatch.setitem(SCALE, "by", 1 + int.from_bytes(os.urandom(3)) / 2**24)
    executables.keep_in(tmp_path, SECRET)
    return tmp_path


def call(function=None, times=2, size=3, shift=1.0, **named):
    function = fresh() if function is None else function
    shift = np.float32(shift)
    pair, total = function(times, arguments(size), shift=shift, **named)
    return np.asarray(pair.first).tobytes(), float(total)


class TestKept:
    def test_nothing_without_a_place(self, place):
        executables.keep_in(None)
        expected = jax.jit(scaled, static_argnums=0)(2, arguments(), shift=1.0)
        found = fresh()(2, arguments(), shift=1.0)
        assert np.array_equal(found[0].first, expected[0].first)
        assert not list(place.iterdir())

    def test_nothing_where_it_is_switched_off(self, place, monkeypatch):
        monkeypatch.setenv(executables.SWITCH, "off")
        executables.keep_in(place, SECRET)
        call()
        assert not list(place.iterdir())

    def test_is_not_traced_again(self, place):
        made = call()
        assert TRACES == [2]
        assert call() == made
        assert TRACES == []
        assert [path.name.partition("-")[0] for path in place.iterdir()] == ["scaled"]

    def test_what_is_made_ready_is_only_called(self, place):
        function, shape = fresh(), jax.ShapeDtypeStruct((3,), np.float32)
        shift = jax.ShapeDtypeStruct((), np.float32)
        function.make_ready(2, Pair(shape, None), shift=shift)
        assert TRACES == [2]
        call(function)
        assert TRACES == [2]

    def test_numbers_of_arguments_are_no_part_of_it(self, place):
        call()
        assert call(shift=5.0)[1] > call()[1]
        assert not TRACES

    @pytest.mark.parametrize("other", [
        {"times": 3}, {"size": 4}, {"negate": True}
    ])  # fmt: skip
    def test_other_shapes_and_static_arguments_are_others(self, place, other):
        made = call()
        assert call(**other) != made
        assert len(TRACES) == 1
        assert len(list(place.iterdir())) == 2

    def test_donated_arguments(self, place):
        def doubled(array):
            return 2 * SCALE["by"] * array

        for _ in range(2):
            given = jnp.ones(4)
            found = Kept(doubled, donate_argnums=0)(given)
            assert found.tolist() == pytest.approx([2 * SCALE["by"]] * 4)
            assert given.is_deleted()

    def test_inside_of_other_functions(self, place):
        function = fresh()
        many = jax.vmap(lambda shift: function(2, arguments(), shift=shift)[1])
        assert many(jnp.arange(2.0)).shape == (2,)
        assert not list(place.iterdir())

    def test_is_a_function_of_jit_otherwise(self):
        function = fresh()
        assert function.__doc__ == "Scales a pair."
        text = function.lower(2, arguments(), shift=1.0).as_text()
        assert "stablehlo.multiply" in text
        assert function.eval_shape(2, arguments(), shift=1.0)[1].shape == ()


class TestSurroundings:
    @pytest.fixture
    def change(self, place, monkeypatch, tmp_path_factory):
        package = tmp_path_factory.mktemp("package")
        (package / "room").mkdir()
        (package / "room" / "one.py").write_text("x = 1")
        monkeypatch.setattr(executables, "_PACKAGE", package)

        def make(what):
            if what == "file":
                times = (package / "room" / "one.py").stat()
                (package / "room" / "one.py").write_text("x = 2")
                os.utime(
                    package / "room" / "one.py",
                    ns=(times.st_atime_ns, times.st_mtime_ns),
                )
            elif what == "new file":
                (package / "two.py").write_text("")
            elif what == "flags":
                monkeypatch.setenv("XLA_FLAGS", "--of=another")
            elif what == "jax":
                jax.config.update("jax_numpy_rank_promotion", "warn")
            elif what == "library":
                versions = {"optax": "0.0"}.get
                monkeypatch.setattr(
                    executables.metadata, "version", lambda name: versions(name, "1")
                )
            else:
                monkeypatch.setattr(executables, "_processor", lambda: ["another"])
            executables.keep_in(place, SECRET)

        yield make
        jax.config.update("jax_numpy_rank_promotion", "raise")

    @pytest.mark.parametrize(
        "what", ["file", "new file", "flags", "jax", "library", "processor"]
    )
    def test_others_are_not_believed(self, place, change, what):
        executables.keep_in(place, SECRET)
        made = call()
        change(what)
        assert call() == made
        assert TRACES == [2]

    @pytest.mark.parametrize(("name", "value"), [
        ("device_count", 2), ("process_count", 2), ("default_backend", "gpu"),
    ])  # fmt: skip
    def test_only_one_cpu_keeps_any(self, place, monkeypatch, name, value):
        monkeypatch.setattr(jax, name, lambda: value)
        executables.keep_in(place, SECRET)
        call()
        assert not list(place.iterdir())


class TestFiles:
    @pytest.mark.parametrize("damage", ["cut", "empty", "changed", "none"])
    def test_a_damaged_one_is_made_again(self, place, damage):
        made = call()
        (path,) = place.iterdir()
        content = path.read_bytes()
        changed = {
            "cut": content[:-7],
            "empty": b"",
            "changed": content[:-9] + b"\1" + content[-8:],
            "none": b"a" * 40 + b"\n" + b"b",
        }
        path.write_bytes(changed[damage])
        assert call() == made
        assert TRACES == [2]

    @pytest.mark.parametrize("by", ["another", "nobody", "this, of another name"])
    def test_what_others_have_made_is_never_opened(self, place, monkeypatch, by):
        made = call()
        (path,) = place.iterdir()
        content = path.read_bytes().split(b"\n", 1)[1]
        if by == "another":
            executables.keep_in(place, bytes(32))
        elif by == "nobody":
            mark = hashlib.sha256(content).hexdigest().encode()
            path.write_bytes(mark + b"\n" + content)
        else:
            signature = executables._signature(path.with_name("other"), content)
            path.write_bytes(signature + b"\n" + content)
        opened = []
        monkeypatch.setattr(executables.pickle, "loads", opened.append)
        assert call() == made
        assert TRACES == [2]
        assert not opened

    def test_without_a_secret_nothing_is_kept(self, place):
        executables.keep_in(place, None)
        call()
        assert not list(place.iterdir())

    def test_what_jax_has_read_is_not_kept(self, place):
        made = call()
        (path,) = place.iterdir()
        path.unlink()
        assert call() == made  # which JAX has kept, too
        assert not list(place.iterdir())

    def test_but_what_it_has_of_another_version_does_not_matter(
        self, place, monkeypatch
    ):
        made = call()
        monkeypatch.setattr(executables, "__version__", "another")
        executables.keep_in(place, SECRET)
        assert call() == made
        assert TRACES == [2]
        assert len(list(place.iterdir())) == 2

    def test_a_place_that_cannot_be_written(self, place, monkeypatch):
        executables.keep_in(place / "a" / "b", SECRET)
        (place / "a").write_text("a file")
        call()
        assert TRACES == [2]

    def test_those_read_longest_ago_go_first(self, place, monkeypatch):
        monkeypatch.setattr(executables, "_MOST", 2)
        for size in (3, 4):
            call(size=size)
        for age, path in enumerate(place.iterdir()):
            os.utime(path, (age + 1, age + 1))
        call(size=3)
        call(size=5)
        for size in (3, 5):
            call(size=size)
            assert not TRACES


class TestOwnSecret:
    def test_drawn_once_and_nobody_elses(self, tmp_path):
        path = tmp_path / "of" / "mine" / "secret"
        found = executables.own_secret(path)
        assert found is not None
        assert len(found) == 32
        assert executables.own_secret(path) == found
        assert path.stat().st_mode & 0o777 == 0o600
        assert executables.own_secret(tmp_path / "secret") != found

    @pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o602])
    def test_one_that_others_may_read_or_change(self, tmp_path, mode):
        path = tmp_path / "secret"
        executables.own_secret(path)
        path.chmod(mode)
        assert executables.own_secret(path) is None

    def test_no_file_and_no_room(self, tmp_path):
        (tmp_path / "file").write_bytes(b"")
        assert executables.own_secret(tmp_path / "file" / "secret") is None
        (tmp_path / "file").chmod(0o600)
        assert executables.own_secret(tmp_path / "file") is None
        executables.own_secret(tmp_path / "secret")
        (tmp_path / "link").symlink_to(tmp_path / "secret")
        assert executables.own_secret(tmp_path / "link") is None


_COMMAND = """
import sys
from alphanet_jax import train_step
from alphanet_jax.commands import cli
whole, traced = train_step.train_epoch, []
def train_epoch(*args, **named):
    traced.append(1)
    return whole(*args, **named)
train_step.train_epoch = train_epoch
status = cli.main(["alphanet", *sys.argv[1:]])
print("traced", len(traced))
sys.exit(status)
"""


@pytest.mark.slow
def test_a_second_command_traces_nothing_and_gets_the_same(tmp_path):
    given = {"JAX_COMPILATION_CACHE_DIR", executables.SWITCH}
    environment = {k: v for k, v in os.environ.items() if k not in given}
    for name, traced in (("one", 1), ("two", 0)):
        done = subprocess.run(
            [
                sys.executable,
                "-c",
                _COMMAND,
                "quickstart",
                "--config.seeds=1",
                "--config.training.train_epochs=1",
                "--config.training.min_epochs=1",
                "--nocontrols",
                f"--compilation_cache={tmp_path / 'compiled'}",
                f"--workdir={tmp_path / name}",
            ],
            cwd=ROOT,
            env=environment,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
        assert f"traced {traced}" in done.stdout
    one, two = (dict(np.load(tmp_path / n / "result.npz")) for n in ("one", "two"))
    for name, array in one.items():
        assert array.tobytes() == two[name].tobytes(), name
