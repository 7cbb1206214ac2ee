"""Turns a result of the original program into one of ours."""

from collections.abc import Sequence
from pathlib import Path

from absl import flags

from alphanet_jax import outputs
from alphanet_jax.commands import reading, running
from alphanet_jax.errors import UserError

__all__ = ["DESCRIPTION", "define_flags", "run"]

DESCRIPTION = """\
Turns a result.pth of the original program into WORKDIR/result.npz, without PyTorch, and
without running anything that is in the file. Other commands read its result.pth as they
are; an import is for keeping: arrays that NumPy opens alone, the network, and, where
the data is at hand, the predictions, which the original does not record. What it did
not record, and its data does not give, is not in the result. A checkpoint_<n>.pt of its
--ckpt-dir is taken too: the network of that epoch, tested on the data.

  python main.py import --result=old/rep_1/result.pth --workdir=results/rep_1
  python main.py import --result=old/rep_1/ckpts --workdir=results/last"""


def define_flags(values: flags.FlagValues, argv: Sequence[str]) -> None:
    """Defines the command's flags, whatever the arguments are."""
    del argv
    for name, text in (
        (
            "result",
            "result.pth of the original, or a checkpoint of its training; the newest, "
            "where it is their directory",
        ),
        ("workdir", "directory for the result"),
    ):
        flags.DEFINE_string(name, None, text, flag_values=values)
    flags.DEFINE_bool(
        "overwrite",
        False,
        "whether a result that is there is replaced",
        flag_values=values,
    )
    reading.define_data_flags(values)
    reading.define_baseline_flag(values)


def run(values: flags.FlagValues) -> None:
    """Runs the command.

    Raises:
      UserError: If a flag, the file or its data is not right; nothing is written.
    """
    for name in ("result", "workdir"):
        if not values[name].value:
            raise UserError(f"--{name} is missing; see --help")
    path, workdir = Path(values.result), Path(values.workdir)
    from alphanet_jax.results import accuracy_tables, file, pytorch

    if path.is_dir():
        newest = pytorch.newest_checkpoint(path)
        if newest is None:
            raise UserError(
                f"--result: {path} is a directory without checkpoint_<n>.pt; name the "
                "file of a result"
            )
        path = newest

    if not path.exists():
        raise UserError(f"--result: no such file: {path}")
    if file.is_npz(path):
        raise UserError(f"--result: {path} is no file of the original's but .npz")
    out = workdir / file.FILE_NAME
    if out.exists() and not values.overwrite:
        raise UserError(
            f"--workdir: {out} is there already; choose another directory, or "
            "--overwrite"
        )
    outputs.check_directory("workdir", workdir)
    from alphanet_jax.results.importing import import_result

    baseline = None if values.baseline_file is None else Path(values.baseline_file)
    arrays = import_result(
        path, finder=reading.data_finder(values), baseline=baseline, report=running.say
    )
    file.save_result(out, arrays)
    running.say(f"saved {out}\n")
    if "baseline_test_acc_per_split" in arrays:
        print(accuracy_tables.training_table({"AlphaNet": arrays}))
