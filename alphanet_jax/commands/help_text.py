"""What the program says of itself: its commands, their help, and how it was started.

Descriptions of commands have `python main.py`, and messages of the library
`alphanet COMMAND`; what is shown has how the program was started instead.
"""

import re
import textwrap
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from absl import flags

from alphanet_jax import bundled
from alphanet_jax.version import __version__

__all__ = [
    "COMMANDS",
    "SECTIONS",
    "as_started",
    "fields_of",
    "help_on",
    "list_commands",
    "overview",
    "program_name",
    "purpose_of",
]

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
COMMANDS = {
    name: command for section in SECTIONS.values() for name, command in section.items()
}


def program_name(started: str) -> str:
    """Returns what to type to start the program, from the first of `sys.argv`."""
    path = Path(started)
    if path.name == "__main__.py":
        return "python -m alphanet_jax"
    if path.suffix == ".py":
        return f"python {started}"
    return path.stem if path.suffix == ".exe" else path.name


# A command to type, in a message of the library.
_TYPED = re.compile(rf"(?<![\w/.-])alphanet(?= (?:{'|'.join(COMMANDS)}) )")


def as_started(text: str, program: str) -> str:
    """Puts the program, as it was started, into examples of help and hints of errors.

    Examples:
      >>> as_started("make one with: alphanet train --config=mine", "python main.py")
      'make one with: python main.py train --config=mine'
    """
    if not program:
        return text
    text = text.replace("python convert_torch_features.py", f"{program} convert")
    return _TYPED.sub(lambda _: program, text.replace("python main.py", program))


def list_commands() -> str:
    """Lists all commands under their headings."""
    lines = []
    for heading, commands in SECTIONS.items():
        lines.append(heading)
        lines += [f"  {name:<10}  {text}" for name, (_, text) in commands.items()]
    lines.append("Help")
    return "\n".join([*lines, f"  {'help':<10}  all of this; help COMMAND: its flags"])


def overview(program: str) -> str:
    """Returns what the program shows without arguments."""
    configs = textwrap.fill(
        f"Configs, for --config=NAME: {', '.join(bundled.config_names())}.", 88
    )
    return f"""\
AlphaNet in JAX {__version__}: mends the rare classes of long-tailed classifiers.

usage: {program} COMMAND --flags

{list_commands()}

What to try first:
  {program} quickstart
  {program} fit --features=DIR --classifier=FILE --workdir=results/mine
  {program} results --base_res_dir=results/quickstart
  {program} combos --base_res_dir=results/quickstart --select_n=1 --mistake_n=3
  {program} help train

{configs}"""


def fields_of(module: Any) -> list[tuple[str, Any, str]]:
    """Returns name, default and help of the fields of the config, if there is one."""
    fields: list[tuple[str, Any, str]] = getattr(module, "fields", list)()
    return fields


def _describe(name: str, default: Any, purpose: str) -> str:
    """Formats one flag or field for help."""
    if isinstance(default, list):  # of a flag with several values
        default = " ".join(map(str, default))
    shown = "" if default in (None, "") else f" [{default}]"
    text = textwrap.fill(purpose_of(purpose) + shown, 86, initial_indent=" " * 6)
    return f"  --{name}\n" + text.replace("\n", "\n      ")


def purpose_of(text: str) -> str:
    """Returns the help of a flag, without what absl adds to it and it says itself."""
    text = " ".join(text.split())
    start, _, rest = text.partition(_OF_ABSL)
    if rest or text.endswith(_OF_ABSL):
        return start + ("" if _MAY_REPEAT in start else f"; {_MAY_REPEAT}") + rest
    return text


_OF_ABSL = "; repeat this option to specify a list of values"
_MAY_REPEAT = "may be repeated"
_OF_ALL = ("quiet", "debug")  # flags of all commands, which come last


def help_on(module: Any, usage: str, values: flags.FlagValues, intro: str) -> str:
    """Returns what help shows of a command.

    Args:
      module: The command.
      usage: How it is typed.
      values: Its flags.
      intro: Text to show after its description.
    """
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
    if fields := [_describe(*field) for field in fields_of(module)]:
        parts.append("Fields of the config, with [defaults]:\n" + "\n".join(fields))
    return "\n\n".join(part for part in parts if part)
