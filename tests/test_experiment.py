"""The experiment as a whole, on a small problem that fits in memory."""

import dataclasses
import functools

import jax
import numpy as np
import pytest

from alphanet_jax import model, train_step
from alphanet_jax.config.fields import Settings
from alphanet_jax.data.dataset import Dataset, Group
from alphanet_jax.errors import UserError
from alphanet_jax.experiment import feature_pass, loop, programs
from alphanet_jax.experiment import problem as problem_lib
from alphanet_jax.lookup import optimizers

NUM_CLASSES, NUM_FEATURES = 12, 6
SPLITS = {"few": [1, 4, 8], "medium": [0, 2, 7, 9], "many": [3, 5, 6, 10, 11]}


def make_dataset(*, val: bool = True) -> Dataset:
    rng = np.random.default_rng(7)
    centers = rng.normal(size=(NUM_CLASSES, NUM_FEATURES))
    sizes = {"few": 4, "medium": 9, "many": 21}
    per_class = np.zeros(NUM_CLASSES, int)
    for split, classes in SPLITS.items():
        per_class[classes] = sizes[split]

    def group(counts: np.ndarray) -> Group:
        labels = np.repeat(np.arange(NUM_CLASSES), counts).astype(np.int32)
        rng.shuffle(labels)
        noise = 0.7 * rng.normal(size=(len(labels), NUM_FEATURES))
        return Group((centers[labels] + noise).astype(np.float32), labels)

    evenly = np.full(NUM_CLASSES, 7)
    norms = np.where(np.isin(np.arange(NUM_CLASSES), SPLITS["few"]), 0.6, 1.0)
    return Dataset.from_arrays(
        name="toy",
        proper_name="Toy",
        weight=(centers * norms[:, None]).astype(np.float32),
        bias=rng.normal(size=NUM_CLASSES).astype(np.float32) * 0.1,
        splits={name: np.asarray(c, np.int32) for name, c in SPLITS.items()},
        train=group(per_class),
        val=group(evenly) if val else None,
        test=group(evenly),
    )


# Used by many files: each of other shapes (another batch size, number of seeds or
# epochs) has programs of its own, and to compile them takes some seconds.
SETTINGS = Settings(
    n_neighbors=3,
    hdims=(8, 4),
    optim_params={"lr": 0.01},
    train_epochs=6,
    min_epochs=2,
    train_batch_size=3,
    eval_batch_size=32,
    rho=0.8,
    seeds=2,
)


def run(seeds, settings=SETTINGS, *, val=True, **arguments):
    problem = problem_lib.prepare(make_dataset(val=val), settings)
    return problem, loop.run(problem, seeds, **arguments)


@pytest.fixture(scope="module")
def ran():
    return run([0, 1])


def leaves(outcome):
    """Every array of an outcome, but for the measured times."""
    return jax.tree.leaves(dataclasses.replace(outcome, seconds={}).__dict__)


class TestSeeds:
    def test_shapes(self, ran):
        _, outcome = ran
        assert outcome.alphas.shape == (2, 3, 4)
        assert outcome.weight_few.shape == (2, 3, NUM_FEATURES)
        assert outcome.epoch_loss.shape == (2, 6)
        assert outcome.mean_alphas.shape == (2, 6, 4)
        assert outcome.val.acc_per_split.shape == (2, 6, 3)
        assert outcome.test_pred.shape == (2, 12 * 7)

    def test_seeds_differ(self, ran):
        _, outcome = ran
        assert len({alphas.tobytes() for alphas in outcome.alphas}) == 2

    @pytest.mark.slow
    @pytest.mark.parametrize("seed", [0, 1])
    def test_alone_as_among_others(self, ran, seed):
        _, among = ran
        _, alone = run([seed])
        np.testing.assert_allclose(
            alone.epoch_loss[0], among.epoch_loss[seed], rtol=1e-5
        )
        np.testing.assert_allclose(alone.alphas[0], among.alphas[seed], atol=1e-5)
        np.testing.assert_array_equal(alone.test_pred[0], among.test_pred[seed])
        np.testing.assert_array_equal(
            alone.selected_epoch[0], among.selected_epoch[seed]
        )

    @pytest.mark.slow
    def test_draws_depend_on_the_seed_alone(self):
        problem = problem_lib.prepare(make_dataset(), SETTINGS)
        among = loop.epoch_batches(problem, [5, 6])
        alone = loop.epoch_batches(problem, [6])
        for few, many in zip(alone, among, strict=True):
            np.testing.assert_array_equal(few.rows[0], many.rows[1])
        for one, other in zip(
            jax.tree.leaves(loop.initial_params(problem, [6])),
            jax.tree.leaves(loop.initial_params(problem, [5, 6])),
            strict=True,
        ):
            np.testing.assert_array_equal(one[0], other[1])

    def test_the_same_twice(self, ran):
        _, again = run([0, 1])
        for one, other in zip(leaves(ran[1]), leaves(again), strict=True):
            np.testing.assert_array_equal(one, other)

    def test_few_rows_stay_and_base_rows_change(self):
        problem = problem_lib.prepare(make_dataset(), SETTINGS)
        few = np.isin(problem.dataset.train.labels, SPLITS["few"])
        epochs = loop.epoch_batches(problem, [0])
        drawn = [np.asarray(e.rows)[np.asarray(e.valid)] for e in epochs]
        assert all(len(rows) == 12 + int(0.8 * 12) for rows in drawn)
        few_rows = {tuple(sorted(rows[few[rows]])) for rows in drawn}
        assert few_rows == {tuple(np.flatnonzero(few))}
        assert len({tuple(sorted(rows[~few[rows]])) for rows in drawn}) > 1


class TestOutcome:
    def test_metrics_are_those_of_the_corrected_classifier(self, ran):
        problem, outcome = ran
        data = problem.dataset
        for seed in range(2):
            weight = data.weight.copy()
            weight[data.few_classes] = outcome.weight_few[seed]
            logits = data.test.features @ weight.T + data.bias
            predicted = logits.argmax(axis=1)
            np.testing.assert_array_equal(outcome.test_pred[seed], predicted)
            right = predicted == data.test.labels
            assert outcome.test.accuracy[seed] == pytest.approx(right.mean())
            for index, split in enumerate(("few", "medium", "many")):
                mine = np.isin(data.test.labels, SPLITS[split])
                assert outcome.test.acc_per_split[seed, index] == pytest.approx(
                    right[mine].mean()
                )
            order = np.argsort(-logits, axis=1, kind="stable")[:, :5]
            top5 = (order == data.test.labels[:, None]).any(axis=1)
            assert outcome.test.top5[seed] == pytest.approx(top5.mean())

    def test_baseline_is_the_unchanged_classifier(self, ran):
        problem, outcome = ran
        data = problem.dataset
        for group, metrics in (
            (data.test, outcome.baseline_test),
            (data.val, outcome.baseline_val),
        ):
            predicted = (group.features @ data.weight.T + data.bias).argmax(axis=1)
            assert metrics.accuracy == pytest.approx((predicted == group.labels).mean())

    def test_weight_few_combines_sources(self, ran):
        problem, outcome = ran
        weight = problem.dataset.weight
        for place, few in enumerate(problem.dataset.few_classes):
            sources = weight[[few, *problem.neighbors[place]]]
            np.testing.assert_allclose(
                outcome.weight_few[0, place],
                outcome.alphas[0, place] @ sources,
                atol=1e-5,
            )

    def test_training_helps(self, ran):
        _, outcome = ran
        assert outcome.epoch_loss[:, -1].mean() < outcome.epoch_loss[:, 0].mean()


class TestSelection:
    def test_best_is_the_first_highest_from_min_epochs(self, ran):
        _, outcome = ran
        allowed = outcome.val.accuracy[:, SETTINGS.min_epochs - 1 :]
        expected = allowed.argmax(axis=1) + SETTINGS.min_epochs - 1
        np.testing.assert_array_equal(outcome.selected_epoch, expected)
        assert len(set(expected)) > 1  # or the test could not tell

    @pytest.mark.slow
    def test_reference_and_last(self):
        for selection, epoch in (("reference", 1), ("last", 5)):
            settings = dataclasses.replace(SETTINGS, selection=selection)
            _, outcome = run([0, 1], settings)
            assert outcome.selected_epoch.tolist() == [epoch, epoch]

    @pytest.mark.slow
    def test_selected_weights_are_those_of_the_epoch(self):
        """Training stopped at the selected epoch gives the same weights."""
        settings = dataclasses.replace(SETTINGS, selection="reference", min_epochs=5)
        _, outcome = run([0, 1], settings)
        short = dataclasses.replace(SETTINGS, train_epochs=5, selection="last")
        _, stopped = run([0, 1], short)
        for one, other in zip(
            jax.tree.leaves(outcome.params),
            jax.tree.leaves(stopped.params),
            strict=True,
        ):
            np.testing.assert_allclose(one, other, atol=1e-6)

    @pytest.mark.slow
    def test_min_epochs_beyond_the_last(self):
        settings = dataclasses.replace(SETTINGS, train_epochs=5, min_epochs=7)
        _, outcome = run([0, 1], settings)
        assert outcome.selected_epoch.tolist() == [4, 4]

    @pytest.mark.slow
    @pytest.mark.parametrize("selection", problem_lib.SELECTIONS)
    def test_without_validation_the_last(self, selection):
        settings = dataclasses.replace(SETTINGS, selection=selection)
        _, outcome = run([0, 1], settings, val=False)
        assert outcome.selected_epoch.tolist() == [5, 5]
        assert np.isnan(outcome.val.accuracy).all()
        assert outcome.val.accuracy.shape == (2, 6)
        assert np.isfinite(outcome.test.accuracy).all()

    @pytest.mark.slow
    def test_no_epochs_tests_the_initial_weights(self):
        settings = dataclasses.replace(SETTINGS, train_epochs=0)
        problem, outcome = run([0, 1], settings)
        assert outcome.selected_epoch.tolist() == [-1, -1]
        assert outcome.epoch_loss.shape == (2, 0)
        initial = loop.initial_params(problem, [0, 1])
        for one, other in zip(
            jax.tree.leaves(outcome.params), jax.tree.leaves(initial), strict=True
        ):
            np.testing.assert_array_equal(one, other)


class TestCompilation:
    @pytest.mark.slow
    @pytest.mark.parametrize(("seeds", "epochs"), [([0], 6), ([0, 1], 5)])
    def test_one_program_whatever_the_seeds_and_epochs(
        self, monkeypatch, seeds, epochs
    ):
        traces = []
        original = train_step.train_epoch

        def counting(*args, **kwargs):
            traces.append(1)
            return original(*args, **kwargs)

        monkeypatch.setattr(train_step, "train_epoch", counting)
        programs.train_epoch.clear_cache()  # of what other tests have run
        run(seeds, dataclasses.replace(SETTINGS, train_epochs=epochs))
        assert len(traces) == 1

    @pytest.mark.slow
    def test_given_params_are_left_alone(self):
        problem = problem_lib.prepare(make_dataset(), SETTINGS)
        params = loop.initial_params(problem, [0])
        batches = loop.epoch_batches(problem, [0])
        first = loop.run(problem, [0], params=params, batches=batches)
        again = loop.run(problem, [0], params=params, batches=batches)
        drawn = loop.run(problem, [0])
        np.testing.assert_array_equal(first.alphas, again.alphas)
        np.testing.assert_array_equal(first.alphas, drawn.alphas)


class TestOptimizersAndSchedules:
    @pytest.mark.slow
    def test_momentum_reaches_every_step(self):
        # One cycle of rate and momentum against a loop over epochs.
        settings = dataclasses.replace(
            SETTINGS,
            optim_cls="SGD",
            optim_params={"lr": 0.5},
            lr_sched_cls="OneCycleLR",
            lr_sched_params={"max_lr": 0.05, "total_steps": 6, "pct_start": 0.5},
            hact="elu",
            selection="last",
            train_batch_size=5,  # few steps, over which rounding grows
        )
        problem, outcome = run([0, 1], settings)
        assert problem.momenta is not None
        assert np.ptp(problem.momenta) > 0.09
        optimizer = optimizers.make_optimizer("SGD", {"lr": 0.5}, momentum_changes=True)
        params, *batches = _first_seed(problem)
        state = train_step.init_state(params, optimizer.transform)
        table = feature_pass.score_table(
            problem.dataset.train, **problem.score_arguments
        )
        train_epoch = jax.jit(
            functools.partial(
                train_step.train_epoch,
                transform=optimizer.transform,
                network=functools.partial(model.apply, activation="elu"),
            )
        )
        steps = []
        for epoch, epoch_batches in enumerate(batches):
            state, losses = train_epoch(
                state,
                epoch_batches,
                table,
                problem.frozen,
                problem.learning_rates[epoch],
                momentum=problem.momenta[epoch],
            )
            steps.append(losses)
        for actual, expected in zip(outcome.step_loss, steps, strict=True):
            np.testing.assert_allclose(actual[0], expected, rtol=1e-4)

    def test_optimizer_without_momentum(self):
        settings = dataclasses.replace(
            SETTINGS,
            optim_cls="Adagrad",
            lr_sched_cls="OneCycleLR",
            lr_sched_params={"max_lr": 0.1, "total_steps": 6},
        )
        with pytest.raises(UserError, match="this optimizer has none; give cycle_mom"):
            problem_lib.prepare(make_dataset(), settings)

    @pytest.mark.slow
    def test_learning_rate_of_optax_by_either_name(self):
        one, other = (
            run(
                [0],
                dataclasses.replace(
                    SETTINGS,
                    optim_cls="adam",
                    optim_params={name: 0.01},
                    lr_sched_cls="cosine_decay_schedule",
                    lr_sched_params={"decay_steps": 6},
                ),
            )
            for name in ("lr", "learning_rate")
        )
        np.testing.assert_array_equal(one[1].alphas, other[1].alphas)
        assert one[1].epoch_loss[0, -1] < one[1].epoch_loss[0, 0]


def _first_seed(problem):
    """Initial parameters of seed 0 among two, then its batches of every epoch."""
    params = loop.initial_params(problem, [0, 1])
    epochs = loop.epoch_batches(problem, [0, 1])
    return [jax.tree.map(lambda x: x[0], part) for part in (params, *epochs)]


class TestErrors:
    @pytest.mark.parametrize(
        ("change", "message"),
        [
            ({"n_neighbors": 9}, "n_neighbors must be less than .* got 9 with 9 base"),
            ({"n_neighbors": 0}, "n_neighbors must be at least 1, got 0"),
            ({"nn_dist": "manhattan"}, "nn_dist must be one of .* got 'manhattan'"),
            ({"selection": "first"}, "selection must be one of best, reference, last"),
            ({"hact": "rel"}, "unknown activation 'rel'; did you mean 'relu'"),
            ({"hdims": ()}, "hidden_dims must hold at least one size"),
            ({"hdims": (8, 0)}, "every size be positive"),
            ({"train_epochs": -1}, "train_epochs must be at least 0, got -1"),
            ({"train_batch_size": 0}, "train_batch_size must be at least 1, got 0"),
            ({"pred_scale": 0.0}, "pred_scale must be positive, got 0"),
            ({"pred_scale": float("nan")}, "pred_scale must be positive, got nan"),
            ({"pred_scale": 1e39}, "pred_scale must be a number that float32 holds"),
            ({"optim_params": {"lr": 1e300}}, "lr must be a number that float32 holds"),
            (
                {"optim_params": {"weight_decay": 1e300}},
                r"weight_decay must be a number that float32 holds, got 1e\+300",
            ),
            (
                {"lr_sched_params": {"step_size": 1, "gamma": 1e30}},
                r"gives the learning rate 1.*e\+58 in epoch 3",
            ),
            ({"rho": 1e10}, r"r=10000000000.0 asks for .* rows, more than 2147"),
            ({"rho": -1.0}, "r must be a number from 0 on, got -1.0"),
            ({"rho": float("nan")}, "r must be a number from 0 on, got nan"),
            ({"sampler_args": ({"r": "x"},)}, "r must be a number from 0 on, got 'x'"),
            ({"optim_params": {"lr": "x"}}, r"lr must be a number in \[0, inf\)"),
            ({"optim_params": {"betas": 0.9}}, "betas must be two numbers, got 0.9"),
            ({"optim_params": {"betas": [0.9, 1.0]}}, "each of betas .* got 1.0"),
            (
                {"lr_sched_params": {"step_size": 0}},
                "step_size must be an integer >= 1",
            ),
            ({"optim_cls": "AdamWW"}, "optim_cls 'AdamWW'; did you mean 'AdamW'"),
            ({"optim_params": {"lrr": 1.0}}, r"AdamW takes .* got \['lrr'\]"),
            ({"lr_sched_params": {}}, r"StepLR needs \['step_size'\]"),
            (
                {"sampler_classes": ("AllFew",)},
                "unknown sampler 'AllFew'; did you mean",
            ),
            (
                {"sampler_classes": ("UniformManyClassSampler",), "rho": 2.0},
                "r=2.0 asks for 6 classes of 'many', which has 5$",
            ),
            (
                {"sampler_classes": ("ClassBalancedManySampler",), "rho": 0.01},
                "the samplers draw no rows at all; r may be too small$",
            ),
            ({"sampler_args": ({}, {}, {})}, "sampler_args must hold"),
        ],
    )
    def test_settings(self, change, message):
        with pytest.raises(UserError, match=message):
            problem_lib.prepare(make_dataset(), dataclasses.replace(SETTINGS, **change))

    def test_non_finite_loss_names_seed_and_epoch(self):
        settings = dataclasses.replace(SETTINGS, optim_params={"lr": 1e30})
        with pytest.raises(UserError, match=r"the loss is .* for seed 3 in epoch \d"):
            run([3], settings)


class TestReport:
    @pytest.mark.slow
    def test_a_line_for_each_epoch(self):
        lines = []
        run([0, 1], report=lines.append)
        assert len(lines) == 6
        assert lines[2].startswith("epoch 3/6  loss ")
        assert "few" in lines[2]
        assert "overall" in lines[2]


@pytest.mark.slow
def test_random_neighbors_follow_the_seed():
    settings = dataclasses.replace(SETTINGS, nn_dist="random")
    data = make_dataset()
    first = problem_lib.prepare(data, settings, seed=1).neighbors
    again = problem_lib.prepare(data, settings, seed=1).neighbors
    other = problem_lib.prepare(data, settings, seed=2).neighbors
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()
    assert np.isin(first, data.base_classes).all()
