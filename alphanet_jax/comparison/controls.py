"""The controls beside AlphaNet in every table: corrections of one number, no training.

Notation: n samples, C classes.
"""

import numpy as np

from alphanet_jax import posthoc, stages, streaming
from alphanet_jax.comparison.choosing import choose
from alphanet_jax.comparison.corrections import Judge
from alphanet_jax.comparison.setup import prepare
from alphanet_jax.data.dataset import Dataset
from alphanet_jax.posthoc import Linear
from alphanet_jax.results import accuracy
from alphanet_jax.results.accuracy_tables import Control
from alphanet_jax.stages import Report

__all__ = ["find_controls"]

_OFFSET, _ADJUSTMENT = "few_offset", "logit_adjustment"
_TITLES = {_OFFSET: "Offset on few ({:g})", _ADJUSTMENT: "Logit adj. (tau {:g})"}
# What theory says for a classifier that was trained without any correction.
_TAU = 1.0


def find_controls(
    data: Dataset, *, report: Report = lambda line: None
) -> list[Control]:
    """Tests an offset on the few logits, and logit adjustment.

    Their knobs are chosen by overall accuracy on validation data. Without those, logit
    adjustment has tau 1, and there is no offset to choose.

    Args:
      data: The dataset.
      report: Takes lines of text about progress.

    Returns:
      The controls with their accuracy on test data, as `compare` has them.
    """
    total = sum(len(posthoc.METHODS[name].grid) for name in _TITLES)
    with stages.stage(report, "choosing controls", total=total, unit="points"):
        heads = _heads(data, report)
    total = len(data.test.labels)
    with stages.stage(report, "testing controls", total=total, unit="samples"):
        right = _test(data, [head for _, head in heads])
    fractions = accuracy.per_split(right, data.test.labels, data.splits)
    return [
        Control(title, row) for (title, _), row in zip(heads, fractions, strict=True)
    ]


def _heads(data: Dataset, report: Report) -> list[tuple[str, Linear]]:
    """Chooses knobs; returns classifiers by what to call them."""
    inputs = posthoc.make_inputs(
        data.train.features,
        data.train.labels,
        data.weight,
        data.bias,
        few_classes=data.few_classes,
    )

    def head(name: str, knob: float) -> tuple[str, Linear]:
        outcome = posthoc.apply(posthoc.METHODS[name], inputs, knob)
        assert isinstance(outcome, Linear)
        return _TITLES[name].format(knob), outcome

    if data.val is None or not np.isin(data.val.labels, data.few_classes).any():
        return [head(_ADJUSTMENT, _TAU)]  # nothing to choose an offset by
    setup = prepare(data, num_folds=2, seed=0, tests=False, report=report)
    judge = Judge(
        data,
        val=setup.val,
        test=setup.test,
        fold_of=None,
        products=setup.products,
        seed=0,
        oracle=False,
        report=lambda line: None,
    )
    found = []
    for name in (_OFFSET, _ADJUSTMENT):
        curve = judge.on_validation(posthoc.METHODS[name])
        best = choose([curve], setup.val, unchanged=curve, by_tradeoff=False)
        found.append(head(name, best.knob))
    return found


def _test(data: Dataset, heads: list[Linear]) -> np.ndarray:
    """Computes which test samples each is right on, with shape `[K, n]`.

    Weights are those of the classifier for all, so that products are taken once.
    """
    right = np.zeros((len(heads), len(data.test.labels)), bool)
    own = Linear(data.weight, np.zeros_like(data.bias))
    biases = [np.asarray(head.bias) for head in heads]
    start = 0
    for rows in streaming.float_chunks(data.test.features, width=data.num_classes):
        part = slice(start, start + len(rows))
        products = np.asarray(posthoc.logits(own, rows))
        for hits, bias in zip(right, biases, strict=True):
            hits[part] = (products + bias).argmax(axis=1) == data.test.labels[part]
        start += len(rows)
    return right
