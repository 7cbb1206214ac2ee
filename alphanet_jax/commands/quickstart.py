"""Trains on the embedded data: `train` with the config of that name."""

import importlib.util
import shlex
from collections.abc import Sequence
from typing import Any

from absl import flags

from alphanet_jax.commands import train
from alphanet_jax.commands.train import run
from alphanet_jax.errors import UserError

__all__ = [
    "DESCRIPTION",
    "define_flags",
    "fields",
    "prepare_arguments",
    "run",
    "what_next",
]

DESCRIPTION = """\
Trains AlphaNet with ten seeds on CIFAR-100-LT features that come with the program, and
writes results/quickstart/result.npz. It is `train --config=quickstart`, from any
directory, and takes the same flags.

  python main.py quickstart
  python main.py quickstart --config.seeds=2 --config.rho=0.1 --workdir=results/short"""


# What its config sets; where the data is is of no use to know.
_SET = ("dataset", "registry", "data_root")


def define_flags(values: flags.FlagValues, argv: Sequence[str]) -> None:
    """Defines the flags of `train`; help leaves out the config, which is given."""
    train.define_flags(values, argv)
    values["config"].help = ""
    values["workdir"].help = "directory for the result [results/quickstart]"


def fields() -> list[tuple[str, Any, str]]:
    """Lists name, default and help of what `--config.` takes."""
    return [
        (name, 0.5 if name == "config.rho" else default, text)
        for name, default, text in train.fields()
        if name.removeprefix("config.") not in _SET
    ]


def prepare_arguments(arguments: Sequence[str]) -> list[str]:
    """Adds the config to the arguments.

    Raises:
      UserError: If another one is given, or a field is unknown.
    """
    for argument in arguments:
        if argument.partition("=")[0] in ("--config", "-config"):
            raise UserError(
                f"quickstart has a config of its own, got {argument!r}; train takes "
                "any other"
            )
    return train.prepare_arguments(["--config=quickstart", *arguments])


def what_next(values: flags.FlagValues, program: str) -> str:
    """Returns three commands to go on with, fit to be copied."""
    workdir = values.workdir or "results/quickstart"
    below = f"--base_res_dir={workdir}"
    figure = f"--out={workdir}/class_changes.png"
    combos = shlex.join(["combos", below, "--select_n=1", "--mistake_n=3"])
    plot = shlex.join(["plot", "class_changes", below, figure])
    if importlib.util.find_spec("matplotlib") is None:
        plot += "   # after: pip install matplotlib"
    sweep = (
        'train --config=quickstart --config.rho="(0.1, 0.5, 1)" --workdir=results/rho'
    )
    return f"""
Next, what was learned for one class, a figure, and other values of rho:
  {program} {combos}
  {program} {plot}
  {program} {sweep}"""
