"""Errors about input that cannot be used, each one clear line."""

import difflib
from collections.abc import Iterable

__all__ = ["UserError", "count_of", "did_you_mean", "printable"]


class UserError(ValueError):
    """Input that cannot be used; the message is one line, shown as it is.

    Raised where files, configs and values are checked on the host. Command-line
    programs print it as `error: ...` without a traceback and exit non-zero.
    """


def count_of(number: int, noun: str) -> str:
    """Writes a number with its noun, which gets an 's' unless there is one of it.

    Examples:
      >>> count_of(1, "run"), count_of(2, "run"), count_of(0, "seed")
      ('1 run', '2 runs', '0 seeds')
    """
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def printable(text: str) -> str:
    r"""Replaces characters that a terminal would obey, such as in names from files.

    Examples:
      >>> printable("fox\x1b[2J") == "fox\N{REPLACEMENT CHARACTER}[2J"
      True
    """
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)


def did_you_mean(name: str, known: Iterable[str], *, most_listed: int = 12) -> str:
    """Ends an error message: near names if there are any, all names otherwise.

    Args:
      name: The name that is not known.
      known: Those that are.
      most_listed: With more names than this, `--help` is left to list them.

    Returns:
      The end of the message.

    Examples:
      >>> did_you_mean("imagnet", ["imagenet", "places"])
      "did you mean 'imagenet'?"
      >>> did_you_mean("x", ["imagenet", "places"])
      "known are 'imagenet', 'places'"
    """
    known = list(known)
    near = difflib.get_close_matches(name, known, n=3)
    if not near:  # the last part of a dotted name may be right, and its place wrong
        last = name.rpartition(".")[2]
        near = [full for full in known if full.rpartition(".")[2] == last]
    if near:
        return f"did you mean {' or '.join(map(repr, near))}?"
    if len(known) > most_listed:
        return "see --help for those that there are"
    return f"known are {', '.join(map(repr, known))}" if known else "none is known"
