"""Training that was stopped goes on to the same bytes."""

import dataclasses
import re

import numpy as np
import outcomes
import pytest
from stopped import (
    EPOCHS,
    StoppedError,
    open_store,
    states,
    uneven,
)
from test_experiment import SETTINGS, make_dataset

from alphanet_jax.errors import UserError
from alphanet_jax.experiment import cohorts, loop
from alphanet_jax.experiment import problem as problem_lib


class Stopping:
    """Keeps states, and stops after so many of them."""

    def __init__(self, store, saves):
        self.store, self.left = store, saves

    def restore(self, name, like):
        return self.store.restore(name, like)

    def save(self, name, epochs_done, state):
        self.store.save(name, epochs_done, state)
        self.left -= 1
        if self.left == 0:
            raise StoppedError


def run_points(points, **arguments):
    found = dict(loop.run_parts(points, **arguments))
    assert sorted(found) == list(range(len(points)))
    return {n: outcomes.arrays(outcome) for n, outcome in found.items()}


def assert_equal_outcomes(found, wanted):
    for number, arrays in wanted.items():
        for name, array in arrays.items():
            np.testing.assert_array_equal(found[number][name], array, name)


def one_cycle(**params):
    return {
        "lr_sched_cls": "OneCycleLR",
        "lr_sched_params": {"max_lr": 0.03, "total_steps": EPOCHS} | params,
    }


CASES = {
    "AdamW with a cycle of betas, another selection": [
        one_cycle() | {"selection": "reference", "min_epochs": 4}
    ],
    "SGD with a cycle of momenta, no validation data": [
        {
            "optim_cls": "SGD",
            "optim_params": {"lr": 0.1, "momentum": 0.9, "nesterov": True},
            "lr_sched_cls": "CyclicLR",
            "lr_sched_params": {"base_lr": 0.01, "max_lr": 0.1, "step_size_up": 2},
        }
    ],
    "optax's lion, epochs of several sizes": [
        {
            "optim_cls": "lion",
            "optim_params": {"learning_rate": 0.003},
            "sampler_classes": ("UniformBaseClassSampler", "AllFewSampler"),
        }
    ],
    "factors and rates": [
        {"pred_scale": 1.0},
        {"pred_scale": 7.0, "rho": 0.3},
        {"pred_scale": 0.5, "optim_params": {"lr": 0.03}},
    ],
}

SLOW_CASES = set(CASES) - {"optax's lion, epochs of several sizes"}


class TestResume:
    @pytest.mark.parametrize(
        "case",
        [
            pytest.param(case, marks=pytest.mark.slow if case in SLOW_CASES else ())
            for case in CASES
        ],
    )
    def test_equals_uninterrupted(self, tmp_path, compiled, case):
        changes = CASES[case]
        data = uneven(make_dataset(val="no validation" not in case))
        settings = [
            dataclasses.replace(SETTINGS, train_epochs=EPOCHS, **change)
            for change in changes
        ]
        problems = problem_lib.prepare_all(data, [(s, 0) for s in settings])
        points = [cohorts.Part(p, (3, 8), str(n)) for n, p in enumerate(problems)]
        whole = run_points(points)
        compiled.clear()
        if "several sizes" in case:
            steps = {int(np.isfinite(whole[0][f"step_loss.{e}"]).sum(axis=1)[0])
                     for e in range(EPOCHS)}  # fmt: skip
            assert len(steps) > 1
        store, _ = open_store(tmp_path / "c", keep=EPOCHS)
        done = 1 + list(CASES).index(case) % EPOCHS
        with pytest.raises(StoppedError):
            run_points(points, checkpoints=Stopping(store, done))
        store.close()
        lines = []
        store, _ = open_store(tmp_path / "c", keep=EPOCHS)
        found = run_points(points, checkpoints=store, report=lines.append)
        store.close()
        assert f"resuming after epoch {done}" in lines
        assert len([x for x in lines if x.startswith("epoch")]) == EPOCHS - done
        assert states(tmp_path / "c") == {"runs_0-0": list(range(1, EPOCHS + 1))}
        assert_equal_outcomes(found, whole)
        assert "jit(train_epoch)" not in compiled

    @pytest.mark.slow
    def test_stopped_again_and_again(self, tmp_path):
        """Every epoch in a process of its own, in groups of two runs."""
        settings = dataclasses.replace(SETTINGS, train_epochs=5)
        problem = problem_lib.prepare(make_dataset(), settings)
        points = [cohorts.Part(problem, (0, 1, 2))]
        (plan,) = cohorts.plan_parts(points)
        plans = [dataclasses.replace(plan, runs_at_a_time=2)]
        whole = run_points(points, plans=plans)
        lines, stops = [], 0
        while True:
            store, _ = open_store(tmp_path / "c", keep=1)
            try:
                found = run_points(
                    points,
                    plans=plans,
                    checkpoints=Stopping(store, 1),
                    report=lines.append,
                )
                break
            except StoppedError:
                stops += 1
            finally:
                store.close()
        assert stops == 2 * settings.train_epochs
        # Those that train second begin when the first have done all.
        resumed = [int(x.split()[-1]) for x in lines if x.startswith("resuming")]
        most = settings.train_epochs
        first = list(range(1, most + 1))
        second = [number for epoch in first for number in (most, epoch)]
        assert resumed == first + second
        assert states(tmp_path / "c") == {"runs_0-0": [most], "runs_0-2": [most]}
        assert_equal_outcomes(found, whole)

    @pytest.mark.slow
    def test_a_point_that_is_done_is_left_out(self, tmp_path):
        settings = [dataclasses.replace(SETTINGS, rho=r) for r in (0.3, 0.8)]
        problems = problem_lib.prepare_all(make_dataset(), [(s, 0) for s in settings])
        points = [cohorts.Part(p, (0, 1), str(n)) for n, p in enumerate(problems)]
        (plan,) = cohorts.plan_parts(points)
        plans = [dataclasses.replace(plan, runs_at_a_time=3)]
        whole = run_points(points, plans=plans)
        store, _ = open_store(tmp_path / "c")
        came, lines = {}, []

        def stopped():
            for number, outcome in loop.run_parts(
                points, plans=plans, checkpoints=Stopping(store, 8)
            ):
                came[number] = outcomes.arrays(outcome)

        with pytest.raises(StoppedError):
            stopped()
        store.close()
        assert list(came) == [1]  # more rows, so trained first
        store, _ = open_store(tmp_path / "c")
        rest = {
            number: outcomes.arrays(outcome)
            for number, outcome in loop.run_parts(
                points, plans=plans, checkpoints=store, done=[1], report=lines.append
            )
        }
        store.close()
        assert list(rest) == [0]
        assert [x for x in lines if x.startswith("resuming")] == [
            "resuming after epoch 6",
            "resuming after epoch 2",
        ]
        assert_equal_outcomes(came | rest, whole)

    @pytest.mark.slow
    def test_a_loss_that_is_not_finite(self, tmp_path):
        """The last good state stays, and goes wrong again in the same place."""
        settings = dataclasses.replace(
            SETTINGS,
            optim_cls="SGD",
            optim_params={"lr": 0.01},
            lr_sched_cls="piecewise_constant_schedule",
            lr_sched_params={"boundaries_and_scales": {"3": 1e36}},
        )
        problem = problem_lib.prepare(make_dataset(), settings)
        points = [cohorts.Part(problem, (5, 6))]
        messages = []
        for resumed in (False, True):
            lines = []
            store, _ = open_store(tmp_path / "c")
            ((_, error),) = loop.run_parts(
                points, checkpoints=store, report=lines.append
            )
            assert isinstance(error, UserError)
            messages.append(str(error))
            assert ("resuming after epoch 3" in lines) == resumed
            assert states(tmp_path / "c") == {"runs_0-0": [2, 3]}
            store.close()
        assert messages[0] == messages[1]
        assert re.fullmatch(
            r"the loss is (nan|inf) for seed 5 in epoch 4, step \d+; a lower learning "
            "rate may help",
            messages[0],
        )
        # What is there is still of use: with a lower rate it ends well.
        tame = dataclasses.replace(
            settings, lr_sched_params={"boundaries_and_scales": {"3": 0.5}}
        )
        points = [cohorts.Part(problem_lib.prepare(make_dataset(), tame), (5, 6))]
        store, _ = open_store(tmp_path / "c")
        found = run_points(points, checkpoints=store)
        store.close()
        assert_equal_outcomes(found, run_points(points))

    @pytest.mark.slow
    def test_one_of_two_goes_wrong_after_it_was_resumed(self, tmp_path):
        settings = [
            dataclasses.replace(
                SETTINGS,
                optim_cls="SGD",
                optim_params={"lr": 0.01},
                lr_sched_cls="piecewise_constant_schedule",
                lr_sched_params={"boundaries_and_scales": {"3": scale}},
            )
            for scale in (1e36, 0.5)
        ]
        problems = problem_lib.prepare_all(make_dataset(), [(s, 0) for s in settings])
        points = [
            cohorts.Part(p, (0,), name) for p, name in zip(problems, "ab", strict=True)
        ]
        whole = dict(loop.run_parts(points))
        assert "a: the loss is" in str(whole[0])
        store, _ = open_store(tmp_path / "c")
        with pytest.raises(StoppedError):  # a has gone wrong by then
            list(loop.run_parts(points, checkpoints=Stopping(store, 5)))
        found = dict(loop.run_parts(points, checkpoints=store))
        store.close()
        assert str(found[0]) == str(whole[0])
        assert_equal_outcomes(
            {1: outcomes.arrays(found[1])}, {1: outcomes.arrays(whole[1])}
        )
