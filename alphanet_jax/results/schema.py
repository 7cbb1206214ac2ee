"""The format of a result: the arrays of its file, their shapes and what they mean.

Notation: S seeds, E epochs, F 'few' classes, C classes, k neighbors, d feature
dimensions, n test samples, h0, h1 ... units of the network's hidden layers. A name with
<i> in it is that of several arrays, i = 0, 1 ...

Splits come in the order few, medium, many. Accuracies are fractions; NaN stands where
there are no samples, as everywhere in `val_*` without validation data. A reader must
expect arrays that it does not know.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Literal, NamedTuple

import numpy as np

from alphanet_jax.splits import SPLITS

__all__ = [
    "NETWORK",
    "SCHEMA",
    "ArraySpec",
    "describe",
    "find_misfit",
    "has_axis_of_seeds",
]

NETWORK = "network."  # the names of a network's arrays begin so


# Numbers are finite, losses NaN where a run had no step, counts whole and from 0 on,
# and fractions from 0 to 1, or NaN where there are no samples.
Holds = Literal["numbers", "losses", "counts", "fractions", "class ids", "text"]


class ArraySpec(NamedTuple):
    """The specification of an array of a result."""

    name: str
    shape: tuple[str, ...]  # a letter, a letter and a number, or a number for each axis
    meaning: str
    holds: Holds = "numbers"
    own: bool = False  # whether there may be an axis of seeds before these
    empty: bool = False  # whether it may be of length 0 instead
    of: Literal["all", "alphanet", "others"] = "all"  # corrections that have it


def _metrics(
    prefix: str, lead: tuple[str, ...], group: str, when: str = ""
) -> tuple[ArraySpec, ...]:
    """Lists what is measured on a group of samples: the fields of `eval.Metrics`."""
    samples, splits = f"{group} samples", (*lead, str(len(SPLITS)))
    return tuple(
        ArraySpec(f"{prefix}_{name}", shape, meaning + when, "fractions")
        for name, shape, meaning in (
            ("accuracy", lead, f"fraction of {samples} predicted right"),
            ("top5", lead, f"fraction of {samples} with the class among the best five"),
            ("f1", lead, f"mean F1 over classes, of {samples}"),
            ("acc_per_split", splits, f"accuracy of the {samples} of every split"),
            ("acc_per_class", (*lead, "C"), f"accuracy of {samples} of every class"),
        )
    )


# Arrays of the same letters fit each other. The first that is there sets its size.
SCHEMA: tuple[ArraySpec, ...] = (
    ArraySpec("seeds", ("S",), "seeds of the runs", "counts"),
    ArraySpec("dataset", (), "name of the dataset in the registry", "text"),
    ArraySpec("proper_name", (), "display name of the dataset", "text"),
    ArraySpec("class_counts", ("C",), "training samples of every class", "counts"),
    ArraySpec("label_names", ("C",), "names of the classes", "text", empty=True),
    ArraySpec("few_classes", ("F",), "the 'few' classes, ascending", "class ids"),
    ArraySpec("medium_classes", ("medium",), "the 'medium' classes", "class ids"),
    ArraySpec("many_classes", ("many",), "the 'many' classes", "class ids"),
    ArraySpec(
        "neighbors",
        ("F", "k"),
        "neighbors of every 'few' class, nearest first",
        "class ids",
        own=True,
    ),
    ArraySpec("neighbor_distances", ("F", "k"), "distances of the neighbors", own=True),
    ArraySpec(
        "alphas",
        ("S", "F", "k + 1"),
        "coefficients: of the class itself, always 1, then of its neighbors",
        of="alphanet",
    ),
    ArraySpec(
        "weight_few",
        ("S", "F", "d"),
        "new weights of the 'few' classes; all else of the classifier stays",
        of="alphanet",
    ),
    # What another correction than AlphaNet comes to, in place of alphas.
    ArraySpec(
        "method",
        (),
        "the correction; AlphaNet where there is none",
        "text",
        of="others",
    ),
    ArraySpec("knob", (), "value of the method's knob", of="others"),
    ArraySpec(
        "method_options",
        (),
        "further options of the method, in JSON",
        "text",
        of="others",
    ),
    ArraySpec(
        "weight", ("C", "d"), "all weights of the corrected classifier", of="others"
    ),
    ArraySpec("bias", ("C",), "all biases of the corrected classifier", of="others"),
    ArraySpec(
        "original_weight",
        ("C", "d"),
        "all weights before; of AlphaNet where a result of the PyTorch program has it",
    ),
    ArraySpec("original_bias", ("C",), "all biases before, where the weights are"),
    ArraySpec(
        "borrowed_from",
        ("C", "b"),
        "classes that every class borrows from in alphanet+, nearest first",
        "class ids",
        of="others",
    ),
    ArraySpec(
        "borrowed_shares", ("C", "b"), "how much it borrows from each", of="others"
    ),
    ArraySpec(
        "kept",
        ("C",),
        "what is left of every mean's distance from the centre",
        of="others",
    ),
    # What applies a result to further classes: there unless nothing was trained, and of
    # a size of 4 S h0 (k + 1) d bytes, and 4 C d. All else is small beside it.
    ArraySpec(
        f"{NETWORK}conv_layer.weight",
        ("S", "h0", "1", "k + 1", "d"),
        "first layer of the network at the selected epoch, as the original names it: "
        "of the class itself, then of its neighbors (the largest of the network, "
        "4 S h0 (k + 1) d bytes)",
        of="alphanet",
    ),
    ArraySpec(f"{NETWORK}conv_layer.bias", ("S", "h0"), "its biases", of="alphanet"),
    ArraySpec(
        f"{NETWORK}linear_layer__seq.<i>.weight",
        ("S", "h<i+1>", "h<i>"),
        "a further layer; the last has k outputs",
        of="alphanet",
    ),
    ArraySpec(
        f"{NETWORK}linear_layer__seq.<i>.bias",
        ("S", "h<i+1>"),
        "its biases",
        of="alphanet",
    ),
    ArraySpec(
        "class_means",
        ("C", "d"),
        "mean training feature of every class, by which further classes find their "
        "neighbors (4 C d bytes)",
    ),
    ArraySpec(
        "selected_epoch",
        ("S",),
        "epoch that alphas come from, from 0; -1 where nothing was trained",
    ),
    ArraySpec("epoch_loss", ("S", "E"), "mean training loss", of="alphanet"),
    ArraySpec(
        "epoch_mean_alphas",
        ("S", "E", "k + 1"),
        "coefficients after an epoch, mean over 'few' classes",
        of="alphanet",
    ),
    # What came of every step and epoch; not in brief results.
    ArraySpec(
        "step_loss",
        ("S", "E", "T"),
        "training loss of every batch; NaN past an epoch's last (4 S E T bytes)",
        "losses",
        of="alphanet",
    ),
    ArraySpec(
        "epoch_least_alphas",
        ("S", "E", "k + 1"),
        "coefficients after an epoch, the least of 'few' classes",
        of="alphanet",
    ),
    ArraySpec(
        "epoch_most_alphas",
        ("S", "E", "k + 1"),
        "coefficients after an epoch, the most of 'few' classes",
        of="alphanet",
    ),
    ArraySpec(
        "drawn_per_class",
        ("S", "E", "C"),
        "training samples of every class that an epoch drew (1 or 2 S E C bytes)",
        "counts",
        of="alphanet",
    ),
    ArraySpec(
        "val_class_counts",
        ("C",),
        "validation samples of every class",
        "counts",
        of="alphanet",
    ),
    ArraySpec(
        "val_correct_per_class",
        ("S", "E", "C"),
        "validation samples of every class that were right after an epoch (1 or 2 "
        "S E C bytes)",
        "counts",
        of="alphanet",
    ),
    ArraySpec(
        "learning_rate",
        ("E",),
        "learning rate in every epoch",
        of="alphanet",
    ),
    ArraySpec(
        "momentum",
        ("E",),
        "momentum in every epoch, where the schedule changes it",
        empty=True,
        of="alphanet",
    ),
    ArraySpec("test_labels", ("n",), "classes of the test samples", "class ids"),
    # By class, these are `val_correct_per_class` of `val_class_counts`.
    *_metrics("val", ("S", "E"), "validation")[:-1],
    *_metrics("test", ("S",), "test"),
    ArraySpec("test_pred", ("S", "n"), "predictions of test samples", "class ids"),
    *_metrics("baseline_val", (), "validation", ", before training"),
    *_metrics("baseline_test", (), "test", ", before training"),
    ArraySpec(
        "baseline_test_pred",
        ("n",),
        "predictions of test samples, before training",
        "class ids",
    ),
    ArraySpec("config", (), "all settings, in JSON", "text"),
    ArraySpec("versions", (), "versions of software, in JSON", "text"),
    ArraySpec("file_hashes", (), "SHA-256 of the input files, in JSON", "text"),
)

_KINDS = {
    "numbers": "iuf",
    "losses": "f",
    "counts": "iu",
    "fractions": "f",
    "class ids": "iu",
    "text": "U",
}


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
        shape += {"all": "", "alphanet": "; AlphaNet alone"}.get(
            spec.of, "; not AlphaNet"
        )
        lines += [f"{spec.name} {shape}", f"    {spec.meaning}"]
    return "\n".join(lines)


def find_misfit(arrays: Mapping[str, np.ndarray]) -> str | None:
    """Finds an array that breaks the schema, or does not fit the others.

    Args:
      arrays: Arrays of a result, or some of them; unknown ones are left alone.

    Returns:
      What is wrong with the first such array; None if all are right.

    Examples:
      >>> find_misfit({"seeds": np.array([0, 1]), "test_f1": np.array([0.5])})
      'test_f1 must have shape (2,) to fit the other arrays, got (1,)'
    """
    sizes: dict[str, int] = {}
    for spec in (one for listed in SCHEMA for one in _numbered(listed, arrays)):
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
    return _find_contradiction(arrays)


def _numbered(spec: ArraySpec, arrays: Mapping[str, np.ndarray]) -> Iterator[ArraySpec]:
    """Yields a specification for each array that has a name with a number in it."""
    before, numbered, after = spec.name.partition("<i>")
    if not numbered:
        yield spec
        return
    pattern = re.compile(rf"{re.escape(before)}(\d+){re.escape(after)}")
    found = filter(None, map(pattern.fullmatch, arrays))
    for number in sorted(int(match[1]) for match in found):
        axes = (
            axis.replace("<i>", str(number)).replace("<i+1>", str(number + 1))
            for axis in spec.shape
        )
        yield spec._replace(name=f"{before}{number}{after}", shape=tuple(axes))


_OF_RUNS = {spec.name for spec in SCHEMA if spec.shape[:1] == ("S",)}
_PERHAPS_OF_RUNS = {spec.name: len(spec.shape) for spec in SCHEMA if spec.own}


def has_axis_of_seeds(name: str, array: np.ndarray) -> bool:
    """Returns whether the first axis of an array of a result is that of its seeds.

    Examples:
      >>> has_axis_of_seeds("alphas", np.ones((2, 3, 4)))
      True
      >>> has_axis_of_seeds("neighbors", np.ones((3, 4), int))
      False
    """
    if name in _PERHAPS_OF_RUNS:
        return array.ndim > _PERHAPS_OF_RUNS[name] and len(array) > 1
    return name in _OF_RUNS or name.startswith(NETWORK)


def _find_wrong_values(
    spec: ArraySpec, array: np.ndarray, num_classes: int | None
) -> str | None:
    if not array.size:
        return None
    right = array.dtype.kind in _KINDS[spec.holds]
    if spec.holds == "class ids":
        if right and array.min() >= 0 and array.max() < (num_classes or np.inf):
            return None
        known = "" if num_classes is None else f" from 0 to {num_classes - 1}"
        return f"{spec.name} must hold class ids{known}"
    if not right:
        called = {"counts": "whole numbers"}.get(spec.holds, spec.holds)
        return f"{spec.name} must hold {called}"
    if spec.holds == "numbers" and not np.isfinite(array).all():
        return f"{spec.name} must hold finite numbers"
    if spec.holds == "counts" and array.min() < 0:
        return f"{spec.name} must hold numbers from 0 on, got {array.min()}"
    if spec.holds == "fractions" and ((array < 0) | (array > 1)).any():
        wrong = array[(array < 0) | (array > 1)].flat[0]
        return f"{spec.name} must hold fractions from 0 to 1, got {wrong:g}"
    return None


def _find_contradiction(arrays: Mapping[str, np.ndarray]) -> str | None:
    """Finds what is right in itself, and does not go with the rest."""
    if "seeds" in arrays and not len(arrays["seeds"]):
        return "seeds must name at least one run"
    names = [f"{split}_classes" for split in SPLITS]
    if arrays.keys() >= {"class_counts", *names}:
        classes = [arrays[name] for name in names]
        times = np.bincount(
            np.concatenate(classes).astype(int), minlength=len(arrays["class_counts"])
        )
        if (times != 1).any():
            wrong = int(np.argmax(times != 1))
            return f"class {wrong} is {times[wrong]} times in the splits, must be once"
    if "few_classes" in arrays and "neighbors" in arrays and "method" not in arrays:
        found = np.sort(arrays["neighbors"], axis=-1)
        if (found[..., 1:] == found[..., :-1]).any():
            return "neighbors of a class must be distinct"
        if np.isin(found, arrays["few_classes"]).any():
            return "neighbors must be base classes, and one is a 'few' class"
    if "selected_epoch" in arrays and "epoch_loss" in arrays:
        epochs, selected = arrays["epoch_loss"].shape[1], arrays["selected_epoch"]
        if selected.max() >= max(epochs, 1):
            return f"selected_epoch must be below {epochs}, got {selected.max()}"
    return None


def _text(axes: tuple[str, ...]) -> str:
    return f"({', '.join(axes)}{',' * (len(axes) == 1)})"


# help() lists every array.
__doc__ = f"{__doc__}\nArrays of the file:\n\n{describe()}\n"
