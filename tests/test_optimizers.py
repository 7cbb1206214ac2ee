import inspect

import jax
import jax.numpy as jnp
import numpy as np
import optax
import oracle
import pytest
import record_torch

from alphanet_jax.lookup.optimizers import (
    OPTAX_OPTIMIZERS,
    OPTIMIZERS,
    make_optimizer,
)
from alphanet_jax.lookup.schedules import make_schedule

STEPS = 130
PARTS = ("matrix", "vector")
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
        rates = make_schedule(
            "StepLR",
            {"step_size": 4, "gamma": 0.3},
            learning_rate=make_optimizer("AdamW", how).learning_rate,
            num_epochs=STEPS // 10,
        ).learning_rate
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
        for rate in (0.5, 0.05, 0.005):
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


def recorded_course(dtype):
    """Start, gradients, rates and momenta as recorded, in a dtype."""
    with np.load(record_torch.PATH) as file:
        start, grads = (
            {part: file[f"{kind}/{part}"].astype(dtype) for part in PARTS}
            for kind in ("start", "grads")
        )
        return start, grads, file["rates"].astype(dtype), file["momenta"].astype(dtype)


def run_recorded(optimizer, dtype, *, cycled=False):
    """Parameters after the kept steps, all in one row for each."""
    transform = optimizer.transform

    def step(carry, inputs):
        params, state = carry
        grads, rate, momentum = inputs
        updates, state = transform.update(
            grads,
            state,
            params,
            learning_rate=rate,
            momentum=momentum if cycled else None,
        )
        params = optax.apply_updates(params, updates)
        return (params, state), jnp.concatenate([params[p].ravel() for p in PARTS])

    @jax.jit
    def course(start, *inputs):
        return jax.lax.scan(step, (start, transform.init(start)), inputs)[1]

    rows = np.asarray(course(*recorded_course(dtype)))
    assert rows.dtype == dtype
    return rows[record_torch.KEPT]


CASES = [(*case, False) for case in record_torch.OPTIMIZERS]
CASES += [(*case, True) for case in record_torch.CYCLED]
LABELS = [
    record_torch.label(name, params) + cycled * " cycled"
    for name, params, cycled in CASES
]


def expected_course(index, dtype):
    with np.load(record_torch.PATH) as file:
        if dtype == "float32" and CASES[index] == ("Adafactor", {}, False):
            return file["adafactor_float32"]
        return np.concatenate([file["optimizers"], file["cycled"]])[index]


class TestTorchOptimizers:
    def test_record_is_of_these_cases(self):
        cases = [*record_torch.OPTIMIZERS, *record_torch.CYCLED]
        cases += record_torch.SCHEDULES
        labels = [record_torch.label(*case) for case in cases]
        with np.load(record_torch.PATH) as file:
            assert file["cases"].tolist() == [*labels, *record_torch.ACTIVATIONS]
        assert {name for name, _ in record_torch.OPTIMIZERS} == set(OPTIMIZERS)

    def test_record_can_be_made_anew(self):
        pytest.importorskip("torch")
        anew = record_torch.record()
        with np.load(record_torch.PATH) as file:
            assert set(anew) == set(file.files)
            for name, array in anew.items():
                assert array.dtype == file[name].dtype
                if name == "cases":
                    np.testing.assert_array_equal(array, file[name])
                else:
                    np.testing.assert_allclose(array, file[name], rtol=1e-9, atol=1e-12)

    @pytest.mark.parametrize("index", range(len(CASES)), ids=LABELS)
    def test_course(self, index):
        name, params, cycled = CASES[index]
        optimizer = make_optimizer(name, params, momentum_changes=cycled)
        rows = run_recorded(optimizer, "float32", cycled=cycled)
        expected = expected_course(index, "float32")
        np.testing.assert_allclose(rows, expected, rtol=1e-5, atol=1e-5)

    @pytest.mark.parametrize("index", range(len(CASES)), ids=LABELS)
    def test_course_in_float64(self, index, x64):
        name, params, cycled = CASES[index]
        optimizer = make_optimizer(name, params, momentum_changes=cycled)
        rows = run_recorded(optimizer, "float64", cycled=cycled)
        expected = expected_course(index, "float64")
        np.testing.assert_allclose(rows, expected, rtol=1e-9, atol=1e-9)

    @pytest.mark.parametrize(
        ("name", "params", "expected"),
        [
            # Each with rate 0.1, then 0.2, from 1 with gradients 4 and -2. Rates:
            ("SGD", {}, [0.6, 1.0]),
            # ... of 4 and 0.5 * 4 - 2.
            ("SGD", {"momentum": 0.5}, [0.6, 0.6]),
            # ... of 4, not dampened, and 0.5 * 4 - 0.25 * 2.
            ("SGD", {"momentum": 0.5, "dampening": 0.75}, [0.6, 0.3]),
            # ... of 4 + 0.5 * 4 and -2 + 0.5 * (0.5 * 4 - 2).
            ("SGD", {"momentum": 0.5, "nesterov": True}, [0.4, 0.8]),
            # ... of 4 + 0.5 and -2 + 0.5 * 0.55.
            ("SGD", {"weight_decay": 0.5}, [0.55, 0.895]),
            ("SGD", {"maximize": True}, [1.4, 1.0]),
            # Signs; then -2 / sqrt(4**2 + 2**2).
            ("Adagrad", {}, [0.9, 0.9 + 0.4 / 20**0.5]),
            # Of size 0.1, then turned around, which is not gone.
            ("Rprop", {}, [0.9, 0.9]),
            # With the first rate at the second step too.
            ("ASGD", {"lambd": 0.0}, [0.6, 0.8]),
            # Not rectified yet: means 4 and (0.9 * 0.4 - 0.2) / 0.19.
            ("RAdam", {}, [0.6, 0.6 - 0.2 * 0.16 / 0.19]),
            # Larger of 4 and 0.999 * 4.
            ("Adamax", {}, [0.9, 0.9 - 0.2 * 0.16 / 0.19 / 3.996]),
            # 4 / 0.4, then -2 / sqrt(0.99 * 0.16 + 0.04).
            ("RMSprop", {}, [0.0, 0.4 / 0.1984**0.5]),
            # The parameter's size times a sign, the first larger than 1e-3.
            ("Adafactor", {}, [0.9, 0.9 + 0.18 * 2 / (16 - 12 * 2**-0.8) ** 0.5]),
        ],
    )
    def test_two_steps_by_hand(self, name, params, expected):
        transform = make_optimizer(name, params).transform
        start, grads = np.float32([1.0]), np.float32([[4.0], [-2.0]])
        course = run(transform, start, grads, np.float32([0.1, 0.2]))
        np.testing.assert_allclose(course[:, 0], expected, rtol=2e-6, atol=1e-7)

    def test_defaults_are_those_of_torch(self):
        torch = pytest.importorskip("torch")
        for name, row in OPTIMIZERS.items():
            theirs = inspect.signature(getattr(torch.optim, name)).parameters
            for param, (default, _) in row.params.items():
                assert theirs[param].default == default, (name, param)
            without = {"params", "foreach", "fused", "capturable", "differentiable"}
            if name == "ASGD":
                without |= {"t0"}
            assert set(theirs) - without == set(row.params)

    def test_every_optimizer_of_torch_is_known_or_refused_with_a_reason(self):
        torch = pytest.importorskip("torch")
        for name, value in vars(torch.optim).items():
            if (
                inspect.isclass(value)
                and name != "Optimizer"
                and name not in OPTIMIZERS
            ):
                with pytest.raises(ValueError, match=f"'{name}' is not available: it "):
                    make_optimizer(name, {})

    @pytest.mark.parametrize(
        ("name", "params", "plain"),
        [
            (
                "AdamW",
                {},
                optax.chain(optax.scale_by_adam(), optax.add_decayed_weights(0.01)),
            ),
            ("Adam", {}, optax.scale_by_adam()),
            ("SGD", {"momentum": 0.9}, optax.trace(0.9)),
            ("RMSprop", {}, optax.scale_by_rms(0.99, eps_in_sqrt=False)),
        ],
    )
    def test_common_ones_are_those_of_optax_to_the_last_bit(
        self, rng, name, params, plain
    ):
        start, grads, rates = jax.tree.map(np.float32, random_course(rng))
        course = run(make_optimizer(name, params).transform, start, grads, rates)

        def update(grads, state, params, *, learning_rate):
            updates, state = plain.update(grads, state, params)
            return jax.tree.map(lambda u: u * -learning_rate, updates), state

        transform = optax.GradientTransformationExtraArgs(plain.init, update)
        expected = run(transform, start, grads, rates)
        jax.tree.map(np.testing.assert_array_equal, course, expected)

    def test_no_variance_is_no_nan(self):
        # By rounding, the mean square may be less than the squared mean.
        params = {"centered": True, "alpha": 0.5}
        transform = make_optimizer("RMSprop", params).transform
        grads = np.tile(np.logspace(-3, 3, 100, dtype=np.float32), (100, 1))
        start = np.zeros(100, np.float32)
        course = run(transform, start, grads, np.full(100, 1e-9, np.float32))
        assert np.isfinite(course).all()

    @pytest.mark.parametrize("name", OPTIMIZERS)
    def test_memory_is_float32_and_each_array_its_own(self, name):
        params = {"momentum": 0.9} if name == "SGD" else {}
        transform = make_optimizer(name, params).transform
        start = {"matrix": jnp.ones((2, 3)), "vector": jnp.ones(3)}
        state = transform.init(start)
        arrays = jax.tree.leaves(state)
        assert {str(array.dtype) for array in arrays} <= {"float32", "int32"}
        assert len({array.unsafe_buffer_pointer() for array in arrays}) == len(arrays)
        step = jax.jit(transform.update, donate_argnums=1)
        _, state = step(start, state, start, learning_rate=0.1)
        assert all(array.is_deleted() for array in arrays)
        _, again = step(start, state, start, learning_rate=0.1)
        assert [x.dtype for x in jax.tree.leaves(again)] == [x.dtype for x in arrays]


class TestOptaxOptimizers:
    @pytest.mark.slow
    @pytest.mark.parametrize("name", OPTAX_OPTIMIZERS)
    def test_vmapped_course_is_that_of_optax(self, rng, name):
        # Two runs at once with rates of their own, and each as optax alone would.
        params = rng.normal(size=(2, 3, 2)).astype("f4")
        grads = rng.normal(size=(3, 2, 3, 2)).astype("f4")
        rates = np.float32([[0.1, 0.2], [0.5, 0.3], [0.2, 0.4]])
        transform = make_optimizer(name, {"lr": 1.0}).transform
        over_runs = jax.vmap(
            lambda p, g, r: run(transform, p, g, r), in_axes=(0, 1, 1), out_axes=1
        )
        actual = over_runs(params, grads, rates)
        assert actual.dtype == np.float32

        @jax.jit
        def alone(params, grads, rates):
            state = getattr(optax, name)(learning_rate=1.0).init(params)
            for grad, rate in zip(grads, rates, strict=True):
                transform = getattr(optax, name)(learning_rate=rate)
                updates, state = transform.update(grad, state, params)
                params = optax.apply_updates(params, updates)
            return params

        expected = alone(params[1], grads[:, 1], rates[:, 1])
        np.testing.assert_allclose(actual[-1, 1], expected, rtol=1e-5, atol=1e-6)

    @pytest.mark.parametrize(
        ("name", "momentum"),
        [("sgd", "momentum"), ("rmsprop", "momentum"), ("adam", "b1"), ("lion", "b1")],
    )
    def test_momentum_that_changes(self, rng, name, momentum):
        grads = rng.normal(size=(3, 4)).astype("f4")
        transform = make_optimizer(name, {"lr": 1.0}, momentum_changes=True).transform
        params = expected = np.float32([1.0, 2.0, 3.0, 4.0])
        state = transform.init(params)
        other = getattr(optax, name)(0.1, **{momentum: 0.5}).init(params)
        for grad, value in zip(grads, (0.9, 0.5, 0.7), strict=True):
            updates, state = transform.update(
                grad, state, params, learning_rate=0.1, momentum=value
            )
            params = optax.apply_updates(params, updates)
            theirs = getattr(optax, name)(0.1, **{momentum: value})
            updates, other = theirs.update(grad, other, expected)
            expected = optax.apply_updates(expected, updates)
        np.testing.assert_allclose(params, expected, rtol=1e-6)

    def test_parameters(self):
        one = make_optimizer("sgd", {"learning_rate": 0.5, "momentum": 0.5})
        assert one.learning_rate == 0.5
        assert (
            make_optimizer("sgd", {"lr": 0.25, "momentum": None}).learning_rate == 0.25
        )
        grads = np.float32([[4.0], [-2.0]])
        course = run(one.transform, np.float32([1.0]), grads, np.float32([0.1, 0.2]))
        np.testing.assert_allclose(course, [[0.6], [0.6]], rtol=1e-6)
        make_optimizer("adafactor", {"lr": 0.1, "clipping_threshold": None})

    def test_every_optimizer_of_optax_is_known_or_refused_with_a_reason(self):
        from optax._src import alias

        for name in vars(alias):
            takes_rate = callable(
                getattr(optax, name, None)
            ) and "learning_rate" in str(inspect.signature(getattr(optax, name)))
            if takes_rate and name not in OPTAX_OPTIMIZERS:
                with pytest.raises(ValueError, match=f"'{name}' is not available: "):
                    make_optimizer(name, {"lr": 0.1})


class TestEveryOptimizer:
    @pytest.mark.slow
    @pytest.mark.parametrize("name", OPTIMIZERS)
    def test_vmapped_and_eager_equal_compiled(self, rng, name):
        params = rng.normal(size=(2, 3, 2)).astype("f4")
        grads = rng.normal(size=(3, 2, 3, 2)).astype("f4")
        rates = np.float32([[0.1, 0.2], [0.5, 0.3], [0.2, 0.4]])
        transform = make_optimizer(name, {}).transform
        single = run(transform, params[1], grads[:, 1], rates[:, 1])
        over_runs = jax.vmap(
            lambda p, g, r: run(transform, p, g, r), in_axes=(0, 1, 1), out_axes=1
        )
        vmapped = over_runs(params, grads, rates)
        np.testing.assert_allclose(vmapped[:, 1], single, rtol=1e-5, atol=1e-6)
        one, state = params[1], transform.init(params[1])
        for grad, rate in zip(grads[:, 1], rates[:, 1], strict=True):
            updates, state = transform.update(grad, state, one, learning_rate=rate)
            one = optax.apply_updates(one, updates)
        np.testing.assert_allclose(one, single[-1], rtol=1e-5, atol=1e-6)

    @pytest.mark.parametrize(
        ("name", "params"),
        [
            ("SGD", {"momentum": 0.9, "nesterov": True}),
            ("RMSprop", {"momentum": 0.9}),
            ("AdamW", {}),
            ("RAdam", {}),
            ("adamw", {"lr": 1.0}),
            ("sgd", {"lr": 1.0, "momentum": 0.9}),
        ],
    )
    def test_momentum_not_given_is_the_constant(self, rng, name, params):
        course = jax.tree.map(np.float32, random_course(rng))
        fixed = make_optimizer(name, params).transform
        free = make_optimizer(name, params, momentum_changes=True).transform
        jax.tree.map(
            lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=2e-5),
            run(fixed, *course),
            run(free, *course),
        )

    def test_another_learning_rate_or_momentum_does_not_recompile(self):
        for name, given in (("SGD", {}), ("Adam", {}), ("sgd", {"lr": 1.0})):
            transform = make_optimizer(name, given, momentum_changes=True).transform
            params = jnp.ones(3)
            traces = []

            @jax.jit
            def step(state, rate, momentum, transform=transform, traces=traces):
                traces.append(1)
                return transform.update(
                    jnp.ones(3),
                    state,
                    jnp.ones(3),
                    learning_rate=rate,
                    momentum=momentum,
                )

            state = transform.init(params)
            for rate, momentum in ((0.1, 0.9), (0.2, 0.8), (0.3, 0.85)):
                _, state = step(state, rate, momentum)
            assert len(traces) == 1

    @pytest.mark.parametrize("name", ["AdamW", "SGD", "Adagrad", "NAdam", "adam"])
    def test_momentum_given_to_a_fixed_one(self, name):
        transform = make_optimizer(name, {"lr": 1.0}).transform
        params = jnp.ones(3)
        with pytest.raises(ValueError, match="was built with a fixed momentum"):
            transform.update(
                params,
                transform.init(params),
                params,
                learning_rate=0.1,
                momentum=0.9,
            )


class TestMakeOptimizer:
    def test_learning_rate(self):
        assert make_optimizer("AdamW", {}).learning_rate == 0.001
        assert make_optimizer("AdamW", {"lr": 0.25}).learning_rate == 0.25

    def test_which_have_a_momentum(self):
        without = {
            name for name in OPTIMIZERS if not make_optimizer(name, {}).has_momentum
        }
        assert without == {"ASGD", "Adadelta", "Adafactor", "Adagrad", "Rprop"}
        for name in [*without, "sign_sgd", "yogi", "fromage"]:
            if name not in without and make_optimizer(name, {"lr": 1}).has_momentum:
                continue
            with pytest.raises(ValueError, match=f"{name} has no momentum"):
                make_optimizer(name, {"lr": 1.0}, momentum_changes=True)

    @pytest.mark.parametrize(
        ("name", "message"),
        [
            ("AdamWW", r"unknown optim_cls 'AdamWW'; did you mean 'AdamW'"),
            ("adamW", r"unknown optim_cls 'adamW'; did you mean 'AdamW' or 'adamw'\?"),
            (
                "xyz",
                r"optim_cls 'xyz'; known are 'ASGD', .* 'SGD', 'adabelief', .*'yogi'",
            ),
            (
                "LBFGS",
                r"'LBFGS' is not available: it evaluates the loss .*; known are 'AS",
            ),
            (
                "Muon",
                r"'Muon' is not available: it takes matrices only, and the network",
            ),
            ("SparseAdam", r"is not available: it takes sparse gradients"),
            ("polyak_sgd", r"is not available: it needs the value of the loss"),
            ("noisy_sgd", r"is not available: it needs random numbers"),
            (
                "rprop",
                r"is not available: it reads .* only before the first step; see Rpr",
            ),
        ],
    )
    def test_names_that_are_not_available(self, name, message):
        with pytest.raises(ValueError, match=message):
            make_optimizer(name, {})

    def test_unknown_parameter(self):
        message = (
            r"AdamW takes \['lr', 'betas', 'eps', 'weight_decay', 'amsgrad', "
            r"'maximize'\], got \['wd'\]"
        )
        with pytest.raises(ValueError, match=message):
            make_optimizer("AdamW", {"lr": 1.0, "wd": 0.1})

    @pytest.mark.parametrize("name", OPTIMIZERS)
    @pytest.mark.parametrize("param", ["foreach", "fused", "capturable"])
    def test_how_torch_computes_is_refused(self, name, param):
        message = f"{name} does not take '{param}': it only chooses how PyTorch"
        with pytest.raises(ValueError, match=message):
            make_optimizer(name, {param: False})

    @pytest.mark.parametrize(
        ("name", "params", "message"),
        [
            (
                "SGD",
                {"momentum": -0.1},
                r"SGD: momentum must be .* \[0, inf\), got -0.1",
            ),
            ("SGD", {"nesterov": True}, "nesterov needs a momentum and no dampening"),
            (
                "SGD",
                {"nesterov": True, "momentum": 0.9, "dampening": 0.1},
                "nesterov needs a momentum and no dampening",
            ),
            (
                "SGD",
                {"dampening": 0.1},
                "dampening needs a momentum, got dampening=0.1",
            ),
            ("SGD", {"nesterov": 1}, "SGD: nesterov must be true or false, got 1"),
            ("SGD", {"lr": True}, "SGD: lr must be a number .* got True"),
            ("SGD", {"lr": float("nan")}, "SGD: lr must be a number .* got nan"),
            ("SGD", {"lr": float("inf")}, "SGD: lr must be a number .* got inf"),
            ("Adam", {"betas": [0.9]}, r"Adam: betas must be two numbers, got \[0.9\]"),
            ("Adam", {"betas": [1, 0.9]}, r"Adam: each of betas .* \[0, 1\), got 1"),
            ("Adam", {"amsgrad": "yes"}, "Adam: amsgrad must be true or false"),
            ("NAdam", {"momentum_decay": -1}, "NAdam: momentum_decay must be"),
            ("RMSprop", {"alpha": 1.1}, r"RMSprop: alpha .* in \[0, 1\], got 1.1"),
            ("Adadelta", {"rho": -0.1}, r"Adadelta: rho .* in \[0, 1\], got -0.1"),
            ("ASGD", {"t0": 1e6}, "ASGD does not take 't0': it places the start"),
            (
                "Rprop",
                {"etas": [1.1, 1.2]},
                "etas must be below and above 1 .* got etas",
            ),
            ("Rprop", {"step_sizes": [2, 1]}, r"ascend, got .* step_sizes=\[2, 1\]"),
            ("Adafactor", {"d": 0.5}, r"Adafactor: d must .* in \[1, inf\), got 0.5"),
            ("Adafactor", {"eps": [None, -1]}, "second of eps must be .* got -1"),
            ("Adafactor", {"eps": [1e-3, None]}, "Adafactor: each of eps .* got None"),
            ("adam", {}, r"adam needs \['learning_rate'\], or lr for short"),
            ("adam", {"lr": 1, "learning_rate": 1}, "lr or learning_rate, got both"),
            ("adam", {"lr": -1}, "adam: learning_rate must be .* got -1"),
            ("adam", {"lr": 1, "b1": "x"}, "adam: b1 must be a number .* got 'x'"),
            ("adam", {"lr": 1, "b1": None}, "adam: b1 must be a number .* got None"),
            ("adam", {"lr": 1, "nesterov": 1}, "adam: nesterov must be true or false"),
            (
                "adamw",
                {"lr": 1, "mask": True},
                r"adamw takes \['lr', 'learning_rate', 'b1'.*\], got \['mask'\]",
            ),
        ],
    )
    def test_parameters_out_of_range(self, name, params, message):
        with pytest.raises(ValueError, match=message):
            make_optimizer(name, params)
