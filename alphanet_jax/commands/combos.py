"""Shows learned combinations of single classes, and what they changed."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from absl import flags

from alphanet_jax import results
from alphanet_jax.commands import reading
from alphanet_jax.errors import UserError

if TYPE_CHECKING:
    from alphanet_jax.results.sets import ResultSet

__all__ = ["DESCRIPTION", "define_flags", "prepare_arguments", "run"]

DESCRIPTION = """\
Shows, for some 'few' classes, which combination of base classes was learned, and which
mistakes that took away or brought. All runs below --base_res_dir are repetitions of one
experiment: of one dataset, with the same neighbors. Of equal classes, the one with the
smallest number comes first.

  python main.py combos --base_res_dir=results/quickstart --classes rose "sweet pepper"
  python main.py combos --base_res_dir=results/quickstart --select_n=1 --mistake_n=3"""

_ONLY_ORIGINALS = "results of the original (.pth)"
_SELECTING = ("select_by", "select_max", "select_n")


def define_flags(values: flags.FlagValues, argv: Sequence[str]) -> None:
    """Defines the command's flags, whatever the arguments are."""
    del argv
    from alphanet_jax.results.combos import SELECT_BY

    reading.define_result_flags(values, None)
    flags.DEFINE_enum(
        "select_by",
        "acc_delta",
        SELECT_BY,
        "select classes by 'acc', their mean test accuracy, or by 'acc_delta', its "
        "change from the baseline; the default is that of the original's code, where "
        "its README says acc",
        flag_values=values,
    )
    flags.DEFINE_bool(
        "select_max",
        True,
        "select the largest; --noselect_max for the smallest",
        flag_values=values,
    )
    flags.DEFINE_integer(
        "select_n",
        5,
        "how many classes to show, if there are so many",
        lower_bound=1,
        flag_values=values,
    )
    reading.define_list(
        values,
        "classes",
        None,
        "names or numbers of 'few' classes to show, instead of selecting some",
    )
    flags.DEFINE_integer(
        "mistake_n",
        None,
        "how many misclassifications to show of each kind [all]",
        lower_bound=0,
        flag_values=values,
    )
    flags.DEFINE_enum(
        "format",
        "text",
        ["text", "original", "json"],
        "'text'; 'original', to the letter what the original prints: 0.2 for 0.20, and "
        "of equally frequent mistakes the one first that is first among test samples; "
        "or 'json' with the coefficients of every run",
        flag_values=values,
    )
    reading.define_out(values, "report")
    reading.define_data_flags(values)
    reading.define_baseline_flag(values)


def prepare_arguments(arguments: Sequence[str]) -> list[str]:
    """Lets --classes and --seeds have several words after them."""
    return reading.join_words(arguments, {"classes", reading.SEEDS})


def run(values: flags.FlagValues) -> None:
    """Runs the command.

    Raises:
      UserError: If a flag or a result is not right; nothing is written.
    """
    given = [name for name in _SELECTING if values[name].present]
    if values.classes and given:
        raise UserError(f"--classes names the classes: --{given[0]} cannot be given")
    out = reading.out_path(values)
    from alphanet_jax.results import combo_reports, combos

    runs = _one_set(values)
    neighbors = combos.common_neighbors(runs)
    if values.classes:
        labels = combos.find_classes(runs, values.classes)
    else:
        labels = combos.select_classes(
            runs, by=values.select_by, largest=values.select_max, count=values.select_n
        )
    original = values.format == "original"
    found = [
        combos.combination(runs, label, neighbors, by_sample=original)
        for label in labels
    ]
    if values.format != "json":
        report = combo_reports.format_text(
            found, mistake_n=values.mistake_n, original=original
        )
    else:
        content = combo_reports.json_values(runs, found, mistake_n=values.mistake_n)
        report = json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False)
    reading.print_or_save(report, out)


def _one_set(values: flags.FlagValues) -> "ResultSet":
    """Loads all results as one set, which must be of one dataset."""
    sets = reading.load_sets(values)
    reading.check_data_flags(values, sets, _ONLY_ORIGINALS)
    if len(sets) > 1:
        raise UserError(
            f"results of several datasets below {values.base_res_dir}: "
            f"{', '.join(each.dataset for each in sets)}; choose those of one with "
            "--res_files_pattern"
        )
    base = Path(values.base_res_dir)
    settings = results.group_by_setting(
        [file.path for file in sets[0].files], base.parent if base.is_file() else base
    )
    if len(settings) > 1:
        reading.say(
            f"note: results of {len(settings)} settings are taken together: "
            f"{', '.join(settings)}"
        )
    return sets[0]
