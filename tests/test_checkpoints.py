"""Checkpoints: what was stopped, or killed, goes on to the same bytes."""

import dataclasses
import gc
import hashlib
import json
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import time
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import made_data
import numpy as np
import outcomes
import pytest
from test_experiment import SETTINGS, make_dataset

from alphanet_jax.commands import cli
from alphanet_jax.data.dataset import Group
from alphanet_jax.errors import UserError
from alphanet_jax.eval import Counts
from alphanet_jax.experiment import checkpoints, cohorts, loop, memory, programs
from alphanet_jax.experiment import problem as problem_lib
from alphanet_jax.experiment.hooks import History
from alphanet_jax.experiment.memory import Plan
from alphanet_jax.results import file as results

ROOT = pathlib.Path(__file__).parents[1]
QUICKSTART = f"--config={ROOT / 'configs' / 'quickstart.py'}"
EPOCHS = 6
SHORT = [
    "--config.seeds=2",
    f"--config.training.train_epochs={EPOCHS}",
    "--config.training.min_epochs=2",
]
PLAN = Plan(4, True, 8, {"rows": 10}, 100)
CONFIGS = {"": {"rho": 0.1, "training": {"n_neighbors": 5}, "data_root": "here"}}
HASHES = {"a.npy": "11", "b.npy": "22"}


def open_store(directory, *, keep=2, **changes):
    arguments = {"configs": CONFIGS, "file_hashes": HASHES, "plans": [PLAN]} | changes
    return checkpoints.open_store(pathlib.Path(directory), keep=keep, **arguments)


@pytest.fixture
def store(tmp_path):
    made, _ = open_store(tmp_path / "c")
    yield made
    made.close()


class Part(NamedTuple):
    weights: list
    count: jax.Array
    flags: jax.Array
    nothing: tuple


def make_state(seed: int) -> Any:
    """A state with all that one may hold, on the device and on the host."""
    rng = np.random.default_rng(seed)
    part = Part(
        [jnp.asarray(rng.normal(size=(3, 5)), jnp.float32), {"x": jnp.float32(seed)}],
        jnp.asarray([seed, -1, 7], jnp.int32),
        jnp.asarray([True, False, bool(seed % 2)]),
        (),
    )
    losses = rng.normal(size=(3, 4, 2)).astype(np.float32)
    losses[:, 2:] = np.nan
    counts = [rng.integers(0, 9, (3, 4, 6)).astype(np.int32) for _ in range(3)]
    history = History(
        losses,
        *(rng.normal(size=(3, 4, 6)).astype(np.float32) for _ in range(3)),
        Counts(*counts, top5_correct=np.zeros((3, 4), np.int32)),
    )
    return part, history


def assert_same_state(found, wanted):
    assert jax.tree.structure(found) == jax.tree.structure(wanted)
    for one, other in zip(jax.tree.leaves(found), jax.tree.leaves(wanted), strict=True):
        assert isinstance(one, np.ndarray) == isinstance(other, np.ndarray)
        assert one.dtype == other.dtype
        np.testing.assert_array_equal(one, other)


def states(directory):
    """Numbers of epochs of the states in a directory, by group."""
    return {
        path.name: sorted(int(p.name) for p in path.iterdir() if p.name.isdigit())
        for path in pathlib.Path(directory).glob("runs_*")
    }


def damage(directory):
    """Cuts off every file with numbers of a state."""
    cut = [path for path in pathlib.Path(directory).rglob("d/*") if path.is_file()]
    assert cut
    for path in cut:
        os.truncate(path, path.stat().st_size // 2)


def snapshot(root):
    return {
        path.relative_to(root).as_posix(): path.read_bytes() if path.is_file() else None
        for path in pathlib.Path(root).rglob("*")
    }


@pytest.fixture
def noise():
    """Where reading fails, Orbax leaves reads behind: they end here, not in others."""
    yield
    time.sleep(0.3)
    gc.collect()


# Of the mark and the fixture, every test has both that reads what is damaged.
noisy = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")


class TestStore:
    @pytest.mark.slow
    def test_nothing_there(self, store):
        assert store.restore("0-0", make_state(0)) is None

    @pytest.mark.slow
    def test_round_trip(self, store, tmp_path):
        store.save("0-0", 1, make_state(1))
        store.save("1-0", 4, make_state(2))
        again, _ = open_store(tmp_path / "c")
        for place in (store, again):
            epochs, state = place.restore("0-0", make_state(9))
            assert epochs == 1
            assert_same_state(state, make_state(1))
            epochs, state = place.restore("1-0", make_state(9))
            assert epochs == 4
            assert_same_state(state, make_state(2))
        again.close()

    def test_arrays_of_the_host_can_be_written_to(self, store):
        store.save("0-0", 1, make_state(1))
        _, (_, history) = store.restore("0-0", make_state(9))
        history.losses[:, 2] = 1.0
        for column in history.val:
            column[:, 3] = 1
        assert (history.losses[:, 2] == 1).all()

    def test_what_was_saved_may_change_afterwards(self, store):
        state = make_state(1)
        store.save("0-0", 1, state)
        state[1].losses[:] = 5.0
        _, restored = store.restore("0-0", make_state(9))
        assert_same_state(restored, make_state(1))

    @pytest.mark.slow
    @pytest.mark.parametrize("keep", [1, 3])
    def test_the_newest_are_kept(self, tmp_path, keep):
        store, _ = open_store(tmp_path / "c", keep=keep)
        for epoch in range(1, 6):
            store.save("0-0", epoch, make_state(epoch))
            newest = list(range(max(1, epoch - keep + 1), epoch + 1))
            assert states(tmp_path / "c") == {"runs_0-0": newest}
            assert store.restore("0-0", make_state(9))[0] == epoch
        store.close()

    @pytest.mark.slow
    @noisy
    @pytest.mark.usefixtures("noise")
    @pytest.mark.parametrize("size", [0.0, 0.5])
    def test_any_one_damaged_file(self, store, tmp_path, size):
        """Either the state is as it was, or the one before is taken."""
        for epoch in (1, 2):
            store.save("0-0", epoch, make_state(epoch))
        whole = tmp_path / "c"
        names = [
            path.relative_to(whole)
            for path in sorted((whole / "runs_0-0" / "2").rglob("*"))
            if path.is_file()
        ]
        assert len(names) > 5
        taken = []
        for index, name in enumerate(names):
            directory = tmp_path / str(index)
            shutil.copytree(whole, directory)
            path = directory / name
            os.truncate(path, int(size * path.stat().st_size))
            other, _ = open_store(directory)
            epochs, state = other.restore("0-0", make_state(9))
            other.close()
            assert_same_state(state, make_state(epochs))
            taken.append(epochs)
        assert 1 in taken  # files with numbers are among them

    def test_a_state_that_was_being_written_does_not_count(self, tmp_path):
        store, _ = open_store(tmp_path / "c")
        for epoch in (1, 2):
            store.save("0-0", epoch, make_state(epoch))
        store.close()
        # Orbax writes to such a directory, and renames it when all is there.
        newest = tmp_path / "c" / "runs_0-0" / "2"
        newest.rename(newest.with_name("2.orbax-checkpoint-tmp"))
        again, _ = open_store(tmp_path / "c")
        epochs, state = again.restore("0-0", make_state(9))
        assert epochs == 1
        assert_same_state(state, make_state(1))
        again.save("0-0", 2, make_state(2))
        again.close()
        assert sorted(p.name for p in newest.parent.iterdir()) == ["1", "2"]

    @pytest.mark.slow
    @noisy
    @pytest.mark.usefixtures("noise")
    def test_all_damaged(self, store, tmp_path):
        for epoch in (1, 2):
            store.save("0-0", epoch, make_state(epoch))
        damage(tmp_path / "c")
        again, _ = open_store(tmp_path / "c")
        with pytest.raises(UserError, match="no checkpoint can be read") as raised:
            again.restore("0-0", make_state(9))
        again.close()
        text = str(raised.value)
        assert str(tmp_path / "c" / "runs_0-0") in text
        assert "--load_from_ckpt=false starts anew" in text
        assert "\n" not in text
        assert states(tmp_path / "c") == {"runs_0-0": [1, 2]}


class TestOpenStore:
    @pytest.fixture
    def directory(self, store, tmp_path):
        store.save("0-0", 1, make_state(1))
        return tmp_path / "c"

    def test_the_same_experiment(self, directory):
        # Where files lie does not count, nor how runs would be grouped now.
        moved = {"": CONFIGS[""] | {"data_root": "there"}}
        hashes = {"there/a.npy": "11", "there/b.npy": "22"}
        plan = dataclasses.replace(PLAN, runs_at_a_time=1, limit=5)
        store, plans = open_store(
            directory, configs=moved, file_hashes=hashes, plans=[plan]
        )
        assert plans == [PLAN]
        assert store.restore("0-0", make_state(9))[0] == 1
        store.close()

    @pytest.mark.parametrize(
        ("changes", "told"),
        [
            (
                {"configs": {"": CONFIGS[""] | {"rho": 0.5}}},
                ["rho 0.1, now 0.5"],
            ),
            (
                {"configs": {"": {"rho": 0.2, "training": {"n_neighbors": 4}}}},
                ["rho 0.1, now 0.2", "training.n_neighbors 5, now 4"],
            ),
            (
                {"file_hashes": HASHES | {"b.npy": "33"}},
                ["other input files (b.npy)"],
            ),
            ({"file_hashes": HASHES | {"c.npy": "33"}}, ["other input files (c.npy)"]),
            (
                {"configs": {"rho=0.1": CONFIGS[""]}},
                ["rho=0.1: not among them"],
            ),
        ],
    )
    def test_another_experiment_is_refused(self, directory, changes, told):
        before = snapshot(directory)
        with pytest.raises(UserError) as raised:
            open_store(directory, **changes)
        text = str(raised.value)
        assert all(part in text for part in told)
        assert text.startswith(f"the checkpoints in {directory} are of another")
        assert "--load_from_ckpt=false" in text
        assert "\n" not in text
        assert snapshot(directory) == before
        # And so it can be started anew.
        store, _ = open_store(directory, load=False, **changes)
        assert store.restore("0-0", make_state(9)) is None
        store.close()

    def test_other_points(self, tmp_path):
        def configs(*rates):
            return {f"rho={r}": {"rho": r} for r in rates}

        open_store(tmp_path / "c", configs=configs(0.1, 0.2))[0].close()
        with pytest.raises(UserError) as raised:
            open_store(tmp_path / "c", configs=configs(0.2, 0.3))
        text = str(raised.value)
        assert "rho=0.1: not asked for now" in text
        assert "rho=0.3: not among them" in text
        assert "rho=0.2" not in text

    def test_devices_that_cannot_share_the_runs(self, directory, monkeypatch):
        monkeypatch.setattr(jax, "device_count", lambda: 2)
        open_store(directory)[0].close()
        monkeypatch.setattr(jax, "device_count", lambda: 3)
        with pytest.raises(UserError, match="4 runs at a time, which 3 devices cannot"):
            open_store(directory)
        open_store(directory, load=False)[0].close()

    def test_starting_anew_removes_the_states(self, directory):
        store, _ = open_store(directory, load=False)
        assert store.restore("0-0", make_state(9)) is None
        assert states(directory) in ({}, {"runs_0-0": []})
        store.close()

    @pytest.mark.parametrize("load", [True, False])
    @pytest.mark.parametrize("name", ["result.npz", "deep/er/notes.txt"])
    def test_a_directory_of_something_else_is_left_alone(self, tmp_path, load, name):
        path = tmp_path / "c" / name
        path.parent.mkdir(parents=True)
        path.write_text("precious")
        with pytest.raises(UserError, match="holds files that are no checkpoints"):
            open_store(tmp_path / "c", load=load)
        assert path.read_text() == "precious"
        assert snapshot(tmp_path / "c")[name] == b"precious"
        assert not (tmp_path / "c" / "run.json").exists()

    def test_an_empty_directory_and_a_file(self, tmp_path):
        (tmp_path / "c").mkdir()
        open_store(tmp_path / "c")[0].close()
        (tmp_path / "file").write_text("precious")
        with pytest.raises(UserError, match=r"--ckpt_dir: .*file is a file"):
            open_store(tmp_path / "file")
        assert (tmp_path / "file").read_text() == "precious"

    @pytest.mark.parametrize(
        "text", ["", "{", "[]", '{"format": 3}', "null", '{"plans": []}']
    )
    def test_a_record_that_is_none(self, directory, text):
        (directory / "run.json").write_text(text)
        with pytest.raises(UserError, match="not a record of checkpoints"):
            open_store(directory)
        assert states(directory) == {"runs_0-0": [1]}

    def test_a_record_of_another_format(self, directory):
        record = json.loads((directory / "run.json").read_text())
        assert record["format"] == 3
        record["format"] = 1
        (directory / "run.json").write_text(json.dumps(record))
        message = r"of another version .*\(format 1, now 3\); --load_from_ckpt=false"
        with pytest.raises(UserError, match=message):
            open_store(directory)


class StoppedError(Exception):
    """Stands for whatever ends a process."""


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


def uneven(data):
    """Takes rows of few classes away: how many a sampler draws differs from then on."""
    first = np.flatnonzero(data.train.labels == data.few_classes[0])[:-1]
    second = np.flatnonzero(data.train.labels == data.few_classes[1])[:1]
    keep = np.setdiff1d(np.arange(len(data.train.labels)), [*first, *second])
    group = Group(data.train.features[keep], data.train.labels[keep])
    return dataclasses.replace(data, train=group)


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
            "train_batch_size": 3,
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
    def test_equals_uninterrupted(self, tmp_path, case):
        changes = CASES[case]
        data = uneven(make_dataset(val="no validation" not in case))
        settings = [
            dataclasses.replace(SETTINGS, train_epochs=EPOCHS, **change)
            for change in changes
        ]
        problems = problem_lib.prepare_all(data, [(s, 0) for s in settings])
        points = [cohorts.Part(p, (3, 8), str(n)) for n, p in enumerate(problems)]
        whole = run_points(points)
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

    @pytest.mark.slow
    def test_stopped_again_and_again(self, tmp_path):
        """Every epoch in a process of its own, in groups of two runs."""
        settings = dataclasses.replace(SETTINGS, train_epochs=3)
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


def main(*arguments):
    return cli.main(["main.py", *map(str, arguments)])


def sha(path):
    return hashlib.sha256(pathlib.Path(path).read_bytes()).hexdigest()


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    """Compiled programs, for all commands here."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def _own_directory(tmp_path, monkeypatch, cache):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(cache))
    monkeypatch.delitem(sys.modules, "config_config", raising=False)


def command(workdir, cache, *arguments):
    return [
        *(sys.executable, str(ROOT / "main.py"), QUICKSTART, *SHORT),
        *(f"--workdir={workdir}", f"--compilation_cache={cache}/alphanet_jax/compiled"),
        *map(str, arguments),
    ]


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory, cache):
    """The result of a run without checkpoints."""
    workdir = tmp_path_factory.mktemp("uninterrupted")
    with pytest.MonkeyPatch.context() as patch:
        patch.delitem(sys.modules, "config_config", raising=False)
        assert cli.main(command(workdir, cache)[1:]) == 0
    return workdir / "result.npz"


@pytest.fixture
def trained(monkeypatch):
    """Counts epochs that are trained."""
    found = []
    original = programs.train_epoch

    def spy(*arguments):
        found.append(len(arguments))
        return original(*arguments)

    monkeypatch.setattr(programs, "train_epoch", spy)
    return found


@pytest.mark.usefixtures("_own_directory")
@pytest.mark.slow
class TestCommand:
    @pytest.mark.slow
    def test_resumed_is_uninterrupted(self, uninterrupted, tmp_path, cache):
        """A process that is killed, and another one."""
        arguments = command("w", cache, "--ckpt_dir=c", "--n_ckpt=3")
        with subprocess.Popen(
            arguments, stderr=subprocess.PIPE, text=True, cwd=tmp_path
        ) as process:
            for line in process.stderr:
                if line.startswith(f"epoch 3/{EPOCHS}"):
                    process.kill()
                    break
        assert process.returncode == -signal.SIGKILL
        # What shows that it is in use stays, and is nobody's.
        assert [path.name for path in (tmp_path / "w").iterdir()] == [".in_use"]
        assert max(states("c")["runs_0-0"]) >= 3
        done = subprocess.run(
            arguments, check=True, capture_output=True, text=True, cwd=tmp_path
        )
        resumed = re.search(r"^resuming after epoch (\d)$", done.stderr, re.MULTILINE)
        assert 3 <= int(resumed[1]) <= 5
        assert f"epoch {int(resumed[1])}/" not in done.stderr
        assert f"epoch {int(resumed[1]) + 1}/{EPOCHS}  loss" in done.stderr
        assert sha("w/result.npz") == sha(uninterrupted)
        assert states("c") == {"runs_0-0": [EPOCHS - 2, EPOCHS - 1, EPOCHS]}

    @pytest.mark.slow
    def test_what_is_done_is_not_trained_again(self, uninterrupted, capsys, trained):
        pathlib.Path("w").mkdir()
        shutil.copy2(uninterrupted, "w/result.npz")
        before = pathlib.Path("w/result.npz").stat()
        for more in ([], ["--ckpt_dir=c"], ["--ckpt_dir=c", "--load_from_ckpt=false"]):
            assert main(QUICKSTART, *SHORT, "--workdir=w", *more) == 0
            captured = capsys.readouterr()
            assert "done already: w/result.npz" in captured.err
            assert "epoch" not in captured.err
            assert "AlphaNet (r=0.5)" in captured.out
        after = pathlib.Path("w/result.npz").stat()
        assert (after.st_mtime_ns, after.st_ino) == (before.st_mtime_ns, before.st_ino)
        assert trained == []
        assert not pathlib.Path("c").exists()

    @pytest.mark.slow
    def test_finished_but_for_the_result(self, uninterrupted, capsys, trained):
        arguments = [QUICKSTART, *SHORT, "--workdir=w", "--ckpt_dir=c"]
        with pytest.MonkeyPatch.context() as patch:

            def save_result(*arguments):
                raise StoppedError

            patch.setattr(results, "save_result", save_result)
            assert main(*arguments) == 1
        assert "StoppedError" in capsys.readouterr().err
        assert len(trained) == EPOCHS
        assert main(*arguments) == 0
        assert len(trained) == EPOCHS
        assert f"resuming after epoch {EPOCHS}" in capsys.readouterr().err
        assert sha("w/result.npz") == sha(uninterrupted)

    @pytest.mark.slow
    @noisy
    @pytest.mark.usefixtures("noise")
    def test_interrupted_and_refused_and_started_anew(
        self, uninterrupted, capsys, trained
    ):
        arguments = [QUICKSTART, *SHORT, "--workdir=w", "--ckpt_dir=c"]
        with pytest.MonkeyPatch.context() as patch:
            original = checkpoints.CheckpointStore.save

            def save(store, name, epochs_done, state):
                original(store, name, epochs_done, state)
                if epochs_done == 2:
                    raise KeyboardInterrupt

            patch.setattr(checkpoints.CheckpointStore, "save", save)
            assert main(*arguments) == 130
        assert capsys.readouterr().err.splitlines()[-1] == (
            "error: interrupted; the same command goes on after the last epoch in c"
        )
        assert not pathlib.Path("w").exists()
        before = snapshot("c")

        # Other settings.
        assert main(*arguments, "--config.rho=0.25", "--config.seed=3") == 1
        last = capsys.readouterr().err.splitlines()[-1]
        assert last.startswith("error: the checkpoints in c are of another experiment")
        assert "seed 0, now 3; " in last
        assert "rho 0.5, now 0.25; " in last
        # Other points.
        assert main(*arguments, "--config.rho=(0.5, 1.0)") == 1
        last = capsys.readouterr().err.splitlines()[-1]
        assert "not asked for now; rho=0.5: not among them; rho=1.0: not" in last
        # Not a checkpoint can be kept.
        assert main(*arguments, "--n_ckpt=0") == 1
        assert "--n_ckpt=0" in capsys.readouterr().err.splitlines()[-1]
        assert snapshot("c") == before
        assert not pathlib.Path("w").exists()
        assert len(trained) == 2

        # All of them damaged, then anew.
        damage("c")
        assert main(*arguments) == 1
        last = capsys.readouterr().err.splitlines()[-1]
        assert last.startswith("error: c/runs_0-0: no checkpoint can be read")
        assert main(*arguments, "--load_from_ckpt=false") == 0
        assert "resuming" not in capsys.readouterr().err
        assert len(trained) == 2 + EPOCHS
        assert sha("w/result.npz") == sha(uninterrupted)

    @pytest.mark.parametrize("what", ["directory", "file"])
    def test_a_place_for_something_else(self, capsys, trained, what):
        place = pathlib.Path("c")
        if what == "file":
            place.write_text("precious")
        else:
            place.mkdir()
            (place / "notes.txt").write_text("precious")
        before = made_data.snapshot(place) if what == "directory" else None
        for more in ([], ["--load_from_ckpt=false"]):
            arguments = [QUICKSTART, *SHORT, "--workdir=w", "--ckpt_dir=c", *more]
            assert main(*arguments) == 1
            assert (
                capsys.readouterr()
                .err.splitlines()[-1]
                .startswith("error: --ckpt_dir: c ")
            )
        if what == "directory":
            assert made_data.snapshot(place) == before
        else:
            assert place.read_text() == "precious"
        assert not pathlib.Path("w").exists()
        assert trained == []

    @pytest.mark.slow
    def test_a_sweep_goes_on_with_what_is_not_done(
        self, capsys, trained, monkeypatch, tmp_path
    ):
        monkeypatch.setattr(memory, "_CPU_GROUP_RUNS", 2)  # a point at a time
        arguments = [QUICKSTART, *SHORT, "--config.rho=(0.1, 0.5)"]
        assert main(*arguments, "--workdir=whole") == 0
        trained.clear()
        with pytest.MonkeyPatch.context() as patch:
            original = checkpoints.CheckpointStore.save

            def save(store, name, epochs_done, state):
                original(store, name, epochs_done, state)
                if (name, epochs_done) == ("0-2", 2):
                    raise KeyboardInterrupt

            patch.setattr(checkpoints.CheckpointStore, "save", save)
            assert main(*arguments, "--workdir=w", "--ckpt_dir=c") == 130
        first = pathlib.Path("w/rho_0.5/result.npz")  # more rows, so the first
        assert first.exists()
        assert not pathlib.Path("w/rho_0.1").exists()
        assert len(trained) == EPOCHS + 2
        before = first.stat()
        capsys.readouterr()
        # Even if there is room for all at a time now.
        monkeypatch.undo()
        monkeypatch.chdir(tmp_path)
        monkeypatch.delitem(sys.modules, "config_config", raising=False)
        assert main(*arguments, "--workdir=w", "--ckpt_dir=c") == 0
        captured = capsys.readouterr()
        assert "done already: w/rho_0.5/result.npz" in captured.err
        assert "1 points, " not in captured.err
        assert "resuming after epoch 2" in captured.err
        assert (first.stat().st_mtime_ns, first.stat().st_ino) == (
            before.st_mtime_ns,
            before.st_ino,
        )
        assert "AlphaNet (r=0.1)" in captured.out
        assert "AlphaNet (r=0.5)" in captured.out
        for name in ("rho_0.1", "rho_0.5"):
            assert sha(f"w/{name}/result.npz") == sha(f"whole/{name}/result.npz")


KILLS = 8


@pytest.mark.slow
def test_killed_at_any_moment(tmp_path, cache, uninterrupted):
    """SIGKILL, spread over all that a run does, until nothing is left to do.

    In the work directory there is a result of other settings, which stays as it is
    until it is replaced by the new one.
    """
    expected = sha(uninterrupted)
    # Another setting's, and so not what is asked for.
    earlier = results.load_result(uninterrupted)
    text = str(earlier["config"]).replace('"min_epochs": 2', '"min_epochs": 3')
    results.save_result(
        tmp_path / "earlier.npz", earlier | {"config": np.asarray(text)}
    )
    untouched = sha(tmp_path / "earlier.npz")
    assert untouched != expected
    env = os.environ | {"PYTHONUNBUFFERED": "1"}

    def start(run, seconds, after=None):
        """Runs the command; kills it after so long, or once it is past an epoch.

        Returns its status, and what it said.
        """
        log = tmp_path / "log"
        with log.open("wb") as file:
            process = subprocess.Popen(
                command(run / "w", cache, f"--ckpt_dir={run / 'c'}", "--overwrite"),
                stdout=file, stderr=file, cwd=tmp_path, env=env,
            )  # fmt: skip
            try:
                if after is None:
                    process.wait(seconds)
                else:
                    past = f"epoch {after}/"
                    while process.poll() is None and past not in log.read_text():
                        time.sleep(0.01)
                    process.kill()
                    process.wait()
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        return process.returncode, log.read_text()

    def begin(number):
        run = tmp_path / f"run{number}"
        (run / "w").mkdir(parents=True)
        shutil.copy(tmp_path / "earlier.npz", run / "w" / "result.npz")
        return run

    began = time.monotonic()
    status, text = start(begin(0), 100)
    whole = time_of_a_whole_run = time.monotonic() - began
    assert status == 0, text
    assert "is of another run and will be replaced" in text
    assert sha(tmp_path / "run0" / "w" / "result.npz") == expected

    # One in each part of the time that an uninterrupted run takes.
    rng = np.random.default_rng(KILLS)
    parts = (rng.permutation(KILLS) + rng.uniform(size=KILLS)) / KILLS
    left = [float(part) for part in parts]
    run, number, printed = begin(1), 1, 0
    seen = {"before the first epoch": 0, "after a checkpoint": 0, "while training": 0}

    def check(text):
        """Checks that a start goes on where the one before was killed; notes kinds."""
        nonlocal printed
        found = re.search(r"^resuming after epoch (\d+)$", text, re.MULTILINE)
        epochs = [int(e) for e in re.findall(rf"^epoch (\d+)/{EPOCHS} ", text, re.M)]
        if found:
            assert printed <= int(found[1]) <= printed + 1
            printed = int(found[1])
        elif epochs:
            assert printed == 0
        if epochs:
            assert epochs == list(range(printed + 1, printed + 1 + len(epochs)))
            printed = epochs[-1]
        seen["before the first epoch"] += not epochs
        seen["while training"] += bool(epochs)
        seen["after a checkpoint"] += bool(found)

    starts = 0
    while left or not all(seen.values()):
        # How long the parts of a run take depends on what else the machine does: until
        # every kind of moment was met, there are further kills, past an epoch.
        starts += 1
        assert starts < 60, seen
        least = max(1, min(printed, EPOCHS - 1))
        after = None if left else int(rng.integers(least, EPOCHS))
        status, text = start(run, left.pop() * whole if left else 0, after)
        result = sha(run / "w" / "result.npz")
        if "done already" not in text:
            check(text)
        if status == -signal.SIGKILL:
            # Replaced only when all is done.
            assert result == untouched or (result == expected and printed == EPOCHS)
            continue
        assert status == 0, text
        # It was done before the kill: another for a run from the beginning, and sooner,
        # as something else may have slowed the run that was timed.
        assert result == expected
        whole *= 0.85
        number, printed = number + 1, 0
        run = begin(number)
        left.append(float(rng.uniform(0.3, 1.0)))
        if number % 10 == 0:
            whole = time_of_a_whole_run
    status, text = start(run, 100)
    assert status == 0, text
    if "done already" not in text:
        check(text)
    assert sha(run / "w" / "result.npz") == expected


@pytest.mark.slow
@noisy
@pytest.mark.usefixtures("noise")
def test_a_damaged_state_is_replaced(store, tmp_path):
    """Training goes on from the state before it, and writes it anew."""
    for epoch in (1, 2):
        store.save("0-0", epoch, make_state(epoch))
    damage(tmp_path / "c" / "runs_0-0" / "2")
    again, _ = open_store(tmp_path / "c")
    assert again.restore("0-0", make_state(9))[0] == 1
    again.save("0-0", 2, make_state(5))
    again.save("0-0", 3, make_state(3))
    again.close()
    last, _ = open_store(tmp_path / "c")
    epochs, state = last.restore("0-0", make_state(9))
    last.close()
    assert epochs == 3
    assert_same_state(state, make_state(3))
    assert states(tmp_path / "c") == {"runs_0-0": [2, 3]}


def test_killed_while_the_record_was_written(tmp_path):
    (tmp_path / "c").mkdir()
    (tmp_path / "c" / ".run.json.123.tmp").write_text('{"form')
    open_store(tmp_path / "c")[0].close()


def test_killed_while_they_were_removed(store, tmp_path, monkeypatch):
    """With --load_from_ckpt=false: the record of them is the last to go."""
    store.save("0-0", 1, make_state(1))

    def killed(path):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(shutil, "rmtree", killed)
        with pytest.raises(KeyboardInterrupt):
            open_store(tmp_path / "c", load=False)
    again, _ = open_store(tmp_path / "c", load=False)
    assert again.restore("0-0", make_state(9)) is None
    again.close()


def test_starting_anew_leaves_the_files_of_others(store, tmp_path):
    """Such as a result, where --ckpt_dir is the work directory."""
    store.save("0-0", 1, make_state(1))
    (tmp_path / "c" / "result.npz").write_text("precious")
    again, _ = open_store(tmp_path / "c", load=False)
    again.close()
    assert (tmp_path / "c" / "result.npz").read_text() == "precious"
