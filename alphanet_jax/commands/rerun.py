"""Makes a result again, and reports what differs."""

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

DESCRIPTION = """\
Trains again what a result says, with its settings, seeds and data, and reports what
differs: the same software on the same kind of processor gives the same bytes. The
status is 1 where predictions differ. Nothing is written, but with --out the new result.

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
    if file.is_original:
        raise UserError(
            f"{path} is a result of the original, which does not record its seeds: it "
            "cannot be made again"
        )
    before = results.load_result(path)
    running.keep_programs(values)

    from alphanet_jax.results import again

    after = _make(values, file, brief="step_loss" not in before)
    if out is not None:
        results.save_result(out, after)
        reading.say(f"saved {out}")
    found = again.compare_results(before, after)
    print(_describe(path, found))
    changed, total = found.predictions
    if changed:
        raise UserError(f"{path}: {changed} of {total} predictions are other ones now")


def _make(
    values: flags.FlagValues, file: "ResultFile", *, brief: bool
) -> "Mapping[str, np.ndarray]":
    """Makes a result again, in memory."""
    from alphanet_jax.comparison import choosing, fitting
    from alphanet_jax.experiment import training
    from alphanet_jax.results import recorded
    from alphanet_jax.results.sets import ALPHANET

    finder = reading.data_finder(values)
    data, settings = finder.dataset(file), recorded.settings_of(file.config)
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
