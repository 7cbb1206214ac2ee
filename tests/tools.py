"""Programs and data that some tests need, and not every machine has.

Such a test is skipped where what it needs is missing, but for machines that must run
everything: with ALPHANET_TESTS_NEED_ALL set, as CI sets it, it fails.
"""

import os
import shutil
from typing import NoReturn

import pytest

from alphanet_jax.errors import UserError
from alphanet_jax.figures import style


def missing(what: str) -> NoReturn:
    if os.environ.get("ALPHANET_TESTS_NEED_ALL"):
        pytest.fail(f"this machine must run all tests, but {what}")
    pytest.skip(what)


def need_latex() -> str:
    """Gives the LaTeX that figures in pgf are measured with."""
    try:
        return style.tex_system()
    except UserError as error:
        missing(str(error))


def need_program(name: str) -> None:
    if shutil.which(name) is None:
        missing(f"there is no {name}")
