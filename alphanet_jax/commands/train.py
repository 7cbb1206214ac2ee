"""Trains AlphaNet on one dataset and writes `result.npz`."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from absl import flags

from alphanet_jax.commands import running
from alphanet_jax.commands.running import fields, prepare_arguments
from alphanet_jax.config import sweep
from alphanet_jax.errors import UserError

if TYPE_CHECKING:
    from alphanet_jax.comparison.controls import Controls
    from alphanet_jax.data.dataset import Dataset
    from alphanet_jax.experiment.hooks import Onlooker
    from alphanet_jax.experiment.progress import Report
    from alphanet_jax.experiment.training import Trained
    from alphanet_jax.results.accuracy_tables import Control

__all__ = [
    "DESCRIPTION",
    "conclude",
    "define_flags",
    "fields",
    "find_controls",
    "make_controls",
    "prepare_arguments",
    "run",
    "train_points",
]

DESCRIPTION = """\
Trains AlphaNet on a dataset: finds the neighbors of every rare class, learns how to
combine their classifiers with its own, for all seeds at once, selects an epoch for
each seed on validation data, tests it, writes WORKDIR/result.npz and prints a table.

  python main.py --config=quickstart
  python main.py --config=imagenetlt --workdir=results/imagenetlt \\
      --config.data_root=/data --config.rho=0.25 --config.seeds=5

A field of the config may hold several values: every combination is a point of a sweep,
trained together as far as shapes and memory allow, with a result of its own. What is
done already is not run again.

  python main.py --config=quickstart --workdir=results/sweep \\
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
        "goes on from there. Where it has a checkpoint_<n>.pt of the original program, "
        "runs begin with the network of the newest",
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
        "go on from the checkpoints in --ckpt_dir; otherwise remove them, but for "
        "those of the original program",
        flag_values=values,
    )
    flags.DEFINE_string(
        "tb_logs",
        None,
        "directory for TensorBoard logs: one for each seed, and one each for their "
        "mean, least and most",
        flag_values=values,
    )
    flags.DEFINE_bool(
        "tb_subruns",
        False,
        "write each curve of --tb_logs that shares a chart as a run of its own, as the "
        "original program does",
        flag_values=values,
    )
    flags.DEFINE_bool(
        "overwrite",
        False,
        "replace results of other settings or data that are in --workdir",
        flag_values=values,
    )
    flags.DEFINE_bool(
        "brief_result",
        False,
        "leave out of results the networks, class means, and what came of every step "
        "and class in every epoch: smaller files, with which `extend` needs more",
        flag_values=values,
    )
    flags.DEFINE_bool(
        "controls",
        True,
        "show two corrections of one number beside AlphaNet, chosen on val",
        flag_values=values,
    )


def run(values: flags.FlagValues) -> None:
    """Runs the command.

    Raises:
      UserError: If the config or the data is not right; nothing is written.
    """
    points = running.points(values)
    workdir = running.workdir(values)
    running.start_jax(values, points[0].settings)
    running.hold(values, workdir)

    from alphanet_jax.experiment import devices, training

    speaks = devices.is_first_process()
    report = running.say if speaks else lambda line: None
    settings = points[0].settings  # the dataset is the same for all
    data = training.load_data(settings, report=report)
    controls = make_controls(values, data)
    trained = train_points(values, points, data, workdir, report, controls)
    if speaks:
        conclude(trained, controls, report)
        training.check_saved(trained)


def train_points(
    values: flags.FlagValues,
    points: Sequence[sweep.Point],
    data: "Dataset",
    workdir: Path,
    report: "Report",
    onlooker: "Onlooker | None",
) -> "list[Trained]":
    """Trains points of one dataset as the flags say."""
    from alphanet_jax.experiment import training

    return training.train(
        points,
        data,
        workdir=workdir,
        ckpt_dir=values.ckpt_dir,
        n_ckpt=values.n_ckpt,
        load_from_ckpt=values.load_from_ckpt,
        tb_logs=values.tb_logs,
        tb_subruns=values.tb_subruns,
        brief_result=values.brief_result,
        overwrite=values.overwrite,
        memory_limit=running.memory_limit(values),
        neighbors=training.neighbor_cache(points[0].settings, data),
        onlooker=onlooker,
        report=report,
    )


def make_controls(values: flags.FlagValues, data: "Dataset") -> "Controls | None":
    """Makes the controls that the table has; None where flags leave them out."""
    from alphanet_jax.comparison.controls import Controls

    return Controls(data) if values.controls else None


def find_controls(controls: "Controls | None", report: "Report") -> "list[Control]":
    """Tests the controls, as far as training has not done so."""
    return [] if controls is None else controls.find(report=report)


def conclude(
    trained: "Sequence[Trained]", controls: "Controls | None", report: "Report"
) -> None:
    """Prints the table of what was trained.

    Raises:
      UserError: If a point failed.
    """
    from alphanet_jax.results import accuracy_tables

    names = (*_TABLE_ARRAYS, *accuracy_tables.VALIDATION)
    rows = {
        _row_name(one.point): one.arrays(names) for one in trained if one.error is None
    }
    if rows:
        beside = find_controls(controls, report)
        report("")
        table = accuracy_tables.training_table(
            rows,
            controls=beside,
            explain_rho=all(_uses_rho(one.point) for one in trained),
        )
        print(table)
    failed = [one for one in trained if one.error is not None]
    if failed and len(trained) == 1:
        failed[0].arrays()  # raises its error
    if failed:
        raise UserError(
            f"{len(failed)} of {len(trained)} points failed: "
            + "; ".join(one.point.title for one in failed)
        )


def _uses_rho(point: sweep.Point) -> bool:
    """Returns whether rho says how many base samples there are, not sampler_args."""
    settings = point.settings
    return not settings.dummy_mode and settings.base_r == settings.rho


def _row_name(point: sweep.Point) -> str:
    r = point.settings.base_r
    # Where samplers have an r of their own, rho is a setting like any other.
    others = {
        name: value
        for name, value in point.swept.items()
        if name != "rho" or r != point.settings.rho
    }
    parts = [f"r={r:g}", *filter(None, [sweep.title_of(others)])]
    return f"AlphaNet ({', '.join(parts)})"
