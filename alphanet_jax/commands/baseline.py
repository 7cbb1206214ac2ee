"""Evaluates the unchanged classifier and saves it where the registry says."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from absl import flags

from alphanet_jax import bundled, outputs
from alphanet_jax.commands import running
from alphanet_jax.commands.running import fields, prepare_arguments
from alphanet_jax.config.sweep import Point
from alphanet_jax.errors import UserError

if TYPE_CHECKING:
    from alphanet_jax.data.registry import DatasetEntry

__all__ = ["DESCRIPTION", "define_flags", "fields", "prepare_arguments", "run"]

DESCRIPTION = """\
Evaluates the unchanged classifier of a dataset on its validation and test samples, and
saves that as a result file: where the registry's baseline_eval_file says (with the
ending .npz), or in --out. The coefficients in it are (1, 0, ..., 0).

  python main.py baseline --config=quickstart --out=results/baseline.npz"""


def define_flags(values: flags.FlagValues, argv: Sequence[str]) -> None:
    """Defines the command's flags; those of config fields depend on `argv`."""
    running.define_flags(values, argv)
    flags.DEFINE_string(
        "out",
        None,
        "file for the result [the registry's baseline_eval_file, with .npz]",
        flag_values=values,
    )


def _path(values: flags.FlagValues, entry: "DatasetEntry", data_root: Path) -> Path:
    if values.out is not None:
        path = Path(values.out)
    elif entry.baseline_eval_file is None:
        raise UserError(
            f"dataset {entry.name!r} has no baseline_eval_file in the registry; say "
            "with --out where to save"
        )
    else:
        # The original's own file, a pickle, is never written over.
        path = (data_root / entry.baseline_eval_file).with_suffix(".npz")
        if bundled.is_packaged(path):
            raise UserError(
                f"the data of {entry.name!r} is that of the installed program, where "
                "nothing is written; say with --out where to save"
            )
    if path.is_dir():
        raise UserError(f"--out: {path} is a directory")
    return path


def run(values: flags.FlagValues) -> None:
    """Runs the command.

    Raises:
      UserError: If the config or the data is not right; nothing is written.
    """
    point = running.one_point(values, "baseline")
    # One seed that trains for no epochs.
    settings = dataclasses.replace(
        point.settings, dummy_mode=True, train_epochs=0, seeds=1
    )
    running.start_jax(values, settings)

    from alphanet_jax.data import registry
    from alphanet_jax.experiment import devices, training
    from alphanet_jax.results import accuracy_tables

    entry = registry.get_entry(Path(settings.registry), settings.dataset)
    path = _path(values, entry, Path(settings.data_root))
    if devices.is_first_process():
        outputs.check_file("out", path)
        outputs.hold_file("out", path)
    data = training.load_data(settings, report=running.say)
    try:
        (trained,) = training.train(
            Point(settings, file_name=path.name),
            data,
            workdir=path.parent,
            done=(),  # a result that is there is written anew
            memory_limit=running.memory_limit(values),
            neighbors=training.neighbor_cache(settings, data),
            report=lambda line: None,
        )
    except OSError as error:
        raise UserError(
            f"{path}: {error.strerror}; say with --out where to save"
        ) from None
    if not devices.is_first_process():
        return
    running.say(f"saved {trained.path}\n" if trained.path else "")
    print(accuracy_tables.training_table({}, baseline=trained.arrays()))
    training.check_saved([trained])
