"""Results of the original program as input, and turned into ours."""

import copy
import json
from pathlib import Path

import made_data
import made_originals
import made_results
import numpy as np
import pytest
import results_of_data
import tools
from made_originals import changed, without

from alphanet_jax import results
from alphanet_jax.commands import cli
from alphanet_jax.errors import UserError
from alphanet_jax.results import pytorch, schema
from alphanet_jax.results.datasets import DataFinder
from alphanet_jax.results.recomputed import Recomputation


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return made_data.make(tmp_path_factory.mktemp("made"))


@pytest.fixture(scope="module")
def content(made):
    return made_originals.result_of(made)


def places(made):
    return [f"--registry={made.registry}", f"--data_root={made.root}"]


def run(capsys, command, *flags, fails=False):
    status = cli.main(["main.py", command, *map(str, flags)])
    out, err = capsys.readouterr()
    assert status == int(fails), err
    assert "Traceback" not in err
    return err.strip().splitlines()[-1] if fails else out


def load(made, path, **options):
    finder = DataFinder(made.registry, made.root)
    return results.load_file(path, recompute=Recomputation(finder, **options))


FORMS = [("zip", 2), ("zip", 4), ("legacy", 2), ("zip", 5)]


class TestReading:
    @pytest.mark.parametrize(("form", "protocol"), FORMS)
    def test_forms(self, made, content, tmp_path, form, protocol):
        path = tmp_path / "result.pth"
        made_originals.save(path, content[0], form=form, protocol=protocol)
        record = pytorch.load_record(path)
        np.testing.assert_array_equal(record.weight, made.weight)
        np.testing.assert_array_equal(record.bias, made.bias)
        assert record.splits["few"].tolist() == [0, 3]
        assert record.settings.optim_cls == "AdamW"
        assert record.settings.sampler_args[1] == {"r": 0.5}

    @pytest.mark.parametrize("hdims", [(3,), (5, 3), (4, 3, 2, 6)])
    def test_coefficients_and_predictions(self, made, tmp_path, hdims):
        """In the order of classes, which is not that of the file."""
        value, predicted, alphas = made_originals.result_of(made, hdims=hdims)
        file = load(made, made_originals.save(tmp_path / "r.pth", value))
        np.testing.assert_allclose(file.array("alphas")[0], alphas, atol=2e-5)
        np.testing.assert_array_equal(file.array("test_pred")[0], predicted)
        labels = made.groups["test"]["labels"]
        np.testing.assert_array_equal(file.array("test_labels"), labels)
        assert file.array("label_names")[4] == "name 4"

    def test_what_is_recorded(self, made, content, tmp_path):
        arrays = pytorch.recorded_arrays(
            load(made, made_originals.save(tmp_path / "r.pth", content[0])).arrays
        )
        assert schema.find_misfit(arrays) is None
        assert arrays["epoch_loss"].tolist() == [[1.5, 2.5, 3.5]]
        assert arrays["step_loss"].tolist() == [[[1, 2], [2, 3], [3, 4]]]
        assert arrays["selected_epoch"].tolist() == [1]
        hits = arrays["val_accuracy"][0] * 9
        np.testing.assert_allclose(hits, hits.round(), atol=1e-9)
        # The final test's, and no curve.
        assert not {"val_top5", "val_f1", "test_pred", "seed"} & arrays.keys()
        train = made.groups["train"]
        means = [train["feats"][train["labels"] == c].mean(axis=0) for c in range(6)]
        near = arrays["neighbors"][0]
        far = [np.linalg.norm(means[0] - means[c]) for c in near]
        np.testing.assert_allclose(arrays["neighbor_distances"][0], far, rtol=1e-5)

    def test_every_epoch(self, made, content, tmp_path):
        value = copy.deepcopy(content[0])
        epochs = value["epoch_data__seq"]
        epochs[1]["mean_batch_loss__seq"] = [7.0]
        epochs[2]["n_train__per__class"] = {5: 300}
        file = load(made, made_originals.save(tmp_path / "r.pth", value))
        arrays = pytorch.recorded_arrays(file.arrays)
        assert schema.find_misfit(arrays) is None
        losses = [[[1.0, 2.0], [7.0, np.nan], [3.0, 4.0]]]
        np.testing.assert_array_equal(arrays["step_loss"], losses)
        drawn = np.zeros((1, 3, 6), int)
        drawn[0, :2, :2], drawn[0, 2, 5] = [5, 2], 300
        np.testing.assert_array_equal(arrays["drawn_per_class"], drawn)
        assert arrays["drawn_per_class"].dtype == np.uint16
        for ours, theirs in (("least", "min"), ("mean", "mean"), ("most", "max")):
            wanted = [[each[f"{theirs}_alpha__vec"] for each in epochs]]
            np.testing.assert_array_equal(arrays[f"epoch_{ours}_alphas"], wanted)
        counts = np.bincount(made.groups["val"]["labels"], minlength=6)
        np.testing.assert_array_equal(arrays["val_class_counts"], counts)
        right = arrays["val_correct_per_class"]
        assert right.dtype == np.uint8
        for number, epoch in enumerate(epochs):
            for label, accuracy in epoch["val_acc__per__class"].items():
                assert right[0, number, label] == round(accuracy * counts[label])
        overall = right.sum(axis=2) / counts.sum()
        np.testing.assert_allclose(arrays["val_accuracy"], overall)

    @pytest.mark.parametrize(
        "keys",
        [
            ("val_data_info",),
            ("best_epoch",),
            ("epoch_data__seq",),
            ("nn_info", "nn_mean_feat__mat__per__fclass"),
            ("nn_info", "n_neighbors"),
            ("alphanet", "debug"),
            ("training_config", "pred_scale"),
            ("training_config", "ptopt"),
            ("training_config", "val_datagrp"),
            ("test_metrics", "top-5 accuracy"),
            ("test_acc__per__class",),
            ("epoch_data__seq", 0, "val_acc__per__class"),
            ("epoch_data__seq", 1, "n_train__per__class"),
            ("epoch_data__seq", 1, "mean_batch_loss__seq"),
            ("epoch_data__seq", 1, "min_alpha__vec"),
        ],
    )
    def test_optional_fields(self, made, content, tmp_path, keys):
        value = without(content[0], *keys)
        file = load(made, made_originals.save(tmp_path / "r.pth", value))
        np.testing.assert_array_equal(file.array("test_pred")[0], content[1])

    def test_without_test_accuracy(self, made, content, tmp_path):
        value = {n: v for n, v in content[0].items() if not n.startswith("test_")}
        file = load(made, made_originals.save(tmp_path / "r.pth", value))
        right = content[1] == made.groups["test"]["labels"]
        assert float(file.array("test_accuracy")[0]) == right.mean()

    def test_no_validation(self, made, tmp_path):
        value, *_ = made_originals.result_of(made, val=False)
        file = load(made, made_originals.save(tmp_path / "r.pth", value))
        assert file.array("selected_epoch").tolist() == [2]
        assert file.setting("selection") == "last"
        assert file.setting("training.val_datagrp") == ""

    def test_loaded_alone_it_says_what_is_missing(self, content, tmp_path):
        file = results.load_file(made_originals.save(tmp_path / "r.pth", content[0]))
        assert file.is_original
        with pytest.raises(UserError, match="does not record test_pred"):
            file.array("test_pred")

    def test_other_data(self, content, tmp_path):
        other = made_data.make(tmp_path / "other", seed=5)
        file = load(other, made_originals.save(tmp_path / "r.pth", content[0]))
        with pytest.raises(UserError, match="the classifier's weight differs"):
            file.array("test_pred")

    def test_other_test_samples(self, made, content, tmp_path):
        """Nearly all are right there, and the result says none."""
        none = dict.fromkeys(content[0]["test_acc__per__class"], 0.0)
        right = content[1] == made.groups["test"]["labels"]
        some = {c: 1.0 - v for c, v in content[0]["test_acc__per__class"].items()}
        value = changed(content[0], some if right.sum() < 4 else none,
                        "test_acc__per__class")  # fmt: skip
        file = load(made, made_originals.save(tmp_path / "r.pth", value))
        with pytest.raises(UserError, match=r"not those that .* was tested on"):
            file.array("test_pred")


@pytest.fixture(scope="module")
def directory(made, tmp_path_factory):
    """Two runs of one experiment, and the baseline where the registry has it."""
    base = tmp_path_factory.mktemp("results")
    for seed in (1, 2):
        value, *_ = made_originals.result_of(made, seed=seed)
        made_originals.save(base / f"rho_0.5/rep_{seed}/result.pth", value)
    value, *_ = made_originals.result_of(made, dummy=True)
    made_originals.save(base / "baseline.pkl", value, form="legacy")
    return base


def row(text, name):
    line = next(line for line in text.splitlines() if line.startswith(f"{name},"))
    return [float(part) for part in line.split(",")[1:]]


class TestCommands:
    def test_table_without_data(self, made, directory, capsys):
        """Of what is recorded alone."""
        flags = [f"--base_res_dir={directory}", "--data_root=/nowhere"]
        flags += ["--rel_exp_paths", "rho_0.5"]
        baseline = f"--baseline_file={directory / 'baseline.pkl'}"
        text = run(capsys, "results", *flags, baseline, "--format=web")
        recorded = [made_originals.result_of(made, seed=seed)[0] for seed in (1, 2)]
        parts = [
            [each["test_acc__per__split"][split] for split in ("few", "medium", "many")]
            + [each["test_metrics"]["accuracy"]]
            for each in recorded
        ]
        means = 100 * np.mean(parts, axis=0)
        np.testing.assert_allclose(row(text, "rho_0.5"), means, atol=0.051)
        refused = run(capsys, "results", *flags, fails=True)
        assert "does not record baseline_test" in refused
        assert run(capsys, "results", *flags, "--noshow_baselines")

    def test_no_baseline_is_told_with_ways_out(self, directory, tmp_path, capsys):
        flags = [f"--base_res_dir={directory}", "--data_root=/nowhere"]
        told = run(capsys, "results", *flags, fails=True)
        assert "--baseline_file" in told
        assert "--noshow_baselines" in told
        table = run(capsys, "results", f"--base_res_dir={directory}",
                    "--noshow_baselines")  # fmt: skip
        assert "Baseline" not in table

    def test_baseline_of_the_registry(self, made, directory, tmp_path, capsys):
        other = made_data.make(tmp_path / "d")
        other.write_registry(baseline_eval_file="base.pkl")
        value, *_ = made_originals.result_of(other, dummy=True)
        value = changed(value, 0.125, "test_acc__per__split", "few")
        made_originals.save(other.root / "base.pkl", value)
        flags = [f"--base_res_dir={directory}", *places(other)]
        text = run(capsys, "results", *flags, "--format=web")
        assert row(text, "Baseline")[0] == 12.5
        # A trained result is none.
        path = directory / "rho_0.5/rep_1/result.pth"
        told = run(capsys, "results", *flags, f"--baseline_file={path}", fails=True)
        assert "is no baseline" in told

    def test_computed_baseline_is_the_recorded_one(self, made, directory, capsys):
        flags = [f"--base_res_dir={directory}", *places(made)]
        computed = run(capsys, "results", *flags)
        baseline = f"--baseline_file={directory / 'baseline.pkl'}"
        assert run(capsys, "results", *flags, baseline) == computed

    def test_ours_have_no_use_for_the_flags(self, made, tmp_path, capsys):
        path = results_of_data.write(
            tmp_path / "result.npz", results_of_data.arrays_of(made)
        )
        for flag in ("--data_root=.", f"--baseline_file={path}"):
            for command in ("results", "combos"):
                told = run(
                    capsys, command, f"--base_res_dir={tmp_path}", flag, fails=True
                )
                assert "has no effect" in told

    def test_combos(self, made, directory, capsys):
        flags = [f"--base_res_dir={directory / 'rho_0.5'}", *places(made)]
        text = run(capsys, "combos", *flags, "--format=original", "--select_n=1")
        assert "[name " in text
        assert "across 2 repetition(s)" in text
        assert "\n\tname " in text
        assert text.endswith("*\n\n")
        values = json.loads(run(capsys, "combos", *flags, "--format=json"))
        assert [each["seed"] for each in values["runs"]] == [None, None]
        for found in values["classes"]:
            alphas = [
                made_originals.result_of(made, seed=seed)[2][found["class"] // 3, 1:]
                for seed in (1, 2)
            ]
            given = [term["alphas"] for term in found["neighbors"]]
            np.testing.assert_allclose(np.transpose(given), alphas, atol=2e-5)

    @pytest.mark.slow
    def test_figures(self, made, directory, tmp_path, capsys, monkeypatch):
        monkeypatch.chdir(tmp_path)
        flags = [f"--base_res_dir={directory}", *places(made)]
        for kind in ("alphas", "class_changes", "accuracy_vs_rho"):
            run(capsys, "plot", kind, *flags, f"--out={kind}.png")
            assert Path(f"{kind}.png").stat().st_size > 1000

    def test_beside_ours(self, made, directory, tmp_path, capsys):
        arrays = results_of_data.arrays_of(made, seeds=(4, 5))
        results_of_data.write(tmp_path / "ours/result.npz", arrays)
        (tmp_path / "theirs").mkdir()
        source = directory / "rho_0.5/rep_1/result.pth"
        (tmp_path / "theirs/result.pth").write_bytes(source.read_bytes())
        flags = [f"--base_res_dir={tmp_path}", *places(made)]
        pattern = "--res_files_pattern=**/result.*"
        text = run(capsys, "results", *flags, pattern)
        assert "\nours" in text
        assert "\ntheirs" in text
        # By default ours alone, and the original's where there are none.
        (tmp_path / "head.pth").write_bytes(b"no result")
        assert cli.main(["main.py", "results", flags[0]]) == 0
        out, err = capsys.readouterr()
        assert "theirs" not in out
        (note,) = [line for line in err.splitlines() if "left aside" in line]
        assert note == (
            "note: 1 result of the original (.pth) left aside, as there are results of "
            "ours; --res_files_pattern='**/result.*' takes both"
        )
        flags[0] = f"--base_res_dir={tmp_path / 'theirs'}"
        assert "\ntheirs" in run(capsys, "results", *flags)
        flags[0] = f"--base_res_dir={source}"
        assert "\nrep_1" in run(capsys, "results", *flags)

    @pytest.mark.parametrize("form", ["zip", "legacy"])
    def test_those_left_aside_are_counted(self, content, tmp_path, capsys, form):
        """Of any name; not their checkpoints, nor other files of PyTorch's."""
        made_results.make_result(tmp_path / "a/result.npz")
        for number in range(2):
            path = tmp_path / f"a/run_{number}.pkl"
            made_originals.save(path, content[0], form=form)
        value = made_originals.checkpoint_of(content[0])
        made_originals.save(tmp_path / "a/checkpoint_3.pt", value, form=form)
        made_originals.save(tmp_path / "a/head.pth", {"weight": np.zeros(3)}, form=form)
        for flags in (["--rel_exp_paths", "a"], []):
            command = ["main.py", "results", f"--base_res_dir={tmp_path}", *flags]
            assert cli.main(command) == 0
            assert capsys.readouterr().err.splitlines()[0] == (
                "note: 2 results of the original (.pkl) left aside, as there are "
                "results of ours; --res_files_pattern='**/*.pkl' takes these"
            )

    def test_export_needs_no_data(self, made, directory, tmp_path, capsys):
        source = directory / "rho_0.5/rep_1/result.pth"
        out = tmp_path / "head.npz"
        flags = [f"--result={source}", f"--out={out}", "--data_root=/nowhere"]
        text = run(capsys, "export", *flags)
        assert "the run of the original" in text
        head = np.load(out)
        x = made.groups["test"]["feats"]
        predicted = (x @ head["weight"].T + head["bias"]).argmax(axis=1)
        want = made_originals.result_of(made, seed=1)[1]
        np.testing.assert_array_equal(predicted, want)


class TestImport:
    def test_with_data(self, made, directory, tmp_path, capsys):
        source = directory / "rho_0.5/rep_1/result.pth"
        flags = [f"--result={source}", f"--workdir={tmp_path / 'w'}", *places(made)]
        run(capsys, "import", *flags)
        arrays = results.load_result(tmp_path / "w/result.npz")
        _, predicted, alphas = made_originals.result_of(made, seed=1)
        np.testing.assert_array_equal(arrays["test_pred"][0], predicted)
        np.testing.assert_allclose(arrays["alphas"][0], alphas, atol=2e-5)
        assert arrays.keys() >= {"network.conv_layer.weight", "class_means"}
        assert arrays.keys() >= {"step_loss", "drawn_per_class", "val_class_counts"}
        # What was not recorded is not made up.
        assert not {"learning_rate", "val_top5", "val_f1"} & arrays.keys()
        # No data is needed from now on.
        web = ["results", "--format=web"]
        text = run(capsys, *web, f"--base_res_dir={tmp_path}")
        direct = run(capsys, *web, f"--base_res_dir={source}", *places(made))
        assert row(text, tmp_path.name if "\nw" not in text else "w") == row(
            direct, "rep_1"
        )
        assert "is there already" in run(capsys, "import", *flags, fails=True)
        run(capsys, "import", *flags, "--overwrite")

    @pytest.mark.slow
    def test_is_applied_to_further_classes_as_the_file_itself_is(
        self, made, directory, tmp_path, capsys
    ):
        source = directory / "rho_0.5/rep_1/result.pth"
        imported = tmp_path / "w/result.npz"
        flags = [f"--workdir={imported.parent}", *places(made)]
        run(capsys, "import", f"--result={source}", *flags)
        rows = made.groups["test"]["feats"][:3]
        np.savez(tmp_path / "new.npz", feats=rows, labels=np.zeros(3, int))
        found = []
        for result in (source, imported):
            out = tmp_path / f"{result.suffix[1:]}.npz"
            given = [f"--result={result}", f"--out={out}", *places(made)]
            run(capsys, "extend", f"--features={tmp_path / 'new.npz'}", *given)
            found.append(dict(np.load(out)))
        one, other = found
        assert one.keys() == other.keys()
        for name in one:
            np.testing.assert_allclose(one[name], other[name], rtol=1e-5, atol=1e-6)

    def test_without_data(self, made, directory, tmp_path, capsys):
        source = directory / "rho_0.5/rep_1/result.pth"
        flags = [f"--result={source}", f"--workdir={tmp_path / 'w'}"]
        flags += [f"--registry={made.registry}", "--data_root=/nowhere"]
        run(capsys, "import", *flags)
        arrays = results.load_result(tmp_path / "w/result.npz")
        assert not {"test_pred", "test_labels", "label_names"} & arrays.keys()
        told = run(capsys, "combos", f"--base_res_dir={tmp_path / 'w'}", fails=True)
        assert "does not record" in told
        # The data may come later.
        flags = [f"--base_res_dir={tmp_path / 'w'}", *places(made)]
        assert "name" in run(capsys, "combos", *flags)

    def test_a_checkpoint(self, made, content, tmp_path, capsys):
        value = made_originals.checkpoint_of(content[0])
        path = made_originals.save(tmp_path / "checkpoint_3.pt", value)
        flags = [f"--result={path}", f"--workdir={tmp_path / 'w'}"]
        told = run(capsys, "import", *flags, "--data_root=/nowhere", fails=True)
        assert "was not tested" in told
        assert not (tmp_path / "w/result.npz").exists()
        # The newest, by its number.
        (tmp_path / "checkpoint_12.pt").write_bytes(path.read_bytes())
        path.write_bytes(b"")
        flags[0] = f"--result={tmp_path}"
        run(capsys, "import", *flags, *places(made))
        arrays = results.load_result(tmp_path / "w/result.npz")
        np.testing.assert_array_equal(arrays["test_pred"][0], content[1])
        assert arrays["selected_epoch"].tolist() == [2]

    @pytest.mark.slow
    def test_training_begins_with_its_network(self, made, content, tmp_path, capsys):
        value, predicted, alphas = content
        kept = tmp_path / "ckpts"
        theirs = made_originals.save(
            kept / "checkpoint_3.pt", made_originals.checkpoint_of(value)
        )
        (kept / "checkpoint_1.pt").write_bytes(b"older, and not looked at")
        config = ["--config=configs/default.py", "--config.dataset=made"]
        config += [f"--config.{flag[2:]}" for flag in places(made)]
        config += ["--config.training.n_neighbors=2", "--config.seeds=2"]

        def train(name, *flags, hdims="(5,3)", epochs=0, fails=False):
            flags = [
                *(*config, f"--config.alphanet.hdims={hdims}", f"--ckpt_dir={kept}"),
                f"--config.training.train_epochs={epochs}",
                *("--config.training.min_epochs=1", f"--workdir={tmp_path / name}"),
                *flags,
            ]
            return run(capsys, "train", *flags, fails=fails)

        def load_arrays(name):
            return results.load_result(tmp_path / f"{name}/result.npz")

        # Untrained, it is the very network; both seeds have it.
        train("as it is")
        arrays = load_arrays("as it is")
        network = {
            f"alphanet.{key.removeprefix(schema.NETWORK)}": array
            for key, array in arrays.items()
            if key.startswith(schema.NETWORK)
        }
        assert network.keys() == value["best_alphanet_classifier_state_dict"].keys() - {
            key
            for key in value["best_alphanet_classifier_state_dict"]
            if not key.startswith("alphanet.")
        }
        for key, array in network.items():
            wanted = value["best_alphanet_classifier_state_dict"][key]
            np.testing.assert_array_equal(array, np.broadcast_to(wanted, array.shape))
        for seed in range(2):
            np.testing.assert_array_equal(arrays["test_pred"][seed], predicted)
            np.testing.assert_allclose(arrays["alphas"][seed], alphas, atol=2e-5)
        assert f"ckpt_dir/{theirs.name}" in str(arrays["file_hashes"])
        written = (tmp_path / "as it is/result.npz").stat().st_mtime_ns
        train("as it is")  # done: known again by its settings and the checkpoint
        assert (tmp_path / "as it is/result.npz").stat().st_mtime_ns == written

        # Trained, ours lie beside; and without them all begins elsewhere.
        kept_ours = kept / "run.json"
        kept_ours.unlink()
        train("on", epochs=2)
        assert kept_ours.exists()
        train("anew", "--noload_from_ckpt", epochs=2)
        on, anew = load_arrays("on"), load_arrays("anew")
        assert (on["epoch_loss"] != anew["epoch_loss"]).all()
        assert theirs.exists()
        assert "ckpt_dir/" not in str(anew["file_hashes"])

        kept_ours.unlink()
        told = train("other", hdims="(4,)", fails=True)
        assert told.startswith(f"error: {theirs}: its network has parameters of shapes")
        assert told.endswith("--noload_from_ckpt begins with a new one")
        assert not (tmp_path / "other/result.npz").exists()
        theirs.write_bytes(b"no checkpoint")
        told = train("other", fails=True)
        assert str(theirs) in told
        (kept / "notes.txt").write_text("of somebody")
        theirs.write_bytes(b"")
        told = train("other", "--noload_from_ckpt", fails=True)
        assert told == f"error: --ckpt_dir: {kept} holds files that are no checkpoints"

    @pytest.mark.parametrize("flag", ["--result", "--workdir"])
    def test_missing_flags(self, tmp_path, capsys, flag):
        flags = [f"--result={tmp_path / 'a'}", f"--workdir={tmp_path}"]
        kept = [each for each in flags if not each.startswith(flag)]
        assert f"{flag} is missing" in run(capsys, "import", *kept, fails=True)

    def test_what_is_no_file_of_the_original(self, tmp_path, capsys):
        ours = tmp_path / "result.npz"
        ours.write_bytes(b"")
        for path, told in (
            (tmp_path / "none.pth", "no such file"),
            (tmp_path, "is a directory without checkpoint_<n>.pt"),
            (ours, "is no file of the original's but .npz"),
        ):
            flags = [f"--result={path}", f"--workdir={tmp_path / 'w'}"]
            assert told in run(capsys, "import", *flags, fails=True)

    def test_nothing_is_written_of_a_bad_file(self, tmp_path, capsys):
        path = tmp_path / "r.pth"
        path.write_bytes(b"")
        flags = [f"--result={path}", f"--workdir={tmp_path / 'w'}"]
        assert "it is empty" in run(capsys, "import", *flags, fails=True)
        assert not (tmp_path / "w").exists()


@pytest.mark.slow
class TestTorch:
    """Files that torch.save writes itself."""

    @pytest.mark.parametrize("zipped", [True, False])
    @pytest.mark.parametrize("protocol", [2, 4])
    def test_its_files(self, made, content, tmp_path, zipped, protocol):
        try:
            import torch
        except ImportError:
            tools.missing("there is no torch")

        def as_torch(value):
            if isinstance(value, np.ndarray):
                return torch.nn.Parameter(torch.tensor(value), requires_grad=False)
            if isinstance(value, made_originals.Named):
                return torch.nn.Linear(2, 2) if value.state else torch.optim.AdamW
            if isinstance(value, dict):
                items = [(key, as_torch(each)) for key, each in value.items()]
                return type(value)(dict(items))
            if isinstance(value, list | tuple):
                return type(value)(map(as_torch, value))
            return value

        path = tmp_path / "result.pth"
        torch.save(
            as_torch(content[0]),
            path,
            _use_new_zipfile_serialization=zipped,
            pickle_protocol=protocol,
        )
        file = load(made, path)
        np.testing.assert_array_equal(file.array("test_pred")[0], content[1])
