"""Trains AlphaNet on one dataset and writes `result.npz`."""

import ast
import contextlib
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import ml_collections
from absl import flags

from alphanet_jax import sweep
from alphanet_jax.commands import running
from alphanet_jax.commands.running import fields, prepare_arguments
from alphanet_jax.errors import UserError

if TYPE_CHECKING:
    from alphanet_jax.dataset import Dataset
    from alphanet_jax.preparation import Settings

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


def _sometimes(report: Callable[[str], None], seconds: float) -> Callable[[str], None]:
    """Leaves lines out that come sooner than so many seconds after the last."""
    last = -seconds

    def maybe(line: str) -> None:
        nonlocal last
        now = time.monotonic()
        if now - last >= seconds:
            last = now
            report(line)

    return maybe


def _seeds(config: ml_collections.ConfigDict) -> range:
    if config.seeds < 1:
        raise UserError(f"config.seeds must be at least 1, got {config.seeds}")
    seeds = range(config.seed, config.seed + config.seeds)
    if seeds[0] < 0 or seeds[-1] >= 2**32:
        raise UserError(f"seeds must be in 0..2**32-1, got {seeds[0]} to {seeds[-1]}")
    return seeds


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
    settings = [running.settings_from_config(point.config) for point in points]
    seeds = [_seeds(point.config) for point in points]
    workdir = _workdir(values)
    running.start_jax(values)

    from alphanet_jax import devices, results, tables

    speaks = devices.is_first_process()
    report = running.say if speaks else lambda line: None
    data = running.load_data(points[0].config, report)  # is the same for all
    paths = [workdir / point.directory / results.FILE_NAME for point in points]
    done = set()
    for index, (point, path) in enumerate(zip(points, paths, strict=True)):
        told = results.differences(
            path, config=point.config.to_dict(), file_hashes=data.file_hashes
        )
        if told == []:
            report(f"done already: {path}")
            done.add(index)
        elif told:
            report(f"{path} is of another run and will be replaced: {'; '.join(told)}")
    errors = {}
    if len(done) < len(points):
        jobs = list(zip(points, settings, seeds, paths, strict=True))
        errors = _train(values, data, jobs, done, report)
    if not speaks:
        return
    rows = {
        _row_name(point): results.load_result(path, _TABLE_ARRAYS)
        for index, (point, path) in enumerate(zip(points, paths, strict=True))
        if index not in errors
    }
    if rows:
        report("")
        print(tables.accuracy_table(rows))
    if errors and len(points) == 1:
        raise errors[0]
    if errors:
        raise UserError(
            f"{len(errors)} of {len(points)} points failed: "
            + "; ".join(points[index].title for index in errors)
        )


def _train(
    values: flags.FlagValues,
    data: "Dataset",
    jobs: Sequence[tuple[sweep.ConfigPoint, "Settings", range, Path]],
    done: set[int],
    report: Callable[[str], None],
) -> dict[int, UserError]:
    """Trains every point that is not done, and writes its result.

    Returns:
      What was wrong with those that failed, by their number.
    """
    from alphanet_jax import devices, experiment, preparation, results

    # With checkpoints, points that are done stay in the groups in which they trained:
    # those of the others go on as they were.
    numbers = [n for n in range(len(jobs)) if values.ckpt_dir or n not in done]
    parts = [(n, seeds) for n in numbers for seeds in _parts(jobs[n])]
    done_among = {place for place, (n, _) in enumerate(parts) if n in done}
    problems = preparation.prepare_all(
        data,
        [(jobs[n][1], seeds[0]) for n, seeds in parts],
        store=running.neighbor_cache(jobs[0][0].config, data),
    )
    points = [
        experiment.Point(problem, seeds, jobs[n][0].title)
        for (n, seeds), problem in zip(parts, problems, strict=True)
    ]
    waiting: dict[int, list[tuple[Any, Any]]] = {
        n: [] for n in numbers if n not in done
    }
    plans = experiment.plan_points(points, memory_limit=running.memory_limit(values))
    report(describe_points([p for i, p in enumerate(points) if i not in done_among]))
    for line in dict.fromkeys(r for p in problems for r in preparation.remarks(p)):
        report(f"note: {line}")
    report(str(max(plans, key=lambda plan: plan.total)))
    errors: dict[int, UserError] = {}
    clock, count, num_waiting = time.monotonic(), 0, len(waiting)
    with contextlib.ExitStack() as stack:
        store = None
        watcher = None
        if values.ckpt_dir:
            from alphanet_jax import checkpoints

            store, plans = checkpoints.open_store(
                Path(values.ckpt_dir),
                configs={
                    jobs[n][0].title: jobs[n][0].config.to_dict() for n in numbers
                },
                file_hashes=data.file_hashes,
                plans=plans,
                keep=values.n_ckpt,
                load=values.load_from_ckpt,
            )
            stack.callback(store.close)
        if values.tb_logs and devices.is_first_process():
            from alphanet_jax import tb_logs

            watcher = tb_logs.TensorBoardLogs(
                Path(values.tb_logs),
                {jobs[n][0].title: jobs[n][0].directory for n in numbers},
            )
            stack.callback(watcher.close)
        for place, outcome in experiment.run_points(
            points,
            plans=plans,
            done=done_among,
            checkpoints=store,
            watcher=watcher,
            report=report if num_waiting == 1 else _sometimes(report, 2.0),
        ):
            number = parts[place][0]
            point, settings, _, path = jobs[number]
            if isinstance(outcome, UserError):
                if number not in errors:
                    report(f"failed: {outcome}")
                    count += 1
                errors.setdefault(number, outcome)
                continue
            waiting[number].append((problems[place], outcome))
            if number in errors or len(waiting[number]) < len(_parts(jobs[number])):
                continue
            count += 1
            mine, outcomes = zip(*waiting.pop(number), strict=True)
            outcome = experiment.merge_seeds(outcomes)
            arrays = results.result_arrays(
                mine if settings.nn_per_seed else mine[0],
                outcome,
                config=point.config.to_dict(),
            )
            if devices.is_first_process():
                results.save_result(path, arrays)
            if watcher is not None:
                watcher.point_ended(point.title, outcome)
            if num_waiting == 1:
                spent = outcome.seconds.items()
                report("seconds: " + "  ".join(f"{k} {took:.1f}" for k, took in spent))
                report(f"saved {path}")
            else:
                took = time.monotonic() - clock
                report(
                    f"{count} of {num_waiting} points done in {took:.0f} s: "
                    f"{point.title}, saved {path}"
                )
    return errors


def _parts(job: tuple[Any, "Settings", range, Path]) -> list[tuple[int, ...]]:
    """Cuts the seeds of a point into those that share their neighbors."""
    _, settings, seeds, _ = job
    if settings.nn_per_seed and settings.nn_dist == "random":
        return [(seed,) for seed in seeds]
    return [tuple(seeds)]


def _row_name(point: sweep.ConfigPoint) -> str:
    swept = {name: value for name, value in point.values.items() if name != "rho"}
    title = sweep.ConfigPoint(swept, point.config).title
    parts = [f"r={point.config.rho:g}", *filter(None, [title])]
    return f"AlphaNet ({', '.join(parts)})"


def describe_points(points: Sequence[Any]) -> str:
    """Says in two lines what is about to be trained."""
    problem, seeds, _ = points[0]
    data, settings = problem.dataset, problem.settings
    counts = ", ".join(
        f"{len(classes)} {name}" for name, classes in data.splits.items()
    )
    val = len(data.val.labels) if data.val is not None else "no"
    first = (
        f"{data.proper_name}: {data.num_classes} classes ({counts}), "
        f"{data.weight.shape[1]} features; {len(data.train.labels)} training, {val} "
        f"validation, {len(data.test.labels)} test samples\n"
    )
    if len(points) > 1:
        runs = sum(len(point.seeds) for point in points)
        epochs = settings.train_epochs
        return f"{first}{len(points)} points, {runs} runs of {epochs} epochs"
    sizes = " + ".join(_rows_drawn(sampler) for sampler in problem.samplers)
    return (
        f"{first}{len(seeds)} seeds, {settings.train_epochs} epochs of {sizes} "
        f"samples, {settings.n_neighbors} neighbors ({settings.nn_dist}), "
        f"selection {settings.selection if data.val is not None else 'last'}"
    )


def _rows_drawn(sampler: Any) -> str:
    from alphanet_jax.sampling import SAMPLERS

    per_class = SAMPLERS[sampler.name].per == "classes"
    return f"{sampler.amount} classes'" if per_class else str(sampler.amount)
