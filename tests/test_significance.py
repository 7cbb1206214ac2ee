"""Bootstrap intervals, corrections for many comparisons, exact tests."""

import fractions
import itertools
import math

import numpy as np
import pytest

from alphanet_jax import measures
from alphanet_jax.results import accuracy, significance

SPLITS = {"few": np.array([0, 3]), "medium": np.array([1]), "many": np.array([2])}


@pytest.fixture
def labels():
    return np.array([2, 0, 1, 2, 3, 2, 0, 1, 2, 2, 3, 0])


class TestScores:
    def test_sums_are_the_accuracies(self, rng, labels):
        correct = rng.random((5, 12)) < 0.5
        found = significance.part_scores(correct, labels, SPLITS)
        assert found.shape == (5, 4, 12)
        wanted = accuracy.per_split(correct, labels, SPLITS)
        np.testing.assert_allclose(found.sum(axis=-1), wanted)

    def test_split_without_samples(self):
        found = significance.part_scores(np.array([True]), np.array([1]), SPLITS)
        assert found.tolist() == [[0.0], [1.0], [0.0], [1.0]]

    def test_sum_of_tradeoff_scores_is_the_tradeoff(self, rng, labels):
        val, correct = rng.random((6, 4)), rng.random((6, 12)) < 0.5
        found = significance.tradeoff_scores(val, correct, labels, SPLITS)
        test = accuracy.per_split(correct, labels, SPLITS)
        np.testing.assert_allclose(found.sum(), measures.tradeoff(val, test))


class TestResample:
    def test_every_draw_has_as_many_of_each_class(self, rng, labels):
        """Sums of what is the same for all samples of a class never vary."""
        scores = np.stack([labels == c for c in range(4)]).astype(float)
        found = significance.resample(rng, scores, labels, num_draws=50)
        assert found.shape == (50, 4)
        np.testing.assert_allclose(found, [[3, 2, 5, 2]] * 50)

    def test_mean_and_variance_are_those_of_stratified_samples(self, rng, labels):
        scores = rng.normal(size=12)
        found = significance.resample(rng, scores, labels, num_draws=20000)
        variance = sum(
            (labels == c).sum() * scores[labels == c].var(ddof=1) for c in range(4)
        )
        np.testing.assert_allclose(found.mean(), scores.sum(), atol=0.1)
        np.testing.assert_allclose(found.var(), variance, rtol=0.05)

    def test_is_paired(self, rng, labels):
        scores = rng.normal(size=12)
        found = significance.resample(rng, [scores, 1 - 2 * scores], labels)
        np.testing.assert_allclose(found[:, 1], 12 - 2 * found[:, 0])

    def test_in_pieces(self, labels, monkeypatch):
        scores = np.random.default_rng(1).normal(size=(2, 12))
        draw = [
            significance.resample(np.random.default_rng(3), scores, labels, num_draws=7)
        ]
        monkeypatch.setattr(significance, "_MOST_NUMBERS", 30)
        draw.append(
            significance.resample(np.random.default_rng(3), scores, labels, num_draws=7)
        )
        np.testing.assert_allclose(*draw)

    def test_class_of_one_sample(self, rng):
        found = significance.resample(rng, [1.0, 0.0], np.array([0, 1]), num_draws=3)
        assert found.tolist() == [1.0, 1.0, 1.0]

    def test_shapes(self, rng, labels):
        with pytest.raises(ValueError, match=r"\(2, 5\) and \(12,\)"):
            significance.resample(rng, np.zeros((2, 5)), labels)


class TestDifferences:
    def test_of_itself(self, rng, labels):
        scores = rng.random(12)
        for simultaneous in (False, True):
            found = significance.differences(
                rng, [scores, scores + 0.1], scores, labels, simultaneous=simultaneous
            )
            np.testing.assert_allclose(found.estimate, [0.0, 1.2])
            np.testing.assert_allclose(found.low, [0.0, 1.2])
            np.testing.assert_allclose(found.high, [0.0, 1.2])
            np.testing.assert_allclose(found.p_value, [1.0, 2 / 2001])

    def test_simultaneous_intervals_are_wider(self, rng):
        labels = np.repeat(np.arange(5), 40)
        scores, reference = rng.normal(size=(8, 200)), rng.normal(size=200)
        one, all_ = (
            significance.differences(rng, scores, reference, labels, simultaneous=which)
            for which in (False, True)
        )
        ratio = (all_.high - all_.low) / (one.high - one.low)
        # Of Bonferroni's, the most for eight: 2.73 / 1.96 standard deviations.
        assert (ratio > 1.2).all()
        assert (ratio < 1.5).all()

    def test_shapes(self, rng, labels):
        with pytest.raises(ValueError, match=r"\(12,\) and \(12,\)"):
            significance.differences(rng, np.zeros(12), np.zeros(12), labels)

    @pytest.mark.slow
    @pytest.mark.parametrize("statistic", ["overall", "few", "tradeoff"])
    def test_intervals_cover(self, statistic):
        """Over many sets of test samples, as often as stated."""
        rng = np.random.default_rng(11)
        counts = np.array([30, 25, 40, 20])
        labels = np.repeat(np.arange(4), counts)
        right = rng.uniform(0.3, 0.8, (2, 4))  # chances of two methods, by class
        val = np.array([[0.3, 0.5, 0.7, 0.6], [0.5, 0.5, 0.6, 0.58]])

        def scores(correct):
            if statistic == "tradeoff":
                knobs = np.stack([correct[0], correct[1]])
                other = significance.tradeoff_scores(val, knobs, labels, SPLITS)
                return other, significance.part_scores(correct[0], labels, SPLITS)[3]
            parts = significance.part_scores(correct, labels, SPLITS)
            return parts[:, {"few": 0, "overall": 3}[statistic]]

        expected = scores(right[:, labels])
        truth = (expected[0] - expected[1]).sum()
        hits, num = 0, 1500
        for _ in range(num):
            # The same luck in part: methods err on the same samples.
            luck = np.where(
                rng.random(115) < 0.5, rng.random(115), rng.random((2, 115))
            )
            first, second = scores(luck < right[:, labels])
            found = significance.differences(
                rng, [first], second, labels, level=0.9, num_draws=300
            )
            hits += found.low[0] <= truth <= found.high[0]
        assert abs(hits / num - 0.9) < 0.01 + 3 * math.sqrt(0.9 * 0.1 / num)

    @pytest.mark.slow
    def test_simultaneous_intervals_cover_together(self):
        rng = np.random.default_rng(12)
        labels = np.repeat(np.arange(5), 30)
        hits, alone, num = 0, 0, 800
        for _ in range(num):
            scores = (rng.random((6, 150)) < 0.6) / 150
            found, each = (
                significance.differences(
                    rng, scores[1:], scores[0], labels, level=0.9, num_draws=300,
                    simultaneous=which,
                )
                for which in (True, False)
            )  # fmt: skip
            hits += ((found.low <= 0) & (found.high >= 0)).all()
            alone += ((each.low <= 0) & (each.high >= 0)).all()
        assert abs(hits / num - 0.9) < 0.01 + 3 * math.sqrt(0.9 * 0.1 / num)
        assert alone / num < 0.8


class TestHolm:
    @pytest.mark.parametrize("seed", range(5))
    def test_step_down(self, seed):
        """Rejects, for every level, what the procedure as it is written rejects."""
        values = np.random.default_rng(seed).random(6) ** 3
        adjusted = significance.holm(values)
        for level in np.linspace(0.005, 0.995, 100):
            left, rejected = list(range(6)), set()
            while left:
                least = min(left, key=lambda i: values[i])
                if values[least] * len(left) > level:
                    break
                rejected.add(least)
                left.remove(least)
            assert set(np.flatnonzero(adjusted <= level).tolist()) == rejected

    def test_not_above_one(self):
        assert significance.holm([0.9, 0.8]).tolist() == [1.0, 1.0]


class TestMcNemar:
    @pytest.mark.parametrize(
        ("first", "second"), [(0, 0), (1, 0), (3, 9), (7, 7), (40, 25)]
    )
    def test_exact(self, first, second):
        total = first + second
        one = np.array([True] * first + [False] * second + [True, False] * 5)
        other = np.array([False] * first + [True] * second + [True, False] * 5)
        found = significance.mcnemar(one, other)
        assert found[:2] == (first, second)
        tail = sum(math.comb(total, k) for k in range(min(first, second) + 1))
        wanted = min(fractions.Fraction(1), fractions.Fraction(2 * tail, 2**total))
        assert found.p_value == pytest.approx(float(wanted), rel=1e-9)

    def test_many_samples(self):
        """Near the normal distribution's: 20,000 against 20,500."""
        one = np.repeat([True, False], [20000, 20500])
        found = significance.mcnemar(one, ~one)
        z = (500 - 1) / math.sqrt(40500)
        assert found.p_value == pytest.approx(math.erfc(z / math.sqrt(2)), rel=1e-3)

    @pytest.mark.slow
    def test_level_is_kept(self):
        """Over all outcomes of 12 samples, by their chance without difference."""
        chance = 0.0
        for k in range(13):
            one = np.arange(12) < k
            if significance.mcnemar(one, ~one).p_value <= 0.05:
                chance += math.comb(12, k) / 2**12
        assert 0.03 < chance <= 0.05

    def test_per_split(self, rng, labels):
        first, second = rng.random((2, 12)) < 0.5
        found = significance.mcnemar_per_split(first, second, labels, SPLITS)
        assert list(found) == list(accuracy.PARTS)
        for name, classes in SPLITS.items():
            own = np.isin(labels, classes)
            assert found[name] == significance.mcnemar(first[own], second[own])
        sums = [sum(found[s][i] for s in SPLITS) for i in range(2)]
        assert list(found["overall"][:2]) == sums

    def test_shapes(self):
        with pytest.raises(ValueError, match=r"\(2,\) and \(3,\)"):
            significance.mcnemar([1, 0], [1, 0, 1])


def test_pairs_of_all_methods_may_be_compared(rng, labels):
    """Each against each, corrected together."""
    scores = significance.part_scores(rng.random((3, 12)) < 0.5, labels, SPLITS)[:, 3]
    pairs = list(itertools.combinations(range(3), 2))
    deltas = [scores[a] - scores[b] for a, b in pairs]
    found = significance.differences(rng, deltas, np.zeros(12), labels)
    assert (significance.holm(found.p_value) >= found.p_value).all()
