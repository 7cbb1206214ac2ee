"""The work of `training.train`: points made parts, trained, saved, each at once."""

import contextlib
import dataclasses
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import jax
import numpy as np

from alphanet_jax.config.fields import Settings
from alphanet_jax.config.sweep import Point
from alphanet_jax.data import class_files
from alphanet_jax.data.dataset import Dataset
from alphanet_jax.errors import UserError
from alphanet_jax.experiment import (
    cohorts,
    devices,
    keeping,
    loop,
    memory,
    outcome,
    problem,
    progress,
    tb_logs,
)
from alphanet_jax.experiment.cohorts import Part
from alphanet_jax.experiment.hooks import Onlooker
from alphanet_jax.experiment.memory import Plan
from alphanet_jax.experiment.outcome import Outcome
from alphanet_jax.experiment.problem import NeighborStore, Problem
from alphanet_jax.experiment.progress import Report
from alphanet_jax.experiment.tb_logs import TensorBoardLogs
from alphanet_jax.results import file as result_file
from alphanet_jax.stages import stage

__all__ = ["Trained", "Work", "path_of"]


@dataclasses.dataclass(frozen=True)
class Trained:
    """What came of a point.

    Attributes:
      point: The point.
      path: Its result file; None where nothing was to be written.
      error: Why it could not be trained, if it could not.
      was_done: Whether the result was there already.
      kept: Arrays of the result, where there is no file to read them from.
      unsaved: Lines about what could not be saved where it belongs; the path is that
        of the place where the result is instead.
    """

    point: Point
    path: Path | None = None
    error: UserError | None = None
    was_done: bool = False
    kept: Mapping[str, np.ndarray] | None = None
    unsaved: tuple[str, ...] = ()

    def arrays(self, names: Sequence[str] | None = None) -> Mapping[str, np.ndarray]:
        """Loads the result, or some of its arrays.

        Args:
          names: Names of the arrays, which `alphanet_jax.results.file` lists; by
            default all.

        Raises:
          UserError: If the point could not be trained, saying why; or there is no
            array of a name.
        """
        if self.error is not None:
            raise self.error
        if self.kept is None:
            assert self.path is not None
            return result_file.load_result(self.path, names)
        if missing := set(names or ()) - self.kept.keys():
            raise UserError(f"a result has no arrays {sorted(missing)}")
        return {name: self.kept[name] for name in names or self.kept}


def path_of(root: Path | None, point: Point) -> Path | None:
    """Names the result file of a point; None where nothing is to be written."""
    return None if root is None else root / point.directory / point.file_name


class Work:
    """Points to train, as parts: all seeds of a point, or those that share neighbors.

    With checkpoints, points that are done stay in the batches in which they trained:
    those of the others go on as they were.
    """

    def __init__(
        self,
        points: Sequence[Point],
        data: Dataset,
        root: Path | None,
        *,
        done: set[int],
        neighbors: NeighborStore | None,
    ) -> None:
        self._points, self._data, self._root = points, data, root
        self._neighbors, self._done = neighbors, done

    def train(
        self,
        kept: keeping.Places,
        *,
        memory_limit: int | None,
        onlooker: Onlooker | None,
        report: Report,
        report_every: float,
        point_ended: Callable[[Trained], None] | None,
    ) -> Iterator[tuple[int, Trained]]:
        """Trains all points but those that are done; yields each when it is saved."""
        record = keeping.PlanRecord(
            self._root,
            configs={p.title: p.settings.as_config() for p in self._points},
            file_hashes=self._data.file_hashes,
        )
        numbers, plans = self._begun(record if kept.ckpt_dir is None else None)
        if kept.ckpt_dir:
            numbers = list(range(len(self._points)))
        count = len(self._data.train.labels)
        with stage(report, "neighbors", total=count, unit="samples"):
            owners, parts = self._make_parts(numbers)
        free = memory_limit or memory.available_bytes(jax.devices()[0].platform)
        now = cohorts.plan_parts(parts, memory_limit=devices.least_bytes(free))
        made = cohorts.make_cohorts(parts)
        plans = plans if _fit(plans, made) else now
        waiting: dict[int, list[tuple[Problem, Outcome]]] = {
            n: [] for n in numbers if n not in self._done
        }
        total, clock = len(waiting), time.monotonic()
        alive = [p for p, n in zip(parts, owners, strict=True) if n in waiting]
        report(progress.describe_parts(alive, num_points=total))
        remarks = [line for p in parts for line in problem.remarks(p.problem)]
        remarks += problem.remarks_on_data([part.problem for part in alive])
        for line in dict.fromkeys(remarks):
            report(f"note: {line}")
        report(str(max(plans, key=lambda plan: plan.total)))
        keeping.check_space(list(zip(made, now, strict=True)), self._root, kept)
        self._write_splits()
        unsaved: dict[int, Trained] = {}
        last: tuple[int, Trained] | None = None
        with contextlib.ExitStack() as stack:
            checkpoints, plans = self._open_checkpoints(
                stack, kept, numbers, plans, report
            )
            if not _fit(plans, made):
                raise UserError(
                    f"the record of checkpoints in {kept.ckpt_dir} does not fit the "
                    "data; --load_from_ckpt=false starts anew"
                )
            watcher = self._open_logs(stack, kept, numbers, report)
            if kept.ckpt_dir is None and devices.is_first_process():
                record.write([self._points[n].title for n in numbers], plans)
            for place, came in loop.run_parts(
                parts,
                plans=plans,
                done={place for place, n in enumerate(owners) if n in self._done},
                checkpoints=checkpoints,
                watcher=watcher,
                onlooker=onlooker,
                report=report
                if total == 1
                else progress.sometimes(report, report_every),
            ):
                number = owners[place]
                if number not in waiting:  # another of its parts failed
                    continue
                if isinstance(came, UserError):
                    report(f"failed: {came}")
                    del waiting[number]
                    path = path_of(self._root, self._points[number])
                    yield number, Trained(self._points[number], path, error=came)
                    continue
                waiting[number].append((parts[place].problem, came))
                if len(waiting[number]) < owners.count(number):
                    continue
                trained, whole = self._save(
                    number,
                    waiting.pop(number),
                    watcher,
                    report,
                    brief=kept.brief_result,
                )
                if point_ended is not None:
                    point_ended(trained)
                else:
                    took = time.monotonic() - clock
                    ended = total - len(waiting)
                    for line in _ending(trained, whole, took, ended, total):
                        report(line)
                last = number, trained
                if trained.unsaved:
                    unsaved[number] = trained
                yield number, trained
        for number, trained in unsaved.items():
            last = number, self._try_again(number, trained, report)
            yield last
        if last is not None:
            problems = [x.problem for x in (checkpoints, watcher) if x and x.problem]
            told = (*last[1].unsaved, *problems)
            yield last[0], dataclasses.replace(last[1], unsaved=told)
        if devices.is_first_process():
            record.remove()

    def _make_parts(self, numbers: Sequence[int]) -> tuple[list[int], list[Part]]:
        """Prepares problems.

        Returns:
          The number of its point for each part, and the parts.
        """
        cut = [
            (number, seeds)
            for number in numbers
            for seeds in _seeds_that_share_neighbors(self._points[number].settings)
        ]
        problems = problem.prepare_all(
            self._data,
            [(self._points[number].settings, seeds[0]) for number, seeds in cut],
            store=self._neighbors,
        )
        parts = [
            Part(prepared, seeds, self._points[number].title)
            for (number, seeds), prepared in zip(cut, problems, strict=True)
        ]
        return [number for number, _ in cut], parts

    def _begun(
        self, record: keeping.PlanRecord | None
    ) -> tuple[list[int], Sequence[Plan]]:
        """Returns the points to train, with those of an earlier start among them.

        The plans are those by which it began; none where nothing was begun.
        """
        begun = None if record is None else record.read()
        if begun is not None:
            names, plans = begun
            titles = [point.title for point in self._points]
            numbers = [titles.index(name) for name in names]
            left = set(range(len(titles))) - self._done
            if left <= set(numbers):
                return numbers, plans
        return [n for n in range(len(self._points)) if n not in self._done], ()

    def _write_splits(self) -> None:
        """Writes splits that were made from numbers of samples beside the results."""
        if self._root is None or not self._data.splits_from:
            return
        if devices.is_first_process():
            class_files.write_splits(self._root / "splits", self._data.splits)

    def _open_checkpoints(
        self,
        stack: contextlib.ExitStack,
        kept: keeping.Places,
        numbers: Sequence[int],
        plans: Sequence[Plan],
        report: Report,
    ) -> tuple[keeping.SteadyCheckpoints | None, Sequence[Plan]]:
        """Opens checkpoints, if any are to be made, and takes the plans from them."""
        if kept.ckpt_dir is None:
            return None, plans
        # Imported here: it takes a while, and most runs keep no checkpoints.
        from alphanet_jax.experiment import checkpoints

        # The record of the first process is that of all; it alone makes or removes one.
        with devices.one_by_one():
            store, plans = checkpoints.open_store(
                kept.ckpt_dir,
                configs={
                    self._points[n].title: self._points[n].settings.as_config()
                    for n in numbers
                },
                file_hashes=self._data.file_hashes,
                plans=plans,
                keep=kept.n_ckpt,
                load=kept.load_from_ckpt or not devices.is_first_process(),
                report=report,
            )
        stack.callback(store.close)
        steady = keeping.SteadyCheckpoints(store, report, directory=kept.ckpt_dir)
        return steady, plans

    def _open_logs(
        self,
        stack: contextlib.ExitStack,
        kept: keeping.Places,
        numbers: Sequence[int],
        report: Report,
    ) -> keeping.SteadyLogs | None:
        """Opens logs, if any are to be written."""
        if kept.tb_logs is None or not devices.is_first_process():
            return None
        points = [self._points[n] for n in numbers if n not in self._done]
        directories = {point.title: point.directory for point in points}
        hashes = self._data.file_hashes.values()
        marks = {
            point.title: tb_logs.mark_of(point.settings.as_config(), hashes)
            for point in points
        }
        path = kept.tb_logs
        tb_logs.check_free(
            path,
            [(p.directory, p.settings.run_seeds(), marks[p.title]) for p in points],
        )
        logs = keeping.SteadyLogs(
            lambda: TensorBoardLogs(
                path, directories, marks=marks, subruns=kept.tb_subruns
            ),
            report,
            path,
        )
        stack.callback(logs.close)
        return logs

    def _try_again(self, number: int, trained: Trained, report: Report) -> Trained:
        """Tries again to save a result where it belongs."""
        path = path_of(self._root, trained.point)
        if path is None or trained.path == path:
            return trained
        if not keeping.move_home(path, trained.path, trained.kept):
            return trained
        report(f"saved {path} after all")
        return Trained(trained.point, path, unsaved=trained.unsaved[1:])

    def _save(
        self,
        number: int,
        came: Sequence[tuple[Problem, Outcome]],
        watcher: keeping.SteadyLogs | None,
        report: Report,
        *,
        brief: bool,
    ) -> tuple[Trained, Outcome]:
        """Puts the parts of a point together, and writes its logs and its result.

        In this order: what has a result is not trained again, nor logged.
        """
        point = self._points[number]
        problems, outcomes = zip(*came, strict=True)
        whole = outcome.merge_seeds(outcomes)
        if watcher is not None:
            with stage(report, "writing logs"):
                watcher.point_ended(point.title, whole)
        arrays = outcome.result_arrays(
            problems if _draws_neighbors_per_seed(point.settings) else problems[0],
            whole,
            point.settings,
            brief=brief,
        )
        path = path_of(self._root, point)
        if path is None:
            return Trained(point, kept=arrays), whole
        if not devices.is_first_process():
            return Trained(point, path), whole
        with stage(report, f"saving {path}"):
            place, problem = keeping.save_result(path, arrays, report)
        if not problem:
            return Trained(point, path), whole
        kept = arrays if place is None else None
        return Trained(point, place, kept=kept, unsaved=(problem,)), whole


def _fit(plans: Sequence[Plan], made: Sequence[cohorts.Cohort]) -> bool:
    """Returns whether plans, perhaps from a file, can be those of cohorts."""
    return len(plans) == len(made) and all(
        memory.fits(plan, cohorts.needs(cohort), num_devices=jax.device_count())
        for plan, cohort in zip(plans, made, strict=True)
    )


def _seeds_that_share_neighbors(settings: Settings) -> list[tuple[int, ...]]:
    """Cuts the seeds of a point into those that share their neighbors."""
    seeds = settings.run_seeds()
    if _draws_neighbors_per_seed(settings):
        return [(seed,) for seed in seeds]
    return [seeds]


def _draws_neighbors_per_seed(settings: Settings) -> bool:
    return settings.nn_per_seed and settings.nn_dist == "random"


def _ending(
    trained: Trained, whole: Outcome, took: float, ended: int, total: int
) -> list[str]:
    """Says that a point is done."""
    saved = "" if trained.path is None else f"saved {trained.path}"
    if total == 1:
        spent = whole.seconds.items()
        lines = ["seconds: " + "  ".join(f"{k} {time:.1f}" for k, time in spent), saved]
        return list(filter(None, lines))
    what = ", ".join(filter(None, (trained.point.title, saved)))
    return [f"{ended} of {total} points done in {took:.0f} s: {what}"]
