"""Stages: what is said of them, when, where, with a clock and a terminal of our own."""

import io
import re
import sys

import made_data
import numpy as np
import pytest
import results_of_data

from alphanet_jax import stages
from alphanet_jax.commands import cli
from alphanet_jax.experiment.progress import Progress, sometimes
from alphanet_jax.stages import Teller, stage


class Clock:
    def __init__(self):
        self.now = 100.0

    def __call__(self):
        return self.now


class Screen(io.StringIO):
    """A terminal: what is seen on it, line by line."""

    def isatty(self):
        return True

    def seen(self):
        lines = [""]
        for part in re.findall(r"\r|\n|\x1b\[K|[^\r\n\x1b]+", self.getvalue()):
            if part == "\n":
                lines.append("")
            elif part == "\r":
                column = 0
            elif part == "\x1b[K":
                lines[-1] = lines[-1][:column]
            else:
                start = column if lines[-1] else 0
                lines[-1] = lines[-1][:start] + part + lines[-1][start + len(part) :]
                column = start + len(part)
        return lines


@pytest.fixture(autouse=True)
def _as_for_people(monkeypatch):
    monkeypatch.setattr(stages, "SHOWN_AFTER", 2.0)  # other tests hear of no stages


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def screen(monkeypatch):
    monkeypatch.setenv("TERM", "xterm")
    return Screen()


def a_stage(report, clock, **options):
    return stage(report, "reading", clock=clock, ticking=False, **options)


class TestInLog:
    def test_what_is_quick_is_silent(self, clock):
        lines = []
        with a_stage(lines.append, clock, total=4) as reading:
            for _ in range(4):
                clock.now += 0.45
                reading.advance()
        assert not lines

    def test_rate_and_time_left_now_and_then(self, clock):
        lines = []
        with a_stage(lines.append, clock, total=3000, unit="rows") as reading:
            for _ in range(30):
                clock.now += 1
                reading.advance(100)
        assert lines == [
            *(f"reading: {part}%, 100 rows/s, {left} s left" for part, left in (
                (7, 28), (13, 26), (20, 24), (27, 22), (33, 20), (40, 18), (50, 15),
                (60, 12), (73, 8), (90, 3),
            )),
            "reading: done in 30 s",
        ]  # fmt: skip

    def test_lines_are_ever_further_apart_but_for_ten_seconds(self, clock):
        times = []
        with a_stage(lambda line: times.append(clock.now - 100), clock) as reading:
            for _ in range(300):
                clock.now += 1
                reading.tick()
        gaps = np.diff([0, *times[:-1]])  # the last line is of the end
        assert gaps[:6].tolist() == [2, 2, 2, 2, 2, 2]
        assert (np.diff(gaps) >= 0).all()
        assert gaps[-10:].tolist() == [10] * 10

    def test_its_end_may_go_without_saying(self, clock):
        lines = []
        with a_stage(lines.append, clock, says_done=False):
            clock.now += 3
            stages._ACTIVE[-1].tick()
        assert lines == ["reading: 3 s"]

    def test_what_counts_nothing_says_its_time(self, clock):
        lines = []
        with a_stage(lines.append, clock) as compiling:
            for _ in range(15):
                clock.now += 1
                compiling.tick()
        times = [f"reading: {seconds} s" for seconds in (2, 4, 6, 8, 10, 12, 15)]
        assert lines == [*times, "reading: done in 15 s"]

    def test_what_is_counted_below(self, clock):
        lines = []
        with a_stage(lines.append, clock, total=100, unit="MB"):
            clock.now += 4
            stages.done(20, "samples")
            stages.done(20, "MB")
        assert lines == ["reading: 20%, 5 MB/s, 16 s left", "reading: done in 4 s"]

    def test_slow_rates_have_digits(self, clock):
        lines = []
        with a_stage(lines.append, clock, total=10, unit="files") as reading:
            clock.now += 4
            reading.advance()
        assert lines[0] == "reading: 10%, 0.25 files/s, 36 s left"

    def test_the_inner_one_speaks(self, clock):
        lines = []
        with a_stage(lines.append, clock) as outer:
            clock.now += 3
            with stage(lines.append, "hashing", clock=clock, ticking=False) as inner:
                clock.now += 3
                outer.tick()
                inner.tick()
                stages.done(12, "rows")  # which it does not count
            outer.tick()
        assert lines == [
            "hashing: 3 s", "hashing: done in 3 s", "reading: 6 s",
            "reading: done in 6 s",
        ]  # fmt: skip

    def test_after_an_error_nothing_is_done(self, clock):
        lines = []

        def fail():
            with a_stage(lines.append, clock) as reading:
                clock.now += 3
                reading.tick()
                raise KeyError

        with pytest.raises(KeyError):
            fail()
        assert lines == ["reading: 3 s"]
        stages.done(1, "rows")  # for no stage at all
        assert not stages._ACTIVE

    def test_it_is_looked_at_by_itself(self, monkeypatch):
        monkeypatch.setattr(stages, "SHOWN_AFTER", 0.0)
        monkeypatch.setattr(stages, "_TICK", 0.001)
        lines = []
        told = stages.threading.Event()

        def report(line):
            lines.append(line)
            told.set()

        with stage(report, "waiting"):
            assert told.wait(10)
        assert lines == ["waiting: 0 s", "waiting: done in 0 s"]

    def test_a_teller_elsewhere_writes_plain_lines(self, clock):
        log = io.StringIO()
        teller = Teller(log, clock=clock)
        with a_stage(teller, clock) as reading:
            clock.now += 3
            reading.tick()
            stages.passing(teller, "epoch 1")
        assert log.getvalue() == "reading: 3 s\nepoch 1\nreading: done in 3 s\n"


class TestSilenceOverStages:
    """Stages that are short, one after another, make people wait as well."""

    @pytest.fixture
    def log(self):
        return io.StringIO()

    @pytest.fixture
    def told(self, clock, log):
        return Teller(log, clock=clock)

    def test_the_one_under_way_is_told_of(self, clock, log, told):
        for name, took in (("first", 0.9), ("second", 0.9), ("third", 0.9)):
            with stage(told, name, clock=clock, ticking=False) as one:
                for _ in range(2):
                    clock.now += took / 2
                    one.tick()
        assert log.getvalue().splitlines() == ["third: 0 s", "third: done in 1 s"]

    def test_not_of_what_has_only_begun(self, clock, log, told):
        clock.now += 60
        with stage(told, "short", clock=clock, ticking=False) as one:
            clock.now += 0.2
            one.tick()
        assert not log.getvalue()

    def test_anything_said_counts(self, clock, log, told):
        for number in range(4):
            with stage(told, "short", clock=clock, ticking=False) as one:
                clock.now += 1.5
                one.tick()
            told(f"line {number}")
        assert log.getvalue().splitlines() == [f"line {n}" for n in range(4)]

    def test_a_line_that_is_written_again_goes_on(self, clock, screen):
        told = Teller(screen, clock=clock, width=lambda: 80)
        clock.now += 1.8
        with stage(told, "reading", total=10, clock=clock, ticking=False) as one:
            for share in ("10%", "20%", "30%"):
                clock.now += 0.31
                one.advance()
                assert share in screen.seen()[-1]
        assert screen.seen() == [""]


class TestOnTerminal:
    def test_one_line_is_written_again(self, clock, screen):
        teller = Teller(screen, clock=clock)
        teller("before")
        with a_stage(teller, clock, total=100, unit="rows") as reading:
            for _ in range(5):
                clock.now += 1
                reading.advance(10)
            assert screen.seen() == ["before", "reading: 50%, 10 rows/s, 5 s left"]
            assert screen.getvalue().count("reading") == 4
        assert screen.seen() == ["before", ""]
        teller("after")
        assert screen.seen() == ["before", "after", ""]

    def test_what_stays_replaces_it(self, clock, screen):
        teller = Teller(screen, clock=clock)
        for epoch in range(3):
            clock.now += 1
            stages.passing(teller, f"epoch {epoch}" + "." * (9 - 3 * epoch))
        assert screen.seen() == ["epoch 2..."]
        teller("saved")
        assert screen.seen() == ["saved", ""]

    def test_it_fits_its_width(self, clock, screen):
        teller = Teller(screen, width=lambda: 20, clock=clock)
        teller.passing("x" * 50)
        assert screen.seen() == ["x" * 10 + "..." + "x" * 6]
        clock.now += 1
        teller.passing("epoch 5   loss 0.2,  9 s left")
        assert screen.seen() == ["epoch 5 lo...s left"]
        clock.now += 1
        teller.passing("epoch   5   9 s left")
        assert screen.seen() == ["epoch 5 9 s left"]

    def test_not_more_often_than_can_be_seen(self, clock, screen):
        teller = Teller(screen, clock=clock)
        for number in range(1000):
            clock.now += 0.001
            teller.passing(f"epoch {number}")
        assert 9 <= screen.getvalue().count("epoch") <= 11

    def test_a_simple_terminal_gets_lines(self, clock, screen, monkeypatch):
        monkeypatch.setenv("TERM", "dumb")
        teller = Teller(screen, clock=clock)
        teller.passing("one")
        teller.passing("two")
        assert screen.getvalue() == "one\ntwo\n"

    def test_through_a_report_that_leaves_lines_out(self, clock, screen):
        teller = Teller(screen, clock=clock)
        report = sometimes(teller, 60)
        with a_stage(report, clock) as reading:
            clock.now += 3
            reading.tick()
            assert screen.seen() == ["reading: 3 s"]
        assert screen.seen() == [""]

    def test_what_may_not_be_shown_is_not(self, clock, screen):
        teller = Teller(screen, shown=lambda line: line.replace("\a", "?"), clock=clock)
        teller.passing("a\a")
        assert screen.seen() == ["a?"]


@pytest.mark.parametrize("kind", [io.StringIO, Screen])
def test_quiet(kind, clock):
    stream = kind()
    teller = Teller(stream, clock=clock)
    teller.quiet = True
    with a_stage(teller, clock) as reading:
        clock.now += 3
        reading.tick()
        teller("saved")
        teller.passing("epoch 1")
        teller("warning: no room")
    assert stream.getvalue() == "warning: no room\n"


@pytest.mark.slow
@pytest.mark.parametrize("quiet", [False, True])
def test_of_commands(tmp_path, monkeypatch, capsys, quiet):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(stages, "SHOWN_AFTER", 0.0)
    monkeypatch.setattr(stages, "_TICK", 0.001)
    arguments = [
        "--config=quickstart", "--config.seeds=2", "--config.training.train_epochs=2",
        "--config.training.min_epochs=1", "--workdir=w", "--tb_logs=t",
    ]  # fmt: skip
    status = cli.main(["main.py", *arguments, *(["--quiet"] if quiet else [])])
    assert status == 0
    said = capsys.readouterr()
    assert "AlphaNet (r=0.5)" in said.out
    if quiet:
        assert not said.err
        return
    names = {line.partition(":")[0] for line in said.err.splitlines()}
    assert names >= {
        "reading cifar100lt_effnetlite0_crt", "drawing samples",
        "scores of training samples", "scores of test samples",
        "compiling, and the first epoch", "evaluating on test data",
    }  # fmt: skip
    assert any(name.startswith("epoch 2/2") for name in names)


def test_long_epochs_are_stages():
    progress = Progress(num_epochs=3, num_runs=1)
    lines = []

    def name(epoch):
        with progress.of_epoch(lines.append, epoch) as under_way:
            return under_way and under_way.text().partition(":")[0]

    assert name(0) == "compiling, and the first epoch"
    progress.epoch_ended(10, 0.1)
    assert name(1) is None  # of which nobody waits for the end
    progress.epoch_ended(10, 1.9)
    assert name(2) == "epoch 3/3"
    assert not lines


# What is run on a result; and stages of it that count, which are shown however short.
OF_RESULTS = [
    (["plot", "class_changes", "--out=f.png"], ["drawing"]),
    (["results", "--acc_k=2"], ["ranking"]),
    (["export", "--out=head.npz"], ["checking predictions"]),
    (
        ["report", "--out=page"],
        ["drawing class_changes", "intervals", "class by class"],
    ),
    (
        ["extend", "--features=new.npz", "--out=more.npz"],
        ["statistics of features", "fitting new rows"],
    ),
    (["rerun"], ["scores of test samples"]),
]


@pytest.mark.slow
def test_of_commands_that_read_results(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    made = made_data.make(tmp_path / "data")
    monkeypatch.setattr(stages, "SHOWN_AFTER", 0.0)
    monkeypatch.setattr(stages, "_LINE_BOUNDS", (0.0, 0.0))
    path = results_of_data.train(made, tmp_path / "w")
    # Nothing has kept these neighbors before.
    assert "\nneighbors: 100%" in capsys.readouterr().err
    rows = made.groups["test"]["feats"][:3]
    np.savez("new.npz", feats=rows, labels=np.zeros(3, int))
    everything = ""
    for (command, *flags), wanted in OF_RESULTS:
        given = f"--result={path}"
        if command in ("plot", "results"):
            given = f"--base_res_dir={path.parent}"
        assert cli.main(["main.py", command, *flags, given]) == 0
        said = capsys.readouterr().err
        everything += said
        for name in wanted:
            assert f"\n{name}: " in f"\n{said}", (command, name)
            assert f"{name}: done in" in said
    # Those that count say how fast they are.
    for name, unit in (("ranking", "samples"), ("class by class", "classes")):
        assert re.search(rf"(?m)^{name}: \d+%, [\d,.e+]+ {unit}/s, ", everything)


@pytest.mark.slow
def test_of_a_comparison(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delitem(sys.modules, "config_config", raising=False)
    made = made_data.make(tmp_path / "data")
    monkeypatch.setattr(stages, "SHOWN_AFTER", 0.0)
    monkeypatch.setattr(stages, "_LINE_BOUNDS", (0.0, 0.0))
    command = [
        *("main.py", "compare", "--config=default", "--config.dataset=made"),
        *(f"--config.registry={made.registry}", f"--config.data_root={made.root}"),
        *("--methods=few_offset,logit_adjustment", "--workdir=w"),
    ]
    assert cli.main(command) == 0
    said = capsys.readouterr().err
    assert re.search(r"(?m)^products with the classifier: \d+%, .* samples/s, ", said)
