"""Writes a page of what a correction changed, and of a comparison."""

from collections.abc import Sequence
from pathlib import Path

from absl import flags

from alphanet_jax.commands import reading, running
from alphanet_jax.errors import UserError

__all__ = ["DESCRIPTION", "define_flags", "run"]

DESCRIPTION = """\
Writes OUT/index.html, a page that needs nothing but itself: accuracy before and after
with intervals, every class with whom its gains were taken from, what was learned for
each few class, the classes that do worst; and of a comparison the table, the trade-off
and what was chosen. Numbers are beside it as CSV and JSON.

  python main.py report --result=results/quickstart --out=results/report
  python main.py report --compare=results/compare_quickstart/compare.json \\
      --result=results/quickstart --out=results/report"""


def define_flags(values: flags.FlagValues, argv: Sequence[str]) -> None:
    """Defines the command's flags."""
    flags.DEFINE_multi_string(
        "result",
        [],
        "a result, or the directory that it is in; may be repeated",
        flag_values=values,
    )
    flags.DEFINE_string(
        "compare",
        None,
        "a comparison, or the directory that it is in",
        flag_values=values,
    )
    flags.DEFINE_string(
        "out",
        None,
        "directory to write; one that is there must be empty or a report",
        flag_values=values,
    )
    reading.define_data_flags(values)
    reading.define_baseline_flag(values)


def run(values: flags.FlagValues) -> None:
    """Runs the command.

    Raises:
      UserError: If anything is not right; nothing is written.
    """
    if not values.result and values.compare is None:
        raise UserError(
            "nothing to report; name a result, --result=DIR, or a comparison, "
            "--compare=FILE"
        )
    if not values.out:
        raise UserError("--out is missing, for example --out=results/report")

    from alphanet_jax.figures import saving
    from alphanet_jax.report import check_place, write_report
    from alphanet_jax.results import comparison_file, originals, sets

    # Before anything is read.
    saving.check_matplotlib()
    check_place(Path(values.out))
    comparison = None
    if values.compare is not None:
        path = Path(values.compare)
        path = path / comparison_file.FILE_NAME if path.is_dir() else path
        comparison = comparison_file.load(path)
    found = []
    recompute = reading.recomputation(values)
    for text in values.result:
        file = originals.open_result(Path(text), recompute)
        name = file.path.parent.resolve().name if file.path.stem == "result" else ""
        found.append(sets.ResultSet(name or file.path.stem, (file,)))
    reading.check_data_flags(values, found, "results of the original (.pth)")
    page = write_report(
        found,
        comparison,
        Path(values.out),
        finder=reading.data_finder(values),
        report=running.say,
    )
    print(page)
