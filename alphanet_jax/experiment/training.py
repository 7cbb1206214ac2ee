"""The one function that trains: points and a dataset in, results out.

Commands, sweeps, the paper's experiments and notebooks all call `train`. It plans the
memory, goes on where it was stopped, says how far it is, and writes each result as soon
as it is there.
"""

from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import Any

from alphanet_jax import stages
from alphanet_jax.config import sweep
from alphanet_jax.config.fields import Settings
from alphanet_jax.config.sweep import Point
from alphanet_jax.data import loading, paths, registry
from alphanet_jax.data.dataset import Dataset
from alphanet_jax.errors import UserError
from alphanet_jax.experiment import (
    devices,
    keeping,
)
from alphanet_jax.experiment.beginning import find_beginning
from alphanet_jax.experiment.gathering import Trained, path_of
from alphanet_jax.experiment.hooks import Onlooker
from alphanet_jax.experiment.neighbor_cache import NeighborCache
from alphanet_jax.experiment.problem import NeighborStore
from alphanet_jax.experiment.progress import Report
from alphanet_jax.experiment.work import Work
from alphanet_jax.results import file as result_file

__all__ = [
    "Trained",
    "check_saved",
    "find_done",
    "load_data",
    "neighbor_cache",
    "train",
]


def check_saved(trained: Sequence[Trained]) -> None:
    """Raises what could not be saved where it belongs, when all else is done.

    Raises:
      UserError: If there was anything.
    """
    told = dict.fromkeys(line for one in trained for line in one.unsaved)
    if told:
        raise UserError("; ".join(told))


def train(
    points: Settings | Point | Sequence[Settings | Point],
    data: Dataset,
    *,
    workdir: Path | str | None = None,
    ckpt_dir: Path | str | None = None,
    n_ckpt: int = 2,
    load_from_ckpt: bool = True,
    tb_logs: Path | str | None = None,
    tb_subruns: bool = False,
    brief_result: bool = False,
    overwrite: bool = False,
    memory_limit: int | None = None,
    neighbors: NeighborStore | None = None,
    done: Collection[int] | None = None,
    onlooker: Onlooker | None = None,
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
      ckpt_dir: Directory for checkpoints, made after every epoch; None for none. Where
        it has those of the original program, training begins with the network of the
        newest.
      n_ckpt: How many of them to keep, the newest.
      load_from_ckpt: Whether to go on from checkpoints; otherwise they are removed,
        but for those of the original program.
      tb_logs: Directory for TensorBoard logs; None for none.
      tb_subruns: Whether their curves of one chart are runs of their own.
      brief_result: Whether results leave out the networks, class means and the record
        of every epoch.
      overwrite: Whether results of other settings or data, where these are to be
        written, may be replaced; they are when their successors are complete.
      memory_limit: Bytes that may be used; see `memory.available_bytes`.
      neighbors: Where neighbors are kept, and looked for first; None for nowhere.
      done: Numbers of points to leave out; found by `find_done` by default.
      onlooker: Looks at validation and test data while these are scored; not at all
        where every point is left out.
      report: Takes lines of text about progress.
      report_every: Least seconds between lines about epochs, for several points.
      point_ended: Takes what came of each point as soon as it is saved; by default
        `report` gets a line.

    Returns:
      What came of each point, in their order.

    Raises:
      UserError: If a setting is not right or does not fit the data, the memory does
        not suffice, or checkpoints or results are of another experiment; before
        anything is trained.
    """
    listed = _list_points(points)
    devices.check_devices()
    if not isinstance(data, Dataset):
        raise UserError(f"data must be a Dataset, got a {type(data).__name__}")
    if n_ckpt < 1:
        raise UserError(f"--n_ckpt must be at least 1, got {n_ckpt}")
    root = _directory("workdir", workdir)
    kept = keeping.Places(
        _directory("ckpt_dir", ckpt_dir or None),
        n_ckpt,
        load_from_ckpt,
        _directory("tb_logs", tb_logs or None),
        tb_subruns,
        brief_result,
    )
    beginning = find_beginning(kept.ckpt_dir) if load_from_ckpt else None
    if beginning is not None:
        data = beginning.mark(data)
    if done is None:
        done = find_done(listed, data, workdir=root, report=report, overwrite=overwrite)
    found = {
        number: Trained(point, path_of(root, point), was_done=True)
        for number, point in enumerate(listed)
        if number in done
    }
    if len(found) == len(listed):
        return list(found.values())
    work = Work(listed, data, root, done=set(done), neighbors=neighbors)
    found |= work.train(
        kept,
        memory_limit=memory_limit,
        onlooker=onlooker,
        beginning=beginning,
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
    one = isinstance(points, Settings | Point | str) or points is None
    given: list[Any] = [points] if one else list(points)  # type: ignore[arg-type]
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


def find_done(
    points: Sequence[Point],
    data: Dataset,
    *,
    workdir: Path | None,
    report: Report = lambda line: None,
    name_done: bool = True,
    overwrite: bool = False,
) -> set[int]:
    """Finds the points whose results are there, made with the same settings and data.

    Args:
      points: The points.
      data: Their dataset.
      workdir: Where results are; None for nowhere.
      report: Takes a line about results that are there but of something else.
      name_done: Whether those that are done get a line, too.
      overwrite: Whether results of something else may be replaced.

    Returns:
      The numbers of those that are done.

    Raises:
      UserError: If there is a result of something else, which may not be replaced.
    """
    done = set()
    for number, point in enumerate(points):
        path = path_of(workdir, point)
        if path is None:
            continue
        if result_file.is_done(
            path,
            config=point.settings.as_config(),
            file_hashes=data.file_hashes,
            overwrite=overwrite,
            report=report,
        ):
            done.add(number)
            if name_done:
                report(f"done already: {path}")
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
      settings: Settings with `dataset`, `registry`, `data_root` and names of groups;
        by default the registry and the data that come with the package.
      entry: The dataset, where it is not to be looked up in the registry.
      report: Takes lines of text about conversion.

    Raises:
      UserError: If anything is missing or not right, naming the file.
    """
    if not isinstance(settings, Settings):
        raise UserError(
            "settings must be Settings, such as "
            f"Settings(dataset='cifar100lt_effnetlite0_crt'), got {settings!r}"
        )
    devices.check_devices()
    reading = f"reading {entry.name if entry else settings.dataset}"
    with stages.stage(report, reading), devices.one_by_one():
        root = Path(settings.data_root)
        if entry is None:
            entry, root = _find_entry(settings)
        return loading.load_dataset(
            entry,
            root,
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
    entry, root = _find_entry(settings)
    own = [root / entry.nn_files_dir] if entry.nn_files_dir else []
    others = [cache / "neighbors" for cache in paths.cache_roots(root)]
    return NeighborCache(own + others, data)


def _find_entry(settings: Settings) -> tuple[registry.DatasetEntry, Path]:
    return registry.find_entry(settings.registry, settings.dataset, settings.data_root)
