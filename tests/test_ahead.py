"""Programs that are compiled ahead: foreseen as they are called, and never needed."""

import dataclasses
import threading

import jax
import numpy as np
import pytest
from test_experiment import SETTINGS, leaves, make_dataset

from alphanet_jax.errors import UserError
from alphanet_jax.experiment import ahead, cohorts, foreseen, loop
from alphanet_jax.experiment import problem as problem_lib
from alphanet_jax.experiment.ahead import Ahead
from alphanet_jax.sampling import Batches

ONE_CYCLE = {"max_lr": 0.1, "total_steps": 6}
CLASSES = ("AllFewSampler", "UniformBaseClassSampler")


def make_parts(*changes, seeds=(0, 1)):
    """Parts of a small dataset, one for each change of the settings."""
    items = [(dataclasses.replace(SETTINGS, **change), 0) for change in changes]
    return [
        cohorts.Part(problem, seeds, name=str(number))
        for number, problem in enumerate(problem_lib.prepare_all(make_dataset(), items))
    ]


@pytest.fixture
def compiled():
    """The programs that are compiled, each with the name of the thread."""
    found = []

    def listen(event, duration_secs, **about):
        if event.endswith("/backend_compile_duration"):
            name = about["fun_name"].removeprefix("jit(").removesuffix(")")
            found.append((name, threading.current_thread().name))

    jax.monitoring.register_event_duration_secs_listener(listen)
    yield found
    jax.monitoring.unregister_event_duration_listener(listen)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("changes", "num_seeds"),
    [
        ([{}], 1),
        ([{"rho": 0.4, "pred_scale": 0.5}, {"rho": 1.1, "pred_scale": 2.0}], 2),
        ([{"sampler_classes": CLASSES, "selection": "last"}], 3),
        ([{"lr_sched_cls": "OneCycleLR", "lr_sched_params": ONE_CYCLE}], 1),
    ],
)  # fmt: skip
def test_programs_are_called_as_they_were_foreseen(compiled, changes, num_seeds):
    # Sizes of no other test, which might have compiled them before.
    own = {"hdims": (9 + num_seeds, 5 + len(changes)), "train_batch_size": 4}
    parts = make_parts(*(change | own for change in changes), seeds=range(num_seeds))
    for _, outcome in loop.run_parts(parts):
        assert not isinstance(outcome, UserError)
    found = [name for name, _ in compiled]
    assert found.count("train_epoch") == 1
    # Where the main thread was first it compiles, but nothing is compiled twice.
    for name in (
        "draw_batches", "score_table", "_score_chunk", "draw_params", "first_state",
        "alphas_and_weights", "evaluate",
    ):  # fmt: skip
        assert found.count(name) <= 1
    assert any(thread.startswith("compiling") for _, thread in compiled)


@pytest.mark.slow
def test_results_are_the_same_without(monkeypatch):
    (part,) = make_parts({}, seeds=(3, 4))
    with_it = loop.run(part.problem, part.seeds)
    monkeypatch.setattr(Ahead, "start", lambda *arguments: None)
    without = loop.run(part.problem, part.seeds)
    for a, b in zip(leaves(with_it), leaves(without), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("changes", "size"),
    [
        ([{}], 1),
        ([{}], 2),
        ([{"rho": 0.4}, {"rho": 1.1}], 2),
        ([{"rho": 0.4}, {"rho": 1.1}], 4),
        ([{"rho": 0.4}, {"rho": 1.1}], 3),
    ],
)
def test_empty_batches_are_foreseen(changes, size):
    cohort = cohorts.make_cohort(make_parts(*changes), range(len(changes)))
    batches = cohorts.draw_batches(cohort, runs_at_a_time=size)
    found = not all(
        cohorts.all_step(jax.tree.map(lambda a, s=start: a[s : s + size], epoch))
        for start in range(0, len(cohort.runs), size)
        for epoch in batches
    )
    assert foreseen.foresee_skip_empty(cohort, size) == found


@pytest.mark.parametrize("runs", [1, 2])
def test_a_batch_without_rows_between_others_is_skipped(runs):
    valid = np.tile(np.array([True, False, True, False])[:, None], (runs, 1, 1))
    rows = np.zeros(valid.shape, np.int32)
    assert not cohorts.all_step(Batches(rows, valid))
    assert cohorts.all_step(Batches(rows[:, ::2], valid[:, ::2]))


def test_drawn_classes_are_not_foreseen():
    cohort = cohorts.make_cohort(make_parts({"sampler_classes": CLASSES}), [0])
    assert foreseen.foresee_skip_empty(cohort, 2) is None
    assert foreseen.foresee_skip_empty(cohort, 1) is False


class Held:
    """A function that waits when it is made ready."""

    def __init__(self):
        self.begun, self.go_on = threading.Event(), threading.Event()

    def make_ready(self, *arguments):
        self.begun.set()
        assert self.go_on.wait(10)


@pytest.fixture
def one_thread(monkeypatch):
    monkeypatch.setattr(ahead, "_MOST_THREADS", 1)


def test_what_is_not_begun_is_left_to_its_call(one_thread):
    waits, held = [], Held()
    jobs = Ahead(waits.append)
    jobs.start("first", held, tuple)
    jobs.start("second", Held(), tuple)
    assert held.begun.wait(10)
    jobs.wait("second")  # would be for ever
    held.go_on.set()
    jobs.wait("first")
    jobs.wait("first", "never started")
    jobs.close()
    assert len(waits) == 3


@pytest.mark.parametrize("where", ["lower", "foresee"])
def test_a_failure_is_left_to_the_call(where):
    def fail(*arguments):
        raise ValueError("no")

    jobs = Ahead(lambda seconds: None)
    function = type("Function", (), {"lower": fail})()
    jobs.start("it", function, fail if where == "foresee" else tuple)
    jobs.wait("it")
    jobs.close()


@pytest.mark.parametrize(
    ("name", "value"), [("device_count", 2), ("default_backend", "gpu")]
)
def test_many_devices_and_accelerators_compile_when_called(monkeypatch, name, value):
    monkeypatch.setattr(jax, name, lambda: value)
    jobs = Ahead(lambda seconds: None)
    jobs.start("it", None, lambda: pytest.fail("is not called"))
    jobs.wait("it")
    jobs.close()
