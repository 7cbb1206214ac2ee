"""Measures of predictions, against their definitions a sample at a time."""

import math

import numpy as np
import oracle
import pytest

from alphanet_jax import measures, streaming


@pytest.fixture
def logits(rng):
    return rng.normal(size=(2, 30, 4)) * 2.0


@pytest.fixture
def labels(rng):
    return rng.integers(0, 4, 30)


class TestMacroF1:
    def test_oracle(self, rng):
        """Also with a class that never comes, and one that is never predicted."""
        labels, predictions = rng.integers(0, 5, 40), rng.integers(1, 6, (2, 3, 40))
        found = measures.macro_f1(predictions, labels, num_classes=7)
        assert found.shape == (2, 3)
        splits = {"few": np.array([0]), "medium": np.array([1]), "many": np.array([2])}
        for place in np.ndindex(2, 3):
            in_top5 = np.zeros(40, bool)
            wanted = oracle.metrics(labels, predictions[place], in_top5, splits, 7)[
                "f1"
            ]
            np.testing.assert_allclose(found[place], wanted, rtol=1e-12)

    def test_one_run_has_no_axis(self):
        found = measures.macro_f1(np.array([0, 1]), np.array([0, 1]), num_classes=2)
        assert found.shape == ()
        assert found == 1.0


class TestHarmonicMean:
    def test_worked(self):
        found = measures.harmonic_mean([[0.5, 0.5, 0.5], [1.0, 0.5, 0.25], [1, 1, 0]])
        np.testing.assert_allclose(found, [0.5, 3 / 7, 0.0])

    def test_splits_without_samples(self):
        nan = np.nan
        found = measures.harmonic_mean([[nan, 1.0, 0.5], [nan, nan, 0.0], [nan] * 3])
        np.testing.assert_allclose(found, [2 / 3, 0.0, nan])


class TestWorstClasses:
    def test_rounds_up(self):
        accuracies = np.arange(100, 0, -1) / 100
        assert measures.worst_classes(accuracies[-11:]) == pytest.approx(0.015)
        assert measures.worst_classes(accuracies[-9:]) == pytest.approx(0.01)
        assert measures.worst_classes(accuracies) == pytest.approx(0.055)
        assert measures.worst_classes(accuracies[-70:]) == pytest.approx(0.04)

    def test_axes_and_classes_without_samples(self):
        rows = np.array([[np.nan, 0.3, 0.1, 0.9], [0.5, np.nan, np.nan, np.nan]])
        found = measures.worst_classes([rows, 1 - rows], fraction=0.5)
        np.testing.assert_allclose(found, [[0.2, 0.5], [0.4, 0.5]])

    @pytest.mark.parametrize("fraction", [0.0, 1.5])
    def test_fraction(self, fraction):
        with pytest.raises(ValueError, match=rf"\(0, 1\], got {fraction}"):
            measures.worst_classes([0.5], fraction=fraction)


class TestLogLoss:
    def test_oracle(self, logits, labels):
        found = measures.log_loss(logits, labels)
        wanted = [oracle.cross_entropy(part, labels) for part in logits]
        np.testing.assert_allclose(found, wanted, rtol=1e-12)

    def test_large_logits_do_not_overflow(self):
        logits = np.float32([[1e4, 0.0], [0.0, 1e4]])
        assert measures.log_loss(logits, np.array([0, 0])) == 5e3


class TestCalibrationError:
    @pytest.mark.parametrize("bins", [3, 7])
    def test_oracle(self, logits, labels, bins):
        found = measures.calibration_error(logits, labels, num_bins=bins)
        assert found.shape == (2,)
        for part, error in zip(logits, found, strict=True):
            members = {}
            for row, label in zip(part, labels, strict=True):
                p = np.exp(row) / np.exp(row).sum()
                place = min(i for i in range(bins) if p.max() <= (i + 1) / bins)
                members.setdefault(place, []).append((p.max(), p.argmax() == label))
            wanted = sum(
                len(own)
                * abs(np.mean([c for c, _ in own]) - np.mean([r for _, r in own]))
                for own in members.values()
            )
            np.testing.assert_allclose(error, wanted / len(labels), rtol=1e-10)

    def test_worked(self):
        """Half are right of those said to be right with 3/4; and all with certainty."""
        logits = np.array([[math.log(3), 0.0]] * 4 + [[99.0, 0.0]] * 4)
        labels = np.array([0, 1, 0, 1, 0, 0, 0, 0])
        assert measures.calibration_error(logits, labels) == pytest.approx(0.125)

    def test_bins_are_apart(self):
        """Right with 0.4, and wrong with 0.6: in two bins both err, in one neither."""
        logits = np.log([[0.4, 0.2, 0.2, 0.2], [0.6, 0.2, 0.1, 0.1]])
        labels = np.array([0, 1])
        for bins, wanted in ((2, 0.6), (1, 0.0)):
            found = measures.calibration_error(logits, labels, num_bins=bins)
            assert found == pytest.approx(wanted, abs=1e-12)


class TestCertainty:
    def test_in_parts_and_in_threads(self, monkeypatch, rng):
        logits, labels = rng.normal(size=(90, 6)), rng.integers(6, size=90)
        whole = measures.certainty(logits, labels)
        monkeypatch.setattr(streaming, "_NUMBERS_FOR_THREADS", 1)
        monkeypatch.setattr(streaming, "_NUMBERS_IN_CACHE", 24)
        monkeypatch.setattr(streaming.os, "cpu_count", lambda: 3)
        for start in (0, 1, 50):
            some = measures.certainty(logits[start:], labels[start:])
            for part, of_whole in zip(some, whole, strict=True):
                np.testing.assert_array_equal(part, of_whole[start:])
        shares = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
        np.testing.assert_allclose(whole.confidence, shares.max(axis=1))
        np.testing.assert_allclose(whole.losses, -np.log(shares[range(90), labels]))
        np.testing.assert_array_equal(whole.is_right, shares.argmax(axis=1) == labels)


class TestTradeoff:
    VAL = np.array([[0.1, 0.6, 0.9, 0.60], [0.5, 0.5, 0.7, 0.58], [0.9, 0.2, 0.2, 0.3]])
    TEST = np.array(
        [[0.2, 0.6, 0.9, 0.62], [0.4, 0.5, 0.7, 0.55], [0.8, 0.2, 0.2, 0.3]]
    )

    def test_knob_is_chosen_on_validation_data(self):
        # By hand: values of few and overall on validation data at weights 0, .1, .5
        # are .6 .58 .3, then .55 .572 .36, then .35 .54 .6.
        chosen = [int(measures.choose(self.VAL, weight)) for weight in (0.0, 0.1, 0.5)]
        assert chosen == [0, 1, 2]
        found = measures.tradeoff(self.VAL, self.TEST, weights=(0.0, 0.1, 0.5))
        wanted = (0.62 + (0.9 * 0.55 + 0.1 * 0.4) + (0.15 + 0.4)) / 3
        np.testing.assert_allclose(found, wanted)

    def test_first_of_equals(self):
        assert measures.choose([[0.5] * 4, [0.5] * 4], 0.3) == 0

    def test_axes(self, rng):
        val, test = rng.random((2, 5, 6, 4))
        found = measures.tradeoff(val, test)
        wanted = []
        for a, b in zip(val, test, strict=True):
            of_weights = []
            for w in measures.LAMBDAS:
                on_val = [(1 - w) * row[3] + w * row[0] for row in a]
                knob = on_val.index(max(on_val))
                of_weights.append((1 - w) * b[knob, 3] + w * b[knob, 0])
            wanted.append(np.mean(of_weights))
        np.testing.assert_allclose(found, wanted)

    def test_shapes(self):
        with pytest.raises(ValueError, match=r"\(2, 4\) and \(3, 4\)"):
            measures.tradeoff(np.zeros((2, 4)), np.zeros((3, 4)))


def test_weights_of_the_trade_off_are_those_that_are_documented():
    assert measures.LAMBDAS == (0.0, 0.1, 0.2, 0.3, 0.4, 0.5)
