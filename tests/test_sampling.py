import collections
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from alphanet_jax.sampling import (
    SAMPLERS,
    Sampler,
    draw_batches,
    draw_rows,
    make_pool,
    make_samplers,
    split_into_batches,
)

# Classes 1 and 4 are few; the base classes 0, 2, 3 have 9, 1 and 4 rows.
LABELS = np.array([0, 4, 0, 0, 3, 1, 0, 3, 0, 4, 0, 2, 3, 0, 4, 0, 1, 3, 0])
FEW_ROWS = [5, 16, 1, 9, 14]
DEFAULT = ("AllFewSampler", "ClassBalancedBaseSampler")


@pytest.fixture(scope="module")
def pools():
    return {"few": make_pool(LABELS, [1, 4]), "base": make_pool(LABELS, [0, 2, 3])}


def samplers(num_base_rows):
    return (Sampler(DEFAULT[0], 5), Sampler(DEFAULT[1], num_base_rows))


# Module-level, so that the tests share what is compiled.
_traces = []
_jitted_rows = jax.jit(draw_rows, static_argnames="samplers")


def _draw_rows(*args, **kwargs):
    return jax.device_get(_jitted_rows(*args, **kwargs))


@functools.partial(jax.jit, static_argnames=("samplers", "batch_size"))
def _draw(*args, **kwargs):
    _traces.append(1)
    return draw_batches(*args, **kwargs)


def draw(seed, pools, num_base_rows=4, batch_size=4):
    # As NumPy arrays, whose indexing compiles nothing.
    return jax.device_get(
        _draw(
            jax.random.key(seed),
            pools,
            samplers=samplers(num_base_rows),
            batch_size=batch_size,
        )
    )


class TestMakePool:
    def test_hand_worked(self):
        pool = make_pool([7, 2, 7, 5, 2, 2, 7], [7, 2])
        assert pool.rows.tolist() == [0, 2, 6, 1, 4, 5]
        assert pool.starts.tolist() == [0, 3]
        assert pool.counts.tolist() == [3, 3]
        assert {part.dtype for part in pool} == {jnp.dtype("int32")}

    def test_every_row_of_the_split_once(self, rng):
        labels = rng.integers(0, 9, 200)
        classes = np.array([8, 1, 5])
        pool = make_pool(labels, classes)
        for c, start, count in zip(classes, pool.starts, pool.counts, strict=True):
            rows = np.asarray(pool.rows)[start : start + count]
            np.testing.assert_array_equal(rows, np.flatnonzero(labels == c))
        assert len(pool.rows) == np.isin(labels, classes).sum()

    def test_class_without_rows(self):
        with pytest.raises(ValueError, match=r"needs a training row; \[3, 9\] have"):
            make_pool([0, 1, 1, 4], [0, 3, 4, 9])


class TestMakeSamplers:
    sizes = {"few": 9, "base": 100}  # noqa: RUF012

    def make(self, names, args, **how):
        return make_samplers(names, args, self.sizes, **how)

    def test_one_entry_for_each(self):
        few, base = self.make(DEFAULT, [{}, {"r": 0.5}])
        assert few == Sampler("AllFewSampler", 9)
        assert base == Sampler("ClassBalancedBaseSampler", 4)
        assert (few.split, base.split) == ("few", "base")

    def test_one_entry_for_all(self):
        assert [s.size for s in self.make(DEFAULT, [{"r": 2}])] == [9, 18]

    @pytest.mark.parametrize(
        ("few", "r", "expected"),
        [
            (9, 0.1, 0),
            (9, 0.99, 8),
            (10, 0.1, 1),
            (10, 0.19, 1),
            (100, 0.29, 28),  # 28.999999999999996, as in the original
            (7, 3, 21),
            (5, 0, 0),
        ],
    )
    def test_number_of_rows_is_cut_off_not_rounded(self, few, r, expected):
        made = make_samplers([DEFAULT[1]], [{"r": r}], {"few": few, "base": 99})
        assert made == (Sampler(DEFAULT[1], expected),)

    def test_default_r(self):
        assert self.make(DEFAULT, [{}])[1].size == 9
        assert self.make(DEFAULT, [{}], default_r=0.5)[1].size == 4
        assert self.make(DEFAULT, [{}, {"r": 2}], default_r=0.5)[1].size == 18

    @pytest.mark.parametrize(
        ("names", "args", "message"),
        [
            (["AllFew"], [{}], r"one of \['AllFewSampler', .* got 'AllFew'"),
            (DEFAULT, [{}, {"R": 0.5}], r"ClassBalancedBaseSampler .* \['R'\]"),
            (DEFAULT, [{"ratio": 1}], r"AllFewSampler takes no argument \['ratio'\]"),
            (
                DEFAULT,
                [{"r": 0.5}, {}],
                r"AllFewSampler takes no argument r, got r=0",
            ),
            (["AllFewSampler"], [{"r": 1.0}], r"AllFewSampler takes no argument r"),
            (DEFAULT, [{}, {"r": -0.1}], r"r must be a number from 0 on, got -0.1"),
            (DEFAULT, [{}, {}, {}], r"each of the 2 sampler classes, got 3"),
            (DEFAULT, [], r"each of the 2 sampler classes, got 0"),
            ([], [{}], r"at least one sampler class is needed"),
        ],
    )
    def test_what_cannot_be_resolved(self, names, args, message):
        with pytest.raises(ValueError, match=message):
            self.make(names, args)

    def test_names_are_those_of_the_original(self):
        assert set(SAMPLERS) == set(DEFAULT)


class TestDrawRows:
    def test_one_sampler_after_the_other(self, pools):
        rows = _draw_rows(jax.random.key(0), pools, samplers=samplers(45))
        assert rows[:5].tolist() == FEW_ROWS
        assert set(LABELS[rows[5:]]) == {0, 2, 3}
        assert rows.dtype == jnp.int32

    def test_uniform_over_classes_then_over_their_rows(self, pools):
        # 9 of 14 base rows are of class 0, which gets a third of the draws.
        size = 60_000
        drawn = _draw_rows(
            jax.random.key(0), pools, samplers=(Sampler(DEFAULT[1], size),)
        )
        counts = collections.Counter(np.asarray(drawn).tolist())
        expected = {
            row: size / 3 / (LABELS[row] == LABELS).sum()
            for row in np.flatnonzero(np.isin(LABELS, [0, 2, 3])).tolist()
        }
        assert set(counts) == set(expected)
        chi2 = sum((counts[row] - e) ** 2 / e for row, e in expected.items())
        assert chi2 < 34.5  # 13 degrees of freedom: one in a thousand
        # Successive draws are independent: classes come in all nine pairs alike.
        classes = LABELS[np.asarray(drawn)]
        pairs = collections.Counter(zip(classes[:-1:2], classes[1::2], strict=True))
        assert len(pairs) == 9
        chi2 = sum((c - size / 18) ** 2 / (size / 18) for c in pairs.values())
        assert chi2 < 26.2  # 8 degrees of freedom: one in a thousand

    def test_class_and_row_are_drawn_apart(self):
        # With equal counts, which row comes must not follow from which class.
        pool = make_pool(np.repeat(np.arange(4), 4), range(4))
        rows = _draw_rows(
            jax.random.key(0), {"base": pool}, samplers=(Sampler(DEFAULT[1], 4000),)
        )
        counts = np.bincount(np.asarray(rows), minlength=16)
        assert ((counts - 250) ** 2 / 250).sum() < 37.7  # 15 degrees of freedom

    def test_two_samplers_of_a_kind_draw_differently(self, pools):
        twice = (Sampler(DEFAULT[1], 50),) * 2
        rows = _draw_rows(jax.random.key(0), pools, samplers=twice)
        assert (rows[:50] != rows[50:]).any()

    def test_rows_may_come_twice(self, pools):
        rows = _draw_rows(jax.random.key(0), pools, samplers=samplers(45))
        # Class 2 has one row, and about 15 of the 45 draws.
        assert 5 <= (np.asarray(rows) == 11).sum() <= 25


class TestSplitIntoBatches:
    def test_last_partial_batch_is_padded(self):
        batches = split_into_batches([7, 5, 3, 8, 6], batch_size=2)
        assert batches.rows.tolist() == [[7, 5], [3, 8], [6, 0]]
        assert batches.valid.tolist() == [[True, True], [True, True], [True, False]]
        assert batches.rows.dtype == jnp.int32
        assert batches.valid.dtype == jnp.bool_

    def test_full_batches_and_one_batch(self):
        assert split_into_batches([1, 2, 3, 4], batch_size=2).valid.all()
        batches = split_into_batches([1, 2], batch_size=5)
        assert batches.rows.tolist() == [[1, 2, 0, 0, 0]]
        assert batches.valid.tolist() == [[True, True, False, False, False]]

    @pytest.mark.parametrize(("size", "batch_size"), [(0, 4), (3, 0), (3, -1)])
    def test_nothing_to_split(self, size, batch_size):
        with pytest.raises(
            ValueError, match=f"at least 1, got {size} and {batch_size}"
        ):
            split_into_batches(np.zeros(size, int), batch_size=batch_size)


class TestDrawBatches:
    def rows_of(self, batches):
        return np.asarray(batches.rows)[np.asarray(batches.valid)]

    def test_all_few_rows_exactly_once(self, pools):
        for seed in range(5):
            rows = self.rows_of(draw(seed, pools))
            assert len(rows) == 9
            few = rows[np.isin(LABELS[rows], [1, 4])]
            assert sorted(few) == sorted(FEW_ROWS)

    def test_base_rows_are_fresh_each_epoch(self, pools):
        drawn = [self.rows_of(draw(seed, pools)) for seed in range(8)]
        base = {tuple(sorted(r for r in rows if r not in FEW_ROWS)) for rows in drawn}
        assert len(base) > 4

    def test_one_shuffle_mixes_few_and_base(self, pools):
        # Over many keys, every few row is as likely at every place of the epoch.
        rows = np.array([self.rows_of(draw(seed, pools)) for seed in range(1500)])
        for row in FEW_ROWS:
            np.testing.assert_allclose((rows == row).mean(axis=0), 1 / 9, atol=0.035)

    def test_last_partial_batch_is_kept(self, pools):
        batches = draw(0, pools)
        assert batches.rows.shape == (3, 4)
        assert batches.valid.sum(axis=1).tolist() == [4, 4, 1]
        assert batches.valid[2].tolist() == [True, False, False, False]

    def test_is_reproducible(self, pools):
        first, again, other = draw(3, pools), draw(3, pools), draw(4, pools)
        np.testing.assert_array_equal(first.rows, again.rows)
        assert (first.rows != other.rows).any()

    def test_vmapped_equals_single_bit_for_bit(self, pools):
        keys = jnp.stack([jax.random.key(seed) for seed in range(4)])
        run = functools.partial(_draw, samplers=samplers(4), batch_size=4)
        stacked = jax.device_get(jax.vmap(run, in_axes=(0, None))(keys, pools))
        for seed in range(4):
            one = draw(seed, pools)
            np.testing.assert_array_equal(one.rows, stacked.rows[seed])
            np.testing.assert_array_equal(one.valid, stacked.valid[seed])

    def test_no_key_is_used_twice(self, pools):
        with jax.debug_key_reuse(True):
            batches = draw(2, pools)
        np.testing.assert_array_equal(batches.rows, draw(2, pools).rows)

    def test_another_key_does_not_recompile(self, pools):
        draw(0, pools)
        before = len(_traces)
        draw(1, pools)
        assert len(_traces) == before

    def test_shuffle_alone_when_nothing_is_drawn(self, pools):
        run = functools.partial(draw, pools=pools, num_base_rows=0)
        orders = [self.rows_of(run(seed)).tolist() for seed in range(4)]
        assert all(sorted(order) == sorted(FEW_ROWS) for order in orders)
        assert len(set(map(tuple, orders))) > 1
