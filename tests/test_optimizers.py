import jax
import jax.numpy as jnp
import numpy as np
import optax
import oracle
import pytest

from alphanet_jax.optimizers import (
    OPTIMIZERS,
    SCHEDULES,
    learning_rates,
    make_optimizer,
    parse_params,
)

STEPS = 130
HOW = {
    "defaults": {},
    "other constants": {
        "betas": [0.8, 0.95],
        "eps": 1e-3,
        "weight_decay": 0.3,
        "lr": 0.02,
    },
    "no decay": {"weight_decay": 0},
}


def random_course(rng):
    """Parameters, gradients of all sizes for each step, and decaying rates."""
    params = [rng.normal(size=(4, 3)), rng.normal(size=4)]
    sizes = 10.0 ** rng.integers(-6, 3, (STEPS, 1))
    grads = [
        rng.normal(size=(STEPS, 4, 3)) * sizes[..., None],
        rng.normal(size=(STEPS, 4)) * sizes,
    ]
    rates = np.repeat(oracle.step_lr(0.05, STEPS // 10, step_size=4, gamma=0.3), 10)
    return params, grads, rates


def run(transform, params, grads, rates):
    """Parameters after each step."""

    def step(carry, inputs):
        params, state = carry
        gradient, rate = inputs
        updates, state = transform.update(gradient, state, params, learning_rate=rate)
        params = optax.apply_updates(params, updates)
        return (params, state), params

    start = params, transform.init(params)
    return jax.jit(lambda s, i: jax.lax.scan(step, s, i)[1])(start, (grads, rates))


def run_oracle(params, grads, rates, **adamw):
    optimizer = oracle.AdamW(params, **adamw)
    course = []
    for t, rate in enumerate(rates):
        optimizer.step([g[t] for g in grads], rate)
        course.append([p.copy() for p in optimizer.params])
    return [np.array(part) for part in zip(*course, strict=True)]


class TestParseParams:
    @pytest.mark.parametrize(
        ("text", "expected"),
        [
            ("", {}),
            ("  ", {}),
            ("lr=0.001", {"lr": 0.001}),
            ("step_size=10,gamma=0.1", {"step_size": 10, "gamma": 0.1}),
            (" a = 1 , b = 2e-3 ", {"a": 1, "b": 0.002}),
            ("betas=[0.8, 0.99],lr=1", {"betas": [0.8, 0.99], "lr": 1}),
            ("a=[[1,2],[3]],b=2", {"a": [[1, 2], [3]], "b": 2}),
            ('a={"x": [1,2], "y": 3},b=2', {"a": {"x": [1, 2], "y": 3}, "b": 2}),
            ('a=true,b=null,c="d,e=f"', {"a": True, "b": None, "c": "d,e=f"}),
            ("a=-1", {"a": -1}),
        ],
    )
    def test_forms(self, text, expected):
        params = parse_params(text)
        assert params == expected
        assert list(params) == list(expected)
        for name, value in expected.items():
            assert type(params[name]) is type(value)

    @pytest.mark.parametrize(
        "text",
        [
            "lr",
            "lr=",
            "=1",
            "lr=0.1 gamma=2",
            "lr=0.1;gamma=2",
            "lr=abc",
            "lr=[1,2",
            "lr=1,,gamma=2",
            ",lr=1",
            "lr 2=1",
            "2=1",
            "lr==1",
            "lr=1,gamma",
            "lr=1,",
        ],
    )
    def test_other_forms(self, text):
        with pytest.raises(ValueError, match="expected key=value,key=value with JSON"):
            parse_params(text)

    def test_key_given_twice(self):
        with pytest.raises(ValueError, match="'lr' is given twice: 'lr=1, lr=2'"):
            parse_params("lr=1, lr=2")


class TestAdamW:
    def test_first_step_by_hand(self):
        # The first update is the gradient's sign; all else is decay.
        transform = make_optimizer("AdamW", {"weight_decay": 0.5}).transform
        params = np.float32([2.0, -3.0, 4.0])
        grads = np.float32([[0.1, 20.0, -0.003]])
        course = run(transform, params, grads, np.float32([0.01]))
        expected = [[2 - 0.01 - 0.01, -3 + 0.015 - 0.01, 4 - 0.02 + 0.01]]
        np.testing.assert_allclose(course, expected, rtol=1e-6)

    def test_default_decay_is_one_hundredth_of_every_parameter(self):
        params = {"weight": np.float32([[3.0]]), "bias": np.float32([-5.0])}
        grads = jax.tree.map(lambda x: 0 * x[None], params)
        course = run(
            make_optimizer("AdamW", {}).transform, params, grads, np.float32([0.1])
        )
        np.testing.assert_allclose(course["weight"], [[[2.997]]], rtol=1e-7)
        np.testing.assert_allclose(course["bias"], [[-4.995]], rtol=1e-7)

    @pytest.mark.parametrize("how", HOW)
    def test_course_against_oracle(self, rng, how):
        params, grads, rates = random_course(rng)
        how = dict(HOW[how])
        transform = make_optimizer("AdamW", how).transform
        single = jax.tree.map(np.float32, (params, grads, rates))
        course = run(transform, *single)
        how.pop("lr", None)
        expected = run_oracle(params, grads, rates, **how)
        for actual, part in zip(course, expected, strict=True):
            np.testing.assert_allclose(actual, part, rtol=2e-5, atol=2e-5)

    def test_course_in_float64_against_oracle(self, rng, x64):
        params, grads, rates = random_course(rng)
        course = run(make_optimizer("AdamW", {}).transform, params, grads, rates)
        expected = run_oracle(params, grads, rates)
        for actual, part in zip(course, expected, strict=True):
            np.testing.assert_allclose(actual, part, rtol=1e-11, atol=1e-12)

    @pytest.mark.parametrize("how", HOW)
    def test_oracle_against_torch(self, rng, how):
        torch = pytest.importorskip("torch")
        params, grads, _ = random_course(rng)
        how = HOW[how]
        leaves = [torch.tensor(p, requires_grad=True) for p in params]
        optimizer = torch.optim.AdamW(leaves, **how)
        schedule = torch.optim.lr_scheduler.StepLR(optimizer, step_size=4, gamma=0.3)
        course = []
        for t in range(STEPS):
            for leaf, grad in zip(leaves, grads, strict=True):
                leaf.grad = torch.tensor(grad[t])
            optimizer.step()
            course.append([leaf.detach().numpy().copy() for leaf in leaves])
            if (t + 1) % 10 == 0:
                schedule.step()
        rates = learning_rates(
            "StepLR",
            {"step_size": 4, "gamma": 0.3},
            learning_rate=make_optimizer("AdamW", how).learning_rate,
            num_epochs=STEPS // 10,
        )
        constants = {name: value for name, value in how.items() if name != "lr"}
        expected = run_oracle(params, grads, np.repeat(rates, 10), **constants)
        for actual, part in zip(zip(*course, strict=True), expected, strict=True):
            np.testing.assert_allclose(np.array(actual), part, rtol=1e-11, atol=1e-13)

    def test_another_learning_rate_does_not_recompile(self):
        transform = make_optimizer("AdamW", {}).transform
        params = jnp.ones(3)
        traces = []

        @jax.jit
        def step(state, rate):
            traces.append(1)
            return transform.update(params, state, params, learning_rate=rate)

        state = transform.init(params)
        steps = []
        for rate in learning_rates(
            "StepLR", {"step_size": 1}, learning_rate=0.5, num_epochs=3
        ):
            update, _ = step(state, rate)
            steps.append(float(update[0]))
        np.testing.assert_allclose(steps, [-0.505, -0.0505, -0.00505], rtol=1e-5)
        assert len(traces) == 1

    def test_vmapped_over_rates(self):
        transform = make_optimizer("AdamW", {}).transform
        params = jnp.ones(3)
        state = transform.init(params)
        rates = jnp.array([0.1, 0.2])

        def step(rate):
            return transform.update(params, state, params, learning_rate=rate)[0]

        updates = jax.jit(jax.vmap(step))(rates)
        np.testing.assert_allclose(updates[1], 2 * updates[0], rtol=1e-6)


class TestMakeOptimizer:
    def test_learning_rate(self):
        assert make_optimizer("AdamW", {}).learning_rate == 0.001
        assert make_optimizer("AdamW", {"lr": 0.25}).learning_rate == 0.25

    def test_unknown_name(self):
        with pytest.raises(ValueError, match="optim_cls 'AdamV'; did you mean 'AdamW'"):
            make_optimizer("AdamV", {})
        with pytest.raises(ValueError, match="optim_cls 'LBFGS'; known are 'AdamW'"):
            make_optimizer("LBFGS", {})

    def test_unknown_parameter(self):
        message = r"AdamW takes \['lr', 'betas', 'eps', 'weight_decay'\], got \['wd'\]"
        with pytest.raises(ValueError, match=message):
            make_optimizer("AdamW", {"lr": 1.0, "wd": 0.1})

    def test_names_are_those_of_torch(self):
        torch = pytest.importorskip("torch")
        for name in OPTIMIZERS:
            assert issubclass(getattr(torch.optim, name), torch.optim.Optimizer)
        for name in SCHEDULES:
            assert hasattr(torch.optim.lr_scheduler, name)


class TestLearningRates:
    def test_step_lr_by_hand(self):
        rates = learning_rates(
            "StepLR",
            {"step_size": 3, "gamma": 0.5},
            learning_rate=8.0,
            num_epochs=8,
        )
        assert rates.tolist() == [8, 8, 8, 4, 4, 4, 2, 2]
        assert rates.dtype == np.float64

    def test_default_gamma_is_a_tenth(self):
        rates = learning_rates(
            "StepLR", {"step_size": 10}, learning_rate=0.001, num_epochs=25
        )
        np.testing.assert_allclose(rates, [1e-3] * 10 + [1e-4] * 10 + [1e-5] * 5)

    @pytest.mark.parametrize(
        ("step_size", "gamma", "num_epochs"), [(1, 0.9, 12), (7, 0.1, 30), (40, 2, 9)]
    )
    def test_against_oracle_and_torch(self, step_size, gamma, num_epochs):
        params = {"step_size": step_size, "gamma": gamma}
        rates = learning_rates(
            "StepLR", params, learning_rate=0.3, num_epochs=num_epochs
        )
        np.testing.assert_allclose(
            rates, oracle.step_lr(0.3, num_epochs, **params), rtol=1e-13
        )
        torch = pytest.importorskip("torch")
        optimizer = torch.optim.SGD([torch.zeros(1)], lr=0.3)
        schedule = torch.optim.lr_scheduler.StepLR(optimizer, **params)
        expected = []
        for _ in range(num_epochs):
            expected.append(schedule.get_last_lr()[0])
            optimizer.step()
            schedule.step()
        np.testing.assert_allclose(rates, expected, rtol=1e-13)

    def test_no_epochs(self):
        params = {"step_size": 2}
        rates = learning_rates("StepLR", params, learning_rate=1.0, num_epochs=0)
        assert rates.shape == (0,)

    @pytest.mark.parametrize("step_size", [0, -3])
    def test_step_size_out_of_range(self, step_size):
        with pytest.raises(ValueError, match=rf"step_size must be .* got {step_size}"):
            learning_rates(
                "StepLR", {"step_size": step_size}, learning_rate=1.0, num_epochs=3
            )

    @pytest.mark.parametrize(
        ("name", "params", "message"),
        [
            ("StepLr", {}, "unknown lr_sched_cls 'StepLr'; did you mean 'StepLR'"),
            ("Cosine", {}, "unknown lr_sched_cls 'Cosine'; known are 'StepLR'"),
            ("StepLR", {"gamma": 1}, r"StepLR needs \['step_size'\]"),
            (
                "StepLR",
                {"step_size": 1, "step": 2},
                r"StepLR takes \['step_size', 'gamma'\], got \['step'\]",
            ),
            # What the schedule is given by position is not for its parameters.
            ("StepLR", {"step_size": 1, "rate": 2}, r"got \['rate'\]"),
        ],
    )
    def test_unknown_or_missing(self, name, params, message):
        with pytest.raises(ValueError, match=message):
            learning_rates(name, params, learning_rate=1.0, num_epochs=3)
