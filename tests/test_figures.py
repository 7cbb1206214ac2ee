"""What all figures share, the command that draws them, the two kinds against rho."""

import csv
import dataclasses
import functools
import io
import itertools
import re
import subprocess
import sys
from collections.abc import Sequence
from typing import Annotated

import made_results
import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pytest
import tools

from alphanet_jax.commands import cli
from alphanet_jax.commands import plot as plot_command
from alphanet_jax.errors import UserError
from alphanet_jax.figures import (
    KINDS,
    drawing,
    load_kind,
    panel,
    saving,
    splits,
    statistics,
    style,
    wrapping,
)
from alphanet_jax.figures import kind as kind_module
from alphanet_jax.figures import labels as axis_names
from alphanet_jax.figures.numbers import Sources, csv_text, make_columns, select
from alphanet_jax.figures.options import About, LegendOptions, Option, declared
from alphanet_jax.results import sets as result_sets
from alphanet_jax.results.datasets import DataFinder

accuracy_vs_rho = load_kind("accuracy_vs_rho")
change_vs_rho = load_kind("change_vs_rho")
PAPER_RHOS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0, 1.25, 1.5, 1.75, 2.0, 3.0)


@pytest.fixture(autouse=True)
def _matplotlib():
    saving.check_matplotlib()
    yield
    plt.close("all")


# --- statistics


def test_bootstrap_means_are_those_of_the_rows_drawn():
    values = np.random.default_rng(1).normal(size=(5, 3))
    found = statistics.bootstrap_means(values, n_boot=40, rng=np.random.default_rng(7))
    rows = np.random.default_rng(7).integers(5, size=(40, 5))
    slow = [np.mean([values[i] for i in row], axis=0) for row in rows]
    np.testing.assert_allclose(found, slow)


def test_bootstrap_of_one_value_is_that_value():
    rng = np.random.default_rng(0)
    found = statistics.bootstrap_means(np.array([2.5]), n_boot=3, rng=rng)
    assert found.tolist() == [2.5] * 3


def test_the_interval_holds_its_part():
    samples = np.stack([np.arange(101.0), -np.arange(101.0)], axis=1)
    low, high = statistics.interval(samples)
    assert low.tolist() == [2.5, -97.5]
    assert high.tolist() == [97.5, -2.5]
    low, high = statistics.interval(samples[:, 0], percent=50.0)
    assert (low, high) == (25.0, 75.0)


def test_pearson_is_numpys(rng):
    x, y = rng.normal(size=(2, 30))
    assert statistics.pearson(x, x + y) == pytest.approx(np.corrcoef(x, x + y)[0, 1])
    assert np.isnan(statistics.pearson(np.ones(4), np.arange(4.0)))
    assert statistics.pearson(np.arange(4.0), -np.arange(4.0)) == -1.0


def test_density_is_a_sum_of_gaussians_of_scotts_width(rng):
    values, grid = rng.normal(size=17), np.linspace(-3.0, 3.0, 9)
    width = values.std(ddof=1) * 17 ** (-1 / 5)
    wanted = [
        np.mean(np.exp(-0.5 * ((x - values) / width) ** 2)) / width / np.sqrt(2 * np.pi)
        for x in grid
    ]
    np.testing.assert_allclose(statistics.density(values, grid), wanted)
    for same in (np.ones(4), np.ones(1)):
        assert np.isnan(statistics.density(same, grid)).all()


# --- numbers


def test_csv_has_all_digits_and_nothing_for_nan():
    columns = {
        "name": np.array(['a "b", c', "d\ne", "µ"]),
        "value": np.array([0.1 + 0.2, np.nan, -1e-300]),
        "count": np.array([1, 2, 3]),
    }
    rows = list(csv.reader(io.StringIO(csv_text(columns))))
    assert rows[0] == ["name", "value", "count"]
    assert [row[0] for row in rows[1:]] == columns["name"].tolist()
    assert [row[2] for row in rows[1:]] == ["1", "2", "3"]
    assert rows[2][1] == ""
    assert [float(rows[i][1]) for i in (1, 3)] == [0.1 + 0.2, -1e-300]
    assert csv_text({"a": np.zeros(0), "b": np.zeros(0)}) == "a,b\n"


def test_rows_and_columns():
    columns = make_columns(("a", "b"), [("x", 1), ("y", 2), ("x", 3)])
    assert select(columns, a="x")["b"].tolist() == [1, 3]
    assert select(columns, a="x", b=3)["b"].tolist() == [3]
    assert make_columns(("a",), [])["a"].size == 0


# --- style


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


# --- saving


NUMBERS = {
    "": {"x": np.array([0.0, 1.0]), "y": np.array([2.0, np.nan])},
    "more": {"z": np.array([1])},
}


def draw_line(numbers, look, *, color="red"):
    figure, axes = plt.subplots(figsize=look.size())
    axes.plot(numbers[""]["x"], [0.0, 1.0], color=color)
    axes.set_title(look.text("100% $a_b"))
    return figure


@pytest.mark.slow
def test_files_of_one_and_of_several_styles(tmp_path):
    one = saving.save_figure(
        NUMBERS, draw_line, tmp_path / "a.b", [style.STYLES["png"]]
    )
    assert [p.name for p in one] == ["a.b.png", "a.b.csv", "a.b.more.csv"]
    assert (tmp_path / "a.b.csv").read_text() == "x,y\n0.0,2.0\n1.0,\n"
    assert (tmp_path / "a.b.more.csv").read_text() == "z\n1\n"
    looks = [style.STYLES["arxiv"], style.STYLES["web_dark"], style.STYLES["book"]]
    three = saving.save_figure(NUMBERS, draw_line, tmp_path / "d/c", looks)
    assert [p.name for p in three] == [
        *("c.arxiv.pdf", "c.web_dark.svg", "c.book.pdf", "c.csv", "c.more.csv"),
    ]
    named = saving.save_figure(
        NUMBERS, draw_line, tmp_path / "n", looks[:1], name_styles=True
    )
    assert named[0].name == "n.arxiv.pdf"
    assert all(path.is_file() for path in [*one, *three, *named])
    assert not plt.get_fignums()


def test_two_styles_are_never_one_file(tmp_path):
    looks = [style.make_style(name) for name in ("web_light", "web_dark")]
    with pytest.raises(
        UserError,
        match=r"n\.svg: styles web_light and web_dark would both be in this file; wri",
    ):
        saving.save_figure(NUMBERS, draw_line, tmp_path / "n", looks, name_styles=False)
    dark = style.make_style("png", theme="dark")
    with pytest.raises(UserError, match=r"n\.png: styles png and png would both be"):
        saving.save_figure(
            NUMBERS, draw_line, tmp_path / "n", [style.make_style("png"), dark]
        )
    assert not list(tmp_path.iterdir())


def test_equal_bytes_twice(tmp_path):
    looks = [style.STYLES[n] for n in ("arxiv", "web_light", "web_dark", "png")]
    first, second = (
        saving.save_figure(NUMBERS, draw_line, tmp_path / name / "f", looks)
        for name in ("a", "b")
    )
    for one, two in zip(first, second, strict=True):
        assert one.read_bytes() == two.read_bytes()
    other = saving.save_figure(
        NUMBERS, draw_line, tmp_path / "c/f", looks, options={"color": "blue"}
    )
    for one, two in zip(first[:4], other[:4], strict=True):
        assert one.read_bytes() != two.read_bytes()


def test_all_or_nothing(tmp_path):
    (tmp_path / "f.png").write_text("old")
    (tmp_path / "f.csv").write_text("old")

    def fail(numbers, look):
        plt.subplots()
        raise UserError("no")

    mine = plt.figure()
    with pytest.raises(UserError, match=r"^no$"):
        saving.save_figure(NUMBERS, fail, tmp_path / "f", [style.STYLES["png"]])
    assert plt.get_fignums() == [mine.number]

    def fail_in_second(numbers, look):
        if look.name == "web_dark":
            raise UserError("no")
        return draw_line(numbers, look)

    looks = [style.STYLES[n] for n in ("png", "web_dark")]
    with pytest.raises(UserError, match=r"^no$"):
        saving.save_figure(NUMBERS, fail_in_second, tmp_path / "f", looks)
    bad = NUMBERS | {"bad": {"a": "no array"}}
    with pytest.raises(AttributeError):
        saving.save_figure(bad, draw_line, tmp_path / "f", looks[:1])
    assert sorted(p.name for p in tmp_path.iterdir()) == ["f.csv", "f.png"]
    assert (tmp_path / "f.png").read_text() == (tmp_path / "f.csv").read_text() == "old"


def test_one_style_of_several_fails(tmp_path):
    failed = []

    def fail_in_dark(numbers, look):
        figure = draw_line(numbers, look)
        if look.name == "web_dark":
            raise UserError("too dark")
        return figure

    def save(names):
        looks = [style.STYLES[name] for name in names]
        return saving.save_figure(
            NUMBERS,
            fail_in_dark,
            tmp_path / "f",
            looks,
            on_failure=lambda look, error: failed.append((look.name, str(error))),
        )

    paths = save(["web_dark", "png"])
    assert [path.name for path in paths] == ["f.png", "f.csv", "f.more.csv"]
    assert sorted(paths) == sorted(tmp_path.iterdir())
    assert failed == [("web_dark", "too dark")]
    for path in paths:
        path.unlink()
    with pytest.raises(UserError, match="too dark"):
        save(["web_dark"])
    assert not any(tmp_path.iterdir())
    assert len(failed) == 1
    assert not plt.get_fignums()


def test_where_nothing_can_be_written(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"file/f: (Not a directory|File exists)"):
        saving.save_figure(
            NUMBERS, draw_line, tmp_path / "file" / "f", [style.STYLES["png"]]
        )


def test_what_latex_stops_at(tmp_path):
    tools.need_latex()

    def draw(numbers, look, *, measured):
        figure = plt.figure()
        figure.text(0.5, 0.5, r"\undefinedcommand")
        if measured:  # before the file is written
            wrapping.text_ruler(figure, look)(r"\undefinedcommand")
        return figure

    for measured in (False, True):
        options = {"measured": measured}
        with pytest.raises(UserError) as caught:
            saving.save_figure(
                NUMBERS,
                draw,
                tmp_path / "f",
                [style.STYLES["paper"]],
                options=options,
            )
        assert str(caught.value).endswith(
            r"f.pgf: LaTeX stops at a text of it: \undefinedcommand "
            "(Undefined control sequence.)"
        )
        assert not list(tmp_path.iterdir())


@pytest.mark.slow
@pytest.mark.parametrize(
    ("code", "error"),
    [
        ("exit 1", "LaTeX fails: "),
        ("exec 0<&-; sleep 1; exit 3", "LaTeX fails: "),
    ],
)
def test_a_latex_that_does_not_work(tmp_path, monkeypatch, code, error):
    from matplotlib.backends import backend_pgf

    program = tmp_path / "bin" / "xelatex"
    program.parent.mkdir()
    program.write_text(f"#!/bin/sh\n{code}\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(program.parent), prepend=":")
    backend_pgf.LatexManager._get_cached_or_new_impl.cache_clear()
    with pytest.raises(UserError, match=error) as caught:
        saving.save_figure(
            NUMBERS,
            lambda numbers, look: drawing.panels(look, 2)[0],
            tmp_path / "f",
            [style.STYLES["paper"]],
        )
    backend_pgf.LatexManager._get_cached_or_new_impl.cache_clear()
    assert "\n" not in str(caught.value)
    assert [path.name for path in tmp_path.iterdir()] == ["bin"]


def test_a_defect_of_a_kind_is_none_of_latex(tmp_path, monkeypatch):
    # Named but never started: the defect comes before any text is measured.
    monkeypatch.setattr(style, "tex_system", lambda: "xelatex")

    def draw(numbers, look):
        raise ValueError("a defect")

    with pytest.raises(ValueError, match="a defect"):
        saving.save_figure(NUMBERS, draw, tmp_path / "f", [style.STYLES["paper"]])


def test_no_matplotlib(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(UserError, match=r"pip install 'alphanet_jax\[plots\]'"):
        saving.check_matplotlib()


# --- drawing and wrapping


@pytest.mark.parametrize("context", ["paper", "talk"])
@pytest.mark.parametrize("count", [1, 4, 10])
def test_the_legend_fits_the_width(context, count):
    look = style.make_style("png", context=context)
    with look.applied():
        figure, (axes,) = drawing.panels(look, 1)
        handles = axes.plot(np.zeros((2, count)))
        labels = [f"neighbor {i}" for i in range(count)]
        drawing.draw_legend(figure, axes, look, handles, labels)
        figure.draw_without_rendering()
        (legend,) = figure.legends
        assert legend.get_window_extent().width < figure.bbox.width
        top = legend.get_window_extent()
        assert top.y0 >= axes.get_window_extent().y1
        rows = -(-count // legend._ncols)
        assert legend._ncols == -(-count // rows)
        if rows > 1:  # a row less would be too wide
            wider = figure.legend(
                handles,
                labels,
                loc="outside upper center",
                ncols=-(-count // (rows - 1)),
                columnspacing=1.2,
                handletextpad=0.5,
            )
            assert wider.get_window_extent().width > 0.98 * figure.bbox.width


def test_places_of_the_legend():
    look = style.make_style("png")
    with look.applied():
        figure, (axes,) = drawing.panels(look, 1)
        lines, labels = axes.plot([0, 1]), ["a"]
        nowhere = LegendOptions(legend_loc="none")
        drawing.draw_legend(figure, axes, look, lines, labels, nowhere)
        assert not figure.legends
        assert axes.get_legend() is None
        inside = LegendOptions(legend_loc="lower left", legend_ncols=2)
        drawing.draw_legend(figure, axes, look, lines * 3, "abc", inside)
        assert axes.get_legend()._ncols == 2
        drawing.draw_legend(
            figure, axes, look, lines * 3, "abc", LegendOptions(legend_ncols=2)
        )
        assert figure.legends[0]._ncols == 2
        for place, said in (
            ("uper left", "unknown place 'uper left'; did you mean"),
            ("xyz", "'above', 'beside', 'none', 'best', 'upper right'"),
        ):
            with pytest.raises(UserError, match=said):
                drawing.draw_legend(
                    figure, axes, look, lines, labels, LegendOptions(legend_loc=place)
                )


def test_panels_in_rows():
    look = style.make_style("png", width="9")
    figure, axes = drawing.panels(look, 5, col_wrap=3, aspect=1.5)
    assert len(axes) == 5
    assert [a.get_visible() for a in figure.axes] == [True] * 5 + [False]
    assert figure.get_size_inches() == pytest.approx([9.0, 4.0])
    figure.draw_without_rendering()
    labeled = [
        any(t.label1.get_visible() for t in a.xaxis.get_major_ticks()) for a in axes
    ]
    assert labeled == [False, False, True, True, True]


def test_a_label_is_no_longer_than_its_axis():
    look = style.make_style("png", context="talk")
    with look.applied():
        figure, (axes,) = drawing.panels(look, 1, aspect=1.6)
        text = "Change in accuracy (points)"
        axis_names.label_axes(figure, [axes], look, y=text)
        assert axes.get_ylabel().replace("\n", " ") == text
        figure.draw_without_rendering()
        box = axes.yaxis.label.get_window_extent()
        assert box.y0 >= 0
        assert box.y1 <= figure.bbox.height
        figure, all_axes = drawing.panels(look, 2, col_wrap=2)
        axis_names.label_axes(figure, all_axes, look, y=text)
        assert figure.get_supylabel().replace("\n", " ") == text
        assert "\n" in figure.get_supylabel()


@pytest.mark.slow
@pytest.mark.parametrize("context", ["paper", "talk"])
def test_titles_of_panels_neither_overlap_nor_leave_the_figure(context):
    look = style.make_style("png", context=context)
    with look.applied():
        figure, all_axes = drawing.panels(look, 4, col_wrap=2, aspect=1.0)
        axis_names.label_axes(figure, all_axes, look, y="Change in accuracy (points)")
        titles = ["ImageNet-LT | LWS and $more_"] * 4
        drawing.title_panels(figure, all_axes, look, titles)
        figure.draw_without_rendering()
        boxes = [axes.title.get_window_extent() for axes in all_axes]
        for box, other in itertools.combinations(boxes, 2):
            assert not box.overlaps(other)
        assert max(box.x1 for box in boxes) <= figure.bbox.width


@pytest.mark.slow
def test_panels_stay_as_high_whatever_is_around_them():
    look = style.make_style("png")

    def heights(**around):
        with look.applied():
            figure, all_axes = drawing.panels(look, 4)
            for axes in all_axes:
                axes.set_xticks(range(3), ["one", "two", "three"])
            handles = [all_axes[0].plot([0, 1])[0] for _ in around.get("labels", ())]
            drawing.finish(
                figure, all_axes, look, x="x", y="y", handles=handles, **around
            )
            figure.draw_without_rendering()
        label = figure._supylabel.get_window_extent()
        boxes = [axes.get_window_extent() for axes in all_axes]
        middle = (boxes[0].y1 + boxes[-1].y0) / 2.0
        assert (label.y0 + label.y1) / 2.0 == pytest.approx(middle, abs=2.0)
        return [box.height for box in boxes]

    plain = heights(titles="abcd")
    long = [f"a title {i} of so many words that it has several lines" for i in range(4)]
    rows = [f"an explanation of thing {i}" for i in range(6)]
    assert heights(titles=long) == pytest.approx(plain, rel=0.06)
    assert heights(titles="abcd", labels=rows) == pytest.approx(plain, rel=0.06)
    turned = heights(titles="abcd", turn_xticklabels=True)
    assert turned == pytest.approx(plain, rel=0.06)


@pytest.mark.parametrize("scale", ["linear", "log"])
def test_wide_bands_do_not_hide_what_they_are_of(scale):
    _, (one, other) = plt.subplots(1, 2, sharey=True)
    one.plot([0.0, 1.0], [10.0, 20.0])
    other.plot([0.0, 1.0], [12.0, 30.0])
    panel.zero_line(other, style.make_style("png"), vertical=True)
    one.set_yscale(scale)
    one.fill_between([0.0, 1.0], [9.0, 1e-3], [25.0, 1e6])
    panel.limit_bands(one)
    assert one.get_ylim() == other.get_ylim()
    ends = {"linear": (0.0, 40.0), "log": (10.0 / 3.0**0.5, 30.0 * 3.0**0.5)}
    np.testing.assert_allclose(one.get_ylim(), ends[scale])
    # Narrow ones stay whole.
    _, axes = plt.subplots()
    axes.plot([0.0, 1.0], [10.0, 20.0])
    axes.fill_between([0.0, 1.0], [9.0, 17.0], [11.0, 23.0])
    limits = axes.get_ylim()
    panel.limit_bands(axes)
    assert axes.get_ylim() == limits


@pytest.mark.parametrize(
    ("values", "wanted"),
    [
        ((5, 1280), ["10", "100", "1,000"]),
        ((8, 60), ["10", "20", "50"]),
        ((2, 4), ["2", "3", "4"]),  # numbers of samples
        ((5, 7), ["5", "6", "7"]),
        ((0.2, 0.28), ["0.2", "0.225", "0.25", "0.275"]),
        ((30, 30), ["30"]),
    ],
)
def test_labels_of_log_axes(values, wanted):
    _, axes = plt.subplots()
    axes.set_xscale("log")
    axes.plot(values, values)
    panel.label_log(axes.xaxis, np.array(values))
    assert [label.get_text() for label in axes.get_xticklabels()] == wanted


def test_formulas_are_not_torn():
    look = style.make_style("png")
    with look.applied():
        figure = plt.figure()
        text = r"costs \$ 1 of $a + b + c$ and more"
        found = wrapping.wrapped_markup(figure, look, text, width=0.7)
    assert found.replace("\n", " ") == text
    assert found.count("\n") >= 2
    assert "$a + b + c$" in found


@pytest.mark.parametrize("lines", [0, 2])
def test_lines_have_room_and_lose_nothing(lines):
    look = style.make_style("png")
    text = "a class with Supercalifragilisticexpialidocious names & $x_1$ 100%"
    with look.applied():
        figure = plt.figure(figsize=(3.0, 2.0))
        found = wrapping.wrapped(figure, look, text, width=0.8, lines=lines)
        measure = wrapping.text_ruler(figure, look)
        assert all(measure(line)[0] <= 0.8 for line in found.split("\n"))
        if lines:
            assert found.count("\n") == lines - 1
            assert found.endswith("...")
        else:
            joined = re.sub(r"\s", "", found).replace(r"\$", "$")
            assert joined == re.sub(r"\s", "", text)
        assert wrapping.wrapped(figure, look, "", width=1.0) == ""
        assert wrapping.wrapped(figure, look, "a b", width=9.0) == "a b"


def test_a_ruler_of_latex_measures_with_latex():
    tools.need_latex()
    widths = {}
    for name in ("paper", "arxiv"):
        look = style.make_style(name)
        with look.applied():
            measure = wrapping.text_ruler(plt.figure(), look)
            widths[name] = measure("w" * 20)[0]
            assert measure("w" * 40)[0] == pytest.approx(2 * widths[name], rel=0.02)
    assert widths["paper"] != pytest.approx(widths["arxiv"], rel=0.01)


# --- accuracy_vs_rho, change_vs_rho


def read(root, *names):
    paths = {name: sorted((root / name).rglob("result.npz")) for name in names}
    return Sources(result_sets.load_sets(paths), DataFinder())


def hand_accuracies(arrays):
    """Accuracy in percent of few, medium, many and all, of each run and before."""
    labels = arrays["test_labels"]
    parts = [arrays[f"{name}_classes"] for name in ("few", "medium", "many")]
    rows = []
    for predictions in [*arrays["test_pred"], arrays["baseline_test_pred"]]:
        hits = predictions == labels
        row = [
            100.0
            * sum(hits[labels == c].sum() for c in part)
            / sum((labels == c).sum() for c in part)
            for part in parts
        ]
        rows.append([*row, 100.0 * hits.mean()])
    return np.array(rows[:-1]), np.array(rows[-1])


@pytest.fixture
def sweep(tmp_path):
    """Two runs at two values of rho, one of them in two files."""
    made = functools.partial(made_results.make_result)
    made(tmp_path / "s/a/result.npz", rho=1.0, seed=0)
    made(tmp_path / "s/b/result.npz", rho=0.25, seed=5)
    made(tmp_path / "s/c/result.npz", rho=1.0, seed=9, num_seeds=1)
    return tmp_path


@pytest.mark.parametrize("y", ["acc", "acc_delta"])
def test_accuracy_at_every_rho(sweep, y):
    sources = read(sweep, "s")
    found = accuracy_vs_rho.numbers(sources, y=y, n_boot=200, boot_seed=3)[""]
    arrays = [dict(file.arrays) for file in sources.sets[0].files]
    runs = [hand_accuracies(each) for each in arrays]
    groups = [(0.25, runs[1][0]), (1.0, np.concatenate([runs[0][0], runs[2][0]]))]
    rng, row = np.random.default_rng(3), 0
    for value, accuracies in groups:
        shown = accuracies - runs[0][1] if y == "acc_delta" else accuracies
        rows = rng.integers(len(shown), size=(200, len(shown)))
        means = np.array([shown[i].mean(axis=0) for i in rows])
        low, high = np.percentile(means, [2.5, 97.5], axis=0)
        for part, split in enumerate(("few", "medium", "many", "overall")):
            here = {name: column[row] for name, column in found.items()}
            assert (here["rho"], here["split"], here["y"]) == (value, split, y)
            assert here["accuracy"] == pytest.approx(shown[:, part].mean())
            assert here["low"] == pytest.approx(low[part])
            assert here["high"] == pytest.approx(high[part])
            assert here["baseline"] == pytest.approx(runs[0][1][part])
            assert here["runs"] == len(shown)
            row += 1
    assert row == len(found["rho"])
    other = accuracy_vs_rho.numbers(sources, y=y, n_boot=200, boot_seed=4)[""]
    assert (other["low"] != found["low"]).any()
    assert (other["accuracy"] == found["accuracy"]).all()


def test_a_split_without_test_samples_is_left_out(tmp_path):
    labels = np.repeat([0, 5, 7, 2, 3, 6], 7).astype(np.int32)
    made_results.make_result(tmp_path / "s/result.npz", test_labels=labels)
    found = accuracy_vs_rho.numbers(read(tmp_path, "s"))
    assert np.isnan(select(found[""], split="few")["accuracy"]).all()
    with style.make_style("png").applied():
        figure = accuracy_vs_rho.draw(found, style.make_style("png"))
    labels = [text.get_text() for text in figure.legends[0].get_texts()]
    assert labels == ["Medium", "Many", "Overall", "Baseline"]
    change = accuracy_vs_rho.numbers(read(tmp_path, "s"), y="acc_delta")
    with style.make_style("png").applied():
        figure = accuracy_vs_rho.draw(change, style.make_style("png"))
    labels = [text.get_text() for text in figure.legends[0].get_texts()]
    assert labels == ["Medium", "Many", "Overall"]


def test_rho_of_other_samplers_is_refused(tmp_path):
    setting = "training.sampler_builder.sampler_classes"
    made_results.make_result(
        tmp_path / "one/result.npz", settings={setting: ("AllFewSampler",)}
    )
    with pytest.raises(
        UserError,
        match=r"one/result\.npz: rho means something with AllFewSampler and one "
        r"sampler of base classes alone, but this result has AllFewSampler$",
    ):
        accuracy_vs_rho.numbers(read(tmp_path, "one"))
    for name, base in (("a", "ClassBalancedBaseSampler"), ("b", "AllBaseSampler")):
        made_results.make_result(
            tmp_path / f"two/{name}/result.npz",
            settings={setting: ("AllFewSampler", base)},
        )
    with pytest.raises(
        UserError,
        match=r"two/b/result\.npz and .*two/a/result\.npz differ in more than rho: "
        r"training\.sampler_builder\.sampler_classes .*AllBase.* and .*ClassBalanced",
    ):
        accuracy_vs_rho.numbers(read(tmp_path, "two"))


def test_runs_that_differ_in_more_than_rho_make_no_line(tmp_path):
    for name, rho, k in (("a", 0.5, 2), ("b", 1.0, 3)):
        path = tmp_path / f"s/{name}/result.npz"
        made_results.make_result(path, rho=rho, num_neighbors=k, seed=int(rho))
    for kind in (accuracy_vs_rho, change_vs_rho):
        with pytest.raises(
            UserError,
            match=r"differ in more than rho: training\.n_neighbors 3 and 2; choose "
            "with --res_files_pattern",
        ):
            kind.numbers(read(tmp_path, "s"))


def test_the_unchanged_classifier_has_no_rho(tmp_path):
    made_results.make_result(tmp_path / "s/a/result.npz", rho=0.1)
    alone = accuracy_vs_rho.numbers(read(tmp_path, "s"))[""]
    # Its config has a rho, and other settings, but it was not trained with them.
    made_results.make_unchanged(tmp_path / "s/b/result.npz", rho=0.1, num_neighbors=1)
    for kind in (accuracy_vs_rho, change_vs_rho):
        both = kind.numbers(read(tmp_path, "s"))[""]
        assert both["runs"].tolist() == alone["runs"].tolist() == [2] * 4
    made_results.make_unchanged(tmp_path / "none/result.npz")
    with pytest.raises(
        UserError, match="is of the unchanged classifier, which has no rho, and there"
    ):
        accuracy_vs_rho.numbers(read(tmp_path, "none"))


def test_rho_may_be_an_argument_of_the_sampler(tmp_path):
    setting = "training.sampler_builder.sampler_args"
    for seed, rho in enumerate(("0.25", "1.5")):
        made_results.make_result(
            tmp_path / f"s/{rho}/result.npz",
            seed=seed,
            settings={setting: ("", f"r={rho}")},
        )
    found = accuracy_vs_rho.numbers(read(tmp_path, "s"))[""]
    assert np.unique(found["rho"]).tolist() == [0.25, 1.5]


@pytest.mark.slow
def test_datasets_and_random_neighbors_apart(tmp_path):
    made = made_results.make_result
    arrays = {
        (name, kind, value): made(
            tmp_path / f"s/{name}{kind}{value}/result.npz",
            dataset=name,
            proper_name=f"the {name}",
            nn_dist=kind,
            rho=value,
            seed=seed,
        )
        for seed, (name, kind, value) in enumerate(
            [
                ("a", "euclidean", 0.5),
                ("a", "random", 0.5),
                ("a", "euclidean", 1.0),
                ("b", "cosine", 2.0),
            ]
        )
    }
    sources = read(tmp_path, "s")
    with pytest.raises(
        UserError,
        match="this figure is of one dataset, the results are of the a, the b; plot "
        "change_vs_rho takes several",
    ):
        accuracy_vs_rho.numbers(sources)
    found = change_vs_rho.numbers(sources)[""]
    for (name, metric, value), each in arrays.items():
        runs, before = hand_accuracies(each)
        here = select(
            found,
            experiment=f"the {name}",
            neighbors="random" if metric == "random" else "nearest",
            rho=value,
        )
        assert here["split"].tolist() == list(splits.PARTS)
        assert here["accuracy"] == pytest.approx(runs.mean(axis=0) - before)
    look = style.make_style("png")
    with look.applied():
        figure = change_vs_rho.draw({"": found}, look, col_wrap=1)
        assert [axes.get_title() for axes in figure.axes] == ["the a", "the b"]
        lines = [line for line in figure.axes[0].lines if len(line.get_xdata())]
        dashed = {line.get_linestyle() for line in lines}
        assert {"-", "--"} <= dashed
        # What is dashed, and hollow, is what the legend says.
        for kind, pattern in (("nearest", "-"), ("random", "--")):
            part = select(found, experiment="the a", neighbors=kind, split="few")
            (line,) = (
                line
                for line in lines
                if line.get_marker() == look.markers["few"]
                and line.get_ydata().tolist() == part["accuracy"].tolist()
            )
            assert line.get_linestyle() == pattern
            hollow = line.get_markerfacecolor() == look.background
            assert hollow == (kind == "random")
        labels = [text.get_text() for text in figure.legends[0].get_texts()]
        assert labels[4:] == ["Nearest neighbors", "Random neighbors"]
        patterns = [line.get_linestyle() for line in figure.legends[0].get_lines()]
        assert patterns[-2:] == ["-", "--"]
        assert figure.axes[0].get_gridspec().nrows == 2
        wide = change_vs_rho.draw({"": found}, look)
        assert wide.axes[0].get_gridspec().nrows == 1
        limits = [axes.get_ylim() for axes in wide.axes]
        assert limits[0] != limits[1]
        shared = change_vs_rho.draw({"": found}, look, sharey=True)
        limits = [axes.get_ylim() for axes in shared.axes]
        assert limits[0] == limits[1]


@pytest.mark.slow
def test_ticks_of_rho(sweep):
    found = accuracy_vs_rho.numbers(read(sweep, "s"))
    look = style.make_style("png")

    def labels(**options):
        with look.applied():
            axes = accuracy_vs_rho.draw(found, look, **options).axes[0]
            shown = [label.get_text() for label in axes.get_xticklabels()]
            return shown, axes.get_xticks().tolist(), axes.get_xticks(minor=True)

    assert labels()[:2] == (["0.25", "1"], [0.25, 1.0])
    shown, places, _ = labels(major_xticks=[0.5, 0.75])
    assert (shown, places) == (["0.5", "0.75"], [0.5, 0.75])
    shown, _, _ = labels(major_xticks=[0.5, 0.75], major_xticklabels=["$a", "b"])
    assert shown == [r"\$a", "b"]
    assert labels(minor_xticks=[0.3, 0.9])[2].tolist() == [0.3, 0.9]
    with pytest.raises(UserError, match="has 1 labels for 2 ticks"):
        labels(major_xticks=[0.5, 0.75], major_xticklabels=["a"])
    with pytest.raises(UserError, match="--major_xticklabels needs --major_xticks"):
        labels(major_xticklabels=["a"])


@pytest.mark.slow
@pytest.mark.parametrize("context", ["paper", "talk"])
@pytest.mark.parametrize("kind", [accuracy_vs_rho, change_vs_rho])
def test_labels_of_the_papers_rhos_do_not_overlap(tmp_path, kind, context):
    for value in PAPER_RHOS:
        for name in ("a", "b")[: 1 + (kind is change_vs_rho)]:
            made_results.make_result(
                tmp_path / f"s/{name}{value}/result.npz",
                rho=value,
                dataset=name,
                proper_name=name,
                num_seeds=1,
            )
    found = kind.numbers(read(tmp_path, "s"))
    look = style.make_style("png", context=context)
    with look.applied():
        figure = kind.draw(found, look)
        figure.draw_without_rendering()
        for axes in figure.axes:
            ticks = axes.xaxis.get_majorticklabels()
            boxes = [label.get_window_extent() for label in ticks if label.get_text()]
            assert len(boxes) >= 3
            for left, right in itertools.pairwise(boxes):
                assert left.x1 + 0.3 * left.height <= right.x0
            places = {*axes.get_xticks(), *axes.get_xticks(minor=True)}
            np.testing.assert_allclose(sorted(places), PAPER_RHOS)


# --- the command


@pytest.mark.slow
def test_directories_and_repetitions_of_results(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for seed, name in enumerate(("a/rep_1", "a/rep_2", "b/rep_1", "b/rep_12")):
        made_results.make_result(
            tmp_path / f"r/{name}/result.npz",
            seed=5 * seed,
            rho={"a": 0.25, "b": 1.0}[name[0]],
        )

    def runs(*flags, kind="accuracy_vs_rho"):
        status, _, err = plot(capsys, kind, *flags, "--out=f.svg")
        assert status == 0, err
        with open("f.csv") as file:
            return {float(r["rho"]): int(r["runs"]) for r in csv.DictReader(file)}

    assert runs("--res_dirs", "r/a", "r/b") == {0.25: 4, 1.0: 4}
    assert runs("--res_dirs=r/b") == {1.0: 4}
    # One directory in another counts once.
    assert runs("--base_res_dir=r", "--res_dirs", "a", "a/rep_1") == {0.25: 4}
    assert runs("--base_res_dir=r", "--rep=1", kind="change_vs_rho") == {
        0.25: 2,
        1.0: 2,
    }
    assert runs("--base_res_dir=r", "--rep=1*") == {0.25: 2, 1.0: 4}
    assert runs("--base_res_dir=r", "--rep=*") == {0.25: 4, 1.0: 4}
    for flags, said in (
        (
            ("--base_res_dir=r", "--rep=3"),
            "--rep=3: of 4 results, none is in a directory rep_3; there are rep_1, "
            "rep_12, rep_2",
        ),
        (
            ("--base_res_dir=s", "--rep=1"),
            "--rep=1: of 1 result, none is in a directory rep_1; there are none of "
            "rep_*: leave --rep out to take all results",
        ),
        (("--res_dirs=r/c",), "no such directory: r/c"),
    ):
        made_results.make_result(tmp_path / "s/result.npz")
        status, _, err = plot(capsys, "change_vs_rho", *flags, "--out=g.svg")
        assert (status, err) == (1, f"error: {said}\n")


def plot(capsys, *flags):
    status = cli.main(["main.py", "plot", *flags])
    said = capsys.readouterr()
    return status, said.out, said.err


def test_help_lists_the_kinds(capsys):
    status, out, err = plot(capsys, "--help")
    assert (status, err) == (0, "")
    for name, purpose in KINDS.items():
        assert re.search(rf"^  {name} +{re.escape(purpose)}$", out, re.MULTILINE)
    assert "python main.py plot KIND --help" in out
    assert "Flags" not in out


@pytest.mark.parametrize("name", KINDS)
def test_help_of_every_kind(capsys, name):
    status, out, err = plot(capsys, name, "--help")
    assert (status, err) == (0, "")
    kind = load_kind(name)
    assert out.startswith(f"usage: python main.py plot {name}\n")
    assert kind.description in out
    for option in kind.options:
        assert f"\n  --{option.name}\n" in out
    for flag in ("out", "style", *plot_command._STYLE_FLAGS):
        assert f"\n  --{flag}\n" in out
    assert ("--base_res_dir\n" in out) == (kind.reads in ("experiments", "one"))
    assert ("--exp_sub_dirs\n" in out) == (kind.reads == "experiments")
    assert ("--res_file\n" in out) == (kind.reads == "file")
    # Results of the original need their data for nearly every kind.
    assert ("--data_root\n" in out) == (kind.reads != "nothing")
    assert kind.reads != "nothing" or not kind.needs_data


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        ((), "plot needs the name of a figure: accuracy_vs_distance, "),
        (("alpha",), "unknown figure 'alpha'; did you mean 'alphas'?"),
        (("PlotPredCounts",), "unknown figure 'PlotPredCounts'; did you mean 'pred"),
        (("plotalphadist",), "unknown figure 'plotalphadist'; did you mean 'alphas'?"),
        (("zzz",), "unknown figure 'zzz'; known are 'accuracy_vs_distance', "),
        (
            ("accuracy_vs_rho", "--out=a.bmp"),
            "--out must end in .pgf, .pdf, .svg, .png where no --style is given, got "
            "'a.bmp'",
        ),
        (
            ("accuracy_vs_rho", "--style=paint"),
            "--style must be of paper, arxiv, book, web_light, web_dark, png, got "
            "'paint'",
        ),
        (
            ("accuracy_vs_rho", "--style", "png", "arxiv", "--out=a.png"),
            "--out=a.png is not of the format of --style arxiv, pdf",
        ),
        (("accuracy_vs_rho", "--theme=red"), "--theme must be one of light, dark"),
        (
            ("accuracy_vs_rho", "--context=tiny"),
            "--context must be one of paper, notebook, talk, poster",
        ),
        (
            ("accuracy_vs_rho", "--font_math=x"),
            "--font_math must be one of dejavusans, ",
        ),
        (("accuracy_vs_rho", "--dpi=0"), "--dpi must be a positive number, got '0'"),
        (("accuracy_vs_rho", "--dpi=1.5"), "--dpi must be a positive number, got"),
        (("accuracy_vs_rho", "--aspect=3:0"), "--aspect must be a positive number"),
        (("accuracy_vs_rho", "--scale=big"), "--scale must be a positive number"),
        (("accuracy_vs_rho", "--width=x"), "--width must be half, full or a number"),
        (("accuracy_vs_rho", "--bg=x"), "--bg must be a color"),
        (
            ("accuracy_vs_rho",),
            "--base_res_dir is missing, for example --base_res_dir=results/quickstart",
        ),
        (("accuracy_vs_rho", "--base_res_dir=no"), "no such directory: no"),
        (("accuracy_vs_rho", "--y=z"), "flag --y=z: value should be one of <acc|acc_"),
        (("accuracy_vs_rho", "--n_boot=0"), "--n_boot=0: must be a whole number"),
        (("accuracy_vs_rho", "more"), "unexpected argument 'more'; see --help"),
        (("accuracy_vs_rho", "--yy=1"), "unknown flag --yy; did you mean"),
        (
            ("template_embedding", "--delta_type=x"),
            "flag --delta_type=x: value should be one of <max|min>",
        ),
    ],
)
def test_commands_that_are_refused(capsys, tmp_path, monkeypatch, flags, said):
    monkeypatch.chdir(tmp_path)
    status, out, err = plot(capsys, *flags)
    assert (status, out) == (1, "")
    assert err.startswith(f"error: {said}")
    assert err.count("\n") == 1
    assert not list(tmp_path.iterdir())


class TestMissingTools:
    @pytest.fixture(autouse=True)
    def _none(self, monkeypatch, tmp_path):
        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr(style.shutil, "which", lambda name: None)

    def test_is_found_before_anything_is_read(self, capsys, tmp_path):
        for flags in (["--style=paper"], ["--out=a.pgf"]):
            status, out, err = plot(
                capsys, "accuracy_vs_rho", "--base_res_dir=no", *flags
            )
            assert (status, out) == (1, "")
            assert err.startswith("error: a figure in pgf needs LaTeX (xelatex")
            assert err.count("\n") == 1
        assert not any(tmp_path.iterdir())

    @pytest.mark.slow
    def test_other_styles_are_drawn(self, capsys, tmp_path):
        made_results.make_result(tmp_path / "r/result.npz")
        status, out, err = plot(
            capsys,
            *("class_changes", "--base_res_dir=r", "--style", "paper", "png"),
            "--out=f",
        )
        assert (status, out) == (1, "")
        lines = err.splitlines()
        said = "not drawn in style paper: a figure in pgf needs LaTeX"
        assert lines[0].startswith(f"failed: {said}")
        assert lines[-1].startswith(f"error: {said}")
        assert (tmp_path / "f.png").is_file()
        assert "saved f.png" in lines
        assert not list(tmp_path.glob("*.pgf"))

    def test_packages(self, capsys, monkeypatch):
        monkeypatch.setitem(sys.modules, "sklearn", None)
        status, _, err = plot(capsys, "template_embedding", "--res_file=no")
        assert status == 1
        assert err == (
            "error: figure template_embedding needs sklearn: pip install "
            "'alphanet_jax[plots]'\n"
        )

    @pytest.mark.parametrize("name", KINDS)
    def test_a_kind_lists_what_it_imports(self, name):
        """The module `embedding` is the one that needs more than matplotlib."""
        kind = load_kind(name)
        kind.check_packages()
        module = sys.modules[f"alphanet_jax.figures.kinds.{name}"]
        assert ("sklearn" in kind.packages) == hasattr(module, "embed")


def test_the_place_of_a_legend_is_checked_before_anything_is_written(sweep, capsys):
    out = sweep / "o/a.png"
    status, _, err = plot(
        capsys,
        "accuracy_vs_rho",
        f"--base_res_dir={sweep / 's'}",
        "--legend_loc=left",
        f"--out={out}",
    )
    assert status == 1
    assert err.splitlines()[-1].startswith("error: --legend_loc: unknown place 'left'")
    assert not out.exists()


def size_of_png(path):
    from PIL import Image

    with Image.open(path) as image:
        return image.size


@pytest.mark.slow
def test_flags_of_the_style_reach_the_file(sweep, capsys, monkeypatch):
    monkeypatch.chdir(sweep)
    command = ("accuracy_vs_rho", "--base_res_dir=s", "--legend_loc=none")

    def made(*flags):
        status, _, err = plot(capsys, *command, "--out=a.png", *flags)
        assert status == 0, err
        return size_of_png("a.png"), (sweep / "a.png").read_bytes()

    usual = made()
    assert usual[0] == (650, 406)
    for flags, size in (
        (("--width=full",), (1350, 843)),
        (("--width=2", "--aspect=1.6"), (400, 250)),
        (("--default_half_width=4",), (800, 500)),
        (("--width=full", "--default_full_width=5"), (1000, 625)),
        (("--aspect=3:2",), (650, 433)),
        (("--panel_aspect=3:2",), (650, 433)),
        (("--font_serif", "No Such Font", "DejaVu Serif"), (650, 406)),
        (("--dpi=100",), (325, 203)),
        (("--scale=2",), (1300, 812)),
    ):
        assert made(*flags)[0] == size, flags
    for flags in (
        ("--theme=dark",),
        ("--context=talk",),
        ("--font_default=monospace",),
        ("--font_math=cm",),
        ("--font_size=5",),
        ("--small_font_size=5",),
        ("--bg=yellow",),
        ("--fg_primary=blue",),
        ("--fg_secondary=red", "--y=acc_delta"),
        ("--transparent",),
    ):
        size, content = made(*flags)
        assert size[0] == usual[0][0]
        assert content != usual[1], flags


@pytest.mark.slow
def test_endings_and_styles(sweep, capsys, monkeypatch):
    monkeypatch.chdir(sweep)

    def names(*flags):
        status, _, err = plot(
            capsys, "accuracy_vs_rho", "--base_res_dir=s", "--n_boot=5", *flags
        )
        assert status == 0, err
        return [
            line.removeprefix("saved ")
            for line in err.splitlines()
            if line.startswith("saved ")
        ]

    assert names() == ["accuracy_vs_rho.png", "accuracy_vs_rho.csv"]
    for ending in ("png", "PNG"):
        assert names(f"--out=x.{ending}", "--style", "png") == ["x.png", "x.csv"]
    assert names("--out=x/rho_0.5.svg") == ["x/rho_0.5.svg", "x/rho_0.5.csv"]
    assert names("--out=rho_0.5", "--style=png") == ["rho_0.5.png", "rho_0.5.csv"]
    assert names("--style", "web_dark", "png", "png", "--out=z") == [
        *("z.web_dark.svg", "z.png", "z.csv"),
    ]
    assert names("--style=arxiv") == ["accuracy_vs_rho.pdf", "accuracy_vs_rho.csv"]


# --- kinds


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
