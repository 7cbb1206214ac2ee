"""Changes of the accuracy of single classes, as bars."""

import itertools
import re

import numpy as np
import pytest
from figure_sources import plotted_twice, sources_of
from made_results import LABEL_NAMES, SPLITS

from alphanet_jax.errors import UserError
from alphanet_jax.figures import extents, load_kind
from alphanet_jax.figures.numbers import select

class_changes = load_kind("class_changes")


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
        rows = plotted_twice(tmp_path, "class_changes", "--col_wrap=2")
        assert len(rows) == 2 * len(LABEL_NAMES)
        assert {row["experiment"] for row in rows} == {"a", "b"}
        assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
            "figure.csv",
            "figure.means.csv",
            "figure.svg",
        ]
