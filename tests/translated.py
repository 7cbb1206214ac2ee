"""Commands of the original, translated by the table of the documents and no more.

What the table has is all that is known of our options here: names stand for names,
programs for programs, and values are written as in its examples.
"""

import re
import shlex
from fnmatch import fnmatchcase
from pathlib import Path

ROOT = Path(__file__).parents[1]


def table(*headings):
    """Reads the rows of the one table of the documents that has these headings."""
    start = "| " + " | ".join(headings) + " |\n"
    documents = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
    texts = [path.read_text(encoding="utf-8") for path in documents]
    (text,) = [text for text in texts if start in text]
    lines = text.split(start)[1].splitlines()[1:]
    end = next(i for i, line in enumerate([*lines, ""]) if not line.startswith("|"))
    return [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines[:end]]


def spans(cell):
    return re.findall(r"`([^`]+)`", cell)


def whole_names(names, separator):
    """Writes out names that are cut, such as `...:optim-params` and `.val_datagrp`."""
    found = []
    for name in names:
        begin = found[-1].rpartition(separator)[0] if found else ""
        if name.startswith("..."):
            name = begin + name.removeprefix("...")
        elif name.startswith(".") or not name.startswith("-"):
            name = begin + separator + name.lstrip(separator)
        found.append(name)
    return found


def switch(name, *, off="no-"):
    """The two names that `--[no-]x` stands for, or the one."""
    short = re.sub(r"\[no-?\]", "", name)
    return [short] if short == name else [short, f"--{off}{short[2:]}"]


def _in_a_clone(command):
    """Splits a command; `alphanet` is `python main.py` in a clone."""
    program, *words = shlex.split(command)
    return [*(["python", "main.py"] if program == "alphanet" else [program]), *words]


class Table:
    """What the table says: programs, options, and those that are gone."""

    def __init__(self):
        self.programs, self.options, self.examples, self.gone = {}, {}, {}, {}
        self.patterns, self.file, self.without_r = [], {}, {}
        for there, here in table("original", "here"):
            self._read(there, here)
        self.figures = {
            name.strip("`"): here.strip("`")
            for here, _, name in table("NAME", "shows", "the original's")
        }

    def _read(self, there, here):
        left, right = spans(there), spans(here)
        if there.startswith("`--"):  # of which program is said for people
            left = [name for name in left if ".py" not in name or " " in name]
        if here.startswith("(none"):
            self.gone |= {name: there for name in left if name.startswith("--")}
        elif not left or there.startswith("(none"):
            return
        elif ".py" in left[0] or ".sh" in left[0]:
            for name in left:
                self.programs[tuple(shlex.split(name))] = _in_a_clone(right[0])
            if not right[1:]:
                return
            # A remark on an option of that program.
            self.options |= dict(re.findall(r"`(--[\w-]+)` is `(--\w+)`", here))
        elif left[0].endswith(":*"):
            names = zip(left, spans(here), strict=True)
            self.patterns += [(a, b) for a, b in names]
        elif left[0].endswith(' ""'):
            self.without_r[shlex.split(left[0])[0]] = right[0]
        elif len(left) == 1 and shlex.split(left[0])[1:]:
            # With an example of values; of alternatives the one that has them all.
            name, *values = shlex.split(left[0])
            wanted = "".join(values)
            if right[1:]:
                right = [one for one in right if _letters(wanted) in _letters(one)]
            target = re.match(r"--[\w.]+", right[-1])[0]
            self.options[name], self.examples[name] = target, right[-1]
        elif left[0].startswith("--"):
            names = [n for name in whole_names(left, ":") for n in switch(name)]
            ours = [name for name in right if name.startswith(("-", "."))]
            ours = whole_names(ours, ".")
            ours = [n for name in ours for n in switch(name, off="no")]
            self.options |= dict(zip(names, ours, strict=True))
            if len(right) > len(ours):  # a file in the directory that it gets
                self.file[names[0]] = right[-1]

    def translate(self, command, *, repetition=0, known=()):
        """Translates a command.

        Args:
          command: Its words.
          repetition: Which time it is.
          known: The flags of our command, where the table says "figures without".

        Returns:
          The words of ours.
        """
        words = [word for word in command if word not in ("python", "-O")]
        program, *words = words
        figure = None
        if not words[0].startswith("-"):
            figure = self.figures[words.pop(0)]
        options = _options(words)
        begin = self._program(program, options, figure)
        target = [str(repetition) if w == "I" else w for w in begin]
        target = [re.sub(r"=I$", f"={repetition}", word) for word in target]
        for name, values in options:
            if "train" not in program and name in self.gone:
                some = "without" in self.gone[name] and _ours(name) in known
                if not some:
                    continue
            target += self._option(name, values, reports="train" not in program)
        return target

    def _program(self, program, options, figure):
        rows = [row for row in self.programs if row[0].rstrip(",") == program]
        if figure is not None:
            target = self.programs[rows[0]]
            return [*target[: target.index("NAME")], figure]
        # The row that has an option of this command, where there is one.
        given = {name for name, _ in options}
        row = max((row for row in rows if given.issuperset(row[1:])), key=len)
        options[:] = [each for each in options if each[0] not in row[1:]]
        return self.programs[row]

    def _option(self, name, values, *, reports):
        ours = self.options.get(name)
        if name in self.without_r and not any(values):
            return [self.without_r[name]]
        if name in self.file:
            return [f"{ours}={Path(values[0]).parent.as_posix()}"]
        if ours is None:
            for there, here in self.patterns:
                if fnmatchcase(name, there):
                    rest = name.removeprefix(there.rstrip("*"))
                    ours = here.rstrip("*") + rest.replace("-", "_")
                    break
            else:
                # "its options with underscores"
                assert reports, f"no row for {name}"
                assert ":" not in name, f"no row for {name}"
                ours = _ours(name)
        example = self.examples.get(name, "")
        if ".pkl" in "".join(values) and ".npz" in example:
            values = [re.sub(r"\.\w+$", ".npz", value) for value in values]
        if not ours.startswith("--config."):
            return [ours, *values]
        if not values:
            return [f"{ours}=True"]
        if "(" in example or len(values) > 1:
            return [f"{ours}={tuple(map(_number, values))!r}"]
        return [f"{ours}={values[0]}"]


def _ours(name):
    """The name with underscores, as absl has it."""
    return "--" + re.sub("^--no-", "--no", name)[2:].replace("-", "_")


def _letters(text):
    return "".join(re.findall(r"[\w=.]", text))


def _number(word):
    return int(word) if word.isdecimal() else word


def _options(words):
    """Lists options with the words after each."""
    found = []
    for word in words:
        if word.startswith("--"):
            found.append((word, []))
        else:
            found[-1][1].append(word)
    return found
