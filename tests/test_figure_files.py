"""Figures as files: all or none, equal bytes, what LaTeX and matplotlib say."""

import sys

import matplotlib.pyplot as plt
import numpy as np
import pytest
import tools

from alphanet_jax.errors import UserError
from alphanet_jax.figures import (
    drawing,
    saving,
    style,
    wrapping,
)

pytestmark = pytest.mark.usefixtures("closed_figures")


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
