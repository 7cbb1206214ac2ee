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

# Another, larger set for all samplers: few classes have 2, 3 and 5 rows.
COUNTS = {1: 3, 6: 2, 7: 5, 0: 6, 4: 7, 8: 9, 10: 4, 2: 12, 3: 30, 5: 11, 9: 15}
CLASSES = {
    "few": [1, 6, 7],
    "medium": [0, 4, 8, 10],
    "many": [2, 3, 5, 9],
    "base": [0, 2, 3, 4, 5, 8, 9, 10],
}
LARGER = np.random.default_rng(3).permutation(np.repeat([*COUNTS], [*COUNTS.values()]))
SPLIT_COUNTS = {
    split: [COUNTS[c] for c in classes] for split, classes in CLASSES.items()
}
BASE_SPLITS = ("many", "medium", "base")
ONE_OF_EACH = [
    "AllManySampler",
    "UniformBaseClassSampler",
    "UniformMediumImageSampler",
    "ClassBalancedManySampler",
]


@pytest.fixture(scope="module")
def pools():
    return {"few": make_pool(LABELS, [1, 4]), "base": make_pool(LABELS, [0, 2, 3])}


@pytest.fixture(scope="module")
def larger():
    return {split: make_pool(LARGER, classes) for split, classes in CLASSES.items()}


def samplers(num_base_rows, capacity=None):
    base = Sampler(DEFAULT[1], num_base_rows, capacity or num_base_rows)
    return (Sampler(DEFAULT[0], 5, 5), base)


def make(*names, r=1.0):
    return make_samplers(names, [{}], SPLIT_COUNTS, default_r=r)


# Module-level, so that the tests share what is compiled.
_traces = []
_jitted_rows = jax.jit(draw_rows, static_argnames="samplers")


@functools.partial(jax.jit, static_argnums=2)
def _many_rows(keys, pools, samplers, amounts):
    return jax.vmap(lambda key: draw_rows(key, pools, samplers, amounts=amounts))(keys)


def take(parts):
    """The rows that count, of each sampler."""
    return [np.asarray(rows)[np.asarray(valid)] for rows, valid in parts]


def _draw_rows(*args, **kwargs):
    """The rows of all samplers that count, one after the other."""
    return np.concatenate(take(jax.device_get(_jitted_rows(*args, **kwargs))))


def draw_many(pools, sampler, num=1500):
    """What a sampler draws with many keys: rows, and which of them count."""
    keys = jax.vmap(jax.random.key)(np.arange(num))
    same = Sampler(sampler.name, -1, sampler.capacity)  # compiled once for all amounts
    (drawn,) = jax.device_get(_many_rows(keys, pools, (same,), [sampler.amount]))
    return drawn.rows, drawn.valid


def chi_square(counts, expected):
    return ((counts - expected) ** 2 / expected).sum()


@functools.partial(jax.jit, static_argnames=("samplers", "batch_size"))
def _draw(*args, **kwargs):
    _traces.append(1)
    return draw_batches(*args, **kwargs)


def draw(seed, pools, num_base_rows=4, batch_size=4, capacity=None):
    # As NumPy arrays, whose indexing compiles nothing.
    return jax.device_get(
        _draw(
            jax.random.key(seed),
            pools,
            samplers=samplers(num_base_rows, capacity),
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
    def make(self, names, args, few=(4, 5), base=(50, 30, 20), **how):
        counts = {"few": few, "base": base, "many": [50], "medium": [30, 20]}
        return make_samplers(names, args, counts, **how)

    def test_one_entry_for_each(self):
        few, base = self.make(DEFAULT, [{}, {"r": 0.5}])
        assert few == Sampler("AllFewSampler", 9, 9)
        assert base == Sampler("ClassBalancedBaseSampler", 4, 4)
        assert (few.split, base.split) == ("few", "base")

    def test_one_entry_for_all(self):
        assert [s.amount for s in self.make(DEFAULT, [{"r": 2}])] == [9, 18]

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
        for name in ("ClassBalancedBaseSampler", "UniformManyImageSampler"):
            made = self.make([name], [{"r": r}], few=(1, few - 1))
            assert made == (Sampler(name, expected, expected),)

    @pytest.mark.parametrize(
        ("num_few", "r", "expected"),
        [(10, 0.1, 1), (10, 0.19, 1), (9, 0.1, 0), (100, 0.29, 28), (7, 3, 21)],
    )
    def test_number_of_classes_is_cut_off_not_rounded(self, num_few, r, expected):
        # Room for as many rows of every class as the largest few class has.
        made = self.make(
            ["UniformBaseClassSampler"],
            [{"r": r}],
            few=[2, 6, 4] + [1] * (num_few - 3),
            base=[9] * 40,
        )
        assert made == (Sampler("UniformBaseClassSampler", expected, 40 * 6),)

    def test_room_for_no_more_rows_than_a_class_has(self):
        (made,) = self.make(["UniformBaseClassSampler"], [{}], few=[7], base=[5, 3])
        assert made == Sampler("UniformBaseClassSampler", 1, 2 * 5)

    @pytest.mark.parametrize(
        ("name", "split", "amount", "capacity"),
        [
            ("AllManySampler", "many", 68, 68),
            ("AllMediumSampler", "medium", 26, 26),
            ("AllFewSampler", "few", 10, 10),
            ("AllBaseSampler", "base", 94, 94),
            ("UniformManyClassSampler", "many", 2, 4 * 5),
            ("UniformMediumClassSampler", "medium", 2, 4 * 5),
            ("UniformBaseClassSampler", "base", 2, 8 * 5),
            ("UniformManyImageSampler", "many", 7, 7),
            ("UniformMediumImageSampler", "medium", 7, 7),
            ("UniformBaseImageSampler", "base", 7, 7),
            ("ClassBalancedManySampler", "many", 7, 7),
            ("ClassBalancedMediumSampler", "medium", 7, 7),
            ("ClassBalancedBaseSampler", "base", 7, 7),
        ],
    )
    def test_every_name(self, name, split, amount, capacity):
        # 10 rows of 3 few classes.
        (sampler,) = make(name, r=0.7)
        assert sampler == Sampler(name, amount, capacity)
        assert sampler.split == split

    def test_default_r(self):
        assert self.make(DEFAULT, [{}])[1].amount == 9
        assert self.make(DEFAULT, [{}], default_r=0.5)[1].amount == 4
        assert self.make(DEFAULT, [{}, {"r": 2}], default_r=0.5)[1].amount == 18

    @pytest.mark.parametrize("split", BASE_SPLITS)
    def test_r_above_one(self, split):
        kind = split.capitalize()
        for name in (f"Uniform{kind}ImageSampler", f"ClassBalanced{kind}Sampler"):
            assert make(name, r=25.5) == (Sampler(name, 255, 255),)
        name = f"Uniform{kind}ClassSampler"
        most = len(CLASSES[split])
        assert make(name, r=most / 3 + 0.1)[0].amount == most
        with pytest.raises(
            ValueError,
            match=rf"{name}: r=\S+ asks for {most + 1} classes of '{split}', "
            rf"which has {most}\.$",
        ):
            make(name, r=most / 3 + 0.4)

    @pytest.mark.parametrize(
        ("names", "args", "message"),
        [
            (["AllFew"], [{}], r"unknown sampler 'AllFew'; .* 'AllFewSampler'\?"),
            (["Xyz"], [{}], r"'Xyz'; known are 'AllManySampler', .*BaseSampler'\.$"),
            (
                ["UniformFewImageSampler"],
                [{}],
                "unknown sampler 'UniformFewImageSampler'; did you mean",
            ),
            (["AllManySampler"], [{"r": 1.0}], "AllManySampler takes no argument r"),
            (
                ["UniformManyImageSampler"],
                [{"q": 1, "p": 2}],
                r"UniformManyImageSampler takes no argument \['p', 'q'\]",
            ),
            (
                ["UniformManyClassSampler"],
                [{"r": True}],
                "UniformManyClassSampler: r must be a number from 0 on, got True",
            ),
            (DEFAULT, [{}, {"r": float("inf")}], "from 0 on, got inf"),
            (DEFAULT, [{}, {"r": float("nan")}], "from 0 on, got nan"),
            (DEFAULT, [{}, {"r": None}], "from 0 on, got None"),
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

    def test_names_of_the_original_are_all_here(self):
        originals = {
            *(f"All{split}Sampler" for split in ("Many", "Medium", "Few", "Base")),
            *(
                name
                for split in ("Many", "Medium", "Base")
                for name in (
                    f"Uniform{split}ClassSampler",
                    f"Uniform{split}ImageSampler",
                    f"ClassBalanced{split}Sampler",
                )
            ),
        }
        assert len(originals) == 13
        assert originals <= set(SAMPLERS)


class TestDrawRows:
    @pytest.mark.slow
    def test_one_sampler_after_the_other(self, pools):
        rows = _draw_rows(jax.random.key(0), pools, samplers=samplers(45))
        assert rows[:5].tolist() == FEW_ROWS
        assert set(LABELS[rows[5:]]) == {0, 2, 3}
        assert rows.dtype == jnp.int32

    @pytest.mark.slow
    def test_uniform_over_classes_then_over_their_rows(self, pools):
        # 9 of 14 base rows are of class 0, which gets a third of the draws.
        size = 60_000
        drawn = _draw_rows(
            jax.random.key(0), pools, samplers=(Sampler(DEFAULT[1], size, size),)
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

    @pytest.mark.slow
    def test_class_and_row_are_drawn_apart(self):
        # With equal counts, which row comes must not follow from which class.
        pool = make_pool(np.repeat(np.arange(4), 4), range(4))
        rows = _draw_rows(
            jax.random.key(0),
            {"base": pool, "few": pool},
            samplers=(Sampler(DEFAULT[1], 4000, 4000),),
        )
        counts = np.bincount(np.asarray(rows), minlength=16)
        assert ((counts - 250) ** 2 / 250).sum() < 37.7  # 15 degrees of freedom

    @pytest.mark.slow
    def test_two_samplers_of_a_kind_draw_differently(self, pools):
        twice = (Sampler(DEFAULT[1], 50, 50),) * 2
        rows = _draw_rows(jax.random.key(0), pools, samplers=twice)
        assert (rows[:50] != rows[50:]).any()

    @pytest.mark.slow
    def test_rows_may_come_twice(self, pools):
        rows = _draw_rows(jax.random.key(0), pools, samplers=samplers(45))
        # Class 2 has one row, and about 15 of the 45 draws.
        assert 5 <= (np.asarray(rows) == 11).sum() <= 25


def rows_by_class(rows):
    """Lists the rows of each class."""
    return {c: rows[LARGER[rows] == c].tolist() for c in np.unique(LARGER[rows])}


class TestEverySampler:
    """What each of them draws, and how often."""

    @pytest.mark.parametrize("split", ["few", *BASE_SPLITS])
    def test_all_takes_every_row_once(self, larger, split):
        name = f"All{split.capitalize()}Sampler"
        for seed in range(2):
            rows = _draw_rows(jax.random.key(seed), larger, samplers=make(name))
            expected = np.flatnonzero(np.isin(LARGER, CLASSES[split]))
            np.testing.assert_array_equal(np.sort(rows), expected)

    @pytest.mark.slow
    @pytest.mark.parametrize("split", BASE_SPLITS)
    def test_uniform_over_images(self, larger, split):
        # 10 few rows, so 14 rows a time, of up to 94.
        (sampler,) = make(f"Uniform{split.capitalize()}ImageSampler", r=1.4)
        rows, valid = draw_many(larger, sampler)
        assert valid.all()
        assert rows.shape == (1500, 14)
        members = np.flatnonzero(np.isin(LARGER, CLASSES[split]))
        counts = np.bincount(rows.reshape(-1), minlength=len(LARGER))
        assert counts[members].sum() == rows.size
        freedom = len(members) - 1
        bound = freedom + 3.3 * np.sqrt(2 * freedom) + 5  # one in a thousand or less
        assert chi_square(counts[members], rows.size / len(members)) < bound
        # With replacement: as many pairs of equals in a draw as chance has.
        pairs = 14 * 13 / 2 / len(members)
        equal = [((row[:, None] == row).sum() - 14) / 2 for row in rows]
        assert abs(np.mean(equal) - pairs) < 5 * np.sqrt(pairs / 1500)

    @pytest.mark.slow
    @pytest.mark.parametrize("split", BASE_SPLITS)
    def test_class_balanced(self, larger, split):
        (sampler,) = make(f"ClassBalanced{split.capitalize()}Sampler", r=1.4)
        rows, valid = draw_many(larger, sampler)
        assert valid.all()
        assert rows.shape == (1500, 14)
        classes = CLASSES[split]
        counts = np.bincount(LARGER[rows].reshape(-1), minlength=11)
        assert counts[classes].sum() == rows.size
        freedom = len(classes) - 1
        bound = freedom + 3.3 * np.sqrt(2 * freedom) + 5
        assert chi_square(counts[classes], rows.size / len(classes)) < bound
        for c in classes:  # and its rows alike
            of_class = np.bincount(rows[LARGER[rows] == c], minlength=len(LARGER))
            of_class = of_class[c == LARGER]
            freedom = COUNTS[c] - 1
            bound = freedom + 3.3 * np.sqrt(2 * freedom) + 5
            assert chi_square(of_class, of_class.sum() / COUNTS[c]) < bound

    @pytest.mark.slow
    @pytest.mark.parametrize("r", [0.4, 1.0, 1.34])
    @pytest.mark.parametrize("split", BASE_SPLITS)
    def test_uniform_over_classes(self, larger, split, r):
        (sampler,) = make(f"Uniform{split.capitalize()}ClassSampler", r=r)
        num_drawn, classes = int(3 * r), CLASSES[split]
        assert sampler.amount == num_drawn
        rows, valid = draw_many(larger, sampler)
        of_class, of_row, sizes = np.zeros(11), np.zeros(len(LARGER)), []
        for row in take(zip(rows, valid, strict=True)):
            found = rows_by_class(row)
            assert len(found) == num_drawn  # distinct classes
            assert set(found) <= set(classes)
            for c, members in found.items():
                assert len(set(members)) == len(members)  # distinct rows
                # As many as a few class has; class 10 has but four.
                allowed = {min(n, COUNTS[c]) for n in SPLIT_COUNTS["few"]}
                assert len(members) in allowed
                of_class[c] += 1
                of_row[members] += 1
                if c != 10:
                    sizes.append(len(members))
        # Classes alike, rows of a class alike, sizes as few classes have them alike;
        # without replacement, counts spread less than these bounds allow.
        freedom = len(classes) - 1
        bound = freedom + 3.3 * np.sqrt(2 * freedom) + 5
        assert chi_square(of_class[classes], of_class.sum() / len(classes)) < bound
        for c in classes:
            part = of_row[c == LARGER]
            bound = len(part) + 3.3 * np.sqrt(2 * len(part)) + 5
            assert chi_square(part, part.sum() / len(part)) < bound
        counts = np.bincount(sizes)[[2, 3, 5]]
        assert chi_square(counts, len(sizes) / 3) < 13.9  # 2 degrees of freedom

    @pytest.mark.slow
    def test_sizes_vary_between_epochs_and_between_classes(self, larger):
        # Each class has a few class drawn anew: sizes of two are independent.
        (sampler,) = make("UniformManyClassSampler", r=0.7)
        rows, valid = draw_many(larger, sampler)
        pairs = collections.Counter()
        for row in take(zip(rows, valid, strict=True)):
            pairs[tuple(map(len, rows_by_class(row).values()))] += 1
        assert len(pairs) == 9
        counts = np.array([*pairs.values()])
        assert chi_square(counts, counts.sum() / 9) < 26.2  # 8 degrees of freedom
        assert len({row.sum() for row in valid}) == 6  # 4, 5, 6, 7, 8, 10 rows

    @pytest.mark.slow
    def test_a_class_with_fewer_rows_gives_all(self):
        labels = np.repeat([0, 1, 2, 3], [6, 2, 9, 1])
        classes = {"few": [0], "base": [1, 2, 3]}
        pools = {split: make_pool(labels, c) for split, c in classes.items()}
        counts = {"few": [6], "base": [2, 9, 1]}
        made = make_samplers(["UniformBaseClassSampler"], [{"r": 3}], counts)
        rows = _draw_rows(jax.random.key(0), pools, samplers=made)
        assert sorted(rows[labels[rows] != 2].tolist()) == [6, 7, 17]
        assert len({*rows[labels[rows] == 2].tolist()}) == 6

    @pytest.mark.slow
    def test_three_together(self, larger):
        # Each draws as it would alone at its place; together they fill the batches.
        names = [
            "AllFewSampler",
            "ClassBalancedMediumSampler",
            "UniformManyClassSampler",
        ]
        args = [{}, {"r": 0.7}, {"r": 0.5}]
        made = make_samplers(names, args, SPLIT_COUNTS)
        for seed in range(5):
            batches = jax.device_get(
                _draw(jax.random.key(seed), larger, samplers=made, batch_size=8)
            )
            assert batches.rows.shape == (5, 8)  # of 10 + 7 + 20 rows at most
            rows = batches.rows[batches.valid]
            few, medium, many = (
                np.sort(rows[np.isin(LARGER[rows], CLASSES[split])])
                for split in ("few", "medium", "many")
            )
            assert len(rows) == len(few) + len(medium) + len(many)
            expected = np.flatnonzero(np.isin(LARGER, CLASSES["few"]))
            np.testing.assert_array_equal(few, expected)
            assert len(medium) == 7
            assert len(set(LARGER[many])) == 1
            assert len(set(many)) == len(many)
            assert len(many) in (2, 3, 5)
            assert np.all(np.diff(batches.valid.reshape(-1).astype(int)) <= 0)

    @pytest.mark.slow
    def test_jitted_equals_eager_and_vmapped(self, larger):
        every = make(*ONE_OF_EACH, r=0.7)
        amounts = np.array([sampler.amount for sampler in every])
        keys = jax.vmap(jax.random.key)(np.arange(3))
        eager = draw_rows(keys[2], larger, every)
        jitted = _jitted_rows(keys[2], larger, samplers=every, amounts=amounts)
        stacked = jax.device_get(_many_rows(keys, larger, every, amounts))
        assert len(eager) == len(jitted) == len(stacked) == 4
        for one, other, of_many in zip(eager, jitted, stacked, strict=True):
            assert other.rows.dtype == jnp.int32
            assert other.valid.dtype == jnp.bool_
            for a, b, c in zip(one, other, of_many, strict=True):
                np.testing.assert_array_equal(a, b)
                np.testing.assert_array_equal(a, c[2])

    @pytest.mark.slow
    def test_no_class_and_no_row(self, larger):
        drawn = _jitted_rows(
            jax.random.key(0),
            larger,
            samplers=make(*ONE_OF_EACH, r=0.7),
            amounts=np.zeros(4, int),
        )
        assert [len(rows) for rows in take(drawn)] == [68, 0, 0, 0]


class TestCapacity:
    """What is drawn is the same, however much room there is for it."""

    @pytest.mark.slow
    @pytest.mark.parametrize("room", [8, 33, 1024])
    def test_rows(self, larger, room):
        exact = make(*(n for n, kind in SAMPLERS.items() if kind.per == "rows"), r=0.7)
        wider = tuple(Sampler(s.name, s.amount, room) for s in exact)
        assert len(exact) == 6
        key = jax.random.key(3)
        for drawn, padded in zip(
            _jitted_rows(key, larger, samplers=exact),
            jax.device_get(_jitted_rows(key, larger, samplers=wider)),
            strict=True,
        ):
            assert drawn.rows.shape == (7,)
            assert padded.rows.shape == padded.valid.shape == (room,)
            np.testing.assert_array_equal(padded.valid, np.arange(room) < 7)
            np.testing.assert_array_equal(padded.rows[:7], drawn.rows)

    @pytest.mark.slow
    def test_rows_of_classes(self, larger):
        exact = make(*(n for n, kind in SAMPLERS.items() if kind.per == "classes"))
        wider = tuple(Sampler(s.name, s.amount, 2 * s.capacity) for s in exact)
        assert len(exact) == 3
        for seed in range(3):
            key = jax.random.key(seed)
            np.testing.assert_array_equal(
                _draw_rows(key, larger, samplers=exact),
                _draw_rows(key, larger, samplers=wider),
            )

    @pytest.mark.slow
    @pytest.mark.parametrize("room", [5, 96])
    def test_batches(self, pools, room):
        exact, padded = draw(2, pools), draw(2, pools, capacity=room)
        assert padded.rows.shape == (-(-(5 + room) // 4), 4)
        assert not padded.valid[3:].any()
        assert not padded.rows[~padded.valid].any()
        for one, other in zip(exact, padded, strict=True):
            np.testing.assert_array_equal(one, other[:3])

    @pytest.mark.slow
    def test_a_sampler_does_not_depend_on_another_ones_room(self, larger):
        names = ["ClassBalancedMediumSampler", "UniformManyImageSampler"]
        exact = make(*names, r=0.7)
        orders = []
        for samplers in (exact, (Sampler(names[0], 7, 64), exact[1])):
            batches = jax.device_get(
                _draw(jax.random.key(0), larger, samplers=samplers, batch_size=5)
            )
            orders.append(batches.rows[batches.valid].tolist())
        assert orders[0] == orders[1]
        assert len(orders[0]) == 14


class TestAmounts:
    """Numbers of rows that are arguments, not part of the program."""

    @pytest.mark.slow
    def test_as_if_they_were_the_samplers_own(self, pools):
        for amount in (0, 3):
            given = _draw(
                jax.random.key(1),
                pools,
                samplers=samplers(4, 8),
                batch_size=4,
                amounts=np.array([5, amount]),
            )
            expected = draw(1, pools, amount, capacity=8)
            for one, other in zip(jax.device_get(given), expected, strict=True):
                np.testing.assert_array_equal(one, other)
            assert given.valid.sum() == 5 + amount

    @pytest.mark.slow
    def test_of_classes(self, larger):
        (sampler,) = make("UniformBaseClassSampler")
        for amount in (0, 2, 8):
            more = Sampler(sampler.name, amount, sampler.capacity)
            rows, valid = draw_many(larger, more)
            for row in take(zip(rows[:5], valid, strict=False)):
                assert len(rows_by_class(row)) == amount

    @pytest.mark.slow
    def test_compile_nothing_and_differ_within_a_vmap(self, pools):
        one = functools.partial(_draw, samplers=samplers(4, 8), batch_size=4)
        many = jax.jit(
            jax.vmap(lambda key, pools, n: one(key, pools, amounts=n), (0, None, 0))
        )
        keys = jax.vmap(jax.random.key)(np.arange(3))

        def run(amounts):
            return jax.device_get(many(keys, pools, np.stack([[5] * 3, amounts], 1)))

        first = run([8, 0, 3])
        before = len(_traces)
        run([1, 2, 4])
        assert len(_traces) == before
        for seed, amount in enumerate([8, 0, 3]):
            alone = one(jax.random.key(seed), pools, amounts=np.array([5, amount]))
            np.testing.assert_array_equal(first.rows[seed], alone.rows)
            np.testing.assert_array_equal(first.valid[seed], alone.valid)


class TestSplitIntoBatches:
    def test_last_partial_batch_is_padded(self):
        batches = split_into_batches([7, 5, 3, 8, 6], batch_size=2)
        assert batches.rows.tolist() == [[7, 5], [3, 8], [6, 0]]
        assert batches.valid.tolist() == [[True, True], [True, True], [True, False]]
        assert batches.rows.dtype == jnp.int32
        assert batches.valid.dtype == jnp.bool_

    def test_batches_of_one(self):
        batches = split_into_batches([7, 5], batch_size=1)
        assert batches.rows.tolist() == [[7], [5]]
        assert batches.valid.all()

    def test_full_batches_and_one_batch(self):
        assert split_into_batches([1, 2, 3, 4], batch_size=2).valid.all()
        batches = split_into_batches([1, 2], batch_size=5)
        assert batches.rows.tolist() == [[1, 2, 0, 0, 0]]
        assert batches.valid.tolist() == [[True, True, False, False, False]]

    def test_rows_that_do_not_count(self):
        valid = np.array([True, True, True, False, False])
        batches = split_into_batches([7, 5, 3, 8, 6], valid, batch_size=2)
        assert batches.rows.tolist() == [[7, 5], [3, 0], [0, 0]]
        assert batches.valid.tolist() == [[True, True], [True, False], [False, False]]

    @pytest.mark.parametrize(("size", "batch_size"), [(0, 4), (3, 0), (3, -1)])
    def test_nothing_to_split(self, size, batch_size):
        with pytest.raises(
            ValueError, match=f"at least 1, got {size} and {batch_size}"
        ):
            split_into_batches(np.zeros(size, int), batch_size=batch_size)


class TestDrawBatches:
    def rows_of(self, batches):
        return np.asarray(batches.rows)[np.asarray(batches.valid)]

    @pytest.mark.slow
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

    @pytest.mark.slow
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

    @pytest.mark.slow
    def test_vmapped_equals_single_bit_for_bit(self, pools):
        keys = jnp.stack([jax.random.key(seed) for seed in range(4)])
        run = functools.partial(_draw, samplers=samplers(4), batch_size=4)
        stacked = jax.device_get(jax.vmap(run, in_axes=(0, None))(keys, pools))
        for seed in range(4):
            one = draw(seed, pools)
            np.testing.assert_array_equal(one.rows, stacked.rows[seed])
            np.testing.assert_array_equal(one.valid, stacked.valid[seed])

    @pytest.mark.slow
    def test_no_key_is_used_twice(self, pools):
        with jax.debug_key_reuse(True):
            batches = draw(2, pools)
        np.testing.assert_array_equal(batches.rows, draw(2, pools).rows)

    def test_another_key_does_not_recompile(self, pools):
        draw(0, pools)
        before = len(_traces)
        draw(1, pools)
        assert len(_traces) == before

    @pytest.mark.slow
    def test_shuffle_alone_when_nothing_is_drawn(self, pools):
        run = functools.partial(draw, pools=pools, num_base_rows=0)
        orders = [self.rows_of(run(seed)).tolist() for seed in range(4)]
        assert all(sorted(order) == sorted(FEW_ROWS) for order in orders)
        assert len(set(map(tuple, orders))) > 1
