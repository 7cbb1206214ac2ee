import threading

import jax.numpy as jnp
import numpy as np
import oracle
import pytest

from alphanet_jax import nn_search, streaming
from alphanet_jax.streaming import class_means

ROWS = 8  # of a chunk


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch):
    monkeypatch.setattr(streaming, "_MIN_ROWS", 1)
    monkeypatch.setattr(streaming, "_MAX_ROWS", ROWS)


def test_is_also_where_neighbors_are_searched():
    assert nn_search.class_means is class_means


class TestClassMeans:
    def test_hand_worked(self):
        features = np.array([[0.0, 2.0], [2.0, 0.0], [5.0, 5.0]])
        means = class_means(features, np.array([2, 2, 0]), num_classes=4)
        np.testing.assert_array_equal(means, [[5, 5], [0, 0], [1, 1], [0, 0]])

    def test_against_oracle(self, problem):
        means = class_means(
            problem.features, problem.labels, num_classes=problem.num_classes
        )
        expected, _, _ = oracle.class_means(
            problem.features, problem.labels, problem.num_classes
        )
        np.testing.assert_allclose(means, expected, rtol=1e-6, atol=1e-6)

    def test_labels_of_no_class_are_left_out(self):
        features = 2.0 ** np.arange(6)[:, None]
        labels = np.array([-1, 1, 2, -2, -9, 7])
        np.testing.assert_array_equal(
            class_means(features, labels, num_classes=2), [[0], [2]]
        )

    @pytest.mark.parametrize(
        "rows", [1, ROWS - 1, ROWS, ROWS + 1, 2 * ROWS, 3 * ROWS + 2]
    )
    @pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, ">f4"])
    def test_equals_float64(self, rows, dtype, tmp_path, rng):
        np.save(tmp_path / "features.npy", rng.integers(-8, 9, (rows, 5)).astype(dtype))
        features = np.load(tmp_path / "features.npy", mmap_mode="r")
        labels = rng.integers(0, 6, rows)
        found = class_means(features, labels, num_classes=6)
        assert (found.dtype, found.shape) == (np.float32, (6, 5))
        for label in range(6):
            members = features[labels == label].astype(np.float64)
            wanted = members.mean(axis=0) if len(members) else np.zeros(5)
            np.testing.assert_array_equal(found[label], wanted.astype(np.float32))

    @pytest.mark.parametrize("dtype", [np.float16, jnp.bfloat16, np.int8])
    def test_small_types_do_not_overflow(self, dtype):
        # Adding ones, float16 stops at 2,048, bfloat16 at 256 and int8 at 127.
        features = np.ones((3000, 1), dtype)
        features[0] = 4
        means = class_means(features, np.zeros(3000, int), num_classes=1)
        assert means.tolist() == [[np.float32(3003 / 3000)]]

    def test_rows_may_be_prepared(self, rng):
        features, labels = rng.normal(size=(2 * ROWS + 3, 4)), rng.integers(0, 3, 19)
        shapes = []

        def prepare(rows):
            shapes.append(rows.shape)
            return 2 * rows**2

        found = class_means(features, labels, num_classes=3, prepare=prepare)
        wanted = class_means(2 * features**2, labels, num_classes=3)
        np.testing.assert_array_equal(found, wanted)
        assert shapes == [(ROWS, 4), (ROWS, 4), (3, 4)]

    def test_takes_arrays_of_jax(self):
        means = class_means(jnp.ones((3, 2)), jnp.zeros(3, int), num_classes=1)
        assert means.tolist() == [[1.0, 1.0]]

    def test_many_samples_of_a_class_lose_no_digits(self):
        """In float32 the sum would stop growing at 2**24."""
        features = np.full((1 << 15, 2), 1.0, np.float32)
        features[0] = 2.0**24
        found = class_means(features, np.zeros(len(features), np.int32), num_classes=1)
        wanted = (2.0**24 + len(features) - 1) / len(features)
        np.testing.assert_array_equal(found, [[np.float32(wanted)] * 2])

    @pytest.mark.parametrize(
        ("features", "labels"),
        [((3,), (3,)), ((3, 2), (2,)), ((3, 2), (3, 1)), ((3, 2, 1), (3,))],
    )
    def test_shapes_that_do_not_fit(self, features, labels):
        with pytest.raises(ValueError, match=r"\(n, d\) and labels \(n,\), got \(3,"):
            class_means(np.ones(features), np.ones(labels, int), num_classes=2)


@pytest.fixture
def small_pieces(monkeypatch):
    """Pieces of three rows of four float32 values."""
    monkeypatch.setattr(streaming, "_CHUNK_BYTES", 3 * 4 * 4)


@pytest.mark.parametrize("rows", [0, 1, 2, 3, 4, 6, 7])
def test_row_chunks(rows, small_pieces):
    features = np.arange(rows * 4, dtype=np.float32).reshape(rows, 4)
    chunks = list(streaming.row_chunks(features))
    assert [start for start, _ in chunks] == list(range(0, rows, 3))
    assert all(np.shares_memory(chunk, features) for _, chunk in chunks)
    if chunks:
        np.testing.assert_array_equal(np.concatenate([c for _, c in chunks]), features)


def test_row_chunks_are_released(small_pieces, monkeypatch):
    released = []
    monkeypatch.setattr(
        streaming.files, "release_rows", lambda *args: released.append(args[1:])
    )
    list(streaming.row_chunks(np.zeros((7, 4), np.float32)))
    assert released == [(0, 3), (3, 6), (6, 7)]


def test_row_chunks_of_rows_larger_than_a_chunk(small_pieces):
    features = np.ones((3, 100), np.float32)
    assert [len(chunk) for _, chunk in streaming.row_chunks(features)] == [1, 1, 1]


class TestAhead:
    def test_makes_the_next_piece_meanwhile(self):
        made = [threading.Event() for _ in range(3)]

        def pieces():
            for number, event in enumerate(made):
                event.set()
                yield number

        reading = streaming.ahead(pieces())
        assert next(reading) == 0
        assert made[1].wait(10)
        assert not made[2].is_set()  # no more than one is held
        assert list(reading) == [1, 2]

    def test_raises_what_is_raised_in_its_place(self):
        def pieces():
            yield 1
            raise OSError("the disk is gone")

        reading = streaming.ahead(pieces())
        assert next(reading) == 1
        with pytest.raises(OSError, match="the disk is gone"):
            next(reading)

    def test_leaves_no_thread(self):
        before = threading.active_count()
        reading = streaming.ahead(iter(range(10**9)))
        assert [next(reading), next(reading)] == [0, 1]
        reading.close()
        assert threading.active_count() == before


class TestAllFinite:
    @pytest.mark.parametrize("dtype", [np.float16, np.float32, jnp.bfloat16])
    @pytest.mark.parametrize("place", [(0, 0), (6, 1), (11, 2)])
    @pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
    def test_finds_one_anywhere(self, dtype, place, value, monkeypatch):
        monkeypatch.setattr(streaming, "_NUMBERS_IN_CACHE", 3 * 5)  # 5 rows
        rows = np.ones((12, 3), dtype)
        assert streaming.all_finite(rows)
        rows[place] = value
        assert not streaming.all_finite(rows)

    def test_nothing_is_finite(self):
        assert streaming.all_finite(np.zeros((0, 3), np.float32))


class TestFloatChunks:
    @pytest.mark.parametrize("dtype", [np.float16, np.float64, jnp.bfloat16])
    def test_all_rows_in_order(self, dtype, rng, tmp_path):
        features = rng.integers(-9, 10, (2 * ROWS + 3, 4)).astype(dtype)
        found = list(streaming.float_chunks(features))
        assert [chunk.shape for chunk in found] == [(ROWS, 4), (ROWS, 4), (3, 4)]
        assert {chunk.dtype for chunk in found} == {np.dtype(np.float32)}
        np.testing.assert_array_equal(np.concatenate(found), np.float32(features))

    def test_fewer_rows_where_they_become_wider(self, monkeypatch):
        monkeypatch.setattr(streaming, "_CHUNK_BYTES", 4 * 60)
        features = np.zeros((ROWS, 10), np.float32)
        for width, wanted in ((1, 6), (10, 6), (20, 3), (1000, 1)):
            first = next(streaming.float_chunks(features, width=width))
            assert len(first) == wanted

    def test_mapped_rows_are_released(self, tmp_path, monkeypatch):
        released = []
        monkeypatch.setattr(
            streaming.files, "release_rows", lambda *args: released.append(args[1:])
        )
        np.save(tmp_path / "x.npy", np.zeros((ROWS + 1, 2)))
        mapped = np.load(tmp_path / "x.npy", mmap_mode="r")
        for _ in streaming.float_chunks(mapped):
            pass
        assert released == [(0, ROWS), (ROWS, ROWS + 1)]


class TestEachBlock:
    @pytest.mark.parametrize("cores", [1, 3])
    @pytest.mark.parametrize("rows", [0, 1, 7, 100])
    def test_every_row_once(self, monkeypatch, cores, rows):
        monkeypatch.setattr(streaming.os, "cpu_count", lambda: cores)
        monkeypatch.setattr(streaming, "_NUMBERS_FOR_THREADS", 14)
        monkeypatch.setattr(streaming, "_NUMBERS_IN_CACHE", 6)
        seen, sizes, threads = np.zeros(rows, int), [], set()

        def look(place):
            seen[place] += 1
            sizes.append(place.stop - place.start)
            threads.add(threading.get_ident())

        streaming.each_block(look, rows, width=2)
        assert (seen == 1).all()
        assert not sizes or max(sizes) <= 3
        in_threads = cores > 1 and rows >= 7
        assert (threading.get_ident() not in threads) == (in_threads or not rows)

    def test_errors_are_raised(self, monkeypatch):
        monkeypatch.setattr(streaming, "_NUMBERS_FOR_THREADS", 1)

        def fail(place):
            raise ArithmeticError("no")

        with pytest.raises(ArithmeticError, match="no"):
            streaming.each_block(fail, 9, width=1)
