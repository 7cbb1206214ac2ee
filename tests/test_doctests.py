"""The examples in docstrings do what they say."""

import doctest
import importlib
import pkgutil

import pytest

import alphanet_jax

MODULES = [
    module.name
    for module in pkgutil.walk_packages(alphanet_jax.__path__, "alphanet_jax.")
]


@pytest.mark.slow
@pytest.mark.parametrize("name", MODULES)
def test_examples(name):
    results = doctest.testmod(importlib.import_module(name))
    assert results.failed == 0


def test_there_are_examples():
    """They are found, and so run by the test above."""
    finder = doctest.DocTestFinder()
    found = [finder.find(importlib.import_module(name)) for name in MODULES]
    assert sum(len(test.examples) for tests in found for test in tests) >= 15
