"""Compares corrections of a dataset's classifier, and writes `compare.json`."""

import contextlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from absl import flags

from alphanet_jax.commands import own_files, reading, running
from alphanet_jax.commands.own_files import MOST_HELP, TARGET_HELP
from alphanet_jax.commands.running import fields
from alphanet_jax.errors import UserError
from alphanet_jax.results.comparison_file import FILE_NAME

if TYPE_CHECKING:
    from alphanet_jax.experiment.progress import Report

__all__ = ["DESCRIPTION", "define_flags", "fields", "prepare_arguments", "run"]

DESCRIPTION = """\
Compares AlphaNet and the other corrections of the same classifier: each over its knob,
which is chosen on validation data (where there are none, by cross-validation on
training samples), all on the same test data. Prints a table, with intervals of the
differences from the unchanged classifier, and writes WORKDIR/compare.json with every
curve. AlphaNet's rows are means over its seeds; its results are kept below WORKDIR. In
the end it says which correction to take: the best trade-off, or what keeps --target.

  python main.py compare --config=quickstart
  python main.py compare --config=quickstart --methods=logit_adjustment,alphanet_plus
  python main.py compare --config=imagenetlt --methods=all --config.data_root=/data
  python main.py compare --config=quickstart --config.training.val_datagrp=
  python main.py compare --config=quickstart --target="overall >= -1"
  python main.py compare --features=features --classifier=model.pth \\
      --workdir=results/compared
  python main.py plot tradeoff --compare=results/compare_quickstart/compare.json"""


def prepare_arguments(arguments: Sequence[str]) -> list[str]:
    """Checks the config's names, and joins the words of --methods."""
    joined = reading.join_words(arguments, {"methods"})
    if any(each.lstrip("-").partition("=")[0] == "features" for each in joined):
        return own_files.prepare_arguments(joined, "compare")
    return running.prepare_arguments(joined)


def define_flags(values: flags.FlagValues, argv: Sequence[str]) -> None:
    """Defines the command's flags; those of config fields depend on `argv`."""
    own_files.define_flags(values)
    running.define_flags(values, argv)
    reading.define_list(
        values,
        "methods",
        None,
        "names of methods, also with commas; 'core' and 'all' stand for many [core]",
    )
    flags.DEFINE_string(
        "workdir",
        None,
        "directory for the result [results/compare_ and the config file's name]",
        flag_values=values,
    )
    flags.DEFINE_string(
        "reference",
        "unchanged",
        "the method that differences are taken from",
        flag_values=values,
    )
    flags.DEFINE_multi_string("target", [], TARGET_HELP, flag_values=values)
    flags.DEFINE_bool(
        "oracle",
        False,
        "also show what a knob chosen on test data would give, which nobody can do",
        flag_values=values,
    )
    flags.DEFINE_integer(
        "num_folds",
        5,
        "folds of the cross-validation, where there is no validation data",
        lower_bound=2,
        flag_values=values,
    )
    flags.DEFINE_integer(
        "most_per_class", None, MOST_HELP, lower_bound=1, flag_values=values
    )


def run(values: flags.FlagValues) -> None:
    """Runs the command.

    Raises:
      UserError: If anything is not right; nothing is written.
    """
    has_files = values.features is not None
    if has_files:
        own_files.check_flags(values, "compare")
    else:
        own_files.check_none(values)
    points = running.points(values)
    if any(set(point.swept) - {"rho"} for point in points):
        raise UserError(
            "compare takes several values of config.rho alone, got "
            f"{points[0].title}, {points[1].title} ..."
        )
    workdir = running.workdir(values, prefix="compare_")
    running.start_jax(values, None if has_files else points[0].settings)
    running.hold(values, workdir)

    from alphanet_jax import comparison
    from alphanet_jax.experiment import devices, training
    from alphanet_jax.paper import grid

    listed = [name for text in values.methods or () for name in text.split(",")]
    methods = comparison.method_names([name.strip() for name in listed])
    targets = [comparison.parse_target(text) for text in values.target]
    speaks = devices.is_first_process()
    report = running.say if speaks else lambda line: None
    entry = None
    if has_files:
        files = own_files.find(values, workdir, points[0].settings, report)
        points, entry = own_files.place(points, files), files.entry
    settings = points[0].settings
    rhos = [point.settings.rho for point in points]
    if len(points) == 1:
        rhos = list(grid.rhos_of(settings.dataset, "main"))
    data = training.load_data(settings, entry=entry, report=report)
    kept = own_files.registered(files) if has_files and speaks else None
    unsaved: list[str] = []
    with kept or contextlib.nullcontext():
        found = comparison.compare(
            data,
            methods=methods,
            settings=settings,
            rhos=rhos,
            reference=values.reference,
            targets=targets,
            oracle=values.oracle,
            num_folds=values.num_folds,
            most_per_class=values.most_per_class,
            workdir=workdir,
            memory_limit=running.memory_limit(values),
            neighbors=training.neighbor_cache(settings, data),
            report=report,
            on_unsaved=unsaved.append,
        )
    if speaks:
        _conclude(workdir / FILE_NAME, found, unsaved, report)


def _conclude(
    path: Path, found: Mapping[str, Any], unsaved: Sequence[str], report: "Report"
) -> None:
    """Saves a comparison and prints its tables.

    Raises:
      UserError: If it, or what it is of, could not be saved where it belongs.
    """
    from alphanet_jax.experiment import keeping
    from alphanet_jax.results import comparison_file

    def write(place: Path) -> None:
        comparison_file.save(place, found)

    place, problem = keeping.save_anywhere(path, write, report)
    report("" if place is None else f"saved {place}\n")
    print(comparison_file.table(found))
    told = list(unsaved)
    if problem and keeping.bring_home(path, place, write):
        report(f"saved {path} after all")
    elif problem:
        told.append(problem)
    if told:
        raise UserError("; ".join(dict.fromkeys(told)))
