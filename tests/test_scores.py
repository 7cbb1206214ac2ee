import functools

import jax
import jax.numpy as jnp
import numpy as np
import oracle
import pytest
from jax.test_util import check_grads

from alphanet_jax.scores import TOP, ScoreTable, few_logits, score_table

_jitted = jax.jit(score_table)


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
    for name in set(ScoreTable._fields) - {"labels", "few_target", "top_classes"}:
        np.testing.assert_allclose(
            getattr(actual, name), expected[name], rtol, atol, err_msg=name
        )


class TestScoreTable:
    def hand_worked(self, labels, pred_scale=1.0):
        # Logits of classes 0 to 3 for features (x, y): x + 10, y, 2x - 1, -y.
        return _jitted(
            np.array([[1.0, 2.0], [3.0, -4.0]]),
            np.array(labels),
            np.array([[1.0, 0.0], [0.0, 1.0], [2.0, 0.0], [0.0, -1.0]]),
            np.array([10.0, 0.0, -1.0, 0.0]),
            few_classes=np.array([0, 3]),
            base_classes=np.array([1, 2]),
            source_classes=np.array([2, 0, 3]),
            pred_scale=pred_scale,
        )

    def test_hand_worked(self):
        table = self.hand_worked([2, 3])
        np.testing.assert_array_equal(table.labels, [2, 3])
        np.testing.assert_array_equal(table.few_target, [-1, 1])
        np.testing.assert_array_equal(table.source_scores, [[2, 1, -2], [6, 3, 4]])
        np.testing.assert_allclose(
            table.base_logsumexp,
            np.log([np.exp(2) + np.exp(1), np.exp(-4) + np.exp(5)]),
        )
        np.testing.assert_array_equal(table.base_target_logit, [1, -np.inf])
        top = [[2, 1, *[-np.inf] * 3], [5, -4, *[-np.inf] * 3]]
        np.testing.assert_array_equal(table.top_logits, top)
        np.testing.assert_array_equal(
            table.top_classes, [[1, 2, 4, 4, 4], [2, 1, 4, 4, 4]]
        )

    def test_pred_scale_is_in_the_log_sum_exp_only(self):
        plain, scaled = self.hand_worked([2, 1]), self.hand_worked([2, 1], 3.0)
        expected = np.log([np.exp(6) + np.exp(3), np.exp(-12) + np.exp(15)])
        np.testing.assert_allclose(scaled.base_logsumexp, expected, rtol=1e-6)
        for name in set(ScoreTable._fields) - {"base_logsumexp"}:
            np.testing.assert_array_equal(getattr(plain, name), getattr(scaled, name))

    def test_dtypes(self):
        table = self.hand_worked([2, 3])
        for name, column in table._asdict().items():
            whole = name in ("labels", "few_target", "top_classes")
            assert column.dtype == (jnp.int32 if whole else jnp.float32), name

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
        problem = usual._replace(features=usual.features * 1e4)
        table = make_table(problem, 100.0)
        expected = oracle.score_columns(problem, 100.0)
        assert np.isfinite(expected["base_logsumexp"]).all()
        np.testing.assert_allclose(
            table.base_logsumexp, expected["base_logsumexp"], rtol=1e-5
        )

    def test_half_precision_features_are_scored_in_float32(self, usual):
        features = usual.features.astype(np.float16)
        assert_tables_close(
            make_table(usual._replace(features=features)),
            oracle.score_columns(usual._replace(features=features)),
        )

    def test_parts_are_the_parts_of_the_whole(self, usual):
        whole = make_table(usual)
        for rows in (slice(0, 10), slice(10, None)):
            part = make_table(usual, rows=rows)
            expected = {name: column[rows] for name, column in whole._asdict().items()}
            assert_tables_close(part, expected, rtol=1e-6, atol=1e-6)

    def test_jitted_equals_eager(self, usual):
        eager = make_table(usual, 2.0, table=score_table)
        assert_tables_close(eager, make_table(usual, 2.0)._asdict(), atol=1e-6)

    def test_another_scale_does_not_recompile(self, usual):
        traces = []

        @jax.jit
        def counted(*args, **kwargs):
            traces.append(1)
            return score_table(*args, **kwargs).base_logsumexp

        for pred_scale in (1.0, 10.0, 100.0):
            make_table(usual, pred_scale, table=counted)
        assert len(traces) == 1

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

    def test_score_identity(self, problem, rng):
        # The table and the dense product with the corrected classifier agree.
        coefficients = rng.normal(size=problem.sources.shape)
        frozen = oracle.frozen_columns(problem, np.float32)
        logits = few_logits(
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
        logits = few_logits(
            coefficients,
            oracle.score_columns(usual)["source_scores"],
            frozen["source_index"],
            frozen["few_bias"],
        )
        dense = oracle.logits(usual, coefficients)[:, usual.few]
        np.testing.assert_allclose(logits, dense, rtol=1e-13, atol=1e-13)

    def test_gradient(self, usual, rng, x64):
        scores = oracle.score_columns(usual)["source_scores"]
        frozen = oracle.frozen_columns(usual)
        run = functools.partial(few_logits, source_index=frozen["source_index"])
        check_grads(
            lambda a, s, b: run(a, s, few_bias=b),
            (rng.normal(size=usual.sources.shape), scores, frozen["few_bias"]),
            order=1,
            modes=["rev"],
        )

    def test_jitted_and_vmapped(self, usual, rng):
        coefficients = rng.normal(size=(4, *usual.sources.shape)).astype(np.float32)
        frozen = oracle.frozen_columns(usual, np.float32)
        run = functools.partial(
            few_logits,
            source_scores=make_table(usual).source_scores,
            source_index=frozen["source_index"],
            few_bias=frozen["few_bias"],
        )
        seeds = jax.jit(jax.vmap(run))(coefficients)
        for one, seed in zip(coefficients, seeds, strict=True):
            np.testing.assert_allclose(run(one), seed, rtol=1e-6, atol=1e-6)


def test_top_is_five():
    assert TOP == 5
