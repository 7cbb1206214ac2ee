"""`main.py results`: tables of accuracy, option by option."""

import csv
import io
import json
import os

import made_data
import numpy as np
import pytest
import results_of_data

from alphanet_jax import results
from alphanet_jax.commands import cli, reading
from alphanet_jax.errors import UserError

README = """\
ImageNet-LT | cRT:
==================

Experiment                Few         Med.         Many      Overall
----------------  -----------  -----------  -----------  -----------
Baseline                 27.4         46.2         61.8         49.6
AlphaNet (r=0.1)  47.6^±1.60^  37.1^±0.76^  53.8^±0.62^  45.0^±0.41^
AlphaNet (r=0.2)  45.7^±1.56^  39.0^±0.78^  55.7^±0.79^  46.3^±0.52^
AlphaNet (r=0.3)  42.9^±1.29^  40.4^±0.72^  57.0^±0.68^  47.1^±0.47^

Experiment,Few,Medium,Many,Overall
Baseline,27.4,46.2,61.8,49.6
AlphaNet (r=0.1),47.6,37.1,53.8,45.0
AlphaNet (r=0.2),45.7,39.0,55.7,46.3
AlphaNet (r=0.3),42.9,40.4,57.0,47.1
"""


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    root = tmp_path_factory.mktemp("results")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(root / "cache"))
        made = made_data.make(root / "data")
        seeds = {"rho_0.1/run_1": (0, 1), "rho_0.1/run_2": (2,), "rho_0.5": (0, 1)}
        for draw, (name, own) in enumerate(seeds.items()):
            rho = float(name.partition("/")[0][4:])
            arrays = results_of_data.arrays_of(made, seeds=own, draw=draw, rho=rho)
            results_of_data.write(root / "res" / name / "result.npz", arrays)
        fields = {"training.n_neighbors": 1, "training.nn_dist": "cosine"}
        arrays = results_of_data.arrays_of(made, draw=7, **fields)
        results_of_data.write(root / "other" / "cosine" / "result.npz", arrays)
        fields = {"training.nn_dist": "random"}
        arrays = results_of_data.arrays_of(made, draw=8, **fields)
        results_of_data.write(root / "other" / "random" / "result.npz", arrays)
        yield root


@pytest.fixture(autouse=True)
def _own_directory(root, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(root / "cache"))


@pytest.fixture
def run(root, capsys):
    """Runs the command; gives what it printed, or the error if there was one.

    Without a format the table is that of the original's README, with commas below it.
    """

    def run(*arguments, base=root / "res"):
        if not any(each.startswith(("--format", "--for_web")) for each in arguments):
            arguments = ("--format=text", *arguments)
        status = cli.main(["main.py", "results", f"--base_res_dir={base}", *arguments])
        said = capsys.readouterr()
        if status:
            assert said.out == ""
            assert said.err.count("error: ") == 1
            assert "Traceback" not in said.err
            return said.err.rpartition("error: ")[2].strip()
        return said.out

    return run


def load(root, name, base="res"):
    return results.load_result(root / base / name / "result.npz")


def fractions(hits, labels):
    """Percentages of few, medium, many and all, by loops."""
    found = []
    for classes in (*made_data.SPLITS.values(), range(made_data.NUM_CLASSES)):
        own = [bool(h) for h, y in zip(hits, labels, strict=True) if y in classes]
        found.append(100 * sum(own) / len(own))
    return found


def expected_row(rows):
    mean, std = np.mean(rows, axis=0), np.std(rows, axis=0, ddof=1)
    return list(zip(mean, std, strict=True))


def records(text):
    return {record["experiment"]: record for record in json.loads(text)}


def values(record):
    columns = ("few", "medium", "many", "overall")
    return [(record[c]["mean"], record[c]["std"]) for c in columns]


def cells(line):
    return [cell.strip() for cell in line.split("  ") if cell.strip()]


class TestReadme:
    """The output that the original's README shows, from runs that have its numbers."""

    # Test images of its splits, 50 for each class; four times as many, since its
    # numbers do not come from four runs.
    SIZES = (4 * 6800, 4 * 23950, 4 * 19250)

    def predictions(self, means):
        """Predictions of which these percentages of every split are right."""
        parts = []
        for label, (mean, size) in enumerate(zip(means, self.SIZES, strict=True)):
            right = round(mean / 100 * size)
            wrong = (label + 1) % 3
            counts = [right, size - right]
            parts.append(np.repeat(np.array([label, wrong], np.int8), counts))
        return np.concatenate(parts)

    def runs(self, means, stds, overall):
        """Draws four runs with these means and deviations.

        How few and medium go together makes the deviation of all.
        """
        few, medium, many = np.multiply(stds, self.SIZES) / sum(self.SIZES)
        rest = overall**2 - few**2 - medium**2 - many**2
        together = rest / (2 * few * medium)
        signs = np.array([[1, 1, -1, -1], [1, -1, 1, -1], [1, -1, -1, 1]])
        one, two, three = signs * np.sqrt(3) / 2  # each has the deviation 1
        second = together * one + np.sqrt(1 - together**2) * two
        away = np.multiply(np.stack([one, second, three]).T, stds)
        return np.stack([self.predictions(row) for row in means + away])

    def test_same_text(self, tmp_path, run):
        labels = np.repeat([0, 1, 2], self.SIZES)
        common = {
            "dataset": "imagenetlt_resnext50_crt",
            "proper_name": "ImageNet-LT | cRT",
            "label_names": np.zeros(0, np.str_),
            **{f"{s}_classes": [i] for i, s in enumerate(("few", "medium", "many"))},
            "class_counts": [1, 2, 3],
            "neighbors": [[1]],
            "neighbor_distances": [[1.0]],
            "test_acc_per_split": np.zeros((2, 3)),
            "test_labels": labels,
            "baseline_test_pred": self.predictions((27.4, 46.2, 61.8)),
            "file_hashes": "{}",
        }
        rows = {
            0.1: ((47.6, 37.1, 53.8), (1.60, 0.76, 0.62), 0.41),
            0.2: ((45.7, 39.0, 55.7), (1.56, 0.78, 0.79), 0.52),
            0.3: ((42.9, 40.4, 57.0), (1.29, 0.72, 0.68), 0.47),
        }
        for rho, row in rows.items():
            predictions = self.runs(*row)
            for half in (0, 1):
                results_of_data.write(
                    tmp_path / f"res/rho_{rho}/run_{half + 1}/result.npz",
                    common,
                    seeds=[2 * half, 2 * half + 1],
                    alphas=np.ones((2, 1, 2)),
                    test_pred=predictions[2 * half : 2 * half + 2],
                    config=json.dumps({"rho": rho, "seed": half}),
                )
        # The command of the README, with this program's spelling of flags.
        arguments = [
            *("--rel_exp_paths", "rho_0.1", "rho_0.2", "rho_0.3"),
            *("--exp_names", "0.1", "0.2", "0.3"),
            *("--res_files_pattern", "run_*/result.npz"),
            *("--exp_prefix", "AlphaNet (r=", "--exp_suffix", ")"),
        ]
        assert run(*arguments, base=tmp_path / "res") == README
        table = README.partition("\n\nExperiment,")[0] + "\n"
        assert run(*arguments, "--noprint_csv", base=tmp_path / "res") == table


class TestAccuracy:
    def test_every_setting_found(self, run, root):
        found = records(run("--format=json"))
        assert list(found) == ["Baseline", "rho_0.1", "rho_0.5"]
        one, two, other = (
            load(root, name) for name in ("rho_0.1/run_1", "rho_0.1/run_2", "rho_0.5")
        )
        labels = one["test_labels"]
        wanted = {
            "rho_0.1": [*one["test_pred"], *two["test_pred"]],
            "rho_0.5": [*other["test_pred"]],
        }
        for name, predictions in wanted.items():
            rows = [fractions(row == labels, labels) for row in predictions]
            np.testing.assert_allclose(values(found[name]), expected_row(rows))
        base = fractions(one["baseline_test_pred"] == labels, labels)
        assert [mean for mean, _ in values(found["Baseline"])] == pytest.approx(base)
        assert [std for _, std in values(found["Baseline"])] == [None] * 4
        about = {"dataset": "made", "dataset_name": "made", "metric": "accuracy"}
        for name, files, runs in (
            ("Baseline", None, None),
            ("rho_0.1", 2, 3),
            ("rho_0.5", 1, 2),
        ):
            facts = about | {"experiment": name, "files": files, "runs": runs}
            assert {key: found[name][key] for key in facts} == facts

    @pytest.mark.slow
    def test_what_training_printed(self, tmp_path, capsys, root, run):
        made = made_data.make(tmp_path / "data")
        more = ["--config.seeds=3", "--config.training.ptopt.optim_params=lr=0.1"]
        path = results_of_data.train(made, tmp_path / "w", *more, "--nocontrols")
        printed = capsys.readouterr().out
        assert "±" in printed
        *table, changes = printed.splitlines(keepends=True)
        name = cells(table[-1])[0]
        assert run("--format=plain", "--exp_names", name, base="w") == "".join(table)
        assert changes.startswith(f"{name}: few ")
        # Measured on the device, and counted from predictions.
        measured = results.load_result(path)
        (_, found) = records(run("--format=json", base="w")).values()
        wanted = expected_row(
            100
            * np.column_stack(
                [measured["test_acc_per_split"], measured["test_accuracy"]]
            )
        )
        np.testing.assert_allclose(values(found), wanted, rtol=1e-6)

    def test_top_k(self, run, root):
        found = records(run("--acc_k=2", "--format=json"))
        assert {record["metric"] for record in found.values()} == {"top-2 accuracy"}
        made = made_data.make(root / "again")
        x = made.groups["test"]["feats"]
        arrays = load(root, "rho_0.5")
        labels = arrays["test_labels"]

        def hits(weight):
            best = np.argsort(-(x @ weight.T + made.bias), axis=1)[:, :2]
            return fractions((best == labels[:, None]).any(axis=1), labels)

        rows = []
        for alphas in arrays["alphas"]:
            weight = made.weight.astype(np.float64)
            for place, label in enumerate(arrays["few_classes"]):
                sources = [label, *arrays["neighbors"][place]]
                weight[label] = alphas[place] @ made.weight[sources]
            rows.append(hits(weight))
        np.testing.assert_allclose(values(found["rho_0.5"]), expected_row(rows))
        base = [mean for mean, _ in values(found["Baseline"])]
        np.testing.assert_allclose(base, hits(made.weight))

    def test_top_k_is_in_the_title_and_batches_change_nothing(self, run):
        whole = run("--acc_k=3")
        assert whole.startswith("made, top-3:\n============\n\n")
        assert run("--acc_k=3", "--eval_batch_size=5") == whole

    def near(self, metric, count):
        """The nearest classes of every class, by a slow way."""
        group = made_data.make("near").groups["train"]
        means = [group["feats"][group["labels"] == c].mean(axis=0) for c in range(6)]
        table = []
        for label, own in enumerate(means):
            others = [other for other in range(6) if other != label]
            cosines = {
                c: own @ means[c] / np.linalg.norm(own) / np.linalg.norm(means[c])
                for c in others
            }
            table.append(
                sorted(
                    others,
                    key=(
                        (lambda c: -cosines[c])  # noqa: B023
                        if metric == "cosine"
                        else (lambda c: np.linalg.norm(means[c] - own))  # noqa: B023
                    ),
                )[:count]
            )
        return table

    def adjusted(self, arrays, near):
        labels = arrays["test_labels"]

        def hits(predictions):
            return fractions(
                [
                    p == y or p in near[y]
                    for p, y in zip(predictions, labels, strict=True)
                ],
                labels,
            )

        rows = [hits(row) for row in arrays["test_pred"]]
        return expected_row(rows), hits(arrays["baseline_test_pred"])

    def test_visual_neighbors(self, run, root):
        found = records(run("--show_adjusted_acc", "--format=json"))
        wanted, base = self.adjusted(load(root, "rho_0.5"), self.near("euclidean", 2))
        np.testing.assert_allclose(values(found["rho_0.5"]), wanted)
        np.testing.assert_allclose([v[0] for v in values(found["Baseline"])], base)
        assert found["rho_0.5"]["metric"] == "accuracy with visual neighbors"
        plain = records(run("--format=json"))
        assert values(plain["rho_0.5"])[3][0] < wanted[3][0]
        assert run("--show_adjusted_acc").startswith("made, with visual neighbors:\n")

    def test_a_baseline_for_each_kind_of_neighbors(self, run, root):
        found = records(
            run(
                "--rel_exp_paths",
                *("res/rho_0.5", "other/cosine"),
                *("--show_adjusted_acc", "--format=json"),
                base=root,
            )
        )
        two, one = "Baseline (k = 2, euclidean)", "Baseline (k = 1, cosine)"
        assert list(found) == [two, one, "res/rho_0.5", "other/cosine"]
        for base, name, near in (
            (two, "res/rho_0.5", self.near("euclidean", 2)),
            (one, "other/cosine", self.near("cosine", 1)),
        ):
            wanted, baseline = self.adjusted(load(root, name, "."), near)
            np.testing.assert_allclose(values(found[name]), wanted)
            np.testing.assert_allclose([v[0] for v in values(found[base])], baseline)

    def test_random_neighbors(self, run, root):
        arguments = ("--show_adjusted_acc", "--rel_exp_paths", "random")
        message = run(*arguments, base=root / "other")
        assert "random/result.npz was made with neighbors 'random'" in message
        assert "choose --adjusted_acc_nn_dist=euclidean or --adj" in message
        arguments += ("--adjusted_acc_nn_dist=cosine", "--format=json")
        found = records(run(*arguments, base=root / "other"))
        wanted, _ = self.adjusted(load(root, "random", "other"), self.near("cosine", 2))
        np.testing.assert_allclose(values(found["random"]), wanted)

    def test_data_is_elsewhere(self, run, root, tmp_path):
        shown = run("--acc_k=2")
        moved = tmp_path / "moved"
        (root / "data").rename(moved)
        try:
            message = run("--acc_k=2")
            assert "result.npz is needed: " in message
            assert message.endswith("said with --data_root and --registry")
            where = (f"--data_root={moved}", f"--registry={moved / 'datasets.toml'}")
            assert run("--acc_k=2", *where) == shown
        finally:
            moved.rename(root / "data")


class TestSemantic:
    # dog, wolf, domestic cat, lion, car, truck
    IDS = ("n02084071", "n02114100", "n02121808", "n02129165", "n02958343", "n04490091")
    ADJUSTED = ("--show_adjusted_acc", "--adjusted_acc_semantic")
    NEAR = {  # noqa: RUF012
        2: [[1, 2], [0], [0], [], [5], [4]],
        # Cats are four edges apart; wolf and cats five, by canine and carnivore.
        4: [[1, 2], [0], [0, 3], [2], [5], [4]],
    }

    @pytest.fixture
    def synsets(self, tmp_path, wordnet_reader):
        path = tmp_path / "labels_full.txt"
        path.write_text(
            "".join(f"{name} name {i}, more\n" for i, name in enumerate(self.IDS))
        )
        return path

    @pytest.mark.slow
    @pytest.mark.parametrize("level", [2, 4])
    def test_levels(self, run, root, synsets, level):
        more = [] if level == 4 else [f"--adjusted_acc_semantic_nns_level={level}"]
        text = run(*self.ADJUSTED, f"--synsets={synsets}", *more, "--format=json")
        wanted, base = TestAccuracy().adjusted(load(root, "rho_0.5"), self.NEAR[level])
        found = records(text)
        np.testing.assert_allclose(values(found["rho_0.5"]), wanted)
        np.testing.assert_allclose([v[0] for v in values(found["Baseline"])], base)
        name = f"accuracy with semantic neighbors (level {level})"
        assert found["Baseline"]["metric"] == name

    def test_as_the_original_is_told_where(self, run, synsets, root):
        given = run(*self.ADJUSTED, f"--synsets={synsets}")
        assert given.startswith("made, with semantic neighbors (level 4):\n")
        assert run(*self.ADJUSTED, f"--imagenet_data_root={synsets.parent}") == given
        # Random neighbors are no obstacle, and the data itself is not needed.
        arguments = (*self.ADJUSTED, f"--synsets={synsets}")
        assert "random" in run(*arguments, base=root / "other")

    def test_nowhere(self, run, tmp_path):
        message = run(*self.ADJUSTED)
        assert message.startswith("dataset 'made' has no synsets_file in the registry")
        message = run(*self.ADJUSTED, f"--imagenet_data_root={tmp_path}")
        assert message.endswith(
            "labels_full.txt: cannot read: No such file or directory"
        )

    def test_no_wordnet_there(self, run, synsets):
        message = run(*self.ADJUSTED, f"--synsets={synsets}", "--wordnet=none")
        assert message.startswith("none: no WordNet database here")


class TestRows:
    def test_order_is_that_of_the_flags(self, run):
        shown = run("--rel_exp_paths", "rho_0.5", "rho_0.1/", "--noprint_csv")
        names = [cells(line)[0] for line in shown.splitlines()[5:]]
        assert names == ["Baseline", "rho_0.5", "rho_0.1"]
        assert shown == run("--rel_exp_paths=rho_0.5", "--rel_exp_paths=rho_0.1",
                            "--noprint_csv")  # fmt: skip

    def test_pattern(self, run):
        pattern = "--res_files_pattern=run_2/*.npz"
        found = records(run("--rel_exp_paths=rho_0.1", pattern, "--format=json"))
        assert (found["rho_0.1"]["files"], found["rho_0.1"]["runs"]) == (1, 1)
        assert found["rho_0.1"]["few"]["std"] is None
        message = run("--rel_exp_paths", "rho_0.1", "rho_0.5", pattern)
        assert message.startswith("no result matches 'run_2/*.npz' below")

    def test_names(self, run):
        shown = run(
            *("--exp_names", "one", "two, or 2", "--exp_prefix=<", "--exp_suffix= >"),
            "--exp_str=Run",
        )
        table, _, means = shown.partition("\n\nRun,Few")
        lines = table.splitlines()
        assert cells(lines[3])[0] == "Run"
        assert [cells(line)[0] for line in lines[5:]] == [
            *("Baseline", "<one >", "<two, or 2 >"),
        ]
        read = list(csv.reader(io.StringIO(means)))
        assert [row[0] for row in read[1:]] == ["Baseline", "<one >", "<two, or 2 >"]

    def test_no_baseline(self, run):
        found = records(run("--noshow_baselines", "--format=json"))
        assert list(found) == ["rho_0.1", "rho_0.5"]

    def test_a_table_for_each_dataset(self, tmp_path, root, run):
        arrays = load(root, "rho_0.5")
        for name, dataset in (("1", "zoo"), ("2", "made"), ("3", "zoo")):
            results_of_data.write(
                tmp_path / "both" / name / "result.npz",
                arrays,
                dataset=dataset,
                proper_name=dataset.title(),
                config=json.dumps({"place": name}),
            )
        first, second = run("--noprint_csv", base="both").split("\n\n\n")
        names = [[cells(x)[0] for x in part.split("\n")[5:] if x]
                 for part in (first, second)]  # fmt: skip
        assert first.startswith("Zoo:\n====\n\n")
        assert second.startswith("Made:\n=====\n\n")
        assert names == [["Baseline", "1", "3"], ["Baseline", "2"]]
        rows = list(csv.reader(io.StringIO(run("--format=csv", base="both"))))
        assert [row[0] for row in rows[1:]] == ["zoo"] * 3 + ["made"] * 2
        assert {len(row) for row in rows} == {14}

    def test_no_correct_sample_and_no_sample(self, tmp_path, root, run):
        arrays = load(root, "rho_0.5")
        labels = arrays["test_labels"]
        labels = np.where(np.isin(labels, made_data.SPLITS["many"]), 1, labels)
        predictions = np.where(np.isin(labels, made_data.SPLITS["few"]), 5, labels)
        results_of_data.write(
            tmp_path / "zero" / "result.npz",
            arrays,
            test_labels=labels,
            test_pred=np.stack([predictions] * 2),
            baseline_test_pred=predictions,
        )
        lines = run(base="zero").splitlines()
        few, everything = (labels % 3 == 0).mean(), 1.0
        overall = f"{100 * (everything - few):.1f}"
        assert cells(lines[5]) == ["Baseline", "0.0", "100.0", "-", overall]
        assert cells(lines[6]) == [
            *("zero", "0.0^±0.00^", "100.0^±0.00^", "-", f"{overall}^±0.00^"),
        ]
        assert lines[-1] == f"zero,0.0,100.0,,{overall}"


class TestText:
    def test_formats(self, run):
        text = run("--noprint_csv")
        assert "^±" in text
        assert run("--format=web") == run("--for_web") != text
        assert run("--format=web", "--for_web") == run("--for_web")
        assert run("--format=markdown").splitlines()[3].startswith("| Experiment |")
        assert run("--format=latex").endswith("\\end{tabular}\n")

    def test_by_default_there_is_one_table(self, root, capsys):
        assert cli.main(["m", "results", f"--base_res_dir={root / 'res'}"]) == 0
        default = capsys.readouterr().out
        assert " ± " in default
        assert "," not in default
        arguments = ["m", "results", f"--base_res_dir={root / 'res'}", "--format=plain"]
        assert cli.main(arguments) == 0
        assert capsys.readouterr().out == default

    def test_the_means_below_a_plain_table_are_there_on_request(self, run):
        plain, both = run("--format=plain"), run("--format=plain", "--print_csv")
        means = run("--format=web").partition("\n\n")[2].rstrip("\n")
        assert both == f"{plain}\n{means}\n"
        assert run("--format=plain", "--noprint_csv") == plain

    def test_as_the_original_prints(self, run):
        """A heading with several datasets only, and an empty line at the end."""
        web, pandoc = run("--format=web"), run("--format=pandoc")
        for shown in (web, pandoc):
            table, _, below = shown.partition("\n\n")
            assert table.startswith("Experiment ")
            assert below.startswith("Experiment,Few,Medium,Many,Overall\n")
            assert below.endswith("\n\n")
            assert not below.endswith("\n\n\n")
        assert pandoc.partition("\n\n")[2] == web.partition("\n\n")[2]
        assert run("--format=web", "--noprint_csv") == web.partition("\n\n")[0] + "\n"

    def test_widths(self, run):
        shown = run(
            *("--fixed_sig_width=7", "--num_col_width=20", "--name_col_width=30"),
            "--noprint_csv",
        )
        lines = shown.splitlines()
        assert lines[4] == "  ".join(["-" * 30, *["-" * 20] * 4])
        deviation = cells(lines[6])[1].partition("±")[2]
        assert len(deviation) == len("0001.23^")

    def test_no_header(self, run):
        shown = run("--noshow_hdr", "--noprint_csv").splitlines()
        assert shown == run("--noprint_csv").splitlines()[5:]
        csv_lines = run("--format=csv").splitlines()
        assert run("--format=csv", "--noshow_hdr").splitlines() == csv_lines[1:]

    @pytest.mark.parametrize("form", ["text", "latex", "csv", "json"])
    def test_out(self, run, tmp_path, form):
        printed = run(f"--format={form}")
        path = tmp_path / "deep" / "table"
        assert run(f"--format={form}", f"--out={path}") == ""
        assert path.read_text(encoding="utf-8") == printed
        assert [each.name for each in path.parent.iterdir()] == ["table"]

    def test_out_cannot_be_written(self, run, tmp_path):
        assert run(f"--out={tmp_path}") == f"--out: {tmp_path} is a directory"
        (tmp_path / "file").write_text("mine")
        message = run("--out=file/table")
        assert message == "--out: file is a file; name a file elsewhere"
        assert (tmp_path / "file").read_text() == "mine"

    def test_nothing_is_written_after_an_error(self, run, tmp_path):
        before = made_data.snapshot(tmp_path)
        run("--acc_k=100", "--out=deep/table")
        assert made_data.snapshot(tmp_path) == before

    def test_progress_is_on_standard_error(self, root, capsys):
        status = cli.main(["m", "results", f"--base_res_dir={root / 'res'}"])
        said = capsys.readouterr()
        assert status == 0
        assert said.err.splitlines() == [
            "read 1 of 2: rho_0.1, 2 files, 3 runs",
            "read 2 of 2: rho_0.5, 1 file, 2 runs",
        ]
        assert said.out.startswith("made\n====\n\nExperiment ")


class TestErrors:
    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            ("--format=html", "value should be one of <plain|pandoc|web|text|markdown"),
            (
                "--for_web --format=csv",
                "--for_web is --format=web, but --format is csv",
            ),
            ("--for_web --format=text", "--format is text"),
            (
                "--format=pandoc --num_col_width=12",
                "'$12.5^{17.68}$' has 14 characters, and its column 12; a larger",
            ),
            (
                "--for_web --name_col_width=5",
                "'Experiment' has 10 characters, and its column 5; a larger",
            ),
            (
                "--for_web --fixed_sig_width=3",
                "the deviations of column 'Few' have 5 characters, and there is room f",
            ),
            (
                "--print_csv --format=markdown",
                "--print_csv has no effect with --format=ma",
            ),
            ("--exp_str=X --format=csv", "--exp_str has no effect with --format=csv"),
            ("--num_col_width=9 --format=json", "--num_col_width has no effect with"),
            ("--name_col_width=9 --format=csv", "--name_col_width has no effect with"),
            ("--fixed_sig_width=5 --format=csv", "--fixed_sig_width has no effect wit"),
            ("--noshow_hdr --format=json", "--show_hdr has no effect with --format=js"),
            ("--fixed_sig_width=0", "--fixed_sig_width=0"),
            ("--acc_k=0", "--acc_k=0"),
            ("--acc_k=7", "from 1 to the number of classes, 6, got 7"),
            ("--acc_k=2 --show_adjusted_acc", "--acc_k=2 and --show_adjusted_acc do n"),
            ("--adjusted_acc_semantic", "has no effect without --show_adjusted_acc"),
            ("--adjusted_acc_nn_dist=cosine", "has no effect without --show_adjusted_"),
            ("--show_adjusted_acc --adjusted_acc_nn_dist=random", "<euclidean|cosine>"),
            (
                "--show_adjusted_acc --adjusted_acc_semantic "
                "--adjusted_acc_nn_dist=cosine",
                "--adjusted_acc_nn_dist has no effect with --adjusted_acc_semantic",
            ),
            ("--show_adjusted_acc --synsets=x", "--synsets has no effect without --ad"),
            ("--wordnet=x", "--wordnet has no effect without --adjusted_acc_semantic"),
            ("--imagenet_data_root=x", "--imagenet_data_root has no effect without"),
            (
                "--adjusted_acc_semantic_nns_level=2",
                "has no effect without --adjusted_",
            ),
            (
                "--show_adjusted_acc --adjusted_acc_semantic --synsets=x "
                "--imagenet_data_root=y",
                "--imagenet_data_root names a file of synsets, and so does --synsets; "
                "give one of them",
            ),
            (
                "--show_adjusted_acc --adjusted_acc_semantic --synsets=x --data_root=y",
                "--data_root has no effect with --synsets",
            ),
            ("--data_root=x", "--data_root has no effect here"),
            ("--registry=x", "--registry has no effect here"),
            ("--eval_batch_size=5", "--eval_batch_size has no effect with --acc_k=1"),
            ("--rel_exp_paths nowhere", "no such directory: "),
            (
                "--rel_exp_paths rho_0.1 rho_0.1",
                "--rel_exp_paths has a directory twice",
            ),
            ("--rel_exp_paths rho_0.1/ rho_0.1", "has a directory twice"),
            (
                "--exp_names a",
                "--exp_names has 1 name for 2 experiments: rho_0.1 rho_",
            ),
            ("--exp_names a b c", "--exp_names has 3 names for 2 experiments"),
            ("--exp_names a a", "--exp_names has a name twice: a, a"),
            ("--exp_names", "--exp_names needs a value after it"),
            ("--exp_names --acc_k=1", "--exp_names needs a value after it"),
            ("stray", "unexpected argument 'stray'"),
            ("--exp_name=x", "unknown flag --exp_name; did you mean 'exp_names'"),
        ],
    )
    def test_one_clear_line(self, run, arguments, message):
        found = run(*arguments.split())
        assert message in found
        assert "\n" not in found

    def test_no_directory(self, run, capsys):
        assert run(base="nowhere") == "no such directory: nowhere"
        assert cli.main(["main.py", "results"]) == 1
        assert "--base_res_dir is missing, for example" in capsys.readouterr().err

    def test_no_results(self, run, tmp_path):
        assert run(base=tmp_path).startswith("no result matches '**/result.npz' below")

    def test_no_result_file(self, run, tmp_path):
        (tmp_path / "result.npz").write_text("nonsense")
        assert "result.npz: not a readable .npz file" in run(base=tmp_path)

    def test_baseline_is_missing(self, run, root, tmp_path):
        arrays = load(root, "rho_0.5")
        results_of_data.write(
            tmp_path / "x" / "result.npz", arrays, baseline_test_pred=None
        )
        assert "not a result: ['baseline_test_pred'] missing" in run(base="x")


class TestHelp:
    def test_names_every_flag(self, capsys):
        assert cli.main(["main.py", "results", "--help"]) == 0
        text = capsys.readouterr().out
        wanted = "base_res_dir rel_exp_paths exp_names res_files_pattern exp_prefix "
        wanted += "exp_suffix acc_k show_adjusted_acc adjusted_acc_semantic "
        wanted += "adjusted_acc_semantic_nns_level imagenet_data_root eval_batch_size "
        wanted += "print_csv show_baselines fixed_sig_width num_col_width "
        wanted += "name_col_width show_hdr exp_str for_web format out synsets wordnet"
        for name in wanted.split():
            assert f"  --{name}\n" in text
        assert "python main.py results --base_res_dir=" in text
        assert "repeat this option" not in text


class TestJoinWords:
    NAMES = ("names", "paths")

    @pytest.mark.parametrize(
        ("given", "joined"),
        [
            ("", ""),
            ("--names a b", "--names=a --names=b"),
            ("-names a --k=1 c", "--names=a --k=1 c"),
            ("--names=a b", "--names=a b"),
            (
                "--names a --paths x - --flag v",
                "--names=a --paths=x --paths=- --flag v",
            ),
            ("--names a=b --names c", "--names=a=b --names=c"),
        ],
    )
    def test_worked(self, given, joined):
        assert reading.join_words(given.split(), self.NAMES) == joined.split()

    @pytest.mark.parametrize("given", ["--names", "--names --paths x", "a --paths --k"])
    def test_no_words(self, given):
        with pytest.raises(
            UserError, match=r"^--(names|paths) needs a value after it$"
        ):
            reading.join_words(given.split(), self.NAMES)


def test_directories_that_cannot_be_read_are_named(root, tmp_path, capsys, monkeypatch):
    """Results in them are not there, as far as anybody can see."""
    for name in ("open", "closed/run"):
        (tmp_path / name).mkdir(parents=True)
        source = root / "res" / "rho_0.5" / "result.npz"
        (tmp_path / name / "result.npz").write_bytes(source.read_bytes())
    listed = os.scandir

    def scandir(path):
        if str(path).rstrip("/").endswith("closed"):
            raise PermissionError(13, "Permission denied", str(path))
        return listed(path)

    monkeypatch.setattr(os, "scandir", scandir)
    command = ["main.py", "results", f"--base_res_dir={tmp_path}"]
    assert cli.main(command) == 0
    shown = capsys.readouterr()
    said = f"{tmp_path / 'closed'} cannot be read: results in there are not taken"
    assert f"note: {said}" in shown.err.splitlines()
    assert "\nopen " in shown.out
    (tmp_path / "open" / "result.npz").unlink()
    assert cli.main(command) == 1
    said = f"below {tmp_path}; {tmp_path / 'closed'} cannot be read"
    assert capsys.readouterr().err.splitlines()[-1].endswith(said)
