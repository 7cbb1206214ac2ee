"""What every kind of figure says of itself."""

import dataclasses
import subprocess
import sys
from collections.abc import Sequence
from typing import Annotated

import pytest

from alphanet_jax.commands import plot as plot_command
from alphanet_jax.figures import (
    KINDS,
    load_kind,
)
from alphanet_jax.figures import kind as kind_module
from alphanet_jax.figures.numbers import Sources
from alphanet_jax.figures.options import About, LegendOptions, Option, declared
from alphanet_jax.results.datasets import DataFinder


@pytest.mark.parametrize("name", KINDS)
def test_every_kind_loads_and_explains_its_options(name):
    kind = load_kind(name)
    assert (kind.name, kind.summary) == (name, KINDS[name])
    assert f"python main.py plot {name}" in kind.description
    ours = name not in kind_module.ORIGINALS.values()
    assert ("The original's" in kind.description) == (not ours)
    assert max(map(len, kind.description.splitlines())) <= 88
    flags = [option.name for option in kind.options]
    assert len({*flags, "out", "style", *plot_command._STYLE_FLAGS}) == (
        len(flags) + 2 + len(plot_command._STYLE_FLAGS)
    )
    for option in kind.options:
        assert option.help
        assert option.value_type in (bool, int, float, str)
        if option.choices is not None and option.default is not None:
            values = option.default if option.several else [option.default]
            assert set(values) <= set(option.choices)
    with pytest.raises(TypeError, match="'no_such_option'"):
        kind.numbers(Sources((), DataFinder()), no_such_option=1)


def test_options_are_what_a_dataclass_declares():
    @dataclasses.dataclass(frozen=True)
    class Options(LegendOptions):
        legend_loc: Annotated[str, "elsewhere"] = "none"
        ends: Annotated[Sequence[float] | None, "ends"] = None
        of: Annotated[str | None, About("what", choices=("a", "b"))] = None

    assert declared(Options) == (
        declared(LegendOptions)[0],
        Option("legend_loc", "none", str, False, "elsewhere", None, None),
        declared(LegendOptions)[2],
        Option("ends", None, float, True, "ends", None, None),
        Option("of", None, str, False, "what", ("a", "b"), None),
    )


@pytest.mark.slow
def test_kinds_are_listed_without_what_draws_them():
    code = (
        "import sys\n"
        "from alphanet_jax.figures import KINDS, load_kind\n"
        "for name in KINDS: assert load_kind(name).options\n"
        "print({'matplotlib', 'jax', 'scipy', 'sklearn', 'PIL'} & sys.modules.keys())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("set()\n", "")


def test_kinds_of_the_original_are_those_that_descriptions_name():
    for original, ours in kind_module.ORIGINALS.items():
        assert f"The original's {original}." in " ".join(
            load_kind(ours).description.split()
        )
    assert len(kind_module.ORIGINALS) == 12 == len({*kind_module.ORIGINALS.values()})
    assert {*kind_module.ORIGINALS.values()} < KINDS.keys()
