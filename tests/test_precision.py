"""The precision that is asked for reaches the products of the programs of training.

On CPUs all precisions give the same numbers, so it is looked for in the programs.
"""

import collections
import dataclasses

import jax
import pytest
from test_experiment import SETTINGS, make_dataset

from alphanet_jax.experiment import loop, problem, programs

EXACT = str((jax.lax.Precision.HIGHEST,) * 2)
FAST = str((jax.lax.Precision.HIGH,) * 2)  # as JAX names 'tensorfloat32'


def products(jaxpr):
    """Yields the equations that multiply matrices, also of the functions called."""
    for equation in jaxpr.eqns:
        if equation.primitive.name == "dot_general":
            yield equation
        for inner in jax.tree.leaves(list(equation.params.values())):
            inner = getattr(inner, "jaxpr", inner)
            if hasattr(inner, "eqns"):
                yield from products(inner)


@pytest.fixture
def traced(monkeypatch):
    """Counts the products of the programs that a run calls, by their precision."""
    found = {}

    def spy_on(name):
        original = getattr(programs, name)

        def spy(*arguments):
            jaxpr = original.trace(*arguments).jaxpr.jaxpr
            found[name] = collections.Counter(
                str(equation.params["precision"]) for equation in products(jaxpr)
            )
            return original(*arguments)

        monkeypatch.setattr(programs, name, spy)

    for name in ("train_epoch", "alphas_and_weights"):
        spy_on(name)
    return found


def trained(traced, precision):
    settings = dataclasses.replace(SETTINGS, precision=precision)
    loop.run(problem.prepare(make_dataset(), settings), [0, 1])
    return dict(traced)


def test_reaches_every_product_of_the_network(traced):
    exact, fast = (trained(traced, name) for name in ("highest", "tensorfloat32"))
    for name in ("train_epoch", "alphas_and_weights"):
        assert exact[name].keys() == {EXACT}
        assert exact[name].total() == fast[name].total()
    # Forward and backward; logits are exact at any precision.
    assert fast["train_epoch"].keys() == {EXACT, FAST}
    assert fast["alphas_and_weights"].keys() == {FAST}
    forward = fast["alphas_and_weights"][FAST]
    assert fast["train_epoch"][FAST] > 2 * forward
