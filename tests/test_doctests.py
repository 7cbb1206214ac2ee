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


@pytest.mark.parametrize("name", MODULES)
def test_examples(name):
    results = doctest.testmod(importlib.import_module(name))
    assert results.failed == 0


def test_there_are_examples():
    count = sum(
        doctest.testmod(importlib.import_module(name)).attempted for name in MODULES
    )
    assert count >= 15
