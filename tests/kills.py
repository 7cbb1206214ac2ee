"""Kills commands at random moments, and sees what is lost; a test for hours, not CI.

    python tests/kills.py --kills=200 --signals=60 --seed=0 --jobs=2 --out=kills.json

Every trial starts a command on small data in a directory of its own, ends it by SIGKILL
or by SIGINT or SIGTERM, and looks:

- what was finished before is there, byte for byte;
- after a kill, a start that fails (a file of the data is away) loses nothing either;
- the same command then ends well, with the bytes of a run that was never stopped;
- nothing temporary is left, nor in the directory for that;
- after a signal, the command ends in seconds, with its status and one line.

The moment is one of the clock, or when so many files have come and gone: what writes
takes far less time than what computes. In every fourth trial nothing was compiled
before.
What goes wrong is printed, and counted in the exit status.
"""

import argparse
import collections
import dataclasses
import hashlib
import itertools
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
import zipfile
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

import made_data  # noqa: E402

SHORT = [
    "--config.training.train_epochs=3",
    "--config.training.min_epochs=1",
    "--config.seeds=2",
]
QUICK = ["--config=quickstart", *SHORT]
LEFT = re.compile(
    r"\.staging-.*|\..*\.tmp|.*\.in_use|\.unfinished\.json|.*orbax.*tmp.*"
    r"|alphanet_jax-.*"
)
# What a trial needs, and what is no output.
OTHERS = ("data/", "old/", "feats/", "head.npz", "tmp/", "cache/", "c/")
SECONDS_TO_END = 8.0


@dataclasses.dataclass
class Scratch:
    """What all trials share."""

    root: Path
    numbers: Iterator[int] = dataclasses.field(default_factory=itertools.count)

    def new(self):
        """A new path; all are equally long, so that files that hold them are, too."""
        return self.root / f"trial-{next(self.numbers):06d}"

    @property
    def cache(self):
        """Compiled programs, fonts of matplotlib."""
        return self.root / "cache"

    @property
    def trained(self):
        """A directory with a result."""
        return self.root / "trained" / "w"


@dataclasses.dataclass
class Command:
    """A command, and what it needs in its directory.

    Attributes:
      name: What it is called.
      arguments: What is typed.
      prepare: Makes what it needs in a directory.
      breaks: A path without which it fails.
      once: What it says when its output is there already, where it refuses that.
      whole: SHA-256 of the files that an uninterrupted run writes.
      unsteady: Names of those that differ from run to run: they hold a clock, or paths.
      seconds: How long it takes, with and without compiled programs at hand.
      changes: How often files come and go while it runs.
    """

    name: str
    arguments: list[str]
    prepare: Callable[[Path, Scratch], None] | None = None
    breaks: str = ""
    once: str = ""
    whole: Mapping[str, str] = dataclasses.field(default_factory=dict)
    unsteady: frozenset[str] = frozenset()
    seconds: dict[bool, float] = dataclasses.field(default_factory=dict)
    changes: int = 0

    def start(self, directory, scratch, *, cold=False):
        cache = directory / "cache" if cold else scratch.cache
        (directory / "tmp").mkdir(exist_ok=True)
        return subprocess.Popen(
            [sys.executable, "-m", "alphanet_jax", *self.arguments],
            cwd=directory,
            env=os.environ
            | {
                "PYTHONPATH": str(ROOT),
                "JAX_PLATFORMS": "cpu",
                "XDG_CACHE_HOME": str(cache),
                "MPLCONFIGDIR": str(scratch.cache / "matplotlib"),
                "TMPDIR": str(directory / "tmp"),
            },
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def begin(self, directory, scratch):
        directory.mkdir(parents=True)
        if self.prepare is not None:
            self.prepare(directory, scratch)

    def steady(self, found):
        return {name: d for name, d in found.items() if name not in self.unsteady}

    def measure(self, scratch):
        """Runs it twice without a stop: what it writes, and how long that takes."""
        found = []
        for cold in (True, False):
            directory = scratch.new()
            self.begin(directory, scratch)
            started = time.monotonic()
            process = self.start(directory, scratch, cold=cold)
            if cold:
                self.changes = watch(process, directory, 10**9, 600)
            out, err = process.communicate()
            self.seconds[cold] = time.monotonic() - started
            assert process.returncode == 0, (self.name, out, err)
            found.append(files_of(directory))
        cold, self.whole = found
        assert cold.keys() == self.whole.keys(), (self.name, cold, self.whole)
        self.unsteady = frozenset(n for n in cold if cold[n] != self.whole[n])
        assert not any(n.endswith((".npz", ".npy")) for n in self.unsteady), self
        print(
            f"{self.name}: {self.seconds[True]:.1f} s, then {self.seconds[False]:.1f}; "
            f"{self.changes} changes of files; {len(self.whole)} files, of which "
            f"{len(self.unsteady)} differ from run to run",
            flush=True,
        )


def older_conversion(directory, scratch):
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
    with tempfile.TemporaryDirectory() as place:
        made = made_data.make(Path(place) / "x")
        flags = made.flags(Path("out"))
    return [
        "convert",
        *(str(flag).replace(str(made.root), source) for flag in flags),
    ]


def own_files(directory, scratch):
    """Features and a classifier as people have them."""
    rng = np.random.default_rng(0)
    counts = [60, 50, 40, 30, 25, 9, 8, 7]
    centers = rng.normal(size=(8, 6)).astype(np.float32)
    (directory / "feats").mkdir()
    for group, sizes in (("train", counts), ("val", [6] * 8), ("test", [7] * 8)):
        labels = np.repeat(np.arange(8), sizes)
        rows = centers[labels] + rng.normal(size=(len(labels), 6))
        np.savez(directory / "feats" / f"{group}.npz", feats=rows, labels=labels)
    np.savez(directory / "head.npz", **{"fc.weight": centers, "fc.bias": np.zeros(8)})


def a_result(directory, scratch):
    shutil.copytree(scratch.trained, directory / "w")


def an_older_report(directory, scratch):
    """A result, and the report of another one."""
    a_result(directory, scratch)
    shutil.copytree(scratch.trained.parent / "r", directory / "r")


def commands():
    rho = "--config.rho=(0.2,0.5,0.8)"
    small = ["--config.training.n_neighbors=2", "--config.alphanet.hdims=(4,)"]
    own = ["--features=feats", "--classifier=head.npz", "--workdir=w"]
    there = "is there already"
    listed = [
        ("convert", convert_arguments("data"), older_conversion,
         f"data/{made_data.FEATURES}/val.pkl", ""),
        ("train", ["train", *QUICK, "--workdir=w"], None, "", ""),
        ("train, checkpoints", ["train", *QUICK, "--workdir=w", "--ckpt_dir=c"], None,
         "", ""),
        ("sweep", ["train", *QUICK, rho, "--workdir=w"], None, "", ""),
        ("sweep, checkpoints",
         ["train", *QUICK, rho, "--workdir=w", "--ckpt_dir=c"], None, "", ""),
        ("baseline", ["baseline", *QUICK, "--out=b.npz"], None, "", ""),
        ("fit", ["fit", *own, "--out=new.npz", *SHORT, *small], own_files,
         "feats/train.npz", there),
        ("fit, auto", ["fit", *own, "--out=new.npz", "--method=auto",
                       small[0]], own_files,
         "feats/train.npz", there),
        ("compare", ["compare", *QUICK, "--workdir=w",
                     "--methods=unchanged,alphanet,tau_normalization"], None, "", ""),
        ("paper", ["paper", "--workdir=w", "--rhos=0.5", "--neighbors=2", "--seeds=1"],
         None, "", ""),
        ("export", ["export", "--result=w", "--out=head_new.npz"], a_result,
         "w/result.npz", there),
        ("report", ["report", "--result=w", "--out=r"], an_older_report,
         "w/result.npz", ""),
    ]  # fmt: skip
    return [Command(*each) for each in listed]


def files_of(directory):
    """SHA-256 of every finished file that is written."""
    found = {}
    for path in sorted(directory.rglob("*")):
        name = path.relative_to(directory).as_posix()
        if name.startswith(OTHERS) or not path.is_file():
            continue
        if not any(LEFT.fullmatch(part) for part in Path(name).parts):
            found[name] = digest(path, directory)
    return found


def digest(path, directory):
    """SHA-256 of a file, whatever the name of the directory that it is in."""
    contents = [path.read_bytes()]
    if path.suffix == ".npz":
        with zipfile.ZipFile(path) as archive:
            contents = [archive.read(name) for name in sorted(archive.namelist())]
    found = hashlib.sha256()
    for content in contents:
        for encoding in ("utf-8", "utf-32-le"):
            name = directory.name.encode(encoding)
            content = content.replace(name, b"")
        found.update(content)
    return found.hexdigest()


def left_over(directory):
    """What is there that no finished command leaves."""
    return [
        str(path.relative_to(directory))
        for path in directory.rglob("*")
        if LEFT.fullmatch(path.name) or path.parent == directory / "tmp"
    ]


def names_in(directory):
    """Names of all that is in a directory now, but for what was compiled."""
    found = set()
    for place, folders, files in os.walk(directory):
        if place == str(directory):
            folders[:] = [name for name in folders if name not in ("cache", "data")]
        found.update(os.path.join(place, name) for name in (*folders, *files))
    return found


def watch(process, directory, number, seconds):
    """Waits until names have changed so often, or so long; returns how often it was."""
    count, seen, end = 0, names_in(directory), time.monotonic() + seconds
    while process.poll() is None and time.monotonic() < end:
        if (now := names_in(directory)) != seen:
            seen, count = now, count + 1
            if count >= number:
                break
        time.sleep(0.001)
    return count


@dataclasses.dataclass
class Moment:
    """When a run is to end.

    Attributes:
      cold: Whether nothing was compiled before.
      share: Share of the time that the command takes.
      changes: How many changes of files to wait for; 0 to go by the clock.
    """

    cold: bool
    share: float
    changes: int = 0

    @classmethod
    def draw(cls, command, rng):
        by_files = rng.random() < 0.5
        changes = rng.randint(1, max(command.changes, 1)) if by_files else 0
        return cls(rng.random() < 1 / 4, rng.uniform(0.03, 1.05), changes)

    def wait(self, command, process, directory):
        seconds = self.share * command.seconds[self.cold]
        if self.changes:
            watch(process, directory, self.changes, 600)
            time.sleep(0.01 * self.share)
        else:
            time.sleep(seconds)


def trial(command, directory, number, moment, scratch):
    """Ends one run; returns what went wrong, and what kind of end it was."""
    command.begin(directory, scratch)
    before = files_of(directory)
    process = command.start(directory, scratch, cold=moment.cold)
    moment.wait(command, process, directory)
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
    ended, kind = status == 0, "stopped"
    if ended:
        kind = "ended before"
    # Before the first line of the program has run, Python or the system ends it.
    elif status == -number and "__main__.py" not in err:
        kind = "stopped" if number == signal.SIGKILL else "never began"
    else:
        if status != 128 + number:
            wrong.append(f"{number.name}: status {status}: {err[-300:]}")
        if took > SECONDS_TO_END:
            wrong.append(f"{number.name}: ended after {took:.1f} s")
        if sum(line.startswith("error: ") for line in err.splitlines()) != 1:
            wrong.append(f"{number.name}: not one line: {err[-300:]}")
    if "Traceback" in err and kind != "never began":
        wrong.append(f"{number.name}: a traceback: {err[:1500]}")
    return wrong + after_the_end(command, directory, before, moment, scratch), kind


def after_the_end(command, directory, before, moment, scratch):
    """Looks at what is there, and runs the command again; returns what is wrong."""
    wrong = []
    if command.breaks:
        away = directory / command.breaks
        away.rename(away.with_suffix(".away"))
        again = command.start(directory, scratch, cold=moment.cold)
        again.communicate(timeout=300)
        away.with_suffix(".away").rename(away)
        if again.returncode != 1:
            wrong.append(f"a start that was to fail: status {again.returncode}")
    now = files_of(directory)
    wrong += [f"{name} is gone" for name in before.keys() - now.keys()]
    for name, digest in command.steady(now).items():
        if digest not in (before.get(name), command.whole.get(name)):
            wrong.append(f"{name} is neither the old nor the new")
    again = command.start(directory, scratch, cold=moment.cold)
    _, err = again.communicate(timeout=600)
    if again.returncode != 0 and not (command.once and command.once in err):
        wrong.append(f"the same command again: {err[-400:]}")
    elif command.steady(files_of(directory)) != command.steady(command.whole):
        found = command.steady(files_of(directory))
        other = [n for n in found | command.whole
                 if found.get(n) != command.steady(command.whole).get(n)]  # fmt: skip
        wrong.append(f"other bytes than without a stop: {other}")
    if "Traceback" in err or "Warning: " in err:
        wrong.append(f"the same command again says: {err[:1500]}")
    if left := left_over(directory):
        wrong.append(f"left: {left}")
    return wrong


def prepare(scratch):
    """Trains a result, and makes reports of it, for commands that begin with those."""
    trained = scratch.trained.parent
    trained.mkdir()
    older = [f"{SHORT[0][:-1]}2", *SHORT[1:]]
    for arguments in (
        ["train", "--config=quickstart", *older, "--workdir=older"],
        ["report", "--result=older", "--out=r"],
        ["train", *QUICK, "--workdir=w"],
    ):
        process = Command("", arguments).start(trained, scratch)
        out, err = process.communicate()
        assert process.returncode == 0, (out, err)


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
    scratch = Scratch(Path(tempfile.mkdtemp(prefix="kills-")))
    print(f"in {scratch.root}", flush=True)
    prepare(scratch)
    listed = [c for c in commands() if c.name.startswith(asked.only)]
    ends = [signal.SIGKILL] * asked.kills
    ends += [rng.choice([signal.SIGINT, signal.SIGTERM]) for _ in range(asked.signals)]
    rng.shuffle(ends)
    counts = collections.Counter()
    wrong = []

    def one(index):
        if time.monotonic() - clock > asked.seconds:
            return
        command, number = listed[index % len(listed)], ends[index]
        directory = scratch.new()
        drawn = random.Random(asked.seed * 10**6 + index)
        moment = Moment.draw(command, drawn)
        try:
            told, kind = trial(command, directory, number, moment, scratch)
        except Exception as error:
            told, kind = [repr(error)], "failed"
        counts[f"{command.name}: {number.name} {kind}"] += 1
        for line in told:
            wrong.append(f"{command.name}, {directory.name}, {moment}: {line}")
            print(wrong[-1], flush=True)
        if not told:
            shutil.rmtree(directory)

    with ThreadPoolExecutor(asked.jobs) as pool:
        # As many at a time as later, or they would take less time than they do then.
        list(pool.map(lambda command: command.measure(scratch), listed))
        list(pool.map(one, range(len(ends))))
    for name, count in sorted(counts.items()):
        print(f"{count:4}  {name}")
    print(f"{sum(counts.values())} trials, {len(wrong)} things wrong")
    if asked.out:
        asked.out.write_text(json.dumps({"counts": counts, "wrong": wrong}, indent=1))
    if not wrong:
        shutil.rmtree(scratch.root)
    return bool(wrong)


if __name__ == "__main__":
    sys.exit(main())
