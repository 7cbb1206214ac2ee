"""Kinds of figure that draw the accuracy of single classes."""

import csv
import itertools
import json
import re

import made_data
import numpy as np
import pytest
import tools
from made_results import LABEL_NAMES, SPLITS, make_result, make_unchanged

from alphanet_jax.commands import cli
from alphanet_jax.data import loading
from alphanet_jax.errors import UserError
from alphanet_jax.figures import classes, extents, load_kind, saving
from alphanet_jax.figures.numbers import Sources, select
from alphanet_jax.figures.style import make_style
from alphanet_jax.results import sets as result_sets
from alphanet_jax.results.datasets import DataFinder

accuracy_vs_distance = load_kind("accuracy_vs_distance")
accuracy_vs_samples = load_kind("accuracy_vs_samples")
class_accuracy_and_samples = load_kind("class_accuracy_and_samples")
class_changes = load_kind("class_changes")


def sources_of(directory, **results):
    """Writes results, each an experiment, and loads them."""
    paths = {}
    for name, arguments in results.items():
        paths[name] = [directory / name / "result.npz"]
        make_result(paths[name][0], **arguments)
    return Sources(result_sets.load_sets(paths), DataFinder())


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
        assert texts[:4] == [f"All\n{values[3]}", *values[:3]]
        ticks = [label.get_text() for label in axes.get_xticklabels()]
        assert ticks == ["Few (3)", "Medium (3)", "Many (3)"]

    @pytest.mark.parametrize("width", ["half", "full"])
    def test_classes_that_change_most_are_named(self, tmp_path, drawn, width):
        numbers = class_changes.numbers(sources_of(tmp_path, a={}))
        (axes,) = drawn(class_changes, numbers, changes={"width": width}).axes
        table = numbers[""]
        texts = {text.get_text(): text for text in axes.texts}
        for place in (np.argmax(table["change"]), np.argmin(table["change"])):
            name, change = table["name"][place], table["change"][place]
            shown = texts[f"{name} ${change:+.1f}$"]
            # Beyond the end of its bar.
            bar = axes.patches[place].get_window_extent()
            box = shown.get_window_extent()
            assert box.y0 >= bar.y1 - 1 if change > 0 else box.y1 <= bar.y0 + 1

    def test_names_are_whole_where_they_have_room(self, tmp_path, drawn):
        """In as many lines as that takes; on a small figure, too."""
        names = [f"the {word} of long name number {word}" for word in "abcdefghi"]
        numbers = class_changes.numbers(
            sources_of(tmp_path, a={"label_names": np.asarray(names)})
        )
        (axes,) = drawn(class_changes, numbers, changes={"aspect": 1.0}).axes
        shown = [text.get_text().replace("\n", " ") for text in axes.texts]
        table = numbers[""]
        for place in (np.argmax(table["change"]), np.argmin(table["change"])):
            name, change = table["name"][place], table["change"][place]
            assert f"{name} ${change:+.1f}$" in shown
        renderer = axes.figure.canvas.get_renderer()
        boxes = [extents.text_box(text, renderer) for text in axes.texts]
        for box, other in itertools.combinations(boxes, 2):
            assert not box.padded(-1).overlaps(other)

    def test_names_of_splits_do_not_touch(self, tmp_path, drawn):
        results = {name: {"rho": rho} for name, rho in (("a", 0), ("b", 0.5), ("c", 1))}
        numbers = class_changes.numbers(sources_of(tmp_path, **results))
        figure = drawn(class_changes, numbers, changes={"aspect": 1.0}, col_wrap=2)
        renderer = figure.canvas.get_renderer()
        # Panels above others have none.
        assert not figure.axes[0].get_xticklabels()
        for axes in figure.axes[1:3]:
            labels = axes.get_xticklabels()
            assert labels[1].get_text() == "Med.\n(3)"
            boxes = [label.get_window_extent(renderer) for label in labels]
            assert all(a.x1 + 1 < b.x0 for a, b in itertools.pairwise(boxes))

    def test_low_panels_have_no_numbers_on_bars(self, tmp_path, drawn):
        """Rather none than one across its line."""
        numbers = class_changes.numbers(sources_of(tmp_path, a={}))
        changes = {"width": "full", "aspect": 5.0}
        (axes,) = drawn(class_changes, numbers, changes=changes).axes
        renderer = axes.figure.canvas.get_renderer()
        for text in axes.texts[1:]:
            box = extents.text_box(text, renderer)
            line = axes.transData.transform((0.0, text.xy[1]))[1]
            assert not box.y0 + 0.5 * box.height < line < box.y1
            assert not box.y0 < line < box.y1 - 0.5 * box.height

    def test_names_are_beside_the_bars_of_a_split_that_gains(self, tmp_path, drawn):
        # All samples of few classes become right: their least change is a gain, too.
        labels = np.int32(np.repeat(np.arange(9), 10))
        before = np.where(np.isin(labels, SPLITS["few"]), 0, labels).astype(np.int32)
        before[labels == 8] = np.int32([8] * 6 + [0] * 4)
        arrays = {
            "test_labels": labels,
            "baseline_test_pred": before,
            "test_pred": np.stack([labels, labels]),
        }
        numbers = class_changes.numbers(sources_of(tmp_path, a=arrays))
        few = select(numbers[""], split="few")
        assert few["change"].tolist() == [100.0, 100.0, 40.0]
        figure = drawn(class_changes, numbers, changes={"width": "full"})
        (axes,) = figure.axes
        texts = {text.get_text(): text for text in axes.texts}
        low = texts[f"{few['name'][2]} ${few['change'][2]:+.1f}$"]
        box = low.get_window_extent()
        zero = axes.transData.transform((0.0, 0.0))[1]
        assert box.y1 <= zero + 1
        bars = [bar.get_window_extent() for bar in axes.patches]
        assert not any(box.overlaps(bar.padded(-1)) for bar in bars if bar.height > 2)

    @pytest.mark.parametrize(("width", "dpi"), [("half", 200), ("full", 100)])
    def test_bars_of_many_classes_do_not_merge(self, tmp_path, drawn, width, dpi):
        size = 1000
        numbers = class_changes.numbers(
            sources_of(
                tmp_path,
                a={
                    "class_counts": np.arange(size) + 1,
                    "few_classes": np.arange(100),
                    "medium_classes": np.arange(100, 500),
                    "many_classes": np.arange(500, size),
                    "test_labels": np.repeat(np.arange(size), 4),
                    "label_names": np.zeros(0, "<U1"),
                },
            )
        )
        assert numbers[""]["name"][0] == f"class {numbers['']['class'][0]}"
        changes = {"width": width, "dpi": dpi}
        (axes,) = drawn(class_changes, numbers, changes=changes).axes
        shared = int(re.search(r"\((\d+) a bar\)", axes.get_xlabel())[1])
        bars = axes.patches
        assert len(bars) == sum(-(-n // shared) for n in (100, 400, 500))
        boxes = [bar.get_window_extent() for bar in bars]
        pixels = [b.x0 - a.x1 for a, b in itertools.pairwise(boxes)]
        assert min(pixels) >= 1.0
        assert min(box.width for box in boxes) >= 1.0
        # All classes are in a bar: with equal numbers, the mean of bars is theirs.
        few = select(numbers[""], split="few")["change"]
        heights = [bar.get_height() for bar in bars[: -(-100 // shared)]]
        wanted = [part.mean() for part in np.array_split(few, len(heights))]
        np.testing.assert_allclose(heights, wanted)

    @pytest.mark.slow
    @pytest.mark.parametrize(("col_wrap", "columns"), [(1, 1), (2, 2), (3, 3), (0, 1)])
    def test_panels(self, tmp_path, drawn, col_wrap, columns):
        results = {name: {"rho": rho} for name, rho in (("a", 0), ("b", 0.5), ("c", 1))}
        numbers = class_changes.numbers(sources_of(tmp_path, **results))
        changes = {"width": "full" if col_wrap == 3 else "half"}
        figure = drawn(class_changes, numbers, changes=changes, col_wrap=col_wrap)
        axes = figure.axes[:3]
        assert [each.get_title() for each in axes] == ["a", "b", "c"]
        assert len({round(each.get_position().x0, 3) for each in axes}) == columns

    @pytest.mark.slow
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
        rows = run(tmp_path, "accuracy_vs_samples", "--ci=90", "--exp_names", "x", "y")
        assert [row["experiment"] for row in rows[::50]] == ["Baseline", "x", "y"]


class Means(DataFinder):
    """Knows the class means of a dataset that is not there."""

    MEANS = np.random.default_rng(9).normal(size=(9, 3)).astype(np.float32)

    def __init__(self):
        super().__init__()
        self.asked = 0

    def dataset(self, file):
        self.asked += 1
        return file.path

    def class_means(self, data):
        return self.MEANS

    @classmethod
    def distance(cls, one, other, metric="euclidean"):
        a, b = cls.MEANS[[one, other]].astype(np.float64)
        if metric == "cosine":
            return 1.0 - a @ b / np.sqrt((a @ a) * (b @ b))
        return np.sqrt(((a - b) ** 2).sum())


class TestAccuracyVsDistance:
    def sources(self, tmp_path, **results):
        return sources_of(tmp_path, **results)._replace(finder=Means())

    @pytest.fixture
    def usual(self, tmp_path):
        return self.sources(tmp_path, a={"num_seeds": 3})

    def test_few_classes(self, usual):
        arrays = usual.sets[0].files[0].arrays
        numbers = accuracy_vs_distance.numbers(usual, splits=["few"])
        table = numbers[""]
        assert usual.finder.asked == 0  # all is in the result
        assert table["run"].tolist() == [0, 0, 0, 1, 1, 1, 2, 2, 2]
        assert table["class"].tolist() == [1, 4, 8] * 3
        assert table["name"][:3].tolist() == ["bee", "elk", "ibis"]
        mean = arrays["neighbor_distances"].mean(axis=1)
        np.testing.assert_allclose(table["distance"], np.tile(mean, 3))
        change = arrays["test_acc_per_class"] - arrays["baseline_test_acc_per_class"]
        change = 100.0 * change[:, [1, 4, 8]].ravel()
        np.testing.assert_allclose(table["accuracy"], change, atol=1e-9)
        assert set(table["neighbors"]) == {2}
        lines, (r,) = numbers["lines"], numbers["correlations"]["r"]
        fit = np.polyfit(np.tile(mean, 3), change, 1)
        np.testing.assert_allclose(lines["y"], np.polyval(fit, lines["x"]))
        np.testing.assert_allclose(r, np.corrcoef(np.tile(mean, 3), change)[0, 1])
        assert numbers["correlations"]["points"].tolist() == [9]

    @pytest.mark.parametrize("metric", ["euclidean", "cosine"])
    def test_base_classes_have_the_nearest_few_classes(self, tmp_path, metric):
        sources = self.sources(tmp_path, a={"nn_dist": metric})
        for split, members in SPLITS.items():
            if split == "few":
                continue
            table = accuracy_vs_distance.numbers(sources, splits=[split])[""]
            assert table["class"].tolist() == [*members, *members]
            for label, distance in zip(table["class"], table["distance"], strict=True):
                found = sorted(Means.distance(label, f, metric) for f in SPLITS["few"])
                np.testing.assert_allclose(distance, np.mean(found[:2]), rtol=1e-5)
        base = accuracy_vs_distance.numbers(sources, splits=["base", "few", "base"])[""]
        assert list(dict.fromkeys(base["split"])) == ["base", "few"]
        classes_of_base = sorted([*SPLITS["medium"], *SPLITS["many"]])
        assert select(base, split="base")["class"].tolist() == classes_of_base * 2

    @pytest.mark.parametrize("metric", ["euclidean", "cosine"])
    def test_distances_to_random_neighbors_are_real(self, tmp_path, metric):
        neighbors = np.int32([[[0, 2], [3, 5], [7, 6]], [[6, 3], [2, 0], [5, 7]]])
        sources = self.sources(
            tmp_path, a={"nn_dist": "random", "neighbors": neighbors}
        )
        numbers = accuracy_vs_distance.numbers(
            sources, splits=["few"], dist_for_rand=metric
        )
        table = numbers[""]
        assert set(table["metric"]) == {metric}
        for run in range(2):
            for place, label in enumerate(SPLITS["few"]):
                (found,) = select(table, run=run, **{"class": label})["distance"]
                drawn = [
                    Means.distance(label, n, metric) for n in neighbors[run, place]
                ]
                np.testing.assert_allclose(found, np.mean(drawn))

    def test_accuracy_that_is_chosen(self, usual):
        arrays = usual.sets[0].files[0].arrays
        few = list(SPLITS["few"])

        def accuracy(acc):
            table = accuracy_vs_distance.numbers(usual, splits=["few"], acc=acc)[""]
            return table["accuracy"].reshape(3, 3)

        after = 100.0 * arrays["test_acc_per_class"][:, few]
        before = 100.0 * arrays["baseline_test_acc_per_class"][few]
        np.testing.assert_allclose(accuracy("alphanet"), after)
        np.testing.assert_allclose(accuracy("baseline"), [before] * 3)

    def test_means_over_runs(self, usual):
        arrays = usual.sets[0].files[0].arrays
        numbers = accuracy_vs_distance.numbers(
            usual, splits=["few"], acc="alphanet", r_group_classes=True
        )
        table = numbers[""]
        assert table["class"].tolist() == list(SPLITS["few"])
        assert np.isnan(table["run"]).all()
        means = 100.0 * arrays["test_acc_per_class"].mean(axis=0)[list(SPLITS["few"])]
        np.testing.assert_allclose(table["accuracy"], means)
        (r,) = numbers["correlations"]["r"]
        distances = arrays["neighbor_distances"].mean(axis=1)
        np.testing.assert_allclose(r, np.corrcoef(distances, means)[0, 1])

    def test_axes_the_other_way(self, usual):
        numbers = accuracy_vs_distance.numbers(usual, splits=["few"], dist_on_x=False)
        table, lines = numbers[""], numbers["lines"]
        fit = np.polyfit(table["accuracy"], table["distance"], 1)
        np.testing.assert_allclose(lines["y"], np.polyval(fit, lines["x"]))

    def test_bootstrap(self, usual):
        lines = [
            accuracy_vs_distance.numbers(usual, **how)["lines"]
            for how in ({}, {"boot_seed": 1}, {"n_boot": 30})
        ]
        for other in lines[1:]:
            np.testing.assert_array_equal(other["y"], lines[0]["y"])
            assert not np.array_equal(other["low"], lines[0]["low"])

    def test_several_files_and_numbers_of_neighbors(self, tmp_path):
        paths = [tmp_path / f"{k}.npz" for k in (1, 2)]
        for k, path in enumerate(paths, 1):
            make_result(path, num_neighbors=k, seed=k, num_seeds=1)
        sources = Sources(result_sets.load_sets({"a": paths}), Means())
        table = accuracy_vs_distance.numbers(sources)[""]
        assert table["neighbors"].tolist() == [1, 1, 1, 2, 2, 2, *[1] * 6, *[2] * 6]
        assert table["run"].tolist() == [0, 0, 0, 1, 1, 1, *[0] * 6, *[1] * 6]

    def test_classes_and_splits_without_test_samples(self, tmp_path, drawn):
        labels = np.int32([1, 1, 0, 0, 5])  # no many class, one few class
        sources = self.sources(tmp_path, a={"test_labels": labels})
        numbers = accuracy_vs_distance.numbers(sources, splits=["few", "many", "base"])
        assert set(numbers[""]["split"]) == {"few", "base"}
        # One few class: nothing to correlate.
        assert set(numbers["lines"]["split"]) == {"base"}
        assert [axes.get_title() for axes in self.panels(drawn, numbers)] == [
            "Few",
            "Base",
        ]
        alone = accuracy_vs_distance.numbers(sources, splits=["few"])
        (axes,) = self.panels(drawn, alone)
        assert not axes.texts
        with pytest.raises(UserError, match="no class of many has test samples"):
            accuracy_vs_distance.numbers(sources, splits=["many"])

    def test_too_few_few_classes(self, tmp_path):
        sources = self.sources(tmp_path, a={"num_neighbors": 3})
        accuracy_vs_distance.numbers(sources, splits=["few"])
        with pytest.raises(UserError, match=r"3 nearest few classes.* only 3"):
            accuracy_vs_distance.numbers(sources)

    @staticmethod
    def panels(drawn, numbers, **options):
        figure = drawn(accuracy_vs_distance, numbers, **options)
        return [axes for axes in figure.axes if axes.get_visible()]

    def test_drawing(self, usual, drawn):
        numbers = accuracy_vs_distance.numbers(usual)
        few, base = self.panels(drawn, numbers)
        assert [few.get_title(), base.get_title()] == ["Few", "Base"]
        assert few.get_ylim() == base.get_ylim()
        assert few.get_xlim() == base.get_xlim()
        part = select(numbers[""], split="few")
        points, line = few.lines[:2]
        np.testing.assert_array_equal(points.get_xdata(), part["distance"])
        np.testing.assert_array_equal(points.get_ydata(), part["accuracy"])
        part = select(numbers["lines"], split="few")
        np.testing.assert_array_equal(line.get_ydata(), part["y"])
        (r,) = select(numbers["correlations"], split="few")["r"]
        assert [text.get_text() for text in few.texts] == [f"$r = {r:.2f}$"]
        figure = few.figure
        assert figure.get_supxlabel() == "Mean Euclidean distance to 2 neighbors"
        assert figure.get_supylabel() == "Change in\naccuracy (points)"
        assert not figure.legends
        assert not few.spines["top"].get_visible()

    @pytest.mark.slow
    def test_options_of_the_drawing(self, usual, drawn):
        numbers = accuracy_vs_distance.numbers(usual, acc="alphanet")

        def panels(**options):
            return self.panels(drawn, numbers, **options)

        assert [len(axes.lines) for axes in panels(fit_reg=False)] == [1, 1]
        assert not any(axes.texts for axes in panels(plot_r=False))
        for place, (x, y) in {"upper left": (0, 1), "lower right": (1, 0)}.items():
            (text,) = panels(plot_r_loc=place)[0].texts
            assert text.xy == (x, y)
        assert panels(r_font_size=5.5)[0].texts[0].get_fontsize() == 5.5
        assert panels(despine=False)[0].spines["top"].get_visible()
        one, other = panels(sharex=False, sharey=False)
        assert one.get_xlim() != other.get_xlim()
        assert one.get_ylim() != other.get_ylim()
        one, other = panels(col_wrap=1)
        assert one.get_position().y0 > other.get_position().y1
        assert panels(rasterize_scatter=True)[0].lines[0].get_rasterized()
        assert not panels()[0].lines[0].get_rasterized()
        one, other = panels(xlim=[0.0, 9.0], ylim=[-5.0, 105.0])
        assert other.get_xlim() == (0.0, 9.0)
        assert other.get_ylim() == (-5.0, 105.0)
        (axes, _) = panels(
            xticks=[1.0, 2.0], xticklabels=["one", "2_$"], yticks=[50.0, 75.5]
        )
        assert [t.get_text() for t in axes.get_xticklabels()] == ["one", r"2_\$"]
        assert [t.get_text() for t in axes.get_yticklabels()] == ["50", "75.5"]
        labels = panels(yticks=[50.0], yticklabels=["half"])[0].get_yticklabels()
        assert [t.get_text() for t in labels] == ["half"]
        figure = panels(xlabel="near $", ylabel="good")[0].figure
        assert figure.get_supxlabel() == r"near \$"
        assert figure.get_supylabel() == "good"
        assert panels(add_axlabels=False)[0].figure.get_supxlabel() == ""
        axes = panels(log_xscale=True)[0]
        assert [axes.get_xscale(), axes.get_yscale()] == ["log", "linear"]

    @pytest.mark.slow
    def test_log_scale_of_accuracy(self, usual, drawn):
        numbers = accuracy_vs_distance.numbers(usual, acc="alphanet", splits=["base"])
        assert numbers[""]["accuracy"].min() > 0.0
        (axes,) = self.panels(drawn, numbers, log_yscale=True)
        assert axes.get_yscale() == "log"

    @pytest.mark.slow
    def test_points_as_pixels_of_pgf_are_beside_it(self, usual, tmp_path):
        tools.need_latex()
        numbers = accuracy_vs_distance.numbers(usual)
        made = {}
        for pixels in (False, True):
            made[pixels] = saving.save_figure(
                numbers,
                accuracy_vs_distance.draw,
                tmp_path / "figure",
                [make_style("paper")],
                options={"rasterize_scatter": pixels},
            )
        images = [path for path in made[True] if path.suffix == ".png"]
        assert [path.name for path in images] == ["figure-img0.png", "figure-img1.png"]
        assert not any(path.suffix == ".png" for path in made[False])
        text = (tmp_path / "figure.pgf").read_text()
        assert all(path.is_file() and path.name in text for path in images)

    @pytest.mark.slow
    def test_empty_panels(self, usual, drawn):
        # The original gave them values of a class, which was then missing.
        numbers = accuracy_vs_distance.numbers(usual)
        usual_axes = drawn(accuracy_vs_distance, numbers).axes
        for before, after in ((True, False), (False, True), (True, True)):
            figure = drawn(
                accuracy_vs_distance,
                numbers,
                add_dummy_before=before,
                add_dummy_after=after,
                col_wrap=4,
            )
            shown = [axes.get_visible() for axes in figure.axes]
            assert shown == [*[False] * before, True, True, *[False] * after]
            visible = [axes for axes in figure.axes if axes.get_visible()]
            for axes, same in zip(visible, usual_axes, strict=True):
                np.testing.assert_array_equal(
                    axes.lines[0].get_xydata(), same.lines[0].get_xydata()
                )
            assert visible[0].yaxis.get_tick_params()["labelleft"]

    @pytest.mark.slow
    def test_long_lists_of_correlations_are_outside(self, tmp_path, drawn):
        results = {name: {"seed": place} for place, name in enumerate("abcde")}
        numbers = accuracy_vs_distance.numbers(
            self.sources(tmp_path, **results), splits=["few"], n_boot=2
        )
        (axes,) = self.panels(drawn, numbers)
        edge = axes.get_window_extent().x1
        assert len(axes.texts) == 5
        assert all(text.get_window_extent().x0 > edge for text in axes.texts)
        (axes,) = self.panels(drawn, numbers, plot_r_loc="upper right")
        edge = axes.get_window_extent().x1
        assert all(text.get_window_extent().x0 < edge for text in axes.texts)

    @pytest.mark.slow
    def test_guide(self, usual, drawn):
        numbers = accuracy_vs_distance.numbers(usual)
        *panels, guide = self.panels(drawn, numbers, add_axes_guide=True, ylabel="gain")
        assert len(panels) == 2
        names = [text.get_text().replace("\n", " ") for text in guide.texts]
        assert names == ["gain", "Mean Euclidean distance to 2 neighbors"]
        assert guide.figure._supylabel is None
        for axes in panels:
            assert axes.yaxis.get_ticklocs().size  # shared, and still there

    def test_several_experiments(self, tmp_path, drawn):
        results = {name: {"seed": place} for place, name in enumerate(("a_$", "b"))}
        numbers = accuracy_vs_distance.numbers(
            self.sources(tmp_path, **results), splits=["few"]
        )
        (axes,) = self.panels(drawn, numbers, plot_r_loc="upper right")
        (legend,) = axes.figure.legends
        texts = [text.get_text() for text in legend.get_texts()]
        assert texts == [r"a_\$", "b"]
        first, second = axes.texts
        assert first.get_color() == axes.lines[0].get_color()
        assert first.get_color() != second.get_color()
        assert first.xyann[1] > second.xyann[1]
        (axes,) = self.panels(
            drawn,
            numbers,
            legend_loc="upper left",
            legend_ncols=2,
            legend_bbox_to_anchor=[1.0, 0.5],
        )
        legend = axes.get_legend()
        assert legend._ncols == 2
        anchor = axes.transAxes.inverted().transform(legend.get_bbox_to_anchor().p0)
        np.testing.assert_allclose(anchor, [1.0, 0.5])
        # Alone it says where the center is.
        (axes,) = self.panels(drawn, numbers, legend_bbox_to_anchor=[0.25, 0.5])
        legend = axes.get_legend()
        box = legend.get_window_extent().transformed(axes.transAxes.inverted())
        np.testing.assert_allclose([box.x0 + box.x1, box.y0 + box.y1], [0.5, 1.0])

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"xlim": [1.0]}, "--xlim must be two different numbers, got 1"),
            ({"ylim": [1.0, 1.0]}, "--ylim must be two different numbers, got 1 1"),
            (
                {"xlim": [0.0, 1.0], "log_xscale": True},
                "--xlim must be two different numbers, positive on a log axis",
            ),
            ({"log_yscale": True}, "--log_yscale needs positive values, but the least"),
            ({"xticklabels": ["a"]}, "--xticklabels needs --xticks"),
            (
                {"yticks": [1.0], "yticklabels": ["a", "b"]},
                "--yticklabels has 2 labels for 1 ticks",
            ),
            ({"legend_bbox_to_anchor": [1.0]}, "--legend_bbox_to_anchor takes"),
            (
                {"legend_bbox_to_anchor": [1.0, 1.0], "legend_loc": "beside"},
                "--legend_bbox_to_anchor takes",
            ),
        ],
    )
    def test_errors(self, usual, drawn, options, message):
        numbers = accuracy_vs_distance.numbers(usual)
        with pytest.raises(UserError, match=message):
            self.panels(drawn, numbers, **options)

    @pytest.mark.slow
    def test_command_with_data(self, tmp_path, capsys):
        made = made_data.make(tmp_path / "data")
        data = loading.load_dataset(made.entry, made.root)
        result = {
            "dataset": "made",
            "num_neighbors": 1,
            "nn_dist": "random",
            "settings": {"registry": str(made.registry), "data_root": str(made.root)},
            "file_hashes": json.dumps(dict(data.file_hashes)),
            "label_names": data.label_names,
            "class_counts": data.class_counts,
            "test_labels": data.test.labels,
            **{f"{split}_classes": ids for split, ids in data.splits.items()},
        }
        make_result(tmp_path / "res" / "result.npz", **result)
        out = tmp_path / "figure.pdf"
        arguments = ["main.py", "plot", "accuracy_vs_distance"]
        arguments += [f"--base_res_dir={tmp_path / 'res'}", f"--out={out}"]
        options = ["--splits", "few", "many", "--xlim", "0", "9", "--nosharey"]
        assert cli.main([*arguments, *options]) == 0
        with out.with_suffix(".csv").open() as file:
            rows = list(csv.DictReader(file))
        assert [(row["split"], row["class"]) for row in rows] == [
            *[("few", "0"), ("few", "3")] * 2,
            *[("many", "2"), ("many", "5")] * 2,
        ]
        labels = data.train.labels
        means = [
            data.train.features[labels == label].mean(axis=0) for label in range(6)
        ]
        found = min(np.linalg.norm(means[2] - means[few]) for few in (0, 3))
        np.testing.assert_allclose(float(rows[4]["distance"]), found, rtol=1e-5)

        capsys.readouterr()
        out.unlink()
        missing = [*arguments, f"--data_root={tmp_path / 'none'}"]
        assert cli.main(missing) == 1
        error = capsys.readouterr().err.splitlines()[-1]
        assert "is needed" in error
        assert "--data_root and --registry" in error
        assert not out.exists()


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
        rows = run(tmp_path, "class_accuracy_and_samples", "--max_bars=4")
        assert len(rows) == 2 * len(LABEL_NAMES)
        assert (tmp_path / "out" / "figure.bars.csv").exists()
