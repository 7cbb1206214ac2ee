"""Adds rare classes that came later to a corrected classifier."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from absl import flags

from alphanet_jax import outputs, results
from alphanet_jax.commands import export, reading, running
from alphanet_jax.errors import UserError

if TYPE_CHECKING:
    import numpy as np

    from alphanet_jax.correction import Correction
    from alphanet_jax.data.sample_files import SampleFiles
    from alphanet_jax.results.corrected import Head

__all__ = ["DESCRIPTION", "define_flags", "prepare_arguments", "run"]

DESCRIPTION = """\
Adds rare classes that came after a classifier was corrected: writes it with a row for
each of them, numbered on from its classes, and all other rows as they are. --features
has a few samples of each new class, labelled from 0, or as they will be.

Where a model has learned rows for the new classes (--classifier), AlphaNet's trained
network combines them with those of nearest base classes. Without, rows are made: where
the training features of the result are at hand they are fitted to all samples, the
others held; else they are made of class means.

  python main.py extend --result=results/mine --features=new --names okapi quokka \\
      --out=head.npz
  python main.py extend --result=results/mine --features=new.npz --out=head.npz \\
      --classifier=new_rows.npz --test=features"""


def define_flags(values: flags.FlagValues, argv: Sequence[str]) -> None:
    """Defines the command's flags, whatever the arguments are."""
    del argv
    for name, default, text in (
        ("result", None, "the result, or the directory that it is in"),
        (
            "features",
            None,
            "features and labels of new classes: a file, or a directory with a group "
            "'new' or 'train'",
        ),
        (
            "classifier",
            None,
            "file with rows that a model has learned for the new classes, alone or "
            "after those of all others [rows are made]",
        ),
        ("classifier_key", None, "key of them in it [found by its shape]"),
        (
            "seed",
            "best",
            "whose classifier: one of the result's seeds, 'best' or 'mean', as in "
            "export",
        ),
        (
            "train",
            None,
            "file or directory of the training features and labels that the result was "
            "made with [those of its dataset]",
        ),
        (
            "test",
            None,
            "file or directory of features to measure accuracy on, with labels as they "
            "will be: new classes have the numbers after the others",
        ),
        ("out", None, "file to write: .npz, .safetensors or, with PyTorch, .pth"),
    ):
        flags.DEFINE_string(name, default, text, flag_values=values)
    reading.define_list(values, "names", None, "names of the new classes, in order")
    flags.DEFINE_bool(
        "combine",
        None,
        "whether AlphaNet's network combines new rows with those of nearest classes "
        "[rows of --classifier are; those that are made are better without]",
        flag_values=values,
    )
    flags.DEFINE_float(
        "offset",
        0.0,
        "added to logits of new classes: with more they gain and others lose",
        flag_values=values,
    )
    reading.define_data_flags(values)


def prepare_arguments(arguments: Sequence[str]) -> list[str]:
    """Lets --names have several words after it."""
    return reading.join_words(arguments, {"names"})


def run(values: flags.FlagValues) -> None:
    """Runs the command.

    Raises:
      UserError: If a flag, the result or a file is not right; nothing is written.
    """
    for name in ("result", "features", "out"):
        if not values[name].value:
            raise UserError(f"--{name} is missing; see --help")
    if values.classifier_key and not values.classifier:
        raise UserError("--classifier_key has no effect without --classifier")
    from alphanet_jax.data import checkpoint_copies, sample_files
    from alphanet_jax.results import saved_heads

    out, seed = Path(values.out), export.read_seed(values.seed)
    saved_heads.check_ending(out)
    checkpoint_copies.check_new(out)
    outputs.hold_file("out", out)
    from alphanet_jax.new_classes import add_classes

    path = export.result_path(Path(values.result))
    correction = _load(values, path)
    num_classes, num_features = correction.original.weight.shape
    new = sample_files.read_samples(
        Path(values.features),
        num_features=num_features,
        groups=("new", "train"),
        report=running.say,
    )
    test = None
    if values.test:
        test = sample_files.read_samples(
            Path(values.test),
            num_features=num_features,
            groups=("test",),
            report=running.say,
        )
    given = _rows(values, new, num_classes, num_features) if values.classifier else None
    correction = _with_data(values, correction, path)
    try:
        extended = add_classes(
            correction,
            new.features,
            new.labels,
            weight=None if given is None else given.weight,
            bias=None if given is None else given.bias,
            names=values.names,
            seed=seed,
            train=_train(values, num_features, num_classes),
            combine=values.combine,
            offset=values.offset,
            report=running.say,
        )
        report = None if test is None else extended.report(test.features, test.labels)
    except ValueError as error:  # such as a seed that is not there
        if isinstance(error, UserError):
            raise
        raise UserError(str(error).rstrip(".")) from None
    lines = extended.save(out)
    print(f"{extended!r}\n\n{extended.table()}")
    if report is not None:
        print(f"\n{report}")
    for line in lines:
        running.say(line)


def _rows(
    values: flags.FlagValues, new: "SampleFiles", num_classes: int, num_features: int
) -> "Head":
    """Reads rows of new classes, alone or after those of all others."""
    from alphanet_jax.data import classifiers
    from alphanet_jax.data.heads import Sides
    from alphanet_jax.data.registry import LINEAR
    from alphanet_jax.results.corrected import Head

    choice = classifiers.ClassifierChoice(values.classifier_key or "")
    read = classifiers.load_classifier(
        Path(values.classifier),
        LINEAR,
        choice,
        sides=lambda: Sides(num_features, None),
    )
    number = len(values.names) if values.names else _number(new.labels, num_classes)
    sizes = (number, num_classes + number)
    if len(read.weight) not in sizes or read.weight.shape[1] != num_features:
        raise UserError(
            f"{values.classifier}: must have {sizes[0]} rows, those of new classes, or "
            f"{sizes[1]}, those of all, of {num_features} features; got "
            f"{read.weight.shape}"
        )
    return Head(read.weight[-number:], read.bias[-number:])


def _number(labels: "np.ndarray", num_classes: int) -> int:
    """Returns how many new classes labels number."""
    first = num_classes if labels.size and labels.min() >= num_classes else 0
    return int(labels.max(initial=0)) + 1 - first


def _train(
    values: flags.FlagValues, num_features: int, num_classes: int
) -> "SampleFiles | None":
    """Reads the training samples that are given."""
    if not values.train:
        return None
    from alphanet_jax.data import sample_files

    return sample_files.read_samples(
        Path(values.train),
        num_features=num_features,
        groups=("train",),
        num_classes=num_classes,
        report=running.say,
    )


def _load(values: flags.FlagValues, path: Path) -> "Correction":
    """Loads the correction; with its data, where flags say where they are."""
    from alphanet_jax.correction import load_correction

    if not (values.registry or values.data_root):
        return load_correction(path)
    finder = reading.data_finder(values)
    data = finder.dataset(results.load_file(path))
    recompute = results.Recomputation(finder, report=reading.say)
    correction = load_correction(
        path, weight=data.weight, bias=data.bias, recompute=recompute
    )
    return dataclasses.replace(correction, data=data)


def _with_data(
    values: flags.FlagValues, correction: "Correction", path: Path
) -> "Correction":
    """Adds the data of the result, where they are at hand and needed."""
    from alphanet_jax.results import originals

    known = values.classifier and "class_means" in correction.result
    if known or values.train or correction.data is not None:
        return correction
    file = results.load_file(path)
    if originals.is_of_arrays(file):
        running.say(
            "note: the result is of arrays that are not stored: rows are made of class "
            "means; with --train they would be fitted, which is better"
        )
        return correction
    try:
        data = reading.data_finder(values).dataset(file)
    except UserError as error:
        running.say(f"note: rows are made of class means, for lack of data: {error}")
        return correction
    return dataclasses.replace(correction, data=data)
