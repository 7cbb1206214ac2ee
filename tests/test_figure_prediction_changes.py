"""How predictions change, from before to after."""

import numpy as np
import pytest
from figure_sources import HAND, read, sources_of, with_unchanged
from made_results import NUM_CLASSES

from alphanet_jax.errors import UserError
from alphanet_jax.figures import load_kind
from alphanet_jax.figures.numbers import (
    select,
    with_constants,
)
from alphanet_jax.results import accuracy, semantic

prediction_changes = load_kind("prediction_changes")
predictions = load_kind("predictions")


class TestPredictionChanges:
    def test_hand_worked(self, tmp_path):
        table = prediction_changes.numbers(sources_of(tmp_path, a=HAND))[""]
        assert set(table["part"]) == {"few"}
        flows = {
            (before, after): count
            for before, after, count in zip(
                *(table[name].tolist() for name in ("before", "after", "count")),
                strict=True,
            )
        }
        assert len(flows) == 9
        assert {key: count for key, count in flows.items() if count} == {
            ("neighbor", "correct"): 2.0,  # 1 and 4, in both runs
            ("neighbor", "neighbor"): 1.0,
            ("other", "other"): 0.5,
            ("other", "correct"): 0.5,
            ("correct", "neighbor"): 0.5,
            ("correct", "other"): 0.5,
        }
        np.testing.assert_allclose(table["percent"], 20.0 * table["count"])

    @pytest.mark.parametrize("nn_split", ["few", "base", "all"])
    def test_both_parts(self, real, nn_split):
        sources = read(real[0], "euclidean")
        of = {
            split: prediction_changes.numbers(sources, split=split, nn_split=nn_split)
            for split in ("few", "base", "all")
        }
        together = of["all"][""]
        assert together["percent"].sum() == pytest.approx(100.0)
        for part in ("few", "base"):
            alone, here = of[part][""], select(together, part=part)
            assert alone["count"].tolist() == here["count"].tolist()
            assert alone["percent"].sum() == pytest.approx(100.0)
        assert set(together["samples"]) == {12}

    def test_agrees_with_predictions(self, real):
        sources = read(real[0], "cosine")
        options = {"split": "base", "nn_split": "all"}
        shares = predictions.numbers(sources, **options)[""]
        flows = prediction_changes.numbers(sources, **options)[""]
        for side, model in (("before", "baseline"), ("after", "alphanet")):
            for outcome in accuracy.OUTCOMES:
                (percent,) = select(shares, model=model, outcome=outcome)["percent"]
                summed = select(flows, **{side: outcome})["percent"].sum()
                assert summed == pytest.approx(percent)

    def test_distance(self, real):
        sources = read(real[0], "euclidean")
        tables = [
            prediction_changes.numbers(sources, split="all", nn_dist=nn_dist)[""]
            for nn_dist in (None, "euclidean", "cosine")
        ]
        assert tables[0]["count"].tolist() == tables[1]["count"].tolist()
        assert tables[0]["count"].tolist() != tables[2]["count"].tolist()

    def test_classes_without_semantic_neighbors_stay(self, tmp_path, monkeypatch):
        asked = []

        def mask(file, finder, *, level, synsets, wordnet):
            asked.append((level, synsets, wordnet))
            made = np.zeros((NUM_CLASSES, NUM_CLASSES), bool)
            made[4, [2, 3]] = True
            return made

        monkeypatch.setattr(semantic, "semantic_mask", mask)
        sources = sources_of(tmp_path, a=HAND)
        sources = sources._replace(synsets="ids", wordnet="words")
        table = prediction_changes.numbers(
            sources, nn_split="semantic", semantic_nns_level=3
        )[""]
        assert asked == [(3, "ids", "words")]
        assert table["count"].sum() == 5.0
        assert set(table["without_neighbors"]) == {3}
        # All three wrong predictions of class 1, which has no neighbor, are other.
        assert select(table, before="other")["count"].sum() == 3.0
        prediction_changes.numbers(sources, nn_split="semantic")
        assert asked[1][0] == semantic.LEVEL

    @pytest.mark.parametrize(
        ("given", "options", "message"),
        [
            ({}, {"semantic_nns_level": 4}, "--semantic_nns_level needs"),
            ({"synsets": "x"}, {}, "--synsets or --imagenet_data_root needs"),
            ({"wordnet": "x"}, {"nn_split": "all"}, "--wordnet needs.*got.*=all"),
            (
                {},
                {"nn_split": "semantic", "nn_dist": "cosine"},
                "--nn_dist means nothing",
            ),
        ],
    )
    def test_options_that_mean_nothing(self, tmp_path, given, options, message):
        sources = sources_of(tmp_path, a=HAND)._replace(**given)
        with pytest.raises(UserError, match=message):
            prediction_changes.numbers(sources, **options)

    def test_drawing(self, tmp_path, drawn):
        from matplotlib.patches import PathPatch

        numbers = prediction_changes.numbers(sources_of(tmp_path, a=HAND))
        figure = drawn(prediction_changes, numbers)
        (axes,) = figure.axes
        bands = [patch for patch in axes.patches if isinstance(patch, PathPatch)]
        bars = [patch for patch in axes.patches if patch not in bands]
        np.testing.assert_allclose(
            [bar.get_height() for bar in bars], [20, 60, 20, 50, 30, 20]
        )
        # Six flows are not empty, and bands are as thick at both ends as these say.
        heights = []
        for band in bands:
            y = band.get_path().vertices[:, 1]
            assert y[4] - y[3] == pytest.approx(y[7] - y[0])
            heights.append(y[7] - y[0])
        np.testing.assert_allclose(sorted(heights), [10, 10, 10, 10, 20, 40])
        # Two bands leave each piece of the bar at the left: the first where it begins.
        starts = sorted(band.get_path().vertices[0, 1] for band in bands)
        assert starts[::2] == pytest.approx([bar.get_y() for bar in bars[:3]])
        texts = [text.get_text() for text in axes.texts]
        assert texts[:6] == ["20.0", "60.0", "20.0", "50.0", "30.0", "20.0"]
        assert sorted(texts[6:]) == ["10.0", "10.0", "10.0", "40.0"]
        assert not any(bar.get_hatch() for bar in bars)
        assert figure.get_supylabel() == "Few-split samples (%)"
        labels = [text.get_text() for text in figure.legends[0].get_texts()]
        assert labels == ["Correct", "Wrong: visual neighbor", "Wrong: other"]

    @pytest.mark.parametrize("theme", ["light", "dark"])
    def test_semantic_and_visual_neighbors_look_different(self, tmp_path, drawn, theme):
        numbers = prediction_changes.numbers(sources_of(tmp_path, a=HAND))
        of_wordnet = with_constants(numbers[""], nn_split="semantic")
        colors, labels = [], []
        for each in (numbers, {"": of_wordnet}):
            figure = drawn(prediction_changes, each, changes={"theme": theme})
            (legend,) = figure.legends
            labels.append([text.get_text() for text in legend.get_texts()])
            colors.append([patch.get_facecolor() for patch in legend.get_patches()])
            # Bars and bands have the colors of the legend.
            used = {patch.get_facecolor()[:3] for patch in figure.axes[0].patches}
            assert used == {color[:3] for color in colors[-1]}
        assert labels[1] == ["Correct", "Wrong: semantic neighbor", "Wrong: other"]
        assert [a == b for a, b in zip(*colors, strict=True)] == [True, False, True]
        assert len(set(colors[1])) == 3

    def test_what_is_unchanged_is_drawn_once(self, tmp_path, drawn):
        numbers = prediction_changes.numbers(with_unchanged(tmp_path))
        figure = drawn(prediction_changes, numbers)
        first, second = figure.axes
        ticks = [text.get_text() for text in first.get_xticklabels()]
        assert ticks == ["Baseline", "AlphaNet"]
        ticks = [text.get_text() for text in second.get_xticklabels()]
        assert ticks == ["Baseline"]
        # Three outcomes, and no bands of changes.
        assert len(second.patches) == len(second.texts) == 3

    def test_few_part_is_hatched(self, real, drawn):
        from matplotlib.patches import Rectangle

        sources = read(real[0], "euclidean")
        numbers = prediction_changes.numbers(sources, split="all")
        figure = drawn(prediction_changes, numbers)
        bars = [p for p in figure.axes[0].patches if isinstance(p, Rectangle)]
        assert [bool(bar.get_hatch()) for bar in bars] == [True, False] * 6
        few = sum(bar.get_height() for bar in bars if bar.get_hatch()) / 2.0
        of_few = select(numbers[""], part="few")["percent"].sum()
        assert few == pytest.approx(of_few)
        assert figure.legends[0].get_texts()[-1].get_text() == "Few split"
        assert figure.get_supylabel() == "Test samples (%)"

    @pytest.mark.slow
    def test_drawing_options(self, tmp_path, drawn):
        numbers = prediction_changes.numbers(sources_of(tmp_path, a=HAND, b=HAND))
        figure = drawn(
            prediction_changes, numbers, col_wrap=1, label_size=5.0, label_rot=30.0
        )
        assert figure.axes[0].get_gridspec().ncols == 1
        assert {text.get_fontsize() for text in figure.axes[0].texts} == {5.0}
        assert {text.get_rotation() for text in figure.axes[0].texts} == {30.0}
        assert [axes.get_title() for axes in figure.axes] == ["a", "b"]
        figure = drawn(prediction_changes, numbers, legend_loc="none")
        assert not figure.legends
        figure = drawn(prediction_changes, numbers, legend_ncols=3)
        assert figure.legends[0]._ncols == 3

    def test_labels_of_small_segments_keep_apart(self, tmp_path, drawn):
        labels = np.int32([1] * 100)
        taken = np.int32([1] * 98 + [0] + [3])
        sources = sources_of(
            tmp_path,
            a=HAND
            | {
                "test_labels": labels,
                "baseline_test_pred": taken,
                "test_pred": np.stack([taken, taken]),
            },
        )
        figure = drawn(prediction_changes, prediction_changes.numbers(sources))
        renderer = figure.canvas.get_renderer()
        texts = figure.axes[0].texts
        assert [text.get_text() for text in texts[:3]] == ["98.0", "1.0", "1.0"]
        boxes = [text.get_window_extent(renderer) for text in texts[:3]]
        assert boxes[0].y0 > boxes[1].y1 > boxes[1].y0 > boxes[2].y1
