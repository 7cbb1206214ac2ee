"""Prints tables of accuracy over seeds, result files and experiments."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from absl import flags

from alphanet_jax import results
from alphanet_jax.commands import reading
from alphanet_jax.errors import UserError

if TYPE_CHECKING:
    from alphanet_jax.results.accuracy_tables import Hits, Metric
    from alphanet_jax.results.rendering import Layout
    from alphanet_jax.results.sets import ResultFile

__all__ = ["DESCRIPTION", "define_flags", "prepare_arguments", "run"]

DESCRIPTION = """\
Prints a table of test accuracy for every dataset: mean and sample standard deviation
over all runs of an experiment (the seeds of all its result files), in percent. An
experiment is a directory, or, where none is named, all results below --base_res_dir
that differ in nothing but seeds. Progress goes to standard error.

  python main.py results --base_res_dir=results/cifar100lt
  python main.py results --base_res_dir=results/cifar100lt --rel_exp_paths rho_0.1 \\
      rho_0.5 --exp_names 0.1 0.5 --exp_prefix="AlphaNet (r=" --exp_suffix=")"
  python main.py results --base_res_dir=results/cifar100lt --show_adjusted_acc \\
      --adjusted_acc_semantic --format=latex --out=table.tex"""

_LISTS = ("rel_exp_paths", "exp_names", reading.SEEDS)
_FOR_PROGRAMS = ("csv", "json")


def prepare_arguments(arguments: Sequence[str]) -> list[str]:
    """Lets several words follow a flag that takes several values."""
    return reading.join_words(arguments, _LISTS)


def define_flags(values: flags.FlagValues, argv: Sequence[str]) -> None:
    """Defines the command's flags."""
    del argv
    reading.define_result_flags(values, "rel_exp_paths")
    _define_text_flags(values)
    _define_accuracy_flags(values)
    reading.define_data_flags(values)
    reading.define_baseline_flag(values)


def _define_text_flags(values: flags.FlagValues) -> None:
    from alphanet_jax.results.rendering import FORMATS

    for name, text in (
        ("exp_prefix", "text before the name of every experiment"),
        ("exp_suffix", "text after the name of every experiment"),
    ):
        flags.DEFINE_string(name, None, text, flag_values=values)
    flags.DEFINE_string(
        "exp_str", "Experiment", "heading of their names", flag_values=values
    )
    flags.DEFINE_enum(
        "format",
        "plain",
        FORMATS,
        "plain (47.6 ± 1.60); the original's: pandoc ($47.6^{1.60}$), web (47.6^1.60^, "
        "its --for-web) and text (47.6^±1.60^, its README's), each with the means with "
        "commas; markdown, latex (for booktabs), csv or json (every digit)",
        flag_values=values,
    )
    flags.DEFINE_bool("for_web", False, "the same as --format=web", flag_values=values)
    reading.define_out(values, "tables")
    flags.DEFINE_bool(
        "print_csv",
        None,
        "show the means with commas too, below the table [only with the original's "
        "formats]; not with markdown, latex, csv and json",
        flag_values=values,
    )
    flags.DEFINE_bool(
        "show_baselines",
        True,
        "show the unchanged classifier first",
        flag_values=values,
    )
    flags.DEFINE_bool(
        "show_hdr",
        True,
        "show title and headings; without, rows can be added to another table",
        flag_values=values,
    )
    for name, text in (
        (
            "fixed_sig_width",
            "width that deviations are filled to with zeros [the widest of the column, "
            "as in 01.81 below 10.02; plain and markdown: none]",
        ),
        (
            "num_col_width",
            "width of columns of numbers [as wide as needed; pandoc and web: as the "
            "original's]; less than is needed is an error in pandoc and web",
        ),
        ("name_col_width", "the same of the column of names [as wide as needed]"),
    ):
        flags.DEFINE_integer(
            name, None, text, lower_bound=1, upper_bound=1000, flag_values=values
        )


def _define_accuracy_flags(values: flags.FlagValues) -> None:
    flags.DEFINE_integer(
        "acc_k",
        1,
        "a prediction is correct when the true class is one of this many best; other "
        "than 1 needs the data of the results",
        lower_bound=1,
        flag_values=values,
    )
    flags.DEFINE_integer(
        "eval_batch_size",
        None,
        "test samples at a time, for --acc_k other than 1 [as many as fit some memory]",
        lower_bound=1,
        flag_values=values,
    )
    flags.DEFINE_bool(
        "show_adjusted_acc",
        False,
        "neighbors of the true class count as correct too: as many as the result was "
        "made with, of all classes, by the same distance; needs the data",
        flag_values=values,
    )
    flags.DEFINE_enum(
        "adjusted_acc_nn_dist",
        None,
        ("euclidean", "cosine"),
        "distance of these neighbors [the result's]",
        flag_values=values,
    )
    flags.DEFINE_bool(
        "adjusted_acc_semantic",
        False,
        "with --show_adjusted_acc: neighbors are those in WordNet instead",
        flag_values=values,
    )
    flags.DEFINE_integer(
        "adjusted_acc_semantic_nns_level",
        None,
        "the most edges of WordNet between neighbors [4]",
        lower_bound=1,
        flag_values=values,
    )
    reading.define_wordnet_flags(values)


def _given(values: flags.FlagValues, *names: str) -> list[str]:
    """Lists which flags were given on the command line."""
    return [name for name in names if values[name].present]


def _refuse(values: flags.FlagValues, reason: str, *names: str) -> None:
    """Refuses flags that have no effect."""
    if given := _given(values, *names):
        raise UserError(f"--{given[0]} has no effect {reason}")


def _format(values: flags.FlagValues) -> str:
    """Returns the format; refuses flags that have no effect with it."""
    from alphanet_jax.results.rendering import WITH_CSV_LINES

    form = str(values["format"].value)
    if values.for_web:
        if _given(values, "format") and form != "web":
            raise UserError(f"--for_web is --format=web, but --format is {form}")
        form = "web"
    with_format = f"with --format={form}"
    if form not in (*WITH_CSV_LINES, "plain") and values.print_csv:
        _refuse(values, with_format, "print_csv")
    if form in _FOR_PROGRAMS:
        _refuse(
            values,
            with_format,
            *("fixed_sig_width", "num_col_width", "name_col_width", "exp_str"),
        )
    if form == "json" and not values.show_hdr:
        _refuse(values, with_format, "show_hdr")
    return form


def _layout(values: flags.FlagValues, form: str) -> "Layout":
    from alphanet_jax.results.rendering import WITH_CSV_LINES, Layout

    asked = values.print_csv
    return Layout(
        sig_width=values.fixed_sig_width,
        num_width=values.num_col_width or 0,
        name_width=values.name_col_width or 0,
        header=values.show_hdr,
        csv_lines=form in WITH_CSV_LINES if asked is None else asked,
        title_alone=form not in ("pandoc", "web"),
    )


def _check_accuracy_flags(values: flags.FlagValues) -> None:
    """Refuses flags that do not go together."""
    top_k = values.acc_k != 1
    if not values.show_adjusted_acc:
        without = "without --show_adjusted_acc"
        _refuse(values, without, "adjusted_acc_semantic", "adjusted_acc_nn_dist")
    elif top_k:
        raise UserError(
            f"--acc_k={values.acc_k} and --show_adjusted_acc do not go together: "
            "neighbors are counted among best predictions only"
        )
    if values.adjusted_acc_semantic:
        _refuse(values, "with --adjusted_acc_semantic", "adjusted_acc_nn_dist")
        given = _given(values, "synsets", "imagenet_data_root")
        if given:
            _refuse(values, f"with --{given[0]}", "registry", "data_root")
    else:
        _refuse(
            values,
            "without --adjusted_acc_semantic",
            *("adjusted_acc_semantic_nns_level", "synsets", "imagenet_data_root"),
            "wordnet",
        )
    if not top_k:
        _refuse(values, "with --acc_k=1", "eval_batch_size")


def _metric(values: flags.FlagValues) -> "Metric":
    """Makes the metric that the flags choose."""
    from alphanet_jax.results import semantic, top_k
    from alphanet_jax.results.accuracy_tables import (
        Hits,
        Metric,
        hits_of_predictions,
        hits_or_fractions,
    )

    finder = reading.data_finder(values)
    k, nn_dist = values.acc_k, values.adjusted_acc_nn_dist

    def best_k(file: "ResultFile") -> "Hits":
        data = finder.dataset(file)
        reading.say(f"ranking the classes of {file.path}")
        size = values.eval_batch_size
        return Hits(
            *top_k.top_k_hits(data, file, k=k, batch_size=size, report=reading.say)
        )

    def visual(file: "ResultFile") -> "Hits":
        flag = "--adjusted_acc_nn_dist"
        metric, count = semantic.visual_neighbors(file, nn_dist=nn_dist, flag=flag)
        mask = semantic.visual_mask(file, finder, nn_dist=nn_dist, flag=flag)
        return hits_of_predictions(file, mask, f"k = {count}, {metric}")

    synsets, wordnet = reading.wordnet_paths(values)
    level = values.adjusted_acc_semantic_nns_level or semantic.LEVEL

    def in_wordnet(file: "ResultFile") -> "Hits":
        mask = semantic.semantic_mask(
            file, finder, level=level, synsets=synsets, wordnet=wordnet
        )
        return hits_of_predictions(file, mask)

    if k != 1:
        return Metric(best_k, f"top-{k} accuracy", f", top-{k}")
    if not values.show_adjusted_acc:
        return Metric(hits_or_fractions)
    if values.adjusted_acc_semantic:
        name = f"semantic neighbors (level {level})"
        return Metric(in_wordnet, f"accuracy with {name}", f", with {name}")
    return Metric(visual, "accuracy with visual neighbors", ", with visual neighbors")


def run(values: flags.FlagValues) -> None:
    """Runs the command.

    Raises:
      UserError: If flags do not go together, or there are no results; nothing is
        written.
    """
    form = _format(values)
    _check_accuracy_flags(values)
    out = reading.out_path(values)

    from alphanet_jax.results import accuracy_tables, rendering

    found = reading.experiments(values, "rel_exp_paths")
    prefix, suffix = values.exp_prefix or "", values.exp_suffix or ""
    named = {f"{prefix}{name}{suffix}": paths for name, paths in found.items()}
    sets = results.load_sets(
        named,
        seeds=reading.chosen_seeds(values),
        report=reading.say,
        recompute=reading.recomputation(values),
    )
    plain = values.acc_k == 1 and not values.show_adjusted_acc
    needs = "--show_adjusted_acc, another --acc_k" if plain else ""
    reading.check_data_flags(values, sets, needs)
    made = accuracy_tables.make_accuracy_tables(
        sets,
        _metric(values),
        show_baselines=values.show_baselines,
        heading=values.exp_str,
    )
    try:
        text = rendering.render(made, form, _layout(values, form))
    except ValueError as error:
        if form not in ("pandoc", "web"):
            raise
        raise UserError(
            f"{str(error).rstrip('.')}; a larger --num_col_width, --name_col_width or "
            "--fixed_sig_width would do"
        ) from None
    reading.print_or_save(text, out)
