import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import oracle
import pytest
from jax.test_util import check_grads

from alphanet_jax.scores import (
    TOP,
    Frozen,
    ScoreTable,
    few_logits,
    few_logits_by_source,
    make_frozen,
    score_table,
    take_rows,
)

_traces = []
COLUMNS = {field.name for field in dataclasses.fields(ScoreTable)}
_few_logits = jax.jit(few_logits)


@jax.jit
def _jitted(*args, **kwargs):
    _traces.append(1)
    return score_table(*args, **kwargs)


def make_table(problem, pred_scale=1.0, *, table=_jitted, rows=slice(None)):
    return table(
        problem.features[rows],
        problem.labels[rows],
        problem.weight,
        problem.bias,
        few_classes=problem.few,
        base_classes=problem.base,
        source_classes=np.unique(problem.sources),
        pred_scale=pred_scale,
    )


def assert_tables_close(actual, expected, rtol=1e-5, atol=1e-5):
    for name in ("labels", "few_target", "top_classes"):
        np.testing.assert_array_equal(getattr(actual, name), expected[name], name)
    for name in COLUMNS - {
        "labels",
        "few_target",
        "top_classes",
    }:
        np.testing.assert_allclose(
            getattr(actual, name), expected[name], rtol, atol, err_msg=name
        )


class TestScoreTable:
    # By hand it is called eagerly, in all other tests compiled.
    def hand_worked(self, labels, pred_scale=1.0):
        # Logits of classes 0 to 3 for features (x, y): x + 10, y, 2x - 1, -y.
        return score_table(
            np.float32([[1, 2], [3, -4]]),
            np.int32(labels),
            np.float32([[1, 0], [0, 1], [2, 0], [0, -1]]),
            np.float32([10, 0, -1, 0]),
            few_classes=np.int32([0, 3]),
            base_classes=np.int32([1, 2]),
            source_classes=np.int32([2, 0, 3]),
            pred_scale=pred_scale,
        )

    @pytest.mark.slow
    def test_hand_worked(self):
        table = self.hand_worked([2, 3])
        np.testing.assert_array_equal(table.labels, [2, 3])
        np.testing.assert_array_equal(table.few_target, [-1, 1])
        np.testing.assert_array_equal(table.source_scores, [[2, 1, -2], [6, 3, 4]])
        expected = np.log([1 + np.exp(-1), 1 + np.exp(-9)])
        np.testing.assert_allclose(table.base_logsumexp, expected, atol=1e-6)
        np.testing.assert_array_equal(table.base_target_logit, [1, -np.inf])
        top = [[2, 1, *[-np.inf] * 3], [5, -4, *[-np.inf] * 3]]
        np.testing.assert_array_equal(table.top_logits, top)
        np.testing.assert_array_equal(
            table.top_classes, [[1, 2, 4, 4, 4], [2, 1, 4, 4, 4]]
        )

    @pytest.mark.slow
    def test_pred_scale_is_in_the_log_sum_exp_only(self):
        plain, scaled = self.hand_worked([2, 1]), self.hand_worked([2, 1], 3.0)
        expected = np.log([1 + np.exp(-3), np.exp(-27) + 1])
        np.testing.assert_allclose(scaled.base_logsumexp, expected, atol=1e-6)
        for name in COLUMNS - {"base_logsumexp"}:
            np.testing.assert_array_equal(getattr(plain, name), getattr(scaled, name))

    @pytest.mark.slow
    def test_several_scales(self, problem):
        scales = np.float32([0.5, 1.0, 30.0])
        several = make_table(problem, scales)
        assert several.base_logsumexp.shape == (len(problem.labels), 3)
        for place, scale in enumerate(scales):
            one = make_table(problem, scale)
            column = several.base_logsumexp[:, place]
            np.testing.assert_allclose(column, one.base_logsumexp, rtol=1e-6)
            expected = oracle.score_columns(problem, float(scale))["base_logsumexp"]
            np.testing.assert_allclose(column, expected, rtol=1e-5, atol=1e-5)
            for name in COLUMNS - {"base_logsumexp"}:
                np.testing.assert_array_equal(
                    getattr(several, name), getattr(one, name)
                )

    @pytest.mark.slow
    def test_several_scales_by_hand(self):
        table = self.hand_worked([2, 1], np.float32([1.0, 3.0]))
        expected = np.log(
            [[1 + np.exp(-1), 1 + np.exp(-3)], [1 + np.exp(-9), 1 + np.exp(-27)]]
        )
        np.testing.assert_allclose(table.base_logsumexp, expected, atol=1e-6)
        one = self.hand_worked([2, 1], np.float32([3.0]))
        assert one.base_logsumexp.shape == (2, 1)

    @pytest.mark.slow
    def test_dtypes(self):
        table = self.hand_worked([2, 3])
        for name, column in vars(table).items():
            whole = name in ("labels", "few_target", "top_classes")
            assert column.dtype == (jnp.int32 if whole else jnp.float32), name

    @pytest.mark.slow
    @pytest.mark.parametrize("pred_scale", [1.0, 100.0])
    def test_against_oracle(self, problem, pred_scale):
        assert_tables_close(
            make_table(problem, pred_scale), oracle.score_columns(problem, pred_scale)
        )

    def test_padding(self, usual):
        labels = usual.labels.copy()
        padded = [0, 5, len(labels) - 1]
        labels[padded] = -1
        table = make_table(usual._replace(labels=labels))
        expected = oracle.score_columns(usual)
        expected["labels"][padded] = -1
        expected["few_target"][padded] = -1
        expected["base_target_logit"][padded] = -np.inf
        assert_tables_close(table, expected)

    def test_equal_logits_rank_by_class(self):
        # Base classes 0, 2, 3, 4, 6, 7, 8 have the logits 1, 2, 1, 2, 1, 1, 0 times x.
        table = _jitted(
            np.array([[1.0], [-1.0], [0.0]]),
            np.zeros(3, int),
            np.array([1.0, 9.0, 2.0, 1.0, 2.0, 9.0, 1.0, 1.0, 0.0])[:, None],
            np.zeros(9),
            few_classes=np.array([1, 5]),
            base_classes=np.array([0, 2, 3, 4, 6, 7, 8]),
            source_classes=np.array([1]),
        )
        expected = [[2, 4, 0, 3, 6], [8, 0, 3, 6, 7], [0, 2, 3, 4, 6]]
        np.testing.assert_array_equal(table.top_classes, expected)

    def test_large_logits_do_not_overflow(self, usual):
        problem = usual._replace(features=usual.features * np.float32(1e4))
        table = make_table(problem, 100.0)
        expected = oracle.score_columns(problem, 100.0)["base_logsumexp"]
        np.testing.assert_allclose(table.base_logsumexp, expected, atol=1e-5)

    def test_log_sum_exp_does_not_lose_digits_to_an_offset(self, usual):
        # Sixteenths stay exact with an offset that leaves its sum no more digits.
        bias = np.round(usual.bias * 16) / 16
        problem = usual._replace(features=0 * usual.features, bias=np.float32(bias))
        offset = problem._replace(bias=np.float32(bias + 2.0**19))
        np.testing.assert_array_equal(
            make_table(problem).base_logsumexp, make_table(offset).base_logsumexp
        )

    def test_half_precision_features_are_scored_in_float32(self, usual):
        features = usual.features.astype(np.float16)
        assert_tables_close(
            make_table(usual._replace(features=features)),
            oracle.score_columns(usual._replace(features=features)),
        )

    @pytest.mark.slow
    def test_parts_are_the_parts_of_the_whole(self, usual):
        whole = jax.device_get(make_table(usual))
        for rows in (slice(0, 11), slice(11, 22)):
            part = make_table(usual, rows=rows)
            expected = {name: column[rows] for name, column in vars(whole).items()}
            assert_tables_close(part, expected, rtol=1e-6, atol=1e-6)

    def test_another_scale_does_not_recompile(self, usual):
        make_table(usual, 1.0)
        before = len(_traces)
        make_table(usual, 100.0)
        assert len(_traces) == before

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            ({"features": np.ones((4, 3))}, r"weight \(C, d\), got \(4, 3\) and"),
            ({"features": np.ones(5)}, r"features must be \(n, d\).* got \(5,\) and"),
            (
                {"labels": np.zeros(3, int)},
                r"labels \(n,\), got \(11,\) and \(3,\)",
            ),
            ({"bias": np.zeros(10)}, r"bias must be \(C,\).*, got \(10,\) and \(23,\)"),
            ({"base": np.arange(9)}, r"must be all classes, got 3 \+ 9 of 11"),
        ],
    )
    def test_what_does_not_fit(self, usual, change, message):
        with pytest.raises(ValueError, match=message):
            make_table(usual._replace(**change), table=score_table)


class TestMakeFrozen:
    def test_hand_worked(self):
        frozen = make_frozen(
            np.array([[0.0, 1.0], [2.0, 3.0], [4.0, 5.0], [6.0, 7.0], [8.0, 9.0]]),
            [10, 11, 12, 13, 14],
            [1, 3],
            [[4, 0], [0, 2]],
        )
        assert frozen.few_classes.tolist() == [1, 3]
        assert frozen.few_bias.tolist() == [11, 13]
        assert frozen.source_classes.tolist() == [0, 1, 2, 3, 4]
        assert frozen.source_index.tolist() == [[1, 4, 0], [3, 0, 2]]
        assert [weights.tolist() for weights in frozen.sources.weights] == [
            [[2, 3], [6, 7]],
            [[0, 1], [8, 9]],
            [[0, 1], [4, 5]],
        ]
        assert frozen.sources.rows.tolist() == [[0, 1, 0], [1, 0, 1]]

    @pytest.mark.slow
    def test_against_oracle(self, problem):
        frozen = make_frozen(
            problem.weight, problem.bias, problem.few, problem.neighbors
        )
        expected = oracle.frozen_columns(problem, np.float32)
        fields = {field.name for field in dataclasses.fields(Frozen)}
        assert fields == {*expected, "sources"}
        for name, column in expected.items():
            np.testing.assert_array_equal(getattr(frozen, name), column, name)
            assert getattr(frozen, name).dtype == column.dtype
        weights, rows = frozen.sources
        assert rows.shape == problem.sources.shape
        for f, j in np.ndindex(rows.shape):
            np.testing.assert_array_equal(
                weights[j][rows[f, j]], problem.source_weights[f, j]
            )

    def test_classes_that_no_few_class_needs_are_left_out(self):
        frozen = make_frozen(np.eye(9), np.zeros(9), [5], [[7, 2]])
        assert frozen.source_classes.tolist() == [2, 5, 7]
        assert frozen.source_index.tolist() == [[1, 2, 0]]

    @pytest.mark.parametrize(
        ("few", "neighbors", "message"),
        [
            ([2, 3], [[0, 1]], r"neighbors \(F, k\), got \(2,\) and \(1, 2\)"),
            ([2], [0], r"neighbors \(F, k\), got \(1,\) and \(1,\)"),
            ([3, 2], [[0], [1]], r"must ascend, got \[3, 2\]"),
            ([2, 2], [[0], [1]], r"must ascend, got \[2, 2\]"),
        ],
    )
    def test_what_does_not_fit(self, few, neighbors, message):
        with pytest.raises(ValueError, match=message):
            make_frozen(np.eye(4), np.zeros(4), few, neighbors)


class TestTakeRows:
    def test_every_column(self, usual):
        columns = oracle.score_columns(usual, dtype=np.float32)
        rows = np.array([[3, 3], [0, 22]])
        taken = jax.jit(take_rows)(ScoreTable(**columns), rows)
        for name, column in columns.items():
            np.testing.assert_array_equal(getattr(taken, name), column[rows], name)


class TestFewLogits:
    def test_hand_worked(self):
        logits = few_logits(
            np.array([[1.0, -0.5, 2.0], [1.0, 3.0, 0.0]]),
            np.array([[1.0, 10.0, 100.0], [2.0, 20.0, 200.0]]),
            np.array([[1, 0, 0], [2, 1, 0]]),
            np.array([0.25, -7.0]),
        )
        expected = [[10 + 1.5 + 0.25, 100 + 30 - 7], [20 + 3 + 0.25, 200 + 60 - 7]]
        np.testing.assert_array_equal(logits, expected)

    @pytest.mark.slow
    def test_score_identity(self, problem, rng):
        # The table and the dense product with the corrected classifier agree.
        coefficients = rng.normal(size=problem.sources.shape)
        frozen = oracle.frozen_columns(problem, np.float32)
        logits = _few_logits(
            coefficients.astype(np.float32),
            make_table(problem).source_scores,
            frozen["source_index"],
            frozen["few_bias"],
        )
        dense = oracle.logits(problem, coefficients)[:, problem.few]
        np.testing.assert_allclose(logits, dense, rtol=1e-5, atol=2e-5)

    def test_identity_is_exact_in_float64(self, usual, rng, x64):
        coefficients = rng.normal(size=usual.sources.shape)
        frozen = oracle.frozen_columns(usual)
        logits = _few_logits(
            coefficients,
            oracle.score_columns(usual)["source_scores"],
            frozen["source_index"],
            frozen["few_bias"],
        )
        dense = oracle.logits(usual, coefficients)[:, usual.few]
        np.testing.assert_allclose(logits, dense, rtol=1e-13, atol=1e-13)

    @pytest.mark.slow
    def test_gradient(self, usual, rng, x64):
        scores = oracle.score_columns(usual)["source_scores"]
        frozen = oracle.frozen_columns(usual)
        run = functools.partial(few_logits, source_index=frozen["source_index"])
        check_grads(
            jax.jit(lambda a, s, b: run(a, s, few_bias=b)),
            (rng.normal(size=usual.sources.shape), scores, frozen["few_bias"]),
            order=1,
            modes=["rev"],
        )

    @pytest.mark.slow
    def test_jitted_and_vmapped(self, usual, rng):
        coefficients = rng.normal(size=(4, *usual.sources.shape)).astype(np.float32)
        frozen = oracle.frozen_columns(usual, np.float32)
        rest = (
            oracle.score_columns(usual, dtype=np.float32)["source_scores"],
            frozen["source_index"],
            frozen["few_bias"],
        )
        over_seeds = jax.jit(jax.vmap(few_logits, in_axes=(0, None, None, None)))
        for one, seed in zip(
            coefficients, over_seeds(coefficients, *rest), strict=True
        ):
            np.testing.assert_allclose(
                few_logits(one, *rest), seed, rtol=1e-5, atol=1e-6
            )


def test_few_logits_one_source_at_a_time(usual, rng):
    coefficients = rng.normal(size=usual.sources.shape).astype(np.float32)
    rest = (
        oracle.score_columns(usual, dtype=np.float32)["source_scores"],
        oracle.frozen_columns(usual, np.float32)["source_index"],
        oracle.frozen_columns(usual, np.float32)["few_bias"],
    )
    wanted = few_logits(coefficients, *rest)
    found = few_logits_by_source(coefficients, rest[0].T, *rest[1:])
    np.testing.assert_allclose(found.T, wanted, rtol=1e-5, atol=1e-5)


def test_arrays_of_the_same_shape_whatever_are_neighbors(usual):
    few, classes = usual.few, np.unique(usual.base)
    same = [np.tile(classes[:3], (len(few), 1)), np.tile(classes[:3], (len(few), 1))]
    same[1][0] = classes[1:4]
    made = [
        make_frozen(usual.weight, usual.bias, few, each, same_shape=True)
        for each in same
    ]
    shapes = [jax.tree.map(np.shape, one) for one in made]
    assert shapes[0] == shapes[1]
    for neighbors, frozen in zip(same, made, strict=True):
        plain = make_frozen(usual.weight, usual.bias, few, neighbors)
        assert jax.tree.map(np.shape, plain) != shapes[0]
        for one in (plain, frozen):
            places = zip(one.sources.weights, one.sources.rows.T, strict=True)
            weights = [weight[rows] for weight, rows in places]
            sources = np.asarray(one.source_classes)[np.asarray(one.source_index)]
            np.testing.assert_array_equal(
                np.stack(weights, axis=1), usual.weight[sources]
            )
            np.testing.assert_array_equal(sources[:, 1:], neighbors)


def test_top_is_five():
    assert TOP == 5
