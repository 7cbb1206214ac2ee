"""Classifiers within checkpoints, by way of the registry, options and commands."""

import dataclasses
import json

import made_data
import numpy as np
import pytest
import torch_writer
from converting import good
from made_data import CLASSIFIER, NUM_CLASSES, NUM_FEATURES
from torch_writer import Unknown

from alphanet_jax.commands import cli
from alphanet_jax.config.fields import Settings
from alphanet_jax.data import classifiers, hints
from alphanet_jax.data.classifiers import ClassifierChoice, read_classifier
from alphanet_jax.data.heads import HeadForm
from alphanet_jax.data.loading import load_dataset
from alphanet_jax.errors import UserError
from alphanet_jax.experiment import training


@pytest.fixture
def made(tmp_path):
    return made_data.make(tmp_path / "original")


@pytest.fixture
def out(tmp_path):
    return tmp_path / "out"


def save(made, content, form="zip", name=CLASSIFIER):
    torch_writer.save(content, made.path(name), form)


def checkpoint(made, **more):
    """Two heads, an object, and what an optimizer remembers."""
    moments = {0: {"exp_avg": np.ones_like(made.weight)}}
    return {
        "args": Unknown("argparse.Namespace", {"lr": 0.1}),
        "optimizer": {"state": moments},
        "state_dict": {"module.fc.weight": made.weight, "module.fc.bias": made.bias},
        **more,
    }


def check(made, loaded, weight=None):
    weight = made.weight if weight is None else weight
    np.testing.assert_allclose(loaded.weight, weight, rtol=1e-6)
    np.testing.assert_array_equal(loaded.bias, made.bias)


def load(made, **options):
    lines = []
    loaded = load_dataset(made.entry, made.root, report=lines.append, **options)
    return loaded, lines


@pytest.mark.parametrize("form", torch_writer.FORMATS)
@pytest.mark.parametrize(
    "name", ["m.pth", "m.pt", "m.pth.tar", "m.bin", "m.ckpt", "m.pkl", "m.pickle"]
)
def test_every_ending(name, form, made):
    made.write_registry(classifier_file=f"c/{name}")
    save(made, checkpoint(made), form, f"c/{name}")
    loaded, lines = load(made)
    check(made, loaded)
    said = f"{name}: classifier: state_dict.module.fc.weight"
    assert lines.count(said) == 1
    again, lines = load(made)
    assert lines == [said]
    assert again.file_hashes == loaded.file_hashes
    assert any(path.endswith(name) for path in loaded.file_hashes)


def test_classes_are_counted_without_lists_of_splits(made):
    """Labels tell the head from a hidden layer with as many inputs."""
    (made.root / "data/names.txt").unlink()
    made.write_registry(
        split_files_dir=None, label_names_file=None, few_below=3, many_above=4
    )
    made.dump_group("train", labels=np.repeat(np.arange(6), [1, 2, 3, 4, 5, 8]))
    hidden = np.ones((9, NUM_FEATURES), np.float32)
    save(made, checkpoint(made, hidden={"weight": hidden}))
    check(made, load(made)[0])
    sides = hints.sides_of_files(made.entry, made.root, "train")
    assert sides == (NUM_FEATURES, NUM_CLASSES)
    assert hints.sides_of_files(made.entry, made.root, "gone") == (None, None)


class TestChoice:
    def two(self, made):
        other = {"fc.weight": made.weight + 1, "fc.bias": made.bias}
        save(made, checkpoint(made, ema=other))
        return made.weight + 1

    def test_two_heads_are_an_error_that_lists_them(self, made, out):
        self.two(made)
        for result in (made.convert(out), made.convert(out, "--classifier_key=fc")):
            status, _, err = result
            first, *lines = err.splitlines()
            assert status == 1
            assert first.startswith(
                f"error: {made.root / CLASSIFIER}: 2 tensors may be"
            )
            assert "classifier_key=KEY (the option, or in the registry)" in first
            assert [line.split()[0] for line in lines] == [
                *("state_dict.module.fc.weight", "ema.fc.weight")
            ]
        assert not out.exists()
        with pytest.raises(UserError, match="2 tensors may be the classifier"):
            load(made)

    def test_by_the_registry_or_an_option(self, made, out):
        other = self.two(made)
        one = load(made, classifier_key="state_dict")[0]
        check(made, one)
        two = load(made, classifier_key="ema")[0]
        check(made, two, other)
        # They are told apart in results and checkpoints.
        assert one.file_hashes.keys() == two.file_hashes.keys()
        assert one.file_hashes != two.file_hashes
        made.write_registry(classifier_key="ema.fc")
        check(made, load(made)[0], other)
        check(made, load(made, classifier_key="state_dict.fc")[0])
        lines = good(made.convert(out))
        assert "  note: classifier: ema.fc.weight" in lines
        np.testing.assert_array_equal(made_data.load_classifier(out)[0], other)

    def test_by_settings(self, made):
        other = self.two(made)
        settings = Settings(
            dataset="made",
            registry=str(made.registry),
            data_root=str(made.root),
            classifier_key="ema",
            classifier_normalize=True,
        )
        found = training.load_data(settings).weight
        rows = other / np.linalg.norm(other, axis=1, keepdims=True)
        np.testing.assert_allclose(found, rows, rtol=1e-6)

    def test_another_choice_makes_what_was_converted_stale(self, made, out):
        other = self.two(made)
        keys = ("--classifier_key=ema", "--classifier_key=state_dict")
        good(made.convert(out, keys[0]))
        assert "unchanged" in "".join(good(made.convert(out, keys[0])))
        lines = good(made.convert(out, keys[1]))
        assert not any("classifier: unchanged" in line for line in lines)
        check(made, read_classifier(made.entry, out))
        lines = good(made.convert(out, keys[0], "--classifier_normalize"))
        assert not any("classifier: unchanged" in line for line in lines)
        found = made_data.load_classifier(out)[0]
        np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1, rtol=1e-6)
        assert not np.allclose(found, other)

    @pytest.mark.parametrize(
        ("changes", "error"),
        [
            ({"classifier_key": ""}, "classifier_key must be a non-empty string"),
            ({"classifier_key": 3}, "classifier_key must be a non-empty string"),
            ({"classifier_normalize": 1}, "classifier_normalize must be true or false"),
            ({"classifier_normalise": True}, "did you mean 'classifier_normalize'"),
        ],
    )
    def test_keys_of_the_registry_are_checked(self, changes, error, made):
        made.write_registry(**changes)
        with pytest.raises(UserError, match=error):
            made.entry.name  # noqa: B018 (reading it checks)


class TestRecord:
    FORM = HeadForm(
        *("state_dict.module.fc.weight", "state_dict.module.fc.bias", "scales"),
        transposed=True,
        normalized=False,
        dtype="float16",
    )

    def scaled(self, made):
        made.weight = made.weight.astype(np.float16).astype(np.float32)
        content = checkpoint(made, scales=np.full(NUM_CLASSES, 2, np.float32))
        content["state_dict"]["module.fc.weight"] = made.weight.T.astype(np.float16)
        save(made, content)

    def test_keeps_forms_and_remarks(self, made, out):
        self.scaled(made)
        good(made.convert(out, "--classifier_key=fc"))
        record = made_data.record(out, "data/classifiers/m")
        assert record["options"] == {"classifier_key": "fc"}
        assert record["forms"] == [dataclasses.asdict(self.FORM)]
        (note,) = record["notes"]
        assert note.endswith("weight and bias multiplied by scales")
        direct = read_classifier(made.entry, made.root)
        assert direct.forms == (self.FORM,)
        # The converted form says the same, on its own.
        for choice in (ClassifierChoice(), ClassifierChoice("fc")):
            alone = read_classifier(made.entry, out, choice)
            assert alone.forms == direct.forms
            assert alone.remarks == (note,)
            np.testing.assert_array_equal(alone.weight, 2 * made.weight)
        with pytest.raises(
            UserError, match="was converted with classifier_key=fc, not"
        ):
            read_classifier(made.entry, out, ClassifierChoice("head"))

    def test_a_converted_file_of_the_originals_name(self, made, out):
        """An .npz becomes one, and what is asked of it is not asked again."""
        made.write_registry(classifier_file="c/probe.npz", classifier_key="coef_")
        arrays = {"coef_": made.weight, "intercept_": made.bias, "more": made.weight}
        np.savez(made.path("c/probe.npz"), **arrays)
        good(made.convert(out))
        for root in (made.root, out):
            check(made, read_classifier(made.entry, root))
        assert read_classifier(made.entry, out).forms[0].weight_key == "coef_"

    def test_a_plain_classifier_has_one_as_before(self, made, out):
        good(made.convert(out))
        record = made_data.record(out, "data/classifiers/m")
        assert record["options"] == {}
        assert record["notes"] == []
        assert [form["weight_key"] for form in record["forms"]] == ["weight"]
        # One that was recorded before there were forms is as good.
        del record["forms"]
        path = out / "data/classifiers/m.json"
        path.write_text(json.dumps(record))
        assert any("classifier: unchanged" in line for line in good(made.convert(out)))

    def test_parts_with_an_index(self, made, out):
        name = "c/model.safetensors.index.json"
        made.write_registry(classifier_file=name)
        made_data.safetensors(
            made.path("c/a.safetensors"), **{"fc.weight": made.weight}
        )
        made_data.safetensors(made.path("c/b.safetensors"), **{"fc.bias": made.bias})
        where = {"fc.weight": "a.safetensors", "fc.bias": "b.safetensors"}
        made.path(name).write_text(json.dumps({"weight_map": where}))
        good(made.convert(out))
        assert (out / "c/model.npz").is_file()
        for root in (made.root, out):
            check(made, read_classifier(made.entry, root))
        sources = made_data.record(out, "c/model")["sources"]
        assert [item["name"] for item in sources] == [
            *("model.safetensors.index.json", "a.safetensors", "b.safetensors")
        ]
        loaded = load(made)[0]
        assert sum("safetensors" in path for path in loaded.file_hashes) == 3


def test_experts_of_the_same_features(made):
    """Their list is their mean, where the samples have no features for each."""
    weights = [made.weight + 1, made.weight - 1]
    names = [f"e{i}.pth" for i in range(2)]
    for name, weight in zip(names, weights, strict=True):
        save(
            made, {"weight": weight, "bias": made.bias}, name=f"data/classifiers/{name}"
        )
    loader = "LinearClassifierLoader"
    listed = [{"classifier_loader": loader, "classifier_file": n} for n in names]
    for chosen in (loader, "CombinedClassifierLoader"):
        made.write_registry(classifier_loader=chosen)
        save(made, listed)
        loaded, lines = load(made)
        np.testing.assert_allclose(loaded.weight, made.weight, atol=1e-6)
        assert "m.pth: classifier: mean of 2 experts, those of m.pth" in lines[-1]
    read = classifiers.load_classifier(made.root / CLASSIFIER, loader)
    assert read.weight.shape == (NUM_CLASSES, 2 * NUM_FEATURES)


class TestInspect:
    def run(self, capsys, *arguments):
        status = cli.main(["alphanet", "inspect", *map(str, arguments)])
        captured = capsys.readouterr()
        return status, captured.out.splitlines(), captured.err

    def test_a_checkpoint(self, made, capsys):
        save(made, checkpoint(made, epoch=90, arch="r\x1b[2J"))
        path = made.root / CLASSIFIER
        status, lines, err = self.run(capsys, path)
        assert (status, err) == (0, "")
        assert lines[0] == f"{path}: {path.stat().st_size:,} bytes, 3 tensors"
        assert [line.split() for line in lines[1:4]] == [
            ["optimizer.state.0.exp_avg", "(6,", "4)", "float32", "96"],
            [
                *("state_dict.module.fc.weight", "(6,", "4)", "float32", "96"),
                *("<-", "classifier"),
            ],
            ["state_dict.module.fc.bias", "(6,)", "float32", "24"],
        ]
        assert len({line.index("float32") for line in lines[1:4]}) == 1
        assert "  epoch  90" in lines
        assert "  arch   'r\\x1b[2J'" in lines
        assert lines[-4:] == [
            "objects of other classes, not loaded:",
            "  args  argparse.Namespace",
            "classifier: 6 classes x 4 features",
            "classifier: state_dict.module.fc.weight",
        ]

    def test_what_matches(self, made, capsys):
        save(made, checkpoint(made, epoch=90))
        for match in ("FC.B", "*.bias", "state_dict*bias"):
            _, lines, _ = self.run(capsys, f"--match={match}", made.root / CLASSIFIER)
            assert lines[0].endswith("3 tensors, 1 shown")
            assert lines[1].split()[0] == "state_dict.module.fc.bias"
            assert "epoch" not in "".join(lines)

    def test_several_that_may_be_it(self, made, capsys):
        small = np.ones((5, 3), np.float32)
        save(made, checkpoint(made, head={"weight": small}))
        path = made.root / CLASSIFIER
        _, lines, _ = self.run(capsys, path)
        assert sum("<- may be the classifier" in line for line in lines) == 2
        assert lines[-1].startswith("2 tensors may be the classifier: --num_features")
        for flag in ("--num_features=4", "--num_classes=6"):
            _, lines, _ = self.run(capsys, path, flag)
            (marked,) = [line for line in lines if "<- classifier" in line]
            assert marked.split()[0] == "state_dict.module.fc.weight"

    def test_samples(self, made, capsys):
        path = made.root / "data/features/m/train.pkl"
        _, lines, _ = self.run(capsys, path)
        assert lines[-2:] == [
            "features: 23 samples x 4",
            "labels: 23 from 0 to 5, 6 classes",
        ]
        np.save(made.path("x.npy"), np.ones((3, 2), np.float32))
        assert self.run(capsys, made.root / "x.npy")[1][-1] == "features: 3 samples x 2"
        np.save(made.path("y.npy"), np.arange(3))
        _, lines, _ = self.run(capsys, made.root / "y.npy")
        assert lines[-1] == "labels: 3 from 0 to 2, 3 classes"

    def test_other_files(self, made, tmp_path, capsys):
        np.savez(tmp_path / "f.npz", coef_=made.weight, o=np.array([None]))
        _, lines, _ = self.run(capsys, tmp_path / "f.npz", "--num_classes", "6")
        assert any(line.split()[:1] == ["coef_"] for line in lines)
        assert "  o  array of Python objects" in lines
        assert self.run(capsys, tmp_path / "f.npz", "--num_features=5")[0] == 0
        save(made, {"a": [1, 2], "b": {}, "c": {"d": 1.5}})
        _, lines, _ = self.run(capsys, made.root / CLASSIFIER)
        assert lines[1:] == ["other values:", "  a    list of 2", "  b    empty",
                             "  c.d  1.5"]  # fmt: skip

    @pytest.mark.parametrize(
        ("arguments", "error"),
        [
            ((), "no file is named: inspect FILE"),
            (("gone.pth",), "gone.pth: No such file or directory"),
            (("{root}",), "{root}: is not a regular file"),
            (("{root}/datasets.toml",), "{root}/datasets.toml: "),
            (("a", "b"), "unexpected argument 'b'"),
            (("{root}/whole.pth",), "refuses to load 'mine.Net'"),
        ],
    )
    def test_errors(self, arguments, error, made, capsys):
        save(made, Unknown("mine.Net", {}), name="whole.pth")
        arguments = [argument.format(root=made.root) for argument in arguments]
        status, lines, err = self.run(capsys, *arguments)
        assert (status, lines) == (1, [])
        assert err.startswith("error: ")
        assert error.format(root=made.root) in err
        assert err.count("\n") == 1
