import jax
import numpy as np
import oracle
import pytest

from alphanet_jax import feature_pass, nn_search, scores
from alphanet_jax.dataset import Group

ROWS = 8  # of a chunk


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch):
    monkeypatch.setattr(feature_pass, "_MIN_ROWS", 1)
    monkeypatch.setattr(feature_pass, "_MAX_ROWS", ROWS)


@pytest.fixture(scope="module")
def data():
    """Small whole numbers, so that no order of additions changes a sum."""
    rng = np.random.default_rng(0)
    features = rng.integers(-8, 9, (40, 5)).astype(np.float32)
    return features, rng.integers(0, 6, 40).astype(np.int32)


@pytest.fixture(scope="module")
def arguments():
    rng = np.random.default_rng(1)
    return {
        "weight": rng.integers(-4, 5, (6, 5)).astype(np.float32),
        "bias": rng.integers(-4, 5, 6).astype(np.float32),
        "few_classes": np.array([1, 4]),
        "base_classes": np.array([0, 2, 3, 5]),
        "source_classes": np.array([0, 1, 3, 4]),
        "pred_scale": 0.5,
    }


@pytest.fixture(scope="module")
def whole(data, arguments):
    """The scores of all samples, in one computation."""
    table = jax.jit(scores.score_table)(*data, **arguments)
    return jax.tree.map(np.asarray, table)


@pytest.fixture
def make_group(data, tmp_path):
    """Makes a group of the first rows, mapped from a file."""

    def make(rows, dtype=np.float32):
        features, labels = data
        np.save(tmp_path / "features.npy", features[:rows].astype(dtype))
        mapped = np.load(tmp_path / "features.npy", mmap_mode="r")
        return Group(mapped, labels[:rows])

    return make


def check_rows(found, whole, rows):
    for name, a, b in zip(scores.ScoreTable._fields, found, whole, strict=True):
        assert isinstance(a, jax.Array)
        assert a.dtype == b.dtype
        if name == "base_logsumexp":
            np.testing.assert_allclose(a, b[rows], rtol=1e-6, err_msg=name)
        else:
            np.testing.assert_array_equal(a, b[rows], err_msg=name)


SIZES = [1, ROWS - 1, ROWS, ROWS + 1, 2 * ROWS, 3 * ROWS + 2]


class TestScoreTable:
    @pytest.mark.parametrize("rows", SIZES)
    def test_equals_whole_computation(self, rows, make_group, arguments, whole):
        found = feature_pass.score_table(make_group(rows), **arguments)
        check_rows(found, whole, np.arange(rows))

    @pytest.mark.parametrize("dtype", [np.float16, np.float64, ">f4"])
    def test_dtypes(self, dtype, make_group, arguments, whole):
        found = feature_pass.score_table(make_group(19, dtype), **arguments)
        check_rows(found, whole, np.arange(19))

    @pytest.mark.parametrize("count", [1, ROWS, ROWS + 1, 40])
    @pytest.mark.parametrize("order", ["ascending", "any", "repeated"])
    def test_some_rows(self, count, order, rng, make_group, arguments, whole):
        rows = rng.permutation(40)[:count]
        if order == "ascending":
            rows = np.sort(rows)
        elif order == "repeated":
            rows = rng.choice(rows, count)
        found = feature_pass.score_table(make_group(40), rows, **arguments)
        check_rows(found, whole, rows)

    def test_no_rows(self, make_group, arguments, whole):
        none = np.zeros(0, np.int64)
        found = feature_pass.score_table(make_group(9), none, **arguments)
        check_rows(found, whole, none)

    def test_compiles_once(self, make_group, arguments):
        group = make_group(3 * ROWS + 1)
        feature_pass.score_table(group, **arguments)
        compiled = feature_pass._score_table._cache_size()
        feature_pass.score_table(group, **arguments)
        feature_pass.score_table(group, np.arange(5), **arguments)
        assert feature_pass._score_table._cache_size() == compiled

    def test_features_are_mapped_to_the_end(self, make_group, arguments, monkeypatch):
        group = make_group(40)
        seen = []
        real = feature_pass._score_table
        monkeypatch.setattr(
            feature_pass,
            "_score_table",
            lambda features, *a, **k: seen.append(features) or real(features, *a, **k),
        )
        feature_pass.score_table(group, **arguments)
        assert {features.shape for features in seen} == {(ROWS, 5)}
        # Not copied either, until they are padded.
        assert [np.shares_memory(x, group.features) for x in seen] == [True] * 5


@pytest.mark.parametrize(
    ("num_features", "rows"), [(1, 4096), (2048, 4096), (8192, 1024), (10**5, 256)]
)
def test_size_of_chunks(num_features, rows, monkeypatch):
    monkeypatch.undo()
    group = Group(np.zeros((1, num_features), np.float16), np.zeros(1, np.int32))
    ((count, features, labels),) = feature_pass._chunks(group, None)
    assert (count, features.shape) == (1, (rows, num_features))
    np.testing.assert_array_equal(labels, [0] + [-1] * (rows - 1))


class TestClassMeans:
    @pytest.mark.parametrize("rows", SIZES)
    @pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, ">f4"])
    def test_equals_float64(self, rows, dtype, make_group):
        group = make_group(rows, dtype)
        found = feature_pass.class_means(group, num_classes=6)
        assert (found.dtype, found.shape) == (np.float32, (6, 5))
        for label in range(6):
            members = group.features[group.labels == label].astype(np.float64)
            wanted = members.mean(axis=0) if len(members) else np.zeros(5)
            np.testing.assert_array_equal(found[label], wanted.astype(np.float32))

    def test_equals_pure_function(self, problem):
        group = Group(np.asarray(problem.features, np.float32), problem.labels)
        found = feature_pass.class_means(group, num_classes=problem.num_classes)
        means, _, _ = oracle.class_means(
            problem.features, problem.labels, problem.num_classes
        )
        np.testing.assert_allclose(found, means, rtol=1e-6, atol=1e-6)
        pure = nn_search.class_means(
            group.features, group.labels, num_classes=problem.num_classes
        )
        np.testing.assert_allclose(found, pure, rtol=1e-5, atol=1e-5)

    def test_many_samples_of_a_class_lose_no_digits(self):
        """In float32 the sum would stop growing at 2**24."""
        features = np.full((1 << 15, 2), 1.0, np.float32)
        features[0] = 2.0**24
        group = Group(features, np.zeros(len(features), np.int32))
        found = feature_pass.class_means(group, num_classes=1)
        wanted = (2.0**24 + len(features) - 1) / len(features)
        np.testing.assert_array_equal(found, [[np.float32(wanted)] * 2])
