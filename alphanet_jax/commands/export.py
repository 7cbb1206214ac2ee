"""Writes a corrected classifier to a file, or into a copy of the user's checkpoint."""

from collections.abc import Sequence
from pathlib import Path

from absl import flags

from alphanet_jax import outputs, results
from alphanet_jax.commands import reading
from alphanet_jax.errors import UserError

__all__ = [
    "DESCRIPTION",
    "define_flags",
    "prepare_arguments",
    "read_seed",
    "result_path",
    "run",
]

DESCRIPTION = """\
Writes the corrected classifier of a result to a file that is not there yet: `weight`
and `bias` alone, or, with --into, a copy of your own checkpoint with the new rows in
it. They are put back as the classifier was stored (transposed, scaled, in half
precision, in experts), and all other bytes stay; neither PyTorch is needed for that,
nor is anything in the file run. Before anything is written, the classifier must be the
one that the result was made with, and its predictions of the test samples, where those
are at hand, must be those in the result.

  python main.py export --result=results/quickstart --out=head.npz
  python main.py export --result=results/mine --seed=3 --into=model.pth \\
      --classifier_key=state_dict.fc --out=model_corrected.pth

A sharded checkpoint is named by its index; experts in files of their own by the list of
them, or one by one, in order, with a directory for --out."""


def define_flags(values: flags.FlagValues, argv: Sequence[str]) -> None:
    """Defines the command's flags, whatever the arguments are."""
    del argv
    for name, default, text in (
        ("result", None, "the result, or the directory that it is in"),
        (
            "seed",
            "best",
            "one of the result's seeds; 'best': that with the highest validation "
            "accuracy; or 'mean': the mean of all seeds' classifiers",
        ),
        (
            "out",
            None,
            "file to write: .npz, .safetensors or, where PyTorch is installed, .pth; "
            "with --into the copy of that file",
        ),
    ):
        flags.DEFINE_string(name, default, text, flag_values=values)
    reading.define_seed_flags(values)
    values[
        reading.SEEDS
    ].help = "seeds that --seed=best chooses among, or --seed=mean is the mean of [all]"
    reading.define_list(
        values, "into", None, "checkpoint that the classifier is from, to be copied"
    )
    for name, text in (
        (
            "classifier",
            "file with the classifier before training, where there is no --into [that "
            "of the result's dataset]",
        ),
        (
            "classifier_key",
            "key or prefix of the classifier in --into or --classifier, such as "
            "state_dict.fc [found by its shape]",
        ),
    ):
        flags.DEFINE_string(name, None, text, flag_values=values)
    reading.define_data_flags(values)


def prepare_arguments(arguments: Sequence[str]) -> list[str]:
    """Lets --into and --seeds have several words after them."""
    return reading.join_words(arguments, {"into", reading.SEEDS})


def run(values: flags.FlagValues) -> None:
    """Runs the command.

    Raises:
      UserError: If a flag, the result or a file is not right; nothing is written.
    """
    for name in ("result", "out"):
        if not values[name].value:
            raise UserError(f"--{name} is missing; see --help")
    if values.into and values.classifier:
        raise UserError("--into has the classifier: --classifier cannot be given")
    if values.classifier_key and not (values.into or values.classifier):
        raise UserError("--classifier_key has no effect without --into or --classifier")
    from alphanet_jax.data import checkpoint_copies
    from alphanet_jax.results import export, saved_heads
    from alphanet_jax.results.recomputed import Recomputation

    if not values.into:  # before anything is read
        saved_heads.check_ending(Path(values.out))
        checkpoint_copies.check_new(Path(values.out))
    outputs.hold_file("out", Path(values.out))
    finder = reading.data_finder(values)
    path = result_path(Path(values.result))
    file = results.load_file(path, recompute=Recomputation(finder))
    if seeds := reading.chosen_seeds(values):
        (file,) = results.choose_seeds(str(path), [file], seeds)
    export.export_result(
        file,
        Path(values.out),
        seed=read_seed(values.seed),
        into=[Path(path) for path in values.into or ()],
        key=values.classifier_key or "",
        classifier=Path(values.classifier) if values.classifier else None,
        finder=finder,
        report=print,
    )


def result_path(path: Path) -> Path:
    """Returns the one result file at a path.

    Raises:
      UserError: If there are several below it, or none.
    """
    if not path.is_dir():
        return path
    found = results.find_results(path)
    if len(found) > 1:
        listed = ", ".join(str(each.relative_to(path)) for each in found[:6])
        more = ", ..." if len(found) > 6 else ""
        raise UserError(
            f"--result: {len(found)} results below {path}; name one of {listed}{more}"
        )
    return found[0]


def read_seed(text: str) -> results.Which:
    """Reads which seed is meant.

    Raises:
      UserError: If it is none.
    """
    if text == "best":
        return "best"
    if text == "mean":
        return "mean"
    try:
        return int(text)
    except ValueError:
        raise UserError(
            f"--seed must be 'best', 'mean' or a seed, got {text!r}"
        ) from None
