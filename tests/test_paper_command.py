"""The command `paper`: results, tables, figures and the page of a grid that is run."""

import json
import math
import pathlib
import re
import shutil
import sys
import types

import numpy as np
import pytest
from made_paper import (
    NAME,
    SMALL,
    SPLITS,
    check_page,
    flags_of,
    main,
    make_data,
    read_csv,
    write_registry,
)

from alphanet_jax.errors import UserError
from alphanet_jax.experiment import training
from alphanet_jax.pages import html as pieces
from alphanet_jax.paper import figures as paper_figures
from alphanet_jax.results import file as results

REGISTRY = pathlib.Path(__file__).parents[1] / "configs" / "datasets.toml"


@pytest.fixture(autouse=True)
def _own_directory(tmp_path, monkeypatch, tmp_path_factory):
    monkeypatch.chdir(tmp_path)
    cache = tmp_path_factory.getbasetemp() / "cache"
    monkeypatch.setenv("XDG_CACHE_HOME", str(cache))
    monkeypatch.delitem(sys.modules, "config_config", raising=False)


@pytest.fixture(scope="module")
def ran(tmp_path_factory):
    """Everything on a dataset that bears the name of one of the paper's, and another.

    Returns:
      The directory that all is below.
    """
    root = tmp_path_factory.mktemp("ran")
    make_data(root / "data" / "a")
    write_registry(
        root / "datasets.toml",
        imagenetlt_resnext50_crt=("data/a", ["train", "val", "test"]),
        # The same arrays: its programs need not be compiled again.
        **{"my <data>": ("data/a", ["train", "val", "test"])},
        placeslt_resnet152_crt=("data/nowhere", ["train", "val", "test"]),
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.getbasetemp() / "cache"))
        flags = (f"--registry={root / 'datasets.toml'}", f"--data_root={root}")
        assert main(*flags, f"--workdir={root / 'w'}", *SMALL) == 0
    return root


@pytest.mark.slow
class TestCommand:
    @pytest.mark.slow
    def test_results_are_where_the_original_has_them(self, ran):
        found = {p.parent.relative_to(ran / "w").as_posix()
                 for p in (ran / "w").rglob("result.npz")}  # fmt: skip
        rhos, ks = ("0.5", "1"), (1, 5)
        assert found == {
            f"{folder}/{name}/rho_{rho}{last}"
            for name in ("imagenetlt_resnext50_crt", "my--data-")
            for rho in rhos
            for folder, lasts in (
                ("main", [""]),
                ("randomnns", [""]),
                ("nnsweep_euclidean", [f"/k_{k}" for k in ks]),
                ("nnsweep_cosine", [f"/k_{k}" for k in ks]),
            )
            for last in lasts
        }
        result = results.load_result(ran / "w/main/my--data-/rho_1/result.npz")
        made_with = json.loads(str(result["config"]))
        assert (made_with["rho"], made_with["seeds"]) == (1.0, 2)
        assert str(result["dataset"]) == "my <data>"

    def test_numbers_are_those_of_the_results(self, ran):
        directory = ran / "w/main/imagenetlt_resnext50_crt/rho_0.5"
        result = results.load_result(directory / "result.npz")
        rows = read_csv(ran, "datasets_baselines_split_accs_vs_rho")
        assert len(rows) == 20 + 2  # two controls of the dataset that is there
        rows, controls = rows[:-2], rows[-2:]
        titles = ("Offset on few", "Logit adj.")
        for control, title in zip(controls, titles, strict=True):
            assert control["dataset"] == "imagenetlt_resnext50_crt"
            assert control["classifier"].startswith(title)
            assert control["few_paper"] == ""
        (row,) = (
            r
            for r in rows
            if (r["dataset"], r["rho"]) == ("imagenetlt_resnext50_crt", "0.5")
        )
        few = 100.0 * result["test_acc_per_split"][:, 0]
        mean, std = few.mean(), few.std(ddof=1)
        assert float(row["few"]) == pytest.approx(mean)
        assert float(row["few_std"]) == pytest.approx(std)
        assert (float(row["few_paper"]), float(row["few_paper_std"])) == (39.7, 1.42)
        assert float(row["few_difference"]) == pytest.approx(mean - 39.7)
        error = math.sqrt(std**2 / 2 + 1.42**2 / 10)
        assert float(row["few_standard_errors"]) == pytest.approx((mean - 39.7) / error)
        assert (row["runs"], row["paper_runs"]) == ("2", "10")
        overall = 100.0 * result["test_accuracy"].mean()
        assert float(row["overall"]) == pytest.approx(overall)
        (before,) = (
            r
            for r in rows
            if (r["dataset"], r["rho"]) == ("imagenetlt_resnext50_crt", "")
        )
        baseline = 100.0 * result["baseline_test_acc_per_split"][2]
        assert float(before["many"]) == pytest.approx(baseline)
        assert before["many_standard_errors"] == ""
        assert float(before["many_difference"]) == pytest.approx(baseline - 61.8)

    def test_top5_is_that_of_the_results(self, ran):
        path = ran / "w/main/imagenetlt_resnext50_crt/rho_1/result.npz"
        result = results.load_result(path)
        rows = read_csv(ran, "models_split_top5_accs_vs_rho_imagenetlt")
        (row,) = (
            r
            for r in rows
            if (r["dataset"], r["rho"]) == ("imagenetlt_resnext50_crt", "1.0")
        )
        assert float(row["overall"]) == pytest.approx(100 * result["test_top5"].mean())
        (before,) = (
            r
            for r in rows
            if (r["dataset"], r["rho"]) == ("imagenetlt_resnext50_crt", "")
        )
        top5 = 100.0 * float(result["baseline_test_top5"])
        assert float(before["overall"]) == pytest.approx(top5)

    def test_k_tables(self, ran):
        name = "rhos_split_top1_accs_vs_k_imagenetlt_crt_cosine"
        rows = read_csv(ran, name)
        there = {(r["rho"], r["k"]) for r in rows if r["few"] and r["rho"]}
        assert there == {(rho, k) for rho in ("0.5", "1.0") for k in "15"}
        one, five = (
            r for r in rows if (r["rho"], r["k"]) in {("0.5", "1"), ("0.5", "5")}
        )
        # Coin flips are not compared.
        assert one["few_paper"] != ""
        assert one["few_difference"] == ""
        assert five["few_difference"] != ""
        text = (ran / "w" / "tables" / f"{name}.md").read_text()
        assert "| 1 \\*" in text
        assert "With one neighbor nothing can be learned" in text

    def test_markdown_lines_up(self, ran):
        tables = sorted((ran / "w" / "tables").glob("*.md"))
        assert len(tables) == 16 + 4 + 1 + 7
        for path in tables:
            lines = [x for x in path.read_text().splitlines() if x.startswith("|")]
            assert len({len(line) for line in lines}) == 1, path
        text = (
            ran / "w/tables/models_split_top1_accs_vs_rho_imagenetlt.md"
        ).read_text()
        assert re.search(
            r"\| .-cRT +\| 0\.5 +\| +[\d.]+ ± [\d.]+ \| 39\.7 ± 1\.42 \|", text
        )

    def test_missing_data_is_told_with_the_command(self, ran):
        name = "models_split_top1_accs_vs_rho_placeslt"
        text = (ran / "w" / "tables" / f"{name}.md").read_text()
        lines = text.splitlines()
        (line,) = (x for x in lines if re.match(r"\| .-cRT +\| 0\.1 ", x))
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        assert cells[2:5] == ["-", "38.2 ± 1.30", "-"]
        assert "data/nowhere/splits" in text
        assert "datasets.toml does not list it" in text  # of LWS
        assert (
            "--datasets placeslt_resnet152_crt placeslt_resnet152_lws --parts main"
        ) in text

    def test_own_tables_have_no_paper(self, ran):
        names = [p.stem for p in (ran / "w" / "tables").glob("*my--data-*.md")]
        assert sorted(names) == [
            "models_split_top1_accs_vs_rho_my--data-",
            "models_split_top5_accs_vs_rho_my--data-",
            "neighbors_split_top1_accs_vs_rho_my--data-",
            *(
                f"rhos_split_top{k}_accs_vs_k_my--data-_{distance}"
                for k in (1, 5)
                for distance in ("cosine", "euclidean")
            ),
        ]
        records = json.loads(
            (ran / "w/tables/models_split_top1_accs_vs_rho_my--data-.json").read_text()
        )
        assert [record["rho"] for record in records] == [None, 0.5, 1.0, None, None]
        names = [record["classifier"] for record in records[3:]]
        assert [name.split(" (")[0] for name in names] == [
            "Offset on few",
            "Logit adj.",
        ]
        assert all(record["few_paper"] is None for record in records)

    def test_statistics_of_our_data(self, ran):
        text = (ran / "w" / "tables" / "dataset_stats.md").read_text()
        (line,) = (x for x in text.splitlines() if "| ImageNet-LT" in x and "here" in x)
        numbers = [cell.strip() for cell in line.strip("|").split("|")][2:]
        assert numbers == [
            *("106", "84", "84", "14", "4", "4", "6", "56", "32", "18"),
        ]
        assert "115,846" in text

    def test_page(self, ran):
        reader = check_page(ran / "w" / "index.html")
        text = " ".join(reader.texts)
        assert NAME in text
        assert "my <data>" in text
        assert "no such file or directory" in text
        assert "1.6 (few)" in text
        assert "24 settings of 2 runs: 48 runs" in text

    @pytest.mark.slow
    def test_again_nothing_is_computed(self, ran, capsys, monkeypatch):
        def refuse(*arguments, **more):
            raise AssertionError("nothing should be left to do")

        page_before = (ran / "w" / "index.html").read_text()
        monkeypatch.setattr(training, "train", refuse)
        monkeypatch.setattr("alphanet_jax.results.top_k.top_k_hits", refuse)
        assert main(*flags_of(ran)) == 0
        captured = capsys.readouterr()
        assert captured.out.splitlines() == [str(ran / "w" / "index.html")]
        assert captured.err.count("12 of 12 points are done already") == 2
        assert "skipping placeslt_resnet152_crt: no such file" in captured.err
        assert (ran / "w" / "index.html").read_text() == page_before

    @pytest.mark.slow
    def test_what_was_stopped_goes_on(self, ran, capsys):
        gone = ran / "w/nnsweep_cosine/my--data-/rho_1/k_5/result.npz"
        old = results.load_result(gone)
        gone.unlink()
        other = ran / "w/main/my--data-/rho_1/result.npz"
        stamp = other.stat().st_mtime_ns
        assert main(*flags_of(ran), "--datasets", "my <data>") == 0
        err = capsys.readouterr().err
        assert "11 of 12 points are done already" in err
        assert "1 of 1 points done in" in err
        new = results.load_result(gone)
        # It trained alone now: other batches of runs round differently.
        np.testing.assert_allclose(new["alphas"], old["alphas"], atol=1e-4)
        assert np.array_equal(new["neighbors"], old["neighbors"])
        assert new["config"] == old["config"]
        assert other.stat().st_mtime_ns == stamp

    def test_reports_of_what_is_there(self, ran, capsys, tmp_path):
        work = tmp_path / "w"
        (work / "main").mkdir(parents=True)
        there = "main/imagenetlt_resnext50_crt"
        (work / "main" / "imagenetlt_resnext50_crt").symlink_to(ran / "w" / there)
        flags = [*flags_of(ran)[:2], f"--workdir={work}", *SMALL, "--notrain"]
        assert main(*flags, "--formats", "csv", "--parts", "main") == 0
        assert not (work / "randomnns").exists()
        assert {p.suffix for p in (work / "tables").iterdir()} == {".csv"}
        check_page(work / "index.html")
        assert "points done" not in capsys.readouterr().err

    @pytest.mark.slow
    def test_other_settings_are_run_again(self, ran, capsys, tmp_path, monkeypatch):
        asked = []

        def note(points, data, *, done, **more):
            seeds = {point.settings.seeds for point in points}
            asked.append((len(points), sorted(done), seeds))
            return []

        monkeypatch.setattr(training, "train", note)
        there = "main/imagenetlt_resnext50_crt"
        (tmp_path / "w" / "main").mkdir(parents=True)
        (tmp_path / "w" / there).symlink_to(ran / "w" / there)
        flags = (*flags_of(ran)[:2], "--workdir=w", *SMALL, "--parts", "main")
        more = ("--datasets", "imagenetlt_resnext50_crt", "--rhos", "0.5", "2")
        assert main(*flags, *more) == 0
        # 0.5 and 1 of SMALL, then 0.5 and 2 again: a flag given twice adds up.
        assert asked.pop() == (3, [0, 1], {2})
        assert main(*flags, *more, "--seeds=3") == 0
        assert asked.pop() == (3, [], {3})
        err = capsys.readouterr().err
        assert err.count("is of another run and will be replaced: seeds 2, now 3") == 2

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            (("--parts", "main", "nn"), "--parts must be of main, random, nnsweep"),
            (("--rhos", "a"), "--rhos must be numbers from 0 on, got 'a'"),
            (("--rhos=-1",), "--rhos must be numbers from 0 on, got '-1'"),
            (("--neighbors", "0"), "--neighbors must be whole numbers from 1 on"),
            (("--neighbors", "1.5"), "--neighbors must be whole numbers from 1 on"),
            (("--formats", "docx"), "--formats must be of md, tex, csv, json"),
            (("--styles", "x"), "--styles must be of paper, arxiv"),
            (("--datasets", "mine"), "--datasets: no 'mine' in "),
            (
                ("--datasets", "placeslt_resnet152_crt"),
                "--datasets: placeslt_resnet152_crt: no such file or directory",
            ),
            (("--seeds=0",), "--seeds"),
            (("--selection=first",), "--selection"),
            (("--workdir=datasets.toml",), "--workdir: datasets.toml is a file"),
            (("--registry=none.toml",), "none.toml: cannot read registry"),
        ],
    )
    def test_what_is_refused(self, tmp_path, capsys, arguments, message):
        write_registry(
            tmp_path / "datasets.toml",
            placeslt_resnet152_crt=("nowhere", ["train", "val", "test"]),
        )
        assert main("--registry=datasets.toml", *arguments) == 1
        last = capsys.readouterr().err.splitlines()[-1]
        assert last.startswith("error: ")
        assert message in last
        assert [p.name for p in tmp_path.iterdir()] == ["datasets.toml"]

    def test_reports_that_cannot_be_written(self, ran, capsys, tmp_path):
        (tmp_path / "w").mkdir()
        (tmp_path / "w" / "tables").write_text("a file")
        flags = (*flags_of(ran)[:2], "--workdir=w", "--notrain", "--nofigures")
        assert main(*flags) == 1
        assert capsys.readouterr().err.splitlines()[-1] == (
            "error: w/tables: File exists"
        )

    def test_names_that_would_share_a_directory(self, tmp_path, capsys):
        make_data(tmp_path / "a")
        groups = ["train", "val", "test"]
        write_registry(
            tmp_path / "datasets.toml", **{"a b": ("a", groups), "a/b": ("a", groups)}
        )
        assert main("--registry=datasets.toml") == 1
        assert (
            "'a b' and 'a/b' would have the same directory" in capsys.readouterr().err
        )

    def test_damaged_data_is_an_error_and_the_rest_is_done(
        self, capsys, tmp_path, monkeypatch
    ):
        make_data(tmp_path / "a")
        make_data(tmp_path / "b")
        (tmp_path / "b" / "features" / "test.npy").write_bytes(b"no array")
        groups = ["train", "val", "test"]
        write_registry(
            tmp_path / "datasets.toml", bad=("b", groups), good=("a", groups)
        )
        trained = []
        monkeypatch.setattr(
            training, "train", lambda points, *_, **__: trained.append(points) or []
        )
        flags = ("--registry=datasets.toml", "--workdir=w", "--parts", "main")
        assert main(*flags, "--rhos=1", "--seeds=1", "--nofigures") == 1
        err = capsys.readouterr().err
        assert "bad: " in err.splitlines()[-1]
        assert "test.npy: not a readable .npy file" in err.splitlines()[-1]
        ((point,),) = trained
        assert point.title == "main/good/rho_1"
        reader = check_page(tmp_path / "w" / "index.html")
        assert "not a readable .npy file" in " ".join(reader.texts)

    def test_a_point_that_fails_is_an_error_and_the_rest_is_done(
        self, ran, capsys, tmp_path, monkeypatch
    ):
        there = "main/imagenetlt_resnext50_crt"
        (tmp_path / "w" / "main").mkdir(parents=True)
        (tmp_path / "w" / there).symlink_to(ran / "w" / there)
        monkeypatch.setattr(
            training,
            "train",
            lambda points, *_, **__: [
                training.Trained(points[2], error=UserError("the loss is nan"))
            ],
        )
        flags = (*flags_of(ran)[:2], "--workdir=w", *SMALL, "--parts", "main")
        more = ("--datasets", "imagenetlt_resnext50_crt", "--rhos", "2")
        assert main(*flags, *more) == 1
        last = capsys.readouterr().err.splitlines()[-1]
        assert last == f"error: {there}/rho_2: the loss is nan"
        text = " ".join(check_page(tmp_path / "w" / "index.html").texts)
        assert f"{there}/rho_2: the loss is nan" in text
        assert "2 of 3" in text

    @pytest.mark.slow
    def test_results_of_something_else_are_left_out(self, ran, capsys, tmp_path):
        work = tmp_path / "w"
        (work / "main").mkdir(parents=True)
        there = "main/imagenetlt_resnext50_crt"
        shutil.copytree(ran / "w" / there, work / there)
        (work / there / "rho_0.1").mkdir()
        (work / there / "rho_0.1" / "result.npz").write_bytes(b"nothing")
        shutil.copytree(work / there / "rho_0.5", work / there / "rho_2")
        flags = [*flags_of(ran)[:2], f"--workdir={work}", "--nofigures", "--notrain"]
        assert main(*flags, "--seeds=2") == 0
        err = capsys.readouterr().err
        assert err.count("left out: ") == 2
        assert f"{work / there / 'rho_2' / 'result.npz'}: rho 0.5, now 2.0" in err
        reader = check_page(work / "index.html")
        assert "2 settings of 2 runs: 4 runs" in " ".join(reader.texts)
        assert "rho 0.5, now 2.0" in " ".join(reader.texts)
        # With another rule, none of them is what is asked for.
        assert main(*flags, "--selection=best") == 0
        assert "selection 'reference', now 'best'" in capsys.readouterr().err

    def test_results_without_their_data_are_still_reported(self, ran, capsys, tmp_path):
        write_registry(
            tmp_path / "datasets.toml",
            imagenetlt_resnext50_crt=("gone", ["train", "val", "test"]),
        )
        flags = ("--registry=datasets.toml", f"--workdir={tmp_path / 'w'}")
        (tmp_path / "w").mkdir()
        shutil.copytree(ran / "w" / "main", tmp_path / "w" / "main")
        more = ("--seeds=2", "--nofigures", "--notrain")
        assert main(*flags, *more, "--datasets", "imagenetlt_resnext50_crt") == 0
        assert "skipping imagenetlt_resnext50_crt: no such" in capsys.readouterr().err
        tables = tmp_path / "w" / "tables"
        text = (tables / "models_split_top1_accs_vs_rho_imagenetlt.csv").read_text()
        assert (
            text
            == (
                ran / "w/tables/models_split_top1_accs_vs_rho_imagenetlt.csv"
            ).read_text()
        )
        # Top-5 accuracy needs the features.
        text = (tables / "models_split_top5_accs_vs_rho_imagenetlt.md").read_text()
        assert "is needed" in text

    def test_few_base_classes_have_few_neighbors(self, ran, capsys, monkeypatch):
        asked = []
        monkeypatch.setattr(
            training, "train", lambda points, *_, **__: asked.append(points) or []
        )
        flags = (*flags_of(ran)[:2], "--workdir=w", "--parts", "nnsweep", "--rhos=1")
        more = ("--datasets", "my <data>", "--nofigures")
        assert main(*flags, *more) == 0
        assert (
            "no more than 7 neighbors, as there are 8 base" in capsys.readouterr().err
        )
        counts = [point.settings.n_neighbors for point in asked[0]]
        assert counts == [*range(1, 8), *range(1, 8)]

    @pytest.mark.slow
    def test_wordnet_that_is_not_there(self, ran, tmp_path):
        synsets = (REGISTRY.parents[1] / "data/CIFAR100LT/synsets.txt").read_text()
        lines = synsets.splitlines(keepends=True)[:14]
        (tmp_path / "synsets.txt").write_text("".join(lines))
        write_registry(
            tmp_path / "datasets.toml",
            imagenetlt_resnext50_crt=("gone", ["train", "val", "test"]),
        )
        with (tmp_path / "datasets.toml").open("a") as file:
            file.write('synsets_file = "synsets.txt"\n')
        there = "main/imagenetlt_resnext50_crt"
        shutil.copytree(ran / "w" / there, tmp_path / "w" / there)
        flags = ("--registry=datasets.toml", "--workdir=w", "--seeds=2", "--nofigures")
        assert main(*flags, "--notrain", "--wordnet=nowhere") == 0
        name = "models_split_semantic4_accs_vs_rho_imagenetlt.md"
        text = (tmp_path / "w" / "tables" / name).read_text()
        assert "nowhere: no WordNet database here" in text


@pytest.mark.slow
class TestFigures:
    @pytest.mark.slow
    def test_every_figure_is_drawn_once(self, ran, capsys, tmp_path, monkeypatch):
        for folder in ("main", "randomnns", "nnsweep_euclidean", "nnsweep_cosine"):
            there = f"{folder}/imagenetlt_resnext50_crt"
            shutil.copytree(ran / "w" / there, tmp_path / "w" / there)
        flags = [*flags_of(ran)[:2], "--workdir=w", "--seeds=2", "--notrain"]
        flags += ["--n_boot=10", "--datasets", "imagenetlt_resnext50_crt"]
        assert main(*flags) == 0
        # The made classes have no synsets, and no figures of their meanings.
        err = capsys.readouterr().err
        assert "failed" not in err
        assert "imagenetlt_resnext50_crt: nothing is counted by WordNet" in err
        drawn = tmp_path / "w" / "figures"
        names = {
            path.name.removeprefix("imagenetlt_resnext50_crt.").removesuffix(end)
            for end in (".web_light.svg",)
            for path in drawn.glob(f"*{end}")
        }
        assert names == {
            *("pred_counts", "cls_acc_vs_nndist", "split_accs_vs_rho"),
            *("euclidean_random_split_deltas_vs_rho", "rhos_cls_deltas"),
            *(f"{split}_pred_changes_visual" for split in SPLITS),
            *("cls_acc_and_samples", "cls_acc_vs_samples", "alphas", "templates"),
            *(f"cls_delta_vs_nndist_rho_{rho}" for rho in ("0.5", "1")),
            *(f"accs_vs_k_rho_{rho}" for rho in ("0.5", "1")),
        }
        assert len(list(drawn.glob("*.web_dark.svg"))) == len(names)
        reader = check_page(tmp_path / "w" / "index.html")
        images = [ref for tag, ref in reader.references if tag == "img"]
        assert len(images) == 2 * len(names)

        def refuse(*arguments, **more):
            raise AssertionError("nothing should be left to draw")

        monkeypatch.setattr("alphanet_jax.figures.saving.save_figure", refuse)
        text = (tmp_path / "w" / "index.html").read_text()
        assert main(*flags) == 0
        assert (tmp_path / "w" / "index.html").read_text() == text
        # What is gone, or of other results, is drawn again.
        gone = next(drawn.glob("*.split_accs_vs_rho.csv"))
        gone.unlink()
        assert main(*flags) == 1
        assert "nothing should be left" in capsys.readouterr().err

    def test_figures_of_changed_code_are_drawn_again(self, tmp_path, monkeypatch):
        package = paper_figures.figures_package
        shutil.copytree(package.__path__[0], tmp_path / "figures")
        monkeypatch.setattr(package, "__path__", [str(tmp_path / "figures")])
        before = paper_figures._code_digest.__wrapped__()
        with open(tmp_path / "figures" / "kinds" / "alphas.py", "a") as file:
            file.write("# another\n")
        assert paper_figures._code_digest.__wrapped__() != before

    def test_several_datasets_share_a_figure(self, ran, tmp_path, monkeypatch):
        plans = []
        monkeypatch.setattr(
            paper_figures, "_draw", lambda each, *_: (plans.append(each) or [], [])
        )
        monkeypatch.setattr(paper_figures, "plan", lambda *_: [])
        monkeypatch.setattr(pieces, "figure", lambda *_: "")
        shutil.copytree(ran / "w" / "main", tmp_path / "w" / "main")
        flags = [*flags_of(ran)[:2], "--workdir=w", "--seeds=2", "--notrain"]
        assert main(*flags) == 0
        (plan,) = plans
        assert plan.kind == "change_vs_rho"
        assert {runs.dataset for runs in plan.sets} == {
            "imagenetlt_resnext50_crt",
            "my <data>",
        }

    @pytest.mark.slow
    def test_a_style_without_its_program(self, ran, capsys, tmp_path, monkeypatch):
        there = "main/imagenetlt_resnext50_crt"
        shutil.copytree(ran / "w" / there, tmp_path / "w" / there)
        monkeypatch.setattr("shutil.which", lambda name: None)
        flags = [*flags_of(ran)[:2], "--workdir=w", "--seeds=2", "--notrain"]
        flags += ["--n_boot=10", "--datasets", "imagenetlt_resnext50_crt"]
        assert main(*flags, "--styles", "paper") == 1
        lines = capsys.readouterr().err.splitlines()
        said = "--styles: no figures in style paper: a figure in pgf needs LaTeX"
        assert lines[0].startswith(f"failed: {said}")  # before all else
        assert lines[-1].startswith(f"error: {said}")
        text = " ".join(check_page(tmp_path / "w" / "index.html").texts)
        assert said in text

    def test_a_style_that_fails_for_a_figure(self, tmp_path, monkeypatch):
        """The page's styles are drawn, and it is tried again the next time."""
        from alphanet_jax.figures import style

        def save(*arguments, on_failure, **options):
            on_failure(style.STYLES["paper"], UserError("LaTeX fails"))
            return [tmp_path / "f.svg"]

        monkeypatch.setattr("alphanet_jax.figures.saving.save_figure", save)
        kind = types.SimpleNamespace(
            numbers=lambda *_: {}, draw=None, numbers_options=()
        )
        monkeypatch.setattr(paper_figures, "load_kind", lambda name: kind)
        each = types.SimpleNamespace(
            kind="x", wide=False, data_options={}, sets=[], drawing_options={}, name="f"
        )
        results = types.SimpleNamespace(finder=None, wordnet=None)
        names = [*paper_figures.PAGE_STYLES, "paper"]
        paths, lost = paper_figures._draw(each, results, tmp_path / "f", names, 5)
        assert paths == [tmp_path / "f.svg"]
        assert lost == ["figure f is not drawn in style paper: LaTeX fails"]

    @pytest.mark.slow
    def test_without_matplotlib_there_are_tables(
        self, ran, capsys, tmp_path, monkeypatch
    ):
        monkeypatch.setitem(sys.modules, "matplotlib", None)
        shutil.copytree(ran / "w" / "main", tmp_path / "w" / "main")
        flags = [*flags_of(ran)[:2], "--workdir=w", "--seeds=2", "--notrain"]
        assert main(*flags) == 0
        text = " ".join(check_page(tmp_path / "w" / "index.html").texts)
        assert "no figures: figures need matplotlib: pip install" in text
