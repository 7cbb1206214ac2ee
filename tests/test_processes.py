"""Several processes: where one dies, the others say which, and end."""

import hashlib
import os
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from alphanet_jax import stopping
from alphanet_jax.commands import processes
from alphanet_jax.commands.processes import Beats, Gone
from alphanet_jax.errors import UserError

ROOT = Path(__file__).parents[1]
PATIENCE = 20.0


def gone(beats, now):
    return beats.gone(now, patience=PATIENCE)


class TestBeats:
    def test_all_beat(self):
        beats = Beats(1, 3, 0.0)
        for second in range(100):
            beats.take({0: f" {second}", 1: " 7", 2: f" {second}"}, second)
            assert gone(beats, second + 0.5) is None
        assert beats.are_fresh(100.0)
        assert not beats.are_fresh(110.0)
        assert not beats.are_done()

    @pytest.mark.parametrize("before", [{}, {2: " 1"}])
    def test_one_is_silent(self, before):
        beats = Beats(0, 3, 0.0)
        for second in range(22):
            beats.take({1: f" {second}", **before}, second)
            if second < 20:
                assert gone(beats, second) is None
        found = gone(beats, 22.5)
        assert found.number == 2
        assert re.fullmatch(r"does not answer \(last seen 2\d s ago\)", found.how)

    def test_one_has_failed(self):
        """Its own line comes first, and what is about to fail here too."""
        beats = Beats(0, 2, 0.0)
        beats.take({1: " 3"}, 3.0)
        beats.take({1: "failed 143"}, 4.0)
        assert gone(beats, 5.0) is None
        assert beats.have_ended()
        assert gone(beats, 7.5) == Gone(1, "has ended with status 143, and said why")

    def test_who_is_done_may_be_silent(self):
        beats = Beats(0, 2, 0.0)
        beats.take({1: "done 3"}, 3.0)
        for second in range(100):
            beats.take({1: "done 3"}, second)
        assert gone(beats, 100.0) is None
        assert beats.are_done()
        assert beats.have_ended()

    @pytest.mark.parametrize("number", [1, 2])
    def test_the_store_is_gone(self, number):
        """It is in the first process; of the others nothing is known then."""
        beats = Beats(number, 3, 0.0)
        beats.take({0: " 1", 1: " 1", 2: " 1"}, 1.0)
        assert not beats.store_is_late(2.0)
        assert beats.store_is_late(4.0)
        assert gone(beats, 4.0) is None
        assert gone(beats, 22.0) == Gone(0, "does not answer (last seen 21 s ago)")
        beats.store_is_gone()
        assert gone(beats, 4.0) == Gone(0, "does not answer (last seen 3 s ago)")
        beats.take({0: " 2", 1: " 2", 2: " 2"}, 5.0)
        assert gone(beats, 6.0) is None

    def test_the_first_is_done_and_its_store_gone(self):
        beats = Beats(1, 2, 0.0)
        beats.take({0: "done 5"}, 1.0)
        beats.store_is_gone()
        assert gone(beats, 50.0) is None


def test_what_is_in_the_store():
    listed = [("alphanet_jax/beats/0", " 4"), ("alphanet_jax/beats/11", "done 2")]
    assert processes._read([*listed, ("other", "x")]) == {0: " 4", 11: "done 2"}


def test_refused():
    with socket.socket() as listening:
        listening.bind(("localhost", 0))
        listening.listen()
        address = f"localhost:{listening.getsockname()[1]}"
        assert not processes._refuses(address)
    assert processes._refuses(address)
    assert not processes._refuses("nowhere")


def test_one_process_waits_for_nobody():
    processes.wait_for_cause(RuntimeError("its own"))
    processes.wait_for_cause(UserError("its own"))


def test_standard_error_may_be_moved(monkeypatch, tmp_path):
    with (tmp_path / "x").open("w") as file:
        monkeypatch.setattr(sys, "stderr", file)
        assert stopping.stderr_number() == file.fileno()
    assert stopping.stderr_number() == 2


class Pair:
    """Two processes that train together."""

    def __init__(self, directory, cache, *flags, of_second=()):
        with socket.socket() as free:
            free.bind(("localhost", 0))
            address = f"localhost:{free.getsockname()[1]}"
        self.logs = [directory / f"log{number}" for number in range(2)]
        self.processes = []
        for number, path in enumerate(self.logs):
            with path.open("wb") as log:
                self.processes.append(
                    subprocess.Popen(
                        [
                            *(sys.executable, "-m", "alphanet_jax", "train"),
                            *("--config=quickstart", "--config.seeds=2"),
                            "--config.training.train_epochs=6",
                            "--config.training.min_epochs=2",
                            *("--nocontrols", f"--compilation_cache={cache}"),
                            f"--coordinator_address={address}",
                            *("--num_processes=2", f"--process_id={number}"),
                            *flags,
                            *(of_second if number else ()),
                        ],
                        stdout=log,
                        stderr=log,
                        cwd=directory,
                        env=os.environ
                        | {
                            "PYTHONPATH": str(ROOT),
                            "JAX_PLATFORMS": "cpu",
                            "PYTHONUNBUFFERED": "1",
                        },
                    )
                )

    def __enter__(self):
        return self

    def __exit__(self, *error):
        for process in self.processes:
            process.kill()
            process.wait()

    def text(self, number):
        return self.logs[number].read_text(errors="replace")

    def kill(self, number, *, after):
        """Kills one once the first has said something."""
        end = time.monotonic() + 120
        while not re.search(after, self.text(0)):
            assert all(p.poll() is None for p in self.processes), self.text(0)
            assert time.monotonic() < end, self.text(0)
            time.sleep(0.01)
        self.processes[number].send_signal(signal.SIGKILL)

    def line(self, number):
        """Waits until one has ended for the death of the other; returns its line."""
        sent = time.monotonic()
        assert self.processes[number].wait(timeout=60) == 1, self.text(number)
        assert time.monotonic() - sent < 30
        text = self.text(number)
        for page in ("Traceback", "stack trace", "absl::", "UNAVAILABLE"):
            assert page not in text
        (line,) = [one for one in text.splitlines() if one.startswith("error: ")]
        assert text.endswith(f"{line}\n")
        return line

    def finish(self):
        for number, process in enumerate(self.processes):
            assert process.wait(timeout=120) == 0, self.text(number)
            assert "error" not in self.text(number)


@pytest.mark.slow
def test_one_ends_with_an_error(tmp_path):
    """It says why, and the other says that it has ended."""
    away = [f"--config.data_root={tmp_path / 'away'}"]
    with Pair(tmp_path, "off", "--workdir=w", of_second=away) as pair:
        assert pair.line(0) == (
            "error: process 1 of 2 has ended with status 1, and said why; with "
            "--ckpt_dir the same commands would go on after the last epoch"
        )
        assert f"error: {tmp_path / 'away'}" in pair.line(1)
    assert not (tmp_path / "w").exists()


@pytest.mark.slow
def test_killed_and_gone_on(tmp_path):
    """One is killed, then the first; the same commands go on to the same bytes."""
    cache = os.environ["JAX_COMPILATION_CACHE_DIR"]
    flags = ["--workdir=w", "--ckpt_dir=c"]
    says = r"error: process {} of 2 does not answer \(last seen \d+ s ago\); the same "
    says += r"commands go on after the last epoch in c"
    whole = tmp_path / "uninterrupted"
    whole.mkdir()
    with Pair(tmp_path, cache, *flags) as pair:
        pair.kill(1, after=r"epoch +2/6")
        # While the other waits for a beat.
        with Pair(whole, cache, "--workdir=w") as other:
            assert re.fullmatch(says.format(1), pair.line(0))
            other.finish()
    assert not (tmp_path / "w" / "result.npz").exists()
    with Pair(tmp_path, cache, *flags) as pair:
        pair.kill(0, after=r"epoch +4/6")
        assert re.fullmatch(says.format(0), pair.line(1))
        assert "resuming after epoch" in pair.text(0)
    assert not (tmp_path / "w" / "result.npz").exists()
    with Pair(tmp_path, cache, *flags) as pair:
        pair.finish()
        assert "resuming after epoch" in pair.text(0)
    gone_on, expected = (
        hashlib.sha256((place / "w" / "result.npz").read_bytes()).hexdigest()
        for place in (tmp_path, whole)
    )
    assert gone_on == expected
    assert not (tmp_path / "w" / ".in_use").exists()
