"""What predictions are: correct, a neighbor, another; the kind that draws it."""

import numpy as np
import pytest
from figure_sources import HAND, read, sources_of, with_unchanged

from alphanet_jax.errors import UserError
from alphanet_jax.figures import load_kind, outcomes
from alphanet_jax.figures.numbers import (
    names_of_sets,
    select,
)
from alphanet_jax.results import accuracy, nearest

predictions = load_kind("predictions")
NEAR = outcomes.Neighborhoods("base")


def slow_mask(means, candidates, k, metric):
    """Who is whose neighbor, one class at a time."""
    mask = np.zeros((len(means), len(means)), bool)
    for i, mean in enumerate(means):
        others = [j for j in candidates if j != i]
        if metric == "euclidean":
            far = {j: np.linalg.norm(mean - means[j]) for j in others}
        else:
            unit = means / np.linalg.norm(means, axis=1, keepdims=True)
            far = {j: 1.0 - unit[i] @ unit[j] for j in others}
        mask[i, sorted(others, key=far.__getitem__)[:k]] = True
    return mask


def slow_outcomes(predictions, labels, mask):
    return [
        "correct" if p == y else "neighbor" if mask[y, p] else "other"
        for p, y in zip(predictions, labels, strict=True)
    ]


def data_means(data):
    features, labels = np.asarray(data.train.features), data.train.labels
    return np.stack(
        [features[labels == c].mean(axis=0) for c in range(data.num_classes)]
    )


class TestNearestOthers:
    @pytest.mark.parametrize("metric", ["euclidean", "cosine"])
    @pytest.mark.parametrize("candidates", [[4], [1, 6], [0, 2, 5], [0, 1, 3, 4, 6]])
    @pytest.mark.parametrize("k", [2, 4])
    def test_as_one_class_at_a_time(self, rng, metric, candidates, k):
        means = rng.standard_normal((7, 3), np.float32)
        mask = nearest.nearest_others(
            means, np.array(candidates), num_neighbors=k, metric=metric
        )
        np.testing.assert_array_equal(mask, slow_mask(means, candidates, k, metric))

    def test_equal_means(self):
        # All are as near as each other: the first of the list, and never itself.
        mask = nearest.nearest_others(
            np.zeros((5, 2)), np.arange(1, 5), num_neighbors=2, metric="euclidean"
        )
        assert [np.flatnonzero(row).tolist() for row in mask] == [
            *([1, 2], [2, 3], [1, 3], [1, 2], [1, 2])
        ]


class TestOutcomes:
    def test_hand_worked(self, tmp_path):
        sources = sources_of(tmp_path, a=HAND)
        tally = outcomes.find_outcomes(sources.sets[0], sources, split="few", near=NEAR)
        assert tally.labels.tolist() == [1, 1, 1, 4, 4]
        assert tally.before.tolist() == [[1, 1, 2, 1, 0]] * 2
        assert tally.after.tolist() == [[0, 1, 2, 0, 1], [0, 1, 0, 0, 2]]
        assert not tally.lonely.any()

    def test_each_run_has_neighbors_of_its_own(self, tmp_path):
        few = HAND["neighbors"]
        own = np.stack([few, few[[1, 0, 2]]])
        sources = sources_of(tmp_path, a=HAND | {"neighbors": own, "nn_dist": "random"})
        tally = outcomes.find_outcomes(sources.sets[0], sources, split="few", near=NEAR)
        # In the second run, class 1 has 2 and 3, class 4 has 0 and 2.
        assert tally.before.tolist() == [[1, 1, 2, 1, 0], [2, 1, 1, 1, 0]]
        assert tally.after.tolist() == [[0, 1, 2, 0, 1], [0, 1, 0, 0, 1]]

    @pytest.mark.parametrize("nn_split", ["few", "base", "all"])
    @pytest.mark.parametrize("split", ["few", "base", "all"])
    @pytest.mark.parametrize("nn_dist", [None, "cosine"])
    def test_by_class_means(self, real, split, nn_split, nn_dist):
        sources = read(real[0], "euclidean")
        (runs,), data = sources.sets, real[1]
        tally = outcomes.find_outcomes(
            runs,
            sources,
            split=split,
            near=outcomes.Neighborhoods(nn_split, nn_dist),
        )
        few, base = data.few_classes, data.base_classes
        chosen = {"few": few, "base": base, "all": np.arange(6)}
        mask = slow_mask(data_means(data), chosen[nn_split], 2, nn_dist or "euclidean")
        if nn_split == "base" and nn_dist is None:
            mask[few] = False
            for label, near in zip(few, runs.common("neighbors"), strict=True):
                mask[label, near] = True
        rows = np.isin(runs.common("test_labels"), chosen[split])
        labels = runs.common("test_labels")[rows]
        assert tally.labels.tolist() == labels.tolist()
        names = np.array(accuracy.OUTCOMES)
        for run, predicted in enumerate(runs.runs("test_pred")[:, rows]):
            found = names[tally.after[run]].tolist()
            assert found == slow_outcomes(predicted, labels, mask)
        before = slow_outcomes(runs.common("baseline_test_pred")[rows], labels, mask)
        assert (names[tally.before] == before).all()

    def test_random_neighbors_say_nothing_of_others(self, real):
        sources = read(real[0], "random")
        ask = {"split": "base", "near": NEAR}
        with pytest.raises(UserError, match=r"neighbors 'random'.*--nn_dist=euclidean"):
            outcomes.find_outcomes(sources.sets[0], sources, **ask)
        chosen = outcomes.Neighborhoods("base", "euclidean")
        tally = outcomes.find_outcomes(
            sources.sets[0], sources, split="base", near=chosen
        )
        assert tally.after.shape == (3, len(tally.labels))

    def test_no_samples(self, tmp_path):
        sources = sources_of(
            tmp_path,
            a={
                "test_labels": np.int32([0, 2]),
                "test_pred": np.int32([[0, 2]]),
                "num_seeds": 1,
            },
        )
        with pytest.raises(UserError, match="split 'few' has no test samples"):
            outcomes.find_outcomes(sources.sets[0], sources, split="few", near=NEAR)

    def test_panel_names(self, tmp_path):
        first = {"dataset": "one", "proper_name": "One"}
        second = {"dataset": "two", "proper_name": "Two"}

        def names(*results):
            made = [
                sources_of(tmp_path / str(i), **{name: arguments}).sets[0]
                for i, (name, arguments) in enumerate(results)
            ]
            return names_of_sets(made)

        assert names(("a", first)) == ["a"]
        assert names(("a", first), ("b", second)) == ["a", "b"]
        assert names(("a", first), ("a", second)) == ["One", "Two"]
        assert names(("a", first), ("b", first), ("a", second)) == [
            *("One, a", "One, b", "Two, a")
        ]
        same_name = second | {"proper_name": "One"}
        assert names(("a", first), ("a", same_name)) == ["one, a", "two, a"]


class TestPredictions:
    def test_hand_worked(self, tmp_path):
        table = predictions.numbers(sources_of(tmp_path, a=HAND))[""]
        assert table["model"].tolist() == ["baseline"] * 3 + ["alphanet"] * 3
        assert table["outcome"].tolist() == ["correct", "neighbor", "other"] * 2
        # Of five samples: 1 3 1 before; 2 2 1 and 3 1 1 after.
        assert table["count"].tolist() == [1.0, 3.0, 1.0, 2.5, 1.5, 1.0]
        np.testing.assert_allclose(table["percent"], [20, 60, 20, 50, 30, 20])
        # Means of two of the two runs: the ends are the runs themselves.
        np.testing.assert_allclose(table["low"], [20, 60, 20, 40, 20, 20])
        np.testing.assert_allclose(table["high"], [20, 60, 20, 60, 40, 20])
        assert set(table["samples"]) == {5}
        assert set(table["runs"]) == {2}
        assert set(table["panel"]) == {"a"}

    def test_options_of_the_bootstrap(self, tmp_path):
        sources = sources_of(tmp_path, a={"num_seeds": 15})
        usual = predictions.numbers(sources)[""]
        for options in ({"boot_seed": 1}, {"n_boot": 7}):
            other = predictions.numbers(sources, **options)[""]
            assert (other["percent"] == usual["percent"]).all()
            assert (other["low"] != usual["low"]).any()

    def test_models(self, tmp_path):
        sources = sources_of(tmp_path, a=HAND)
        both = predictions.numbers(sources)[""]
        for model in ("baseline", "alphanet"):
            one = predictions.numbers(sources, models=[model])[""]
            for name, column in select(both, model=model).items():
                assert one[name].tolist() == column.tolist()

    @pytest.mark.parametrize("aspect", [1.0, 5.0])
    def test_numbers_are_within_the_panel(self, tmp_path, drawn, aspect):
        numbers = predictions.numbers(sources_of(tmp_path, a=HAND))
        changes = {"width": "full", "aspect": aspect}
        (axes,) = drawn(predictions, numbers, changes=changes).axes
        top = axes.get_window_extent().y1
        assert len(axes.texts) == 6
        for text in axes.texts:
            assert text.get_window_extent().y1 <= top + 1

    def test_splits_and_distances(self, real):
        sources = read(real[0], "euclidean", "random")
        tables = [
            predictions.numbers(sources, **({"nn_dist": "euclidean"} | options))[""]
            for options in (
                {},
                {"split": "base"},
                {"nn_split": "few"},
                {"nn_split": "all"},
                {"nn_dist": "cosine"},
            )
        ]
        counts = [table["count"].tolist() for table in tables]
        assert len({tuple(count) for count in counts}) == len(counts)
        # With the same distance for all, results of one dataset differ in what they
        # learned alone.
        first = select(tables[-1], experiment="euclidean", model="baseline")
        second = select(tables[-1], experiment="random", model="baseline")
        assert first["count"].tolist() == second["count"].tolist()

    @pytest.mark.slow
    def test_drawing(self, tmp_path, drawn):
        numbers = predictions.numbers(sources_of(tmp_path, a=HAND, b=HAND))
        figure = drawn(predictions, numbers)
        assert [axes.get_title() for axes in figure.axes] == ["a", "b"]
        axes = figure.axes[0]
        heights = [patch.get_height() for patch in axes.patches]
        np.testing.assert_allclose(heights, [20, 60, 20, 50, 30, 20])
        assert [text.get_text() for text in axes.texts] == [
            *("20", "60", "20", "50", "30", "20")
        ]
        # Longer than these panels are high, so it is beside the figure.
        assert figure.get_supylabel() == "Few-split samples (%)"
        assert not axes.get_ylabel()
        assert axes.get_ylim()[0] == 0.0
        tallest = numbers[""]["high"].max()
        assert all(axes.get_ylim()[1] > tallest for axes in figure.axes)
        labels = [text.get_text() for text in figure.legends[0].get_texts()]
        assert labels == ["Baseline", "AlphaNet"]

    @pytest.mark.slow
    def test_drawing_options(self, tmp_path, drawn):
        numbers = predictions.numbers(sources_of(tmp_path, a=HAND, b=HAND))
        figure = drawn(predictions, numbers, col_wrap=1, legend_ncols=1)
        assert figure.axes[0].get_gridspec().ncols == 1
        assert figure.legends[0]._ncols == 1
        assert not drawn(predictions, numbers, legend_loc="none").legends
        with pytest.raises(UserError, match="unknown place 'here'"):
            drawn(predictions, numbers, legend_loc="here")
        one = predictions.numbers(
            sources_of(tmp_path / "one", a=HAND), models=["baseline"]
        )
        figure = drawn(predictions, one, changes={"width": "full"})
        assert len(figure.axes[0].patches) == 3
        assert figure.axes[0].texts[1].get_text() == "60.0"
        assert figure.axes[0].get_ylabel() == "Few-split samples (%)"

    @pytest.mark.slow
    def test_percentages_without_room_are_left_out(self, tmp_path, drawn):
        results = dict.fromkeys("abcdef", HAND)
        numbers = predictions.numbers(sources_of(tmp_path, **results))
        figure = drawn(predictions, numbers, changes={"width": "4.2"}, col_wrap=6)
        assert not any(axes.texts for axes in figure.axes)
        turned = {label.get_rotation() for label in figure.axes[0].get_xticklabels()}
        assert turned == {90.0}

    def test_what_is_unchanged_is_drawn_once(self, tmp_path, drawn):
        sources = with_unchanged(tmp_path)
        table = predictions.numbers(sources)[""]
        assert select(table, panel="none")["model"].tolist() == ["baseline"] * 3
        assert len(select(table, panel="a")["model"]) == 6
        figure = drawn(predictions, {"": table})
        assert [len(axes.patches) for axes in figure.axes] == [6, 3]
        labels = [text.get_text() for text in figure.legends[0].get_texts()]
        assert labels == ["Baseline", "AlphaNet"]
        bars = figure.axes[1].patches
        middles = [bar.get_x() + bar.get_width() / 2.0 for bar in bars]
        np.testing.assert_allclose(middles, [0.0, 1.0, 2.0], atol=1e-9)
