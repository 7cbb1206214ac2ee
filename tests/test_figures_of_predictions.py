"""Kinds of figure that draw what predictions are, and accuracy of experiments."""

import csv
import json

import made_data
import numpy as np
import pytest
import results_of_data
from made_results import LABEL_NAMES, NUM_CLASSES, SPLITS, make_result, make_unchanged

from alphanet_jax.commands import cli
from alphanet_jax.data import loading
from alphanet_jax.errors import UserError
from alphanet_jax.figures import drawing, load_kind, outcomes
from alphanet_jax.figures.numbers import (
    Sources,
    names_of_sets,
    select,
    with_constants,
)
from alphanet_jax.figures.style import make_style
from alphanet_jax.results import accuracy, nearest, semantic
from alphanet_jax.results import sets as result_sets
from alphanet_jax.results.datasets import DataFinder

accuracy_vs_experiment = load_kind("accuracy_vs_experiment")
accuracy_vs_rho = load_kind("accuracy_vs_rho")
change_vs_rho = load_kind("change_vs_rho")
prediction_changes = load_kind("prediction_changes")
predictions = load_kind("predictions")
NEAR = outcomes.Neighborhoods("base")
# Distances in WordNet 3.0, by hand (test_wordnet): lion and tiger 2, apple and pear 2,
# apple and orange 3, edible fruit and apple 1.
SYNSETS = {
    "ant": "n02085620",  # Chihuahua
    "bee": "n01440764",  # tench
    "cat": "n02099601",  # golden retriever
    "dog": "n02129165",  # lion
    "elk": "n02129604",  # tiger
    "fox": "n07739125",  # apple
    "gnu": "n07767847",  # pear
    "hen": "n07747607",  # orange
    "ibis": "n07705931",  # edible fruit
}


class NoData:
    """A finder for what must do without data."""

    def dataset(self, file):
        raise AssertionError(f"the data of {file.path} is asked for")


def sources_of(directory, finder=None, **results):
    """Writes results, each an experiment, and loads them."""
    paths = {}
    for name, arguments in results.items():
        paths[name] = [directory / name / "result.npz"]
        make_result(paths[name][0], **arguments)
    return Sources(result_sets.load_sets(paths), finder or NoData())


# Seven samples of classes 1, 4 (few), 0 (medium) and 2 (many). Neighbors of 1 are 0 and
# 2; those of 4 are 2 and 3; of 8, 5 and 6.
HAND = {
    "test_labels": np.int32([1, 1, 1, 4, 4, 0, 2]),
    "neighbors": np.int32([[0, 2], [2, 3], [5, 6]]),
    "baseline_test_pred": np.int32([0, 2, 3, 2, 4, 0, 1]),
    "test_pred": np.int32([[1, 0, 3, 4, 3, 1, 2], [1, 2, 1, 4, 0, 0, 2]]),
}


def with_unchanged(directory):
    """Two results, one of the unchanged classifier, as `baseline` makes it."""
    made = {name: array for name, array in HAND.items() if name != "test_pred"}
    paths = {name: [directory / name / "result.npz"] for name in ("a", "none")}
    make_result(paths["a"][0], **HAND)
    make_unchanged(paths["none"][0], **made)
    return Sources(result_sets.load_sets(paths), NoData())


@pytest.fixture(scope="module")
def real(tmp_path_factory):
    """A dataset on the disk, and results that know it: nearest, cosine and random."""
    root = tmp_path_factory.mktemp("real")
    made = made_data.make(root / "data")
    data = loading.load_dataset(
        made.entry, made.root, train_group="train", val_group="val", test_group="test"
    )
    splits = {f"{name}_classes": np.int32(ids) for name, ids in data.splits.items()}
    for name in ("euclidean", "cosine", "random"):
        make_result(
            root / "results" / name / "result.npz",
            num_seeds=3,
            nn_dist=name,
            **splits,
            class_counts=data.class_counts,
            label_names=np.asarray(data.label_names),
            test_labels=np.repeat(data.test.labels, 1),
            file_hashes=np.asarray(json.dumps(dict(data.file_hashes))),
            settings={"registry": str(made.registry), "data_root": str(made.root)},
        )
    return root / "results", data


@pytest.mark.parametrize(
    "kind", [accuracy_vs_experiment, accuracy_vs_rho, change_vs_rho]
)
def test_top_k_accuracy_is_that_of_the_classifiers(real, drawn, kind):
    sources, data = load_real(real, "cosine"), real[1]
    found = kind.numbers(sources, acc_k=2, n_boot=1)
    (file,) = sources.sets[0].files
    labels, x = data.test.labels, np.asarray(data.test.features)

    def hits(alphas):
        logits = results_of_data.scores(data, alphas, file.arrays["neighbors"], x)
        target = np.take_along_axis(logits, labels[:, None], axis=1)
        return (logits > target).sum(axis=1) < 2

    k = file.arrays["neighbors"].shape[1]
    unchanged = np.eye(1, k + 1)[0] * np.ones((len(data.few_classes), 1))
    before = accuracy.per_split(hits(unchanged), labels, data.splits)
    after = np.mean(
        [
            accuracy.per_split(hits(a), labels, data.splits)
            for a in file.arrays["alphas"]
        ],
        axis=0,
    )
    change = kind is change_vs_rho
    wanted = 100.0 * (after - before if change else after)
    np.testing.assert_allclose(found[""]["accuracy"], wanted, atol=1e-9)
    np.testing.assert_allclose(found[""]["baseline"], 100.0 * before, atol=1e-9)
    figure = drawn(kind, found)
    text = " ".join(figure.axes[0].get_ylabel().split())
    assert text == (
        "Change in top-2 accuracy (points)" if change else "Top-2 accuracy (%)"
    )


def load_real(real, *names):
    paths = {name: [real[0] / name / "result.npz"] for name in names}
    return Sources(result_sets.load_sets(paths), DataFinder())


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
        sources = load_real(real, "euclidean")
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
        sources = load_real(real, "random")
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
        sources = load_real(real, "euclidean", "random")
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
        sources = load_real(real, "euclidean")
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
        sources = load_real(real, "cosine")
        options = {"split": "base", "nn_split": "all"}
        shares = predictions.numbers(sources, **options)[""]
        flows = prediction_changes.numbers(sources, **options)[""]
        for side, model in (("before", "baseline"), ("after", "alphanet")):
            for outcome in accuracy.OUTCOMES:
                (percent,) = select(shares, model=model, outcome=outcome)["percent"]
                summed = select(flows, **{side: outcome})["percent"].sum()
                assert summed == pytest.approx(percent)

    def test_distance(self, real):
        sources = load_real(real, "euclidean")
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

        sources = load_real(real, "euclidean")
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


class TestAccuracyVsExperiment:
    def test_means_of_runs(self, tmp_path):
        sources = sources_of(tmp_path, b={"num_seeds": 3}, a={"seed": 7})
        table = accuracy_vs_experiment.numbers(sources)[""]
        # In the order in which they are given.
        assert table["experiment"].tolist() == ["b"] * 4 + ["a"] * 4
        assert table["split"].tolist() == ["few", "medium", "many", "overall"] * 2
        change = accuracy_vs_experiment.numbers(sources, y="acc_delta")[""]
        for runs in sources.sets:
            arrays = runs.files[0].arrays
            here = select(table, experiment=runs.name)
            values = 100.0 * np.append(
                arrays["test_acc_per_split"].mean(axis=0),
                arrays["test_accuracy"].mean(),
            )
            before = 100.0 * np.append(
                arrays["baseline_test_acc_per_split"], arrays["baseline_test_accuracy"]
            )
            np.testing.assert_allclose(here["accuracy"], values)
            np.testing.assert_allclose(here["baseline"], before)
            changed = select(change, experiment=runs.name)
            np.testing.assert_allclose(changed["accuracy"], values - before, atol=1e-9)
            assert set(here["runs"]) == {runs.num_runs}
            assert (here["low"] <= here["accuracy"]).all()
            assert (here["high"] >= here["accuracy"]).all()

    def test_options_of_the_bootstrap(self, tmp_path):
        sources = sources_of(tmp_path, a={"num_seeds": 6})
        usual = accuracy_vs_experiment.numbers(sources)[""]
        for options in ({"boot_seed": 1}, {"n_boot": 7}):
            other = accuracy_vs_experiment.numbers(sources, **options)[""]
            assert (other["accuracy"] == usual["accuracy"]).all()
            assert (other["low"] != usual["low"]).any()

    def mixed(self, tmp_path):
        """Two experiments, each with results of two distances."""
        paths = {}
        for name in ("1", "2"):
            paths[name] = []
            for seed, metric in enumerate(("euclidean", "cosine", "cosine")):
                path = tmp_path / name / str(seed) / "result.npz"
                make_result(path, seed=10 * seed + int(name), nn_dist=metric)
                paths[name].append(path)
        return Sources(result_sets.load_sets(paths), NoData())

    @pytest.mark.slow
    def test_a_panel_for_each_metric(self, tmp_path, drawn):
        sources = self.mixed(tmp_path)
        numbers = accuracy_vs_experiment.numbers(sources, col="metric")
        table = numbers[""]
        assert list(dict.fromkeys(table["panel"])) == ["Euclidean", "Cosine"]
        few = select(table, panel="Cosine", experiment="2", split="few")
        files = sources.sets[1].files[1:]
        values = [file.arrays["test_acc_per_split"][:, 0] for file in files]
        np.testing.assert_allclose(few["accuracy"], 100.0 * np.mean(values))
        assert few["runs"].tolist() == [4]
        figure = drawn(accuracy_vs_experiment, numbers)
        assert [axes.get_title() for axes in figure.axes] == ["Euclidean", "Cosine"]
        for col in ("none", "dataset"):
            with pytest.raises(UserError, match=r"experiment '1' has .*--col=metric"):
                accuracy_vs_experiment.numbers(sources, col=col)

    def test_a_panel_for_each_dataset(self, tmp_path):
        paths = {}
        for name in ("1", "2"):
            paths[name] = []
            for data in ("one", "two"):
                paths[name].append(tmp_path / name / data / "result.npz")
                make_result(
                    paths[name][-1],
                    seed=int(name),
                    dataset=data,
                    proper_name=data.title(),
                )
        sources = Sources(result_sets.load_sets(paths), NoData())
        table = accuracy_vs_experiment.numbers(sources, col="dataset")[""]
        assert list(dict.fromkeys(table["panel"])) == ["One", "Two"]
        assert table["dataset"].tolist() == table["panel"].tolist()
        for col in ("none", "metric"):
            with pytest.raises(UserError, match=r"several datasets.*--col=dataset"):
                accuracy_vs_experiment.numbers(sources, col=col)

    def test_drawing(self, tmp_path, drawn):
        numbers = accuracy_vs_experiment.numbers(
            sources_of(tmp_path, b={"num_seeds": 3}, a={"seed": 7})
        )
        axes = drawn(accuracy_vs_experiment, numbers).axes[0]
        assert [label.get_text() for label in axes.get_xticklabels()] == ["b", "a"]
        assert axes.get_xlabel() == "Experiment"
        assert axes.get_ylabel() == "Accuracy (%)"
        few = select(numbers[""], split="few")
        line = axes.containers[0].lines[0]
        assert line.get_xdata().tolist() == [0, 1]
        assert line.get_ydata().tolist() == few["accuracy"].tolist()
        dotted = [each for each in axes.lines if each.get_linestyle() == ":"]
        assert [each.get_ydata()[0] for each in dotted] == numbers[""]["baseline"][
            :4
        ].tolist()

    @pytest.mark.slow
    def test_an_experiment_that_one_panel_lacks(self, tmp_path, drawn):
        sources = sources_of(
            tmp_path, a={}, b={"nn_dist": "random"}, c={"nn_dist": "random"}, d={}
        )
        numbers = accuracy_vs_experiment.numbers(sources, col="metric", y="acc_delta")
        figure = drawn(accuracy_vs_experiment, numbers)
        places = [
            axes.containers[0].lines[0].get_xdata().tolist() for axes in figure.axes
        ]
        assert places == [[0, 3], [1, 2]]
        assert not any(
            line.get_linestyle() == ":" for axes in figure.axes for line in axes.lines
        )

    def test_a_split_without_samples(self, tmp_path, drawn):
        numbers = accuracy_vs_experiment.numbers(
            sources_of(tmp_path, a={"test_labels": np.int32([0, 1, 5, 8])})
        )
        assert np.isnan(select(numbers[""], split="many")["accuracy"]).all()
        figure = drawn(accuracy_vs_experiment, numbers)
        labels = [text.get_text() for text in figure.legends[0].get_texts()]
        assert labels == ["Few", "Medium", "Overall", "Baseline"]

    @pytest.mark.slow
    def test_drawing_options(self, tmp_path, drawn):
        numbers = accuracy_vs_experiment.numbers(self.mixed(tmp_path), col="metric")

        def draw(**options):
            return drawn(accuracy_vs_experiment, numbers, **options)

        figure = draw(col_wrap=1, legend_ncols=2)
        assert figure.axes[0].get_gridspec().ncols == 1
        assert [axes.get_xlabel() for axes in figure.axes] == ["", "Experiment"]
        assert figure.legends[0]._ncols == 2
        assert not any(axes.get_title() for axes in draw(show_titles=False).axes)
        assert not any(axes.get_xlabel() for axes in draw(show_xlabels=False).axes)
        assert not draw(legend_loc="none").legends
        for how in ("italic", "oblique"):
            label = draw(xlabel="k_$", xlabel_style=how).axes[0].xaxis.label
            assert label.get_text() == r"k_\$"
            assert label.get_fontstyle() == how
        label = draw(xlabel=r"\rho", xlabel_style="math").axes[0].xaxis.label
        assert label.get_text() == r"$\rho$"
        with pytest.raises(UserError, match="--xlabel: no formula"):
            draw(xlabel=r"\nothing{", xlabel_style="math")


class TestTextThatHasRoom:
    @pytest.mark.slow
    def test_tick_labels_turn(self, tmp_path, drawn):
        names = [f"experiment {number}" for number in range(9)]
        numbers = accuracy_vs_experiment.numbers(
            sources_of(tmp_path, **{name: {} for name in names})
        )
        figure = drawn(accuracy_vs_experiment, numbers)
        labels = figure.axes[0].get_xticklabels()
        assert {label.get_rotation() for label in labels} == {90.0}
        wide = drawn(accuracy_vs_experiment, numbers, changes={"width": "15"})
        labels = wide.axes[0].get_xticklabels()
        assert {label.get_rotation() for label in labels} == {0.0}

    @pytest.mark.slow
    def test_long_titles_take_several_lines(self, tmp_path, drawn):
        name = "a name of an experiment that is longer than a panel is wide"
        numbers = prediction_changes.numbers(
            sources_of(tmp_path, **{name: HAND, "short": HAND})
        )
        figure = drawn(prediction_changes, numbers)
        first, second = (axes.title for axes in figure.axes)
        assert first.get_text().replace("\n", " ") == name
        assert "\n" in first.get_text()
        renderer = figure.canvas.get_renderer()
        boxes = [title.get_window_extent(renderer) for title in (first, second)]
        assert boxes[0].x0 >= 0.0
        assert boxes[0].x1 < boxes[1].x0
        short = drawn(
            prediction_changes,
            prediction_changes.numbers(sources_of(tmp_path / "short", a=HAND, b=HAND)),
        )
        assert figure.bbox.height > short.bbox.height

    @pytest.mark.parametrize(
        ("width", "context", "columns"),
        [("half", "paper", 2), ("full", "paper", 4), ("full", "poster", 2)],
    )
    def test_columns(self, width, context, columns):
        style = make_style("png", width=width, context=context)
        assert drawing.columns_that_fit(style, 8) == columns
        assert drawing.columns_that_fit(style, 1) == 1

    def test_rows_are_as_long_as_each_other(self):
        style = make_style("png", width="full")
        assert [drawing.columns_that_fit(style, n) for n in (4, 5, 6, 9)] == [
            *(4, 3, 3, 3)
        ]


class TestCommands:
    def plot(self, name, real, out, *flags):
        arguments = [f"--base_res_dir={real[0]}", f"--out={out}", *flags]
        return cli.main(["main.py", "plot", name, *arguments])

    @pytest.mark.slow
    @pytest.mark.parametrize(
        ("name", "flags"),
        [
            ("predictions", ["--split=base", "--nn_split=few", "--models=alphanet"]),
            ("prediction_changes", ["--split=all", "--nn_split=all", "--label_rot=9"]),
            ("accuracy_vs_experiment", ["--col=metric", "--noshow_titles"]),
        ],
    )
    def test_figures(self, real, tmp_path, name, flags):
        if name != "accuracy_vs_experiment":
            flags = [*flags, "--nn_dist=euclidean"]
        contents = []
        for _ in range(2):
            assert self.plot(name, real, tmp_path / "f.svg", *flags) == 0
            contents.append((tmp_path / "f.svg").read_bytes())
        assert contents[0] == contents[1]
        with (tmp_path / "f.csv").open() as file:
            rows = list(csv.DictReader(file))
        assert {row["experiment"] for row in rows} == {"euclidean", "cosine", "random"}

    def test_random_neighbors(self, real, tmp_path, capsys):
        out = tmp_path / "f.svg"
        assert self.plot("predictions", real, out, "--split=base") == 1
        assert "--nn_dist=euclidean or --nn_dist=cosine" in capsys.readouterr().err
        assert not list(tmp_path.iterdir())

    def semantic(self, tmp_path):
        make_result(tmp_path / "results" / "a" / "result.npz", **HAND)
        lines = [f"{SYNSETS[name]} {name}" for name in LABEL_NAMES]
        (tmp_path / "labels_full.txt").write_text("\n".join(lines))
        return ["--base_res_dir", str(tmp_path / "results"), "--nn_split=semantic"]

    @pytest.mark.slow
    def test_semantic_neighbors(self, wordnet_reader, tmp_path):
        flags = self.semantic(tmp_path)
        found = {}
        for flag, name, level in (
            (f"--synsets={tmp_path / 'labels_full.txt'}", "a", 2),
            (f"--imagenet_data_root={tmp_path}", "b", 3),
        ):
            path = tmp_path / f"{name}.json"
            assert not cli.main(
                [
                    *("main.py", "plot", "prediction_changes", *flags, flag),
                    f"--out={tmp_path / name}.svg",
                    f"--semantic_nns_level={level}",
                    f"--save_semantic_nns_file={path}",
                ]
            )
            found[level] = json.loads(path.read_text())
            assert found[level]["level"] == level
            with (tmp_path / f"{name}.csv").open() as file:
                rows = list(csv.DictReader(file))
            # All of class 1, a tench, which nothing is near to; 4, a tiger, has 3.
            assert {row["without_neighbors"] for row in rows} == {"3"}
        near = {level: each["datasets"]["made"] for level, each in found.items()}
        assert [row["name"] for row in near[2]] == list(LABEL_NAMES)
        split_of = {label: name for name in SPLITS for label in SPLITS[name]}
        assert [row["split"] for row in near[2]] == [split_of[i] for i in range(9)]
        assert [row["class"] for row in near[2]] == list(range(9))
        assert near[2][4]["neighbors"] == [3]
        assert near[2][1]["neighbors"] == []
        assert near[2][5]["neighbors"] == [6, 8]
        assert near[3][5]["neighbors"] == [6, 7, 8]

    @pytest.mark.slow
    def test_nothing_is_written_on_error(self, wordnet_reader, tmp_path, capsys):
        flags = self.semantic(tmp_path)
        synsets = f"--synsets={tmp_path / 'labels_full.txt'}"
        before = made_data.names(tmp_path)
        out = tmp_path / "f.svg"
        for more, message in (
            ([], "unknown dataset 'made'"),
            ([synsets, f"--imagenet_data_root={tmp_path}"], "give one of them"),
            ([synsets, f"--wordnet={tmp_path}"], "no WordNet database here"),
            (
                [synsets, f"--save_semantic_nns_file={out}"],
                "is also a file of the figure itself",
            ),
            ([synsets, "--semantic_nns_level=0"], "semantic_nns_level"),
        ):
            command = ["main.py", "plot", "prediction_changes", *flags, *more]
            assert cli.main([*command, f"--out={out}"]) != 0
            assert message in capsys.readouterr().err
            assert made_data.names(tmp_path) == before

    def test_the_file_of_neighbors_needs_semantic_ones(self, real, tmp_path, capsys):
        flag = f"--save_semantic_nns_file={tmp_path / 'nns.json'}"
        out = tmp_path / "f.svg"
        assert self.plot("prediction_changes", real, out, flag) == 1
        assert "needs --nn_split=semantic" in capsys.readouterr().err
        assert not list(tmp_path.iterdir())

    def test_dollars_in_names(self):
        text = make_style("paper").text("50% of $x_1$")
        assert text == r"50% of \textdollar{}x\_1\textdollar{}"
