"""What went wrong, in one line: errors of all kinds, and flags that are not right."""

import difflib
import os
import re
import traceback
from collections.abc import Iterable
from typing import Any

from absl import flags

from alphanet_jax.commands import help_text
from alphanet_jax.errors import UserError, did_you_mean, printable

__all__ = [
    "goes_on",
    "one_line",
    "shorten",
    "unknown_flag",
    "unloadable",
    "wrong_value",
]

_MOST_SHOWN = 300  # letters of a path or a message


def one_line(error: Exception, arguments: Iterable[str] = ()) -> str:
    """Says what went wrong, for what no part of the program has said better.

    Args:
      error: What was raised.
      arguments: Arguments of the command. What is quoted of them is shown on one line.
    """
    said = _say(error)
    for argument in arguments:
        for typed in (argument, argument.partition("=")[2]):
            if not typed.isprintable():
                said = said.replace(typed, printable(typed))
    return said


def _say(error: Exception) -> str:
    text = " ".join(str(error).split())
    if isinstance(error, UserError):
        return str(error)
    if isinstance(error, MemoryError):
        return f"the memory does not suffice ({text or 'out of memory'}); see --help"
    if isinstance(error, RuntimeError) and text.startswith("can't start new thread"):
        return "the system gives no more threads, or no memory for them; see ulimit -a"
    if isinstance(error, RecursionError):
        return f"something is nested too deep ({text}); --debug shows where"
    if isinstance(error, OSError):
        place = " -> ".join(
            shorten(str(name)) for name in (error.filename, error.filename2) if name
        )
        reason = error.strerror or text or type(error).__name__
        return f"{place}: {reason}" if place else reason
    if isinstance(error, UnicodeEncodeError) and not isinstance(error.object, bytes):
        # A surrogate is how Python spells a byte of a name that is not UTF-8.
        name = shorten(printable(error.object))
        return f"{name}: has characters that are not {error.encoding}; rename it"
    if isinstance(error, UnicodeError):
        return f"text that cannot be read or written ({shorten(text)})"
    if _is_from_jax(error):
        hint = (
            f"; JAX_PLATFORMS is {platforms!r}"
            if (platforms := os.environ.get("JAX_PLATFORMS"))
            else ""
        )
        reason = shorten(text) or type(error).__name__
        return f"JAX: {reason}{hint}; --debug shows where"
    reason = f"{type(error).__name__}: {shorten(text)}" if text else repr(error)
    return f"unexpected, please report it: {reason}; --debug shows where"


def _is_from_jax(error: Exception) -> bool:
    """Returns whether an error comes from JAX, such as from its start."""
    frames = [frame.f_globals.get("__name__", "") for frame, _ in
              traceback.walk_tb(error.__traceback__)]  # fmt: skip
    names = (type(error).__module__, frames[-1] if frames else "")
    return any(name.partition(".")[0] in ("jax", "jaxlib") for name in names)


def shorten(text: str) -> str:
    """Cuts what would fill the screen."""
    return text if len(text) <= _MOST_SHOWN else f"{text[:_MOST_SHOWN]}..."


def unknown_flag(name: str, module: Any, values: flags.FlagValues) -> str:
    """Returns the error about an unknown flag."""
    # absl's `--nox` for a boolean flag x; `--no-x` and `--no_x` are common, too.
    switches = [flag for flag in values if values[flag].boolean]
    switches += [
        field for field, value, _ in help_text.fields_of(module) if type(value) is bool
    ]
    if name.startswith("no"):
        wanted = name.removeprefix("no").replace("-", "_").lstrip("_")
        near = difflib.get_close_matches(wanted, switches, n=1)
        if near:
            return f"unknown flag --{name}; did you mean '--no{near[0]}'?"
    return f"unknown flag --{name}; {did_you_mean(name, list(values))}"


def unloadable(error: BaseException) -> str:
    """Says what is wrong with a config file."""
    text = shorten(" ".join(str(error).split()))
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


def wrong_value(message: str) -> str:
    """Says in plain words what absl says of a value."""
    flag, _, reason = message.removeprefix("flag ").partition(": ")
    for pattern, allowed in _WRONG_VALUES:
        if re.fullmatch(pattern, reason):
            return f"{shorten(flag)}: must be {allowed}"
    return shorten(message)


def goes_on(values: flags.FlagValues) -> str:
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
