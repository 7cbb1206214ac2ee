import jax
import numpy as np
import oracle
import pytest

from alphanet_jax import nn_search
from alphanet_jax.results import nearest


@pytest.mark.parametrize("metric", nearest.METRICS)
@pytest.mark.parametrize("duplicates", [False, True])
def test_equals_what_training_uses(rng, metric, duplicates):
    means = rng.normal(size=(40, 7)).astype(np.float32) + 3.0
    if duplicates:  # ties, among which the order of the points decides
        means[rng.permutation(40)[:20]] = means[5]
    queries, points = rng.permutation(40)[:15], rng.permutation(40)[:22]
    found = nearest.nearest_among(
        means, queries, points, num_neighbors=6, metric=metric
    )
    wanted = jax.device_get(
        nn_search.find_neighbors(means, queries, points, num_neighbors=6, metric=metric)
    )
    np.testing.assert_allclose(found.distances, wanted.distances, 1e-5, 1e-6)
    if not duplicates or metric == "euclidean":
        np.testing.assert_array_equal(found.classes, wanted.classes)


@pytest.mark.parametrize("metric", nearest.METRICS)
def test_against_oracle_in_chunks(rng, metric, monkeypatch):
    monkeypatch.setattr(nearest, "_CHUNK_BYTES", 8 * 12 * 4)
    means = rng.normal(size=(23, 5))
    queries, points = list(range(11)), list(range(11, 23))
    found = nearest.nearest_among(
        means, queries, points, num_neighbors=12, metric=metric
    )
    classes, distances = oracle.nearest(means, queries, points, 12, metric)
    np.testing.assert_array_equal(found.classes, classes)
    np.testing.assert_allclose(found.distances, distances, 1e-5, 1e-6)
    others = nearest.distances_to(means, queries, classes, metric=metric)
    np.testing.assert_allclose(others, distances, 1e-9, 1e-12)


def test_near_ties_far_from_the_origin_keep_their_order():
    """A product would lose the digits in which these distances differ."""
    means = np.array([[1e4, 0.0], [1e4, 1e-3], [1e4, 1.1e-3], [1e4, 0.9e-3]])
    found = nearest.nearest_among(
        means, [0], [1, 2, 3], num_neighbors=2, metric="euclidean"
    )
    assert found.classes.tolist() == [[3, 1]]


class TestNearestOthers:
    @pytest.mark.parametrize("metric", nearest.METRICS)
    def test_oracle(self, metric, rng):
        means = rng.standard_normal((12, 5))
        mask = nearest.nearest_others(means, range(12), num_neighbors=4, metric=metric)
        for label in range(12):
            others = [each for each in range(12) if each != label]
            classes, _ = oracle.nearest(means, [label], others, 4, metric)
            assert set(np.flatnonzero(mask[label])) == set(classes[0])

    def test_some_classes_with_the_same_mean(self):
        # Four classes in one place: each is as near to the others as to itself.
        means = [[0.0], [0.0], [0.0], [0.0], [9.0], [10.0]]
        mask = nearest.nearest_others(
            means, range(6), num_neighbors=2, metric="euclidean"
        )
        assert mask[4:].astype(int).tolist() == [[1, 0, 0, 0, 0, 1], [1, 0, 0, 0, 1, 0]]
        assert mask[:4, :4].sum(axis=1).tolist() == [2] * 4

    def test_a_class_is_never_its_own_neighbor(self):
        means = np.zeros((5, 2))  # all of them are equally near
        mask = nearest.nearest_others(
            means, np.arange(5), num_neighbors=2, metric="euclidean"
        )
        assert mask.sum(axis=1).tolist() == [2] * 5
        assert not mask.diagonal().any()

    @pytest.mark.parametrize("num_neighbors", [2, 3, 9])
    def test_fewer_points_than_neighbors(self, rng, num_neighbors):
        mask = nearest.nearest_others(
            rng.normal(size=(6, 3)),
            [1, 4],
            num_neighbors=num_neighbors,
            metric="euclidean",
        )
        assert mask[:, [1, 4]].sum(axis=1).tolist() == [2, 1, 2, 2, 1, 2]
        assert mask.sum() == 10


@pytest.mark.parametrize(("k", "metric"), [(0, "cosine"), (4, "cosine"), (1, "random")])
def test_what_is_refused(k, metric):
    with pytest.raises(ValueError, match=f"got {k}|'random'"):
        nearest.nearest_among(
            np.ones((4, 2)), [0], [1, 2, 3], num_neighbors=k, metric=metric
        )
