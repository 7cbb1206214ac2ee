"""The code on pages: its blocks, and shell commands as the programs would read them."""

import dataclasses
import importlib
import re
import shlex
import tomllib
from pathlib import Path

from absl import flags

from alphanet_jax.commands import cli, help_text

ROOT = Path(__file__).parents[1]
PAGES = sorted(
    [
        *(ROOT / "docs").glob("*.md"),
        *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "SECURITY.md")),
        *(ROOT / name / "README.md" for name in ("benchmarks", "data", "examples")),
    ]
)
NAMES = [str(path.relative_to(ROOT)) for path in PAGES]


@dataclasses.dataclass(frozen=True)
class Block:
    """A block of code of a page."""

    page: str
    line: int
    language: str
    text: str

    def __str__(self):
        return f"{self.page}:{self.line}"


def blocks(page):
    """Lists the blocks of a page; those that are only indented are shell."""
    text = (ROOT / page).read_text(encoding="utf-8")
    found = []
    for match in re.finditer(r"^```(\w*)\n(.*?)^```$", text, re.M | re.S):
        line = text[: match.start()].count("\n") + 1
        found.append(Block(page, line, match[1], match[2]))
    outside = re.sub(
        r"^```.*?^```$", lambda m: "\n" * m[0].count("\n"), text, flags=re.M | re.S
    )
    for match in re.finditer(r"(?<=\n\n)(?: {4}\S.*\n(?: {4}.*\n)*)", outside):
        if re.match(r" {4}(python|pip|pytest|jupyter|alphanet)\b", match[0]):
            line = outside[: match.start()].count("\n") + 1
            found.append(Block(page, line, "bash", re.sub("(?m)^ {4}", "", match[0])))
    return found


def commands(text):
    """Splits a block of shell into commands, each a list of words."""
    text = re.sub(r"\\\n\s*", " ", text)
    text = re.sub(r"&&\s*\n?\s*", "\n", text)
    split = [shlex.split(line, comments=True) for line in text.splitlines()]
    return [words for words in split if words]


def check(words):
    """Checks a command as far as it goes without running it."""
    program, rest = Path(words[0]).name, words[1:]
    if program == "alphanet":
        return parse(rest)
    if program in ("python", "python3"):
        return _check_python(rest)
    if program == "pytest":
        return _check_pytest(rest)
    if program == "pip":
        return _check_pip(rest)
    if words[0] == ".ci/run":
        assert (ROOT / ".ci" / "run").exists()
        return None
    if program == "make":
        text = (ROOT / "Makefile").read_text(encoding="utf-8")
        targets = set(re.findall(r"(?m)^([a-z]+): ##", text))
        assert rest
        assert set(rest) <= targets
        return None
    known = {"ruff": {"check", "format"}, "mypy": set(), "pre-commit": {"install"},
             "jupyter": {"lab"}, "source": {".venv/bin/activate"}}  # fmt: skip
    assert program in known, f"no such program is known: {program}"
    assert not known[program] or rest[0] in known[program]
    for path in rest[1:]:
        assert (ROOT / path).exists(), path
    return None


def parse(words):
    """Parses what is typed behind `alphanet`, without running it.

    Returns:
      The flags.
    """
    words = list(words)
    name = words.pop(0) if words and not words[0].startswith("-") else "train"
    if name == "help":
        assert words[0] in help_text.COMMANDS
        return None
    module = importlib.import_module(help_text.COMMANDS[name][0])
    if hasattr(module, "choose"):
        module = module.choose(words.pop(0))
    values = flags.FlagValues()
    for flag in ("help", "debug", "quiet"):
        flags.DEFINE_bool(flag, False, "", flag_values=values)
    arguments = [name, *getattr(module, "prepare_arguments", list)(words)]
    module.define_flags(values, arguments)
    assert not cli._parse(values, arguments), f"not a flag: {words}"
    return values


def _check_python(rest):
    if rest[:1] == ["-c"]:
        return exec(compile(rest[1], "<page>", "exec"), {})
    if rest[:2] == ["-m", "venv"]:
        return None
    if rest[:2] == ["-m", "pytest"]:
        return _check_pytest(rest[2:])
    if rest[:1] == ["main.py"]:
        return parse(rest[1:])
    if rest[:1] == ["convert_torch_features.py"]:
        return parse(["convert", *rest[1:]])
    script = ROOT / rest[0]
    # A directory is run by its `__main__`.
    source = script / "__main__.py" if script.is_dir() else script
    files = [source, *source.parent.glob("*.py")]
    text = "".join(path.read_text(encoding="utf-8") for path in files)
    for word in rest[1:]:
        if word.startswith("--"):
            flag = word.partition("=")[0].removeprefix("--")
            assert re.search(rf'"(--)?{flag}"', text), f"{rest[0]} has no --{flag}"
    return None


def _check_pytest(rest):
    for word in rest:
        path, *names = word.split("::")
        if path.endswith(".py"):
            text = (ROOT / path).read_text(encoding="utf-8")
            assert all(re.search(rf"\b{name}\b", text) for name in names), word


def _check_pip(rest):
    assert rest[0] == "install"
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    extras = tomllib.loads(text)["project"]["optional-dependencies"]
    for word in rest[1:]:
        if match := re.fullmatch(r"(?:\.|alphanet_jax)\[([\w,]+)\]", word):
            assert set(match[1].split(",")) <= extras.keys(), word
