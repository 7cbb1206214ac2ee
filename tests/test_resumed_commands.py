"""Commands that were stopped, or killed, go on to the same bytes."""

import hashlib
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import time

import made_data
import numpy as np
import pytest
from stopped import (
    EPOCHS,
    StoppedError,
    damage,
    noisy,
    settle,
    snapshot,
    states,
)

from alphanet_jax.commands import cli
from alphanet_jax.experiment import checkpoints, memory, programs
from alphanet_jax.results import file as results

ROOT = pathlib.Path(__file__).parents[1]
QUICKSTART = f"--config={ROOT / 'configs' / 'quickstart.py'}"
SHORT = [
    "--config.seeds=2",
    f"--config.training.train_epochs={EPOCHS}",
    "--config.training.min_epochs=2",
]


@pytest.fixture
def noise():
    yield
    settle()


def main(*arguments):
    return cli.main(["main.py", *map(str, arguments)])


def sha(path):
    return hashlib.sha256(pathlib.Path(path).read_bytes()).hexdigest()


@pytest.fixture(scope="module")
def cache():
    """Where all tests keep compiled programs."""
    return os.environ["JAX_COMPILATION_CACHE_DIR"]


@pytest.fixture
def _own_directory(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delitem(sys.modules, "config_config", raising=False)


def command(workdir, cache, *arguments):
    return [
        *(sys.executable, str(ROOT / "main.py"), QUICKSTART, *SHORT),
        *(f"--workdir={workdir}", f"--compilation_cache={cache}"),
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
