import functools

import jax
import jax.numpy as jnp
import numpy as np
import oracle
import pytest
from to_jax import to_frozen, to_table

from alphanet_jax.eval import (
    SPLITS,
    Counts,
    Predictions,
    baseline_alphas,
    chunk_table,
    count,
    evaluate,
    evaluate_unchanged,
    metrics_from_counts,
    predict,
)
from alphanet_jax.scores import ScoreTable

_predict = jax.jit(predict)
_count = jax.jit(count, static_argnames="num_classes")
_traces = []


@functools.partial(jax.jit, static_argnames=("num_classes", "chunk_size"))
def _evaluate(alphas, table, frozen, *, num_classes, chunk_size=7):
    _traces.append(1)
    chunks = chunk_table(table, chunk_size=chunk_size)
    return evaluate(alphas, chunks, frozen, num_classes=num_classes)


def evaluate_table(*args, **kwargs):
    # As NumPy arrays, whose indexing compiles nothing.
    return jax.device_get(_evaluate(*args, **kwargs))


def whole_number_problem(seed, rng, few, base):
    """A problem whose float32 logits are exact, and equal very often.

    Gives the problem and coefficients of quarters, for which that holds.
    """
    problem = oracle.random_problem(seed, few=few, base=base, dim=2, samples=300)
    problem = problem._replace(
        features=rng.integers(-2, 3, problem.features.shape).astype(np.float32),
        weight=rng.integers(-1, 2, problem.weight.shape).astype(np.float32),
        bias=rng.integers(-1, 2, problem.bias.shape).astype(np.float32),
    )
    coefficients = rng.choice([-1, -0.5, 0, 0.25, 0.5, 1], problem.sources.shape)
    coefficients[:, 0] = 1
    return problem, coefficients.astype(np.float32)


def predict_problem(problem, coefficients):
    """Predictions of the package, and those of the dense logits."""
    logits = oracle.logits(problem, coefficients)
    predictions = _predict(
        logits[:, problem.few].astype(np.float32), to_table(problem), problem.few
    )
    return predictions, oracle.predict(logits, problem.labels)


class TestBaselineAlphas:
    def test_own_classifier_alone(self):
        alphas = baseline_alphas(2, 3)
        assert alphas.tolist() == [[1, 0, 0, 0], [1, 0, 0, 0]]


class TestPredict:
    @pytest.mark.slow
    @pytest.mark.parametrize(("few", "base"), [(4, 9), (9, 4), (1, 6), (3, 2)])
    def test_equal_logits_against_oracle(self, rng, few, base):
        seen = set()
        for seed in range(4):
            problem, coefficients = whole_number_problem(seed, rng, few, base)
            predictions, (classes, in_top5) = predict_problem(problem, coefficients)
            np.testing.assert_array_equal(predictions.classes, classes)
            np.testing.assert_array_equal(predictions.in_top5, in_top5)
            # Which splits the first and the second of equals for the best are of.
            for row in oracle.logits(problem, coefficients):
                first, second, *_ = oracle.ranking(row)
                if row[first] == row[second]:
                    seen.add((first in problem.few, second in problem.few))
        expected = {(True, False), (False, True), (False, False), (True, True)}
        assert seen == (expected if few > 1 else expected - {(True, True)})

    def table(self, labels, base_logits, base_classes, few_classes):
        """A table of one row of base logits, with each of the labels."""
        order = sorted(range(len(base_logits)), key=lambda i: -base_logits[i])[:5]
        filled = [0] * (5 - len(order))
        size = len(labels)
        by_class = dict(zip(base_classes, base_logits, strict=True))
        return ScoreTable(
            labels=np.array(labels),
            few_target=np.array(
                [few_classes.index(y) if y in few_classes else -1 for y in labels]
            ),
            source_scores=np.zeros((size, 1)),
            base_logsumexp=np.zeros(size),
            base_target_logit=np.array([by_class.get(y, -np.inf) for y in labels]),
            top_logits=np.array(
                [[base_logits[i] for i in order] + [-np.inf for _ in filled]] * size
            ),
            top_classes=np.array(
                [[base_classes[i] for i in order] + [99 for _ in filled]] * size
            ),
        )

    @pytest.mark.slow
    @pytest.mark.parametrize(("few_logit", "expected"), [(2.0, 4), (3.0, 3), (3.5, 3)])
    def test_few_class_before_its_equal(self, few_logit, expected):
        table = self.table([0], [3.0, 1.0], [4, 7], [3])
        predictions = predict(np.array([[few_logit]]), table, np.array([3]))
        assert predictions.classes.tolist() == [expected]

    @pytest.mark.parametrize(("few_logit", "expected"), [(2.0, 4), (3.0, 4), (3.5, 5)])
    def test_few_class_after_its_equal(self, few_logit, expected):
        table = self.table([0], [3.0, 1.0], [4, 7], [5])
        predictions = _predict(np.array([[few_logit]]), table, np.array([5]))
        assert predictions.classes.tolist() == [expected]

    def test_fifth_place_goes_to_the_lower_class(self):
        # Nine equal logits: the best five are classes 0 to 4 of either split.
        labels = list(range(9))
        few, base = [1, 4, 5], [0, 2, 3, 6, 7, 8]
        table = self.table(labels, [1.0] * 6, base, few)
        predictions = _predict(np.ones((9, 3)), table, np.array(few))
        assert predictions.in_top5.tolist() == [True] * 5 + [False] * 4
        assert predictions.classes.tolist() == [0] * 9

    def test_sixth_is_not_in_the_top_five(self):
        # Ranked 9, 1, 8, 2, 7, 3, 6, 4, 5 from best to worst.
        few, base = [2, 3, 9], [1, 4, 5, 6, 7, 8]
        logits = {9: 9, 1: 8, 8: 7, 2: 6, 7: 5, 3: 4, 6: 3, 4: 2, 5: 1}
        table = self.table(list(logits), [float(logits[c]) for c in base], base, few)
        few_row = [float(logits[c]) for c in few]
        predictions = _predict(np.array([few_row] * 9), table, np.array(few))
        assert predictions.in_top5.tolist() == [True] * 5 + [False] * 4
        assert predictions.classes.tolist() == [9] * 9

    def test_dtypes(self):
        table = self.table([0], [3.0, 1.0], [4, 7], [5])
        predictions = _predict(np.ones((1, 1)), table, np.array([5]))
        assert predictions.classes.dtype == jnp.int32
        assert predictions.in_top5.dtype == jnp.bool_


class TestCount:
    @pytest.mark.slow
    def test_hand_worked(self):
        predictions = Predictions(
            classes=np.array([0, 2, 2, 1, 0, 2]),
            in_top5=np.array([True, True, False, True, False, True]),
        )
        counts = _count(predictions, np.array([0, 2, 0, 2, -1, -1]), num_classes=4)
        assert counts.correct.tolist() == [1, 0, 1, 0]
        assert counts.predicted.tolist() == [1, 1, 2, 0]
        assert counts.total.tolist() == [2, 0, 2, 0]
        assert counts.top5_correct == 3

    @pytest.mark.slow
    def test_counts_of_parts_add_up(self, rng):
        predictions = Predictions(
            rng.integers(0, 7, 46), rng.integers(0, 2, 46).astype(bool)
        )
        labels = rng.integers(-1, 7, 46)
        whole = _count(predictions, labels, num_classes=7)
        parts = [
            _count(
                Predictions(*(x[part] for x in predictions)),
                labels[part],
                num_classes=7,
            )
            for part in (slice(0, 23), slice(23, 46))
        ]
        for total, first, second in zip(whole, *parts, strict=True):
            np.testing.assert_array_equal(total, first + second)


class TestChunkTable:
    def test_padding(self, usual):
        table = to_table(usual)
        chunks = jax.device_get(jax.jit(lambda t: chunk_table(t, chunk_size=7))(table))
        for name, column in vars(chunks).items():
            original = getattr(table, name)
            if name == "source_scores":
                column = column.swapaxes(1, 2)
            assert column.shape == (4, 7, *original.shape[1:])
            assert column.dtype == original.dtype
            flat = column.reshape(28, *original.shape[1:])
            np.testing.assert_array_equal(flat[:23], original)
        assert chunks.labels[3, 2:].tolist() == [-1] * 5
        assert chunks.few_target[3, 2:].tolist() == [-1] * 5

    @pytest.mark.parametrize(
        ("chunk_size", "chunks"), [(1, 23), (22, 2), (23, 1), (24, 1), (46, 1)]
    )
    def test_number_of_chunks(self, usual, chunk_size, chunks):
        run = functools.partial(chunk_table, chunk_size=chunk_size)
        shapes = jax.eval_shape(run, to_table(usual))
        assert shapes.labels.shape == (chunks, chunk_size)

    def test_no_samples_make_one_chunk_of_padding(self, usual):
        empty = jax.tree.map(lambda x: x[:0], to_table(usual))
        run = functools.partial(chunk_table, chunk_size=7)
        assert jax.eval_shape(run, empty).labels.shape == (1, 7)
        counts, _ = evaluate_table(
            baseline_alphas(3, 2), empty, to_frozen(usual), num_classes=11
        )
        assert not any(np.any(part) for part in counts)


class TestEvaluate:
    @pytest.mark.slow
    def test_against_oracle(self, problem, rng):
        coefficients = rng.normal(size=problem.sources.shape).astype(np.float32)
        counts, classes = evaluate_table(
            coefficients,
            to_table(problem),
            to_frozen(problem),
            num_classes=problem.num_classes,
        )
        size = len(problem.labels)
        logits = oracle.logits(problem, coefficients)
        expected, in_top5 = oracle.predict(logits, problem.labels)
        np.testing.assert_array_equal(classes[:size], expected)
        for c in range(problem.num_classes):
            hits = (problem.labels == c) & (expected == c)
            assert counts.correct[c] == hits.sum()
            assert counts.predicted[c] == (expected == c).sum()
            assert counts.total[c] == (problem.labels == c).sum()
        assert counts.top5_correct == in_top5.sum()
        actual = metrics_from_counts(counts, problem.splits)
        expected = oracle.metrics(
            problem.labels, expected, in_top5, problem.splits, problem.num_classes
        )
        for name, value in expected.items():
            np.testing.assert_allclose(getattr(actual, name), value, rtol=1e-12)

    @pytest.mark.slow
    def test_baseline_alphas_give_the_classifier_as_it_was(self, usual):
        _, classes = evaluate_table(
            baseline_alphas(3, 2),
            to_table(usual),
            to_frozen(usual),
            num_classes=11,
        )
        expected = (usual.features @ usual.weight.T + usual.bias).argmax(axis=1)
        np.testing.assert_array_equal(classes[:23], expected)

    @pytest.mark.parametrize("ties", [False, True])
    def test_the_unchanged_classifier_on_the_host(self, usual, rng, ties):
        problem = whole_number_problem(5, rng, 4, 9)[0] if ties else usual
        few, places = problem.sources.shape
        table, frozen = to_table(problem), to_frozen(problem)
        size = problem.num_classes
        expected, _ = evaluate_table(
            baseline_alphas(few, places - 1), table, frozen, num_classes=size
        )
        for chunk_size in (7, 23, 1000):
            chunks = chunk_table(table, chunk_size=chunk_size)
            found = evaluate_unchanged(chunks, frozen, num_classes=size)
            for ours, theirs in zip(found, expected, strict=True):
                np.testing.assert_array_equal(ours, theirs)

    @pytest.mark.slow
    def test_chunk_size_changes_nothing(self, usual, rng):
        coefficients = rng.normal(size=usual.sources.shape).astype(np.float32)
        results = []
        for chunk_size in (1, 7, 23, 46):
            counts, classes = evaluate_table(
                coefficients,
                to_table(usual),
                to_frozen(usual),
                num_classes=11,
                chunk_size=chunk_size,
            )
            results.append((*counts, classes[:23]))
            assert classes.shape == (-(-23 // chunk_size) * chunk_size,)
        for other in results[1:]:
            for first, second in zip(results[0], other, strict=True):
                np.testing.assert_array_equal(first, second)

    @pytest.mark.slow
    def test_counts_of_parts_add_up(self, usual, rng):
        coefficients = rng.normal(size=usual.sources.shape).astype(np.float32)

        def run(rows):
            table = jax.tree.map(lambda x: x[rows], to_table(usual))
            frozen = to_frozen(usual)
            return evaluate_table(coefficients, table, frozen, num_classes=11)[0]

        parts = run(slice(0, 11)), run(slice(11, 22))
        for total, first, second in zip(run(slice(0, 22)), *parts, strict=True):
            np.testing.assert_array_equal(total, first + second)

    @pytest.mark.slow
    def test_vmapped_over_seeds_equals_single(self, usual, rng):
        coefficients = rng.normal(size=(3, *usual.sources.shape)).astype(np.float32)
        run = functools.partial(_evaluate, num_classes=11)
        over_seeds = jax.vmap(run, in_axes=(0, None, None))
        stacked = jax.device_get(
            over_seeds(coefficients, to_table(usual), to_frozen(usual))
        )
        for seed in range(3):
            one = run(coefficients[seed], to_table(usual), to_frozen(usual))
            jax.tree.map(
                np.testing.assert_array_equal,
                one,
                jax.tree.map(lambda x, s=seed: x[s], stacked),
            )

    def test_other_coefficients_do_not_recompile(self, usual, rng):
        arguments = to_table(usual), to_frozen(usual)
        evaluate_table(np.ones((3, 3), np.float32), *arguments, num_classes=11)
        before = len(_traces)
        coefficients = rng.normal(size=(3, 3)).astype(np.float32)
        evaluate_table(coefficients, *arguments, num_classes=11)
        assert len(_traces) == before


# Six samples of classes 0, 0, 0, 1, 2, 3 predicted as 0, 0, 1, 1, 1, 0; class 4 has
# no sample and no prediction.
HAND_WORKED = Counts(
    correct=np.array([2, 1, 0, 0, 0]),
    predicted=np.array([3, 3, 0, 0, 0]),
    total=np.array([3, 1, 1, 1, 0]),
    top5_correct=np.array(5),
)
HAND_SPLITS = {
    "few": np.array([4]),
    "medium": np.array([1, 2, 3]),
    "many": np.array([0]),
}


class TestMetricsFromCounts:
    def test_hand_worked(self):
        metrics = metrics_from_counts(HAND_WORKED, HAND_SPLITS)
        np.testing.assert_allclose(metrics.accuracy, 3 / 6)
        np.testing.assert_allclose(metrics.top5, 5 / 6)
        # Class 0: precision and recall 2/3. Class 1: precision 1/3, recall 1.
        np.testing.assert_allclose(metrics.f1, (2 / 3 + 1 / 2) / 5)
        np.testing.assert_allclose(metrics.acc_per_split, [np.nan, 1 / 3, 2 / 3])
        np.testing.assert_allclose(metrics.acc_per_class, [2 / 3, 1, 0, 0, np.nan])
        assert {part.dtype for part in metrics} == {np.dtype("f8")}

    def test_accuracy_of_a_split_weighs_its_samples(self):
        counts = Counts(
            correct=np.array([90, 0]),
            predicted=np.array([100, 0]),
            total=np.array([90, 10]),
            top5_correct=np.array(100),
        )
        splits = {
            "few": np.array([0, 1]),
            "medium": np.array([1]),
            "many": np.array([0]),
        }
        metrics = metrics_from_counts(counts, splits)
        np.testing.assert_array_equal(metrics.acc_per_split, [0.9, 0, 1])

    def test_order_of_splits(self):
        assert SPLITS == ("few", "medium", "many")

    def test_against_oracle(self, rng):
        splits = {
            "few": np.array([1, 5]),
            "medium": np.array([0, 4, 6]),
            "many": np.array([2, 3, 7]),
        }
        for size in (1, 6, 60):
            labels = rng.integers(0, 8, size)
            predicted = np.where(
                rng.random(size) < 0.5, labels, rng.integers(0, 8, size)
            )
            in_top5 = rng.random(size) < 0.7
            counts = Counts(
                correct=np.bincount(labels[labels == predicted], minlength=8),
                predicted=np.bincount(predicted, minlength=8),
                total=np.bincount(labels, minlength=8),
                top5_correct=in_top5.sum(),
            )
            actual = metrics_from_counts(counts, splits)
            expected = oracle.metrics(labels, predicted, in_top5, splits, 8)
            for name, value in expected.items():
                np.testing.assert_allclose(getattr(actual, name), value, rtol=1e-12)

    def test_leading_axes(self):
        double = Counts(*(2 * part for part in HAND_WORKED))
        stacked = Counts(
            *(
                np.stack([[one, two, one]] * 2)
                for one, two in zip(HAND_WORKED, double, strict=True)
            )
        )
        metrics = metrics_from_counts(stacked, HAND_SPLITS)
        single = metrics_from_counts(HAND_WORKED, HAND_SPLITS)
        for actual, expected in zip(metrics, single, strict=True):
            assert actual.shape == (2, 3, *expected.shape)
            np.testing.assert_allclose(actual, np.broadcast_to(expected, actual.shape))

    def test_no_samples_at_all(self):
        zeros = np.zeros(5, int)
        metrics = metrics_from_counts(
            Counts(zeros, zeros, zeros, np.array(0)), HAND_SPLITS
        )
        assert np.isnan(metrics.accuracy)
        assert np.isnan(metrics.top5)
        assert np.isnan(metrics.acc_per_split).all()
        assert metrics.f1 == 0
