import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from resident import mapped_bytes

from alphanet_jax import eval as evaluation
from alphanet_jax import scores, streaming
from alphanet_jax.data.dataset import Group
from alphanet_jax.experiment import feature_pass

ROWS = 8  # of a chunk
COLUMNS = [field.name for field in dataclasses.fields(scores.ScoreTable)]
_evaluate = jax.jit(functools.partial(evaluation.evaluate, num_classes=6))


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch):
    monkeypatch.setattr(streaming, "_MIN_ROWS", 1)
    monkeypatch.setattr(streaming, "_MAX_ROWS", ROWS)


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
    for name in COLUMNS:
        a, b = getattr(found, name), getattr(whole, name)
        assert isinstance(a, jax.Array)
        assert a.dtype == b.dtype
        if name == "base_logsumexp":
            np.testing.assert_allclose(a, b[rows], rtol=1e-6, err_msg=name)
        else:
            np.testing.assert_array_equal(a, b[rows], err_msg=name)


SIZES = [1, ROWS - 1, ROWS, ROWS + 1, 2 * ROWS, 3 * ROWS + 2]


class TestScoreTable:
    @pytest.mark.slow
    @pytest.mark.parametrize("rows", SIZES)
    def test_equals_whole_computation(self, rows, make_group, arguments, whole):
        found = feature_pass.score_table(make_group(rows), **arguments)
        check_rows(found, whole, np.arange(rows))

    @pytest.mark.slow
    @pytest.mark.parametrize("dtype", [np.float16, np.float64, ">f4"])
    def test_dtypes(self, dtype, make_group, arguments, whole):
        found = feature_pass.score_table(make_group(19, dtype), **arguments)
        check_rows(found, whole, np.arange(19))

    @pytest.mark.slow
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

    @pytest.mark.slow
    @pytest.mark.parametrize("capacity", [None, 3, 13, 14, 40, 100])
    def test_room_for_more(self, capacity, make_group, arguments, whole):
        rows = np.arange(3, 16)
        found = feature_pass.score_table(
            make_group(40), rows, capacity=capacity, **arguments
        )
        assert {len(column) for column in jax.tree.leaves(found)} == {
            max(13, capacity or 0)
        }
        check_rows(jax.tree.map(lambda x: x[:13], found), whole, rows)

    @pytest.mark.slow
    def test_several_scales(self, make_group, arguments, whole):
        several = arguments | {"pred_scale": np.float32([2.0, 0.5])}
        found = feature_pass.score_table(make_group(19), capacity=30, **several)
        assert found.base_logsumexp.shape == (30, 2)
        second = dataclasses.replace(found, base_logsumexp=found.base_logsumexp[:, 1])
        check_rows(jax.tree.map(lambda x: x[:19], second), whole, np.arange(19))

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
    assert streaming.rows_at_a_time(num_features) == rows
    ((count, features, labels, _),) = feature_pass._chunks(group, None, rows)
    assert (count, features.shape) == (1, (rows, num_features))
    np.testing.assert_array_equal(labels, [0] + [-1] * (rows - 1))


class TestScoreChunks:
    @pytest.mark.slow
    @pytest.mark.parametrize("rows", [1, 6, 7, 8, 40])
    @pytest.mark.parametrize("dtype", [np.float16, np.float32])
    def test_equals_chunks_of_the_whole(self, rows, dtype, make_group, arguments):
        group = make_group(rows, dtype)
        found = feature_pass.score_chunks(group, chunk_size=7, **arguments)
        table = jax.jit(scores.score_table)(
            np.float32(group.features), group.labels, **arguments
        )
        expected = evaluation.chunk_table(table, chunk_size=7)
        assert jax.tree.map(jnp.shape, found) == jax.tree.map(jnp.shape, expected)
        np.testing.assert_array_equal(found.labels, expected.labels)
        np.testing.assert_array_equal(found.few_target, expected.few_target)
        real = np.asarray(expected.labels) >= 0
        assert real.sum() == rows
        for name in COLUMNS:
            one, other = (np.asarray(getattr(x, name)) for x in (found, expected))
            if name == "source_scores":
                one, other = (x.swapaxes(1, 2) for x in (one, other))
            np.testing.assert_allclose(one[real], other[real], rtol=1e-6, err_msg=name)
            assert one.dtype == other.dtype

    @pytest.mark.slow
    def test_evaluates_alike(self, make_group, arguments):
        group = make_group(23)
        frozen = scores.make_frozen(
            arguments["weight"], arguments["bias"], [1, 4], [[0, 3], [3, 0]]
        )
        alphas = np.float32([[1.0, -0.5, 0.5], [1.0, 0.25, 0.75]])
        found = feature_pass.score_chunks(group, chunk_size=7, **arguments)
        table = jax.jit(scores.score_table)(group.features, group.labels, **arguments)
        expected = evaluation.chunk_table(table, chunk_size=7)
        (counts, classes), (wanted, wanted_classes) = (
            jax.device_get(_evaluate(alphas, chunks, frozen))
            for chunks in (found, expected)
        )
        np.testing.assert_array_equal(classes[:23], wanted_classes[:23])
        jax.tree.map(np.testing.assert_array_equal, counts, wanted)
        assert counts.total.sum() == 23

    @pytest.mark.parametrize("rows", [1, 7, 23])
    def test_products_that_are_looked_at(self, rows, make_group, arguments):
        group, seen = make_group(rows), []
        table = feature_pass.score_chunks(
            group, chunk_size=7, see_products=seen.append, **arguments
        )
        # Whole numbers: exact in any order of addition; classes in their own order.
        wanted = np.asarray(group.features) @ arguments["weight"].T
        np.testing.assert_array_equal(np.concatenate(seen), wanted)
        unseen = feature_pass.score_chunks(group, chunk_size=7, **arguments)
        jax.tree.map(np.testing.assert_array_equal, table, unseen)

    @pytest.mark.slow
    def test_no_samples(self, data, arguments):
        group = Group(data[0][:0], data[1][:0])
        found = feature_pass.score_chunks(group, chunk_size=7, **arguments)
        np.testing.assert_array_equal(found.labels, [[-1] * 7])


class TestMappedPages:
    """A pass leaves nothing of a mapped file in the process, and the file as it was."""

    @pytest.fixture
    def group(self, tmp_path, monkeypatch):
        monkeypatch.undo()  # chunks of the usual size: 4096 rows, 1 MiB
        rng = np.random.default_rng(0)
        features = rng.integers(-8, 9, (5 * 4096 + 99, 64)).astype(np.float32)
        np.save(tmp_path / "features.npy", features)
        labels = rng.integers(0, 6, len(features)).astype(np.int32)
        return features, Group(
            np.load(tmp_path / "features.npy", mmap_mode="r"), labels
        )

    @pytest.mark.slow
    @pytest.mark.parametrize("run", ["means", "table", "some rows", "chunks"])
    def test_are_released(self, group, run):
        features, mapped = group
        weight = np.random.default_rng(1).normal(size=(6, 64)).astype(np.float32)
        arguments = {
            "weight": weight,
            "bias": np.zeros(6, np.float32),
            "few_classes": np.array([1, 4]),
            "base_classes": np.array([0, 2, 3, 5]),
            "source_classes": np.array([0, 1]),
        }

        def work(group):
            if run == "means":
                return streaming.class_means(
                    group.features, group.labels, num_classes=6
                )
            if run == "table":
                return feature_pass.score_table(group, **arguments)
            if run == "some rows":
                rows = np.arange(0, len(features), 3)
                return feature_pass.score_table(group, rows, **arguments)
            return feature_pass.score_chunks(group, chunk_size=4096, **arguments)

        expected = work(Group(features, mapped.labels))
        before = mapped_bytes()
        found = work(mapped)
        if before is not None:
            assert mapped_bytes() - before < features.nbytes / 4
        np.testing.assert_array_equal(mapped.features, features)
        if before is not None:  # the test can tell: that read every page
            assert mapped_bytes() - before > features.nbytes / 2
        jax.tree.map(np.testing.assert_array_equal, found, expected)
