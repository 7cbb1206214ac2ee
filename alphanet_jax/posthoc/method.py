"""A correction as the table has it, and how it is applied.

Notation: n samples, d feature dimensions, C classes, F 'few' classes.
"""

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from alphanet_jax.posthoc import refitted
from alphanet_jax.posthoc.outcomes import Outcome

__all__ = [
    "NEEDS",
    "Family",
    "Method",
    "Point",
    "apply",
    "make_family",
    "make_inputs",
    "num_heads",
    "sweep",
]

# What a method may need, by the names of its function's parameters.
NEEDS = MappingProxyType(
    {
        "features": "training features, (n, d)",
        "labels": "their classes, (n,)",
        "weight": "the classifier's weights, (C, d)",
        "bias": "its biases, (C,)",
        "counts": "training samples of every class, (C,)",
        "num_classes": "the number of classes C",
        "few_classes": "ids of the few classes, (F,)",
        "val_features": "validation features, (m, d)",
        "val_labels": "their classes, (m,)",
        "key": "a random key",
        "most_per_class": "most samples of a class that a head is fitted to, or None",
        "seed": "of these samples",
        "kept": "a dict, in which methods keep what others can use",
        "on_step": "called with every step of a head's minimization",
    }
)


# From the knob to the outcome.
Family = Callable[[float], Outcome]


@dataclasses.dataclass(frozen=True)
class Method:
    """A correction, as the table has it.

    Attributes:
      name: Its name in files and on the command line.
      function: Takes what it needs by name, does all that does not depend on the knob,
        and returns the function from the knob to the outcome.
      needs: Names of `NEEDS`.
      linear: Whether the outcome is a classifier W, b.
      source: Where it is from.
      knob: Name of what is chosen by validation; None for nothing.
      grid: Values of the knob to try, `neutral` among them.
      neutral: The value of the knob that changes nothing: of the classifier, or of what
        was trained in its place.
      choices: Further options of the function; each is tried with every knob.
      rescales: Whether the outcome's weights are multiples of those given, class by
        class, so that its logits follow from the given classifier's.
      optional: Whether comparisons leave it out unless asked for.
      uses: Names of `NEEDS` that it makes use of where they are there.
      heads: Convex heads that it fits once, and with every one of its choices.
    """

    name: str
    function: Callable[..., Family]
    needs: tuple[str, ...]
    linear: bool
    source: str
    knob: str | None = None
    grid: tuple[float, ...] = ()
    neutral: float = 0.0
    choices: tuple[Mapping[str, Any], ...] = (MappingProxyType({}),)
    rescales: bool = False
    optional: bool = False
    uses: tuple[str, ...] = ()
    heads: tuple[int, int] = (0, 0)


class Point(NamedTuple):
    """An outcome of a method, and how it came about."""

    choice: Mapping[str, Any]  # further options
    knob: float  # 0 where a method has none
    outcome: Outcome
    family: Family  # the function from the knob to outcomes that it is of


def make_inputs(
    features: ArrayLike,
    labels: ArrayLike,
    weight: ArrayLike,
    bias: ArrayLike,
    *,
    few_classes: ArrayLike,
    val: tuple[ArrayLike, ArrayLike] | None = None,
    seed: int = 0,
    most_per_class: int | None = None,
) -> dict[str, Any]:
    """Gathers what methods may need.

    Args:
      features: Training features, with shape `[n, d]`, perhaps mapped from a file.
      labels: Classes of the rows, with shape `[n]`.
      weight: Weights of the classifier, with shape `[C, d]`.
      bias: Biases of the classifier, with shape `[C]`.
      few_classes: Class ids, with shape `[F]`.
      val: Validation features and labels, or None.
      seed: Of the key of trained methods, and of what `most_per_class` draws.
      most_per_class: Most samples of a class that a convex head is fitted to, each of
        which then stands for several; None for all.

    Returns:
      Values by the names of `NEEDS`. Methods that are given these, or a copy, do what
      they have in common once.

    Raises:
      ValueError: If `most_per_class` is less than 1.
    """
    if most_per_class is not None and most_per_class < 1:
        raise ValueError(f"most_per_class must be at least 1, got {most_per_class}.")
    num_classes = len(np.asarray(bias))
    truth = np.asarray(labels)
    inputs: dict[str, Any] = {
        "features": features,
        "labels": truth,
        "weight": jnp.asarray(weight, float),
        "bias": jnp.asarray(bias, float),
        "counts": np.bincount(truth[truth >= 0], minlength=num_classes),
        "num_classes": num_classes,
        "few_classes": few_classes,
        "key": jax.random.key(seed),
        "most_per_class": most_per_class,
        "seed": seed,
        "kept": {},
    }
    if val is not None:
        inputs["val_features"], inputs["val_labels"] = val
    return inputs


def apply(
    method: Method, inputs: Mapping[str, Any], knob: float | None = None, **choice: Any
) -> Outcome:
    """Applies a method with one value of its knob.

    Args:
      method: A method of the table.
      inputs: What it needs, by name; there may be more.
      knob: Value of its knob; None for the one that changes nothing.
      **choice: Further options of its function; by default the first of its choices.

    Returns:
      The outcome.

    Raises:
      ValueError: If anything that it needs is missing.
    """
    family = make_family(method, inputs, **choice)
    return family(method.neutral if knob is None else knob)


def make_family(method: Method, inputs: Mapping[str, Any], **choice: Any) -> Family:
    """Does all of a method that does not depend on its knob.

    Args:
      method: A method of the table.
      inputs: What it needs, by name; there may be more.
      **choice: Further options of its function; by default the first of its choices.

    Returns:
      The function from the knob to the outcome; of alphanet+ a `PlusFamily`.

    Raises:
      ValueError: If anything that it needs is missing.
    """
    options = choice or method.choices[0]
    return method.function(**_pick(method, inputs), **options)


def num_heads(
    method: Method, inputs: Mapping[str, Any], *, num_choices: int | None = None
) -> int:
    """Counts the convex heads that a method will fit; each takes many passes.

    Args:
      method: A method of the table.
      inputs: What it will be given; heads that are kept there are not fitted again.
      num_choices: How many of its choices are tried; None for all.
    """
    once, each = method.heads
    if refitted.BALANCED in (inputs.get("kept") or {}):
        once = 0
    return once + each * (len(method.choices) if num_choices is None else num_choices)


def sweep(method: Method, inputs: Mapping[str, Any]) -> Iterator[Point]:
    """Yields the outcomes of a method over its choices and its knob.

    What does not depend on the knob is done once for all of its values. Methods that
    change the bias alone give the very array of weights that they were given.

    Args:
      method: A method of the table.
      inputs: What it needs, by name; there may be more.

    Yields:
      Points, a choice after the other.

    Raises:
      ValueError: If anything that it needs is missing.
    """
    picked = _pick(method, inputs)
    for choice in method.choices:
        family = method.function(**picked, **choice)
        for knob in method.grid or (method.neutral,):
            yield Point(choice, knob, family(knob), family)


def _pick(method: Method, inputs: Mapping[str, Any]) -> dict[str, Any]:
    missing = [name for name in method.needs if name not in inputs]
    if missing:
        what = ", ".join(f"{name} ({NEEDS[name]})" for name in missing)
        raise ValueError(f"{method.name} needs {what}; got {sorted(inputs)}.")
    used = [name for name in method.uses if name in inputs]
    return {name: inputs[name] for name in (*method.needs, *used)}
