"""Accuracy per class and split, with and without neighbors."""

import numpy as np
import pytest

from alphanet_jax.results import accuracy

# Class 1 is a neighbor of class 0, but not the other way round.
MASK = np.array([[0, 1, 0], [0, 0, 1], [1, 0, 0]], bool)
SPLITS = {"few": [0], "medium": [1], "many": [2]}


@pytest.fixture(params=range(3))
def drawn(request):
    """Labels with a class that never comes, predictions of two runs, and a table."""
    rng = np.random.default_rng(request.param)
    labels = rng.integers(0, 5, 40)
    return labels, rng.integers(0, 6, (2, 40)), rng.random((6, 6)) < 0.3


class TestOutcomes:
    def test_worked(self):
        # true 0: itself, its neighbor, the other; true 2: neighbor, other, itself
        labels = np.array([0, 0, 0, 2, 2, 2])
        predictions = np.array([0, 1, 2, 0, 1, 2])
        found = accuracy.outcomes(predictions, labels, MASK)
        assert found.tolist() == [0, 1, 2, 1, 2, 0]
        assert accuracy.OUTCOMES == ("correct", "neighbor", "other")

    def test_correct_comes_before_neighbor(self):
        mask = np.ones((2, 2), bool)
        assert accuracy.outcomes(np.array([1]), np.array([1]), mask).tolist() == [0]

    def test_oracle(self, drawn):
        labels, predictions, mask = drawn
        found = accuracy.outcomes(predictions, labels, mask)
        for run, place in np.ndindex(*predictions.shape):
            guess, label = predictions[run, place], labels[place]
            wanted = 0 if guess == label else 1 if mask[label, guess] else 2
            assert found[run, place] == wanted


class TestIsCorrect:
    def test_without_neighbors(self):
        found = accuracy.is_correct(np.array([[0, 1], [1, 1]]), np.array([0, 1]))
        assert found.tolist() == [[True, True], [False, True]]

    def test_with_neighbors(self):
        labels = np.array([0, 1, 2])
        found = accuracy.is_correct(np.array([[1, 0, 2], [2, 2, 0]]), labels, MASK)
        assert found.tolist() == [[True, False, True], [False, True, True]]


class TestPerClass:
    def test_worked(self):
        correct = np.array([[True, False, True], [False, False, True]])
        found = accuracy.per_class(correct, np.array([0, 0, 2]), num_classes=4)
        np.testing.assert_array_equal(
            found, [[0.5, np.nan, 1.0, np.nan], [0.0, np.nan, 1.0, np.nan]]
        )

    def test_one_run_has_no_axis(self):
        found = accuracy.per_class(np.array([True]), np.array([1]), num_classes=2)
        np.testing.assert_array_equal(found, [np.nan, 1.0])

    def test_oracle(self, drawn):
        labels, predictions, mask = drawn
        correct = accuracy.is_correct(predictions, labels, mask)
        found = accuracy.per_class(correct, labels, num_classes=6)
        assert found.shape == (2, 6)
        for run, label in np.ndindex(2, 6):
            own = [c for c, y in zip(correct[run], labels, strict=True) if y == label]
            wanted = sum(own) / len(own) if own else np.nan
            np.testing.assert_equal(found[run, label], wanted)


class TestPerSplit:
    def test_weighs_samples_and_not_classes(self):
        # Class 0 has three samples of the split and class 1 one: 3 of 4 are right, but
        # the mean over classes would be 0.5.
        labels = np.array([0, 0, 0, 1, 2, 3])
        correct = np.array([True, True, True, False, True, False])
        splits = {"few": [0, 1], "medium": [2], "many": [3]}
        found = accuracy.per_split(correct, labels, splits)
        np.testing.assert_allclose(found, [0.75, 1.0, 0.0, 4 / 6], rtol=1e-15)

    def test_none_correct_is_zero_and_no_samples_nan(self):
        correct = np.array([[False, True], [False, False]])
        found = accuracy.per_split(correct, np.array([0, 2]), SPLITS)
        np.testing.assert_array_equal(
            found, [[0.0, np.nan, 1.0, 0.5], [0.0, np.nan, 0.0, 0.0]]
        )

    def test_empty_split(self):
        splits = {"few": np.zeros(0, int), "medium": [0, 1], "many": [2]}
        found = accuracy.per_split(np.array([True]), np.array([2]), splits)
        np.testing.assert_array_equal(found, [np.nan, np.nan, 1.0, 1.0])

    def test_oracle(self, drawn):
        labels, predictions, _ = drawn
        correct = accuracy.is_correct(predictions, labels)
        splits = {"few": [5, 0], "medium": [1, 4], "many": [2, 3]}
        found = accuracy.per_split(correct, labels, splits)
        for run in range(2):
            for place, classes in enumerate([*splits.values(), range(6)]):
                own = [
                    c for c, y in zip(correct[run], labels, strict=True) if y in classes
                ]
                np.testing.assert_allclose(found[run, place], sum(own) / len(own))
