"""The work of `training.train`: points made parts, trained, saved, each at once."""

import contextlib
import dataclasses
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import jax

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
    problem,
    progress,
    tb_logs,
)
from alphanet_jax.experiment.beginning import Beginning
from alphanet_jax.experiment.cohorts import Part
from alphanet_jax.experiment.gathering import (
    Gathering,
    Trained,
    draws_neighbors_per_seed,
    path_of,
)
from alphanet_jax.experiment.hooks import Onlooker
from alphanet_jax.experiment.memory import Plan
from alphanet_jax.experiment.problem import NeighborStore
from alphanet_jax.experiment.progress import Report
from alphanet_jax.experiment.tb_logs import TensorBoardLogs
from alphanet_jax.stages import stage

__all__ = ["Work"]


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
        beginning: Beginning | None,
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
        if beginning is not None:
            beginning.check([part.problem for part in parts])
        free = memory_limit or memory.available_bytes(jax.devices()[0].platform)
        now = cohorts.plan_parts(parts, memory_limit=devices.least_bytes(free))
        made = cohorts.make_cohorts(parts)
        plans = plans if _fit(plans, made) else now
        self._say_what_begins(parts, owners, plans, report)
        if beginning is not None:
            report(
                f"note: all runs begin with the network of {beginning.path}, which the "
                "original program wrote; their optimizers and epochs begin anew"
            )
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
            several = len(set(owners) - self._done) > 1
            gathering = Gathering(
                self._points,
                [part.problem for part in parts],
                owners,
                done=self._done,
                root=self._root,
                watcher=watcher,
                brief=kept.brief_result,
                report=report,
                point_ended=point_ended,
            )
            for place, came in loop.run_parts(
                parts,
                plans=plans,
                done={place for place, n in enumerate(owners) if n in self._done},
                checkpoints=checkpoints,
                watcher=watcher,
                onlooker=onlooker,
                beginning=beginning,
                report=progress.sometimes(report, report_every) if several else report,
            ):
                ended = gathering.take(place, came)
                if ended is None:
                    continue
                if ended[1].error is None:
                    last = ended
                if ended[1].unsaved:
                    unsaved[ended[0]] = ended[1]
                yield ended
        for number, trained in unsaved.items():
            last = number, self._try_again(number, trained, report)
            yield last
        if last is not None:
            problems = [x.problem for x in (checkpoints, watcher) if x and x.problem]
            told = (*last[1].unsaved, *problems)
            yield last[0], dataclasses.replace(last[1], unsaved=told)
        if devices.is_first_process():
            record.remove()

    def _say_what_begins(
        self,
        parts: Sequence[Part],
        owners: Sequence[int],
        plans: Sequence[Plan],
        report: Report,
    ) -> None:
        """Says what will be trained, what a person should know of it, and the plan."""
        alive = [
            part
            for part, number in zip(parts, owners, strict=True)
            if number not in self._done
        ]
        total = len(set(owners) - self._done)
        report(progress.describe_parts(alive, num_points=total))
        remarks = [line for p in parts for line in problem.remarks(p.problem)]
        remarks += problem.remarks_on_data([part.problem for part in alive])
        for line in dict.fromkeys(remarks):
            report(f"note: {line}")
        report(str(max(plans, key=lambda plan: plan.total)))

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


def _fit(plans: Sequence[Plan], made: Sequence[cohorts.Cohort]) -> bool:
    """Returns whether plans, perhaps from a file, can be those of cohorts."""
    return len(plans) == len(made) and all(
        memory.fits(plan, cohorts.needs(cohort), num_devices=jax.device_count())
        for plan, cohort in zip(plans, made, strict=True)
    )


def _seeds_that_share_neighbors(settings: Settings) -> list[tuple[int, ...]]:
    """Cuts the seeds of a point into those that share their neighbors."""
    seeds = settings.run_seeds()
    if draws_neighbors_per_seed(settings):
        return [(seed,) for seed in seeds]
    return [seeds]
