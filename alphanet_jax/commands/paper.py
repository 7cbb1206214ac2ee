"""Runs the paper's experiments, and reports them beside the paper's numbers."""

import math
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from absl import flags

from alphanet_jax import bundled
from alphanet_jax.commands import reading, running
from alphanet_jax.commands.running import say
from alphanet_jax.config import presets
from alphanet_jax.config.sweep import Point
from alphanet_jax.errors import UserError, did_you_mean
from alphanet_jax.paper import TABLE_FORMATS, grid

if TYPE_CHECKING:
    from alphanet_jax.data.dataset import Dataset
    from alphanet_jax.data.registry import DatasetEntry
    from alphanet_jax.experiment.training import Trained

__all__ = ["DESCRIPTION", "define_flags", "prepare_arguments", "run"]

DESCRIPTION = """\
Runs the experiments of the paper on every dataset of the registry whose files are
there, and writes all tables and figures, each number beside the paper's where the paper
has it, and a page that shows everything: WORKDIR/index.html. Datasets that are not the
paper's get the same experiments.

  python main.py paper
  python main.py paper --datasets imagenetlt_resnext50_crt --data_root=/data
  python main.py paper --seeds=2 --rhos 0.5 1 --parts main --workdir=results/short

What is done already is not run again; a run that was stopped goes on where it was. With
--notrain the reports are made of the results that are there."""

_LISTS = ("datasets", "parts", "rhos", "neighbors", "formats", "styles")


def define_flags(values: flags.FlagValues, argv: Sequence[str]) -> None:
    """Defines the command's flags."""
    flags.DEFINE_string(
        "workdir",
        "results/paper",
        "directory for results, tables, figures and the page",
        flag_values=values,
    )
    flags.DEFINE_string(
        "registry",
        None,
        "TOML file that lists datasets [configs/datasets.toml, here or else the one "
        "that comes with the program]",
        flag_values=values,
    )
    flags.DEFINE_string(
        "data_root",
        None,
        "directory that the registry's paths are relative to [this one, or that of "
        "the program where its registry is used]",
        flag_values=values,
    )
    reading.define_list(
        values, "datasets", None, "names in the registry [all whose files are there]"
    )
    reading.define_list(
        values,
        "parts",
        None,
        f"which experiments to run: {', '.join(grid.PARTS)} [all; for the paper's "
        "datasets those that the paper has]",
    )
    reading.define_list(
        values, "rhos", None, "values of rho for every part [those of the paper]"
    )
    reading.define_list(
        values, "neighbors", None, "numbers of neighbors for the part nnsweep [1 to 10]"
    )
    flags.DEFINE_integer(
        "seeds", 10, "runs of every setting", lower_bound=1, flag_values=values
    )
    flags.DEFINE_enum(
        "selection",
        "reference",
        ("reference", "best", "last"),
        "which epoch to test: the paper's numbers are those of epoch min_epochs, "
        "'reference'",
        flag_values=values,
    )
    flags.DEFINE_bool(
        "train",
        True,
        "train what is not done; otherwise report the results that are there",
        flag_values=values,
    )
    reading.define_list(
        values,
        "formats",
        list(TABLE_FORMATS),
        f"files of tables: {', '.join(TABLE_FORMATS)}",
    )
    reading.define_list(
        values,
        "styles",
        None,
        "looks of figures beside web_light and web_dark, which the page shows: paper, "
        "arxiv, book, png [none]",
    )
    flags.DEFINE_bool("figures", True, "draw figures", flag_values=values)
    flags.DEFINE_integer(
        "n_boot",
        10000,
        "bootstrap samples for the intervals of figures",
        lower_bound=1,
        flag_values=values,
    )
    flags.DEFINE_string(
        "wordnet",
        None,
        "directory of the WordNet 3.0 database, for semantic neighbors [where nltk "
        "keeps it]",
        flag_values=values,
    )
    running.define_machine_flags(values)


def prepare_arguments(arguments: Sequence[str]) -> list[str]:
    """Joins words to the flags that take several."""
    return reading.join_words(arguments, _LISTS)


class _Chosen(NamedTuple):
    """The values of flags, checked."""

    workdir: Path
    registry: Path
    data_root: Path
    datasets: tuple[str, ...]  # empty for all
    parts: tuple[str, ...]
    rhos: tuple[float, ...]
    neighbors: tuple[int, ...]
    styles: tuple[str, ...]  # those whose programs are installed


def _check(values: flags.FlagValues) -> _Chosen:
    """Checks flags."""
    workdir = Path(values.workdir)
    if workdir.exists() and not workdir.is_dir():
        raise UserError(f"--workdir: {workdir} is a file")
    for part in values.parts or ():
        if part not in grid.PARTS:
            raise UserError(f"--parts must be of {', '.join(grid.PARTS)}, got {part!r}")
    for format in values.formats:
        if format not in TABLE_FORMATS:
            raise UserError(
                f"--formats must be of {', '.join(TABLE_FORMATS)}, got {format!r}"
            )
    styles = values.styles or ()
    _check_styles(styles)
    root = bundled.root_of(bundled.REGISTRY)
    return _Chosen(
        workdir=workdir,
        registry=Path(values.registry or bundled.find(bundled.REGISTRY)),
        data_root=Path(values.data_root or ("." if values.registry else root)),
        datasets=tuple(dict.fromkeys(values.datasets or ())),
        parts=tuple(values.parts or ()),
        rhos=tuple(_number("rhos", text, float, 0.0) for text in values.rhos or ()),
        neighbors=tuple(
            int(_number("neighbors", text, int, 1)) for text in values.neighbors or ()
        ),
        styles=tuple(dict.fromkeys(styles)),
    )


def _check_styles(names: Sequence[str]) -> None:
    from alphanet_jax.figures import style

    for name in names:
        if name not in style.STYLES:
            raise UserError(
                f"--styles must be of {', '.join(style.STYLES)}, got {name!r}"
            )


def _missing_tools(values: flags.FlagValues, names: Sequence[str]) -> dict[str, str]:
    """Returns styles whose programs are not installed, and what is missing.

    That figures need matplotlib is said now, too: what takes hours would end without.
    """
    from alphanet_jax.figures import saving, style

    if not values.figures:
        return {}
    try:
        saving.check_matplotlib()
    except UserError as error:
        say(f"note: no figures: {error}")
        return {}
    missing = {}
    for name in names:
        try:
            style.check_tools(style.STYLES[name])
        except UserError as error:
            missing[name] = f"--styles: no figures in style {name}: {error}"
            say(f"failed: {missing[name]}; all else is done")
    return missing


def _number(flag: str, text: str, kind: type, low: float) -> float:
    try:
        value = float(kind(text))
    except ValueError:
        value = math.nan
    if not low <= value < math.inf:
        what = "whole numbers from 1 on" if kind is int else "numbers from 0 on"
        raise UserError(f"--{flag} must be {what}, got {text!r}")
    return value


def run(values: flags.FlagValues) -> None:
    """Runs the command.

    Raises:
      UserError: If a flag is not right, or something failed; everything else is done
        and reported first.
    """
    chosen = _check(values)
    missing = _missing_tools(values, chosen.styles)
    failed = list(missing.values())
    left = tuple(name for name in chosen.styles if name not in missing)
    chosen = chosen._replace(styles=left)
    running.keep_programs(values)
    running.hold(values, chosen.workdir)
    found = _find_datasets(chosen, must_be_there=values.train)
    asked: list[grid.GridPoint] = []
    datasets: dict[str, Dataset] = {}
    from alphanet_jax.experiment import training

    for entry in found.entries:
        points = _points(values, chosen, entry)
        try:
            data = training.load_data(points[0].settings, report=say)
            datasets[entry.name] = data
            if not chosen.neighbors:
                points = _with_enough_classes(points, data)
            if values.train:
                failed += _train(values, data, points, chosen.workdir)
        except UserError as error:
            say(f"failed: {entry.name}: {error}")
            failed.append(f"{entry.name}: {error}")
        asked += points
    try:
        _report(values, chosen, asked, datasets, found, failed)
    except OSError as error:
        failed.append(f"{error.filename}: {error.strerror}")
    if failed:
        raise UserError("; ".join(failed))


def _points(
    values: flags.FlagValues,
    chosen: _Chosen,
    entry: "DatasetEntry",
    *,
    everything: bool = False,
) -> list[grid.GridPoint]:
    """Makes the points that flags choose; or all that the paper has."""
    return grid.grid_points(
        entry,
        parts=() if everything else chosen.parts,
        rhos=() if everything else chosen.rhos,
        neighbors=() if everything else chosen.neighbors,
        seeds=values.seeds,
        selection=values.selection,
        registry=str(chosen.registry),
        data_root=str(chosen.data_root),
    )


def _with_enough_classes(
    points: Sequence[grid.GridPoint], data: "Dataset"
) -> list[grid.GridPoint]:
    """Leaves out numbers of neighbors that a small dataset does not have."""
    most = max(len(data.base_classes) - 1, grid.NUM_NEIGHBORS)
    if any(point.k > most for point in points):
        say(
            f"{data.name}: no more than {most} neighbors, as there are "
            f"{len(data.base_classes)} base classes"
        )
    return [point for point in points if point.k <= most]


class _Found(NamedTuple):
    """The datasets of the registry, and those of the paper."""

    entries: "list[DatasetEntry]"  # those to run
    others: "list[DatasetEntry]"  # those that may have results from before
    reasons: dict[str, str]  # why others are not run, by name


def _find_datasets(chosen: _Chosen, *, must_be_there: bool) -> _Found:
    """Finds the datasets that are there, and those that flags name must be."""
    from alphanet_jax.data import registry as registry_lib

    tables = registry_lib.load_registry(chosen.registry)
    for name in chosen.datasets:
        if name not in tables:
            raise UserError(
                f"--datasets: no {name!r} in {chosen.registry}; "
                f"{did_you_mean(name, tables)}"
            )
    reasons = {
        name: f"{chosen.registry} does not list it"
        for name in presets.CHANGES
        if name not in tables
    }
    entries, others = [], []
    for name in tables:
        asked = name in chosen.datasets
        try:
            entry = registry_lib.get_entry(chosen.registry, name)
        except UserError as error:
            if asked or not chosen.datasets:
                raise
            reasons[name] = str(error)
            continue
        reason = _what_is_missing(entry, chosen.data_root)
        if chosen.datasets and not asked:
            reasons[name] = "left out: --datasets does not name it"
            others.append(entry)
        elif reason is None:
            entries.append(entry)
        elif asked and must_be_there:
            raise UserError(f"--datasets: {name}: {reason}")
        else:
            reasons[name] = reason
            others.append(entry)
            say(f"skipping {name}: {reason}")
    places: dict[str, str] = {}
    for entry in (*entries, *others):
        other = places.setdefault(grid.path_name(entry.name), entry.name)
        if other != entry.name:
            raise UserError(
                f"{chosen.registry}: {other!r} and {entry.name!r} would have the same "
                "directory; rename one"
            )
    return _Found(entries, others, reasons)


def _what_is_missing(entry: "DatasetEntry", root: Path) -> str | None:
    """Names a file or directory of a dataset that is not there; None if all are."""
    from alphanet_jax.data.paths import find_path

    classifier = entry.classifier_file
    for several in (
        [entry.split_files_dir or entry.feature_files_dir],
        [entry.feature_files_dir],
        [classifier, str(Path(classifier).with_suffix(".npz"))],
    ):
        if not any(find_path(root, name).exists() for name in several):
            return f"no such file or directory: {root / several[0]}"
    return None


def _train(
    values: flags.FlagValues,
    data: "Dataset",
    points: Sequence[grid.GridPoint],
    workdir: Path,
) -> list[str]:
    """Trains the points of a dataset that are not done; returns what failed."""
    from alphanet_jax.experiment import training

    settings = points[0].settings
    asked = [Point(p.settings, p.directory, p.directory) for p in points]
    done = training.find_done(
        asked, data, workdir=workdir, report=say, name_done=False, overwrite=True
    )
    say(f"{data.name}: {len(done)} of {len(asked)} points are done already")
    if len(done) == len(asked):
        return []
    trained = training.train(
        asked,
        data,
        workdir=workdir,
        done=done,
        memory_limit=running.memory_limit(values),
        neighbors=training.neighbor_cache(settings, data),
        report=say,
        report_every=10.0,
        point_ended=_progress(points, done),
    )
    failed = [f"{t.point.title}: {t.error}" for t in trained if t.error is not None]
    return failed + [line for one in trained for line in one.unsaved]


def _progress(
    points: Sequence[grid.GridPoint], done: set[int]
) -> "Callable[[Trained], None]":
    """Makes a callback that reports each point, and when the rest may be done."""
    left = {
        point.directory: point.work
        for number, point in enumerate(points)
        if number not in done
    }
    total, clock, work_in_all = len(left), time.monotonic(), sum(left.values())

    def ended(trained: "Trained") -> None:
        left.pop(trained.point.directory, None)
        took = time.monotonic() - clock
        work_left = sum(left.values())
        still = took * work_left / max(work_in_all - work_left, 1e-9)
        say(
            f"{total - len(left)} of {total} points done in {took:.0f} s, about "
            f"{still:.0f} s left: {trained.point.directory}"
        )

    return ended


def _report(
    values: flags.FlagValues,
    chosen: _Chosen,
    asked: Sequence[grid.GridPoint],
    datasets: "Mapping[str, Dataset]",
    found: _Found,
    failed: list[str],
) -> None:
    """Writes tables, figures and the page of all results that are there."""
    from alphanet_jax.comparison.controls import find_controls
    from alphanet_jax.paper import published
    from alphanet_jax.paper.measured import Results
    from alphanet_jax.paper.report import write_report
    from alphanet_jax.results.datasets import DataFinder

    entries = [*found.entries, *found.others]
    # What was run before counts, too, whatever flags choose now.
    points = {
        point.directory: point
        for entry in entries
        for point in _points(values, chosen, entry, everything=True)
    } | {point.directory: point for point in asked}
    results = Results(
        list(points.values()),
        chosen.workdir,
        DataFinder(chosen.registry, chosen.data_root, report=say),
        file_hashes={name: data.file_hashes for name, data in datasets.items()},
        wordnet=None if values.wordnet is None else Path(values.wordnet),
        controls={
            name: find_controls(data, report=say) for name, data in datasets.items()
        },
        report=say,
    )
    for name in results.datasets():
        if not results.has_synsets(name):
            say(
                f"{name}: nothing is counted by WordNet, as the registry has no "
                "synsets_file for it"
            )
    names = {entry.name: entry.proper_name or entry.name for entry in entries}
    path = write_report(
        results,
        chosen.workdir,
        asked=asked,
        datasets=datasets,
        names=published.names() | names,
        reasons=found.reasons,
        failed=tuple(failed),
        formats=values.formats,
        figures=values.figures,
        styles=chosen.styles,
        n_boot=values.n_boot,
        report=say,
        on_failure=failed.append,
    )
    print(path)
