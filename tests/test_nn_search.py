import functools

import jax
import jax.numpy as jnp
import numpy as np
import oracle
import pytest

from alphanet_jax import nn_search
from alphanet_jax.nn_search import (
    find_neighbors,
    make_sources,
    source_classes,
)

_traces = []


# Compiled as a whole, and mostly for the same shapes: compilation is most of the time
# of these tests.
@functools.partial(jax.jit, static_argnames=("num_neighbors", "metric"))
def _jitted(*args, **kwargs):
    _traces.append(1)
    return find_neighbors(*args, **kwargs)


def find(means, few, base, **how):
    # As NumPy arrays, whose indexing compiles nothing.
    arguments = np.float32(means), np.int32(few), np.int32(base)
    return jax.device_get(_jitted(*arguments, **how))


def five_nearest(points, metric="euclidean", few=0, base=range(1, 7)):
    """The five nearest of six, in the plane; points on a line get a second zero."""
    means = [point if np.ndim(point) else [point, 0.0] for point in points]
    found = find(means, [few], base, num_neighbors=5, metric=metric)
    return found.classes[0].tolist(), np.asarray(found.distances[0])


def check_against_oracle(means, few, base, k, metric="euclidean", rtol=1e-5, atol=1e-6):
    means = np.asarray(means, np.float32)
    found = find(means, few, base, num_neighbors=k, metric=metric)
    classes, distances = oracle.nearest(means, few, base, k, metric)
    np.testing.assert_array_equal(found.classes, classes)
    np.testing.assert_allclose(found.distances, distances, rtol=rtol, atol=atol)


class TestFindNeighbors:
    def test_hand_worked_euclidean(self):
        points = [[0, 0], [6, 8], [3, 4], [0, -1], [20, 21], [9, 99], [-4, 4]]
        classes, distances = five_nearest(points)
        assert classes == [3, 2, 6, 1, 4]
        np.testing.assert_allclose(distances, [1, 5, 32**0.5, 10, 29], rtol=1e-6)

    def test_hand_worked_cosine(self):
        # The cosines to class 0, whatever the lengths; the longest is the nearest.
        points = [[2, 0], [0, 0.1], [-3, 0], [500, 0], [1, 1], [1, -9], [-1, 0]]
        classes, distances = five_nearest(points, "cosine")
        assert classes == [3, 4, 5, 1, 2]
        expected = [0, 1 - 0.5**0.5, 1 - 82**-0.5, 1, 2]
        np.testing.assert_allclose(distances, expected, atol=1e-6)

    def test_dtypes(self):
        found = find(np.eye(7, 2), [0], range(1, 7), num_neighbors=5)
        assert found.classes.dtype == jnp.int32
        assert found.distances.dtype == jnp.float32

    @pytest.mark.parametrize(
        ("metric", "few", "base", "dim", "k"),
        [
            ("euclidean", 3, 8, 5, 2),
            ("euclidean", 1, 2, 1, 1),
            ("euclidean", 2, 70, 3, 69),
            ("euclidean", 13, 41, 33, 6),
            ("cosine", 3, 8, 5, 2),
            ("cosine", 13, 41, 33, 6),
        ],
    )
    def test_against_oracle(self, rng, metric, few, base, dim, k):
        order = rng.permutation(few + base)
        check_against_oracle(
            rng.normal(size=(few + base, dim)),
            np.sort(order[:few]),
            np.sort(order[few:]),
            k,
            metric,
        )

    def test_equal_distances_go_to_the_lower_class(self):
        points = [[1, 0], [5, 5], [0, 1], [0, 0], [-1, 0], [0, -1], [7, 7]]
        classes, _ = five_nearest(points, few=3, base=[0, 1, 2, 4, 5, 6])
        assert classes == [0, 2, 4, 5, 1]

    def test_equal_distances_go_to_the_first_of_base_classes(self):
        classes, _ = five_nearest([0, 1, -1, 1, -1, 4.1, 2], base=[4, 1, 5, 3, 6, 2])
        assert classes == [4, 1, 3, 2, 6]

    def test_equal_cosine_distances_go_to_the_lower_class(self):
        points = [[1, 1], [1, 0], [0, 1], [4, 0], [0, 0.5], [3, 3], [-1, 0]]
        classes, _ = five_nearest(points, "cosine")
        assert classes == [5, 1, 2, 3, 4]

    @pytest.mark.parametrize("sign", [1, -1])
    def test_opposite_differences_are_equal(self, sign):
        points = [0.0, 0.1 * sign, -0.1 * sign, 7.3, 1.7, 9.1, 12.3]
        classes, distances = five_nearest(points)
        assert classes == [1, 2, 4, 3, 5]
        expected = np.float32([0.1, 0.1, 1.7, 7.3, 9.1])
        np.testing.assert_allclose(distances, expected, rtol=2.5e-7)

    def test_ties_between_whole_numbers(self, rng):
        for _ in range(20):
            means = rng.integers(0, 3, (24, 3))
            check_against_oracle(means, np.arange(6), np.arange(6, 24), 7)

    def test_more_ties_than_any_shortlist(self):
        # Every base class is one unit away, in a direction of its own.
        means = np.concatenate([np.zeros((1, 66)), np.eye(66)])
        check_against_oracle(means, [0], range(1, 67), 5)

    def test_many_equal_means(self, rng):
        means = np.repeat(rng.normal(size=(2, 66)), [1, 66], axis=0)
        check_against_oracle(means, [0], range(1, 67), 5)

    def test_near_ties_far_from_the_origin(self, rng):
        # All coordinates near 1,000; the distances of six classes differ by 1e-6 of
        # themselves, and |a|^2 + |b|^2 - 2ab is off by more than their distance does.
        query = 1e3 + rng.normal(size=66)
        difference = rng.choice([-20.0, 20.0], 66)
        near = [query + difference for _ in range(6)]
        for point, steps in zip(near, rng.permutation(6), strict=True):
            point[0] += steps * np.sign(difference[0]) * 2.0**-10
        far = 1e3 + rng.normal(scale=200.0, size=(60, 66))
        means = np.float32([query, *near, *far])
        _, distances = oracle.nearest(means, [0], range(1, 7), 6, "euclidean")
        assert 5e-7 < np.diff(distances[0]).max() / distances[0, 0] < 2e-6
        check_against_oracle(means, [0], range(1, 67), 5)

    def test_near_classes_with_others_far_away(self):
        # A float32 holds 0.0010 and 0.0011, but not 10,000.0010 and 10,000.0011.
        points = [0.0, 0.0012, 0.0010, 0.0011, 2e4, 2.1e4, 2.2e4]
        classes, distances = five_nearest(points)
        assert classes == [2, 3, 1, 4, 5]
        np.testing.assert_allclose(distances[:3], [0.0010, 0.0011, 0.0012], rtol=1e-6)

    @pytest.mark.parametrize("metric", ["euclidean", "cosine"])
    def test_distance_to_an_equal_mean_is_zero(self, rng, metric):
        points = rng.normal(size=(7, 2))
        points[4] = points[0]
        classes, distances = five_nearest(points, metric)
        assert classes[0] == 4
        np.testing.assert_allclose(distances[0], 0, atol=1e-12)
        assert distances[1] > 0

    @pytest.mark.slow
    def test_jitted_equals_eager(self, rng):
        arguments = np.float32(rng.normal(size=(7, 2))), np.array([0]), np.arange(1, 7)
        how = {"num_neighbors": 5, "metric": "cosine"}
        eager, jitted = find_neighbors(*arguments, **how), _jitted(*arguments, **how)
        np.testing.assert_array_equal(eager.classes, jitted.classes)
        np.testing.assert_allclose(eager.distances, jitted.distances, rtol=1e-5)

    def test_other_means_and_classes_do_not_recompile(self, rng):
        five_nearest(rng.normal(size=(7, 2)))
        before = len(_traces)
        five_nearest(rng.normal(size=(7, 2)), few=3, base=[6, 0, 1, 2, 4, 5])
        assert len(_traces) == before

    @pytest.mark.parametrize("num_neighbors", [-1, 0, 3, 4])
    def test_number_of_neighbors_out_of_range(self, num_neighbors):
        message = f"less than the number of base classes, got {num_neighbors} with 3"
        for metric in nn_search.METRICS:
            with pytest.raises(ValueError, match=message):
                find_neighbors(
                    np.zeros((4, 2)),
                    [0],
                    [1, 2, 3],
                    num_neighbors=num_neighbors,
                    metric=metric,
                    key=jax.random.key(0),
                )

    def test_unknown_metric(self):
        with pytest.raises(ValueError, match=r"one of \('euclidean'.*got 'manhattan'"):
            find_neighbors(
                np.zeros((3, 2)), [0], [1, 2], num_neighbors=1, metric="manhattan"
            )


class TestRandomNeighbors:
    few, base = np.array([1, 4, 7]), np.array([0, 2, 3, 5, 6, 8, 9])

    def draw(self, seed, means=None):
        means = np.zeros((10, 2)) if means is None else means
        return find(
            means,
            self.few,
            self.base,
            num_neighbors=6,
            metric="random",
            key=jax.random.key(seed) if isinstance(seed, int) else seed,
        )

    def test_is_reproducible(self):
        for first, second in zip(self.draw(5), self.draw(5), strict=True):
            np.testing.assert_array_equal(first, second)
        assert (self.draw(5).distances != self.draw(6).distances).all()

    def test_ignores_means(self, rng):
        expected = self.draw(5).classes
        for means in (rng.normal(size=(10, 2)), np.full((10, 2), np.nan)):
            np.testing.assert_array_equal(self.draw(5, means=means).classes, expected)

    def test_draws_distinct_base_classes_with_ascending_distances(self):
        found = self.draw(0)
        for row in found.classes.tolist():
            assert len(set(row)) == 6
            assert set(row) <= set(self.base.tolist())
        distances = np.asarray(found.distances)
        assert (np.diff(distances) > 0).all()
        assert distances.min() >= 0
        assert distances.max() < 1
        assert len(np.unique(distances)) == distances.size  # none shared by classes

    def test_every_base_class_is_as_likely_at_every_place(self):
        keys = jax.random.split(jax.random.key(0), 2100)
        over_keys = functools.partial(_jitted, num_neighbors=6, metric="random")
        draw_all = jax.vmap(
            lambda key: over_keys(np.zeros((10, 2)), self.few, self.base, key=key)
        )
        found = np.asarray(draw_all(keys).classes)
        np.testing.assert_array_equal(found[0], self.draw(keys[0]).classes)
        for place in range(3):
            for few in range(3):
                counts = [(found[:, few, place] == c).sum() for c in self.base]
                chi2 = sum((c - 300) ** 2 / 300 for c in counts)
                assert chi2 < 22.5  # 6 degrees of freedom: one in a thousand

    def test_needs_a_key(self):
        with pytest.raises(ValueError, match="'random' needs a key, got None"):
            find_neighbors(
                np.zeros((3, 2)), [0], [1, 2], num_neighbors=1, metric="random"
            )


class TestSourceClasses:
    def test_own_class_first(self):
        found = source_classes([7, 2], [[1, 0, 3], [5, 4, 1]])
        assert found.tolist() == [[7, 1, 0, 3], [2, 5, 4, 1]]
        assert found.dtype == jnp.int32


class TestMakeSources:
    def test_hand_worked(self):
        weight = np.array([[0.0, 1.0], [2.0, 3.0], [4.0, 5.0], [6.0, 7.0]])
        sources = make_sources(weight, [[1, 3, 0], [2, 3, 1], [0, 2, 3]])
        assert [weights.tolist() for weights in sources.weights] == [
            [[0, 1], [2, 3], [4, 5]],
            [[4, 5], [6, 7]],  # class 3 once, though two few classes have it here
            [[0, 1], [2, 3], [6, 7]],
        ]
        assert sources.rows.tolist() == [[1, 1, 0], [2, 1, 1], [0, 0, 2]]
        assert sources.rows.dtype == jnp.int32
        assert {weights.dtype for weights in sources.weights} == {jnp.dtype("float32")}

    @pytest.mark.parametrize("seed", range(3))
    def test_every_place_of_every_class(self, seed):
        # Neighbors among the same four classes: nearly all are shared.
        rng = np.random.default_rng(seed)
        weight = rng.normal(size=(30, 3)).astype(np.float32)
        nearest = [rng.permutation(4)[:3] for _ in range(20)]
        classes = np.asarray(source_classes(np.arange(10, 30), nearest))
        sources = jax.device_get(make_sources(weight, classes))
        distinct = [len(set(place)) for place in classes.T.tolist()]
        assert [len(weights) for weights in sources.weights] == distinct
        assert max(distinct[1:]) == 4
        for f, j in np.ndindex(classes.shape):
            np.testing.assert_array_equal(
                sources.weights[j][sources.rows[f, j]], weight[classes[f, j]]
            )

    @pytest.mark.parametrize(
        ("shape", "classes", "message"),
        [
            ((4, 2), [1, 2], r"\(F, k \+ 1\), got \(4, 2\) and \(2,\)"),
            ((4, 2), [[[1, 2]]], r"got \(4, 2\) and \(1, 1, 2\)"),
            ((4,), [[1, 2]], r"weight must be \(C, d\) .* got \(4,\) and \(1, 2\)"),
        ],
    )
    def test_what_does_not_fit(self, shape, classes, message):
        with pytest.raises(ValueError, match=message):
            make_sources(np.ones(shape), classes)


class TestMeansOfAnySize:
    MEANS = np.random.default_rng(3).normal(size=(30, 8))
    ORDINARY = nn_search.find_neighbors_on_host(
        MEANS, np.arange(5), np.arange(5, 30), num_neighbors=4
    )

    @pytest.mark.parametrize("size", [1.0, 1e5, 1e-5])
    @pytest.mark.parametrize("metric", ["euclidean", "cosine"])
    def test_ordinary_ones_are_taken_as_they_are(self, metric, size):
        options = {"num_neighbors": 4, "metric": metric}
        means = (size * self.MEANS).astype(np.float32)
        wanted = nn_search.find_neighbors(
            means, np.arange(5), np.arange(5, 30), **options
        )
        found = nn_search.find_neighbors_on_host(
            size * self.MEANS, np.arange(5), np.arange(5, 30), **options
        )
        np.testing.assert_array_equal(found.classes, wanted.classes)
        np.testing.assert_array_equal(found.distances, wanted.distances)

    @pytest.mark.parametrize(
        ("factor", "offset"),
        [(1e-22, 0.0), (1e20, 0.0), (1.0, 1e6), (1e-8, 1.0), (1e-30, 1e-24)],
    )
    def test_others_have_the_same_neighbors(self, factor, offset):
        found = nn_search.find_neighbors_on_host(
            self.MEANS * factor + offset,
            np.arange(5),
            np.arange(5, 30),
            num_neighbors=4,
        )
        np.testing.assert_array_equal(found.classes, self.ORDINARY.classes)
        np.testing.assert_allclose(
            found.distances, factor * self.ORDINARY.distances, rtol=1e-5
        )

    @pytest.mark.parametrize("factor", [1e-22, 1e20, 1e-300, 1e300])
    def test_cosine(self, factor):
        wanted, found = (
            nn_search.find_neighbors_on_host(
                means,
                np.arange(5),
                np.arange(5, 30),
                num_neighbors=4,
                metric="cosine",
            )
            for means in (self.MEANS, self.MEANS * factor)
        )
        np.testing.assert_array_equal(found.classes, wanted.classes)
        np.testing.assert_allclose(found.distances, wanted.distances, rtol=1e-5)

    def test_cosine_of_directions_that_are_nearly_one(self):
        means = self.MEANS + 1e6
        unit = means / np.linalg.norm(means, axis=1, keepdims=True)
        squared = ((unit[:5, None] - unit[None, 5:]) ** 2).sum(axis=2)
        found = nn_search.find_neighbors_on_host(
            means, np.arange(5), np.arange(5, 30), num_neighbors=4, metric="cosine"
        )
        order = np.argsort(squared, axis=1)[:, :4]
        np.testing.assert_array_equal(found.classes, 5 + order)
        np.testing.assert_allclose(
            found.distances, 0.5 * np.take_along_axis(squared, order, 1), rtol=1e-4
        )

    def test_one_distance_that_does_not_fit(self):
        means = np.array([[-3e38], [-3e38 + 1e37], [3e38], [2.9e38]])
        with pytest.raises(ValueError, match=r"must fit float32, got 5\.9e\+38"):
            nn_search.find_neighbors_on_host(means, [0], [1, 2, 3], num_neighbors=2)

    def test_directions_of_the_largest_means(self):
        """Whose powers of two have no inverse that is an ordinary number."""
        means = self.MEANS / np.abs(self.MEANS).max(axis=1, keepdims=True)
        arguments = np.arange(5), np.arange(5, 30)
        wanted = find(means, *arguments, num_neighbors=4, metric="cosine")
        large = find(3e38 * means, *arguments, num_neighbors=4, metric="cosine")
        np.testing.assert_array_equal(large.classes, wanted.classes)
        np.testing.assert_allclose(large.distances, wanted.distances, rtol=1e-5)

    def test_distances_that_do_not_fit(self):
        with pytest.raises(ValueError, match="must fit float32, got 4"):
            nn_search.find_neighbors_on_host(
                np.array([[0.0], [4e38], [-4e38], [5e38]]),
                [0],
                [3, 2, 1],
                num_neighbors=2,
            )
