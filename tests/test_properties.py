"""What holds for any input of the pure functions of NumPy, against slow oracles."""

import fractions
import itertools
import math

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from properties import SEEDS, examples, labelled

from alphanet_jax import measures
from alphanet_jax.comparison import Samples, choosing, folds, parse_target
from alphanet_jax.errors import UserError
from alphanet_jax.results import accuracy, significance
from alphanet_jax.splits import SPLITS, splits_from_counts

PARTS = ("few", "medium", "many", "overall")
P_VALUES = st.lists(st.floats(0, 1), min_size=1, max_size=6)
SHARES = st.fractions(0, 1, max_denominator=1000)


def slow_log_sum_exp(row):
    most = max(row)
    return most + math.log(math.fsum(math.exp(x - most) for x in row))


@st.composite
def logits_of(draw):
    """Logits of any size, with ties, and labels."""
    shape = draw(st.tuples(st.integers(1, 9), st.integers(1, 7)))
    scale = draw(st.sampled_from([0.0, 1e-30, 1.0, 30.0, 1e4, 1e30, 3e38]))
    values = draw(
        hnp.arrays(np.float32, shape, elements=st.floats(-1, 1, width=32), fill=None)
    )
    labels = draw(hnp.arrays(np.int64, shape[0], elements=st.integers(0, shape[1] - 1)))
    return values * np.float32(scale), labels


class TestMeasures:
    @examples(100)
    @given(logits_of())
    def test_log_loss(self, drawn):
        logits, labels = drawn
        rows = logits.astype(np.float64).tolist()
        wanted = math.fsum(
            slow_log_sum_exp(row) - row[label]
            for row, label in zip(rows, labels, strict=True)
        ) / len(labels)
        found = measures.log_loss(logits, labels)
        assert found >= 0
        size = max(1.0, float(np.abs(logits).max()))
        assert found == pytest.approx(wanted, rel=1e-6, abs=1e-6 * size)

    @examples(100)
    @given(logits_of(), st.integers(1, 20))
    def test_calibration_error(self, drawn, num_bins):
        logits, labels = drawn
        sums = [0.0] * num_bins
        for row, label in zip(logits.astype(np.float64).tolist(), labels, strict=True):
            confidence = math.exp(max(row) - slow_log_sum_exp(row))
            edge = confidence * num_bins
            # Which of two bins rounding puts it into is nobody's business.
            assume(edge == num_bins or abs(edge - round(edge)) > 1e-4)
            bin_ = min(num_bins - 1, max(0, math.ceil(edge) - 1))
            sums[bin_] += (row.index(max(row)) == label) - confidence
        wanted = sum(map(abs, sums)) / len(labels)
        found = measures.calibration_error(logits, labels, num_bins=num_bins)
        assert found == pytest.approx(wanted, abs=1e-5)

    @examples(100)
    @given(labelled(), SEEDS)
    def test_macro_f1(self, drawn, seed):
        labels, _, num_classes = drawn
        predictions = np.random.default_rng(seed).integers(
            num_classes, size=len(labels)
        )
        total = fractions.Fraction(0)
        for c in range(num_classes):
            hits = int(((predictions == c) & (labels == c)).sum())
            both = int((predictions == c).sum() + (labels == c).sum())
            total += fractions.Fraction(2 * hits, both) if both else 0
        found = measures.macro_f1(predictions, labels, num_classes=num_classes)
        assert found == pytest.approx(float(total / num_classes), rel=1e-12)

    @examples(100)
    @given(st.lists(st.one_of(st.none(), SHARES), min_size=1, max_size=5))
    def test_harmonic_mean(self, values):
        known = [value for value in values if value is not None]
        given_values = [np.nan if v is None else float(v) for v in values]
        found = measures.harmonic_mean(given_values)
        if not known:
            assert np.isnan(found)
        elif 0 in known:
            assert found == 0
        else:
            wanted = len(known) / sum(1 / value for value in known)
            assert found == pytest.approx(float(wanted), rel=1e-12)
            assert min(known) <= wanted <= sum(known) / len(known)

    @examples(100)
    @given(
        st.lists(st.one_of(st.none(), SHARES), min_size=1, max_size=25),
        st.integers(1, 20),
    )
    def test_worst_classes(self, values, parts):
        fraction = fractions.Fraction(parts, 20)
        known = sorted(float(value) for value in values if value is not None)
        worst = known[: math.ceil(fraction * len(known))]
        found = measures.worst_classes(
            [np.nan if v is None else float(v) for v in values],
            fraction=float(fraction),
        )
        if worst:
            assert found == pytest.approx(math.fsum(worst) / len(worst))
        else:
            assert np.isnan(found)

    @examples(100)
    @given(st.integers(1, 6), SEEDS)
    def test_tradeoff(self, num_points, seed):
        rng = np.random.default_rng(seed)
        # Of tenths: many points are equal.
        val, test = rng.integers(0, 11, (2, num_points, 4)) / 10
        total = 0.0
        for weight in measures.LAMBDAS:
            values = [(1 - weight) * row[3] + weight * row[0] for row in val]
            row = test[values.index(max(values))]
            total += (1 - weight) * row[3] + weight * row[0]
        found = measures.tradeoff(val, test)
        assert found == pytest.approx(total / len(measures.LAMBDAS), rel=1e-12)
        # A point that is worse on validation data changes nothing.
        worse = np.concatenate([val, val[:1] - 0.1]), np.concatenate([test, test[:1]])
        assert measures.tradeoff(*worse) == found
        # Nobody does better than with the best of each weight on test data.
        assert found <= measures.tradeoff(test, test) + 1e-12


class TestAccuracy:
    @examples(100)
    @given(labelled(), SEEDS)
    def test_splits_and_classes(self, drawn, seed):
        labels, splits, num_classes = drawn
        right = np.random.default_rng(seed).random((2, len(labels))) < 0.5
        found = accuracy.per_split(right, labels, splits)
        of_classes = accuracy.per_class(right, labels, num_classes=num_classes)
        means = Samples(labels, splits, num_classes, by_class=True).accuracies(right)
        everything = {**splits, "overall": np.arange(num_classes)}
        for run, (place, part) in itertools.product(range(2), enumerate(PARTS)):
            classes = everything[part].tolist()
            hits = [bool(r) for r, y in zip(right[run], labels, strict=True)
                    if y in classes]  # fmt: skip
            shares = [
                of_classes[run, c] for c in classes if not np.isnan(of_classes[run, c])
            ]
            if hits:
                assert found[run, place] == pytest.approx(sum(hits) / len(hits))
                assert means[run, place] == pytest.approx(sum(shares) / len(shares))
            else:
                assert np.isnan([found[run, place], means[run, place]]).all()
        # What every sample adds to each.
        scores = significance.part_scores(right, labels, splits).sum(axis=-1)
        np.testing.assert_allclose(scores, np.nan_to_num(found), atol=1e-12)


class TestSignificance:
    @examples(200)
    @given(P_VALUES, SEEDS)
    def test_holm(self, values, seed):
        found = significance.holm(values)
        for index, value in enumerate(values):
            # The largest of m, m - 1 ... times those that are not larger.
            ordered = sorted(values)
            factors = range(len(values), 0, -1)
            steps = [
                min(1.0, factor * other)
                for factor, other in zip(factors, ordered, strict=True)
                if other <= value
            ]
            assert found[index] == max(steps)
        assert (found >= values).all()
        order = np.random.default_rng(seed).permutation(len(values))
        np.testing.assert_array_equal(
            significance.holm(np.array(values)[order]), found[order]
        )

    @examples(100)
    @given(st.integers(0, 60), st.integers(0, 60), st.integers(0, 5))
    def test_mcnemar(self, first, second, both):
        one = np.repeat([True, False, True], [first, second, both])
        other = np.repeat([False, True, True], [first, second, both])
        found = significance.mcnemar(one, other)
        assert found[:2] == (first, second)
        total = first + second
        tail = sum(math.comb(total, k) for k in range(min(first, second) + 1))
        wanted = min(fractions.Fraction(1), fractions.Fraction(2 * tail, 2**total))
        assert found.p_value == pytest.approx(float(wanted), rel=1e-10)
        assert significance.mcnemar(other, one).p_value == found.p_value

    @examples(40)
    @given(labelled(), SEEDS, st.booleans(), st.sampled_from([1e-100, 1.0, 1e100]))
    def test_differences(self, drawn, seed, simultaneous, unit):
        labels, *_ = drawn
        scores, reference = np.split(
            np.random.default_rng(seed).normal(size=(4, len(labels))), [3]
        )

        def run(sign=1.0, scale=1.0, shift=0.0):
            return significance.differences(
                np.random.default_rng(seed),
                scale * (sign * scores + shift),
                scale * (sign * reference[0] + shift),
                labels,
                simultaneous=simultaneous,
                num_draws=40,
            )

        found = run()
        wanted = [math.fsum(row - reference[0]) for row in scores]
        np.testing.assert_allclose(found.estimate, wanted, atol=1e-9)
        assert (found.low <= found.high).all()
        assert ((found.p_value > 0) & (found.p_value <= 1)).all()
        # The same in any unit, and from any zero; the other way round with a sign.
        scaled, moved, turned = run(scale=unit), run(shift=2.5), run(sign=-1.0)
        for name in ("estimate", "low", "high"):
            own = getattr(found, name)
            np.testing.assert_allclose(
                getattr(scaled, name) / unit, own, rtol=1e-9, atol=1e-9
            )
            np.testing.assert_allclose(getattr(moved, name), own, atol=1e-9)
        np.testing.assert_allclose(turned.low, -found.high, atol=1e-9)
        np.testing.assert_allclose(turned.high, -found.low, atol=1e-9)

    @examples(40)
    @given(labelled(), SEEDS)
    def test_draws_have_the_same_samples_of_each_class(self, drawn, seed):
        labels, _, num_classes = drawn
        marks = (labels == np.arange(num_classes)[:, None]).astype(float)
        found = significance.resample(
            np.random.default_rng(seed), marks, labels, num_draws=5
        )
        np.testing.assert_allclose(found, [marks.sum(axis=1)] * 5)


class TestChoosing:
    @examples(300)
    @given(
        st.one_of(
            st.text(max_size=30),
            st.builds(
                "{}{}{}{}{}".format,
                st.sampled_from(["few", "overall ", " many", "harmonic", "fw", ""]),
                st.sampled_from([">=", " >= ", "<=", ">", "=", ">>="]),
                st.sampled_from(["", "+", "-", "+-", " "]),
                st.one_of(st.floats().map(repr), st.integers().map(str), st.text()),
                st.sampled_from(["", "%", " %", "%%", "\n"]),
            ),
        )
    )
    def test_any_text_is_a_target_or_one_line(self, text):
        try:
            target = parse_target(text)
        except UserError as error:
            assert len(str(error).splitlines()) == 1  # noqa: PT017
            return
        assert target.part in (*PARTS, "harmonic")
        assert -1 <= target.bound <= 1
        again = parse_target(str(target))
        assert again[::2] == target[::2]
        assert again.bound == pytest.approx(target.bound, rel=1e-5)

    @examples(40)
    @given(labelled(), SEEDS, st.booleans())
    def test_what_samples_add_is_the_accuracy(self, drawn, seed, by_class):
        labels, splits, num_classes = drawn
        samples = Samples(labels, splits, num_classes, by_class=by_class)
        right = np.random.default_rng(seed).random(len(labels)) < 0.6
        judge = choosing._Uncertain(samples)
        wanted = np.nan_to_num(samples.accuracies(right[None])[0])
        for part, value in zip(PARTS, wanted, strict=True):
            scores = judge.scores(right, part)
            assert scores.sum() == pytest.approx(value)
            assert judge.error(scores) >= 0
            assert judge.error(scores - scores) == 0


class TestFolds:
    @examples(60)
    @given(labelled(most=60), SEEDS, st.integers(2, 6), st.integers(1, 12))
    def test_stratified(self, drawn, seed, num_folds, most):
        labels, _, num_classes = drawn
        found = folds.draw_folds(
            labels, num_folds=num_folds, most_per_class=most, seed=seed
        )
        for c in range(num_classes):
            own = found[labels == c]
            held = own[own != folds.NEVER]
            assert len(held) == (min(most, len(own)) if len(own) > 1 else 0)
            sizes = np.bincount(held, minlength=num_folds)
            assert np.ptp(sizes) <= 1
            for fold in range(num_folds):  # some are left to train on
                assert len(own) == 0 or (own != fold).any()


class TestSplits:
    @examples(100)
    @given(
        st.lists(st.integers(0, 10**9), min_size=1, max_size=20),
        st.integers(0, 10**9),
        st.integers(0, 10**9),
    )
    def test_every_class_is_in_one(self, counts, low, high):
        try:
            found = splits_from_counts(counts, few_below=low, many_above=high)
        except UserError as error:
            few = [count < low for count in counts]
            assert all(few) or not any(few) or low > high + 1
            assert len(str(error).splitlines()) == 1  # noqa: PT017
            return
        for index, count in enumerate(counts):
            name = "few" if count < low else "many" if count > high else "medium"
            assert [index in found[each] for each in SPLITS] == [
                each == name for each in SPLITS
            ]
