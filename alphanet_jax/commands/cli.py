"""The command line: finds the command, parses its flags, shows errors as one line.

A command module has a `DESCRIPTION`, `define_flags(flag_values, argv)` and
`run(flag_values)`. It may have `prepare_arguments(arguments)`, which returns what to
parse; `fields()`, the fields of the config for help; and `what_next(flag_values,
program)`, which returns text to show when it is done. One that is several commands has
a `choose(name)` instead, which returns that of a name, or raises `UserError`; an empty
name is help on all of them. A module is imported only to run it, and it imports jax
only in `run`, so that help is quick.

`help_text` has the list of commands and what help shows, `messages` what errors say.
"""

import codecs
import importlib
import os
import sys
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from absl import flags

from alphanet_jax import outputs, stopping
from alphanet_jax.commands import help_text, messages, processes
from alphanet_jax.errors import UserError, did_you_mean, printable

__all__ = ["main", "run_program"]


def main(argv: Sequence[str]) -> int:
    """Runs `alphanet [command] --flags`; returns the exit status.

    Args:
      argv: How the program was started, as in `sys.argv`, then its arguments. Without
        any, or with the word `help` alone, the commands are listed; without a command
        but with flags, it is `train`.
    """
    program, rest = help_text.program_name(argv[0]), list(argv[1:])
    named = bool(rest) and not rest[0].startswith("-")
    name = rest.pop(0) if named else "train"
    if name == "help" or len(argv) == 1:
        if rest and rest[0] != "help":
            return main([argv[0], *rest, "--help"])
        return _guard(lambda: print(help_text.overview(program)))
    if name not in help_text.COMMANDS:
        known = [*help_text.COMMANDS, "help"]
        return _fail(f"unknown command {name!r}; {did_you_mean(name, known)}")
    module: Any = importlib.import_module(help_text.COMMANDS[name][0])
    usage = f"{program} [{name}] --flags" if name == "train" else f"{program} {name}"
    if hasattr(module, "choose"):
        kind = rest.pop(0) if rest and not rest[0].startswith("-") else ""
        usage = f"{usage} {kind}".rstrip()
        try:
            module = module.choose(kind)
        except UserError as error:
            return _fail(str(error))
    intro = "" if named else help_text.list_commands()
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
            usage = argv[0] if program else help_text.program_name(argv[0])
            shown = help_text.help_on(module, usage, values, intro)
            print(help_text.as_started(shown, program))
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

    with stopping.listening(lambda: messages.goes_on(values)):
        try:
            return _guard(run, arguments=argv[1:], program=program)
        except flags.UnrecognizedFlagError as error:
            flag = error.flagname.partition("=")[0]
            return _fail(messages.unknown_flag(flag, module, values))
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


def _guard(
    run: Callable[[], None], *, arguments: Sequence[str] = (), program: str = ""
) -> int:
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
        if {"--debug", "-debug"} & set(arguments):
            traceback.print_exc()
        said = messages.one_line(error, arguments)
        return _fail(help_text.as_started(said, program))
    return 0


def _print_anything() -> None:
    """Makes standard output spell what its encoding does not have."""
    codecs.register_error("alphanet_jax", _spell)
    for name in ("stdout", "stderr"):  # None where the shell has closed it
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115
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
            raise UserError(messages.unloadable(inner)) from None
        raise UserError(messages.wrong_value(message)) from None
    # A config file is a program of the user's own, and anything may be wrong with it.
    except (Exception, SystemExit) as error:
        raise UserError(messages.unloadable(error)) from error
    return left[1:]


def _fail(message: str, *, status: int = 1) -> int:
    lines = map(printable, message.split("\n"))
    print("error: " + "\n".join(lines), file=sys.stderr)
    return status
