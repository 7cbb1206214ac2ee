"""Gaussian scores: by hand, against SciPy, and where covariances are singular."""

import numpy as np
import plus_oracle
import pytest

from alphanet_jax import files, streaming
from alphanet_jax.posthoc.gaussian import (
    discriminants,
    feature_statistics,
    gaussian_mix,
    gaussian_scores,
)
from alphanet_jax.posthoc.linear import Linear

SHAPES = {
    "usual": {},
    "one dimension": {"dim": 1},
    "more dimensions than samples": {"counts": (6, 3, 1, 1), "dim": 30},
    "constant dimensions": {"extra": 4},
    "one class of two samples": {"counts": (2, 1, 1), "dim": 3},
    "means far from zero": {"spread": 50.0},
}


def logits(head, features):
    return features @ np.asarray(head.weight).T + np.asarray(head.bias)


@pytest.fixture
def small_chunks(monkeypatch):
    monkeypatch.setattr(streaming, "_MIN_ROWS", 1)
    monkeypatch.setattr(streaming, "_MAX_ROWS", 7)


class TestStatistics:
    def test_hand_worked(self):
        features = [[0.0, 1.0], [2.0, 1.0], [5.0, 5.0], [5.0, 9.0]]
        found = feature_statistics(features, [0, 0, 1, 1], num_classes=2)
        assert found.counts.tolist() == [2, 2]
        assert found.means.tolist() == [[1, 1], [5, 7]]
        assert found.within.tolist() == [[1, 0], [0, 4]]
        assert found.centre.tolist() == [3, 4]
        # Squared distances from (3, 4) are 18, 10, 5 and 29.
        assert found.spread == pytest.approx(np.sqrt(15.5))

    @pytest.mark.parametrize("dtype", [np.float16, np.float32, ">f4", np.float64])
    def test_pieces_of_a_mapped_file(self, dtype, small_chunks, tmp_path, rng):
        features = rng.integers(-8, 9, (40, 3))
        labels = np.arange(40) % 4
        np.save(tmp_path / "features.npy", features.astype(dtype))
        mapped = np.load(tmp_path / "features.npy", mmap_mode="r")
        found = feature_statistics(mapped, labels, num_classes=4)
        residuals = features - plus_oracle.means_of(features, labels)[labels]
        np.testing.assert_allclose(
            found.within, residuals.T @ residuals / 36, rtol=1e-5, atol=1e-5
        )

    def test_rows_are_released(self, small_chunks, monkeypatch, tmp_path):
        np.save(tmp_path / "features.npy", np.ones((20, 3), np.float32))
        mapped = np.load(tmp_path / "features.npy", mmap_mode="r")
        released = []
        monkeypatch.setattr(files, "release_rows", lambda *call: released.append(call))
        feature_statistics(mapped, np.arange(20) % 2, num_classes=2)
        of_map = [(begin, end) for array, begin, end in released if array is mapped]
        assert of_map == 2 * [(0, 7), (7, 14), (14, 20)]

    @pytest.mark.parametrize(
        ("labels", "message"),
        [
            ([0, 0, 1, 3], r"labels must be in \[0, 3\), got 0 to 3"),
            ([0, 0, 1, -1], r"labels must be in \[0, 3\), got -1 to 1"),
            ([0, 0, 1, 1], r"every class needs a sample, got none of \[2\]"),
            ([0, 1, 2], r"\(4, 2\) and \(3,\)"),
        ],
    )
    def test_refuses(self, labels, message):
        with pytest.raises(ValueError, match=message):
            feature_statistics(np.ones((4, 2)), labels, num_classes=3)

    def test_refuses_single_samples_only(self):
        with pytest.raises(ValueError, match="3 samples of 3 classes"):
            feature_statistics(np.ones((3, 2)), [0, 1, 2], num_classes=3)


class TestScores:
    @pytest.mark.parametrize("shape", SHAPES)
    @pytest.mark.parametrize("shrunk", [True, False])
    @pytest.mark.parametrize("a", [0.3, 1.0])
    def test_against_scipy(self, shape, shrunk, a):
        features, labels = plus_oracle.long_tail(**SHAPES[shape])
        found = gaussian_scores(
            features,
            labels,
            num_classes=labels.max() + 1,
            covariance_shrinkage=a,
            shrunk=shrunk,
        )
        expected = plus_oracle.gaussian(features, labels, a, shrunk)
        wanted = logits(expected, features.astype(np.float64))
        scale = np.abs(wanted).max()
        np.testing.assert_allclose(
            logits(found, features) / scale, wanted / scale, rtol=0, atol=1e-5
        )

    def test_scores_decide_by_the_nearest_mean(self):
        """With one variance for all directions."""
        features, labels = plus_oracle.long_tail()
        found = gaussian_scores(
            features, labels, num_classes=7, covariance_shrinkage=1.0, shrunk=False
        )
        means = plus_oracle.means_of(features, labels)
        nearest = ((features[:, None] - means) ** 2).sum(-1).argmin(1)
        np.testing.assert_array_equal(logits(found, features).argmax(1), nearest)

    def test_classes_that_do_not_differ_are_not_told_apart(self, rng):
        """Their means differ by less than noise would make them."""
        one = rng.normal(size=(20, 3))
        features = np.concatenate([one, one + 1e-3, one - 1e-3])
        found = gaussian_scores(features, np.repeat(range(3), 20), num_classes=3)
        assert not found.weight.any()
        assert not found.bias.any()

    def test_no_spread_within_classes(self):
        features = np.repeat([[0.0, 1.0], [3.0, 1.0], [3.0, 5.0]], 2, axis=0)
        labels = np.repeat(range(3), 2)
        found = gaussian_scores(features, labels, num_classes=3)
        assert logits(found, features).argmax(1).tolist() == labels.tolist()

    @pytest.mark.parametrize("a", [0.0, -0.1, 1.5, float("nan")])
    def test_refuses_covariance_shrinkage(self, a):
        features, labels = plus_oracle.long_tail()
        with pytest.raises(ValueError, match=f"got {a}"):
            gaussian_scores(features, labels, num_classes=7, covariance_shrinkage=a)

    def test_refuses_one_class(self):
        with pytest.raises(ValueError, match="at least 2 classes, got 1"):
            gaussian_scores(np.ones((3, 2)), [0, 0, 0], num_classes=1)


class TestShrinkage:
    def test_hand_worked(self):
        """Means at -2 and 2, variance within 2: psi = (8 - 2 (1/2 + 1/4)/2) / 2."""
        features = [[-3.0], [-1.0], [1.0], [3.0], [1.0], [3.0]]
        statistics = feature_statistics(features, [0, 0, 1, 1, 1, 1], num_classes=2)
        assert statistics.within.tolist() == [[1.5]]
        found = discriminants(statistics, covariance_shrinkage=0.5)
        psi = (8 - 1.5 * (1 / 2 + 1 / 4) / 2) / 1.5
        assert found.signal == pytest.approx([psi])
        kept = [2 * psi / (2 * psi + 1), 4 * psi / (4 * psi + 1)]
        np.testing.assert_allclose(found.kept, kept)
        np.testing.assert_allclose(np.abs(found.means), 2 / np.sqrt(1.5))

    def test_classes_with_more_samples_keep_more(self):
        features, labels = plus_oracle.long_tail()
        statistics = feature_statistics(features, labels, num_classes=7)
        found = discriminants(statistics)
        ratio = np.abs(found.shrunk) / np.abs(found.means)
        assert (np.diff(ratio[:, found.signal > 0], axis=0) < 0).all()
        assert (ratio[:, found.signal == 0] == 0).all()

    def test_directions_whiten(self):
        features, labels = plus_oracle.long_tail()
        statistics = feature_statistics(features, labels, num_classes=7)
        directions = discriminants(statistics, covariance_shrinkage=0.6).directions
        within = statistics.within
        ridge = 0.4 * within + 0.6 * np.trace(within) / 5 * np.eye(5)
        np.testing.assert_allclose(
            directions.T @ ridge @ directions, np.eye(5), atol=1e-10
        )


class TestMix:
    def test_hand_worked(self):
        classifier = Linear([[2.0], [0.0]], [0.0, 0.0])
        gaussian = Linear([[0.0], [1.0]], [0.0, 1.0])
        # Deviations over classes of the logits (2x, 0) and (0, x + 1) at x = 1 and 3:
        # 1 and 3 against 1 and 2, which are 2 and 1.5 in the mean.
        found = gaussian_mix(
            classifier, gaussian, [3, 1], [[1.0], [3.0]], share=0.25, tau=2.0
        )
        factor = 0.25 * 2 / 1.5
        np.testing.assert_allclose(found.weight, [[1.5], [factor]], rtol=1e-6)
        np.testing.assert_allclose(
            found.bias,
            [-2 * np.log(0.75), factor - 2 * np.log(0.25)],
            rtol=1e-6,
        )

    def test_without_a_share_it_is_logit_adjustment(self, rng):
        classifier = Linear(rng.normal(size=(3, 2)), rng.normal(size=3))
        gaussian = Linear(np.zeros((3, 2)), np.zeros(3))
        found = gaussian_mix(
            classifier, gaussian, [5, 3, 2], np.ones((4, 2)), share=0.0, tau=1.0
        )
        np.testing.assert_allclose(found.weight, classifier.weight, rtol=1e-6)
        np.testing.assert_allclose(
            found.bias, classifier.bias - np.log([0.5, 0.3, 0.2]), rtol=1e-6
        )

    def test_refuses(self):
        head = Linear(np.ones((2, 3)), np.zeros(2))
        with pytest.raises(ValueError, match=r"\(0, 3\)"):
            gaussian_mix(head, head, [1, 1], np.ones((0, 3)))
        with pytest.raises(ValueError, match="positive, got 0"):
            gaussian_mix(head, head, [1, 0], np.ones((2, 3)))
