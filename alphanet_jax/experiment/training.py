"""The one function that trains: points and a dataset in, results out.

Commands, sweeps, the paper's experiments and notebooks all call `train`. It plans the
memory, goes on where it was stopped, says how far it is, and writes each result as soon
as it is there.
"""

import contextlib
import dataclasses
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from alphanet_jax.config import sweep
from alphanet_jax.config.fields import Settings
from alphanet_jax.config.sweep import Point
from alphanet_jax.data import class_files, dataset, paths, registry
from alphanet_jax.data.dataset import Dataset
from alphanet_jax.errors import UserError
from alphanet_jax.experiment import (
    cohorts,
    devices,
    loop,
    outcome,
    problem,
    progress,
)
from alphanet_jax.experiment.cohorts import Part
from alphanet_jax.experiment.hooks import Checkpoints
from alphanet_jax.experiment.memory import Plan
from alphanet_jax.experiment.neighbor_cache import NeighborCache
from alphanet_jax.experiment.outcome import Outcome
from alphanet_jax.experiment.problem import NeighborStore, Problem
from alphanet_jax.experiment.progress import Report
from alphanet_jax.experiment.tb_logs import TensorBoardLogs
from alphanet_jax.results import file as result_file

__all__ = ["Trained", "find_done", "load_data", "neighbor_cache", "train"]


@dataclasses.dataclass(frozen=True)
class Trained:
    """What came of a point.

    Attributes:
      point: The point.
      path: Its result file; None where nothing was to be written.
      error: Why it could not be trained, if it could not.
      was_done: Whether the result was there already.
      kept: Arrays of the result, where there is no file to read them from.
    """

    point: Point
    path: Path | None = None
    error: UserError | None = None
    was_done: bool = False
    kept: Mapping[str, np.ndarray] | None = None

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


@dataclasses.dataclass(frozen=True)
class _Kept:
    """Where the state of training is kept on disk, and logs of it."""

    ckpt_dir: Path | None
    n_ckpt: int
    load_from_ckpt: bool
    tb_logs: Path | None


def train(
    points: Settings | Point | Sequence[Settings | Point],
    data: Dataset,
    *,
    workdir: Path | str | None = None,
    ckpt_dir: Path | str | None = None,
    n_ckpt: int = 2,
    load_from_ckpt: bool = True,
    tb_logs: Path | str | None = None,
    memory_limit: int | None = None,
    neighbors: NeighborStore | None = None,
    done: Collection[int] | None = None,
    report: Report = print,
    report_every: float = 2.0,
    point_ended: Callable[[Trained], None] | None = None,
) -> list[Trained]:
    """Trains AlphaNet at every point, all seeds at once, and tests it.

    Runs whose shapes are equal train in one compiled program, as many at a time as
    memory and the machine like. A point that cannot be trained (a loss that is not
    finite) does not stop the others. The same call after an interruption goes on where
    it was: points whose results are there are left out and, with checkpoints, the
    others go on after their last whole epoch.

    Args:
      points: Settings, each with its seeds; a `Point` also has a name and a directory
        of its own below `workdir`, as those of a sweep do.
      data: Their dataset.
      workdir: Where results are written; None keeps them in memory.
      ckpt_dir: Directory for checkpoints, made after every epoch; None for none.
      n_ckpt: How many of them to keep, the newest.
      load_from_ckpt: Whether to go on from checkpoints; otherwise they are removed.
      tb_logs: Directory for TensorBoard logs; None for none.
      memory_limit: Bytes that may be used; see `memory.available_bytes`.
      neighbors: Where neighbors are kept, and looked for first; None for nowhere.
      done: Numbers of points to leave out; found by `find_done` by default.
      report: Takes lines of text about progress.
      report_every: Least seconds between lines about epochs, for several points.
      point_ended: Takes what came of each point as soon as it is saved; by default
        `report` gets a line.

    Returns:
      What came of each point, in their order.

    Raises:
      UserError: If a setting is not right or does not fit the data, the memory does
        not suffice, or checkpoints are of another experiment; before anything is
        trained.
    """
    listed = _list_points(points)
    devices.check_devices()
    if not isinstance(data, Dataset):
        raise UserError(f"data must be a Dataset, got a {type(data).__name__}")
    if n_ckpt < 1:
        raise UserError(f"--n_ckpt must be at least 1, got {n_ckpt}")
    root = _directory("workdir", workdir)
    kept = _Kept(
        _directory("ckpt_dir", ckpt_dir or None),
        n_ckpt,
        load_from_ckpt,
        _directory("tb_logs", tb_logs or None),
    )
    if done is None:
        done = find_done(listed, data, workdir=root, report=report)
    found = {
        number: Trained(point, _path(root, point), was_done=True)
        for number, point in enumerate(listed)
        if number in done
    }
    if len(found) == len(listed):
        return list(found.values())
    if root is not None and data.splits_from and devices.is_first_process():
        class_files.write_splits(root / "splits", data.splits)
    work = _Work(listed, data, root, done=set(done), neighbors=neighbors)
    found |= work.train(
        kept,
        memory_limit=memory_limit,
        report=report,
        report_every=report_every,
        point_ended=point_ended,
    )
    return [found[number] for number in range(len(listed))]


def _list_points(
    points: Settings | Point | Sequence[Settings | Point],
) -> list[Point]:
    """Names the points that are given as settings.

    Raises:
      UserError: If one is something else, or points have the same name or directory, or
        other datasets.
    """
    given = [points] if isinstance(points, Settings | Point) else list(points)
    for each in given:
        if not isinstance(each.settings if isinstance(each, Point) else each, Settings):
            raise UserError(f"points must be Settings or Points of them, got {each!r}")
    named = iter(sweep.name_points([p for p in given if isinstance(p, Settings)]))
    listed = [next(named) if isinstance(p, Settings) else p for p in given]
    for what in ("directory", "title"):
        names = [getattr(point, what) for point in listed]
        for name in names:
            if names.count(name) > 1:
                raise UserError(
                    f"two points have the same {what} {name!r}; give each its own"
                )
    datasets = dict.fromkeys(point.settings.dataset for point in listed)
    if len(datasets) > 1:
        raise UserError(
            f"points must be of one dataset, got {', '.join(map(repr, datasets))}"
        )
    return listed


def _directory(name: str, path: Path | str | None) -> Path | None:
    """Checks that a directory is there or can be made.

    Raises:
      UserError: If it, or what it would be in, is a file.
    """
    if path is None:
        return None
    for part in (Path(path), *Path(path).parents):
        if part.exists() and not part.is_dir():
            raise UserError(f"--{name}: {part} is a file")
    return Path(path)


def _path(root: Path | None, point: Point) -> Path | None:
    return None if root is None else root / point.directory / point.file_name


def find_done(
    points: Sequence[Point],
    data: Dataset,
    *,
    workdir: Path | None,
    report: Report = lambda line: None,
    name_done: bool = True,
) -> set[int]:
    """Finds the points whose results are there, made with the same settings and data.

    Args:
      points: The points.
      data: Their dataset.
      workdir: Where results are; None for nowhere.
      report: Takes a line about results that are there but of something else.
      name_done: Whether those that are done get a line, too.

    Returns:
      The numbers of those that are done.
    """
    done = set()
    for number, point in enumerate(points):
        path = _path(workdir, point)
        if path is None:
            continue
        differences = result_file.differences(
            path, config=point.settings.as_config(), file_hashes=data.file_hashes
        )
        if differences == []:
            done.add(number)
            if name_done:
                report(f"done already: {path}")
        elif differences:
            report(
                f"{path} is of another run and will be replaced: "
                f"{'; '.join(differences)}"
            )
    return done


def load_data(
    settings: Settings,
    *,
    entry: registry.DatasetEntry | None = None,
    report: Report = lambda line: None,
) -> Dataset:
    """Loads the dataset of settings, converting it first where that is not done.

    Of several processes, the first one does so first.

    Args:
      settings: Settings with `dataset`, `registry`, `data_root` and names of groups.
      entry: The dataset, where it is not to be looked up in the registry.
      report: Takes lines of text about conversion.

    Raises:
      UserError: If anything is missing or not right, naming the file.
    """
    devices.check_devices()
    with devices.one_by_one():
        return dataset.load_dataset(
            entry or registry.get_entry(Path(settings.registry), settings.dataset),
            Path(settings.data_root),
            train_group=settings.train_datagrp,
            val_group=settings.val_datagrp,
            test_group=settings.test_datagrp,
            labels_by=settings.labels_by,
            few_below=settings.few_below,
            many_above=settings.many_above,
            classifier_key=settings.classifier_key,
            classifier_normalize=settings.classifier_normalize,
            report=report,
        )


def neighbor_cache(settings: Settings, data: Dataset) -> NeighborCache:
    """Opens the place where neighbors are kept: the registry's, or else the caches."""
    entry = registry.get_entry(Path(settings.registry), settings.dataset)
    root = Path(settings.data_root)
    own = [root / entry.nn_files_dir] if entry.nn_files_dir else []
    others = [cache / "neighbors" for cache in paths.cache_roots(root)]
    return NeighborCache(own + others, data)


class _Work:
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
        kept: _Kept,
        *,
        memory_limit: int | None,
        report: Report,
        report_every: float,
        point_ended: Callable[[Trained], None] | None,
    ) -> Iterator[tuple[int, Trained]]:
        """Trains all points but those that are done; yields each when it is saved."""
        numbers = [
            n for n in range(len(self._points)) if kept.ckpt_dir or n not in self._done
        ]
        owners, parts = self._make_parts(numbers)
        plans: Sequence[Plan] = cohorts.plan_parts(parts, memory_limit=memory_limit)
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
        with contextlib.ExitStack() as stack:
            checkpoints, plans = self._open_checkpoints(stack, kept, numbers, plans)
            watcher = self._open_logs(stack, kept, numbers)
            for place, came in loop.run_parts(
                parts,
                plans=plans,
                done={place for place, n in enumerate(owners) if n in self._done},
                checkpoints=checkpoints,
                watcher=watcher,
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
                    path = _path(self._root, self._points[number])
                    yield number, Trained(self._points[number], path, error=came)
                    continue
                waiting[number].append((parts[place].problem, came))
                if len(waiting[number]) < owners.count(number):
                    continue
                trained, whole = self._save(number, waiting.pop(number))
                if watcher is not None:
                    watcher.point_ended(trained.point.title, whole)
                if point_ended is not None:
                    point_ended(trained)
                else:
                    took = time.monotonic() - clock
                    ended = total - len(waiting)
                    for line in _ending(trained, whole, took, ended, total):
                        report(line)
                yield number, trained

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

    def _open_checkpoints(
        self,
        stack: contextlib.ExitStack,
        kept: _Kept,
        numbers: Sequence[int],
        plans: Sequence[Plan],
    ) -> tuple[Checkpoints | None, Sequence[Plan]]:
        """Opens checkpoints, if any are to be made, and takes the plans from them."""
        if kept.ckpt_dir is None:
            return None, plans
        # Imported here: it takes a while, and most runs keep no checkpoints.
        from alphanet_jax.experiment import checkpoints

        store, plans = checkpoints.open_store(
            kept.ckpt_dir,
            configs={
                self._points[n].title: self._points[n].settings.as_config()
                for n in numbers
            },
            file_hashes=self._data.file_hashes,
            plans=plans,
            keep=kept.n_ckpt,
            load=kept.load_from_ckpt,
        )
        stack.callback(store.close)
        return store, plans

    def _open_logs(
        self, stack: contextlib.ExitStack, kept: _Kept, numbers: Sequence[int]
    ) -> TensorBoardLogs | None:
        """Opens logs, if any are to be written."""
        if kept.tb_logs is None or not devices.is_first_process():
            return None
        points = [self._points[n] for n in numbers]
        directories = {point.title: point.directory for point in points}
        logs = TensorBoardLogs(kept.tb_logs, directories)
        stack.callback(logs.close)
        return logs

    def _save(
        self, number: int, came: Sequence[tuple[Problem, Outcome]]
    ) -> tuple[Trained, Outcome]:
        """Puts the parts of a point together, and writes its result."""
        point = self._points[number]
        problems, outcomes = zip(*came, strict=True)
        whole = outcome.merge_seeds(outcomes)
        arrays = outcome.result_arrays(
            problems if _draws_neighbors_per_seed(point.settings) else problems[0],
            whole,
            point.settings,
        )
        path = _path(self._root, point)
        if path is None:
            return Trained(point, kept=arrays), whole
        if devices.is_first_process():
            result_file.save_result(path, arrays)
        return Trained(point, path), whole


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
