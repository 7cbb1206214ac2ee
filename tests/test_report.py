"""`alphanet report`: a page of what changed, its numbers, and what it refuses."""

import csv
import html.parser
import json
import os
import re
import sys
from pathlib import Path

import made_data
import made_originals
import made_results
import matplotlib.pyplot as plt
import numpy as np
import pytest
import results_of_data

from alphanet_jax import staging
from alphanet_jax.commands import cli
from alphanet_jax.figures import one_file, saving, style
from alphanet_jax.pages import html as page_html
from alphanet_jax.report import changes, result_page
from alphanet_jax.results import sets


def report(*arguments):
    return cli.main(["alphanet", "report", *map(str, arguments)])


@pytest.fixture
def runs(tmp_path):
    made_results.make_result(tmp_path / "r" / "result.npz")
    return sets.ResultSet("r", (sets.load_file(tmp_path / "r" / "result.npz"),))


class Reader(html.parser.HTMLParser):
    """Collects ids, links, cells and headings."""

    def __init__(self, text):
        super().__init__()
        self.ids, self.links, self.rows, self.headings = [], [], [], []
        self._open = []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        given = dict(attributes)
        if "id" in given:
            self.ids.append(given["id"])
        if tag == "a":
            self.links.append(given["href"])
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")
        if re.fullmatch("h[1-6]", tag):
            self.headings.append(int(tag[1]))
        self._open.append(tag)

    def handle_endtag(self, tag):
        while self._open and self._open.pop() != tag:
            pass

    def handle_data(self, data):
        if {"td", "th"} & set(self._open) and self.rows:
            self.rows[-1][-1] += data


@pytest.mark.parametrize(("width", "inches"), [("half", 5.0), ("full", 9.0)])
def test_text_of_figures_is_never_below_eleven_pixels(tmp_path, width, inches):
    paths = []
    for name in ("web_light", "web_dark"):
        look = style.make_style(name, width=width)
        paths.append(tmp_path / f"f.{name}.svg")
        numbers = {"": {"x": np.arange(3.0)}}

        def draw(numbers, look):
            return plt.figure(figsize=look.size())

        saving.save_figure(numbers, draw, tmp_path / "f", [look], name_styles=True)
    shown = page_html.Figure("f", "Title", "Words", *paths, files=())
    made = page_html.figure(shown, tmp_path)
    # Each in a box that scrolls, and that a keyboard reaches.
    assert made.index('class="scroll"') < made.index("<img")
    assert 'tabindex="0"' in made
    widths = [int(each) for each in re.findall(r"min-width: (\d+)px", made)]
    assert len(widths) == 2
    for least in widths:
        pixels_a_point = least / (72.0 * inches)
        assert 11.0 <= look.small_font_size * pixels_a_point < 11.1


class TestChanges:
    def test_by_hand(self, runs):
        """Class by class, in plain NumPy."""
        labels = runs.common("test_labels")
        before, after = runs.common("baseline_test_pred"), runs.runs("test_pred")
        found = changes.of_classes(runs)
        assert [one.label for one in found] == list(range(runs.num_classes))
        for one in found:
            rows = labels == one.label
            assert one.test_samples == rows.sum()
            if not rows.any():
                assert np.isnan([one.before, one.after, one.low, one.high]).all()
                continue
            right = (after[:, rows] == one.label).mean(axis=0)
            own = before[rows] == one.label
            assert one.before == pytest.approx(own.mean())
            assert one.after == pytest.approx(right.mean())
            if rows.sum() > 1:
                error = (right - own).std(ddof=1) / rows.sum() ** 0.5
                assert one.high - one.low == pytest.approx(2 * 1.96 * error)
                assert (one.high + one.low) / 2 == pytest.approx(one.after - one.before)
            gained = {flow.label: flow.samples for flow in one.gained_from}
            for other, samples in gained.items():
                taken = (before[rows] == other) & (after[:, rows] == one.label)
                assert samples == pytest.approx(taken.sum() / len(after))
            lost = sum(flow.samples for flow in one.lost_to)
            assert (
                lost <= ((after[:, rows] != one.label) & own).sum() / len(after) + 1e-9
            )

    def test_of_parts(self, runs):
        found = {part.name: part for part in changes.of_parts(runs)}
        labels = runs.common("test_labels")
        right = (runs.runs("test_pred") == labels).mean(axis=1)
        overall = found["overall"]
        assert overall.after == pytest.approx(right.mean())
        assert overall.deviation == pytest.approx(right.std(ddof=1))
        assert overall.low <= overall.after - overall.before <= overall.high

    def test_worst(self, runs):
        found = changes.worst(changes.of_classes(runs), count=3)
        assert [one.after for one in found] == sorted(one.after for one in found)


@pytest.mark.slow
class TestPage:
    def test_of_a_result(self, runs, tmp_path, capsys):
        out = tmp_path / "out"
        assert report(f"--result={tmp_path / 'r'}", f"--out={out}") == 0
        assert capsys.readouterr().out.strip() == str(out / "index.html")
        text = (out / "index.html").read_text()
        page = Reader(text)
        assert len(page.ids) == len(set(page.ids))
        for link in page.links:
            if link.startswith("#"):
                assert link[1:] in page.ids
            else:
                assert (out / link).is_file(), link
        # No level of headings is left out.
        steps = np.diff(page.headings)
        assert page.headings[0] == 1
        assert steps.max() <= 1 or max(steps) == 2
        with open(out / "classes.csv") as file:
            rows = {row["name"]: row for row in csv.DictReader(file)}
        found = {one.name: one for one in changes.of_classes(runs)}
        assert rows.keys() == found.keys()
        cells = {row[0]: row for row in page.rows if len(row) == 10}
        for name, one in found.items():
            np.testing.assert_equal(float(rows[name]["after"]), one.after)
            shown = "-" if np.isnan(one.after) else f"{100 * one.after:z.1f}"
            assert cells[name][5] == shown
        # Who subtracts one from the other gets what is said.
        summary = [row for row in page.rows if len(row) == 5 and row[0] != "Classes"]
        for first, shown in ((1, summary[:4]), (4, cells.values())):
            for row in shown:
                before, after, change = (
                    cell.partition(" ")[0] for cell in row[first : first + 3]
                )
                if before not in ("-", "Before"):
                    assert change == f"{float(after) - float(before):+z.1f}"
        stored = json.loads((out / "classes.json").read_text())
        assert [row["name"] for row in stored["classes"]] == list(found)
        assert "http" not in re.sub(r"http://www.w3.org[^\"' ]*", "", text)

    def test_a_report_is_replaced_and_nothing_else(self, runs, tmp_path, capsys):
        out = tmp_path / "out"
        for _ in range(2):
            assert report(f"--result={tmp_path / 'r'}", f"--out={out}") == 0
        other = tmp_path / "other"
        other.mkdir()
        (other / "mine.txt").write_text("keep")
        capsys.readouterr()
        assert report(f"--result={tmp_path / 'r'}", f"--out={other}") == 1
        assert "is not empty and not a report" in capsys.readouterr().err
        assert [path.name for path in other.iterdir()] == ["mine.txt"]
        assert sorted(path.name for path in tmp_path.iterdir()) == ["other", "out", "r"]

    def test_a_killed_one_is_ended_by_the_next(self, runs, tmp_path, monkeypatch):
        """Whatever was there before is there until all of the new one is written."""
        out = tmp_path / "out"
        assert report(f"--result={tmp_path / 'r'}", f"--out={out}") == 0
        (out / "of_an_older_one.svg").write_text("x")
        before = {path.name: path.read_bytes() for path in out.iterdir()}
        real, moved = os.replace, []

        class Killed(BaseException):
            pass

        def replace(path, target):
            # Not while it is written, which is all in one place.
            if (".staging-" in str(path)) != (".staging-" in str(target)):
                moved.append(target)
                if len(moved) == 4:  # some of the older one are out of the way
                    raise Killed
            return real(path, target)

        monkeypatch.setattr(Path, "replace", replace)
        monkeypatch.setattr(staging, "_move_back", lambda *_: None)
        monkeypatch.setattr(staging.shutil, "rmtree", lambda *_, **__: None)
        with pytest.raises(Killed):
            report(f"--result={tmp_path / 'r'}", f"--out={out}")
        monkeypatch.undo()
        assert set(before) - {path.name for path in out.iterdir()}
        # Also by one that fails, as its result is not there.
        assert report(f"--result={tmp_path / 'no'}", f"--out={out}") == 1
        ended = {path.name: path.read_bytes() for path in out.iterdir()}
        assert ended == before
        assert report(f"--result={tmp_path / 'r'}", f"--out={out}") == 0
        after = {path.name: path.read_bytes() for path in out.iterdir()}
        del before["of_an_older_one.svg"]
        assert after == before

    def test_names_of_strangers(self, tmp_path):
        name = "<script>alert(1)</script>\x1b[31m"
        arrays = made_results.make_result(tmp_path / "r" / "result.npz")
        names = np.array([f"{name}{i}" for i in range(len(arrays["class_counts"]))])
        results_of_data.write(tmp_path / "r" / "result.npz", arrays, label_names=names)
        assert report(f"--result={tmp_path / 'r'}", f"--out={tmp_path / 'out'}") == 0
        text = (tmp_path / "out" / "index.html").read_text()
        assert "<script>alert" not in text
        assert "\x1b" not in text
        assert "&lt;script&gt;alert(1)" in text

    def test_of_another_correction(self, runs, tmp_path):
        """From whom classes borrowed, in place of coefficients."""
        (file,) = runs.files
        arrays = dict(file.arrays)
        for spec in ("alphas", "epoch_mean_alphas", "epoch_loss", "learning_rate"):
            arrays.pop(spec)
        num = len(arrays["class_counts"])
        rng = np.random.default_rng(0)
        head = {"weight": rng.normal(size=(num, 3)), "bias": rng.normal(size=num)}
        first = {k: v[:1] for k, v in arrays.items() if np.shape(v)[:1] == (3,)}
        arrays |= {k: v for k, v in first.items() if k.startswith(("test_", "val_"))}
        arrays |= {
            "seeds": arrays["seeds"][:1],
            "selected_epoch": np.zeros(1, int),
            "test_pred": arrays["test_pred"][:1],
            "method": np.asarray("alphanet_plus"),
            "knob": np.asarray(0.25),
            "method_options": np.asarray('{"chosen": ["chosen: it"]}'),
            **head,
            **{f"original_{name}": part for name, part in head.items()},
            "borrowed_from": np.tile((np.arange(num)[:, None] + 1) % num, (1, 2)),
            "borrowed_shares": np.tile([[0.25, 0.125]], (num, 1)),
            "kept": np.full(num, 0.5),
        }
        if np.ndim(arrays["neighbors"]) == 3:
            arrays["neighbors"] = arrays["neighbors"][0]
            arrays["neighbor_distances"] = arrays["neighbor_distances"][0]
        made = sets.ResultSet("x", (sets.ResultFile(Path("x"), arrays, file.config),))
        found, reason = result_page.combinations(made)
        assert not reason
        assert found[0].kept == 0.5
        assert [term.mean for term in found[0].terms] == [0.25, 0.125]

    def test_data_of_the_original(self, tmp_path, capsys):
        """Flags say where it is; results of ours have no use for them."""
        made = made_data.make(tmp_path / "data")
        value = made_originals.result_of(made)[0]
        path = made_originals.save(tmp_path / "r/result.pth", value)
        places = [f"--registry={made.registry}", f"--data_root={made.root}"]
        out = tmp_path / "out"
        assert report(f"--result={path}", f"--out={out}", "--data_root=/nowhere") == 1
        assert "--data_root and --registry" in capsys.readouterr().err
        assert not out.exists()
        assert report(f"--result={path}", f"--out={out}", *places) == 0
        assert (out / "prediction_changes.web_light.svg").exists()
        made_results.make_result(tmp_path / "ours/result.npz")
        capsys.readouterr()
        assert report(f"--result={tmp_path / 'ours'}", f"--out={out}", *places) == 1
        assert "has no effect here" in capsys.readouterr().err

    def test_of_a_comparison(self, tmp_path, monkeypatch, capsys):
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
        monkeypatch.delitem(sys.modules, "config_config", raising=False)
        made = made_data.make(tmp_path / "data")
        command = [
            *("alphanet", "compare", "--config=default", "--config.dataset=made"),
            *(f"--config.registry={made.registry}", f"--config.data_root={made.root}"),
            *("--methods=few_offset,logit_adjustment", f"--workdir={tmp_path / 'w'}"),
        ]
        assert cli.main(command) == 0
        out = tmp_path / "out"
        assert report(f"--compare={tmp_path / 'w'}", f"--out={out}") == 0
        page = Reader((out / "index.html").read_text())
        names = {row[0] for row in page.rows}
        assert {"unchanged", "few_offset", "logit_adjustment"} <= names
        stored = json.loads((out / "compare.json").read_text())
        assert stored == json.loads((tmp_path / "w" / "compare.json").read_text())


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "nothing to report; name a result"),
        (["--result=r"], "--out is missing"),
        (["--result=nothing", "--out=out"], "nothing"),
        (["--compare=nothing.json", "--out=out"], "nothing.json: no such file"),
        (["--result=r", "--out=file"], "file is a file; --out is a directory"),
    ],
)
def test_refused(runs, tmp_path, monkeypatch, capsys, arguments, said):
    monkeypatch.chdir(tmp_path)
    Path("file").write_text("")
    before = sorted(Path().rglob("*"))
    assert report(*arguments) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert said in line
    assert sorted(Path().rglob("*")) == before


def test_without_matplotlib(runs, tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    monkeypatch.setattr(one_file, "draw_file", lambda *_: pytest.fail("drawn"))
    assert report(f"--result={tmp_path / 'r'}", f"--out={tmp_path / 'out'}") == 1
    assert "matplotlib" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
