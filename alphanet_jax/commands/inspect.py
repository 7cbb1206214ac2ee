"""Shows what is in a file, without running anything in it."""

from collections.abc import Iterable, Sequence
from pathlib import Path

from absl import flags

from alphanet_jax.commands import reading
from alphanet_jax.errors import UserError

__all__ = ["DESCRIPTION", "define_flags", "prepare_arguments", "run"]

DESCRIPTION = """\
Shows what is in a checkpoint, or in any other file that is read: tensor by tensor with
key, shape, dtype and bytes, what may be the linear classifier, and the classes of
objects that were not loaded. Nothing in the file is run, whoever wrote it.

  python main.py inspect checkpoint.pth.tar
  python main.py inspect checkpoint.pth.tar --match=fc --num_features=2048"""


def define_flags(values: flags.FlagValues, argv: Sequence[str]) -> None:
    """Defines the command's flags, whatever the arguments are."""
    del argv
    flags.DEFINE_string(
        "file", None, "file to look at; --file= may be left out", flag_values=values
    )
    flags.DEFINE_string(
        "match", "", "show keys with this in them; * is anything", flag_values=values
    )
    for name, text in (
        ("num_features", "features that the classifier takes, to tell it from others"),
        ("num_classes", "classes that it knows, for the same"),
    ):
        flags.DEFINE_integer(name, None, text, lower_bound=1, flag_values=values)


def prepare_arguments(arguments: Sequence[str]) -> list[str]:
    """Makes a flag of the file, which is the first word.

    Examples:
      >>> prepare_arguments(["--match=fc", "model.pth"])
      ['--match=fc', '--file=model.pth']
    """
    return reading.name_first_word(arguments, "file")


def run(values: flags.FlagValues) -> None:
    """Runs the command.

    Raises:
      UserError: If the file is missing or cannot be read.
    """
    if not values.file:
        raise UserError("no file is named: inspect FILE")
    from alphanet_jax.data.inspection import inspect_file

    found = inspect_file(
        Path(values.file),
        match=values.match,
        num_features=values.num_features,
        num_classes=values.num_classes,
    )
    print(found.title)
    for line in _aligned(found.tensors, right=3):
        print(f"  {line}")
    for heading, named in (
        ("other values", found.values),
        ("objects of other classes, not loaded", found.objects),
    ):
        if named:
            print(f"{heading}:")
            for line in _aligned(named.items()):
                print(f"  {line}")
    for remark in found.remarks:
        print(remark)


def _aligned(rows: Iterable[Sequence[str]], *, right: int = -1) -> list[str]:
    """Formats rows in columns; the one with number `right` at its right side."""
    cells = list(rows)
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    return [
        "  ".join(
            cell.rjust(width) if column == right else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in cells
    ]
