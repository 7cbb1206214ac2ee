"""The command line: finds the command, parses its flags, shows errors as one line.

A command module has a `DESCRIPTION`, `define_flags(flag_values, argv)`, `fields()`,
`prepare_arguments(arguments)` and `run(flag_values)`. It is imported only when it is
the one to run, and it imports jax only in `run`, so that help is quick. One that is
several commands has a `choose(name)` instead, which gives the one of a name, or raises
`UserError`; an empty name is help on all of them.
"""

import importlib
import os
import sys
import textwrap
from collections.abc import Sequence
from typing import Any

from absl import flags

from alphanet_jax.errors import UserError, did_you_mean

__all__ = ["COMMANDS", "main", "run_program"]

# Name on the command line -> module and what it is for.
COMMANDS = {
    "train": (
        "alphanet_jax.commands.train",
        "train AlphaNet on a dataset, all seeds at once, and test it (the default)",
    ),
    "baseline": (
        "alphanet_jax.commands.baseline",
        "evaluate the unchanged classifier and save that as a result",
    ),
    "results": (
        "alphanet_jax.commands.results",
        "print tables of accuracy, over seeds and result files",
    ),
    "combos": (
        "alphanet_jax.commands.combos",
        "show learned combinations of single classes, and what they changed",
    ),
    "plot": (
        "alphanet_jax.commands.plot",
        "draw a figure, with the numbers drawn",
    ),
    "paper": (
        "alphanet_jax.commands.paper",
        "run the paper's experiments and write its tables and figures",
    ),
}


def main(argv: Sequence[str]) -> int:
    """Runs `main.py [command] --flags`; returns the exit status."""
    program, *rest = argv
    named = bool(rest) and not rest[0].startswith("-")
    name = rest.pop(0) if named else "train"
    if name not in COMMANDS:
        return _fail(f"unknown command {name!r}; {did_you_mean(name, COMMANDS)}")
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
    return run_program(module, [usage, *rest], intro=intro)


def run_program(module: Any, argv: Sequence[str], *, intro: str = "") -> int:
    """Runs one command module with its flags; returns the exit status.

    Args:
      module: The command.
      argv: What to call the program, then its arguments.
      intro: Text for help to show after the description.

    Returns:
      0, or 1 after an error, which is shown as one line on standard error.
    """
    values = flags.FlagValues()
    flags.DEFINE_bool(
        "help", False, "show this help", short_name="h", flag_values=values
    )
    try:
        if {"--help", "-help", "-h", "--h"} & set(argv[1:]):
            module.define_flags(values, argv)
            print(_help(module, argv[0], values, intro), flush=True)
            return 0
        argv = [argv[0], *module.prepare_arguments(argv[1:])]
        module.define_flags(values, argv)
        left = _parse(values, argv)
        if left:
            raise UserError(f"unexpected argument {left[0]!r}; see --help")
        module.run(values)
        sys.stdout.flush()
    except BrokenPipeError:
        # Whoever read the output, such as `head`, has had enough. Python would write
        # the rest when it ends, and complain.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except flags.UnrecognizedFlagError as error:
        name = error.flagname.partition("=")[0]
        return _fail(f"unknown flag --{name}; {did_you_mean(name, list(values))}")
    except UserError as error:
        return _fail(str(error))
    except KeyboardInterrupt:
        return _fail("interrupted", status=130)
    return 0


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
            text = " ".join(str(inner).split())
            message = f"--config cannot be loaded: {type(inner).__name__}: {text}"
        raise UserError(message) from None
    # A config file is a program of the user's own, and anything may be wrong with it.
    except Exception as error:
        text = " ".join(str(error).split())
        raise UserError(
            f"--config cannot be loaded: {type(error).__name__}: {text}"
        ) from error
    return left[1:]


def _fail(message: str, *, status: int = 1) -> int:
    print(f"error: {message}", file=sys.stderr)
    return status


def _list_commands() -> str:
    lines = [f"  {name:<10} {purpose}" for name, (_, purpose) in COMMANDS.items()]
    return "\n".join(["Commands, the first word after main.py:", *lines])


def _describe(name: str, default: Any, purpose: str) -> str:
    """Formats one flag or field for help."""
    shown = "" if default is None else f" [{default}]"
    purpose = " ".join(purpose.split())
    text = textwrap.fill(purpose + shown, 86, initial_indent=" " * 6)
    return f"  --{name}\n" + text.replace("\n", "\n      ")


def _help(module: Any, usage: str, values: flags.FlagValues, intro: str) -> str:
    own = [
        _describe(name, values[name].default, values[name].help)
        for name in values
        if name not in ("help", "h") and values[name].help
    ]
    parts = [f"usage: {usage}", module.DESCRIPTION, intro]
    if own:
        parts.append("Flags, with [defaults]:\n" + "\n".join(own))
    if fields := [_describe(*field) for field in module.fields()]:
        parts.append("Fields of the config, with [defaults]:\n" + "\n".join(fields))
    return "\n\n".join(part for part in parts if part)
