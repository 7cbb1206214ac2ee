"""Results that cannot be saved, full disks, and sweeps that go on after a kill."""

import errno
import os
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import jax
import numpy as np
import pytest
from test_tb_logs import read_records
from test_training import BASE, DATA, same, train

from alphanet_jax import outputs
from alphanet_jax.config import sweep
from alphanet_jax.errors import UserError
from alphanet_jax.experiment import checkpoints, cohorts, keeping, memory, training
from alphanet_jax.results import file as result_file

POINTS = sweep.name_points(
    [type(BASE)(**{**vars(BASE), "rho": rho}) for rho in (0.2, 0.5, 0.8, 1.0)]
)


def full(*args, **kwargs):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.fixture
def elsewhere(tmp_path, monkeypatch):
    path = tmp_path / "elsewhere"
    path.mkdir()
    monkeypatch.setattr(outputs.tempfile, "gettempdir", lambda: str(path))
    return path


@pytest.fixture
def one_fails(monkeypatch):
    """Makes saving into the directory of a point fail, so many times."""
    real = result_file.save_result

    def make(name, times):
        left = [times]

        def save(path, arrays):
            if path.parent.name == name and "elsewhere" not in path.parts and left[0]:
                left[0] -= 1
                full()
            real(path, arrays)

        monkeypatch.setattr(result_file, "save_result", save)

    return make


@pytest.mark.slow
class TestResults:
    def test_goes_elsewhere_and_the_others_are_saved(
        self, tmp_path, elsewhere, one_fails, monkeypatch
    ):
        one_fails("rho_0.5", -1)
        monkeypatch.setattr(keeping, "move_home", lambda *args: False)
        trained, lines = train(POINTS, workdir=tmp_path / "w")
        rescued = trained[1].path
        assert rescued.is_relative_to(elsewhere)
        for number in (0, 2, 3):
            assert trained[number].path.is_relative_to(tmp_path / "w")
            assert not trained[number].unsaved
        same(trained[1], train(POINTS)[0][1])
        (line,) = [line for line in lines if line.startswith("warning: ")]
        wanted = tmp_path / "w" / "rho_0.5" / "result.npz"
        assert line == (
            f"warning: {wanted} cannot be written: No space left on device; the "
            f"result is in {rescued}: move it there"
        )
        with pytest.raises(UserError) as raised:
            training.check_saved(trained)
        assert str(raised.value) == line.removeprefix("warning: ")

    def test_is_tried_again_in_the_end(self, tmp_path, elsewhere, one_fails):
        one_fails("rho_0.5", 1)
        trained, lines = train(POINTS, workdir=tmp_path / "w")
        wanted = tmp_path / "w" / "rho_0.5" / "result.npz"
        assert trained[1].path == wanted
        assert lines[-1] == f"saved {wanted} after all"
        assert not list(elsewhere.rglob("*"))
        training.check_saved(trained)

    def test_nowhere(self, tmp_path, monkeypatch):
        monkeypatch.setattr(result_file, "save_result", full)
        (trained,), lines = train(BASE, workdir=tmp_path)
        assert trained.path is None
        same(trained, train(BASE)[0][0])
        assert [line for line in lines if "kept in memory, and tried again" in line]
        with pytest.raises(UserError, match="nor could it be saved elsewhere"):
            training.check_saved([trained])

    def test_a_limit_on_the_size_of_files(self, tmp_path):
        """A real one: the system refuses to write on."""
        code = f"""
import resource, signal, sys
sys.path[:0] = {[str(Path(__file__).parent), str(Path(__file__).parents[1])]!r}
from test_training import BASE, DATA
from alphanet_jax.experiment import training
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (3000, resource.RLIM_INFINITY))
(one,) = training.train(BASE, DATA, workdir={str(tmp_path / "w")!r},
    ckpt_dir={str(tmp_path / "c")!r}, tb_logs={str(tmp_path / "t")!r})
print(one.arrays()["test_accuracy"].shape, len(one.unsaved))
"""
        others = [tmp_path / name for name in ("here", "home", "tmp")]
        for other in others:
            other.mkdir()
        places = dict(zip(("HOME", "TMPDIR"), map(str, others[1:]), strict=True))
        done = subprocess.run(
            [sys.executable, "-c", code],
            capture_output=True, text=True, timeout=120,
            cwd=others[0], env={**os.environ, **places},
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        assert done.stdout.splitlines()[-1] == "(2,) 3"
        # Nor are directories left where a result could not be put.
        assert not [path for other in others for path in other.rglob("*_rescued_*")]
        for what in ("result.npz cannot be written", "not all checkpoints", "logs in"):
            told = [line for line in done.stdout.splitlines() if what in line]
            assert len(told) == 1
            assert told[0].startswith("warning: ")
            assert "File too large" in told[0] or "checkpoints" in told[0]
        # Logs have whole records only, or none.
        for path in (tmp_path / "t").rglob("events.*"):
            assert list(read_records(path))


@pytest.mark.slow
class TestCheckpointsAndLogs:
    def test_training_goes_on_and_says_so_once(self, tmp_path, monkeypatch):
        monkeypatch.setattr(checkpoints.CheckpointStore, "save", full)
        (trained,), lines = train(BASE, workdir=tmp_path / "w", ckpt_dir=tmp_path / "c")
        same(trained, train(BASE)[0][0])
        (line,) = [line for line in lines if line.startswith("warning: ")]
        assert line == (
            f"warning: not all checkpoints could be saved in {tmp_path / 'c'}: "
            "[Errno 28] No space left on device; training goes on"
        )
        with pytest.raises(UserError, match="not all checkpoints could be saved"):
            training.check_saved([trained])

    def test_logs(self, tmp_path, monkeypatch):
        from alphanet_jax.experiment.tb_logs import TensorBoardLogs

        monkeypatch.setattr(TensorBoardLogs, "epoch_ended", full)
        (trained,), lines = train(BASE, tb_logs=tmp_path / "t")
        same(trained, train(BASE)[0][0])
        (line,) = [line for line in lines if line.startswith("warning: ")]
        assert line == (
            f"warning: logs in {tmp_path / 't'} are not whole: No space left on "
            "device; training goes on"
        )
        with pytest.raises(UserError, match="are not whole"):
            training.check_saved([trained])


@pytest.mark.parametrize(
    ("name", "what"),
    [("workdir", "results"), ("ckpt_dir", "checkpoints"), ("tb_logs", "logs")],
)
def test_a_disk_without_room(tmp_path, monkeypatch, name, what):
    """It is noticed before anything is trained, or written."""
    usage = SimpleNamespace(free=5000)
    monkeypatch.setattr(outputs.shutil, "disk_usage", lambda path: usage)
    with pytest.raises(UserError) as raised:
        train(BASE, **{name: tmp_path / "x"})
    text = str(raised.value)
    assert text.startswith(f"--{name}: {tmp_path / 'x'} may need ")
    assert f" ({what} " in text
    assert text.endswith("0.0 MB free; free some, or choose another directory")
    assert not any(tmp_path.iterdir())


@pytest.mark.slow
def test_the_estimate_is_above_what_is_written(tmp_path):
    places = {name: tmp_path / name for name in ("workdir", "ckpt_dir", "tb_logs")}
    needs = {}
    real = outputs.check_space
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(
            outputs,
            "check_space",
            lambda name, path, sizes: (
                needs.setdefault(name, sum(sizes.values())) and real(name, path, sizes)
            ),
        )
        train(BASE, **places)
    for name, path in places.items():
        written = sum(p.stat().st_size for p in path.rglob("*") if p.is_file())
        assert written <= needs[name] <= 40 * max(written, 2**16), name


class Killed(BaseException):
    """Stands for whatever ends a process."""


@pytest.mark.slow
class TestSweepGoesOn:
    @pytest.fixture(autouse=True)
    def three_at_a_time(self, monkeypatch):
        # Eight runs of four points: points share batches with others.
        monkeypatch.setattr(memory, "_CPU_GROUP_RUNS", 3)

    def stop_after(self, count, workdir, **options):
        left = [count]

        def ended(trained):
            left[0] -= 1
            if not left[0]:
                raise Killed

        with pytest.raises(Killed):
            training.train(POINTS, DATA, workdir=workdir, point_ended=ended, **options)

    @pytest.mark.parametrize("count", [1, 2])
    def test_to_the_same_bytes(self, tmp_path, count):
        train(POINTS, workdir=tmp_path / "whole")
        self.stop_after(count, tmp_path / "w")
        assert (tmp_path / "w" / keeping._PLANS).exists()
        before = {p: p.stat().st_mtime_ns for p in (tmp_path / "w").rglob("result.npz")}
        assert len(before) == count
        trained, _ = train(POINTS, workdir=tmp_path / "w")
        assert sum(one.was_done for one in trained) == count
        assert all(path.stat().st_mtime_ns == time for path, time in before.items())
        for point in POINTS:
            name = Path(point.directory) / "result.npz"
            found = (tmp_path / "w" / name).read_bytes()
            assert found == (tmp_path / "whole" / name).read_bytes()
        assert not (tmp_path / "w" / keeping._PLANS).exists()

    def test_batches_are_those_of_the_start(self, tmp_path, monkeypatch):
        """Whatever memory there is now."""
        train(POINTS, workdir=tmp_path / "whole")
        self.stop_after(2, tmp_path / "w")
        monkeypatch.setattr(memory, "_CPU_GROUP_RUNS", 32)
        train(POINTS, workdir=tmp_path / "w")
        for point in POINTS:
            name = Path(point.directory) / "result.npz"
            found = (tmp_path / "w" / name).read_bytes()
            assert found == (tmp_path / "whole" / name).read_bytes()

    def test_a_sweep_that_is_extended_trains_what_is_new_alone(
        self, tmp_path, monkeypatch
    ):
        train(POINTS[:2], workdir=tmp_path)
        planned = []
        real = cohorts.plan_parts
        monkeypatch.setattr(
            cohorts,
            "plan_parts",
            lambda parts, **options: (
                planned.append(len(parts)) or real(parts, **options)
            ),
        )
        train(POINTS, workdir=tmp_path)
        assert planned == [2]

    @pytest.mark.parametrize(
        "text", ["", "[]", "null", "{}", "[" * 100_000, '{"format": 1, "jax": 3}']
    )
    def test_a_damaged_record_counts_for_nothing(self, tmp_path, text):
        (tmp_path / keeping._PLANS).write_text(text)
        record = keeping.PlanRecord(tmp_path, configs={"a": {}}, file_hashes={})
        assert record.read() is None

    @pytest.mark.parametrize(
        ("key", "value"),
        [
            ("jax", "0.1"),
            ("devices", 99),
            ("file_hashes", ["x"]),
            ("plans", [{"runs_at_a_time": 0}]),
        ],
    )
    def test_a_record_of_something_else(self, tmp_path, key, value):
        record = keeping.PlanRecord(
            tmp_path, configs={"a": {}, "b": {}}, file_hashes={"x": "1"}
        )
        plan = memory.Plan(2, True, 3, {}, 5)
        record.write(["a", "b"], [plan])
        assert record.read() == (["a", "b"], [plan])
        import json

        path = tmp_path / keeping._PLANS
        path.write_text(json.dumps(json.loads(path.read_text()) | {key: value}))
        assert record.read() is None


def test_another_jax_is_said(tmp_path, monkeypatch):
    lines = []
    options = {
        "configs": {"": {}},
        "file_hashes": {},
        "plans": [memory.Plan(1, True, 3, {}, 5)],
        "report": lines.append,
    }
    checkpoints.open_store(tmp_path / "c", **options)[0].close()
    checkpoints.open_store(tmp_path / "c", **options)[0].close()
    assert lines == []
    now = jax.__version__
    monkeypatch.setattr(jax, "__version__", "0.99.0")
    checkpoints.open_store(tmp_path / "c", **options)[0].close()
    assert lines == [
        f"note: the checkpoints in {tmp_path / 'c'} are of jax {now}, now 0.99.0: "
        "results may differ in their last digits from those of one version; "
        "--load_from_ckpt=false starts anew"
    ]


def test_move_home_fails(tmp_path):
    path = tmp_path / "file" / "result.npz"
    (tmp_path / "file").write_text("in the way")
    assert not keeping.move_home(path, None, {"a": np.zeros(1)})
    rescued = tmp_path / "r.npz"
    rescued.write_text("result")
    assert not keeping.move_home(path, rescued, None)
    assert rescued.exists()
    assert keeping.move_home(tmp_path / "x" / "result.npz", rescued, None)
    assert (tmp_path / "x" / "result.npz").read_text() == "result"
    shutil.rmtree(tmp_path / "x")


def test_a_single_point_leaves_the_record_of_a_sweep(tmp_path):
    """It has none itself, and what is there may be wanted."""
    sweep = keeping.PlanRecord(tmp_path, configs={"a": {}, "b": {}}, file_hashes={})
    sweep.write(["a", "b"], [memory.Plan(1, True, 3, {}, 5)])
    assert sweep.read() is not None
    keeping.PlanRecord(tmp_path, configs={"": {}}, file_hashes={}).remove()
    assert sweep.read() is not None
    sweep.remove()
    assert sweep.read() is None
