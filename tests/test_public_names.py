"""What `import alphanet_jax` gives, and what it costs."""

import importlib
import pathlib
import subprocess
import sys
import types

import pytest

import alphanet_jax
from alphanet_jax import comparison

ROOMS = {"comparison", "config", "data", "experiment", "figures", "lookup", "posthoc",
         "results"}  # fmt: skip
PURE = {"eval", "model", "nn_search", "sampling", "scores", "train_step"}


def test_names_are_sorted_and_listed():
    assert sorted(alphanet_jax.__all__) == alphanet_jax.__all__
    assert set(alphanet_jax.__all__) == PURE | ROOMS | alphanet_jax._HOMES.keys()
    assert set(alphanet_jax.__all__) <= set(dir(alphanet_jax))


@pytest.mark.parametrize("name", alphanet_jax.__all__)
def test_every_name_resolves(name):
    value = getattr(alphanet_jax, name)
    if name in PURE | ROOMS:
        assert isinstance(value, types.ModuleType)
        assert value.__name__ == f"alphanet_jax.{name}"
    else:
        home = importlib.import_module(alphanet_jax._HOMES[name])
        assert value is getattr(home, name)
        assert value.__module__ == home.__name__  # defined there, not passed on
    assert name in alphanet_jax.__doc__


def test_unknown_name():
    with pytest.raises(AttributeError, match="'alphanet_jax' has no attribute 'tain'"):
        _ = alphanet_jax.tain


def test_names_of_the_comparison_resolve():
    for name in comparison.__all__:
        home = importlib.import_module(
            f"alphanet_jax.comparison.{comparison._HOMES[name]}"
        )
        assert getattr(comparison, name) is getattr(home, name)
    assert comparison._HOMES.keys() == set(comparison.__all__)
    with pytest.raises(AttributeError, match="has no attribute 'compair'"):
        _ = comparison.compair


def test_training_loads_no_more_of_the_comparison_than_its_controls():
    program = (
        "import sys, alphanet_jax.comparison.controls; "
        "print([name for name in sys.modules if 'fitting' in name])"
    )
    assert subprocess.check_output([sys.executable, "-c", program]).strip() == b"[]"


def test_docstring_lists_every_folder_and_file():
    package = pathlib.Path(alphanet_jax.__file__).parent
    for path in package.iterdir():
        if path.suffix == ".py" and path.stem != "__init__":
            assert path.stem in alphanet_jax.__doc__
        elif path.is_dir() and path.name[0] != "_":
            assert f"    {path.name}/" in alphanet_jax.__doc__


def test_is_quick():
    program = (
        "import sys, time; start = time.perf_counter(); import alphanet_jax; "
        "took = time.perf_counter() - start; "
        "assert not {'jax', 'numpy'} & sys.modules.keys(); print(took)"
    )
    # The least of several: other processes may be at work.
    took = min(
        float(subprocess.check_output([sys.executable, "-c", program]))
        for _ in range(5)
    )
    assert took < 0.03
