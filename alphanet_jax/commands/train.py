"""Trains AlphaNet on one dataset and writes `result.npz`."""

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import ml_collections
from absl import flags

from alphanet_jax import config as config_lib
from alphanet_jax.errors import UserError, did_you_mean

if TYPE_CHECKING:
    from alphanet_jax.experiment import Settings

__all__ = [
    "DESCRIPTION",
    "check_arguments",
    "define_flags",
    "fields",
    "run",
    "settings_from_config",
]

DESCRIPTION = """\
Trains AlphaNet on a dataset: finds the neighbors of every rare class, learns how to
combine their classifiers with its own, for all seeds at once, selects an epoch for
each seed on validation data, tests it, writes WORKDIR/result.npz and prints a table.

  python main.py --config=configs/quickstart.py
  python main.py --config=configs/imagenetlt.py --workdir=results/imagenetlt \\
      --config.data_root=/data --config.rho=0.25 --config.seeds=5"""


def define_flags(values: flags.FlagValues, argv: Sequence[str]) -> None:
    """Defines the command's flags; those of config fields depend on `argv`."""
    from ml_collections import config_flags

    config_flags.DEFINE_config_file(
        "config",
        None,
        "config file, see configs/",
        flag_values=values,
        sys_argv=list(argv),
    )
    flags.DEFINE_string(
        "workdir",
        None,
        "directory for the result [results/ and the config file's name]",
        flag_values=values,
    )
    flags.DEFINE_string(
        "compilation_cache",
        default_compilation_cache(),
        "directory in which compiled programs are kept; 'off' for none",
        flag_values=values,
    )


def check_arguments(arguments: Sequence[str]) -> None:
    """Checks names of fields and the config file before anything is parsed.

    Raises:
      UserError: If a field is unknown (near names are given) or the file missing.
    """
    known = [field.name for field in config_lib.FIELDS]
    for index, argument in enumerate(arguments):
        flag, equals, value = argument.partition("=")
        if flag in ("--config", "-config"):
            path = value if equals else "".join(arguments[index + 1 : index + 2])
            if not Path(path.partition(":")[0]).is_file():
                raise UserError(f"--config: no such file: {path!r}")
        for prefix in ("--config.", "-config."):
            name = flag.removeprefix(prefix)
            if flag.startswith(prefix) and name not in known:
                raise UserError(
                    f"unknown field config.{name}; {did_you_mean(name, known)}"
                )


def default_compilation_cache() -> str:
    """A directory of the user's own: compiled programs must come from nobody else."""
    home = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    return os.path.join(home, "alphanet_jax", "compiled")


def fields() -> list[tuple[str, Any, str]]:
    """Lists name, default and help of what `--config.` takes."""
    return [
        (
            f"config.{field.name}",
            None if isinstance(field.default, type) else field.default,
            field.help,
        )
        for field in config_lib.FIELDS
    ]


def settings_from_config(config: ml_collections.ConfigDict) -> "Settings":
    """Turns a checked config into settings.

    Raises:
      UserError: If parameters are not of the form key=value.
    """
    from alphanet_jax import optimizers
    from alphanet_jax.experiment import Settings

    def parse(name: str, text: Any) -> dict[str, Any]:
        if not isinstance(text, str):
            raise UserError(f"config.{name} must be text, got {text!r}")
        try:
            return optimizers.parse_params(text)
        except ValueError as error:
            raise UserError(f"config.{name}: {error}") from None

    training, ptopt = config.training, config.training.ptopt
    builder = training.sampler_builder
    return Settings(
        rho=float(config.rho),
        selection=config.selection,
        pred_scale=float(config.pred_scale),
        hdims=tuple(config.alphanet.hdims),
        hact=config.alphanet.hact,
        n_neighbors=training.n_neighbors,
        nn_dist=training.nn_dist,
        optim_cls=ptopt.optim_cls,
        optim_params=parse("training.ptopt.optim_params", ptopt.optim_params),
        lr_sched_cls=ptopt.lr_sched_cls,
        lr_sched_params=parse("training.ptopt.lr_sched_params", ptopt.lr_sched_params),
        train_epochs=training.train_epochs,
        min_epochs=training.min_epochs,
        train_batch_size=training.train_batch_size,
        eval_batch_size=training.eval_batch_size,
        sampler_classes=tuple(builder.sampler_classes),
        sampler_args=tuple(
            parse("training.sampler_builder.sampler_args", text)
            for text in builder.sampler_args
        ),
    )


def say(line: str) -> None:
    """Shows progress; standard output is for the table."""
    print(line, file=sys.stderr, flush=True)


def run(values: flags.FlagValues) -> None:
    """Runs the command.

    Raises:
      UserError: If the config or the data is not right; nothing is written.
    """
    if values.config is None:
        raise UserError(
            "--config is missing, for example --config=configs/quickstart.py"
        )
    config: ml_collections.ConfigDict = values.config
    config_lib.check_fields(config)
    settings = settings_from_config(config)
    if config.seeds < 1:
        raise UserError(f"config.seeds must be at least 1, got {config.seeds}")
    seeds = range(config.seed, config.seed + config.seeds)
    if seeds[0] < 0 or seeds[-1] >= 2**32:
        raise UserError(f"seeds must be in 0..2**32-1, got {seeds[0]} to {seeds[-1]}")
    config_flag: Any = values["config"]
    path, _, argument = config_flag.config_filename.partition(":")
    name = Path(path).stem + (f"_{argument}" if argument else "")
    workdir = Path(values.workdir or Path("results") / name)
    if workdir.exists() and not workdir.is_dir():
        raise UserError(f"--workdir: {workdir} is a file")

    import jax

    if values.compilation_cache not in ("", "off"):
        cache = str(Path(values.compilation_cache).resolve())
        jax.config.update("jax_compilation_cache_dir", cache)
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
        jax.config.update("jax_persistent_cache_min_entry_size_bytes", 0)

    from alphanet_jax import dataset, experiment, registry, results, tables

    entry = registry.get_entry(Path(config.registry), config.dataset)
    data = dataset.load_dataset(
        entry,
        Path(config.data_root),
        train_group=config.training.train_datagrp,
        val_group=config.training.val_datagrp,
        test_group=config.training.test_datagrp,
        report=say,
    )
    problem = experiment.prepare(data, settings, seed=config.seed)
    say(describe_problem(problem, len(seeds)))
    outcome = experiment.run(problem, seeds, report=say)
    arrays = results.result_arrays(problem, outcome, config=config.to_dict())
    path = workdir / results.FILE_NAME
    results.save_result(path, arrays)
    spent = "  ".join(f"{name} {took:.1f}" for name, took in outcome.seconds.items())
    say(f"seconds: {spent}")
    say(f"saved {path}\n")
    print(tables.accuracy_table(arrays, name=f"AlphaNet (r={settings.rho:g})"))


def describe_problem(problem: Any, num_seeds: int) -> str:
    """Says in two lines what is about to be trained."""
    data, settings = problem.dataset, problem.settings
    sizes = " + ".join(str(sampler.size) for sampler in problem.samplers)
    counts = ", ".join(
        f"{len(classes)} {name}" for name, classes in data.splits.items()
    )
    val = len(data.val.labels) if data.val is not None else "no"
    return (
        f"{data.proper_name}: {data.num_classes} classes ({counts}), "
        f"{data.weight.shape[1]} features; {len(data.train.labels)} training, {val} "
        f"validation, {len(data.test.labels)} test samples\n"
        f"{num_seeds} seeds, {settings.train_epochs} epochs of {sizes} samples, "
        f"{settings.n_neighbors} neighbors ({settings.nn_dist}), "
        f"selection {settings.selection if data.val is not None else 'last'}"
    )
