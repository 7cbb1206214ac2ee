"""The command line: finds the command, parses its flags, shows errors as one line.

A command module has a `DESCRIPTION`, `define_flags(flag_values, argv)` and
`run(flag_values)`. It may have `prepare_arguments(arguments)`, which returns what to
parse; `fields()`, the fields of the config for help; and `what_next(flag_values,
program)`, which returns text to show when it is done. One that is several commands has
a `choose(name)` instead, which returns that of a name, or raises `UserError`; an empty
name is help on all of them. A module is imported only to run it, and it imports jax
only in `run`, so that help is quick.

Descriptions have `python main.py`, and messages of the library `alphanet COMMAND`; help
and errors show how the program was started instead.
"""

import codecs
import difflib
import importlib
import os
import re
import sys
import textwrap
import traceback
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from absl import flags

from alphanet_jax import bundled, outputs, stopping
from alphanet_jax.commands import processes
from alphanet_jax.errors import UserError, did_you_mean, printable
from alphanet_jax.version import __version__

__all__ = ["COMMANDS", "SECTIONS", "main", "run_program"]

# Heading in help -> name on the command line -> module and what it is for.
SECTIONS: Mapping[str, Mapping[str, tuple[str, str]]] = {
    "Mend": {
        "quickstart": (
            "alphanet_jax.commands.quickstart",
            "train on the embedded data: nothing to download, seconds on a laptop",
        ),
        "fit": (
            "alphanet_jax.commands.fit",
            "correct your own classifier: features and a checkpoint in, a head out",
        ),
        "train": (
            "alphanet_jax.commands.train",
            "train AlphaNet on a dataset, all seeds at once, and test it (the default)",
        ),
        "compare": (
            "alphanet_jax.commands.compare",
            "compare AlphaNet with other corrections, knobs chosen on validation data",
        ),
        "baseline": (
            "alphanet_jax.commands.baseline",
            "evaluate the unchanged classifier and save that as a result",
        ),
    },
    "Take home": {
        "export": (
            "alphanet_jax.commands.export",
            "write the corrected classifier, also into a copy of your checkpoint",
        ),
        "extend": (
            "alphanet_jax.commands.extend",
            "add rare classes that came later: features of a few samples of each",
        ),
    },
    "Look": {
        "results": (
            "alphanet_jax.commands.results",
            "print tables of accuracy, over seeds and result files",
        ),
        "combos": (
            "alphanet_jax.commands.combos",
            "show learned combinations of single classes, and what they changed",
        ),
        "plot": ("alphanet_jax.commands.plot", "draw a figure, with the numbers drawn"),
        "report": (
            "alphanet_jax.commands.report",
            "write a page of what a correction changed, class by class",
        ),
        "rerun": (
            "alphanet_jax.commands.rerun",
            "make a result again, and report what differs",
        ),
    },
    "Redo the paper": {
        "paper": (
            "alphanet_jax.commands.paper",
            "run the paper's experiments and write its tables and figures",
        )
    },
    "Data": {
        "inspect": (
            "alphanet_jax.commands.inspect",
            "show what is in a checkpoint or another file, without running any of it",
        ),
        "import": (
            "alphanet_jax.commands.import_result",
            "turn a result.pth of the original program into a result.npz",
        ),
        "convert": (
            "alphanet_jax.commands.convert",
            "turn a dataset of PyTorch files into plain arrays, without PyTorch",
        ),
    },
}
_MOST_SHOWN = 300  # letters of a path or a message
COMMANDS = {
    name: command for section in SECTIONS.values() for name, command in section.items()
}


def main(argv: Sequence[str]) -> int:
    """Runs `alphanet [command] --flags`; returns the exit status.

    Args:
      argv: How the program was started, as in `sys.argv`, then its arguments. Without
        any, or with the word `help` alone, the commands are listed; without a command
        but with flags, it is `train`.
    """
    program, rest = _program_name(argv[0]), list(argv[1:])
    named = bool(rest) and not rest[0].startswith("-")
    name = rest.pop(0) if named else "train"
    if name == "help" or len(argv) == 1:
        if rest and rest[0] != "help":
            return main([argv[0], *rest, "--help"])
        return _guard(lambda: print(_overview(program)))
    if name not in COMMANDS:
        known = [*COMMANDS, "help"]
        return _fail(f"unknown command {name!r}; {did_you_mean(name, known)}")
    module: Any = importlib.import_module(COMMANDS[name][0])
    usage = f"{program} [{name}] --flags" if name == "train" else f"{program} {name}"
    if hasattr(module, "choose"):
        kind = rest.pop(0) if rest and not rest[0].startswith("-") else ""
        usage = f"{usage} {kind}".rstrip()
        try:
            module = module.choose(kind)
        except UserError as error:
            return _fail(str(error))
    intro = "" if named else _list_commands()
    return run_program(module, [usage, *rest], program=program, intro=intro)


def run_program(
    module: Any, argv: Sequence[str], *, program: str = "", intro: str = ""
) -> int:
    """Runs one command module with its flags; returns the exit status.

    Args:
      module: The command.
      argv: Name of the command in its help, then its arguments.
      program: How to start the program that has all commands; by default as in its
        description.
      intro: Text for help to show after the description.

    Returns:
      0, or 1 after an error, which is shown as one line on standard error; 130 after
      Ctrl-C and 143 after SIGTERM.
    """
    values = flags.FlagValues()
    flags.DEFINE_bool(
        "help", False, "show this help", short_name="h", flag_values=values
    )
    flags.DEFINE_bool(
        "debug",
        False,
        "show where in the program an error is from",
        flag_values=values,
    )
    flags.DEFINE_bool(
        "quiet",
        False,
        "say nothing while it works but warnings, and what failed",
        flag_values=values,
    )

    def run() -> None:
        if {"--help", "-help", "-h", "--h"} & set(argv[1:]):
            module.define_flags(values, argv)
            usage = argv[0] if program else _program_name(argv[0])
            print(_as_started(_help(module, usage, values, intro), program))
            return
        prepare = getattr(module, "prepare_arguments", list)
        arguments = [argv[0], *prepare(argv[1:])]
        module.define_flags(values, arguments)
        left = _parse(values, arguments)
        if left:
            raise UserError(f"unexpected argument {left[0]!r}; see --help")
        _try_outputs(values)
        from alphanet_jax.commands.running import say

        say.quiet = values.quiet
        try:
            module.run(values)
        finally:
            say.clear()  # what was said in passing
        sys.stdout.flush()
        if hasattr(module, "what_next") and not values.quiet:
            print(module.what_next(values, program), file=sys.stderr)

    debug = bool({"--debug", "-debug"} & set(argv[1:]))
    with stopping.listening(lambda: _goes_on(values)):
        try:
            return _guard(run, debug=debug, program=program)
        except flags.UnrecognizedFlagError as error:
            flag = error.flagname.partition("=")[0]
            return _fail(_unknown_flag(flag, module, values))
        except BaseException as error:
            # A library may have made something else of what a signal raised.
            if not isinstance(error, KeyboardInterrupt) and not stopping.was_asked():
                raise
            status = stopping.status_of(error)
            return _fail(stopping.line(status), status=status)
        finally:
            outputs.release()


# Flags that name where output goes.
_DIRECTORIES = ("workdir", "ckpt_dir", "tb_logs")
_FILES = ("json", "csv", "out")


def _try_outputs(values: flags.FlagValues) -> None:
    """Tries all places that flags name for output, before there is work.

    Raises:
      UserError: If one cannot be written to.
    """
    for name in (*_DIRECTORIES, *_FILES):
        if name in values and isinstance(values[name].value, str):
            text = values[name].value
            if not text:
                continue
            # Some commands write directories, which may be there; they know more.
            if name in _DIRECTORIES or os.path.isdir(text):
                outputs.check_directory(name, Path(text))
            else:
                outputs.check_file(name, Path(text))


def _guard(run: Callable[[], None], *, debug: bool = False, program: str = "") -> int:
    """Runs and flushes the output; returns the exit status, errors being shown."""
    _print_anything()
    try:
        run()
        sys.stdout.flush()
    except BrokenPipeError:
        # The reader of the output, such as `head`, has closed it. Python would write
        # the rest when it ends, and fail.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except flags.UnrecognizedFlagError:
        raise
    # Nothing is let out but one line, whatever it is; `--debug` shows the rest.
    except Exception as error:
        if stopping.was_asked():  # it may be what a library made of a signal
            raise
        processes.wait_for_cause(error)
        if debug:
            traceback.print_exc()
        return _fail(_as_started(_one_line(error), program))
    return 0


def _one_line(error: Exception) -> str:
    """Says what went wrong, for what no part of the program has said better."""
    text = " ".join(str(error).split())
    if isinstance(error, UserError):
        return str(error)
    if isinstance(error, MemoryError):
        return f"the memory does not suffice ({text or 'out of memory'}); see --help"
    if isinstance(error, RecursionError):
        return f"something is nested too deep ({text}); --debug shows where"
    if isinstance(error, OSError):
        place = " -> ".join(
            _shorten(str(name)) for name in (error.filename, error.filename2) if name
        )
        reason = error.strerror or text or type(error).__name__
        return f"{place}: {reason}" if place else reason
    if isinstance(error, UnicodeError):
        return f"text that cannot be read or written ({_shorten(text)})"
    if _is_from_jax(error):
        hint = (
            f"; JAX_PLATFORMS is {platforms!r}"
            if (platforms := os.environ.get("JAX_PLATFORMS"))
            else ""
        )
        reason = _shorten(text) or type(error).__name__
        return f"JAX: {reason}{hint}; --debug shows where"
    reason = f"{type(error).__name__}: {_shorten(text)}" if text else repr(error)
    return f"unexpected, please report it: {reason}; --debug shows where"


def _is_from_jax(error: Exception) -> bool:
    """Returns whether an error comes from JAX, such as from its start."""
    frames = [frame.f_globals.get("__name__", "") for frame, _ in
              traceback.walk_tb(error.__traceback__)]  # fmt: skip
    names = (type(error).__module__, frames[-1] if frames else "")
    return any(name.partition(".")[0] in ("jax", "jaxlib") for name in names)


def _shorten(text: str) -> str:
    """Cuts what would fill the screen."""
    return text if len(text) <= _MOST_SHOWN else f"{text[:_MOST_SHOWN]}..."


def _print_anything() -> None:
    """Makes standard output spell what its encoding does not have."""
    codecs.register_error("alphanet_jax", _spell)
    # A stream that somebody put in its place may have no encoding.
    for stream in (sys.stdout, sys.stderr):
        if getattr(stream, "errors", None) in ("strict", "backslashreplace"):
            stream.reconfigure(errors="alphanet_jax")  # type: ignore[union-attr]


def _spell(error: UnicodeError) -> tuple[str, int]:
    r"""Spells characters that cannot be encoded: 1.0 +- 0.5, pi\xf1ata."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    text = error.object[error.start : error.end].replace("±", "+-")
    return text.encode("ascii", "backslashreplace").decode(), error.end


def _program_name(started: str) -> str:
    """Returns what to type to start the program, from the first of `sys.argv`."""
    path = Path(started)
    if path.name == "__main__.py":
        return "python -m alphanet_jax"
    if path.suffix == ".py":
        return f"python {started}"
    return path.stem if path.suffix == ".exe" else path.name


# A command to type, in a message of the library.
_TYPED = re.compile(rf"(?<![\w/.-])alphanet(?= (?:{'|'.join(COMMANDS)}) )")


def _as_started(text: str, program: str) -> str:
    """Puts the program, as it was started, into examples of help and hints of errors.

    Examples:
      >>> _as_started("make one with: alphanet train --config=mine", "python main.py")
      'make one with: python main.py train --config=mine'
    """
    if not program:
        return text
    text = text.replace("python convert_torch_features.py", f"{program} convert")
    return _TYPED.sub(lambda _: program, text.replace("python main.py", program))


def _unknown_flag(name: str, module: Any, values: flags.FlagValues) -> str:
    """Returns the error about an unknown flag."""
    # absl's `--nox` for a boolean flag x; `--no-x` and `--no_x` are common, too.
    switches = [flag for flag in values if values[flag].boolean]
    switches += [field for field, value, _ in _fields(module) if type(value) is bool]
    if name.startswith("no"):
        wanted = name.removeprefix("no").replace("-", "_").lstrip("_")
        near = difflib.get_close_matches(wanted, switches, n=1)
        if near:
            return f"unknown flag --{name}; did you mean '--no{near[0]}'?"
    return f"unknown flag --{name}; {did_you_mean(name, list(values))}"


def _goes_on(values: flags.FlagValues) -> str:
    """Describes what the same command does after it was interrupted."""
    if "ckpt_dir" in values:
        directory = values["ckpt_dir"].value
        if directory is None:
            return (
                "; the same command trains again what has no result yet; with "
                "--ckpt_dir=DIR it would go on after the last epoch"
            )
        if values["load_from_ckpt"].value:
            return f"; the same command goes on after the last epoch in {directory}"
        return (
            "; the same command trains again what has no result yet; without "
            f"--noload_from_ckpt it goes on after the last epoch in {directory}"
        )
    if "train" in values and values["train"].value:
        return "; the same command goes on with what has no result yet"
    return ""


def _parse(values: flags.FlagValues, argv: Sequence[str]) -> list[str]:
    """Parses flags; returns the arguments that are none."""
    try:
        left: list[str] = values(list(argv))
    except flags.UnrecognizedFlagError:
        raise
    except flags.Error as error:
        # What a config file raises comes wrapped, with a traceback in the text.
        inner: BaseException = error
        while inner.__context__ is not None:
            inner = inner.__context__
        if isinstance(inner, UserError):
            raise inner from None
        message = " ".join(str(error).split())
        if message.startswith("flag --config="):
            raise UserError(_unloadable(inner)) from None
        raise UserError(_wrong_value(message)) from None
    # A config file is a program of the user's own, and anything may be wrong with it.
    except (Exception, SystemExit) as error:
        raise UserError(_unloadable(error)) from error
    return left[1:]


def _unloadable(error: BaseException) -> str:
    """Says what is wrong with a config file."""
    text = _shorten(" ".join(str(error).split()))
    said = f"--config cannot be loaded: {type(error).__name__}: {text}"
    if isinstance(error, AttributeError | KeyError | TypeError):
        said += (
            "; its get_config() must return a config as default_config() of "
            "alphanet_jax.config.fields makes it"
        )
    return said


# What absl says of a value -> what it should have been.
_WRONG_VALUES = (
    (r"invalid literal for int\(\) with base 10: .*", "a whole number"),
    (r"could not convert string to float: .*", "a number"),
    (r"\('Non-boolean argument to boolean flag', .*\)", "true or false"),
    (r"\S* is not a positive integer", "a whole number from 1 on"),
    (r"\S* is not a non-negative (?:integer|number)", "a number from 0 on"),
)


def _wrong_value(message: str) -> str:
    """Says in plain words what absl says of a value."""
    flag, _, reason = message.removeprefix("flag ").partition(": ")
    for pattern, allowed in _WRONG_VALUES:
        if re.fullmatch(pattern, reason):
            return f"{_shorten(flag)}: must be {allowed}"
    return _shorten(message)


def _fail(message: str, *, status: int = 1) -> int:
    lines = map(printable, message.split("\n"))
    print("error: " + "\n".join(lines), file=sys.stderr)
    return status


def _list_commands() -> str:
    """Lists all commands under their headings."""
    lines = []
    for heading, commands in SECTIONS.items():
        lines.append(heading)
        lines += [f"  {name:<10}  {text}" for name, (_, text) in commands.items()]
    lines.append("Help")
    return "\n".join([*lines, f"  {'help':<10}  all of this; help COMMAND: its flags"])


def _overview(program: str) -> str:
    """Returns what the program shows without arguments."""
    configs = textwrap.fill(
        f"Configs, for --config=NAME: {', '.join(bundled.config_names())}.", 88
    )
    return f"""\
AlphaNet in JAX {__version__}: mends the rare classes of long-tailed classifiers.

usage: {program} COMMAND --flags

{_list_commands()}

What to try first:
  {program} quickstart
  {program} fit --features=DIR --classifier=FILE --workdir=results/mine
  {program} results --base_res_dir=results/quickstart
  {program} combos --base_res_dir=results/quickstart --select_n=1 --mistake_n=3
  {program} help train

{configs}"""


def _fields(module: Any) -> list[tuple[str, Any, str]]:
    """Returns name, default and help of the fields of the config, if there is one."""
    fields: list[tuple[str, Any, str]] = getattr(module, "fields", list)()
    return fields


def _describe(name: str, default: Any, purpose: str) -> str:
    """Formats one flag or field for help."""
    if isinstance(default, list):  # of a flag with several values
        default = " ".join(map(str, default))
    shown = "" if default in (None, "") else f" [{default}]"
    # absl adds to flags with several values what their own help may say, too.
    purpose = " ".join(purpose.split())
    start, _, rest = purpose.partition(_OF_ABSL)
    if rest or purpose.endswith(_OF_ABSL):
        purpose = start + ("" if _MAY_REPEAT in start else f"; {_MAY_REPEAT}") + rest
    text = textwrap.fill(purpose + shown, 86, initial_indent=" " * 6)
    return f"  --{name}\n" + text.replace("\n", "\n      ")


_OF_ABSL = "; repeat this option to specify a list of values"
_MAY_REPEAT = "may be repeated"
_OF_ALL = ("quiet", "debug")  # flags of all commands, which come last


def _help(module: Any, usage: str, values: flags.FlagValues, intro: str) -> str:
    own = [
        _describe(name, values[name].default, values[name].help)
        for name in values
        if name not in ("help", "h", *_OF_ALL) and values[name].help
    ]
    if own:
        own += [_describe(name, None, values[name].help) for name in _OF_ALL]
    parts = [f"usage: {usage}", module.DESCRIPTION, intro]
    if own:
        parts.append("Flags, with [defaults]:\n" + "\n".join(own))
    if fields := [_describe(*field) for field in _fields(module)]:
        parts.append("Fields of the config, with [defaults]:\n" + "\n".join(fields))
    return "\n\n".join(part for part in parts if part)
