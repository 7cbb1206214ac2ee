"""Accuracy of single classes, and their training samples above."""

import numpy as np
import pytest
from figure_sources import plotted_twice, sources_of
from made_results import LABEL_NAMES

from alphanet_jax.figures import load_kind
from alphanet_jax.figures.numbers import select

class_accuracy_and_samples = load_kind("class_accuracy_and_samples")


class TestClassAccuracyAndSamples:
    def test_numbers(self, tmp_path):
        labels = np.int32(np.repeat([0, 1, 2, 3, 4, 5, 6, 7], 4))  # none of class 8
        sources = sources_of(
            tmp_path, a={"test_labels": labels}, b={"test_labels": labels, "rho": 0}
        )
        numbers = class_accuracy_and_samples.numbers(sources)
        table = select(numbers[""], experiment="a")
        assert table["rank"].tolist() == list(range(9))
        assert table["class"].tolist() == [2, 3, 6, 5, 0, 7, 4, 8, 1]
        assert table["samples"].tolist() == [400, 250, 150, 90, 60, 30, 12, 8, 5]
        assert table["name"][:2].tolist() == ["cat", "dog"]
        assert table["split"].tolist() == [
            *["many"] * 3,
            *["medium"] * 3,
            *["few"] * 3,
        ]
        arrays = sources.sets[0].files[0].arrays
        after = 100.0 * arrays["test_acc_per_class"].mean(axis=0)[table["class"]]
        before = 100.0 * arrays["baseline_test_acc_per_class"][table["class"]]
        np.testing.assert_allclose(table["after"], after)
        np.testing.assert_allclose(table["before"], before)
        assert np.isnan(table["after"]).tolist() == [*[False] * 7, True, False]
        bars = select(numbers["bars"], experiment="a")
        np.testing.assert_array_equal(bars["first"], table["rank"])
        np.testing.assert_array_equal(bars["before"], table["before"])

    def test_classes_that_share_a_bar(self, tmp_path):
        sources = sources_of(tmp_path, a={})
        numbers = class_accuracy_and_samples.numbers(sources, max_bars=5)
        assert len(numbers[""]["rank"]) == 9
        bars = numbers["bars"]
        # Two by two, but not across splits.
        assert bars["first"].tolist() == [0, 2, 3, 5, 6, 8]
        assert bars["classes"].tolist() == [2, 1, 2, 1, 2, 1]
        after = numbers[""]["after"]
        means = [after[:2].mean(), after[2], after[3:5].mean(), after[5]]
        np.testing.assert_allclose(bars["after"][:4], means)
        every = class_accuracy_and_samples.numbers(sources, max_bars=0)["bars"]
        assert every["classes"].tolist() == [1] * 9

    def test_mean_of_what_is_there(self, tmp_path):
        labels = np.int32([2, 2, 6, 6])  # many classes by size: 2, 3, 6
        pred = np.int32([2, 0, 6, 6])
        sources = sources_of(
            tmp_path, a={"test_labels": labels, "baseline_test_pred": pred}
        )
        bars = class_accuracy_and_samples.numbers(sources, max_bars=1)["bars"]
        np.testing.assert_array_equal(bars["before"], [75.0, np.nan, np.nan])

    def test_drawing(self, tmp_path, drawn):
        numbers = class_accuracy_and_samples.numbers(sources_of(tmp_path, a={}))
        left, right = drawn(class_accuracy_and_samples, numbers).axes
        table = numbers[""]
        kept, gained, lost = (
            np.array(
                [[bar.get_x() + 0.4, bar.get_y(), bar.get_height()] for bar in part]
            )
            for part in left.containers
        )
        for part in (kept, gained, lost):
            np.testing.assert_allclose(part[:, 0], np.arange(9), atol=1e-9)
        np.testing.assert_allclose(kept[:, 2] + lost[:, 2], table["before"])
        np.testing.assert_allclose(kept[:, 2] + gained[:, 2], table["after"])
        for part in (gained, lost):
            np.testing.assert_allclose(part[:, 1], kept[:, 2])
        # The line is at the bars, not at the numbers of the classes.
        (line,) = right.lines
        np.testing.assert_array_equal(line.get_xdata(), np.arange(9))
        np.testing.assert_array_equal(line.get_ydata(), table["samples"])
        assert right.get_yscale() == "log"
        assert left.get_xlim() == right.get_xlim()
        # It is above where any bar can be.
        full = left.transData.transform([(0.0, 100.0)])[0, 1]
        lowest = right.transData.transform(line.get_xydata())[:, 1].min()
        top = left.bbox.y1
        assert full + 0.02 * left.bbox.height < lowest < top
        assert left.bbox.y0 + 0.69 * left.bbox.height < full
        # Small ticks are there as far as they do not merge.
        ticks = right.yaxis.get_minorticklocs()
        assert set(ticks) <= {5, 10, 20, 50, 100, 200}
        assert ticks.size
        ticks = [label.get_text() for label in left.get_xticklabels()]
        assert ticks == ["Many", "Medium", "Few"]
        (legend,) = left.figure.legends
        texts = [text.get_text() for text in legend.get_texts()]
        assert texts == ["Kept", "Gained", "Lost", "Training samples"]

    @pytest.mark.parametrize("aspect", [1.0, 4.0])
    def test_ticks_of_sizes_do_not_merge(self, tmp_path, drawn, aspect):
        numbers = class_accuracy_and_samples.numbers(sources_of(tmp_path, a={}))
        changes = {"width": "full", "aspect": aspect}
        figure = drawn(class_accuracy_and_samples, numbers, changes=changes)
        (_, right) = figure.axes
        axis = right.yaxis
        ticks = np.union1d(axis.get_minorticklocs(), axis.get_majorticklocs())
        places = right.transData.transform([(0.0, tick) for tick in ticks])[:, 1]
        assert (np.diff(places) * 72.0 / figure.dpi).min() >= 1.5

    def test_classes_of_the_same_size(self, tmp_path, drawn):
        same = {"class_counts": np.full(9, 30)}
        numbers = class_accuracy_and_samples.numbers(sources_of(tmp_path, a=same))
        _, right = drawn(class_accuracy_and_samples, numbers).axes
        (line,) = right.lines
        heights = right.transAxes.inverted().transform(
            right.transData.transform(line.get_xydata())
        )[:, 1]
        assert set(heights.round(3)) == {0.85}
        texts = [label.get_text() for label in right.get_yticklabels()]
        assert texts == ["30"]

    @pytest.mark.parametrize(
        ("aspect", "place", "wanted"),
        [
            (1.5, "above", "Training samples"),
            (2.2, "above", "Training\nsamples"),
            (3.0, "none", "Training\nsamples"),
            (2.5, "above", ""),
        ],
    )
    def test_the_name_of_sizes_has_room(self, tmp_path, drawn, aspect, place, wanted):
        numbers = class_accuracy_and_samples.numbers(sources_of(tmp_path, a={}))
        changes = {"aspect": aspect, "width": "3"}
        figure = drawn(
            class_accuracy_and_samples, numbers, changes=changes, legend_loc=place
        )
        _, right = figure.axes
        assert right.get_ylabel() == wanted

    def test_outlines(self, tmp_path, drawn):
        numbers = class_accuracy_and_samples.numbers(
            sources_of(tmp_path, a={}), max_bars=5
        )
        left, _ = drawn(class_accuracy_and_samples, numbers).axes
        bars = numbers["bars"]
        kept, gained, lost = (patch.get_data() for patch in left.patches)
        edges = [-0.5, 1.5, 2.5, 4.5, 5.5, 7.5, 8.5]
        np.testing.assert_allclose(kept.edges, edges)
        low = np.minimum(bars["before"], bars["after"])
        np.testing.assert_allclose(kept.values, low)
        np.testing.assert_allclose(gained.baseline, low)
        top = np.maximum(gained.values, lost.values)
        np.testing.assert_allclose(top, np.maximum(bars["before"], bars["after"]))

    def test_splits_that_sizes_do_not_tell_apart(self, tmp_path, drawn):
        numbers = class_accuracy_and_samples.numbers(
            sources_of(tmp_path, a={"class_counts": np.arange(9) + 10})
        )
        left, _ = drawn(class_accuracy_and_samples, numbers).axes
        ticks = [label.get_text() for label in left.get_xticklabels()]
        assert "Few" not in ticks
        assert not left.lines

    @pytest.mark.slow
    def test_panels_and_legend(self, tmp_path, drawn):
        name = "a very long name of an experiment, longer than a panel"
        results = {"a": {}, name: {"rho": 0}, "c": {"rho": 1}}
        numbers = class_accuracy_and_samples.numbers(sources_of(tmp_path, **results))
        changes = {"width": "full"}
        figure = drawn(class_accuracy_and_samples, numbers, changes=changes, col_wrap=2)
        panels, twins = figure.axes[:3], figure.axes[4:]
        titles = [axes.get_title() for axes in panels]
        assert titles[0] == "a"
        assert titles[1].replace("\n", " ") == name
        assert "\n" in titles[1]
        labels = [axes.get_ylabel() for axes in twins]
        # The last is not at the end of its row.
        assert labels == ["", "Training samples", ""]
        alone = drawn(
            class_accuracy_and_samples,
            numbers,
            changes=changes,
            col_wrap=2,
            legend_loc="none",
        )
        assert alone.axes[-1].get_ylabel() == "Training samples"
        tops = {round(axes.get_position().y1, 3) for axes in panels}
        assert len(tops) == 2
        inside = drawn(
            class_accuracy_and_samples,
            numbers,
            changes=changes,
            legend_loc="upper right",
            legend_ncols=2,
        )
        assert inside.axes[0].get_legend()._ncols == 2

    @pytest.mark.slow
    def test_command(self, tmp_path):
        rows = plotted_twice(tmp_path, "class_accuracy_and_samples", "--max_bars=4")
        assert len(rows) == 2 * len(LABEL_NAMES)
        assert (tmp_path / "out" / "figure.bars.csv").exists()
