"""Trains AlphaNet on one dataset and writes `result.npz`."""

import ast
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from absl import flags

from alphanet_jax.commands import running, training
from alphanet_jax.commands.running import fields, prepare_arguments
from alphanet_jax.config import sweep
from alphanet_jax.errors import UserError

__all__ = [
    "DESCRIPTION",
    "define_flags",
    "fields",
    "prepare_arguments",
    "run",
]

DESCRIPTION = """\
Trains AlphaNet on a dataset: finds the neighbors of every rare class, learns how to
combine their classifiers with its own, for all seeds at once, selects an epoch for
each seed on validation data, tests it, writes WORKDIR/result.npz and prints a table.

  python main.py --config=configs/quickstart.py
  python main.py --config=configs/imagenetlt.py --workdir=results/imagenetlt \\
      --config.data_root=/data --config.rho=0.25 --config.seeds=5

A field of the config may hold several values: every combination is a point of a sweep,
trained together as far as shapes and memory allow, with a result of its own. What is
done already is not run again.

  python main.py --config=configs/quickstart.py --workdir=results/sweep \\
      --config.rho="(0.1, 0.5, 1.0)"     writes results/sweep/rho_0.1/result.npz ..."""

_TABLE_ARRAYS = (
    "proper_name",
    "test_acc_per_split",
    "test_accuracy",
    "baseline_test_acc_per_split",
    "baseline_test_accuracy",
)


def define_flags(values: flags.FlagValues, argv: Sequence[str]) -> None:
    """Defines the command's flags; those of config fields depend on `argv`."""
    running.define_flags(values, argv)
    flags.DEFINE_string(
        "workdir",
        None,
        "directory for the result [results/ and the config file's name]",
        flag_values=values,
    )
    flags.DEFINE_string(
        "ckpt_dir",
        None,
        "directory for checkpoints, made after every epoch; a run that was stopped "
        "goes on from there",
        flag_values=values,
    )
    flags.DEFINE_integer(
        "n_ckpt",
        2,
        "how many checkpoints to keep, the newest",
        lower_bound=1,
        flag_values=values,
    )
    flags.DEFINE_bool(
        "load_from_ckpt",
        True,
        "go on from the checkpoints in --ckpt_dir; otherwise remove them",
        flag_values=values,
    )
    flags.DEFINE_string(
        "tb_logs",
        None,
        "directory for TensorBoard logs: one for each seed, and one each for their "
        "mean, least and most",
        flag_values=values,
    )


def _workdir(values: flags.FlagValues) -> Path:
    config_flag: Any = values["config"]
    path, _, argument = config_flag.config_filename.partition(":")
    name = Path(path).stem + (f"_{argument}" if argument else "")
    workdir = Path(values.workdir or Path("results") / name)
    if workdir.exists() and not workdir.is_dir():
        raise UserError(f"--workdir: {workdir} is a file")
    return workdir


def run(values: flags.FlagValues) -> None:
    """Runs the command.

    Raises:
      UserError: If the config or the data is not right; nothing is written.
    """
    config = running.check_config(values)
    points = sweep.expand(config, ast.literal_eval(values.alternatives))
    workdir = _workdir(values)

    from alphanet_jax.results import file as results

    jobs = [
        training.make_job(
            point.config,
            workdir / point.directory / results.FILE_NAME,
            title=point.title,
            directory=point.directory,
        )
        for point in points
    ]
    running.start_jax(values)

    from alphanet_jax.experiment import devices
    from alphanet_jax.results import accuracy_tables

    speaks = devices.is_first_process()
    report = running.say if speaks else lambda line: None
    data = running.load_data(points[0].config, report)  # is the same for all
    done = training.done_already(jobs, data, report=report)
    errors = {}
    if len(done) < len(jobs):
        errors = training.train(
            jobs,
            data,
            done=done,
            memory_limit=running.memory_limit(values),
            ckpt_dir=Path(values.ckpt_dir) if values.ckpt_dir else None,
            n_ckpt=values.n_ckpt,
            load_from_ckpt=values.load_from_ckpt,
            tb_logs=Path(values.tb_logs) if values.tb_logs else None,
            report=report,
        )
    if not speaks:
        return
    rows = {
        _row_name(point): results.load_result(job.path, _TABLE_ARRAYS)
        for index, (point, job) in enumerate(zip(points, jobs, strict=True))
        if index not in errors
    }
    if rows:
        report("")
        print(accuracy_tables.training_table(rows))
    if errors and len(points) == 1:
        raise errors[0]
    if errors:
        raise UserError(
            f"{len(errors)} of {len(points)} points failed: "
            + "; ".join(points[index].title for index in errors)
        )


def _row_name(point: sweep.ConfigPoint) -> str:
    swept = {name: value for name, value in point.values.items() if name != "rho"}
    title = sweep.ConfigPoint(swept, point.config).title
    parts = [f"r={point.config.rho:g}", *filter(None, [title])]
    return f"AlphaNet ({', '.join(parts)})"
