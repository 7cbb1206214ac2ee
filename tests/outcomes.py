"""Comparing and storing what came of training."""

import jax
import numpy as np

EXACT = ("seeds", "selected_epoch", "test_pred", "baseline_test_pred")
CLOSE = ("epoch_loss", "alphas", "weight_few", "mean_alphas")
METRICS = ("val", "test", "baseline_val", "baseline_test")


def arrays(outcome):
    """The arrays of an outcome by name; measured times are left out."""
    found = {name: getattr(outcome, name) for name in EXACT + CLOSE}
    for name in METRICS:
        parts = getattr(outcome, name)._asdict()
        found |= {f"{name}.{part}": array for part, array in parts.items()}
    for index, leaf in enumerate(jax.tree.leaves(outcome.params)):
        found[f"params.{index}"] = leaf
    for epoch, losses in enumerate(outcome.step_loss):
        found[f"step_loss.{epoch}"] = losses
    return {name: np.asarray(array) for name, array in found.items()}


def assert_outcomes_close(actual, expected):
    """Predictions and epochs are the same, and numbers to rounding.

    Either may be the arrays of an outcome.
    """
    if not isinstance(actual, dict):
        actual = arrays(actual)
    if not isinstance(expected, dict):
        expected = arrays(expected)
    assert list(actual) == list(expected)
    for name, wanted in expected.items():
        found = actual[name]
        assert found.shape == wanted.shape, name
        if name in EXACT:
            np.testing.assert_array_equal(found, wanted, name)
        else:
            np.testing.assert_allclose(found, wanted, 1e-5, 1e-5, err_msg=name)
