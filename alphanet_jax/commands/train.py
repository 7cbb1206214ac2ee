"""Trains AlphaNet on one dataset and writes `result.npz`."""

import ast
import contextlib
import os
import stat
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import ml_collections
from absl import flags

from alphanet_jax import config as config_lib
from alphanet_jax import sweep
from alphanet_jax.errors import UserError, did_you_mean

if TYPE_CHECKING:
    from alphanet_jax.dataset import Dataset
    from alphanet_jax.experiment import Settings

__all__ = [
    "DESCRIPTION",
    "define_flags",
    "fields",
    "own_directory",
    "prepare_arguments",
    "run",
    "settings_from_config",
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
    flags.DEFINE_float(
        "memory_gib",
        None,
        "memory to use, in GiB (of each device); by default three quarters of what is "
        "free, on a CPU 5 at most",
        lower_bound=0.0,
        flag_values=values,
    )
    flags.DEFINE_string(
        "coordinator_address",
        None,
        "HOST:PORT of the first of several processes that train together, each "
        "started with the same arguments; 'auto' on clusters that JAX knows",
        flag_values=values,
    )
    flags.DEFINE_integer(
        "num_processes", None, "how many processes there are", flag_values=values
    )
    flags.DEFINE_integer(
        "process_id", None, "number of this process, from 0", flag_values=values
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
    # Not for people: what `prepare_arguments` makes of fields with several values.
    flags.DEFINE_string("alternatives", "{}", "", flag_values=values)


def prepare_arguments(arguments: Sequence[str]) -> list[str]:
    """Checks names of fields and the config file, and takes out what is swept.

    Args:
      arguments: Arguments of the command line.

    Returns:
      Arguments to parse.

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
    rest, alternatives = sweep.take_alternatives(arguments)
    return [*rest, f"--alternatives={alternatives!r}"] if alternatives else rest


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
        dummy_mode=config.alphanet.dummy_mode,
        precision=config.precision,
        n_neighbors=training.n_neighbors,
        nn_per_seed=training.nn_per_seed,
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


def own_directory(name: str) -> Path | None:
    """Makes a directory for compiled programs; None if others may write to it.

    A program from there runs with all the rights of this one.
    """
    if name in ("", "off"):
        return None
    path = Path(name).resolve()
    try:
        path.mkdir(parents=True, exist_ok=True, mode=0o700)
        status = path.stat()
    except OSError as error:
        say(f"not keeping compiled programs in {path}: {error.strerror}")
        return None
    ours = not hasattr(os, "getuid") or status.st_uid == os.getuid()
    if not ours or status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        say(
            f"not keeping compiled programs in {path}: others may write to it; see "
            "--compilation_cache"
        )
        return None
    return path


def _start_jax(values: flags.FlagValues) -> None:
    """Sets JAX up: where it keeps compiled programs, and with which processes."""
    import jax

    cache = own_directory(values.compilation_cache)
    if cache is not None:
        jax.config.update("jax_compilation_cache_dir", str(cache))
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
        jax.config.update("jax_persistent_cache_min_entry_size_bytes", 0)
    address, count, number = (
        values[name].value
        for name in ("coordinator_address", "num_processes", "process_id")
    )
    if address == "auto":
        jax.distributed.initialize()
    elif address is not None:
        if count is None or number is None or not 0 <= number < count:
            raise UserError(
                "--coordinator_address needs --num_processes and --process_id, from 0 "
                f"to one less than their number, got {count} and {number}"
            )
        jax.distributed.initialize(address, count, number)


def run(values: flags.FlagValues) -> None:
    """Runs the command.

    Raises:
      UserError: If the config or the data is not right; nothing is written.
    """
    if values.config is None:
        raise UserError(
            "--config is missing, for example --config=configs/quickstart.py"
        )
    points = sweep.expand(values.config, ast.literal_eval(values.alternatives))
    settings = [settings_from_config(point.config) for point in points]
    seeds = [_seeds(point.config) for point in points]
    workdir = _workdir(values)
    _start_jax(values)

    from alphanet_jax import dataset, devices, registry, results, tables

    speaks = devices.is_first_process()
    report = say if speaks else lambda line: None
    config = points[0].config  # fields of the data are the same in all of them
    entry = registry.get_entry(Path(config.registry), config.dataset)
    with devices.one_by_one():
        data = dataset.load_dataset(
            entry,
            Path(config.data_root),
            train_group=config.training.train_datagrp,
            val_group=config.training.val_datagrp,
            test_group=config.training.test_datagrp,
            report=report,
        )
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
    from alphanet_jax import devices, experiment, neighbor_cache, results

    # With checkpoints, points that are done stay in the groups in which they trained:
    # those of the others go on as they were.
    numbers = [n for n in range(len(jobs)) if values.ckpt_dir or n not in done]
    parts = [(n, seeds) for n in numbers for seeds in _parts(jobs[n])]
    done_among = {place for place, (n, _) in enumerate(parts) if n in done}
    problems = experiment.prepare_all(
        data,
        [(jobs[n][1], seeds[0]) for n, seeds in parts],
        store=neighbor_cache.NeighborCache(
            _neighbor_directories(jobs[0][0].config), data
        ),
    )
    points = [
        experiment.Point(problem, seeds, jobs[n][0].title)
        for (n, seeds), problem in zip(parts, problems, strict=True)
    ]
    waiting: dict[int, list[tuple[Any, Any]]] = {
        n: [] for n in numbers if n not in done
    }
    limit = None if values.memory_gib is None else int(values.memory_gib * 2**30)
    plans = experiment.plan_points(points, memory_limit=limit)
    report(describe_points([p for i, p in enumerate(points) if i not in done_among]))
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


def _neighbor_directories(config: ml_collections.ConfigDict) -> list[Path]:
    """Names the places for neighbors: the registry's, or else the caches'."""
    from alphanet_jax import convert, registry

    entry = registry.get_entry(Path(config.registry), config.dataset)
    root = Path(config.data_root)
    own = [root / entry.nn_files_dir] if entry.nn_files_dir else []
    return own + [cache / "neighbors" for cache in convert.cache_roots(root)]


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
