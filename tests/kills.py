"""Kills commands at random moments, and sees what is lost; a test for hours, not CI.

    python tests/kills.py --kills=200 --signals=60 --jobs=2 --out=kills.json

Every trial starts a command on small data in a directory of its own, ends it at a
random moment of its run, by SIGKILL or by SIGINT or SIGTERM, and looks:

- what was finished before is there, byte for byte;
- after a kill, a start that fails (a file of the data is away) loses nothing either;
- the same command then ends well, with the bytes of a run that was never stopped;
- nothing temporary is left;
- after a signal, the command ends in seconds, with its status and one line.

What goes wrong is printed, and counted in the exit status.
"""

import argparse
import collections
import hashlib
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

import made_data  # noqa: E402

SHORT = [
    "--config=quickstart",
    "--config.training.train_epochs=3",
    "--config.training.min_epochs=1",
    "--config.seeds=2",
]
LEFT = re.compile(r"\.staging-.*|\..*\.tmp|\.in_use|\.unfinished\.json|.*orbax.*tmp.*")
# Files that hold a clock, or paths of the trial's own directory.
UNSTEADY = re.compile(r"(.*/)?(events\.out.*|.*\.json|.*\.html|c/.*|.*\.toml|.*\.md)")
SECONDS_TO_END = 8.0


class Command:
    """A command, and what it needs in its directory."""

    def __init__(self, name, arguments, prepare=None, breaks=None):
        self.name, self.arguments = name, arguments
        self.prepare, self.breaks = prepare, breaks
        self.whole = {}  # SHA-256 of what an uninterrupted run writes
        self.seconds = 0.0

    def start(self, directory):
        return subprocess.Popen(
            [sys.executable, "-m", "alphanet_jax", *self.arguments],
            cwd=directory,
            env=os.environ | {"PYTHONPATH": str(ROOT), "JAX_PLATFORMS": "cpu"},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def begin(self, directory):
        directory.mkdir(parents=True)
        if self.prepare is not None:
            self.prepare(directory)


def older_conversion(directory):
    """Data, and the finished conversion of other data of the same names."""
    old = made_data.make(directory / "old")
    made = made_data.make(directory / "data")
    for root, add in ((old, 1.0), (made, 0.0)):
        for group in root.groups:
            root.dump_group(group, feats=root.groups[group]["feats"] + add)
    subprocess.run(
        [sys.executable, "-m", "alphanet_jax", *convert_arguments("old")],
        cwd=directory,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        check=True,
        capture_output=True,
    )


def convert_arguments(source):
    made = made_data.make(Path(tempfile.mkdtemp()) / "x")
    flags = made.flags(Path("out"))
    return [
        "convert",
        *(str(flag).replace(str(made.root), source) for flag in flags),
    ]


def a_result(directory):
    shutil.copytree(Command.trained, directory / "w")


def commands():
    rho = "--config.rho=(0.2,0.5,0.8)"
    return [
        Command(
            "convert",
            convert_arguments("data"),
            older_conversion,
            f"data/{made_data.FEATURES}/val.pkl",
        ),
        Command("train", ["train", *SHORT, "--workdir=w"]),
        Command("train, checkpoints", ["train", *SHORT, "--workdir=w", "--ckpt_dir=c"]),
        Command("sweep", ["train", *SHORT, rho, "--workdir=w"]),
        Command("sweep, checkpoints",
                ["train", *SHORT, rho, "--workdir=w", "--ckpt_dir=c"]),
        Command("compare", ["compare", *SHORT, "--workdir=w",
                            "--methods=unchanged,alphanet,tau_normalization"]),
        Command("paper", ["paper", "--workdir=w", "--rhos=0.5", "--neighbors=2",
                          "--seeds=1"]),
        Command("export", ["export", "--result=w", "--out=head.npz"], a_result),
    ]  # fmt: skip


def files_of(directory):
    """SHA-256 of every finished file that is written."""
    found = {}
    for path in sorted(directory.rglob("*")):
        name = path.relative_to(directory).as_posix()
        counts = path.is_file() and not name.startswith(("data/", "old/"))
        if counts and not any(LEFT.fullmatch(part) for part in path.parts):
            found[name] = hashlib.sha256(path.read_bytes()).hexdigest()
    return found


def steady(found):
    return {k: v for k, v in found.items() if not UNSTEADY.fullmatch(k)}


def left_over(directory):
    return [
        str(path.relative_to(directory))
        for path in directory.rglob("*")
        if LEFT.fullmatch(path.name)
    ]


def trial(command, directory, number, seed):
    """Ends one run; returns what went wrong, and what kind of end it was."""
    rng = random.Random(seed)
    command.begin(directory)
    before = files_of(directory)
    process = command.start(directory)
    time.sleep(rng.uniform(0.05, 1.0) * command.seconds)
    sent = time.monotonic()
    process.send_signal(number)
    try:
        _, err = process.communicate(timeout=30)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
        return [f"{number.name}: still runs after 30 s"], "hangs"
    took = time.monotonic() - sent
    wrong, status = [], process.returncode
    ended = status == 0
    if number != signal.SIGKILL and not ended:
        # Before the first line of the program has run, Python or the system ends it.
        if status == -number and "__main__.py" not in err:
            return after_the_end(command, directory, before, ended), "never began"
        if status != 128 + number:
            wrong.append(f"{number.name}: status {status}: {err[-300:]}")
        if took > SECONDS_TO_END:
            wrong.append(f"{number.name}: ended after {took:.1f} s")
        if "Traceback" in err:
            wrong.append(f"{number.name}: a traceback: {err[:600]}")
        if sum(line.startswith("error: ") for line in err.splitlines()) != 1:
            wrong.append(f"{number.name}: not one line: {err[-300:]}")
    kind = "ended before" if ended else "stopped"
    return wrong + after_the_end(command, directory, before, ended), kind


def after_the_end(command, directory, before, ended):
    """Looks at what is there, and runs the command again; returns what is wrong."""
    wrong = []
    if command.breaks is not None:
        away = directory / command.breaks
        away.rename(away.with_suffix(".away"))
        again = command.start(directory)
        again.communicate(timeout=300)
        away.with_suffix(".away").rename(away)
        if again.returncode != 1 and not ended:
            wrong.append(f"a start that was to fail: status {again.returncode}")
    now = files_of(directory)
    wrong += [f"{name} is gone" for name in before.keys() - now.keys()]
    for name, digest in steady(now).items():
        if digest not in (before.get(name), command.whole.get(name)):
            wrong.append(f"{name} is neither the old nor the new")
    again = command.start(directory)
    _, err = again.communicate(timeout=600)
    # Export refuses to overwrite what it has finished.
    done = command.name == "export" and "is there already" in err
    if again.returncode != 0 and not done:
        wrong.append(f"the same command again: {err[-400:]}")
    elif steady(files_of(directory)) != steady(command.whole):
        found = steady(files_of(directory))
        other = [n for n in found | command.whole
                 if found.get(n) != steady(command.whole).get(n)]  # fmt: skip
        wrong.append(f"other bytes than without a stop: {other}")
    if left := left_over(directory):
        wrong.append(f"left: {left}")
    return wrong


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--signals", type=int, default=10)
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--seconds", type=float, default=float("inf"))
    parser.add_argument("--out", type=Path)
    parser.add_argument("--only", default="")
    asked = parser.parse_args()
    rng, clock = random.Random(asked.seed), time.monotonic()
    # Shells start jobs in the background with Ctrl-C ignored, and children inherit it.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    scratch = Path(tempfile.mkdtemp(prefix="kills-"))
    print(f"in {scratch}", flush=True)
    Command.trained = scratch / "trained" / "w"
    first = Command("", ["train", *SHORT, "--workdir=w"])
    first.begin(scratch / "trained")
    first.start(scratch / "trained").communicate()
    listed = [c for c in commands() if c.name.startswith(asked.only)]
    for command in listed:
        for name in ("first", "whole"):  # the second finds compiled programs
            directory = scratch / f"{name} {command.name}"
            command.begin(directory)
            started = time.monotonic()
            process = command.start(directory)
            out, err = process.communicate()
            command.seconds = time.monotonic() - started
            assert process.returncode == 0, (command.name, out, err)
        command.whole = files_of(directory)
        print(f"{command.name}: {command.seconds:.1f} s", flush=True)
    ends = [signal.SIGKILL] * asked.kills
    ends += [rng.choice([signal.SIGINT, signal.SIGTERM]) for _ in range(asked.signals)]
    rng.shuffle(ends)
    counts = collections.Counter()
    wrong = []

    def one(index):
        if time.monotonic() - clock > asked.seconds:
            return
        command, number = listed[index % len(listed)], ends[index]
        directory = scratch / str(index)
        try:
            told, kind = trial(command, directory, number, asked.seed * 10**6 + index)
        except Exception as error:
            told, kind = [repr(error)], "failed"
        counts[f"{command.name}: {number.name} {kind}"] += 1
        for line in told:
            wrong.append(f"{command.name}, trial {index}: {line}")
            print(wrong[-1], flush=True)
        if not told:
            shutil.rmtree(directory)

    with ThreadPoolExecutor(asked.jobs) as pool:
        list(pool.map(one, range(len(ends))))
    for name, count in sorted(counts.items()):
        print(f"{count:4}  {name}")
    print(f"{sum(counts.values())} trials, {len(wrong)} things wrong")
    if asked.out:
        asked.out.write_text(json.dumps({"counts": counts, "wrong": wrong}, indent=1))
    return bool(wrong)


if __name__ == "__main__":
    sys.exit(main())
