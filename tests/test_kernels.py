"""The kernels of a GPU: chosen by flags of XLA, which are set where none are given."""

import jax
import jax.numpy as jnp
import pytest
from absl import flags

from alphanet_jax.commands import running
from alphanet_jax.experiment import kernels
from alphanet_jax.experiment.ahead import Ahead

CHOSEN = "--xla_gpu_enable_triton_gemm=false --xla_gpu_autotune_level=0"


@pytest.fixture
def cuda(monkeypatch):
    monkeypatch.setattr(kernels, "_has_cuda", lambda: True)


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        (None, CHOSEN),
        ("", CHOSEN),
        ("--xla_dump_to=/tmp", f"--xla_dump_to=/tmp {CHOSEN}"),
        (
            "--xla_gpu_autotune_level=4",
            "--xla_gpu_autotune_level=4 --xla_gpu_enable_triton_gemm=false",
        ),
        (
            "--xla_gpu_enable_triton_gemm",
            "--xla_gpu_enable_triton_gemm --xla_gpu_autotune_level=0",
        ),
        (f"{CHOSEN} --xla_x=1", f"{CHOSEN} --xla_x=1"),
    ],
)
def test_flags_that_are_given_stay(cuda, given, wanted):
    environment = {} if given is None else {"XLA_FLAGS": given}
    kernels.settle(environment)
    assert environment == {"XLA_FLAGS": wanted}
    kernels.settle(environment)
    assert environment == {"XLA_FLAGS": wanted}


@pytest.mark.parametrize(
    ("given", "timed"),
    [
        ("", True),
        ("--xla_gpu_autotune_level=0", False),
        ("--xla_gpu_autotune_level=4", True),
        ("--xla_gpu_autotune_level=0 --xla_gpu_autotune_level=2", True),
        (CHOSEN, False),
    ],
)
def test_whether_kernels_are_timed(given, timed):
    assert kernels.are_timed({"XLA_FLAGS": given}) is timed
    assert kernels.are_timed({})


@pytest.mark.parametrize(
    ("plugins", "has"),
    [
        (["jax_plugins.xla_cuda12"], True),
        (["jax_plugins.xla_cuda13"], True),
        ([], False),
    ],
)
def test_only_where_jax_has_cuda(monkeypatch, plugins, has):
    monkeypatch.setattr(
        kernels.importlib.util, "find_spec", lambda name: name in plugins or None
    )
    environment = {}
    kernels.settle(environment)
    assert bool(environment) is has


def test_without_any_plugin(monkeypatch):
    def missing(name):
        raise ModuleNotFoundError(name)

    monkeypatch.setattr(kernels.importlib.util, "find_spec", missing)
    environment = {}
    kernels.settle(environment)
    assert not environment


def test_jax_knows_the_flags():
    """A process with a flag that XLA does not know ends at once."""
    lowered = jax.jit(jnp.dot).lower(jnp.ones((3, 3)), jnp.ones((3, 3)))
    options = {"xla_gpu_enable_triton_gemm": False, "xla_gpu_autotune_level": 0}
    names = [flag.partition("=")[0] for flag in CHOSEN.split()]
    assert names == [f"--{name}" for name in options]
    compiled = lowered.compile(compiler_options=options)
    assert compiled(jnp.eye(3), jnp.ones((3, 3))).tolist() == [[1.0] * 3] * 3
    with pytest.raises(Exception, match="No such compile option"):
        lowered.compile(compiler_options={"xla_gpu_enable_triton_gem": False})


def test_commands_choose_them(cuda, monkeypatch):
    monkeypatch.delenv("XLA_FLAGS", raising=False)
    values = flags.FlagValues()
    running.define_machine_flags(values)
    values(["program", "--compilation_cache=off"])
    running.keep_programs(values)
    assert kernels.os.environ["XLA_FLAGS"] == CHOSEN


@pytest.mark.parametrize(("backend", "level", "begins"), [
    ("cpu", "4", True), ("gpu", "4", False), ("gpu", "0", True),
])  # fmt: skip
def test_nothing_is_compiled_beside_what_is_timed(monkeypatch, backend, level, begins):
    monkeypatch.setattr(jax, "default_backend", lambda: backend)
    monkeypatch.setenv("XLA_FLAGS", f"--xla_gpu_autotune_level={level}")
    begun, jobs = [], Ahead()
    jobs.run("one", lambda: begun.append(1))
    jobs.wait("one")
    jobs.close()
    assert bool(begun) is begins
