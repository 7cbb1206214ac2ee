"""How figures are laid out: panels, titles, labels, legends, lines of text."""

import itertools
import re

import matplotlib.pyplot as plt
import numpy as np
import pytest
import tools

from alphanet_jax.errors import UserError
from alphanet_jax.figures import (
    drawing,
    panel,
    style,
    wrapping,
)
from alphanet_jax.figures import labels as axis_names
from alphanet_jax.figures.options import LegendOptions

pytestmark = pytest.mark.usefixtures("closed_figures")


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
