"""Training points and writing their results, for the commands that do so."""

import contextlib
import time
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import ml_collections

from alphanet_jax.commands import running
from alphanet_jax.errors import UserError, count_of

if TYPE_CHECKING:
    from alphanet_jax.data.dataset import Dataset
    from alphanet_jax.experiment.problem import Settings

__all__ = ["Job", "describe_points", "done_already", "make_job", "train"]


class Job(NamedTuple):
    """A result to make: a point, and where to put what comes of it."""

    title: str  # what to call it in messages; empty where there is one only
    directory: str  # of its logs, below that of all logs
    config: ml_collections.ConfigDict
    settings: "Settings"
    seeds: range
    path: Path  # of the result


def make_job(
    config: ml_collections.ConfigDict, path: Path, *, title: str, directory: str
) -> Job:
    """Makes a job of a checked config.

    Args:
      config: The config, with one value for each field.
      path: Where the result goes.
      title: What to call it in messages.
      directory: Where its logs go, below the directory of all logs.

    Raises:
      UserError: If parameters or seeds cannot be used.
    """
    settings = running.settings_from_config(config)
    return Job(title, directory, config, settings, _seeds(config), path)


def _seeds(config: ml_collections.ConfigDict) -> range:
    if config.seeds < 1:
        raise UserError(f"config.seeds must be at least 1, got {config.seeds}")
    seeds = range(config.seed, config.seed + config.seeds)
    if seeds[0] < 0 or seeds[-1] >= 2**32:
        raise UserError(f"seeds must be in 0..2**32-1, got {seeds[0]} to {seeds[-1]}")
    return seeds


def done_already(
    jobs: Sequence[Job],
    data: "Dataset",
    *,
    report: Callable[[str], None],
    name_done: bool = True,
) -> set[int]:
    """Finds the jobs whose results are there, made with the same settings and data.

    Args:
      jobs: The jobs.
      data: Their dataset.
      report: Is told of results that are there but of something else.
      name_done: Whether it is told of those that are done, too.

    Returns:
      The numbers of those that are done.
    """
    from alphanet_jax.results import file as results

    done = set()
    for index, job in enumerate(jobs):
        told = results.differences(
            job.path, config=job.config.to_dict(), file_hashes=data.file_hashes
        )
        if told == []:
            done.add(index)
            if name_done:
                report(f"done already: {job.path}")
        elif told:
            report(
                f"{job.path} is of another run and will be replaced: {'; '.join(told)}"
            )
    return done


def train(
    jobs: Sequence[Job],
    data: "Dataset",
    *,
    done: Collection[int] = (),
    memory_limit: int | None = None,
    ckpt_dir: Path | None = None,
    n_ckpt: int = 2,
    load_from_ckpt: bool = True,
    tb_logs: Path | None = None,
    report: Callable[[str], None] = lambda line: None,
    every: float = 2.0,
    job_ended: Callable[[int], None] | None = None,
) -> dict[int, UserError]:
    """Trains every job that is not done, and writes its result as soon as it is.

    Args:
      jobs: The jobs; those that share shapes train in one compiled program.
      data: Their dataset.
      done: Numbers of jobs to leave out.
      memory_limit: Bytes that may be used; see `plan.available_bytes`.
      ckpt_dir: Directory for checkpoints, if any are to be made.
      n_ckpt: How many of them to keep.
      load_from_ckpt: Whether to go on from those that are there.
      tb_logs: Directory for TensorBoard logs, if any are to be made.
      report: Takes lines of text about progress.
      every: Least seconds between lines about epochs, where there are several jobs.
      job_ended: Is told the number of each job that is saved; by default `report` is
        told of it.

    Returns:
      What was wrong with those that failed, by their number.
    """
    from alphanet_jax.experiment import devices
    from alphanet_jax.experiment import loop as experiment
    from alphanet_jax.experiment import problem as preparation
    from alphanet_jax.results import file as results

    # With checkpoints, points that are done stay in the groups in which they trained:
    # those of the others go on as they were.
    numbers = [n for n in range(len(jobs)) if ckpt_dir or n not in done]
    parts = [(n, seeds) for n in numbers for seeds in _parts(jobs[n])]
    done_among = {place for place, (n, _) in enumerate(parts) if n in done}
    problems = preparation.prepare_all(
        data,
        [(jobs[n].settings, seeds[0]) for n, seeds in parts],
        store=running.neighbor_cache(jobs[0].config, data),
    )
    points = [
        experiment.Point(problem, seeds, jobs[n].title)
        for (n, seeds), problem in zip(parts, problems, strict=True)
    ]
    waiting: dict[int, list[tuple[Any, Any]]] = {
        n: [] for n in numbers if n not in done
    }
    plans = experiment.plan_points(points, memory_limit=memory_limit)
    report(describe_points([p for i, p in enumerate(points) if i not in done_among]))
    for line in dict.fromkeys(r for p in problems for r in preparation.remarks(p)):
        report(f"note: {line}")
    report(str(max(plans, key=lambda plan: plan.total)))
    errors: dict[int, UserError] = {}
    clock, count, num_waiting = time.monotonic(), 0, len(waiting)
    with contextlib.ExitStack() as stack:
        store = None
        watcher = None
        if ckpt_dir:
            from alphanet_jax.experiment import checkpoints

            store, plans = checkpoints.open_store(
                ckpt_dir,
                configs={jobs[n].title: jobs[n].config.to_dict() for n in numbers},
                file_hashes=data.file_hashes,
                plans=plans,
                keep=n_ckpt,
                load=load_from_ckpt,
            )
            stack.callback(store.close)
        if tb_logs and devices.is_first_process():
            from alphanet_jax.experiment import tb_logs as logs

            watcher = logs.TensorBoardLogs(
                tb_logs, {jobs[n].title: jobs[n].directory for n in numbers}
            )
            stack.callback(watcher.close)
        for place, outcome in experiment.run_points(
            points,
            plans=plans,
            done=done_among,
            checkpoints=store,
            watcher=watcher,
            report=report if num_waiting == 1 else _sometimes(report, every),
        ):
            number = parts[place][0]
            job = jobs[number]
            if isinstance(outcome, UserError):
                if number not in errors:
                    report(f"failed: {outcome}")
                    count += 1
                errors.setdefault(number, outcome)
                continue
            waiting[number].append((problems[place], outcome))
            if number in errors or len(waiting[number]) < len(_parts(job)):
                continue
            count += 1
            mine, outcomes = zip(*waiting.pop(number), strict=True)
            outcome = experiment.merge_seeds(outcomes)
            arrays = results.result_arrays(
                mine if job.settings.nn_per_seed else mine[0],
                outcome,
                config=job.config.to_dict(),
            )
            if devices.is_first_process():
                results.save_result(job.path, arrays)
            if watcher is not None:
                watcher.point_ended(job.title, outcome)
            if job_ended is not None:
                job_ended(number)
            elif num_waiting == 1:
                spent = outcome.seconds.items()
                report("seconds: " + "  ".join(f"{k} {took:.1f}" for k, took in spent))
                report(f"saved {job.path}")
            else:
                took = time.monotonic() - clock
                report(
                    f"{count} of {num_waiting} points done in {took:.0f} s: "
                    f"{job.title}, saved {job.path}"
                )
    return errors


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


def _parts(job: Job) -> list[tuple[int, ...]]:
    """Cuts the seeds of a point into those that share their neighbors."""
    if job.settings.nn_per_seed and job.settings.nn_dist == "random":
        return [(seed,) for seed in job.seeds]
    return [tuple(job.seeds)]


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
        return (
            f"{first}{count_of(len(points), 'point')}, {count_of(runs, 'run')} of "
            f"{count_of(epochs, 'epoch')}"
        )
    sizes = " + ".join(_rows_drawn(sampler) for sampler in problem.samplers)
    return (
        f"{first}{count_of(len(seeds), 'seed')}, "
        f"{count_of(settings.train_epochs, 'epoch')} of {sizes} samples, "
        f"{count_of(settings.n_neighbors, 'neighbor')} ({settings.nn_dist}), "
        f"selection {settings.selection if data.val is not None else 'last'}"
    )


def _rows_drawn(sampler: Any) -> str:
    from alphanet_jax.sampling import SAMPLERS

    per_class = SAMPLERS[sampler.name].per == "classes"
    return f"{sampler.amount} classes'" if per_class else str(sampler.amount)
