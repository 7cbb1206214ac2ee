"""Fixtures that several test files share."""

import contextlib
import gc
import os
from pathlib import Path

import jax
import numpy as np
import oracle
import pytest
import tools
from skipping import pytest_sessionfinish, pytest_terminal_summary  # noqa: F401

from alphanet_jax import stages
from alphanet_jax.errors import UserError
from alphanet_jax.experiment import executables
from alphanet_jax.results import wordnet

# Shapes are written out: no array is broadcast to another rank without being told to.
jax.config.update("jax_numpy_rank_promotion", "raise")

HALF_WRITTEN = "Error reading persistent compilation cache entry"


# How long something takes here changes no lines that tests compare.
stages.SHOWN_AFTER = 3600.0


def pytest_configure(config):
    """Lets all test processes share what they compile, also with later runs.

    JAX keeps to the first directory that a process compiles with, so this one is used
    whatever commands say that run inside the tests' processes; processes that tests
    start find it in their environment, and commands among them where they keep theirs.
    `--cache-clear` empties it.
    """
    # So many objects of JAX stay that looking for garbage takes 7 % of the time.
    gc.set_threshold(50_000, 20, 50)
    if os.environ.get("ALPHANET_TESTS_HIDE_TOOLS"):
        tools.hide(Path(config.cache.mkdir("programs")))
    compiled = config.cache.mkdir("compiled")
    compiled.chmod(0o700)  # commands use none that others may write to
    _keep_programs_of_commands(config.cache.mkdir("home"), compiled)
    options = {
        "jax_compilation_cache_dir": str(compiled),
        "jax_persistent_cache_min_compile_time_secs": 0.0,
        "jax_persistent_cache_min_entry_size_bytes": -1,
        # Or the directory that a command names would be part of every program's key,
        # for what GPUs keep in it: no test would find what another has compiled.
        "jax_persistent_cache_enable_xla_caches": "none",
    }
    for name, value in options.items():
        jax.config.update(name, value)
        os.environ[name.upper()] = str(value)
    # Who reads a program that another process is writing compiles it, with a warning.
    os.environ["PYTHONWARNINGS"] = f"ignore:{HALF_WRITTEN}"
    config.addinivalue_line("filterwarnings", f"ignore:{HALF_WRITTEN}")
    # Tests put functions in the place of others, which executables are not kept by.
    os.environ[executables.SWITCH] = "off"


def _keep_programs_of_commands(home, compiled):
    """Makes a home for caches, in which compiled programs are those of all tests."""
    os.environ["XDG_CACHE_HOME"] = str(home)
    (home / "alphanet_jax").mkdir(exist_ok=True)
    # Several processes may do it at a time.
    with contextlib.suppress(FileExistsError):
        (home / "alphanet_jax" / "compiled").symlink_to(
            os.path.relpath(compiled, home / "alphanet_jax")
        )


def pytest_collection_finish():
    """Leaves what has been imported out of every search for garbage.

    And compiles something, before a command may that has a directory of its own.
    """
    jax.block_until_ready(jax.jit(lambda: 0)())
    gc.collect()
    gc.freeze()


# Linux lets a process have 65,530 mappings of memory, and every compiled program has
# several. Past that many, JAX dies of it. A file of tests adds 10,000 at most; 30,000
# come with about 2 GiB of memory, and what is let go is traced again.
_MOST_MAPPINGS = 30_000


@pytest.fixture(autouse=True, scope="module")
def _few_programs():
    """Lets compiled programs go before there are too many for the process."""
    yield
    mappings = Path("/proc/self/maps")
    if mappings.exists():
        count = mappings.read_bytes().count(b"\n")
        if os.environ.get("ALPHANET_TESTS_MAPPINGS"):
            with Path(os.environ["ALPHANET_TESTS_MAPPINGS"]).open("a") as file:
                file.write(f"{os.getpid()} {count}\n")
        if count > _MOST_MAPPINGS:
            jax.clear_caches()


# Sizes that are multiples of nothing, and every degenerate one that is allowed.
PROBLEMS = {
    "usual": {},
    "one few class": {"few": 1, "base": 7, "neighbors": 3, "dim": 4, "samples": 13},
    "one neighbor, one dimension": {"few": 2, "base": 6, "neighbors": 1, "dim": 1},
    "few base classes": {"few": 4, "base": 3, "neighbors": 2, "samples": 11},
}


@pytest.fixture(params=list(PROBLEMS), scope="session")
def problem(request):
    """Random problems of all the shapes above."""
    return oracle.random_problem(1, **PROBLEMS[request.param])


@pytest.fixture(scope="session")
def usual():
    """A random problem of the usual shape."""
    return oracle.random_problem(1, **PROBLEMS["usual"])


@pytest.fixture
def rng():
    return np.random.default_rng(0)


@pytest.fixture
def x64():
    """Lets JAX compute in float64 for the length of a test."""
    with jax.enable_x64(True):
        yield


@pytest.fixture
def compiled():
    """Lists the names of what is compiled, or read from what was."""
    names = []

    def listen(event, duration, **more):
        del duration
        if event == "/jax/core/compile/backend_compile_duration":
            names.append(more.get("fun_name"))

    jax.monitoring.register_event_duration_secs_listener(listen)
    yield names
    jax.monitoring.unregister_event_duration_listener(listen)


@pytest.fixture(scope="session")
def wordnet_reader():
    """The database of WordNet 3.0, where it is installed."""
    try:
        return wordnet.open_wordnet()
    except UserError as error:
        if not str(error).startswith("no WordNet database on this machine"):
            raise
        tools.missing(str(error))


@pytest.fixture
def user_cache(tmp_path, monkeypatch):
    """An empty cache of the user's, not kept beyond the process."""
    path = tmp_path / "home cache"
    monkeypatch.setenv("XDG_CACHE_HOME", str(path))
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)
    return path


@pytest.fixture
def made(tmp_path):
    """A small dataset in the original's files."""
    import made_data

    return made_data.make(tmp_path / "original")


@pytest.fixture
def converted(made, tmp_path):
    """The same dataset, where only its converted form is."""
    import made_data

    return made_data.converted_alone(made, tmp_path / "converted")


@pytest.fixture
def closed_figures():
    """Closes all figures after the test."""
    from alphanet_jax.figures import saving

    saving.check_matplotlib()
    import matplotlib.pyplot as plt

    yield
    plt.close("all")


@pytest.fixture
def sweep(tmp_path):
    """Two runs at two values of rho, one of them in two files."""
    import made_results

    made_results.make_result(tmp_path / "s/a/result.npz", rho=1.0, seed=0)
    made_results.make_result(tmp_path / "s/b/result.npz", rho=0.25, seed=5)
    made_results.make_result(tmp_path / "s/c/result.npz", rho=1.0, seed=9, num_seeds=1)
    return tmp_path


@pytest.fixture(scope="session")
def real(tmp_path_factory):
    """A dataset on the disk, and results that know it: nearest, cosine and random."""
    import figure_sources

    return figure_sources.make_real(tmp_path_factory.mktemp("real"))


@pytest.fixture
def drawn():
    """Draws numbers, and closes the figures after the test."""
    import matplotlib.pyplot as plt

    from alphanet_jax.figures.style import make_style

    figures = []

    def draw(kind, numbers, style="png", changes=None, **options):
        style = make_style(style, **(changes or {}))
        with style.applied():
            figures.append(kind.draw(numbers, style, **options))
            figures[-1].draw_without_rendering()
        return figures[-1]

    yield draw
    for figure in figures:
        plt.close(figure)
