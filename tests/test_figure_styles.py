"""Styles of figures: sizes, colors, fonts, texts that are safe to draw."""

import re
import subprocess

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pytest
import tools

from alphanet_jax.errors import UserError
from alphanet_jax.figures import (
    style,
)

pytestmark = pytest.mark.usefixtures("closed_figures")


@pytest.mark.parametrize(
    ("changes", "settings"),
    [
        ({"theme": "dark"}, {"axes.facecolor": "#15191e", "text.color": "#e8e8e8"}),
        ({"context": "talk"}, {"font.size": 13.5, "lines.linewidth": 1.95}),
        ({"context": "poster"}, {"font.size": 18.0, "xtick.major.size": 6.0}),
        ({"scale": 2.0}, {"font.size": 18.0, "lines.markersize": 8.0}),
        ({"dpi": 50}, {"figure.dpi": 50.0, "savefig.dpi": 50.0}),
        ({"font_default": "monospace"}, {"font.family": ["monospace"]}),
        ({"font_default": "DejaVu Serif"}, {"font.family": ["DejaVu Serif"]}),
        ({"font_serif": ["No Such", "STIXGeneral"]}, {"font.serif": ["STIXGeneral"]}),
        ({"font_sans_serif": ["STIXGeneral"]}, {"font.sans-serif": ["STIXGeneral"]}),
        ({"font_math": "cm"}, {"mathtext.fontset": "cm"}),
        ({"font_size": 20.0}, {"axes.labelsize": 20.0, "xtick.labelsize": 7.5}),
        ({"small_font_size": 5.0}, {"legend.fontsize": 5.0, "font.size": 9.0}),
        ({"bg": "red"}, {"savefig.facecolor": "red", "axes.facecolor": "red"}),
        ({"fg_primary": "blue"}, {"axes.edgecolor": "blue", "text.color": "blue"}),
        ({"fg_secondary": "lime"}, {"grid.color": "lime"}),
        ({"transparent": True}, {"savefig.transparent": True}),
    ],
)
def test_settings_follow_from_the_style(changes, settings):
    look = style.make_style("png", **changes)
    plain = {name: mpl.rcParams[name] for name in settings}
    with style.make_style("png").applied():
        usual = {name: mpl.rcParams[name] for name in settings}
    with look.applied():
        found = {name: mpl.rcParams[name] for name in settings}
    for name, wanted in settings.items():
        same = mpl.rcParams.validate[name](wanted)
        assert found[name] == pytest.approx(same), name
        assert {name: mpl.rcParams[name] for name in settings} == plain
    assert found != usual


@pytest.mark.parametrize(
    ("changes", "shape", "wanted"),
    [
        ({}, {}, (3.25, 1.625)),
        ({"width": "full"}, {}, (6.75, 3.375)),
        ({"width": "4"}, {"aspect": 1.0}, (4.0, 4.0)),
        ({"width": "half", "default_half_width": 2.0}, {}, (2.0, 1.0)),
        ({"width": "full", "default_full_width": 8.0}, {}, (8.0, 4.0)),
        ({"aspect": 1.5}, {"aspect": 9.0}, (3.25, 3.25 / 1.5)),
        ({"scale": 2.0}, {}, (6.5, 3.25)),
        ({}, {"rows": 3, "columns": 2, "aspect": 1.0}, (3.25, 3.25 * 1.5)),
    ],
)
def test_sizes_follow_from_the_style(changes, shape, wanted):
    look = style.make_style("png", **changes)
    assert look.size(**shape) == pytest.approx(wanted)


@pytest.mark.parametrize("name", style.STYLES)
def test_colors_can_be_read_on_their_background(name):
    from matplotlib.colors import to_rgb

    look = style.make_style(name)

    def luminance(color):
        parts = np.array(to_rgb(color))
        linear = np.where(
            parts <= 0.04045, parts / 12.92, ((parts + 0.055) / 1.055) ** 2.4
        )
        return linear @ [0.2126, 0.7152, 0.0722]

    def contrast(color):
        a, b = sorted([luminance(color), luminance(look.background)])
        return (b + 0.05) / (a + 0.05)

    assert contrast(look.foreground) > 12.0
    assert contrast(look.secondary) > 4.0
    for colors in (look.splits.values(), look.outcomes.values(), look.cycle):
        assert len(set(colors)) == len(list(colors))
        assert min(map(contrast, colors)) > 2.0
    assert set(look.markers) == set(look.splits)
    assert len(set(look.markers.values())) == len(look.markers)


NASTY = r"\ { } $ & # _ ~ % ^ < > | \alpha $x^2$ a_b 100% {\bf x} # ' `` -- \\ \end{x}"


def test_special_characters_stay_what_they_are():
    """Not read as formulas: the parts drawn have just these characters."""
    from matplotlib.textpath import TextPath

    for text in (NASTY, "$", "$$", "a $b$ c", "a$"):
        look = style.make_style("png")
        figure = plt.figure()
        shown = figure.text(0.0, 0.0, look.text(text))
        plain, is_math = shown._preprocess_math(shown.get_text())
        assert (plain, is_math) == (text, False)
        figure.draw_without_rendering()
    assert TextPath is not None


@pytest.mark.slow
def test_special_characters_in_latex(tmp_path):
    """Compiled, with what it says read from the page."""
    system = tools.need_latex()
    look = style.make_style("paper")
    texts = [*r"\{}$&#_~%^", NASTY, "$", "a $b$", "Größe"]
    with look.applied():
        figure = plt.figure(figsize=(6.0, 6.0))
        for place, text in enumerate(texts):
            figure.text(0.05, 0.98 - 0.065 * place, f"q{look.text(text)}q", va="top")
        figure.savefig(tmp_path / "f.pgf")
    (tmp_path / "t.tex").write_text(
        r"\documentclass{article}\usepackage{pgf}\begin{document}\pagestyle{empty}"
        r"\noindent\input{f.pgf}\end{document}"
    )
    command = [system, "-interaction=nonstopmode", "-halt-on-error", "t"]
    done = subprocess.run(
        command, cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout[-2000:]
    tools.need_program("pdftotext")  # to read what was set
    read = subprocess.run(
        ["pdftotext", "-layout", "t.pdf", "-"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    lines = [re.sub(r"\s", "", line) for line in read.splitlines() if line.strip()]
    # What LaTeX makes of quotes and dashes in plain text, and shapes of signs.
    same = {"\u201c": "``", "\u2019": "'", "\u2018": "`", "\u2013": "--"}
    same |= {"\u02dc": "~", "\u02c6": "^", "\u223c": "~"}
    found = ["".join(same.get(c, c) for c in line) for line in lines]
    wanted = [re.sub(r"\s", "", f"q{text}q") for text in texts]
    assert found == wanted


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"width": "wide"}, "--width must be half, full or a number of inches below"),
        ({"width": "-1"}, "--width must be half, full or a number of inches below"),
        ({"width": "nan"}, "--width must be half, full or a number of inches below"),
        ({"bg": "nocolor"}, "--bg must be a color, such as black or '#1f1f1f', got"),
        ({"fg_primary": "#12"}, "--fg_primary must be a color"),
        ({"fg_secondary": "x"}, "--fg_secondary must be a color"),
    ],
)
def test_styles_that_are_refused(changes, said):
    with pytest.raises(UserError, match=re.escape(said)):
        style.make_style("png", **changes)


def test_a_font_that_is_not_there():
    look = style.make_style("png", font_default="No Such Font")
    with pytest.raises(UserError, match="--font_default: no font 'No Such Font'"):
        look.applied().__enter__()


def test_a_family_of_which_no_font_is_there():
    look = style.make_style("png", font_serif=["No Such Font", "Nor This"])
    said = "--font_serif: none of 'No Such Font', 'Nor This' is installed"
    with pytest.raises(UserError, match=said):
        look.applied().__enter__()


def test_no_latex(monkeypatch):
    monkeypatch.setattr(style.shutil, "which", lambda name: None)
    with pytest.raises(UserError, match="a figure in pgf needs LaTeX"):
        style.tex_system()
