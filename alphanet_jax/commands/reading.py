"""What commands that read results share: flags, finding results, saving reports."""

import re
from collections.abc import Collection, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING

from absl import flags

from alphanet_jax import results
from alphanet_jax.commands.running import say
from alphanet_jax.errors import UserError, count_of

if TYPE_CHECKING:
    from alphanet_jax.results.datasets import DataFinder
    from alphanet_jax.results.recomputed import Recomputation
    from alphanet_jax.results.sets import ResultSet

__all__ = [
    "SEEDS",
    "check_data_flags",
    "chosen_seeds",
    "data_finder",
    "define_baseline_flag",
    "define_data_flags",
    "define_list",
    "define_one_flags",
    "define_out",
    "define_result_flags",
    "define_seed_flags",
    "define_wordnet_flags",
    "experiments",
    "join_words",
    "load_found",
    "load_sets",
    "name_first_word",
    "one_experiment",
    "out_path",
    "print_or_save",
    "recomputation",
    "say",
    "wordnet_paths",
]


# Flags of every command that take no value.
_SWITCHES = ("--quiet", "--debug")

SEEDS = "seeds"  # name of a flag that takes several words

# What begins with a minus but is no flag: a number, or standard input.
_NUMBER = re.compile(r"-|-[\d.]+(e[+-]?\d+)?", re.IGNORECASE)


def define_list(
    values: flags.FlagValues, name: str, default: Sequence[str] | None, text: str
) -> None:
    """Defines a flag with several values: words after it, or the flag repeated."""
    flags.DEFINE_multi_string(name, default, text, flag_values=values)
    # absl adds that it can be repeated, but not that words may follow.
    values[name].help = f"{text}; several words, or the flag several times"


def name_first_word(arguments: Sequence[str], flag: str) -> list[str]:
    """Makes a flag of the first word that is neither a flag nor a flag's value.

    Examples:
      >>> name_first_word(["--match", "fc", "model.pth"], "file")
      ['--match', 'fc', '--file=model.pth']
      >>> name_first_word(["--quiet", "model.pth"], "file")
      ['--quiet', '--file=model.pth']
    """
    prepared = list(arguments)
    for index, argument in enumerate(prepared):
        before = prepared[index - 1] if index else ""
        takes_value = before.startswith("--") and "=" not in before
        if not argument.startswith("-") and not (
            takes_value and before not in _SWITCHES
        ):
            prepared[index] = f"--{flag}={argument}"
            break
    return prepared


def join_words(arguments: Sequence[str], names: Collection[str]) -> list[str]:
    """Turns words after a flag of several values into that flag repeated.

    Args:
      arguments: Arguments of the command line.
      names: Flags that take several values.

    Raises:
      UserError: If no word follows one of them.

    Examples:
      >>> join_words(["--exp_names", "a", "b", "--acc_k=5"], {"exp_names"})
      ['--exp_names=a', '--exp_names=b', '--acc_k=5']
      >>> join_words(["--ylim", "-5", "5"], {"ylim"})
      ['--ylim=-5', '--ylim=5']
    """
    joined: list[str] = []
    current, words = "", 0

    def check_words() -> None:
        if current and not words:
            raise UserError(f"{current} needs a value after it")

    for argument in arguments:
        if argument.startswith("-") and not _NUMBER.fullmatch(argument):
            check_words()
            name, equals, _ = argument.lstrip("-").partition("=")
            current, words = "", 0
            if name in names and not equals:
                current = f"--{name}"
            else:
                joined.append(argument)
        elif current:
            joined.append(f"{current}={argument}")
            words += 1
        else:
            joined.append(argument)
    check_words()
    return joined


def define_out(values: flags.FlagValues, what: str) -> None:
    """Defines the file that a report is saved to."""
    text = f"file for the {what} [standard output]"
    flags.DEFINE_string("out", None, text, flag_values=values)


def out_path(values: flags.FlagValues) -> Path | None:
    """Returns the file that --out names; None for standard output.

    Raises:
      UserError: If it is a directory.
    """
    if values.out is None:
        return None
    path = Path(values.out)
    if path.is_dir():
        raise UserError(f"--out: {path} is a directory")
    return path


def print_or_save(text: str, out: Path | None) -> None:
    """Prints a report, or saves it whole or not at all; adds the newline at its end.

    Raises:
      UserError: If it cannot be saved.
    """
    if out is None:
        print(text)
        return
    from alphanet_jax import files

    try:
        with files.replacing(out) as temporary:
            temporary.write_bytes(f"{text}\n".encode())
    except OSError as error:
        raise UserError(f"--out: {out}: {error.strerror}") from None
    say(f"saved {out}")


def define_data_flags(values: flags.FlagValues) -> None:
    """Defines where the data of results is, which some reports need."""
    for name, text in (
        (
            "data_root",
            "directory that the registry's paths are relative to, where the data of "
            "the results is needed [as when they were made]",
        ),
        ("registry", "TOML file with the datasets [as when the results were made]"),
    ):
        flags.DEFINE_string(name, None, text, flag_values=values)


def define_baseline_flag(values: flags.FlagValues) -> None:
    """Defines where the baseline is that results of the original were compared with."""
    flags.DEFINE_string(
        "baseline_file",
        None,
        "for results of the original (.pth): file with that of the unchanged "
        "classifier [the registry's baseline_eval_file, or else computed]",
        flag_values=values,
    )


def check_data_flags(
    values: flags.FlagValues, sets: "Sequence[ResultSet]", needs: str
) -> None:
    """Refuses flags that say where data is, where no data is needed.

    Args:
      values: Parsed flags.
      sets: The results; those of the original need data.
      needs: What else does, for the error; empty where something of that is asked for.

    Raises:
      UserError: If one of the flags has no effect.
    """
    if any(file.is_original for each in sets for file in each.files):
        return
    for name in ("baseline_file", "registry", "data_root"):
        if values[name].present and (needs or name == "baseline_file"):
            who = "results of the original (.pth)"
            if name != "baseline_file" and needs != who:
                who = f"{needs}, or {who},"
            raise UserError(f"--{name} has no effect here: only {who} need it")


def recomputation(values: flags.FlagValues) -> "Recomputation":
    """Makes what computes what results of the original do not record."""
    from alphanet_jax.results.recomputed import Recomputation

    path = values.baseline_file
    if path is not None and not Path(path).is_file():
        raise UserError(f"--baseline_file: no such file: {path}")
    return Recomputation(
        data_finder(values), baseline=None if path is None else Path(path), report=say
    )


def define_wordnet_flags(values: flags.FlagValues) -> None:
    """Defines where WordNet and the synsets of classes are."""
    for name, text in (
        (
            "synsets",
            "file with the WordNet 3.0 id of each class [the registry's synsets_file]",
        ),
        ("imagenet_data_root", "directory whose labels_full.txt is the --synsets"),
        ("wordnet", "directory with WordNet 3.0 [NLTK_DATA, or where it usually is]"),
    ):
        flags.DEFINE_string(name, None, text, flag_values=values)


def wordnet_paths(values: flags.FlagValues) -> "tuple[Path | None, Path | None]":
    """Returns the file of synsets and the directory of WordNet that flags name.

    Raises:
      UserError: If synsets are named twice.
    """
    synsets, imagenet, wordnet = (
        None if value is None else Path(value)
        for value in (values.synsets, values.imagenet_data_root, values.wordnet)
    )
    if imagenet is not None:
        if synsets is not None:
            raise UserError(
                "--imagenet_data_root names a file of synsets, and so does --synsets; "
                "give one of them"
            )
        synsets = imagenet / "labels_full.txt"
    return synsets, wordnet


def define_result_flags(values: flags.FlagValues, directories: str | None) -> None:
    """Defines where results are and their names.

    Args:
      values: Where to define them.
      directories: Name of the flag for directories of experiments; None where all
        results below the base directory are one experiment.
    """
    flags.DEFINE_string(
        "base_res_dir", None, "directory with the results, or one", flag_values=values
    )
    flags.DEFINE_string(
        "res_files_pattern",
        None,
        "glob pattern of result files, ours or the original's, relative to "
        + ("the directory of an experiment" if directories else "--base_res_dir")
        + " [**/result.npz, or where there is none **/*.pth]",
        flag_values=values,
    )
    define_seed_flags(values)
    if directories is not None:
        define_list(
            values,
            directories,
            None,
            "directories of experiments, relative to --base_res_dir; all results below "
            "one are taken together [results that differ in nothing but seeds]",
        )
        define_list(
            values, "exp_names", None, "names of the experiments [their directories]"
        )


def define_seed_flags(values: flags.FlagValues) -> None:
    """Defines which runs of results are taken."""
    text = "seeds of the runs to take, such as 0 3 [all]"
    define_list(values, SEEDS, None, text)
    flags.DEFINE_integer(
        "run_seed", None, "the same as --seeds with one seed", flag_values=values
    )


def chosen_seeds(values: flags.FlagValues) -> tuple[int, ...]:
    """Returns the seeds that flags choose; none for all.

    Raises:
      UserError: If they are no seeds, or chosen twice.
    """
    given = values[SEEDS].value or ()
    if values.run_seed is not None:
        if given:
            raise UserError("--run_seed is --seeds with one seed; give one of them")
        given = (str(values.run_seed),)
    for text in given:
        if not text.isdecimal():
            raise UserError(f"--seeds must be whole numbers from 0 on, got {text!r}")
    return tuple(dict.fromkeys(map(int, given)))


def data_finder(values: flags.FlagValues) -> "DataFinder":
    """Makes a finder of the data of results, with the places that flags name."""
    from alphanet_jax.results.datasets import DataFinder

    registry, root = values.registry, values.data_root
    return DataFinder(
        None if registry is None else Path(registry),
        None if root is None else Path(root),
        report=say,
    )


def experiments(
    values: flags.FlagValues, directories: str | None = None
) -> dict[str, list[Path]]:
    """Finds the result files of every experiment, by its name.

    Args:
      values: Parsed flags.
      directories: As for `define_result_flags`.

    Raises:
      UserError: If there are none, or names do not fit.
    """
    if values.base_res_dir is None:
        raise UserError(
            "--base_res_dir is missing, for example --base_res_dir=results/quickstart"
        )
    base, pattern = Path(values.base_res_dir), values.res_files_pattern
    if directories is None:
        where = base.parent if base.is_file() else base
        return {where.resolve().name: _found([base], pattern)[0]}
    given = values[directories].value
    if given:
        names = [Path(directory).as_posix() for directory in given]
        files = _found([base / directory for directory in given], pattern)
        found = dict(zip(names, files, strict=True))
        if len(found) < len(given):
            raise UserError(f"--{directories} has a directory twice: {' '.join(given)}")
    else:
        where = base.parent if base.is_file() else base
        found = results.group_by_setting(_found([base], pattern)[0], where)
    names = values.exp_names
    if not names:
        return found
    if len(names) != len(found):
        raise UserError(
            f"--exp_names has {count_of(len(names), 'name')} for "
            f"{count_of(len(found), 'experiment')}: {' '.join(found)}"
        )
    if len(set(names)) < len(names):
        raise UserError(f"--exp_names has a name twice: {', '.join(names)}")
    return dict(zip(names, found.values(), strict=True))


def _found(directories: Sequence[Path], pattern: str | None) -> list[list[Path]]:
    """Finds the results below directories, and says which are left aside.

    Raises:
      UserError: If there are none below one of them.
    """
    found = [results.find_results(directory, pattern) for directory in directories]
    closed = sorted({path for each in directories for path in results.unreadable(each)})
    if closed:
        more = f" and {len(closed) - 1} more" if len(closed) > 1 else ""
        say(f"note: {closed[0]}{more} cannot be read: results in there are not taken")
    if pattern is not None:
        return found
    # One directory may be in another.
    aside = {
        path.resolve() for each in directories for path in results.left_aside(each)
    }
    aside -= {path.resolve() for paths in found for path in paths}
    if aside:
        both = all(path.stem == "result" for path in aside)
        ending = min(path.suffix for path in aside)
        wanted = "**/result.*" if both else f"**/*{ending}"
        say(
            f"note: {count_of(len(aside), 'result')} of the original "
            f"({', '.join(sorted({path.suffix for path in aside}))}) left aside, as "
            f"there are results of ours; --res_files_pattern='{wanted}' takes "
            + ("both" if both else "these")
        )
    return found


def define_one_flags(values: flags.FlagValues) -> None:
    """Defines where results are that are all one experiment, and which are taken."""
    define_result_flags(values, None)
    define_list(
        values,
        "res_dirs",
        None,
        "directories with results, all taken together, relative to --base_res_dir if "
        "that is given, too",
    )
    flags.DEFINE_string(
        "rep",
        "*",
        "which of the original's repetitions: 1 for results in directories rep_1, or a "
        "glob pattern; * for all results",
        flag_values=values,
    )


def one_experiment(values: flags.FlagValues) -> dict[str, list[Path]]:
    """Finds the result files that `define_one_flags` names, all one experiment.

    Raises:
      UserError: If there are none.
    """
    found = _below(values) if values.res_dirs else experiments(values)
    if values.rep == "*":
        return found
    pattern = f"rep_{values.rep}"
    every = [path for paths in found.values() for path in paths]
    there = {part for path in every for part in path.parts if part.startswith("rep_")}
    kept = {
        name: [p for p in paths if any(fnmatchcase(part, pattern) for part in p.parts)]
        for name, paths in found.items()
    }
    if not any(kept.values()):
        names = f"there are {', '.join(sorted(there))}"
        if not there:
            names = "there are none of rep_*: leave --rep out to take all results"
        raise UserError(
            f"--rep={values.rep}: of {count_of(len(every), 'result')}, none is in a "
            f"directory {pattern}; {names}"
        )
    return kept


def _below(values: flags.FlagValues) -> dict[str, list[Path]]:
    """Finds the results in all of --res_dirs."""
    base = Path(values.base_res_dir or "")
    directories = [base / directory for directory in values.res_dirs]
    paths: dict[Path, Path] = {}
    for found in _found(directories, values.res_files_pattern):
        for path in found:
            # One directory may be in another.
            paths.setdefault(path.resolve(), path)
    return {directories[0].resolve().name: list(paths.values())}


def load_sets(
    values: flags.FlagValues, directories: str | None = None
) -> "list[ResultSet]":
    """Loads the experiments that flags name.

    Raises:
      UserError: If there are none, or a file is no result.
    """
    return load_found(values, experiments(values, directories))


def load_found(
    values: flags.FlagValues, found: dict[str, list[Path]]
) -> "list[ResultSet]":
    """Loads the runs of experiments that flags choose, of their result files.

    Raises:
      UserError: If a file is no result.
    """
    return results.load_sets(
        found,
        seeds=chosen_seeds(values),
        report=say,
        recompute=recomputation(values),
    )
