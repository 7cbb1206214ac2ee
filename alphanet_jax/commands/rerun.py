"""Makes a result again, and reports what differs."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from absl import flags

from alphanet_jax import results
from alphanet_jax.commands import export, reading, running
from alphanet_jax.errors import UserError, count_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np

    from alphanet_jax.results.again import Comparison
    from alphanet_jax.results.sets import ResultFile

__all__ = ["DESCRIPTION", "define_flags", "prepare_arguments", "run"]

_SEEDS = 20  # runs beside one that has no seed
# What does not depend on draws.
_NOT_DRAWN = (
    *("class_counts", "few_classes", "medium_classes", "many_classes", "neighbors"),
    "val_class_counts",
)

DESCRIPTION = """\
Trains again what a result says, with its settings, seeds and data, and reports what
differs: the same software on the same kind of processor gives the same bytes. The
status is 1 where predictions differ. Nothing is written, but with --out the new result.
Of a result of the original, which records no seeds, twenty others are trained: where
its accuracy is among theirs is what can be said.

  python main.py rerun results/quickstart
  python main.py rerun results/mine --data_root=/data --out=again.npz"""


def define_flags(values: flags.FlagValues, argv: Sequence[str]) -> None:
    """Defines the command's flags, whatever the arguments are."""
    del argv
    for name, text in (
        ("result", "the result, or its directory; --result= may be left out"),
        ("out", "file for the new result, which must not be there yet [none]"),
    ):
        flags.DEFINE_string(name, None, text, flag_values=values)
    reading.define_data_flags(values)
    running.define_machine_flags(values)


def prepare_arguments(arguments: Sequence[str]) -> list[str]:
    """Makes a flag of the result, which is the first word.

    Examples:
      >>> prepare_arguments(["results/mine", "--out=again.npz"])
      ['--result=results/mine', '--out=again.npz']
    """
    return reading.name_first_word(arguments, "result")


def run(values: flags.FlagValues) -> None:
    """Runs the command.

    Raises:
      UserError: If the result cannot be made again, or predictions differ.
    """
    if not values.result:
        raise UserError("no result is named: rerun RESULT")
    out = reading.out_path(values)
    if out is not None and out.exists():
        raise UserError(f"--out: {out} is there already")
    path = export.result_path(Path(values.result))
    file = results.load_file(path)
    running.keep_programs(values)
    if file.is_original:
        if file.setting("alphanet.dummy_mode"):
            raise UserError(
                f"{path} is of the unchanged classifier: nothing was trained"
            )
        after = _make(values, file, brief=False, seeds=_SEEDS)
        _save(out, after)
        print(_describe_others(path, file.arrays, after))
        return
    before = results.load_result(path)

    from alphanet_jax.results import again

    after = _make(values, file, brief="step_loss" not in before)
    _save(out, after)
    found = again.compare_results(before, after)
    print(_describe(path, found))
    changed, total = found.predictions
    if changed:
        raise UserError(f"{path}: {changed} of {total} predictions are other ones now")


def _save(out: Path | None, arrays: "Mapping[str, np.ndarray]") -> None:
    if out is not None:
        results.save_result(out, arrays)
        reading.say(f"saved {out}")


def _make(
    values: flags.FlagValues,
    file: "ResultFile",
    *,
    brief: bool,
    seeds: int | None = None,
) -> "Mapping[str, np.ndarray]":
    """Makes a result again, in memory; with other seeds, where it has none."""
    from alphanet_jax.comparison import choosing, fitting
    from alphanet_jax.experiment import training
    from alphanet_jax.results import recorded
    from alphanet_jax.results.sets import ALPHANET

    finder = reading.data_finder(values)
    data, settings = finder.dataset(file), recorded.settings_of(file.config)
    if seeds is not None:
        settings = dataclasses.replace(settings, seeds=seeds)
    method = str(file.config.get("method", ALPHANET))
    if method == ALPHANET:
        (trained,) = training.train(
            settings,
            data,
            brief_result=brief,
            memory_limit=running.memory_limit(values),
            report=reading.say,
        )
        if trained.error is not None:
            raise trained.error
        return trained.arrays()
    options: Mapping[str, Any] = file.config.get("method_options", {})
    asked = fitting.Asked(
        fitting.method_name(method),
        tuple(choosing.parse_target(str(t)) for t in options.get("targets", ())),
        bool(options.get("refit_on_val", False)),
        int(options.get("seed", 0)),
        options.get("most_per_class"),
    )
    return fitting.fit_method(data, asked, settings=settings, report=reading.say)


def _describe_others(
    path: Path, before: "Mapping[str, np.ndarray]", after: "Mapping[str, np.ndarray]"
) -> str:
    """Writes what runs of the same settings, with draws of their own, come to."""
    from alphanet_jax.results import again

    lines = [
        f"{path}: a result of the original, which records no seeds; beside it, "
        f"{count_of(_SEEDS, 'run')} of its settings with other draws"
    ]
    differ = again.differences(before, after, _NOT_DRAWN)
    lines += [f"  {name}  {text}" for name, text in differ.items()]
    if not differ:
        lines.append("classes and their neighbors are the same")
    for part, (one, others) in again.spread(before, after).items():
        lines.append(
            f"  {part:<8} {one:5.1f}; now {others.mean():.1f}, from {others.min():.1f} "
            f"to {others.max():.1f}, and {(others < one).sum()} of {len(others)} below"
        )
    return "\n".join(lines)


def _describe(path: Path, found: "Comparison") -> str:
    """Writes what is equal and what is not, a line for each array that differs."""
    lines = [f"{path}: {found.verdict}"]
    lines.append(f"{count_of(len(found.equal), 'array')} equal to the last bit")
    if found.different:
        width = max(map(len, found.different))
        lines += [f"  {name:<{width}}  {t}" for name, t in found.different.items()]
        changes = (f"{part} {change:+.2f}" for part, change in found.accuracy.items())
        lines.append(
            f"largest change of a run's accuracy, in points: {', '.join(changes)}"
        )
    if found.missing:
        lines.append(f"in one of the two alone: {', '.join(found.missing)}")
    lines += [f"made with {each}" for each in found.versions]
    return "\n".join(lines)
