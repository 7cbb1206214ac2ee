"""A page for each command, from its description and the flags that it defines."""

import importlib
import os
from pathlib import Path
from typing import Any

from absl import flags
from texts import cell, code, described, say, table

from alphanet_jax import bundled
from alphanet_jax.commands import help_text
from alphanet_jax.commands.running import default_compilation_cache, fields
from alphanet_jax.figures import KINDS

__all__ = ["command_pages", "flags_of"]

_PROGRAM = "alphanet"
_HIDDEN = ("help", "h")


def command_pages() -> dict[str, str]:
    """Writes the pages of all commands, by their paths below the site's root."""
    pages = {"commands/index.md": _overview()}
    for name in help_text.COMMANDS:
        module = importlib.import_module(help_text.COMMANDS[name][0])
        pages[f"commands/{name}.md"] = (
            _kinds_page(name, module)
            if hasattr(module, "choose")
            else _page(name, module)
        )
    return pages


def flags_of(module: Any, name: str) -> flags.FlagValues:
    """Lists the flags that a command defines where none of them is given."""
    values = flags.FlagValues()
    module.define_flags(values, [name])
    return values


def _overview() -> str:
    parts = ["# Commands", _SAID_OF_ALL]
    for heading, commands in help_text.SECTIONS.items():
        rows = [
            (f"[`{name}`]({name}.md)", cell(purpose))
            for name, (_, purpose) in commands.items()
        ]
        parts += [f"## {heading}", table(("command", "what it does"), rows)]
    parts += ["## Flags of all commands", table(_HEADS, _OF_ALL)]
    return "\n\n".join(parts)


_SAID_OF_ALL = f"""\
What you type is `{_PROGRAM} COMMAND --flags`. `python main.py COMMAND` in a clone and
`python -m alphanet_jax COMMAND` are the same program. Without a command, flags are
those of [`train`](train.md); `{_PROGRAM}` alone lists all commands, and
`{_PROGRAM} help COMMAND` says what is on these pages.

Tables and other output go to standard output, and nothing else does. What a command
says while it works, remarks and errors go to standard error; an error is one line, with
status 1. A flag that is true or false is turned off by `--no` before its name."""

_HEADS = ("flag", "default", "meaning")
_OF_ALL = [
    (code("--help"), "", "show the help of a command"),
    (code("--quiet"), "", "say nothing while it works but warnings, and what failed"),
    (code("--debug"), "", "show where in the program an error is from"),
]


def _page(name: str, module: Any) -> str:
    parts = [f"# alphanet {name}", described(_said(module.DESCRIPTION))]
    values = flags_of(module, name)
    rows = [_row(values[flag]) for flag in values if flag not in _HIDDEN]
    if rows:
        parts += ["## Flags", table(_HEADS, rows)]
    own: list[tuple[str, Any, str]] = getattr(module, "fields", list)()
    if own == fields():
        parts += [
            "## Config",
            "Every [field of the config](../config.md) is a flag, too: "
            "`--config.NAME=VALUE`.",
        ]
    elif own:
        rows = [
            (code(f"--{field}"), _default(default), say(purpose))
            for field, default, purpose in own
        ]
        parts += ["## Fields of the config", table(_HEADS, rows)]
    return "\n\n".join(parts)


def _kinds_page(name: str, module: Any) -> str:
    """Writes the page of a command that has a kind of its own for each name."""
    help_on_all, *_ = module.choose("").DESCRIPTION.partition("\n\n")
    examples = module.choose("").DESCRIPTION.rpartition("Examples:")[2]
    chosen = {kind: module.choose(kind) for kind in KINDS}
    values = {kind: flags_of(each, name) for kind, each in chosen.items()}
    listed = [set(each) - set(_HIDDEN) for each in values.values()]
    common = set.intersection(*listed)
    # What stands in most kinds is explained once.
    usual = {flag for each in listed for flag in each if _count(flag, listed) > 6}
    usual = {flag for flag in usual if _means_one_thing(flag, values)} - common
    parts = [
        f"# alphanet {name}",
        _inline_summary(help_on_all),
        described("Examples:\n\n" + _said(examples).strip("\n")),
        "## Kinds",
        table(
            ("kind", "what it shows"),
            [(f"[`{kind}`](#{kind})", cell(text)) for kind, text in KINDS.items()],
        ),
    ]
    for kind, each in chosen.items():
        own = set(values[kind]) - set(_HIDDEN) - common - usual
        more = sorted(set(values[kind]) & usual)
        parts += [f"### {kind}", described(_said(each.DESCRIPTION))]
        if own:
            rows = [_row(values[kind][flag]) for flag in values[kind] if flag in own]
            parts.append(table(_HEADS, rows))
        if more:
            names = ", ".join(f"`--{flag}`" for flag in more)
            parts.append(
                f"Of [those of several kinds](#flags-of-several-kinds): {names}."
            )
    one = {flag: each[flag] for each in values.values() for flag in each}
    parts += ["## Flags of several kinds"]
    parts.append(table(_HEADS, [_row(one[flag]) for flag in one if flag in usual]))
    parts += ["## Flags of all kinds"]
    parts.append(table(_HEADS, [_row(one[flag]) for flag in one if flag in common]))
    return "\n\n".join(parts)


def _inline_summary(text: str) -> str:
    return described(_said(text).replace("KIND is one of", "").strip())


def _count(flag: str, listed: list[set[str]]) -> int:
    return sum(flag in each for each in listed)


def _means_one_thing(flag: str, values: dict[str, flags.FlagValues]) -> bool:
    kinds = [each[flag] for each in values.values() if flag in each]
    return len({(each.help, str(each.default)) for each in kinds}) == 1


def _said(text: str) -> str:
    return help_text.as_started(text, _PROGRAM)


def _row(flag: flags.Flag[Any]) -> tuple[str, str, str]:
    name = f"--[no]{flag.name}" if flag.boolean else f"--{flag.name}"
    return (
        code(name),
        _default(flag.default),
        say(help_text.purpose_of(flag.help or "")),
    )


def _default(value: Any) -> str:
    if value is None or value in ("", []):
        return ""
    text = str(value).lower() if isinstance(value, bool) else str(value)
    if isinstance(value, list):  # as it is typed
        text = " ".join(map(str, value))
    # Not the directories of whoever builds the pages.
    for mine, shown in (
        (default_compilation_cache(), "~/.cache/alphanet_jax/compiled"),
        (str(bundled.root()) + os.sep, ""),
        (str(Path.home()), "~"),
    ):
        text = text.replace(mine, shown)
    return code(text)
