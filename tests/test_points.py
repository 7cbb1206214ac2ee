"""Sweeps: points that share a program, in groups that fit the memory."""

import dataclasses

import jax
import numpy as np
import pytest
from outcomes import assert_outcomes_close
from test_experiment import SETTINGS, SPLITS, make_dataset

from alphanet_jax import train_step
from alphanet_jax.errors import UserError
from alphanet_jax.experiment import cohorts, loop, memory
from alphanet_jax.experiment import problem as problem_lib
from alphanet_jax.experiment.cohorts import Part

DATA = make_dataset()
# Of every point here two seeds, and numbers of rows that have the same room if they
# can: the programs, which are most of the time, are the same in many tests.
BASE = SETTINGS
# What may differ within a program, each with its seeds; 12 + int(12 rho) rows.
CHANGES = [
    ({}, (0, 1)),
    ({"rho": 0.3}, (4, 0)),
    ({"rho": 1.0, "optim_params": {"lr": 0.003}}, (2, 9)),
    ({"pred_scale": 3.0, "rho": 0.9}, (1, 5)),
    ({"min_epochs": 5}, (0, 1)),
    ({"lr_sched_params": {"step_size": 2, "gamma": 0.3}}, (7, 8)),
    ({}, (0, 1)),
]
STEPS = [7, 5, 8, 8, 7, 7, 7]  # three rows at a time


def make_points(changes, *, names=None, data=DATA):
    settings = [dataclasses.replace(BASE, **change) for change, _ in changes]
    problems = problem_lib.prepare_all(data, [(s, 0) for s in settings])
    names = names or [""] * len(changes)
    return [
        Part(problem, seeds, name)
        for problem, (_, seeds), name in zip(problems, changes, names, strict=True)
    ]


def run_points(points, **arguments):
    """All outcomes by the number of their point, and the order in which they came."""
    order, outcomes = [], {}
    for index, outcome in loop.run_parts(points, **arguments):
        order.append(index)
        outcomes[index] = outcome
    assert sorted(order) == list(range(len(points)))
    return outcomes, order


def limits(points):
    """Limits of memory, each with its plan, from all runs at a time to the least."""
    (plan,) = cohorts.plan_parts(points)
    found = [(plan.total, plan)]
    for limit in np.linspace(plan.total, 0, 400)[1:]:
        try:
            (plan,) = cohorts.plan_parts(points, memory_limit=int(limit))
        except UserError:
            return found
        found.append((int(limit), plan))
    raise AssertionError("nothing is ever refused")


@pytest.fixture
def no_program(monkeypatch):
    """Leaves the program's own memory out, next to which these runs are nothing."""
    monkeypatch.setattr(memory, "_PROGRAM_BYTES", 0)


@pytest.fixture
def traces(monkeypatch):
    """Counts how often the program of an epoch is traced."""
    found = []
    original = train_step.train_epoch

    def counting(*args, **kwargs):
        found.append(1)
        return original(*args, **kwargs)

    monkeypatch.setattr(train_step, "train_epoch", counting)
    return found


@pytest.fixture(scope="module")
def alone():
    """Every point by itself, as `loop.run` trains it."""
    return [loop.run(p.problem, p.seeds) for p in make_points(CHANGES)]


@pytest.mark.slow
class TestOneProgram:
    @pytest.mark.slow
    def test_each_as_if_alone(self, alone, traces):
        outcomes, order = run_points(make_points(CHANGES))
        assert len(traces) <= 1  # none if another test has run it
        for index, expected in enumerate(alone):
            assert_outcomes_close(outcomes[index], expected)
        # Those with most rows train first.
        assert order == [2, 3, 0, 4, 5, 6, 1]
        # What is compared differs between points, and runs have steps of their own.
        losses = [outcomes[i].epoch_loss.tobytes() for i in range(7)]
        assert len(set(losses)) == 5  # 0, 4 and 6 differ in what they select at most
        selected = [outcomes[i].selected_epoch.tolist() for i in range(7)]
        assert selected[0] != selected[4]
        found = [outcomes[i].step_loss[0].shape[1] for i in range(7)]
        assert found == STEPS

    @pytest.mark.slow
    def test_nothing_new_is_compiled(self, compiled):
        run_points(make_points(CHANGES))
        before = len(compiled)
        others = [
            ({"rho": 0.8}, (10, 11)),
            ({"rho": 0.1, "pred_scale": 7.0}, (3, 4)),
            ({"rho": 0.95, "optim_params": {"lr": 1e-4}}, (8, 2)),
            *[({"rho": 0.2 * place, "min_epochs": place}, (5, 6)) for place in (2, 3)],
            *CHANGES[5:],
        ]
        longer = {"train_epochs": 9, "min_epochs": 7}
        run_points(make_points(others))
        run_points(make_points([(change | longer, seeds) for change, seeds in others]))
        assert len(compiled) == before
        others[0] = ({"rho": 0.85}, (10, 11))  # nor does it depend on the first point
        run_points(make_points(others))
        assert len(compiled) == before
        untrained = {"train_epochs": 0, "eval_batch_size": 16}
        run_points(make_points([(untrained, (0, 1))]))
        assert len(compiled) > before  # or nothing would be counted

    @pytest.mark.slow
    def test_samplers_of_several_sizes(self):
        samplers = (
            "AllFewSampler",
            "UniformManyImageSampler",
            "UniformMediumClassSampler",
        )
        changes = [
            (
                {"sampler_classes": samplers, "sampler_args": ({}, {"r": a}, {"r": b})},
                (0, 3),
            )
            for a, b in ((0.45, 0.4), (0.5, 1.0))
        ]
        points = make_points(changes)
        outcomes, _ = run_points(points)
        for index, point in enumerate(points):
            expected = loop.run(point.problem, point.seeds)
            assert_outcomes_close(outcomes[index], expected)

    @pytest.mark.parametrize("val", [True, False])
    def test_no_epochs_and_no_validation(self, val):
        changes = [({"train_epochs": 0}, (0,)), ({"train_epochs": 0, "rho": 1.0}, (1,))]
        outcomes, _ = run_points(make_points(changes, data=make_dataset(val=val)))
        for outcome in outcomes.values():
            assert outcome.selected_epoch.tolist() == [-1]
            assert outcome.val.accuracy.shape == (1, 0)
            assert np.isnan(outcome.baseline_val.accuracy) == (not val)


class TestSeveralPrograms:
    CHANGES = [  # noqa: RUF012
        ({"n_neighbors": 2}, (0, 1)),
        ({}, (0, 1)),
        ({"hdims": (5,)}, (2, 3)),
        ({"nn_dist": "cosine"}, (0, 1)),
        ({"rho": 1.0}, (4, 5)),
    ]

    # That each is as if alone is tested for every field, in `test_training`.
    @pytest.mark.slow
    def test_one_after_the_other(self, alone):
        lines = []
        points = make_points(self.CHANGES)
        outcomes, order = run_points(points, report=lines.append)
        assert order == [0, 4, 1, 2, 3]  # 1 and 4 share theirs
        assert_outcomes_close(outcomes[1], alone[0])
        programs = [line for line in lines if line.startswith("program")]
        assert programs == [f"program {number} of 4" for number in range(1, 5)]

    @pytest.mark.parametrize(
        ("change", "shared"),
        [
            ({"rho": 0.1}, True),
            ({"pred_scale": 2.0}, True),
            ({"min_epochs": 3}, True),
            ({"optim_params": {"lr": 1.0}}, True),
            ({"lr_sched_params": {"step_size": 1, "gamma": 0.5}}, True),
            ({"sampler_args": ({}, {"r": 0.3})}, True),
            ({"n_neighbors": 2}, False),
            ({"nn_dist": "cosine"}, False),
            ({"hdims": (8,)}, False),
            ({"optim_params": {"lr": 0.01, "weight_decay": 0.5}}, False),
            ({"train_epochs": 5}, False),
            ({"train_batch_size": 4}, False),
            ({"eval_batch_size": 16}, False),
            ({"selection": "last"}, False),
            ({"sampler_classes": ("AllFewSampler", "AllManySampler")}, False),
        ],
    )
    def test_which_share(self, change, shared):
        points = make_points([({}, (0,)), (change, (0,))])
        assert len(cohorts.plan_parts(points)) == (1 if shared else 2)

    def test_neighbors_by_seed(self):
        settings = dataclasses.replace(BASE, nn_dist="random", train_epochs=1)
        items = [(settings, 1), (settings, 2), (settings, 1)]
        problems = problem_lib.prepare_all(DATA, items)
        assert problems[0].frozen is problems[2].frozen
        assert (problems[0].neighbors != problems[1].neighbors).any()
        points = [Part(problem, (0, 1)) for problem in problems]
        assert len(cohorts.plan_parts(points)) == 2


class TestPrepareAll:
    def test_equals_prepare(self):
        settings = [dataclasses.replace(SETTINGS, **c) for c, _ in CHANGES[:3]]
        settings.append(dataclasses.replace(SETTINGS, nn_dist="cosine", n_neighbors=2))
        several = problem_lib.prepare_all(DATA, [(s, 0) for s in settings])
        for problem, one in zip(several, settings, strict=True):
            single = problem_lib.prepare(DATA, one)
            assert problem.settings == one
            assert problem.samplers == single.samplers
            for name in ("neighbors", "neighbor_distances", "learning_rates"):
                np.testing.assert_array_equal(
                    getattr(problem, name), getattr(single, name)
                )
            jax.tree.map(np.testing.assert_array_equal, problem.frozen, single.frozen)
        assert several[0].frozen is several[2].frozen
        assert several[0].pools is several[3].pools

    def test_any_wrong_setting_is_refused(self):
        wrong = dataclasses.replace(SETTINGS, hact="elv")
        with pytest.raises(UserError, match="activation 'elv'; did you mean 'elu'"):
            problem_lib.prepare_all(DATA, [(SETTINGS, 0), (wrong, 0)])


@pytest.mark.usefixtures("no_program")
class TestMemory:
    @pytest.mark.slow
    @pytest.mark.parametrize("size", [4, 1])
    def test_groups_of_runs_change_nothing(self, alone, size):
        points = make_points(CHANGES)
        found = {
            (plan.runs_at_a_time, plan.shared_table): limit
            for limit, plan in limits(points)
        }
        # All at once, down to one at a time whose rows alone are scored.
        assert found.keys() > {(14, True), (7, True), (4, True), (1, True), (1, False)}
        limit = found[size, size > 1]
        outcomes, _ = run_points(points, memory_limit=limit)
        for index, expected in enumerate(alone):
            assert_outcomes_close(outcomes[index], expected)

    @pytest.mark.slow
    def test_table_has_room_for_every_group(self):
        points = make_points(CHANGES)
        (cohort,) = cohorts.make_cohorts(points)
        needs = cohorts.needs(cohort)
        used = []
        for run in cohort.runs:
            batches = loop.epoch_batches(points[run.part].problem, [run.seed])
            used.append({row for e in batches for row in e.rows[e.valid].tolist()})
        assert len(used) == 14
        for size in (1, 2, 7, 14):
            for start in range(0, 14, size):
                rows = set().union(*used[start : start + size])
                assert len(rows) <= needs.table_rows(size)
        assert needs.table_rows(1) < len(DATA.train.labels)

    @pytest.mark.slow
    def test_a_point_comes_as_soon_as_its_runs_are_done(self):
        points = make_points([({"pred_scale": 3.0}, (0,)), ({"rho": 1.0}, (0, 1))])
        limit, plan = limits(points)[-1]
        assert (plan.runs_at_a_time, plan.shared_table) == (1, False)
        events = []
        for index, _ in loop.run_parts(
            points, memory_limit=limit, report=events.append
        ):
            events.append(index)
        whole = [event if isinstance(event, int) else event[:13] for event in events]
        assert whole == [
            *["run 1 of 3  e"] * 6,
            *["run 2 of 3  e"] * 6,
            1,
            *["run 3 of 3  e"] * 6,
            0,
        ]

    def test_refused_before_anything_is_trained(self, traces):
        points = make_points([({}, (0,)), ({"hdims": (4096, 64)}, (0,))])
        small, large = cohorts.plan_parts(points)
        assert small.total < large.total
        lines = []
        with pytest.raises(UserError, match="memory_gib: one run needs about"):
            next(
                loop.run_parts(
                    points, memory_limit=large.total - 1, report=lines.append
                )
            )
        assert not lines
        assert not traces


class TestDiverging:
    BAD = ({"optim_params": {"lr": 1e30}, "pred_scale": 3.0}, (3, 4))

    @pytest.mark.slow
    @pytest.mark.parametrize("one_at_a_time", [False, True])
    def test_the_others_finish(self, alone, no_program, one_at_a_time):
        points = make_points([CHANGES[0], self.BAD], names=["good", "rate=1e30"])
        limit, plan = limits(points)[-1 if one_at_a_time else 0]
        assert plan.runs_at_a_time == (1 if one_at_a_time else 4)
        outcomes, _ = run_points(points, memory_limit=limit)
        assert isinstance(outcomes[1], UserError)
        assert str(outcomes[1]).startswith("rate=1e30: the loss is ")
        assert "for seed 3 in epoch 1, step " in str(outcomes[1])
        assert_outcomes_close(outcomes[0], alone[0])

    @pytest.mark.slow
    def test_all_of_them(self):
        bad = self.BAD[0] | {"pred_scale": 1.0}
        outcomes, _ = run_points(make_points([(bad, (3, 4))] * 2, names=["a", "b"]))
        for index, name in enumerate("ab"):
            assert str(outcomes[index]).startswith(f"{name}: the loss is ")

    @pytest.mark.slow
    def test_alone_it_is_raised(self):
        (point,) = make_points([self.BAD])
        with pytest.raises(UserError, match=r"^the loss is .* for seed 3 in epoch 1, "):
            loop.run(point.problem, point.seeds)


class TestSamplers:
    """Any sampler goes through an experiment."""

    @pytest.mark.slow
    def test_rows_of_an_epoch(self):
        settings = dataclasses.replace(
            SETTINGS,
            sampler_classes=("AllMediumSampler", "UniformManyClassSampler"),
            sampler_args=({}, {"r": 0.7}),
            train_epochs=3,
        )
        problem = problem_lib.prepare(DATA, settings)
        labels = DATA.train.labels
        for epoch in loop.epoch_batches(problem, [0, 1]):
            for seed in range(2):
                rows = epoch.rows[seed][epoch.valid[seed]]
                medium = rows[np.isin(labels[rows], SPLITS["medium"])]
                many = rows[np.isin(labels[rows], SPLITS["many"])]
                assert len(rows) == len(medium) + len(many)
                assert len(set(medium)) == len(medium) == 4 * 9
                # Two classes of the five, with four rows each, as few classes have.
                assert np.bincount(labels[many]).max() == 4
                assert len(set(many)) == len(many) == 8
