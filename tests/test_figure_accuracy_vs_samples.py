"""Accuracy of classes against their training samples."""

import numpy as np
import pytest
from figure_sources import plotted_twice, sources_of
from made_results import make_unchanged

from alphanet_jax.errors import UserError
from alphanet_jax.figures import classes, load_kind
from alphanet_jax.figures.numbers import select
from alphanet_jax.figures.style import make_style
from alphanet_jax.results import sets as result_sets

accuracy_vs_samples = load_kind("accuracy_vs_samples")


class TestLineOverClasses:
    def test_hand_worked(self):
        x = np.array([1.0, 2.0, 3.0, 3.0])
        y = np.array([1.0, 3.0, 4.0, 6.0])
        line = classes.line_over_classes(
            x, y, x, n_boot=9, rng=np.random.default_rng(0), points=3
        )
        np.testing.assert_allclose(line.x, [1.0, 2.0, 3.0])
        np.testing.assert_allclose(line.y, [1.0, 3.0, 5.0])

    def test_slow_oracle(self):
        rng = np.random.default_rng(1)
        groups = np.array([0, 0, 0, 1, 1, 2, 3, 3, 4, 5, 5, 6, 7])
        x = rng.normal(5.0, 1.0, len(groups))
        y = 2.0 * x + rng.normal(size=len(groups))
        line = classes.line_over_classes(
            x, y, groups, n_boot=50, rng=np.random.default_rng(3), percent=80, points=5
        )
        np.testing.assert_allclose(line.y, np.polyval(np.polyfit(x, y, 1), line.x))
        fits = []
        for row in np.random.default_rng(3).integers(8, size=(50, 8)):
            rows = np.concatenate([np.flatnonzero(groups == group) for group in row])
            fits.append(np.polyval(np.polyfit(x[rows], y[rows], 1), line.x))
        low, high = np.percentile(fits, [10, 90], axis=0)
        np.testing.assert_allclose(line.low, low)
        np.testing.assert_allclose(line.high, high)

    def test_no_line(self):
        rng = np.random.default_rng(0)
        for x in (np.zeros(0), np.ones(1), np.ones(5)):
            found = classes.line_over_classes(x, x + 1.0, x, n_boot=3, rng=rng)
            assert found is None

    def test_samples_without_a_line_do_not_count(self):
        # Half of the samples of two classes have one class alone.
        x = np.array([0.1, 0.3])
        line = classes.line_over_classes(
            x, np.array([0.1, 0.7]), x, n_boot=40, rng=np.random.default_rng(0)
        )
        np.testing.assert_allclose(line.low, line.y)
        np.testing.assert_allclose(line.high, line.y)


class TestLooks:
    def test_pairs_of_color_and_line_differ(self):
        for wheel in (False, True):
            looks = classes.experiment_looks(make_style("png"), 24, wheel=wheel)
            assert len({(look.color, str(look.line)) for look in looks}) == 24

    @pytest.mark.parametrize("theme", ["light", "dark"])
    def test_wheel(self, theme):
        from matplotlib import colors

        style = make_style("png", theme=theme)
        looks = classes.experiment_looks(style, 12, wheel=True)
        rgb = np.array([colors.to_rgb(look.color) for look in looks])
        gaps = np.abs(rgb - np.roll(rgb, 1, axis=0)).max(axis=1)
        assert gaps.min() > 0.04
        # Equally light, and unlike the background.
        light = rgb @ [0.2126, 0.7152, 0.0722]
        assert np.ptp(light) < 0.25
        background = np.dot(colors.to_rgb(style.background), [0.2126, 0.7152, 0.0722])
        assert np.abs(light - background).min() > 0.3


class TestAccuracyVsSamples:
    def test_the_unchanged_classifier_is_the_baseline_alone(self, tmp_path, drawn):
        sources = sources_of(tmp_path, a={})
        path = tmp_path / "none/result.npz"
        make_unchanged(path)
        (none,) = result_sets.load_sets({"none": [path]})
        both = sources._replace(sets=[*sources.sets, none])
        table = accuracy_vs_samples.numbers(both)[""]
        assert set(table["experiment"]) == {"Baseline", "a"}
        alone = accuracy_vs_samples.numbers(sources._replace(sets=[none]))
        assert set(alone[""]["experiment"]) == {"Baseline"}
        figure = drawn(accuracy_vs_samples, alone)
        labels = [text.get_text() for text in figure.legends[0].get_texts()]
        assert labels == ["Baseline"]

    def test_numbers(self, tmp_path):
        sources = sources_of(
            tmp_path,
            a={"num_seeds": 3},
            b={"seed": 4, "rho": 0.1},
            c={"dataset": "other", "proper_name": "Other"},
        )
        table = accuracy_vs_samples.numbers(sources)[""]
        kinds = dict.fromkeys(
            zip(table["dataset"], table["classifier"], table["experiment"], strict=True)
        )
        assert list(kinds) == [
            ("Made | cRT", "baseline", "Baseline"),
            ("Made | cRT", "alphanet", "a"),
            ("Made | cRT", "alphanet", "b"),
            ("Other", "baseline", "Baseline"),
            ("Other", "alphanet", "c"),
        ]
        for place, name in enumerate("abc"):
            arrays = sources.sets[place].files[0].arrays
            sizes = np.log10(arrays["class_counts"])
            fit = np.polyfit(sizes, 100 * arrays["test_acc_per_class"].mean(axis=0), 1)
            part = select(table, experiment=name)
            np.testing.assert_allclose(part["samples"][[0, -1]], [5.0, 400.0])
            line = np.polyval(fit, np.log10(part["samples"]))
            np.testing.assert_allclose(part["accuracy"], line)
            assert (part["low"] <= part["high"]).all()

    def test_classes_without_test_samples_do_not_count(self, tmp_path):
        # Sizes 10, 100 and 1000; the last is not tested. From 50 to 100 percent.
        sources = sources_of(
            tmp_path,
            a={
                "class_counts": [10, 100, 1000],
                "few_classes": [0],
                "medium_classes": [1],
                "many_classes": [2],
                "neighbors": [[1]],
                "test_labels": np.int32([0, 0, 1, 1]),
                "baseline_test_pred": np.int32([0, 2, 1, 1]),
            },
        )
        table = accuracy_vs_samples.numbers(sources)[""]
        part = select(table, classifier="baseline")
        np.testing.assert_allclose(part["samples"][[0, -1]], [10.0, 100.0])
        np.testing.assert_allclose(part["accuracy"][[0, -1]], [50.0, 100.0])

    def test_options_of_the_band(self, tmp_path):
        sources = sources_of(tmp_path, a={})

        def bands(**options):
            table = accuracy_vs_samples.numbers(sources, **options)[""]
            return table["high"] - table["low"]

        usual = bands()
        assert (bands(ci=50)[10:40] < usual[10:40]).all()
        assert np.isnan(bands(ci=0)).all()
        for changed in (bands(n_boot=20), bands(boot_seed=1)):
            assert not np.array_equal(changed, usual)
            # As wide, but for chance.
            np.testing.assert_allclose(changed.mean(), usual.mean(), rtol=0.4)

    def test_errors(self, tmp_path):
        sources = sources_of(tmp_path, a={"class_counts": np.full(9, 7)})
        with pytest.raises(UserError, match="--ci must be from 0 to 100 percent, got"):
            accuracy_vs_samples.numbers(sources, ci=101)
        with pytest.raises(UserError, match="the same number of training samples"):
            accuracy_vs_samples.numbers(sources)

    @pytest.mark.slow
    def test_drawing(self, tmp_path, drawn):
        from matplotlib import colors

        results = {
            name: {"rho": rho, "proper_name": proper, "dataset": proper}
            for name, rho, proper in (("a_1", 0.1, "X"), ("b", 0.2, "X"), ("c", 0, "Y"))
        }
        numbers = accuracy_vs_samples.numbers(sources_of(tmp_path, **results))
        figure = drawn(accuracy_vs_samples, numbers)
        left, right = figure.axes
        assert [left.get_title(), right.get_title()] == ["X", "Y"]
        assert [len(left.lines), len(right.lines)] == [3, 2]
        assert left.get_xscale() == "log"
        for line, name in zip(left.lines, ("Baseline", "a_1", "b"), strict=True):
            part = select(numbers[""], dataset="X", experiment=name)
            np.testing.assert_array_equal(line.get_xdata(), part["samples"])
            np.testing.assert_array_equal(line.get_ydata(), part["accuracy"])
        ticks = [label.get_text() for label in left.get_xticklabels()]
        assert ticks == ["10", "100"]
        (legend,) = figure.legends
        texts = [text.get_text() for text in legend.get_texts()]
        assert texts == ["Baseline", "a_1", "b", "c"]
        assert left.get_ylim()[1] <= max(100.0, numbers[""]["accuracy"].max())

        one = drawn(accuracy_vs_samples, numbers, col_wrap=1).axes
        assert one[0].get_position().y0 > one[1].get_position().y1
        wheel = drawn(accuracy_vs_samples, numbers, use_husl=True).axes[0]
        assert colors.to_rgb(wheel.lines[1].get_color()) != colors.to_rgb(
            left.lines[1].get_color()
        )
        inside = drawn(
            accuracy_vs_samples, numbers, legend_loc="lower right", legend_ncols=2
        )
        assert not inside.legends
        assert inside.axes[0].get_legend()._ncols == 2

    @pytest.mark.slow
    def test_many_rows_of_a_legend_have_room(self, tmp_path, drawn):
        names = [f"experiment number {i} of eight" for i in range(8)]
        results = {name: {"rho": i} for i, name in enumerate(names)}
        numbers = accuracy_vs_samples.numbers(
            sources_of(tmp_path, **results), ci=0, n_boot=1
        )
        figure = drawn(accuracy_vs_samples, numbers)
        few = drawn(accuracy_vs_samples, numbers, legend_loc="none")
        assert not few.legends
        heights = [
            each.axes[0].get_window_extent().height / each.dpi for each in (figure, few)
        ]
        assert heights[0] > 0.75 * heights[1]

    @pytest.mark.slow
    def test_command(self, tmp_path):
        rows = plotted_twice(
            tmp_path, "accuracy_vs_samples", "--ci=90", "--exp_names", "x", "y"
        )
        assert [row["experiment"] for row in rows[::50]] == ["Baseline", "x", "y"]
