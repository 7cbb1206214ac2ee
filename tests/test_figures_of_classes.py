"""Kinds of figure that draw the accuracy of single classes."""

import csv

import numpy as np
import pytest

pytest.importorskip("matplotlib")

from made_results import LABEL_NAMES, SPLITS, make_result

from alphanet_jax import cli, result_sets
from alphanet_jax.errors import UserError
from alphanet_jax.figures import accuracy_vs_samples, class_changes, classes
from alphanet_jax.figures.numbers import Sources, select
from alphanet_jax.figures.style import make_style
from alphanet_jax.result_data import DataFinder


def sources_of(directory, **results):
    """Writes results, each an experiment, and loads them."""
    paths = {}
    for name, arguments in results.items():
        paths[name] = [directory / name / "result.npz"]
        make_result(paths[name][0], **arguments)
    return Sources(result_sets.load_sets(paths), DataFinder())


@pytest.fixture
def drawn():
    """Draws numbers, and closes the figures after the test."""
    import matplotlib.pyplot as plt

    figures = []

    def draw(kind, numbers, style="png", changes=None, **options):
        style = make_style(style, **(changes or {}))
        with style.applied():
            figures.append(kind.draw(numbers, style, **options))
            figures[-1].draw_without_rendering()
        return figures[-1]

    yield draw
    for figure in figures:
        plt.close(figure)


def run(tmp_path, name, *flags):
    """Runs the command on two results; returns the rows of the CSV."""
    for experiment, rho in (("a", 0.1), ("b", 0.5)):
        make_result(tmp_path / "res" / experiment / "result.npz", rho=rho)
    out = tmp_path / "out" / "figure.svg"
    arguments = [f"--base_res_dir={tmp_path / 'res'}", f"--out={out}", *flags]
    contents = []
    for _ in range(2):
        assert cli.main(["main.py", "plot", name, *arguments]) == 0
        contents.append(out.read_bytes())
    assert contents[0] == contents[1]
    with out.with_suffix(".csv").open() as file:
        return list(csv.DictReader(file))


class TestClassChanges:
    def test_hand_worked(self, tmp_path):
        # Class 1 (few) from 1/2 to 1 and 1/2, class 4 (few) from 0 to 1 and 1, class 0
        # (medium) from 1 to 1/2 and 1, class 2 (many) stays at 1; no others are tested.
        labels = np.int32([1, 1, 4, 0, 0, 2])
        sources = sources_of(
            tmp_path,
            a={
                "test_labels": labels,
                "baseline_test_pred": np.int32([1, 0, 3, 0, 0, 2]),
                "test_pred": np.int32([[1, 1, 4, 0, 3, 2], [1, 0, 4, 0, 0, 2]]),
            },
        )
        numbers = class_changes.numbers(sources)
        table = numbers[""]
        assert table["class"].tolist() == [4, 1, 0, 2]
        assert table["name"].tolist() == ["elk", "bee", "ant", "cat"]
        assert table["split"].tolist() == ["few", "few", "medium", "many"]
        assert table["rank"].tolist() == [0, 1, 0, 0]
        assert table["samples"].tolist() == [12, 5, 60, 400]
        assert table["before"].tolist() == [0.0, 50.0, 100.0, 100.0]
        assert table["after"].tolist() == [100.0, 75.0, 75.0, 100.0]
        assert table["change"].tolist() == [100.0, 25.0, -25.0, 0.0]
        means = numbers["means"]
        assert means["split"].tolist() == ["few", "medium", "many", "overall"]
        assert means["classes"].tolist() == [2, 1, 1, 4]
        assert means["change"].tolist() == [62.5, -25.0, 0.0, 25.0]

    def test_changes_are_those_of_the_result(self, tmp_path):
        sources = sources_of(tmp_path, a={"num_seeds": 3}, b={"seed": 5, "rho": 0.1})
        numbers = class_changes.numbers(sources)
        for name in "ab":
            arrays = sources.sets["ab".index(name)].files[0].arrays
            change = 100.0 * (
                arrays["test_acc_per_class"].mean(0)
                - arrays["baseline_test_acc_per_class"]
            )
            for split, members in SPLITS.items():
                part = select(numbers[""], experiment=name, split=split)
                assert sorted(part["class"].tolist()) == sorted(members)
                np.testing.assert_allclose(
                    part["change"], change[part["class"]], atol=1e-9
                )
                assert (np.diff(part["change"]) <= 1e-9).all()

    def test_no_test_samples(self, tmp_path):
        sources = sources_of(tmp_path, a={})
        arrays = sources.sets[0].files[0].arrays
        arrays["test_labels"] = arrays["test_labels"][:0]
        with pytest.raises(UserError, match="there are no test samples"):
            class_changes.numbers(sources)

    def test_bars_and_lines(self, tmp_path, drawn):
        numbers = class_changes.numbers(sources_of(tmp_path, a={}))
        (axes,) = drawn(class_changes, numbers).axes
        heights = [patch.get_height() for patch in axes.patches]
        np.testing.assert_allclose(heights, numbers[""]["change"])
        # In the order of splits, side by side.
        assert (np.diff([patch.get_x() for patch in axes.patches]) > 0.5).all()
        lines = [c.get_segments()[0][0, 1] for c in axes.collections]
        np.testing.assert_allclose(lines, numbers["means"]["change"][:3])
        texts = [text.get_text() for text in axes.texts]
        values = [f"${value:+.1f}$" for value in numbers["means"]["change"]]
        assert texts == [*values[:3], f"All\n{values[3]}"]
        ticks = [label.get_text() for label in axes.get_xticklabels()]
        assert ticks == ["Few\n(3)", "Medium\n(3)", "Many\n(3)"]

    def test_many_classes_are_outlines(self, tmp_path, drawn):
        size = 300
        numbers = class_changes.numbers(
            sources_of(
                tmp_path,
                a={
                    "class_counts": np.arange(size) + 1,
                    "few_classes": np.arange(100),
                    "medium_classes": np.arange(100, 200),
                    "many_classes": np.arange(200, size),
                    "test_labels": np.repeat(np.arange(size), 4),
                    "label_names": np.zeros(0, "<U1"),
                },
            )
        )
        assert numbers[""]["name"][0] == f"class {numbers['']['class'][0]}"
        (axes,) = drawn(class_changes, numbers).axes
        assert len(axes.patches) == 3
        for patch, split in zip(axes.patches, SPLITS, strict=True):
            part = select(numbers[""], split=split)
            np.testing.assert_allclose(patch.get_data().values, part["change"])

    @pytest.mark.parametrize(("col_wrap", "columns"), [(1, 1), (2, 2), (0, 3)])
    def test_panels(self, tmp_path, drawn, col_wrap, columns):
        results = {name: {"rho": rho} for name, rho in (("a", 0), ("b", 0.5), ("c", 1))}
        numbers = class_changes.numbers(sources_of(tmp_path, **results))
        axes = drawn(class_changes, numbers, col_wrap=col_wrap).axes[:3]
        assert [each.get_title() for each in axes] == ["a", "b", "c"]
        assert len({round(each.get_position().x0, 3) for each in axes}) == columns

    def test_command(self, tmp_path):
        rows = run(tmp_path, "class_changes", "--col_wrap=2")
        assert len(rows) == 2 * len(LABEL_NAMES)
        assert {row["experiment"] for row in rows} == {"a", "b"}
        assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
            "figure.csv",
            "figure.means.csv",
            "figure.svg",
        ]


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

    def test_command(self, tmp_path):
        rows = run(tmp_path, "accuracy_vs_samples", "--ci=90", "--exp_names", "x", "y")
        assert [row["experiment"] for row in rows[::50]] == ["Baseline", "x", "y"]
