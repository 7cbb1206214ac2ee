"""alphanet+: by hand, against SciPy, its choices, and on the embedded data."""

import numpy as np
import plus_oracle
import pytest

from alphanet_jax import bundled
from alphanet_jax.posthoc import convex_head, neighborhood
from alphanet_jax.posthoc.convex_head import (
    adjusted,
    balanced_softmax_head,
)
from alphanet_jax.posthoc.gaussian import (
    Discriminants,
    feature_statistics,
    gaussian_mix,
    gaussian_scores,
)
from alphanet_jax.posthoc.linear import Linear
from alphanet_jax.posthoc.neighborhood import (
    borrowing_of_new,
    find_neighborhood,
    given_neighborhood,
    random_neighbors,
)
from alphanet_jax.posthoc.plus import (
    L2_FACTORS,
    alphanet_plus,
    choose_covariance,
    choose_tau,
)

FEATURES, LABELS = plus_oracle.long_tail()
COUNTS = np.bincount(LABELS)
L2 = convex_head.default_l2(len(COUNTS))


def on_a_line(*places):
    """Discriminants of one dimension; shrunk means are a half of those observed."""
    return half_shrunk(np.array(places, np.float64)[:, None])


def half_shrunk(places):
    """Discriminants whose shrunk means, halves of those observed, are given."""
    dims, ones = places.shape[1], np.ones(len(places))
    return Discriminants(np.eye(dims), np.ones(dims), 2 * places, ones)


def logits(head, features):
    return np.asarray(features) @ np.asarray(head.weight).T + np.asarray(head.bias)


class TestNeighborhood:
    def test_hand_worked(self):
        # Squared distances: 0 to 1: 1, to 2: 9; 1: 1, 4; 2: 4, 9; median 4.
        found = find_neighborhood(
            on_a_line(0.0, 1.0, 3.0), np.array([30, 90, 10]), num_neighbors=2
        )
        assert found.classes.tolist() == [[1, 2], [0, 2], [1, 0]]
        odds = np.exp([-8 / 2, -3 / 2, -5 / 2])
        shares = np.stack([1 / (1 + odds), odds / (1 + odds)], axis=1)
        np.testing.assert_allclose(found.shares, shares)
        amounts = np.array([0.8 / 2, 0.8 / 4, 0.8 / (4 / 3)])
        np.testing.assert_allclose(found.coefficients, amounts[:, None] * shares)
        matrix = found.matrix()
        np.testing.assert_allclose(matrix.sum(axis=1), amounts)
        assert matrix[2, 1] == found.coefficients[2, 0]
        assert not matrix.diagonal().any()

    def test_many_classes(self, rng, monkeypatch):
        """A few at a time, as all pairs would be."""
        monkeypatch.setattr(neighborhood, "_CLASSES_AT_A_TIME", 7)
        places, counts = rng.normal(size=(40, 3)) + 100, rng.integers(1, 50, 40)
        found = find_neighborhood(half_shrunk(places), counts)
        classes, coupling = plus_oracle.neighborhood(places, counts, 5)
        np.testing.assert_array_equal(found.classes, classes)
        np.testing.assert_allclose(found.matrix(), coupling, rtol=1e-6)

    def test_observed_means(self):
        counts = np.array([3, 3, 3])
        shrunk = find_neighborhood(on_a_line(0.0, 1.0, 3.0), counts)
        observed = find_neighborhood(on_a_line(0.0, 1.0, 3.0), counts, shrunk=False)
        # All distances four times as large, their median, too.
        np.testing.assert_allclose(observed.shares, shrunk.shares)

    def test_equal_distances_go_to_the_lower_class(self):
        found = find_neighborhood(
            on_a_line(0.0, 1.0, 1.0, -1.0), np.ones(4), num_neighbors=2
        )
        assert found.classes[0].tolist() == [1, 2]

    def test_classes_at_one_place(self):
        found = find_neighborhood(on_a_line(1.0, 1.0, 1.0), np.ones(3))
        np.testing.assert_array_equal(found.shares, 0.5)

    @pytest.mark.parametrize("num_neighbors", [3, 4, 5, 50])
    def test_all_others_where_there_are_not_as_many(self, num_neighbors):
        found = find_neighborhood(
            on_a_line(0.0, 1.0, 3.0, 9.0), np.ones(4), num_neighbors=num_neighbors
        )
        assert found.classes.shape == (4, 3)

    def test_given_ones_are_weighed_as_those_found(self):
        line, counts = on_a_line(0.0, 1.0, 3.0, 9.0), np.array([5, 6, 7, 8])
        found = find_neighborhood(line, counts, num_neighbors=2)
        given = given_neighborhood(line, counts, found.classes)
        for part, other in zip(given, found, strict=True):
            np.testing.assert_array_equal(part, other)

    @pytest.mark.parametrize(
        ("classes", "message"),
        [
            ([[1], [0]], r"\(C, k\) for 3 classes, got \(2, 1\)"),
            ([1, 0, 0], r"got \(3,\)"),
            ([[], [], []], r"got \(3, 0\)"),
            ([[1], [2], [3]], r"\[0, 3\), got 1 to 3"),
            ([[1], [2], [-1]], r"\[0, 3\), got -1 to 2"),
            ([[1], [1], [0]], r"of its own, got \[1\]"),
        ],
    )
    def test_refuses_given_ones(self, classes, message):
        with pytest.raises(ValueError, match=message):
            given_neighborhood(on_a_line(0.0, 1.0, 3.0), np.ones(3), classes)

    def test_refuses_none(self):
        with pytest.raises(ValueError, match="at least 1, got 0"):
            find_neighborhood(on_a_line(0.0, 1.0), np.ones(2), num_neighbors=0)


class TestBorrowingOfNew:
    def test_hand_worked(self):
        # Squared distances between classes and their two nearest have the median 4;
        # of 2.0: to 0: 4, to 1: 1, to 3: 1; of -1.0: 1, 4, 16.
        line = on_a_line(0.0, 1.0, 3.0)
        classes, coefficients = borrowing_of_new(
            line,
            np.array([30, 90, 10]),
            np.array([[2.0], [-1.0]]),
            np.array([0, 30]),
            num_neighbors=2,
        )
        assert classes.tolist() == [[1, 2], [0, 1]]
        assert classes.dtype == np.int32
        odds = np.exp(-3 / 2)
        wanted = [[0.4, 0.4], [0.4 / (1 + odds), 0.4 * odds / (1 + odds)]]
        np.testing.assert_allclose(coefficients, wanted)

    def test_against_a_dense_formula(self, rng):
        """Of several dimensions, and five neighbors, as is usual."""
        places, counts = rng.normal(size=(12, 3)), rng.integers(1, 90, 12)
        new, new_counts = rng.normal(size=(4, 3)), np.array([0, 3, 20, 100])
        found = half_shrunk(places)
        classes, coefficients = borrowing_of_new(found, counts, new, new_counts)
        between = ((places[:, None] - places) ** 2).sum(axis=2)
        width = np.median(np.sort(between, axis=1)[:, 1:6]) / 2
        squared = ((new[:, None] - places) ** 2).sum(axis=2)
        order = np.argsort(squared, axis=1)[:, :5]
        np.testing.assert_array_equal(classes, order)
        weights = np.exp(-np.take_along_axis(squared, order, 1) / width)
        shares = weights / weights.sum(axis=1, keepdims=True)
        amount = 0.8 * 30 / (30 + new_counts)
        np.testing.assert_allclose(coefficients, amount[:, None] * shares)

    def test_classes_in_one_place(self):
        classes, coefficients = borrowing_of_new(
            on_a_line(1.0, 1.0, 1.0), np.ones(3), np.array([[1.0]]), np.zeros(1)
        )
        assert classes.tolist() == [[0, 1, 2]]
        np.testing.assert_allclose(coefficients, [[0.8 / 3] * 3])


class TestRandomNeighbors:
    def test_differ_and_are_not_the_class(self):
        found = random_neighbors(3, num_classes=50, num_neighbors=7)
        assert found.shape == (50, 7)
        assert all(len({index, *row}) == 8 for index, row in enumerate(found.tolist()))

    def test_are_all_as_likely(self):
        drawn = [
            random_neighbors(s, num_classes=4, num_neighbors=1) for s in range(900)
        ]
        numbers = np.bincount(np.array(drawn)[:, 0, 0], minlength=4)
        assert numbers[0] == 0
        assert (abs(numbers[1:] - 300) < 60).all()

    @pytest.mark.parametrize("num_neighbors", [0, 4])
    def test_refuses(self, num_neighbors):
        with pytest.raises(ValueError, match=f"got {num_neighbors} of 4"):
            random_neighbors(0, num_classes=4, num_neighbors=num_neighbors)


class TestChoices:
    def test_tau_of_highest_accuracy(self):
        """The bias favours class 0 by 1, which tau times log 4 takes back."""
        head = Linear(np.array([[0.0], [1.0]]), np.array([1.0, 0.0]))
        features, labels = np.array([[0.1], [-0.2], [0.3]]), np.array([1, 0, 1])
        tau, accuracy = choose_tau(head, np.array([80, 20]), features, labels)
        assert accuracy == 1
        assert tau == 0.7  # 0.7 log 4 = 0.97, which is more than 0.9; 0.8's is 1.11

    def test_the_nearest_to_no_change_of_equal_ones(self):
        head = Linear(np.zeros((2, 1)), np.array([5.0, 0.0]))
        found = choose_tau(head, np.array([6, 4]), np.ones((2, 1)), np.array([0, 0]))
        assert found == (0.0, 1.0)
        found = choose_tau(
            head, np.array([6, 4]), np.ones((2, 1)), [0, 0], grid=(0.4, -0.2, 0.2)
        )
        assert found == (-0.2, 1.0)

    def test_all_classes_count_the_same(self):
        """Of four samples of class 0 and one of class 2, the second class is one."""
        head = Linear(np.array([[1.0], [0.0], [0.0]]), np.array([0.0, -9.0, 0.0]))
        features, labels = np.array([[1.0]] * 4 + [[2.0]]), np.array([0] * 4 + [2])
        found = choose_tau(head, np.array([80, 10, 10]), features, labels, grid=(0.0,))
        assert found == (0.0, 0.5)

    def test_covariance(self):
        """What is chosen does best, each with its factor of the log prior."""
        val = plus_oracle.long_tail(7, counts=(9,) * 7)
        statistics = feature_statistics(FEATURES, LABELS, num_classes=7)
        grid = (0.01, 0.3, 1.0)
        chosen = choose_covariance(statistics, *val, grid=grid)
        accuracies = []
        for a in grid:
            head = gaussian_scores(
                FEATURES, LABELS, num_classes=7, covariance_shrinkage=a
            )
            accuracies.append(choose_tau(head, COUNTS, *val)[1])
        assert chosen == grid[int(np.argmax(accuracies))]


class TestAlphaNetPlus:
    @pytest.mark.slow
    @pytest.mark.parametrize(
        ("shape", "num_neighbors"),
        [({}, 3), ({"counts": (6, 3, 1, 1), "dim": 12}, 5)],
        ids=["usual", "more dimensions than samples, all classes neighbors"],
    )
    def test_against_scipy(self, shape, num_neighbors):
        features, labels = plus_oracle.long_tail(**shape)
        num_classes = labels.max() + 1
        found = alphanet_plus(
            features,
            labels,
            num_classes=num_classes,
            num_neighbors=num_neighbors,
            tolerance=1e-7,
        )
        weight, bias, kappa = plus_oracle.alphanet_plus(
            features,
            labels,
            L2,
            num_neighbors=min(num_neighbors, num_classes - 1),
        )
        assert found.kappa == pytest.approx(kappa, rel=2e-3)
        wanted = features @ weight.T + bias
        difference = logits(found.head, features) - wanted
        difference -= difference.mean(axis=1, keepdims=True)  # of no effect
        assert np.abs(difference).max() < 0.02 * np.ptp(wanted)
        assert found.converged

    @pytest.mark.slow
    def test_what_it_is_without_validation_data(self):
        found = alphanet_plus(FEATURES, LABELS, num_classes=7)
        assert (found.covariance_shrinkage, found.l2, found.tau) == (
            0.3,
            L2,
            0.0,
        )
        assert found.neighborhood.classes.shape == (7, 5)
        assert found.kept.shape == (7,)
        expected = balanced_softmax_head(FEATURES, LABELS, num_classes=7)
        for part, other in zip(found.balanced, expected, strict=True):
            np.testing.assert_array_equal(part, other)

    @pytest.mark.slow
    def test_is_deterministic(self):
        first, second = (alphanet_plus(FEATURES, LABELS, num_classes=7) for _ in "ab")
        for part, other in zip(first.head, second.head, strict=True):
            np.testing.assert_array_equal(part, other)

    def test_what_is_given_is_not_chosen(self):
        found = alphanet_plus(
            FEATURES,
            LABELS,
            num_classes=7,
            val=plus_oracle.long_tail(7, counts=(9,) * 7),
            covariance_shrinkage=0.5,
            l2=1e-3,
            tau=0.4,
        )
        assert (found.covariance_shrinkage, found.l2, found.tau) == (0.5, 1e-3, 0.4)
        plain = alphanet_plus(
            FEATURES, LABELS, num_classes=7, covariance_shrinkage=0.5, l2=1e-3
        )
        for part, other in zip(
            found.head, adjusted(plain.head, COUNTS, 0.4), strict=True
        ):
            np.testing.assert_array_equal(part, other)

    def test_choices_by_validation_data(self):
        val = plus_oracle.long_tail(7, counts=(30,) * 7, spread=0.5)
        train = plus_oracle.long_tail(7, spread=0.5)
        found = alphanet_plus(*train, num_classes=7, val=val)
        a = found.covariance_shrinkage
        for l2 in (L2, 2 * L2):
            plain = alphanet_plus(*train, num_classes=7, covariance_shrinkage=a, l2=l2)
            _, accuracy = choose_tau(plain.head, COUNTS, *val)
            (_, reached) = choose_tau(found.head, COUNTS, *val, grid=(0.0,))
            assert reached >= accuracy - 0.01  # heads are fitted to a tolerance

    def test_given_neighbors(self):
        nearest = alphanet_plus(FEATURES, LABELS, num_classes=7, num_neighbors=3)
        classes = nearest.neighborhood.classes
        again = alphanet_plus(FEATURES, LABELS, num_classes=7, neighbors=classes)
        np.testing.assert_array_equal(again.head.weight, nearest.head.weight)
        drawn = random_neighbors(0, num_classes=7, num_neighbors=3)
        other = alphanet_plus(
            FEATURES, LABELS, num_classes=7, neighbors=drawn, shrunk=False
        )
        np.testing.assert_array_equal(other.neighborhood.classes, drawn)
        assert np.abs(other.head.weight - nearest.head.weight).max() > 0.01

    def test_progress(self):
        calls = []
        found = alphanet_plus(
            FEATURES,
            LABELS,
            num_classes=7,
            val=plus_oracle.long_tail(7, counts=(9,) * 7),
            on_progress=calls.append,
        )
        stages = list(dict.fromkeys((call.stage, call.head) for call in calls))
        number = len(L2_FACTORS)
        assert stages == [
            ("balanced softmax head", 0),
            *(("alphanet+", head) for head in range(1, number + 1)),
        ]
        assert {call.num_heads for call in calls} == {number + 1}
        last = {call.head: call.step for call in calls}
        assert found.evaluations == sum(step.evaluations for step in last.values())
        assert all(step.expected <= 1e-5 for step in last.values())

    @pytest.mark.slow
    @pytest.mark.parametrize("counts", [(9, 1), (4, 1, 1), (2, 2, 2, 2, 2, 2)])
    def test_few_classes_and_none_that_are_rare(self, counts):
        features, labels = plus_oracle.long_tail(counts=counts, dim=3)
        found = alphanet_plus(features, labels, num_classes=len(counts))
        assert np.isfinite(found.head.weight).all()
        assert found.neighborhood.classes.shape == (
            len(counts),
            min(5, len(counts) - 1),
        )


@pytest.fixture(scope="module")
def embedded():
    """Arrays of the embedded data, by the name of their file; and the splits."""
    root = bundled.root() / "data/CIFAR100LT"
    found = {
        path.stem: np.load(path)
        for path in (root / "features/effnetlite0_crt").glob("*.npy")
    }
    for name in ("few", "medium", "many"):
        found[name] = np.loadtxt(root / f"splits/{name}.txt", dtype=int)
    with np.load(root / "classifiers/effnetlite0_crt.npz") as file:
        return found | dict(file)


def percent(data, head):
    """Few, medium, many and overall test accuracy."""
    labels = data["test_labels"]
    right = logits(head, data["test"].astype(np.float32)).argmax(axis=1) == labels
    splits = [right[np.isin(labels, data[s])] for s in ("few", "medium", "many")]
    return [100 * part.mean() for part in (*splits, right)]


class TestEmbeddedData:
    """Against numbers that were computed with plain NumPy in float64."""

    @pytest.mark.slow
    def test_gaussian_scores(self, embedded):
        train = embedded["train"], embedded["train_labels"]
        shrunk = gaussian_scores(*train, num_classes=100)
        plain = gaussian_scores(*train, num_classes=100, shrunk=False)
        close = {"rel": 0, "abs": 0.02}
        assert percent(embedded, shrunk) == pytest.approx(
            [42.21, 57.54, 60.89, 54.11], **close
        )
        assert percent(embedded, plain) == pytest.approx(
            [37.96, 58.86, 63.86, 54.34], **close
        )
        mix = gaussian_mix(
            Linear(embedded["weight"], embedded["bias"]),
            shrunk,
            np.bincount(embedded["train_labels"]),
            embedded["val"],
        )
        assert percent(embedded, mix) == pytest.approx(
            [50.62, 61.79, 59.00, 57.46], **close
        )

    @pytest.mark.slow
    @pytest.mark.parametrize("from_classifier", [False, True])
    def test_alphanet_plus(self, embedded, from_classifier):
        found = alphanet_plus(
            embedded["train"],
            embedded["train_labels"],
            num_classes=100,
            classifier=(
                Linear(embedded["weight"], embedded["bias"])
                if from_classifier
                else None
            ),
        )
        close = {"rel": 0, "abs": 0.3}
        assert percent(embedded, found.balanced) == pytest.approx(
            [45.46, 60.68, 67.25, 58.41], **close
        )
        assert percent(embedded, found.head) == pytest.approx(
            [49.33, 60.79, 65.86, 59.13], **close
        )
        counts = np.bincount(embedded["train_labels"])
        assert percent(embedded, adjusted(found.head, counts, 0.2)) == pytest.approx(
            [55.12, 59.79, 60.79, 58.74], **close
        )
        assert found.converged
        assert found.evaluations < 100

    @pytest.mark.slow
    def test_training_and_validation_rows_together(self, embedded):
        found = alphanet_plus(
            np.concatenate([embedded["train"], embedded["val"]]),
            np.concatenate([embedded["train_labels"], embedded["val_labels"]]),
            num_classes=100,
        )
        close = {"rel": 0, "abs": 0.3}
        assert percent(embedded, found.balanced) == pytest.approx(
            [56.08, 62.07, 66.04, 61.66], **close
        )
        assert percent(embedded, found.head) == pytest.approx(
            [57.75, 62.14, 65.86, 62.12], **close
        )

    @pytest.mark.slow
    def test_rare_classes_gain_by_their_nearest(self, embedded):
        """Against the control, neighbors by chance."""
        train = embedded["train"], embedded["train_labels"]
        nearest = alphanet_plus(*train, num_classes=100)
        drawn = random_neighbors(0, num_classes=100, num_neighbors=5)
        control = alphanet_plus(*train, num_classes=100, neighbors=drawn, shrunk=False)
        of_nearest, of_control = (
            percent(embedded, found.head) for found in (nearest, control)
        )
        assert of_nearest[3] > of_control[3]
