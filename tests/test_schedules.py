import inspect

import jax
import jax.numpy as jnp
import numpy as np
import optax
import oracle
import pytest
import record_torch

from alphanet_jax.lookup.schedules import (
    OPTAX_SCHEDULES,
    SCHEDULES,
    make_schedule,
)


def rates_of(name, params, *, learning_rate=1.0, num_epochs=10):
    return make_schedule(
        name, params, learning_rate=learning_rate, num_epochs=num_epochs
    ).learning_rate


def schedule_of(name, params, *, learning_rate=1.0, num_epochs=10, has_momentum=True):
    return make_schedule(
        name,
        params,
        learning_rate=learning_rate,
        num_epochs=num_epochs,
        has_momentum=has_momentum,
    )


class TestLearningRates:
    def test_step_lr_by_hand(self):
        rates = rates_of(
            "StepLR",
            {"step_size": 3, "gamma": 0.5},
            learning_rate=8.0,
            num_epochs=8,
        )
        assert rates.tolist() == [8, 8, 8, 4, 4, 4, 2, 2]
        assert rates.dtype == np.float64

    def test_default_gamma_is_a_tenth(self):
        rates = rates_of(
            "StepLR", {"step_size": 10}, learning_rate=0.001, num_epochs=25
        )
        np.testing.assert_allclose(rates, [1e-3] * 10 + [1e-4] * 10 + [1e-5] * 5)

    @pytest.mark.parametrize(
        ("step_size", "gamma", "num_epochs"), [(1, 0.9, 12), (7, 0.1, 30), (40, 2, 9)]
    )
    def test_against_oracle_and_torch(self, step_size, gamma, num_epochs):
        params = {"step_size": step_size, "gamma": gamma}
        rates = rates_of("StepLR", params, learning_rate=0.3, num_epochs=num_epochs)
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
        rates = rates_of("StepLR", params, learning_rate=1.0, num_epochs=0)
        assert rates.shape == (0,)

    @pytest.mark.parametrize("step_size", [0, -3])
    def test_step_size_out_of_range(self, step_size):
        with pytest.raises(ValueError, match=rf"step_size must be .* got {step_size}"):
            rates_of(
                "StepLR", {"step_size": step_size}, learning_rate=1.0, num_epochs=3
            )

    @pytest.mark.parametrize(
        ("name", "params", "message"),
        [
            ("StepLr", {}, "unknown lr_sched_cls 'StepLr'; did you mean 'StepLR'"),
            ("xyz", {}, "unknown lr_sched_cls 'xyz'; known are 'ConstantLR', 'Cosine"),
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
            rates_of(name, params, learning_rate=1.0, num_epochs=3)


LABELS = [record_torch.label(*case) for case in record_torch.SCHEDULES]


class TestTorchSchedules:
    def test_record_has_them_all(self):
        assert {name for name, _ in record_torch.SCHEDULES} == set(SCHEDULES)

    @pytest.mark.parametrize("index", range(len(LABELS)), ids=LABELS)
    def test_against_recorded(self, index):
        name, params = record_torch.SCHEDULES[index]
        with np.load(record_torch.PATH) as file:
            rates, momenta = file["schedules"][index].T
        schedule = schedule_of(
            name,
            params,
            learning_rate=record_torch.LEARNING_RATE,
            num_epochs=record_torch.EPOCHS,
        )
        assert schedule.learning_rate.dtype == np.float64
        np.testing.assert_allclose(
            schedule.learning_rate, rates, rtol=1e-12, atol=1e-14
        )
        if schedule.momentum is None:
            np.testing.assert_array_equal(momenta, 0.5)  # that of the optimizer
        else:
            np.testing.assert_allclose(schedule.momentum, momenta, rtol=1e-12)

    def test_one_cycle_by_hand(self):
        params = {"max_lr": 4.0, "total_steps": 9, "div_factor": 4.0}
        params |= {"final_div_factor": 2.0, "pct_start": 1 / 3, "base_momentum": 0.5}
        params |= {"max_momentum": 0.9}
        straight = schedule_of(
            "OneCycleLR", params | {"anneal_strategy": "linear"}, num_epochs=9
        )
        # From 1 to 4 in two steps, and to 1/2 in six.
        rates = [1, 2.5, 4, *(4 - 3.5 / 6 * np.arange(1, 7))]
        np.testing.assert_allclose(straight.learning_rate, rates)
        momenta = [0.9, 0.7, 0.5, *(0.5 + 0.4 / 6 * np.arange(1, 7))]
        np.testing.assert_allclose(straight.momentum, momenta)
        curved = schedule_of("OneCycleLR", params, num_epochs=9).learning_rate
        # Along half a cosine: in the middle as the line, a third on 3/4 of the way.
        np.testing.assert_allclose(curved[[0, 1, 2, 5, 8]], [1, 2.5, 4, 2.25, 0.5])
        np.testing.assert_allclose(curved[[4, 6]], [4 - 3.5 / 4, 4 - 3.5 * 3 / 4])

    def test_cyclic_by_hand(self):
        params = {"base_lr": 1.0, "max_lr": 3.0, "step_size_up": 2}
        schedule = schedule_of("CyclicLR", params, num_epochs=6)
        np.testing.assert_allclose(schedule.learning_rate, [1, 2, 3, 2, 1, 2])
        np.testing.assert_allclose(schedule.momentum, [0.9, 0.85, 0.8, 0.85, 0.9, 0.85])
        halved = rates_of(
            "CyclicLR",
            params | {"mode": "triangular2", "cycle_momentum": False},
            num_epochs=8,
        )
        np.testing.assert_allclose(halved, [1, 2, 3, 2, 1, 1.5, 2, 1.5])

    def test_restarts_by_hand(self):
        rates = rates_of("CosineAnnealingWarmRestarts", {"T_0": 2, "T_mult": 2})
        corner = (1 + 0.5**0.5) / 2
        np.testing.assert_allclose(
            rates, [1, 0.5, 1, corner, 0.5, 1 - corner, 1, *rates[7:]]
        )
        assert (np.diff(rates[6:]) < 0).all()

    @pytest.mark.parametrize("name", SCHEDULES)
    def test_no_epochs_and_one(self, name):
        (params, *_) = [p for n, p in record_torch.SCHEDULES if n == name]
        ten, one, none = (
            schedule_of(name, params, num_epochs=epochs).learning_rate
            for epochs in (10, 1, 0)
        )
        np.testing.assert_array_equal(one, ten[:1])
        assert none.shape == (0,)

    @pytest.mark.parametrize(
        "name", sorted(set(SCHEDULES) - {"OneCycleLR", "CyclicLR"})
    )
    def test_linear_in_the_learning_rate(self, name):
        for other, params in record_torch.SCHEDULES:
            if other == name and "eta_min" not in params:
                one, three = (
                    rates_of(name, params, learning_rate=rate) for rate in (1.0, 3.0)
                )
                np.testing.assert_allclose(three, 3 * one, rtol=1e-14)

    def test_defaults_are_those_of_torch(self):
        torch = pytest.importorskip("torch")
        for name, row in SCHEDULES.items():
            theirs = inspect.signature(
                getattr(torch.optim.lr_scheduler, name)
            ).parameters
            without = {"optimizer", "last_epoch", "scale_fn", "scale_mode"}
            assert set(theirs) - without == set(row.params)
            for param, (default, _) in row.params.items():
                if default is not None:  # else the recorded cases tell
                    assert theirs[param].default == default, (name, param)

    def test_every_schedule_of_torch_is_known_or_refused_with_a_reason(self):
        torch = pytest.importorskip("torch")
        for name in torch.optim.lr_scheduler.__all__:
            if name not in SCHEDULES and name != "LRScheduler":
                with pytest.raises(ValueError, match=f"'{name}' is not available: it "):
                    rates_of(name, {})


OPTAX_CASES = [
    ("constant_schedule", {}, "value"),
    ("cosine_decay_schedule", {"decay_steps": 6, "alpha": 0.1}, "init_value"),
    ("cosine_onecycle_schedule", {"transition_steps": 9}, "peak_value"),
    (
        "exponential_decay",
        {"transition_steps": 3, "decay_rate": 0.5, "staircase": True},
        "init_value",
    ),
    ("linear_onecycle_schedule", {"transition_steps": 9}, "peak_value"),
    (
        "linear_schedule",
        {"end_value": 0.1, "transition_steps": 5, "transition_begin": 2},
        "init_value",
    ),
    ("piecewise_constant_schedule", {}, "init_value"),
    (
        "polynomial_schedule",
        {"end_value": 0.1, "power": 2, "transition_steps": 7},
        "init_value",
    ),
    ("warmup_constant_schedule", {"init_value": 0, "warmup_steps": 3}, "peak_value"),
    (
        "warmup_cosine_decay_schedule",
        {"init_value": 0.1, "warmup_steps": 3, "decay_steps": 9},
        "peak_value",
    ),
    (
        "warmup_exponential_decay_schedule",
        {
            "init_value": 0.1,
            "warmup_steps": 3,
            "transition_steps": 2,
            "decay_rate": 0.5,
        },
        "peak_value",
    ),
]


class TestOptaxSchedules:
    @pytest.mark.slow
    @pytest.mark.parametrize(("name", "params", "stands_for_lr"), OPTAX_CASES)
    def test_against_optax(self, name, params, stands_for_lr, x64):
        rates = rates_of(name, params, learning_rate=0.3)
        assert rates.dtype == np.float64
        schedule = getattr(optax, name)(**{stands_for_lr: 0.3}, **params)
        expected = [schedule(jnp.asarray(epoch)) for epoch in range(10)]
        np.testing.assert_allclose(rates, np.array(expected, float), rtol=1e-12)
        explicit = rates_of(name, params | {stands_for_lr: 0.6}, learning_rate=0.3)
        expected = getattr(optax, name)(**{stands_for_lr: 0.6}, **params)(0)
        np.testing.assert_allclose(explicit[0], expected, rtol=1e-12)

    def test_float64_where_jax_is_in_float32(self):
        rates = rates_of(
            "exponential_decay", {"transition_steps": 1, "decay_rate": 0.7}
        )
        np.testing.assert_allclose(rates, 0.7 ** np.arange(10), rtol=1e-13)
        assert jnp.ones(1).dtype == jnp.float32
        assert not jax.config.jax_enable_x64

    def test_pieces_by_hand(self):
        params = {"boundaries_and_scales": {"2": 0.5, "4": 0.1}}
        rates = rates_of("piecewise_constant_schedule", params, num_epochs=6)
        np.testing.assert_allclose(rates, [1, 1, 0.5, 0.5, 0.05, 0.05])
        params |= {"interpolate_type": "linear"}
        rates = rates_of("piecewise_interpolate_schedule", params, num_epochs=6)
        np.testing.assert_allclose(rates, [1, 0.75, 0.5, 0.275, 0.05, 0.05])

    def test_every_schedule_of_optax_is_known_or_refused_with_a_reason(self):
        for name in vars(optax.schedules):
            given = name.endswith("_schedule") or name == "exponential_decay"
            if given and name not in OPTAX_SCHEDULES and hasattr(optax, name):
                with pytest.raises(ValueError, match=f"'{name}' is not available: it "):
                    rates_of(name, {})
        with pytest.raises(
            ValueError, match="'join_schedules' is not available: it is"
        ):
            rates_of("join_schedules", {})

    def test_no_epochs(self):
        assert rates_of("constant_schedule", {}, num_epochs=0).shape == (0,)


class TestErrors:
    def test_momentum(self):
        params = {"max_lr": 1.0, "total_steps": 10}
        with pytest.raises(
            ValueError, match=r"OneCycleLR changes .* optimizer has none"
        ):
            schedule_of("OneCycleLR", params, has_momentum=False)
        schedule = schedule_of(
            "OneCycleLR", params | {"cycle_momentum": False}, has_momentum=False
        )
        assert schedule.momentum is None

    @pytest.mark.parametrize(
        ("name", "params", "message"),
        [
            (
                "LambdaLR",
                {},
                "is not available: it needs a function.*; known are 'Const",
            ),
            ("MultiplicativeLR", {}, "is not available: it needs a function"),
            ("ReduceLROnPlateau", {}, "is not available: it needs a metric"),
            ("SequentialLR", {}, "is not available: it is made of other schedules"),
            ("ChainedScheduler", {}, "is not available: it is made of other schedules"),
            ("sgdr_schedule", {}, "see CosineAnnealingWarmRestarts; known are"),
            (
                "StepLR",
                {"step_size": 2.5},
                "step_size must be an integer >= 1, got 2.5",
            ),
            ("StepLR", {"step_size": 2, "gamma": -1}, "StepLR: gamma must .* got -1"),
            ("StepLR", {"step_size": 2, "last_epoch": 3}, "does not take 'last_epoch'"),
            ("MultiStepLR", {"milestones": 3}, "must be a list of epochs, got 3"),
            ("MultiStepLR", {"milestones": [-1]}, "must be an integer >= 0, got -1"),
            ("ConstantLR", {"factor": 0.0}, r"factor must .* in \(0, 1\], got 0.0"),
            ("ConstantLR", {"factor": 1.5}, r"factor must .* in \(0, 1\], got 1.5"),
            ("LinearLR", {"start_factor": 0}, r"start_factor .* \(0, 1\], got 0"),
            ("LinearLR", {"end_factor": 2}, r"end_factor must .* \[0, 1\], got 2"),
            ("LinearLR", {"total_iters": -1}, "total_iters must .* >= 0, got -1"),
            ("PolynomialLR", {"power": "x"}, "power must be a number .* got 'x'"),
            ("CosineAnnealingLR", {"T_max": 0}, "T_max must .* >= 1, got 0"),
            ("CosineAnnealingWarmRestarts", {"T_0": 0}, "T_0 must .* got 0"),
            (
                "CosineAnnealingWarmRestarts",
                {"T_0": 1, "T_mult": 0.5},
                "T_mult must be an integer >= 1, got 0.5",
            ),
            ("ExponentialLR", {"gamma": 1e300}, "gamma must be a number that float32"),
            ("ExponentialLR", {"gamma": 1e38}, "ExponentialLR with .* overflows"),
            ("OneCycleLR", {"max_lr": 1.0}, "needs either total_steps or both epochs"),
            ("OneCycleLR", {"max_lr": 1.0, "epochs": 10}, "steps_per_epoch=None"),
            (
                "OneCycleLR",
                {"max_lr": 1.0, "total_steps": 9, "epochs": 3, "steps_per_epoch": 3},
                "needs either total_steps or both epochs and steps_per_epoch, got",
            ),
            (
                "OneCycleLR",
                {"max_lr": 1.0, "total_steps": 9},
                "is over after 9 steps, one an epoch, and there are 10 epochs",
            ),
            (
                "OneCycleLR",
                {"max_lr": 1.0, "total_steps": 10, "pct_start": 0.1},
                "pct_start=0.1 of total_steps=10 leaves a phase empty",
            ),
            (
                "OneCycleLR",
                {"max_lr": 1.0, "total_steps": 10, "anneal_strategy": "exp"},
                "anneal_strategy must be 'cos' or 'linear', got 'exp'",
            ),
            (
                "OneCycleLR",
                {"max_lr": 1, "total_steps": 10, "base_momentum": 0},
                r"base_momentum must be a number in \(0, 1\), got 0",
            ),
            (
                "OneCycleLR",
                {
                    "max_lr": 1,
                    "total_steps": 10,
                    "max_momentum": 0.9,
                    "cycle_momentum": False,
                },
                "mean nothing with cycle_momentum=false, got None and 0.9",
            ),
            (
                "CyclicLR",
                {"base_lr": 0.1, "max_lr": 1, "mode": "square"},
                "mode must be one of .*'triangular2'.* got 'square'",
            ),
            (
                "CyclicLR",
                {"base_lr": 0.1, "max_lr": 1, "gamma": 0.5},
                "gamma means nothing with mode='triangular', got 0.5",
            ),
            (
                "CyclicLR",
                {"base_lr": 0.1, "max_lr": 1, "scale_fn": "x"},
                "does not take 'scale_fn': it needs a function",
            ),
            ("cosine_decay_schedule", {}, r"needs \['decay_steps'\]"),
            ("constant_schedule", {"lr": 1}, r"takes \['value'\], got \['lr'\]"),
            ("constant_schedule", {"value": "x"}, "value must be a number .* got 'x'"),
            ("cosine_decay_schedule", {"decay_steps": 2.5}, "an integer >= 1, got 2.5"),
            (
                "exponential_decay",
                {"transition_steps": 1, "decay_rate": 1, "staircase": 1},
                "staircase must be true or false, got 1",
            ),
            (
                "piecewise_constant_schedule",
                {"boundaries_and_scales": [1]},
                r"must have a scale for epochs, got \[1\]",
            ),
            (
                "piecewise_interpolate_schedule",
                {"interpolate_type": "x"},
                "must be 'linear' or 'cosine', got 'x'",
            ),
        ],
    )
    def test_message(self, name, params, message):
        with pytest.raises(ValueError, match=message):
            schedule_of(name, params)

    def test_rate_that_is_none(self):
        with pytest.raises(ValueError, match=r"learning rate 2.*e\+39 in epoch 6"):
            schedule_of(
                "ExponentialLR", {"gamma": 10}, learning_rate=2e34, num_epochs=7
            )
