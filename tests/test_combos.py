"""Learned combinations: the report of single classes, by the real command."""

import json
import pathlib
import statistics

import made_data
import numpy as np
import pytest
import results_of_data

from alphanet_jax import results
from alphanet_jax.commands import cli
from alphanet_jax.results import combos

# The sample of the original's README.
NAMES = [
    "Norwegian elkhound",
    "collie",
    "Eskimo dog",
    "malamute",
    "Siberian husky",
    "Cardigan",
    "timber wolf",
    "white wolf",
]
ELKHOUND, COLLIE, ESKIMO, MALAMUTE, HUSKY, CARDIGAN, TIMBER, WHITE = range(8)
SAMPLE = """\
********************************************
[Eskimo dog] = [Eskimo dog]
               + (-0.18)[Siberian husky]
               + (-0.066)[malamute]
               + (0.22)[Norwegian elkhound]
               + (0.26)[timber wolf]
               + (0.27)[Cardigan]

Training samples: 17
Baseline accuracy: 0.20
Mean AlphaNet accuracy: 0.76

Top baseline misclassifications (total 40 mistakes / 50 predictions),
and corresponding mean AlphaNet misclassifications
(total 12 mistakes / 50 predictions, across 1 repetition(s)):
        malamute ('medium' split): 16 -> 2.00 (2/1)
                |-> as 'Eskimo dog': 3 -> 34.00 (34/1)
        Siberian husky ('many' split): 10 -> 1.00 (1/1)
                |-> as 'Eskimo dog': 5 -> 41.00 (41/1)
        white wolf ('many' split): 4 -> 3.00 (3/1)
                |-> as 'Eskimo dog': 0 -> 3.00 (3/1)

Top AlphaNet misclassifications:
        white wolf ('many' split): 4 -> 3.00 (3/1)
                |-> as 'Eskimo dog': 0 -> 3.00 (3/1)
        collie ('few' split): 1 -> 2.00 (2/1)
                |-> as 'Eskimo dog': 0 -> 1.00 (1/1)
        malamute ('medium' split): 16 -> 2.00 (2/1)
                |-> as 'Eskimo dog': 3 -> 34.00 (34/1)
********************************************
"""


@pytest.fixture(autouse=True)
def _own_directory(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def main(*arguments):
    return cli.main(["main.py", "combos", *map(str, arguments)])


def write(path, **arrays):
    """Writes a result that holds what is needed here."""
    arrays.setdefault("seeds", np.arange(len(arrays["test_pred"])))
    arrays.setdefault("dataset", "toy")
    arrays.setdefault("label_names", np.zeros(0, np.str_))
    arrays = {
        "proper_name": "Toy | cRT",
        "config": '{"rho": 0.5, "seed": 0}',
        "test_acc_per_split": np.zeros((len(arrays["seeds"]), 3)),
        **arrays,
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    results.save_result(path, {k: np.asarray(v) for k, v in arrays.items()})
    return arrays


def sample_predictions(eskimo, as_eskimo):
    """Predictions of 50 samples of each of 8 classes.

    Args:
      eskimo: How many samples of the Eskimo dog are taken for each other class.
      as_eskimo: How many of each other class are taken for it.
    """
    predictions = np.repeat(np.arange(8), 50).reshape(8, 50)
    mistakes = np.repeat(list(eskimo), list(eskimo.values()))
    predictions[ESKIMO, : len(mistakes)] = mistakes
    for label, count in as_eskimo.items():
        predictions[label, :count] = ESKIMO
    return predictions.ravel()


def sample_arrays():
    # The lines of the sample fix all but 9 baseline mistakes and 4 new ones.
    baseline = {MALAMUTE: 16, HUSKY: 10, WHITE: 4, COLLIE: 1}
    baseline |= {ELKHOUND: 3, CARDIGAN: 3, TIMBER: 3}
    learned = {WHITE: 3, MALAMUTE: 2, COLLIE: 2, HUSKY: 1}
    learned |= {ELKHOUND: 1, CARDIGAN: 1, TIMBER: 2}
    return {
        "few_classes": [COLLIE, ESKIMO],
        "medium_classes": [MALAMUTE, CARDIGAN],
        "many_classes": [ELKHOUND, HUSKY, TIMBER, WHITE],
        "class_counts": [300, 9, 17, 60, 200, 50, 150, 120],
        "label_names": NAMES,
        "test_labels": np.repeat(np.arange(8), 50),
        "baseline_test_pred": sample_predictions(baseline, {MALAMUTE: 3, HUSKY: 5}),
        "test_pred": sample_predictions(
            learned, {MALAMUTE: 34, HUSKY: 41, WHITE: 3, COLLIE: 1}
        )[None],
        "neighbors": [
            [CARDIGAN, HUSKY, WHITE, TIMBER, ELKHOUND],
            [HUSKY, MALAMUTE, ELKHOUND, TIMBER, CARDIGAN],
        ],
        "alphas": np.float32(
            [[[1, 0.2, 0.2, 0.2, 0.2, 0.2], [1, -0.18, -0.066, 0.224, 0.26, 0.27]]]
        ),
    }


def random_arrays(seed=0, *, num_runs=3, num_classes=9, samples=80):
    """Random predictions, often right; classes 3 to 5 are 'few'."""
    rng = np.random.default_rng(seed)
    # Class 4, a 'few' one, is never tested.
    labels = rng.choice([c for c in range(num_classes) if c != 4], samples)

    def predictions(*shape):
        others = rng.integers(num_classes, size=(*shape, samples))
        return np.where(rng.random((*shape, samples)) < 0.4, labels, others)

    return {
        "few_classes": [3, 4, 5],
        "medium_classes": [0, 2],
        "many_classes": [1, 6, 7, 8],
        "class_counts": np.arange(10, 10 + num_classes),
        "test_labels": labels,
        "baseline_test_pred": predictions(),
        "test_pred": predictions(num_runs),
        "neighbors": [[0, 1], [6, 2], [7, 0]],
        "alphas": rng.standard_normal((num_runs, 3, 3)).astype(np.float32),
    }


def load(directory):
    paths = results.find_results(pathlib.Path(directory))
    (runs,) = results.load_sets({"toy": paths})
    return runs


def report(capsys, *flags):
    """Runs the command with JSON; gives its classes."""
    assert main(*flags, "--format=json") == 0
    return json.loads(capsys.readouterr().out)["classes"]


class TestSample:
    def test_the_originals_sample(self, capsys):
        write(pathlib.Path("res/rho_0.1/run_1/result.npz"), **sample_arrays())
        flags = ["--base_res_dir=res/rho_0.1", "--select_n=1", "--mistake_n=3"]
        assert main(*flags, "--res_files_pattern", "run_1/result.npz") == 0
        said = capsys.readouterr()
        assert said.out == SAMPLE
        assert said.err == "read 1 of 1: rho_0.1, 1 file, 1 run\n"

    def test_everything_by_default(self, capsys):
        write(pathlib.Path("res/result.npz"), **sample_arrays())
        assert main("--base_res_dir=res") == 0
        lines = capsys.readouterr().out.splitlines()
        # Two 'few' classes, the one that gained most first: +0.56, then -0.02.
        rules = [n for n, line in enumerate(lines) if line == "*" * 44]
        assert len(rules) == 3
        assert rules[0] == 0
        assert rules[-1] == len(lines) - 1
        assert [lines[n + 1] for n in rules[:-1]] == [
            "[Eskimo dog] = [Eskimo dog]",
            "[collie] = [collie]",
        ]
        # All 7 others are confused with it before and after: two lines each, twice.
        block = lines[: rules[1]]
        assert sum("|-> as 'Eskimo dog'" in line for line in block) == 14
        # Of equals, the smaller number: elkhound, Cardigan, timber wolf at 3.
        start = block.index(
            "(total 12 mistakes / 50 predictions, across 1 repetition(s)):"
        )
        assert [
            line.split(" (")[0].strip() for line in block[start + 1 : start + 15 : 2]
        ] == [
            "malamute",
            "Siberian husky",
            "white wolf",
            "Norwegian elkhound",
            "Cardigan",
            "timber wolf",
            "collie",
        ]
        # The collie was always recognized before.
        start = lines.index(
            "Top baseline misclassifications (total 0 mistakes / 50 predictions),"
        )
        assert lines[start + 3 :] == [
            "        none",
            "",
            "Top AlphaNet misclassifications:",
            "        Eskimo dog ('few' split): 0 -> 1.00 (1/1)",
            "                |-> as 'collie': 1 -> 2.00 (2/1)",
            "*" * 44,
        ]
        assert max(map(len, lines)) <= 88

    def test_no_list_of_mistakes(self, capsys):
        write(pathlib.Path("res/result.npz"), **sample_arrays())
        assert main("--base_res_dir=res", "--classes=collie", "--mistake_n=0") == 0
        lines = capsys.readouterr().out.splitlines()
        start = "(total 1 mistakes / 50 predictions, across 1 repetition(s)):"
        assert lines[lines.index(start) :] == [
            start,
            "        none",  # the baseline made no mistakes
            "",
            "Top AlphaNet misclassifications:",
            "*" * 44,
        ]

    def test_several_runs(self, capsys):
        arrays = sample_arrays()
        arrays["alphas"] = np.repeat(arrays["alphas"], 3, axis=0)
        arrays["alphas"][:, 1, 1] = [0.25, 0.5, 0.75]
        arrays["alphas"][:, 1, 2] = [-0.0625, 0.0625, 0.0]
        arrays["alphas"][:, 1, 4] = -0.0
        arrays["test_pred"] = np.stack(
            [
                arrays["test_pred"][0],
                arrays["baseline_test_pred"],
                arrays["test_labels"],
            ]
        )
        write(pathlib.Path("res/result.npz"), **arrays)
        assert main("--base_res_dir=res", "--select_n=1", "--mistake_n=1") == 0
        lines = capsys.readouterr().out.splitlines()
        # Standard deviations with ddof 1: 0.25, 0.0625, 0.
        assert lines[2:6] == [
            "               + (0.50±0.25)[Siberian husky]",
            "               + (0.0±0.062)[malamute]",
            "               + (0.22±0.0)[Norwegian elkhound]",
            "               + (0.0±0.0)[timber wolf]",
        ]
        assert "Mean AlphaNet accuracy: 0.65" in lines  # (0.76 + 0.2 + 1) / 3
        assert "(total 52 mistakes / 150 predictions, across 3 repetition(s)):" in lines
        assert "        malamute ('medium' split): 16 -> 6.00 (18/3)" in lines
        assert "                |-> as 'Eskimo dog': 3 -> 12.33 (37/3)" in lines


class TestAgainstSlowCounts:
    """Random predictions in two files, counted sample by sample."""

    @pytest.fixture
    def files(self):
        one, two = random_arrays(1), random_arrays(2, num_runs=2)
        for name in ("test_labels", "baseline_test_pred"):
            two[name] = one[name]
        write(pathlib.Path("res/a/result.npz"), **one)
        write(pathlib.Path("res/b/result.npz"), **two, seeds=[7, 8])
        return one, two

    @staticmethod
    def count(labels, predictions, true, predicted):
        return sum(
            int(a == true and b == predicted)
            for a, b in zip(labels.tolist(), predictions.tolist(), strict=True)
        )

    @pytest.mark.parametrize("label", [3, 5])
    def test_counts_and_coefficients(self, files, capsys, label):
        one, two = files
        labels, base = one["test_labels"], one["baseline_test_pred"]
        rows = [*one["test_pred"], *two["test_pred"]]
        assert len(rows) == 5
        assert main("--base_res_dir=res", f"--classes={label}", "--format=json") == 0
        content = json.loads(capsys.readouterr().out)
        assert content["runs"] == [
            {"file": f"res/{name}/result.npz", "seed": seed}
            for name, seed in [("a", 0), ("a", 1), ("a", 2), ("b", 7), ("b", 8)]
        ]
        (shown,) = content["classes"]
        assert (shown["class"], shown["name"]) == (label, f"class {label}")

        n = labels.tolist().count(label)
        assert n > 3
        right = sum(self.count(labels, row, label, label) for row in rows)
        assert shown["test_samples"] == n
        assert shown["training_samples"] == 10 + label
        assert shown["baseline_accuracy"] == self.count(labels, base, label, label) / n
        assert shown["mean_accuracy"] == pytest.approx(right / (5 * n), rel=1e-12)
        assert shown["total_mistakes"] == 5 * n - right

        split = {0: "medium", 2: "medium", 3: "few", 4: "few", 5: "few"}
        wanted = {}
        for other in set(range(9)) - {label}:
            total = sum(self.count(labels, row, label, other) for row in rows)
            back = sum(self.count(labels, row, other, label) for row in rows)
            wanted[other] = {
                "class": other,
                "name": f"class {other}",
                "split": split.get(other, "many"),
                "baseline": self.count(labels, base, label, other),
                "total": total,
                "mean": total / 5,
                "reverse": {
                    "baseline": self.count(labels, base, other, label),
                    "total": back,
                    "mean": back / 5,
                },
            }
        for key, which in (("baseline", "baseline"), ("total", "alphanet")):
            order = sorted(wanted, key=lambda c: (-wanted[c][key], c))
            assert shown[f"top_{which}_misclassifications"] == [
                wanted[other] for other in order if wanted[other][key]
            ]

        row = label - 3
        assert [each["class"] for each in shown["neighbors"]] == one["neighbors"][row]
        for place, each in enumerate(shown["neighbors"], 1):
            numbers = [float(a[row][place]) for a in (*one["alphas"], *two["alphas"])]
            assert each["alphas"] == numbers
            assert each["mean"] == pytest.approx(statistics.mean(numbers), rel=1e-12)
            assert each["std"] == pytest.approx(statistics.stdev(numbers), rel=1e-12)
            assert each["split"] == split.get(each["class"], "many")

    @pytest.mark.parametrize("by", ["acc", "acc_delta"])
    @pytest.mark.parametrize("largest", [True, False])
    def test_selection(self, files, capsys, by, largest):
        one, two = files
        labels, base = one["test_labels"], one["baseline_test_pred"]
        value = {}
        for label in (3, 5):  # 4 has no samples
            own = [i for i, true in enumerate(labels) if true == label]
            rows = [*one["test_pred"], *two["test_pred"]]
            value[label] = np.mean([[r[i] == label for i in own] for r in rows])
            if by == "acc_delta":
                value[label] -= np.mean([base[i] == label for i in own])
        assert value[3] != value[5]
        order = sorted(value, key=value.get, reverse=largest)
        flag = "--select_max" if largest else "--noselect_max"
        shown = report(capsys, "--base_res_dir=res", f"--select_by={by}", flag)
        assert [each["class"] for each in shown] == order
        shown = report(
            capsys, "--base_res_dir=res", f"--select_by={by}", flag, "--select_n=1"
        )
        assert [each["class"] for each in shown] == order[:1]

    def test_text_has_the_same_numbers(self, files, capsys):
        (shown,) = report(capsys, "--base_res_dir=res", "--classes", "class 5")
        assert main("--base_res_dir=res", "--classes", "class 5") == 0
        lines = capsys.readouterr().out.splitlines()
        assert lines[1] == "[class 5] = [class 5]"
        worst = shown["top_alphanet_misclassifications"][0]
        place = lines.index("Top AlphaNet misclassifications:")
        assert lines[place + 1].strip() == (
            f"{worst['name']} ({worst['split']!r} split): {worst['baseline']} -> "
            f"{worst['mean']:.2f} ({worst['total']}/5)"
        )


class TestSelection:
    def test_equal_classes_come_by_number(self, capsys):
        arrays = random_arrays()
        # The run gets a third more of each right than the baseline: 2/3 - 1/3, 1 - 2/3
        # and 1/3, which are not the same floats. 'few' classes are out of order.
        arrays |= {
            "few_classes": [5, 3, 4],
            "test_labels": np.asarray([3] * 3 + [4] * 6 + [5] * 3),
            "baseline_test_pred": np.asarray([3, 0, 0] + [4] * 4 + [0] * 2 + [0] * 3),
            "test_pred": np.asarray([[3, 3, 0] + [4] * 6 + [5, 0, 0]]),
            "alphas": arrays["alphas"][:1],
        }
        write(pathlib.Path("res/result.npz"), **arrays)
        for flag in ("--select_max", "--noselect_max"):
            shown = report(capsys, "--base_res_dir=res", flag)
            assert [each["class"] for each in shown] == [3, 4, 5]
            # Rows of `neighbors` and `alphas` follow `few_classes`, not numbers.
            assert [each["neighbors"][0]["class"] for each in shown] == [6, 7, 0]
            assert shown[0]["neighbors"][0]["alphas"] == [
                float(arrays["alphas"][0, 1, 1])
            ]
            assert shown[0]["neighbors"][0]["std"] is None
        by_accuracy = report(capsys, "--base_res_dir=res", "--select_by=acc")
        assert [each["class"] for each in by_accuracy] == [4, 3, 5]

    def test_many_equal_classes(self):
        # So many that a sort which is not stable would mix them up.
        few = np.random.default_rng(0).permutation(np.arange(1, 90))
        labels = np.repeat(np.arange(90), 2)
        arrays = random_arrays() | {
            "few_classes": few,
            "medium_classes": [],
            "many_classes": [0],
            "class_counts": np.ones(90, int),
            "test_labels": labels,
            "baseline_test_pred": np.zeros_like(labels),
            # A run for each of them, which takes class 1 for it.
            "test_pred": np.stack([np.where(labels == 1, c, labels) for c in few]),
            "neighbors": np.zeros((89, 1), int),
            "alphas": np.ones((89, 89, 2)),
        }
        write(pathlib.Path("res/result.npz"), **arrays)
        runs = load("res")
        for largest in (True, False):
            order = combos.select_classes(runs, largest=largest, count=100)
            rest = list(range(2, 90))
            assert order == ([*rest, 1] if largest else [1, *rest])
        found = combos.combination(runs, 1, combos.common_neighbors(runs))
        assert [each.label for each in found.confusions] == list(range(2, 90))

    def test_nothing_is_tested(self, capsys):
        arrays = random_arrays()
        few = np.isin(arrays["test_labels"], arrays["few_classes"])
        arrays["test_labels"][few] = 0
        write(pathlib.Path("res/result.npz"), **arrays)
        assert main("--base_res_dir=res") == 1
        assert "no 'few' class of 'toy' has test samples" in capsys.readouterr().err

    def test_classes_in_their_order_by_names_and_numbers(self, capsys):
        write(pathlib.Path("res/result.npz"), **sample_arrays())
        for words in (["Eskimo dog", "1"], ["--classes=2", "--classes=collie"]):
            flags = words if words[0].startswith("-") else ["--classes", *words]
            shown = report(capsys, "--base_res_dir=res", *flags)
            assert [each["name"] for each in shown] == ["Eskimo dog", "collie"]

    def test_names_go_before_numbers(self, capsys):
        arrays = sample_arrays()
        arrays["label_names"] = [*NAMES[:1], "2", "7", *NAMES[3:]]
        write(pathlib.Path("res/result.npz"), **arrays)
        shown = report(capsys, "--base_res_dir=res", "--classes", "2")
        assert [each["class"] for each in shown] == [1]

    def test_pure_functions_check_their_arguments(self):
        write(pathlib.Path("res/result.npz"), **random_arrays())
        runs = load("res")
        with pytest.raises(ValueError, match="by must be one of"):
            combos.select_classes(runs, by="accuracy")
        neighbors = combos.common_neighbors(runs)
        for label in (0, 4):  # not a 'few' class; without test samples
            with pytest.raises(ValueError, match=f"test samples, got {label}"):
                combos.combination(runs, label, neighbors)


class TestOutput:
    def test_file_instead_of_standard_output(self, capsys):
        write(pathlib.Path("res/result.npz"), **sample_arrays())
        flags = ["--base_res_dir=res", "--select_n=1", "--mistake_n=3"]
        assert main(*flags, "--out=deep/report.txt") == 0
        said = capsys.readouterr()
        assert said.out == ""
        assert said.err.splitlines()[-1] == "saved deep/report.txt"
        assert pathlib.Path("deep/report.txt").read_bytes().decode() == SAMPLE
        assert [p.name for p in pathlib.Path("deep").iterdir()] == ["report.txt"]
        assert main(*flags, "--format=json", "--out=deep/report.json") == 0
        capsys.readouterr()
        assert main(*flags, "--format=json") == 0
        assert pathlib.Path("deep/report.json").read_text() == capsys.readouterr().out

    def test_json_lists_as_many_mistakes_as_the_text(self, capsys):
        write(pathlib.Path("res/result.npz"), **sample_arrays())
        (shown,) = report(capsys, "--base_res_dir=res", "--select_n=1", "--mistake_n=2")
        for which, names in (
            ("baseline", ["malamute", "Siberian husky"]),
            ("alphanet", ["white wolf", "collie"]),
        ):
            listed = shown[f"top_{which}_misclassifications"]
            assert [each["name"] for each in listed] == names

    def test_coefficients_that_are_not_finite(self, capsys):
        arrays = sample_arrays()
        arrays["alphas"][0, 1, 1] = np.nan
        write(pathlib.Path("res/result.npz"), **arrays)
        assert main("--base_res_dir=res", "--select_n=1", "--format=json") == 1
        line = "error: res/result.npz: alphas must hold finite numbers\n"
        assert capsys.readouterr().err == line

    def test_what_cannot_be_written(self, capsys):
        write(pathlib.Path("res/result.npz"), **sample_arrays())
        pathlib.Path("file").write_text("precious")
        for out, message in (
            ("res", "--out: res is a directory"),
            ("file/x", "--out: file is a file; name a file elsewhere"),
        ):
            assert main("--base_res_dir=res", f"--out={out}") == 1
            said = capsys.readouterr()
            assert said.out == ""
            assert message in said.err.splitlines()[-1]
        assert pathlib.Path("file").read_text() == "precious"
        assert sorted(p.name for p in pathlib.Path().iterdir()) == ["file", "res"]

    def test_several_settings_are_told(self, capsys):
        for name, rho in (("a", 0.1), ("b", 0.2)):
            config = json.dumps({"rho": rho, "seed": 0})
            path = pathlib.Path(f"res/{name}/result.npz")
            write(path, **sample_arrays(), config=config)
        assert main("--base_res_dir=res", "--select_n=1") == 0
        said = capsys.readouterr()
        assert "across 2 repetition(s)" in said.out
        assert said.err.splitlines() == [
            "read 1 of 1: res, 2 files, 2 runs",
            "note: results of 2 settings are taken together: a, b",
        ]


class TestErrors:
    """One line on standard error, status 1, and nothing written."""

    @pytest.fixture
    def refused(self, capsys):
        def run(*flags):
            before = made_data.snapshot(".")
            assert main(*flags) == 1
            said = capsys.readouterr()
            assert said.out == ""
            assert said.err.count("error: ") == 1
            assert made_data.snapshot(".") == before
            return said.err.splitlines()[-1]

        return run

    @pytest.mark.parametrize(
        ("flags", "message"),
        [
            (["--select_n=0"], "--select_n=0"),
            (["--select_n=-1"], "--select_n=-1"),
            (["--select_n=x"], "--select_n=x"),
            (["--mistake_n=-1"], "--mistake_n=-1"),
            (["--select_by=accuracy"], "<acc|acc_delta>"),
            (["--format=yaml"], "<text|json>"),
            (["--eval_batch_size=10"], "unknown flag --eval_batch_size"),
            (["--res_files_pattern=*.pth"], "no result matches '*.pth' below res"),
            (["--classes", "colie"], "in 'toy'; did you mean 'collie'?"),
            (["--classes", "8"], "no class '8' in 'toy'; name or number a 'few' class"),
            (["--classes", "x y"], "'few' class, such as 'collie' or 1"),
            (["--classes="], "no class ''"),
            (
                ["--classes", "malamute"],
                "'malamute' is of split 'medium'; combinations",
            ),
            (["--classes", "7"], "'7' is of split 'many'"),
            (["--classes", "1", "collie"], "--classes has class 1 twice: 'collie'"),
            (["--classes=1", "--select_n=5"], "--select_n cannot be given"),
            (["--classes=1", "--noselect_max"], "--select_max cannot be given"),
            (["--classes=1", "--select_by=acc"], "--select_by cannot be given"),
        ],
    )
    def test_flags(self, refused, flags, message):
        write(pathlib.Path("res/result.npz"), **sample_arrays())
        line = refused("--base_res_dir=res", *flags)
        assert line.startswith("error: ")
        assert message in line

    def test_no_directory(self, refused):
        assert "--base_res_dir is missing" in refused()
        assert "no such directory: no" in refused("--base_res_dir=no")

    def test_class_without_test_samples(self, refused):
        write(pathlib.Path("res/result.npz"), **random_arrays())
        line = refused("--base_res_dir=res", "--classes=4")
        assert line == "error: --classes: '4' has no test samples"

    def test_one_name_of_two_classes(self, refused, capsys):
        arrays = sample_arrays()
        arrays["label_names"] = [*NAMES[:1], "crane", "crane", *NAMES[3:]]
        write(pathlib.Path("res/result.npz"), **arrays)
        line = refused("--base_res_dir=res", "--classes=crane")
        assert "'crane' is the name of classes 1, 2; give its number" in line
        # Where only one of them is a 'few' class, that one is meant.
        arrays["label_names"] = ["crane", "crane", *NAMES[2:]]
        write(pathlib.Path("res/result.npz"), **arrays)
        shown = report(capsys, "--base_res_dir=res", "--classes=crane")
        assert [each["class"] for each in shown] == [1]

    def test_neighbors_of_each_seed(self, refused, capsys):
        arrays = random_arrays()
        arrays["neighbors"] = np.stack([arrays["neighbors"]] * 3)
        write(pathlib.Path("res/result.npz"), **arrays)
        assert main("--base_res_dir=res") == 0  # they are the same ones
        capsys.readouterr()
        arrays["neighbors"][2, 1, 0] = 8
        write(pathlib.Path("res/result.npz"), **arrays)
        line = refused("--base_res_dir=res")
        assert line.startswith("error: res/result.npz: every seed has neighbors of its")
        assert "training.nn_per_seed" in line

    @pytest.mark.parametrize("more", [False, True])
    def test_neighbors_of_each_file(self, refused, capsys, more):
        """Others, or more of them."""
        arrays = random_arrays()
        write(pathlib.Path("res/a/result.npz"), **arrays)
        arrays["neighbors"] = [[0, 1], [6, 2], [8, 0]]
        if more:
            arrays["neighbors"] = [[0, 1, 2], [6, 2, 7], [7, 0, 1]]
            arrays["alphas"] = np.ones((3, 3, 4), np.float32)
        write(pathlib.Path("res/b/result.npz"), **arrays)
        line = refused("--base_res_dir=res")
        assert line == (
            "error: res/a/result.npz and res/b/result.npz have different neighbors, so "
            "there are no common combinations to show; choose one with "
            "--res_files_pattern"
        )
        assert main("--base_res_dir=res", "--res_files_pattern=b/*.npz") == 0
        assert "across 3 repetition(s)" in capsys.readouterr().out

    def test_two_datasets(self, refused):
        write(pathlib.Path("res/a/result.npz"), **random_arrays())
        write(pathlib.Path("res/b/result.npz"), **sample_arrays(), dataset="dogs")
        line = refused("--base_res_dir=res")
        assert "results of several datasets below res: toy, dogs; choose" in line
        assert line.endswith("with --res_files_pattern")


class TestRealResult:
    @pytest.mark.slow
    def test_what_was_trained_is_shown(self, tmp_path, monkeypatch, capsys):
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
        made = made_data.make(tmp_path / "data")
        results_of_data.train(made, tmp_path / "w")
        capsys.readouterr()
        assert main("--base_res_dir=w", "--classes", "name 3") == 0
        lines = capsys.readouterr().out.splitlines()
        with np.load("w/result.npz") as result:
            alphas = result["alphas"][:, 1].tolist()  # 'few' classes are 0 and 3
            neighbors = result["neighbors"][1].tolist()
            accuracies = result["test_acc_per_class"][:, 3].tolist()
            before = float(result["baseline_test_acc_per_class"][3])
        assert lines[1] == "[name 3] = [name 3]"
        for place, (line, neighbor) in enumerate(
            zip(lines[2:4], neighbors, strict=True), 1
        ):
            pair = [run[place] for run in alphas]
            mean, std = statistics.mean(pair), statistics.stdev(pair)
            assert line == f"           + ({mean:#.2g}±{std:#.2g})[name {neighbor}]"
        assert lines[5:8] == [
            f"Training samples: {23 // 6 + (3 - 1 < 23 % 6)}",
            f"Baseline accuracy: {before:.2f}",
            f"Mean AlphaNet accuracy: {statistics.mean(accuracies):.2f}",
        ]


class TestHelp:
    def test_says_which_default_was_chosen(self, capsys):
        assert main("--help") == 0
        shown = capsys.readouterr().out
        assert "the default is that of the original's code" in " ".join(shown.split())
        for flag in (
            *("base_res_dir", "res_files_pattern", "select_by", "select_max"),
            *("select_n", "classes", "mistake_n", "format", "out"),
        ):
            assert f"--{flag}\n" in shown
        assert max(map(len, shown.splitlines())) <= 92
