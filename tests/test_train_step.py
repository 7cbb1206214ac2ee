import dataclasses
import functools

import jax
import numpy as np
import oracle
import pytest
from to_jax import assert_params_close, to_frozen, to_params, to_table

from alphanet_jax.lookup.optimizers import make_optimizer
from alphanet_jax.sampling import Batches
from alphanet_jax.scores import ScoreTable, few_logits
from alphanet_jax.train_step import (
    cross_entropy,
    init_state,
    loss_fn,
    train_epoch,
    train_step,
)

# A large eps keeps rounding in tiny gradients from becoming steps of full length.
_CONSTANTS = {"weight_decay": 0.1, "eps": 1e-3}
_TRANSFORM = make_optimizer("AdamW", _CONSTANTS).transform
_PLAIN = make_optimizer("AdamW", {}).transform

# The tests share what is compiled, which is most of their time.
_value_and_grad = jax.jit(jax.value_and_grad(cross_entropy))
_init_state = jax.jit(init_state, static_argnums=1)
_train_step = jax.jit(train_step, static_argnames="transform")
_traces = []


@functools.partial(jax.jit, static_argnames="transform")
def _train_epoch(*args, **kwargs):
    _traces.append(1)
    return train_epoch(*args, **kwargs)


def loss_and_grad(*args, **kwargs):
    # As NumPy arrays, whose indexing compiles nothing.
    return jax.device_get(_value_and_grad(*args, **kwargs))


def hand_worked(few_target, base_target_logit, base_logits, pred_scale=1.0):
    """Scores of one sample for a loss."""
    largest = max(base_logits)
    odds = np.exp(pred_scale * (np.array(base_logits) - largest))
    return ScoreTable(
        labels=np.array([0]),
        few_target=np.array([few_target]),
        source_scores=np.zeros((1, 1)),
        base_logsumexp=np.float32([np.log(odds.sum())]),
        base_target_logit=np.float32([base_target_logit]),
        top_logits=np.float32([[largest, 0, 0, 0, 0]]),
        top_classes=np.zeros((1, 5), int),
    )


class TestCrossEntropy:
    # By hand it is called eagerly, in all other tests compiled.
    @pytest.mark.slow
    def test_hand_worked(self):
        # Probabilities 1/10, 2/10 of the base and 3/10, 4/10 of the few classes.
        few_logits = np.log([[3.0, 4.0]])
        base_logits = np.log([1.0, 2.0])
        for few_target, base_target, expected in [
            (0, -np.inf, 0.3),
            (1, -np.inf, 0.4),
            (-1, base_logits[0], 0.1),
            (-1, base_logits[1], 0.2),
        ]:
            batch = hand_worked(few_target, base_target, base_logits)
            loss = cross_entropy(few_logits, batch, np.array([True]))
            np.testing.assert_allclose(loss, -np.log(expected), rtol=1e-6)

    @pytest.mark.slow
    def test_pred_scale_by_hand(self):
        # Doubled logits square the odds: 1, 4, 9 and 16 of 30.
        few_logits, base_logits = np.log([[3.0, 4.0]]), np.log([1.0, 2.0])
        for few_target, base_target, expected in [
            (1, -np.inf, 16 / 30),
            (-1, base_logits[0], 1 / 30),
            (-1, base_logits[1], 4 / 30),
        ]:
            batch = hand_worked(few_target, base_target, base_logits, 2.0)
            loss = cross_entropy(few_logits, batch, np.array([True]), pred_scale=2.0)
            np.testing.assert_allclose(loss, -np.log(expected), rtol=1e-6)

    @pytest.mark.slow
    @pytest.mark.parametrize("pred_scale", [1.0, 100.0])
    def test_loss_and_gradient_against_oracle(self, problem, rng, pred_scale):
        all_logits = oracle.logits(problem, rng.normal(size=problem.sources.shape))
        few_logits = all_logits[:, problem.few].astype(np.float32)
        table = to_table(problem, pred_scale)
        size = len(problem.labels)
        targets = np.isin(problem.labels, problem.few)
        for valid in (np.ones(size, bool), targets, ~targets, np.arange(size) % 3 > 0):
            loss, grad = loss_and_grad(few_logits, table, valid, pred_scale=pred_scale)
            dense = all_logits[valid], problem.labels[valid], pred_scale
            np.testing.assert_allclose(
                loss, oracle.cross_entropy(*dense), rtol=1e-5, atol=1e-5
            )
            expected = oracle.cross_entropy_gradient(*dense)[:, problem.few]
            np.testing.assert_allclose(
                grad[valid] / pred_scale, expected / pred_scale, rtol=2e-4, atol=1e-6
            )
            np.testing.assert_array_equal(grad[~valid], 0.0)

    @pytest.mark.slow
    @pytest.mark.parametrize("pred_scale", [1.0, 100.0])
    def test_is_exact_in_float64(self, usual, rng, pred_scale, x64):
        all_logits = oracle.logits(usual, rng.normal(size=usual.sources.shape))
        loss, grad = loss_and_grad(
            all_logits[:, usual.few],
            to_table(usual, pred_scale, np.float64),
            np.ones(len(usual.labels), bool),
            pred_scale=pred_scale,
        )
        dense = all_logits, usual.labels, pred_scale
        np.testing.assert_allclose(loss, oracle.cross_entropy(*dense), rtol=1e-12)
        expected = oracle.cross_entropy_gradient(*dense)[:, usual.few]
        np.testing.assert_allclose(grad, expected, rtol=1e-10, atol=1e-12)

    @pytest.mark.slow
    def test_padding_counts_for_nothing(self, usual, rng):
        table = to_table(usual)
        few_logits = rng.normal(size=(len(usual.labels), 3)).astype(np.float32)
        valid = np.arange(len(usual.labels)) < 9
        loss, grad = loss_and_grad(few_logits, table, valid, pred_scale=1.0)
        # Whatever is in the padded rows, a label of -1 with its infinities included.
        rubbish = dataclasses.replace(
            table,
            few_target=np.where(valid, table.few_target, -1),
            base_target_logit=np.where(valid, table.base_target_logit, -np.inf),
            base_logsumexp=np.where(valid, table.base_logsumexp, np.float32(1e30)),
        )
        other = np.where(valid[:, None], few_logits, np.float32(7e5))
        other_loss, other_grad = loss_and_grad(other, rubbish, valid, pred_scale=1.0)
        np.testing.assert_array_equal(loss, other_loss)
        np.testing.assert_array_equal(grad, other_grad)
        np.testing.assert_array_equal(grad[9:], 0.0)
        assert np.abs(grad[:9]).min() > 0

    def test_no_valid_row(self, usual, rng):
        few_logits = rng.normal(size=(len(usual.labels), 3)).astype(np.float32)
        valid = np.zeros(len(usual.labels), bool)
        loss, grad = loss_and_grad(few_logits, to_table(usual), valid, pred_scale=1.0)
        assert loss == 0
        np.testing.assert_array_equal(grad, 0.0)

    @pytest.mark.parametrize("size", [-1e5, 0.0, 1e5])
    @pytest.mark.parametrize("pred_scale", [1.0, 100.0])
    def test_extreme_logits(self, usual, size, pred_scale):
        # Of the few classes far above, at and far below those of the base.
        problem = usual._replace(features=usual.features * np.float32(100))
        all_logits = oracle.logits(problem, np.ones(usual.sources.shape))
        all_logits[:, usual.few] += size
        loss, grad = loss_and_grad(
            all_logits[:, usual.few].astype(np.float32),
            to_table(problem, pred_scale),
            np.ones(len(usual.labels), bool),
            pred_scale=pred_scale,
        )
        expected = oracle.cross_entropy(all_logits, usual.labels, pred_scale)
        np.testing.assert_allclose(loss, expected, rtol=1e-5)
        assert np.isfinite(grad).all()

    def test_no_digits_are_lost_to_an_offset(self, usual, rng):
        # Sixteenths stay exact with an offset whose sums have no more digits.
        def rounded(x, offset):
            return np.float32(np.round(16 * x) / 16 + offset)

        few_logits = rng.normal(size=(len(usual.labels), 3))
        table, valid = to_table(usual), np.ones(len(usual.labels), bool)
        results = []
        for offset in (0.0, 2.0**19):
            moved = dataclasses.replace(
                table,
                base_target_logit=rounded(table.base_target_logit, offset),
                top_logits=rounded(table.top_logits, offset),
            )
            results.append(
                loss_and_grad(rounded(few_logits, offset), moved, valid, pred_scale=1.0)
            )
        for first, second in zip(*results, strict=True):
            np.testing.assert_array_equal(first, second)


class TestLossFn:
    @pytest.mark.slow
    def test_against_oracle(self, usual, x64):
        valid = np.arange(len(usual.labels)) % 4 != 2
        loss, grads = jax.jit(jax.value_and_grad(loss_fn))(
            to_params(usual.params, np.float64),
            to_table(usual, 3.0, np.float64),
            valid,
            to_frozen(usual, np.float64),
            pred_scale=3.0,
        )
        part = oracle.take(usual, valid)
        expected = oracle.loss(usual.params, part, 3.0)
        np.testing.assert_allclose(loss, expected, rtol=1e-12)
        expected = oracle.gradient(lambda p: oracle.loss(p, part, 3.0), usual.params)
        assert_params_close(grads, expected, rtol=1e-9, atol=1e-12)


class TestInitState:
    def test_holds_params_and_no_moments(self, usual):
        params = to_params(usual.params)
        state = init_state(params, make_optimizer("AdamW", {}).transform)
        assert state.params is params
        moments = [x for x in jax.tree.leaves(state.opt_state) if x.ndim]
        assert len(moments) == 2 * len(jax.tree.leaves(params))
        for moment in moments:
            np.testing.assert_array_equal(moment, 0.0)


class TestTrainStep:
    @pytest.mark.slow
    def test_against_oracle(self, problem, x64):
        # Two steps in float64; k = 1 has no gradient but rounding.
        state = _init_state(to_params(problem.params, np.float64), _TRANSFORM)
        rows = np.arange(len(problem.labels))
        valid, rates = rows % 5 != 1, (0.01, 0.003)
        losses = []
        for rate in rates:
            state, loss = _train_step(
                state,
                to_table(problem, 10.0, np.float64),
                valid,
                to_frozen(problem, np.float64),
                rate,
                transform=_TRANSFORM,
                pred_scale=10.0,
            )
            losses.append(loss)
        expected, expected_losses = oracle.train(
            problem, [rows[valid]] * 2, rates, pred_scale=10.0, **_CONSTANTS
        )
        np.testing.assert_allclose(losses, expected_losses, rtol=1e-10)
        if problem.sources.shape[1] > 2:
            assert_params_close(state.params, expected, rtol=1e-8, atol=1e-10)

    @pytest.mark.slow
    def test_any_network_will_do(self, usual):
        """One that gives fixed coefficients learns nothing, and its loss is theirs."""
        fixed = np.random.default_rng(0).normal(size=usual.sources.shape)
        fixed = fixed.astype(np.float32)
        frozen, valid = to_frozen(usual), np.ones(len(usual.labels), bool)
        params, plain = to_params(usual.params), make_optimizer("SGD", {}).transform
        state, loss = train_step(
            _init_state(params, plain),
            to_table(usual),
            valid,
            frozen,
            0.5,
            transform=plain,
            network=lambda params, sources: fixed,
        )
        jax.tree.map(np.testing.assert_array_equal, state.params, params)
        logits = few_logits(
            fixed, to_table(usual).source_scores, frozen.source_index, frozen.few_bias
        )
        expected = cross_entropy(logits, to_table(usual), valid)
        np.testing.assert_allclose(loss, expected, rtol=1e-6)


def cut(order, batch_size):
    """Batches of an order of rows: as padded arrays, and as lists."""
    lists = [
        order[start : start + batch_size] for start in range(0, len(order), batch_size)
    ]
    rows = np.zeros((len(lists), batch_size), np.int32)
    valid = np.zeros(rows.shape, bool)
    for t, batch in enumerate(lists):
        rows[t, : len(batch)] = batch
        valid[t, : len(batch)] = True
    return Batches(rows, valid), lists


class TestTrainEpoch:
    @pytest.fixture
    def course(self, usual, rng):
        """Two epochs of 26 rows in batches of 7: 7, 7, 7 and 5."""
        epochs = []
        for rate in (0.01, 0.002):
            order = np.concatenate([rng.permutation(23), rng.integers(0, 23, 3)])
            epochs.append((*cut(order, 7), rate))
        return epochs

    def train(
        self,
        problem,
        course,
        dtype,
        transform=_TRANSFORM,
        pred_scale=1.0,
        momentum=None,
    ):
        state = _init_state(to_params(problem.params, dtype), transform)
        table = to_table(problem, pred_scale, dtype)
        frozen = to_frozen(problem, dtype)
        losses = []
        for batches, _, rate in course:
            state, of_epoch = _train_epoch(
                state,
                batches,
                table,
                frozen,
                rate,
                transform=transform,
                pred_scale=pred_scale,
                momentum=momentum,
            )
            assert of_epoch.shape == (4,)
            losses += of_epoch.tolist()
        return state.params, np.array(losses)

    def train_oracle(self, problem, course, pred_scale=1.0, **constants):
        lists = [rows for _, lists, _ in course for rows in lists]
        rates = [rate for _, lists, rate in course for _ in lists]
        return oracle.train(problem, lists, rates, pred_scale=pred_scale, **constants)

    @pytest.mark.slow
    def test_against_oracle(self, usual, course):
        params, losses = self.train(usual, course, np.float32)
        expected, expected_losses = self.train_oracle(usual, course, **_CONSTANTS)
        np.testing.assert_allclose(losses, expected_losses, rtol=1e-5)
        assert_params_close(params, expected, rtol=2e-5, atol=2e-5)

    @pytest.mark.slow
    @pytest.mark.parametrize("pred_scale", [1.0, 10.0])
    def test_in_float64_with_default_constants(self, usual, course, pred_scale, x64):
        params, losses = self.train(usual, course, np.float64, _PLAIN, pred_scale)
        expected, expected_losses = self.train_oracle(usual, course, pred_scale)
        np.testing.assert_allclose(losses, expected_losses, rtol=1e-9)
        assert_params_close(params, expected, rtol=1e-7, atol=1e-9)

    @pytest.mark.slow
    def test_padded_rows_are_never_seen(self, usual, course):
        # Padding names row 0; here it is a sample that would dominate any mean.
        features = usual.features.copy()
        features[0] *= 1e4
        spoiled = usual._replace(features=features)
        clean = [(*cut(np.arange(1, 23), 7), rate) for *_, rate in course]
        params, losses = self.train(usual, clean, np.float32)
        spoiled_params, spoiled_losses = self.train(spoiled, clean, np.float32)
        np.testing.assert_array_equal(losses, spoiled_losses)
        jax.tree.map(np.testing.assert_array_equal, params, spoiled_params)

    @pytest.mark.slow
    def test_loss_of_the_last_batch_is_its_own_mean(self, usual):
        order = np.arange(22)
        batches, lists = cut(order, 7)
        _, losses = self.train(usual, [(batches, lists, 0.0)], np.float32)
        expected = [oracle.loss(usual.params, oracle.take(usual, r)) for r in lists]
        assert len(lists[-1]) == 1
        np.testing.assert_allclose(losses, expected, rtol=1e-5)

    def test_training_learns(self, usual, course):
        _, losses = self.train(usual, course * 40, np.float32)
        assert losses[-8:].mean() < losses[:8].mean() - 0.05

    @pytest.mark.slow
    def test_vmapped_over_seeds_equals_single(self, usual, course):
        problems = [usual, usual._replace(params=oracle.random_problem(9).params)]
        stacked = jax.tree.map(
            lambda *x: np.stack(x), *[to_params(p.params) for p in problems]
        )
        batches = jax.tree.map(lambda *x: np.stack(x), course[0][0], course[1][0])

        def run(params, batches, table, frozen, rate):
            state = init_state(params, _TRANSFORM)
            return train_epoch(
                state, batches, table, frozen, rate, transform=_TRANSFORM
            )

        states, losses = jax.jit(jax.vmap(run, in_axes=(0, 0, None, None, 0)))(
            stacked,
            batches,
            to_table(usual),
            to_frozen(usual),
            np.array([0.01, 0.002]),
        )
        states, losses = jax.device_get((states, losses))
        for seed, problem in enumerate(problems):
            params, expected = self.train(problem, course[seed : seed + 1], np.float32)
            np.testing.assert_allclose(losses[seed], expected, rtol=1e-5)
            one = jax.tree.map(lambda x, s=seed: x[s], states.params)
            assert_params_close(one, params, rtol=1e-5, atol=1e-5)

    @pytest.mark.slow
    def test_momentum_that_is_given(self, usual, course):
        fixed = make_optimizer("SGD", {"momentum": 0.6}).transform
        free = make_optimizer("SGD", {}, momentum_changes=True).transform
        expected, _ = self.train(usual, course, np.float32, fixed)
        params, _ = self.train(usual, course, np.float32, free, momentum=0.6)
        assert_params_close(params, expected, rtol=1e-5, atol=1e-6)
        without, _ = self.train(usual, course, np.float32, free)
        assert np.abs(without[-1].weight - params[-1].weight).max() > 1e-3

    def epoch(self, usual, batches, rate=0.01, **how):
        state = _init_state(to_params(usual.params), _TRANSFORM)
        return jax.device_get(
            _train_epoch(
                state,
                batches,
                to_table(usual),
                to_frozen(usual),
                rate,
                transform=_TRANSFORM,
                **how,
            )
        )

    @pytest.mark.slow
    @pytest.mark.parametrize("steps", [0, 1, 3, 4, 9])
    def test_fewer_steps_cut_the_epoch_short(self, usual, course, steps):
        batches = course[0][0]
        state, losses = self.epoch(usual, batches, num_steps=np.int32(steps))
        steps = min(steps, 4)
        assert losses.shape == (4,)
        assert np.isnan(losses[steps:]).all()
        expected = _init_state(to_params(usual.params), _TRANSFORM)
        for step in range(steps):
            one = jax.tree.map(lambda x, t=step: x[t : t + 1], batches)
            expected, loss = _train_epoch(
                expected,
                one,
                to_table(usual),
                to_frozen(usual),
                0.01,
                transform=_TRANSFORM,
            )
            np.testing.assert_allclose(losses[step], loss[0], rtol=1e-6)
        # The count of steps, which the bias of moments depends on, is exact.
        jax.tree.map(
            functools.partial(np.testing.assert_allclose, rtol=1e-5, atol=1e-6),
            state,
            jax.device_get(expected),
        )

    @pytest.mark.slow
    def test_another_number_of_steps_does_not_recompile(self, usual, course):
        self.epoch(usual, course[0][0], num_steps=np.int32(2))
        before = len(_traces)
        for steps in (0, 1, 3):
            self.epoch(usual, course[0][0], num_steps=np.int32(steps))
        assert len(_traces) == before

    @pytest.mark.slow
    @pytest.mark.parametrize("places", [(4, 5, 6), (0, 1, 2), (0, 3, 6)])
    def test_batches_without_a_row_are_no_steps(self, usual, course, places):
        batches = course[0][0]
        real = [t for t in range(7) if t not in places]
        # What such batches would name is a sample that moves every parameter.
        rows, valid = np.full((7, 7), 5, np.int32), np.zeros((7, 7), bool)
        rows[real], valid[real] = batches.rows, batches.valid
        state, losses = self.epoch(usual, batches)
        padded_state, padded_losses = self.epoch(usual, Batches(rows, valid))
        np.testing.assert_array_equal(padded_losses[real], losses)
        assert np.isnan(padded_losses[list(places)]).all()
        # Bit for bit, moments and the count of steps included.
        jax.tree.map(np.testing.assert_array_equal, padded_state, state)

    @pytest.mark.slow
    def test_vmapped_over_numbers_of_steps_equals_single(self, usual, course):
        batches = course[0][0]
        valid = np.stack([batches.valid] * 3)
        valid[1, 2:] = False
        valid[2] = False
        rows = np.stack([batches.rows] * 3)
        arguments = to_table(usual), to_frozen(usual), 0.01

        def run(batches, num_steps):
            state = init_state(to_params(usual.params), _TRANSFORM)
            return train_epoch(
                state, batches, *arguments, transform=_TRANSFORM, num_steps=num_steps
            )

        states, losses = jax.device_get(
            jax.jit(jax.vmap(run, in_axes=(0, None)))(Batches(rows, valid), 4)
        )
        for index, steps in enumerate((4, 2, 0)):
            state, expected = self.epoch(usual, batches, num_steps=np.int32(steps))
            np.testing.assert_allclose(losses[index], expected, rtol=1e-5)
            jax.tree.map(
                functools.partial(np.testing.assert_allclose, rtol=1e-5, atol=1e-6),
                jax.tree.map(lambda x, i=index: x[i], states),
                state,
            )

    def test_another_rate_or_scale_does_not_recompile(self, usual, course):
        self.train(usual, course[:1], np.float32)
        before = len(_traces)
        for batches, lists, rate in course:
            again = [(batches, lists, 3 * rate)]
            self.train(usual, again, np.float32, pred_scale=1 + rate)
        assert len(_traces) == before
