"""Programs and data that some tests need, and not every machine has.

Such a test is skipped where what it needs is missing. Three variables of the
environment change that, for CI, which must show both that the tests pass on a machine
with only Python and that none of them is skipped everywhere:

    ALPHANET_TESTS_HIDE_TOOLS=1     the tools are out of sight where there are any
    ALPHANET_TESTS_SKIPPED=FILE     the names of skipped tests are written there
    ALPHANET_TESTS_NEED_ALL=1       a test that is skipped fails the run
"""

import os
import shutil
from pathlib import Path
from typing import NoReturn

import pytest

from alphanet_jax.errors import UserError
from alphanet_jax.figures import style
from alphanet_jax.results import wordnet

HIDDEN = ("tex", "latex", "pdflatex", "xelatex", "lualatex", "luatex", "xetex",
          "pdftex", "kpsewhich", "pdftotext", "pdftoppm", "gs")  # fmt: skip


def missing(what: str) -> NoReturn:
    pytest.skip(what)


def need_latex() -> str:
    """Returns the LaTeX that figures in pgf are measured with."""
    try:
        return style.tex_system()
    except UserError as error:
        missing(str(error))


def need_program(name: str) -> None:
    if shutil.which(name) is None:
        missing(f"there is no {name}")


def hide(directory: Path) -> None:
    """Puts LaTeX, poppler and WordNet out of sight of this process and its children.

    Args:
      directory: Where links to all other programs go; made if it is not there.
    """
    directory.mkdir(parents=True, exist_ok=True)
    for place in os.environ["PATH"].split(os.pathsep):
        for program in Path(place).iterdir() if Path(place).is_dir() else ():
            link = directory / program.name
            if program.name not in HIDDEN and not os.path.lexists(link):
                link.symlink_to(program)
    os.environ["PATH"] = str(directory)
    os.environ["NLTK_DATA"] = ""
    wordnet._DEBIAN = Path(os.devnull)
    try:
        import nltk
    except ImportError:
        return
    nltk.data.path.clear()
