"""The format of a result: the arrays of its file, their shapes and what they mean.

Notation: S seeds, E epochs, F 'few' classes, C classes, k neighbors, d feature
dimensions, n test samples.

Splits come in the order few, medium, many. Accuracies are fractions; NaN stands where
there are no samples, as everywhere in `val_*` without validation data. A reader must
expect arrays that it does not know.
"""

from collections.abc import Iterator, Mapping
from typing import Literal, NamedTuple

import numpy as np

from alphanet_jax.splits import SPLITS

__all__ = ["SCHEMA", "ArraySpec", "describe", "find_misfit"]


class ArraySpec(NamedTuple):
    """What an array of a result is."""

    name: str
    shape: tuple[str, ...]  # a letter, a letter and a number, or a number for each axis
    holds: Literal["numbers", "class ids", "text"]
    meaning: str
    own: bool = False  # whether there may be an axis of seeds before these
    empty: bool = False  # whether it may be of length 0 instead


def _metrics(
    prefix: str, lead: tuple[str, ...], samples: str, *, per_class: bool = True
) -> Iterator[ArraySpec]:
    """Yields what `eval.Metrics` holds, measured on some samples."""
    numbers: Literal["numbers"] = "numbers"
    yield ArraySpec(
        f"{prefix}_accuracy", lead, numbers, f"fraction of {samples} predicted right"
    )
    yield ArraySpec(
        f"{prefix}_top5",
        lead,
        numbers,
        f"fraction of {samples} whose class is among the best five",
    )
    yield ArraySpec(
        f"{prefix}_f1", lead, numbers, f"mean over classes of the F1 of {samples}"
    )
    yield ArraySpec(
        f"{prefix}_acc_per_split",
        (*lead, str(len(SPLITS))),
        numbers,
        f"accuracy of the {samples} of every split",
    )
    if per_class:
        yield ArraySpec(
            f"{prefix}_acc_per_class",
            (*lead, "C"),
            numbers,
            f"accuracy of the {samples} of every class",
        )


# Arrays of the same letters fit each other. The first that is there says its size.
SCHEMA: tuple[ArraySpec, ...] = (
    ArraySpec("seeds", ("S",), "numbers", "seeds of the runs"),
    ArraySpec("dataset", (), "text", "name of the dataset in the registry"),
    ArraySpec("proper_name", (), "text", "name of the dataset for people"),
    ArraySpec("class_counts", ("C",), "numbers", "training samples of every class"),
    ArraySpec("label_names", ("C",), "text", "names of the classes", empty=True),
    ArraySpec("few_classes", ("F",), "class ids", "the 'few' classes, ascending"),
    ArraySpec("medium_classes", ("medium",), "class ids", "the 'medium' classes"),
    ArraySpec("many_classes", ("many",), "class ids", "the 'many' classes"),
    ArraySpec(
        "neighbors",
        ("F", "k"),
        "class ids",
        "neighbors of every 'few' class, nearest first",
        own=True,
    ),
    ArraySpec(
        "neighbor_distances", ("F", "k"), "numbers", "how far they are", own=True
    ),
    ArraySpec(
        "alphas",
        ("S", "F", "k + 1"),
        "numbers",
        "coefficients: of the class itself, always 1, then of its neighbors",
    ),
    ArraySpec(
        "weight_few",
        ("S", "F", "d"),
        "numbers",
        "new weights of the 'few' classes; all else of the classifier stays",
    ),
    ArraySpec(
        "selected_epoch", ("S",), "numbers", "epoch that they are from, from 0 on"
    ),
    ArraySpec("epoch_loss", ("S", "E"), "numbers", "mean training loss"),
    ArraySpec(
        "epoch_mean_alphas",
        ("S", "E", "k + 1"),
        "numbers",
        "coefficients after an epoch, mean over 'few' classes",
    ),
    ArraySpec("learning_rate", ("E",), "numbers", "learning rate in every epoch"),
    ArraySpec(
        "momentum",
        ("E",),
        "numbers",
        "momentum in every epoch, where the schedule changes it",
        empty=True,
    ),
    ArraySpec("test_labels", ("n",), "class ids", "classes of the test samples"),
    *_metrics("val", ("S", "E"), "validation samples", per_class=False),
    *_metrics("test", ("S",), "test samples"),
    ArraySpec("test_pred", ("S", "n"), "class ids", "predictions of test samples"),
    *_metrics("baseline_val", (), "validation samples, before training"),
    *_metrics("baseline_test", (), "test samples, before training"),
    ArraySpec(
        "baseline_test_pred",
        ("n",),
        "class ids",
        "predictions of test samples, before training",
    ),
    ArraySpec("config", (), "text", "all settings, in JSON"),
    ArraySpec("versions", (), "text", "versions of software, in JSON"),
    ArraySpec("file_hashes", (), "text", "SHA-256 of the input files, in JSON"),
)

_KINDS = {"numbers": "iuf", "class ids": "iu", "text": "U"}


def describe() -> str:
    """Writes the schema as text: a line of name and shape, and one of its meaning.

    Examples:
      >>> print("".join(describe().splitlines(keepends=True)[:4]), end="")
      seeds (S,)
          seeds of the runs
      dataset ()
          name of the dataset in the registry
    """
    lines = []
    for spec in SCHEMA:
        shape = _text(spec.shape)
        if spec.own:
            shape += f", or {_text(('S', *spec.shape))} where each seed has its own"
        if spec.empty:
            shape += ", or (0,)"
        lines += [f"{spec.name} {shape}", f"    {spec.meaning}"]
    return "\n".join(lines)


def find_misfit(arrays: Mapping[str, np.ndarray]) -> str | None:
    """Finds an array that is not as the schema says, or does not fit the others.

    Args:
      arrays: Arrays of a result, or some of them; unknown ones are left alone.

    Returns:
      What is wrong with the first such array; None if all are right.

    Examples:
      >>> find_misfit({"seeds": np.array([0, 1]), "test_f1": np.array([0.5])})
      'test_f1 must have shape (2,) to fit the other arrays, got (1,)'
    """
    sizes: dict[str, int] = {}
    for spec in SCHEMA:
        array = arrays.get(spec.name)
        if array is None or (spec.empty and array.shape == (0,)):
            continue
        axes = spec.shape
        if spec.own and array.ndim == len(axes) + 1:
            # Version 0.1 wrote neighbors that all seeds share with an axis of length 1,
            # where seeds could have had their own.
            axes = ("1" if len(array) == 1 else "S", *axes)
        if array.ndim != len(axes):
            count = "one axis" if len(axes) == 1 else f"axes {_text(axes)}"
            return f"{spec.name} must have {count}, got shape {array.shape}"
        wanted = []
        for axis, size in zip(axes, array.shape, strict=True):
            letter, _, more = axis.partition(" + ")
            if letter.isdecimal():
                wanted.append(int(letter))
            else:
                least = int(more or 0)
                wanted.append(sizes.setdefault(letter, size - least) + least)
        if array.shape != tuple(wanted):
            return (
                f"{spec.name} must have shape {tuple(wanted)} to fit the other arrays, "
                f"got {array.shape}"
            )
        if wrong := _find_wrong_values(spec, array, sizes.get("C")):
            return wrong
    return None


def _find_wrong_values(
    spec: ArraySpec, array: np.ndarray, num_classes: int | None
) -> str | None:
    if not array.size:
        return None
    right = array.dtype.kind in _KINDS[spec.holds]
    if spec.holds != "class ids":
        return None if right else f"{spec.name} must hold {spec.holds}"
    if num_classes is None:
        return None if right else f"{spec.name} must hold class ids"
    if right and 0 <= array.min() <= array.max() < num_classes:
        return None
    return f"{spec.name} must hold class ids from 0 to {num_classes - 1}"


def _text(axes: tuple[str, ...]) -> str:
    return f"({', '.join(axes)}{',' * (len(axes) == 1)})"


# help() lists every array.
__doc__ = f"{__doc__}\nArrays of the file:\n\n{describe()}\n"
