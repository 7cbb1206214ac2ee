"""Draws one kind of figure from results; a command for each kind."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from absl import flags

from alphanet_jax.commands import reading
from alphanet_jax.errors import UserError
from alphanet_jax.figures import KINDS, load_kind, style
from alphanet_jax.figures.options import DIRECTORIES, Option, declared
from alphanet_jax.stages import stage

if TYPE_CHECKING:
    from alphanet_jax.figures.numbers import Sources
    from alphanet_jax.results.sets import ResultSet

__all__ = ["DESCRIPTION", "choose"]

DESCRIPTION = """\
Draws a figure from results, and writes the numbers that it draws as CSV beside it.
`python main.py plot KIND --help` explains the flags of a kind of figure. KIND is one of

{kinds}

Examples:

  python main.py plot class_changes --base_res_dir=results/quickstart --out=changes.png
  python main.py plot accuracy_vs_rho --base_res_dir=results/sweep \\
      --style paper arxiv book web_light web_dark png --out=figures/rho"""

# Attributes of a style that are flags; its name and format are not.
_STYLE_FLAGS = {option.name: option for option in declared(style.Style)[2:]}


class _Help:
    """Help on all figures."""

    DESCRIPTION = DESCRIPTION.format(
        kinds="\n".join(f"  {name:<28} {text}" for name, text in KINDS.items())
    )

    @staticmethod
    def define_flags(values: flags.FlagValues, argv: Sequence[str]) -> None:
        """Defines no flags."""

    @staticmethod
    def run(values: flags.FlagValues) -> None:
        """Raises `UserError`: a name is missing."""
        raise UserError(f"plot needs the name of a figure: {', '.join(KINDS)}")


class _Command:
    """The command that draws one kind of figure."""

    def __init__(self, name: str) -> None:
        self.kind = load_kind(name)
        self.DESCRIPTION = self.kind.description

    def prepare_arguments(self, arguments: Sequence[str]) -> list[str]:
        """Joins words to the flags that take several."""
        options = (*self.kind.options, *_STYLE_FLAGS.values())
        several = {option.name for option in options if option.several}
        several |= {"style", DIRECTORIES, "exp_names", "res_dirs", reading.SEEDS}
        return reading.join_words(arguments, several)

    def define_flags(self, values: flags.FlagValues, argv: Sequence[str]) -> None:
        """Defines the figure's flags."""
        reads = self.kind.reads
        if reads == "file":
            # Which of its runs is drawn is an option of such a kind.
            flags.DEFINE_string("res_file", None, "the result", flag_values=values)
        elif reads == "one":
            reading.define_one_flags(values)
        elif reads != "nothing":
            reading.define_result_flags(values, DIRECTORIES)
        if reads != "nothing":
            reading.define_data_flags(values)
            reading.define_baseline_flag(values)
        if self.kind.needs_wordnet:
            reading.define_wordnet_flags(values)
        for option in self.kind.options:
            _define(values, option)
        flags.DEFINE_string(
            "out",
            f"{self.kind.name}.png",
            "file for the figure; with several styles, what their names begin with",
            flag_values=values,
        )
        reading.define_list(
            values,
            "style",
            None,
            "one or more of paper (pgf), arxiv (pdf), book (pdf), web_light (svg), "
            "web_dark (svg), png [by the ending of --out]",
        )
        for name, option in _STYLE_FLAGS.items():
            if option.value_type is bool:
                flags.DEFINE_bool(name, False, option.help, flag_values=values)
            elif option.several:
                reading.define_list(values, name, None, option.help)
            else:
                flags.DEFINE_string(name, None, option.help, flag_values=values)

    def run(self, values: flags.FlagValues) -> None:
        """Draws the figure.

        Raises:
          UserError: If anything is not right, and nothing is written; or a style of
            several failed, when the others are.
        """
        from alphanet_jax.figures import saving

        kind = self.kind
        saving.check_matplotlib()
        kind.check_packages()
        stem, styles = _styles(values)
        several = len(styles) > 1
        failed: list[str] = []

        def on_failure(look: style.Style, error: UserError) -> None:
            failed.append(f"not drawn in style {look.name}: {error}")
            reading.say(f"failed: {failed[-1]}")

        styles = _usable(styles, on_failure)
        given, looks = (
            _given(values, declared(options))
            for options in (kind.numbers_options, kind.draw_options)
        )
        sources = self._sources(values)
        with stage(reading.say, "computing numbers"):
            numbers = kind.numbers(sources, **given)
        texts = {}
        if (more := kind.more_files) is not None:
            chosen = more.options(**_given(values, declared(more.options)))
            texts = more.texts(sources, kind.numbers_options(**given), chosen)
        with stage(reading.say, "drawing", total=len(styles), unit="figures"):
            paths = saving.save_figure(
                numbers,
                kind.draw,
                stem,
                styles,
                options=looks,
                name_styles=several,
                more_files=texts,
                on_failure=on_failure,
            )
        for path in paths:
            reading.say(f"saved {path}")
        if failed:
            raise UserError("; ".join(failed))

    def _sources(self, values: flags.FlagValues) -> "Sources":
        """Returns what the figure is made from, by the flags."""
        from alphanet_jax.figures.numbers import Sources
        from alphanet_jax.results.datasets import DataFinder

        kind = self.kind
        return Sources(
            () if kind.reads == "nothing" else self._load(values),
            DataFinder() if kind.reads == "nothing" else reading.data_finder(values),
            *(reading.wordnet_paths(values) if kind.needs_wordnet else ()),
        )

    def _load(self, values: flags.FlagValues) -> "list[ResultSet]":
        """Loads the results that flags name."""
        if self.kind.reads == "one":
            found = reading.one_experiment(values)
            return self._checked(values, reading.load_found(values, found))
        if self.kind.reads != "file":
            return self._checked(values, reading.load_sets(values, DIRECTORIES))
        from alphanet_jax.results import sets as result_sets

        if values.res_file is None:
            raise UserError(
                "--res_file is missing, for example "
                "--res_file=results/quickstart/result.npz"
            )
        path = Path(values.res_file)
        name = path.resolve().parent.name
        made = result_sets.load_sets(
            {name: [path]},
            report=reading.say,
            recompute=reading.recomputation(values),
        )
        return self._checked(values, made)

    def _checked(
        self, values: flags.FlagValues, sets: "list[ResultSet]"
    ) -> "list[ResultSet]":
        """Returns results, once no flag says for nothing where their data is."""
        needs = "" if self.kind.needs_data else "results of the original (.pth)"
        reading.check_data_flags(values, sets, needs)
        return sets


def choose(name: str) -> Any:
    """Returns the command of a kind of figure; help on all for an empty name.

    Raises:
      UserError: If there is no such kind.
    """
    return _Command(name) if name else _Help()


def _define(values: flags.FlagValues, option: Option) -> None:
    """Defines the flag of an option."""
    name, default, text = option.name, option.default, option.help
    if option.several:
        define: Any = flags.DEFINE_multi_string
        if option.value_type is float:
            define = flags.DEFINE_multi_float
        elif option.value_type is int:
            define = flags.DEFINE_multi_integer
        define(name, default, text, flag_values=values)
        # absl adds that it can be repeated, but not that words may follow.
        values[name].help = f"{text}; several words, or the flag several times"
    elif option.choices is not None:
        flags.DEFINE_enum(name, default, option.choices, text, flag_values=values)
    elif option.value_type is bool:
        flags.DEFINE_bool(name, default, text, flag_values=values)
    elif option.value_type is int:
        low = None if option.low is None else int(option.low)
        flags.DEFINE_integer(name, default, text, lower_bound=low, flag_values=values)
    elif option.value_type is float:
        flags.DEFINE_float(
            name, default, text, lower_bound=option.low, flag_values=values
        )
    else:
        flags.DEFINE_string(name, default, text, flag_values=values)


def _given(values: flags.FlagValues, options: Sequence[Option]) -> dict[str, Any]:
    """Returns the values of options, once those of several are among the choices."""
    given = {option.name: values[option.name].value for option in options}
    for option in options:
        if option.several and option.choices is not None:
            for value in given[option.name] or ():
                if value not in option.choices:
                    raise UserError(
                        f"--{option.name} must be of {', '.join(option.choices)}, "
                        f"got {value!r}"
                    )
    return given


def _styles(values: flags.FlagValues) -> tuple[Path, list[Any]]:
    """Returns the path without its ending, and the styles to draw in."""
    out = Path(values.out)
    ending = out.suffix[1:].lower()
    names = list(dict.fromkeys(values.style or ()))
    for name in names:
        if name not in style.STYLES:
            raise UserError(
                f"--style must be of {', '.join(style.STYLES)}, got {name!r}"
            )
    # An ending that is no format belongs to the name, as in 'rho_0.5'.
    stem = out.with_suffix("") if ending in style.FORMATS else out
    if not names:
        if ending not in style.FORMATS:
            raise UserError(
                f"--out must end in {', '.join('.' + f for f in style.FORMATS)} where "
                f"no --style is given, got {values.out!r}"
            )
        names = [style.FORMATS[ending]]
    elif values["out"].present and ending in style.FORMATS:
        other = [name for name in names if style.STYLES[name].format != ending]
        if other:
            raise UserError(
                f"--out={out} is not of the format of --style {other[0]}, "
                f"{style.STYLES[other[0]].format}"
            )
    changes = {name: _style_value(name, values[name].value) for name in _STYLE_FLAGS}
    return stem, [style.make_style(name, **changes) for name in names]


def _usable(
    styles: Sequence[style.Style],
    on_failure: Callable[[style.Style, UserError], None],
) -> list[style.Style]:
    """Returns the styles whose programs are installed.

    Raises:
      UserError: If there are none.
    """
    found, missing = [], []
    for look in styles:
        try:
            style.check_tools(look)
        except UserError as error:
            missing.append((look, error))
        else:
            found.append(look)
    if not found:
        raise missing[0][1]
    for look, reason in missing:
        on_failure(look, reason)
    return found


def _style_value(name: str, text: Any) -> Any:
    """Reads a style's flag; None where it is not given."""
    option = _STYLE_FLAGS[name]
    if text is None or option.value_type is bool or option.several:
        return text or None
    if option.choices is not None and text not in option.choices:
        raise UserError(f"--{name} must be one of {', '.join(option.choices)}")
    kind = option.value_type
    if kind not in (int, float):
        return text
    is_ratio = name in ("aspect", "panel_aspect")
    first, _, second = text.partition(":") if is_ratio else (text, "", "")
    try:
        value = float(first) / float(second or 1)
        good = 0.0 < value < 1e5 and (kind is not int or value == int(value))
    except (ValueError, ZeroDivisionError):
        good = False
    if not good:
        raise UserError(f"--{name} must be a positive number, got {text!r}")
    return int(value) if kind is int else value
