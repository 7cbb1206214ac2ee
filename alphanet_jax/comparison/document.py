"""What a comparison comes to, as `compare.json` holds it.

Notation: n samples, M methods, K values of a knob.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from alphanet_jax import measures
from alphanet_jax.comparison.judging import Curve, Samples
from alphanet_jax.results import accuracy, significance

__all__ = ["compared", "plain"]


def compared(
    curves: Sequence[Curve],
    test: Samples,
    *,
    reference: str,
    level: float,
    num_draws: int,
    seed: int,
) -> dict[str, Any]:
    """Makes the entries of methods.

    Args:
      curves: The methods, the reference among them.
      test: Test samples.
      reference: The method that others are compared with.
      level: Of all intervals of a statistic together.
      num_draws: Draws of test samples.
      seed: Of the draws.

    Returns:
      Entries by name of method.
    """
    entries = {curve.name: _entry(curve, test) for curve in curves}
    others = [curve for curve in curves if curve.name != reference]
    if not others:
        return entries
    (own,) = (curve for curve in curves if curve.name == reference)
    scores = {curve.name: _scores(curve, test) for curve in curves}
    found = {
        name: significance.differences(
            np.random.default_rng(seed),
            [scores[curve.name][name] for curve in others],
            scores[reference][name],
            test.labels,
            level=level,
            simultaneous=True,
            num_draws=num_draws,
        )
        for name in scores[reference]
    }
    corrected = {name: significance.holm(each.p_value) for name, each in found.items()}
    for place, curve in enumerate(others):
        entries[curve.name]["difference"] = {
            name: {
                "estimate": each.estimate[place],
                "low": each.low[place],
                "high": each.high[place],
                "p_value": corrected[name][place],
            }
            for name, each in found.items()
        }
        entries[curve.name]["mcnemar"] = {}
    own_correct = own.chosen["overall"].correct
    tests = [
        significance.mcnemar_per_split(
            curve.chosen["overall"].correct, own_correct, test.labels, test.splits
        )
        for curve in others
    ]
    for part in accuracy.PARTS:
        of_part = [each[part] for each in tests]
        by_holm = significance.holm([each.p_value for each in of_part])
        for curve, each, p_value in zip(others, of_part, by_holm, strict=True):
            entries[curve.name]["mcnemar"][part] = {
                "only_method": each.only_first,
                "only_reference": each.only_second,
                "p_value": each.p_value,
                "corrected": p_value,
            }
    return entries


def _scores(curve: Curve, test: Samples) -> dict[str, np.ndarray]:
    """Computes what every sample adds to each statistic."""
    chosen = curve.correct[curve.chosen["overall"].index]
    parts = significance.part_scores(chosen, test.labels, test.splits)
    tradeoff = significance.tradeoff_scores(
        curve.val, curve.correct, test.labels, test.splits
    )
    return {"tradeoff": tradeoff, "few": parts[0], "overall": parts[3]}


def _errors(curve: Curve, test: Samples) -> np.ndarray:
    """Computes standard errors of test accuracies, of samples of the same classes.

    Returns:
      Of few, medium, many and all, with shape `[K, 4]`.
    """
    counts = np.bincount(test.labels, minlength=test.num_classes)
    sums = np.stack(
        [
            np.stack(
                [
                    np.bincount(test.labels, weights=row**power, minlength=len(counts))
                    for power in (1, 2)
                ]
            )
            for row in curve.correct.astype(np.float64)
        ]
    )
    # The sum of squared deviations of each class, made unbiased.
    spread = sums[:, 1] - sums[:, 0] ** 2 / np.maximum(counts, 1)
    spread *= counts / np.maximum(counts - 1, 1)
    parts = [np.asarray(test.splits[name]) for name in accuracy.PARTS[:-1]]
    parts.append(np.arange(len(counts)))
    columns = [
        np.sqrt(np.maximum(spread[:, part].sum(axis=1), 0.0))
        / max(1, counts[part].sum())
        for part in parts
    ]
    return np.stack(columns, axis=1)


def _entry(curve: Curve, test: Samples) -> dict[str, Any]:
    errors = _errors(curve, test)
    points = []
    for index, knob in enumerate(curve.knobs):
        point: dict[str, Any] = {
            "knob": float(knob),
            "val": curve.val[index].tolist(),
            "test": curve.test[index].tolist(),
            "test_error": errors[index].tolist(),
        }
        if curve.choices[index]:
            point["options"] = dict(curve.choices[index])
        points.append(point)
    chosen = {
        name: {
            "index": each.index,
            **points[each.index],
            **each.metrics,
        }
        for name, each in curve.chosen.items()
    }
    return {
        "linear": curve.linear,
        "source": curve.source,
        "knob": curve.knob_name,
        "curve": points,
        "chosen": chosen,
        "tradeoff": float(measures.tradeoff(curve.val, curve.test)),
    }


def plain(value: Any) -> Any:
    """Makes what JSON can hold: lists and Python's numbers, null for NaN.

    Examples:
      >>> plain({"a": np.float32(0.5), "b": [float("nan"), np.int64(2)]})
      {'a': 0.5, 'b': [None, 2]}
    """
    if isinstance(value, Mapping):
        return {str(key): plain(each) for key, each in value.items()}
    if isinstance(value, np.ndarray):
        return plain(value.tolist())
    if isinstance(value, list | tuple):
        return [plain(each) for each in value]
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
