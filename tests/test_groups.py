"""Which files make up a group, what may be in them, and splits from counts."""

import io
import re

import made_data
import numpy as np
import pytest
from made_data import CLASSIFIER, FEATURES

from alphanet_jax import files
from alphanet_jax.data import agreement, class_files, registry
from alphanet_jax.data.group_files import find_feature_files
from alphanet_jax.data.loading import load_dataset
from alphanet_jax.errors import UserError
from alphanet_jax.splits import splits_from_counts


@pytest.fixture(autouse=True)
def user_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture
def made(tmp_path):
    """A dataset whose classifier knows its rows, with 240 training rows."""
    made = made_data.make(tmp_path / "original", num_features=6)
    made.weight, made.bias = np.eye(6, dtype=np.float32), np.zeros(6, np.float32)
    made.dump_classifier()
    rng = np.random.default_rng(0)
    for group, size in (("train", 240), ("val", 60), ("test", 90)):
        labels = np.arange(size) * 7 % 6
        feats = made.weight[labels] + rng.normal(0, 0.1, (size, 6)).astype("f4")
        made.groups[group] = {"feats": feats, "labels": labels}
        made.dump_group(group)
    return made


def load(made, **options):
    lines = []
    return load_dataset(made.entry, made.root, report=lines.append, **options), lines


def check(made, loaded):
    for name in made_data.SIZES:
        group = getattr(loaded, name)
        np.testing.assert_array_equal(group.features, made.groups[name]["feats"])
        np.testing.assert_array_equal(group.labels, made.groups[name]["labels"])


def found(made, group="train"):
    parts = find_feature_files(made.entry, made.root, group).parts
    return [tuple(path and path.name for path in part) for part in parts]


def touch(made, *names):
    for path in (made.root / FEATURES).iterdir():
        path.unlink()
    for name in names:
        (made.root / FEATURES / name).write_bytes(b"")


class TestFiles:
    @pytest.mark.parametrize(
        ("names", "wanted"),
        [
            (["train.pkl", "train_val.pkl"], [("train.pkl", None)]),
            (["train.pkl", "train_0.pkl"], [("train.pkl", None)]),
            (
                ["train_10.pt", "train_9.pt"],
                [("train_9.pt", None), ("train_10.pt", None)],
            ),
            (["trainfeat_all.pkl", "val.pkl"], [("trainfeat_all.pkl", None)]),
            (
                ["train_features.pt", "train_labels.pt"],
                [("train_features.pt", "train_labels.pt")],
            ),
            (["train.npy", "train_y.npy"], [("train.npy", "train_y.npy")]),
            (["train_X.npz", "train_y.npy"], [("train_X.npz", "train_y.npy")]),
            (["X_train.npy", "y_train.npy"], [("X_train.npy", "y_train.npy")]),
            (
                ["features_train.pth.tar", "labels_train.pickle", "labels_val.pickle"],
                [("features_train.pth.tar", "labels_train.pickle")],
            ),
            (["trainX.npy", "trainy.npy"], [("trainX.npy", "trainy.npy")]),
            (
                ["trainFeatures.npy", "trainLabels.npy"],
                [("trainFeatures.npy", "trainLabels.npy")],
            ),
            (
                ["x_train_0.pt", "x_train_1.pt", "y_train_0.pt", "y_train_1.pt"],
                [("x_train_0.pt", "y_train_0.pt"), ("x_train_1.pt", "y_train_1.pt")],
            ),
            (["train_feats_labels.npz"], [("train_feats_labels.npz", None)]),
            (["train.pkl", "train_label_names.npy"], [("train.pkl", None)]),
            (["X_train_val.npy", "y_train_val.npy"], []),
            (["train_labels.npy"], []),
            (["train.txt", "test.pkl"], []),
        ],
    )
    def test_rules(self, names, wanted, made):
        touch(made, *names)
        assert found(made) == wanted

    @pytest.mark.parametrize(
        "names",
        [
            ["train.npy", "train.pkl"],
            ["train.npy", "train_labels.npy", "train_0.pkl", "train_1.pkl"],
            ["train_a.pkl", "train_b.pkl"],
            ["train_0.pkl", "train_0.npz", "train_1.pkl", "train_1.npz"],
            ["train_1.pkl", "train_01.pkl"],
        ],
    )
    def test_several_are_listed(self, names, made):
        touch(made, *names)
        with pytest.raises(UserError, match="choose with feature_files") as error:
            found(made)
        features = [name for name in names if "labels" not in name]
        assert all(name in str(error.value) for name in features)

    def test_chosen(self, made):
        touch(made, "a.pt", "b.pt", "train.pkl")
        text = '\nfeature_files = {train = "a.pt"}\nlabel_files = {train = "b.pt"}\n'
        made.registry.write_text(made.registry.read_text() + text)
        assert found(made) == [("a.pt", "b.pt")]
        (made.root / FEATURES / "b.pt").unlink()
        with pytest.raises(UserError, match=r"b\.pt: no such file; the registry names"):
            found(made)

    def test_several_files_of_labels(self, made):
        touch(made, "train.npy", "train_labels.npy", "train_y.npy")
        with pytest.raises(
            UserError, match=r"train_labels\.npy and train_y\.npy may both"
        ):
            found(made)

    def test_what_there_is_instead(self, made):
        touch(made, "a.csv", "b.csv")
        with pytest.raises(
            UserError, match=r"group 'train'.*; there are a\.csv, b\.csv;"
        ):
            load(made)
        touch(made)
        with pytest.raises(UserError, match="there are no files"):
            load(made)

    def test_longer_names_of_groups(self, made):
        made.write_registry(datagrps=["train", "train_val"])
        touch(made, "train_val.pkl")
        assert found(made) == []

    def test_new_beside_a_conversion_of_other_files(self, made):
        assert made.convert(made.root)[0] == 0
        check(made, load(made)[0])
        path = made.root / FEATURES / "train.pkl"
        path.rename(path.with_name("trainfeat.pkl"))
        with pytest.raises(UserError, match=r"as train\.npy and as trainfeat\.pkl"):
            load(made)

    @pytest.mark.parametrize("where", ["beside", "cache"])
    def test_new_content_of_converted_files(self, where, made):
        if where == "beside":
            made.convert(made.root)
        load(made)
        made.groups["train"]["feats"] = made.groups["train"]["feats"] + 1
        made.dump_group("train")
        check(made, load(made)[0])

    def test_a_conversion_that_was_changed(self, made):
        made.convert(made.root)
        path = made.root / FEATURES / "train.npy"
        np.save(path, np.load(path) + 1)
        with pytest.raises(UserError, match=r"may be any of train\.npy, train\.pkl"):
            load(made)


class TestForms:
    @pytest.mark.parametrize(
        "names",
        [
            ("features", "targets"),
            ("X", "Y"),
            ("embedding", "label"),
            ("image_features", "train_labels"),
            ("data", "target"),
        ],
    )
    @pytest.mark.parametrize("shape", ["floats", "column"])
    def test_names_and_labels(self, names, shape, made):
        for group, content in made.groups.items():
            labels = content["labels"]
            labels = labels * 1.0 if shape == "floats" else labels[:, None]
            values = dict(zip(names, (content["feats"], labels), strict=True))
            made.dump(f"{FEATURES}/{group}.pkl", values)
        check(made, load(made)[0])

    @pytest.mark.parametrize(
        ("feats", "message"),
        [
            (lambda x: [x[:9], x[9:]], "feats is a list of 2 arrays: concatenate them"),
            (lambda x: x[:, :, None, None], r"\(60, 6, 1, 1\); flatten them: feats"),
            (lambda x: x.tolist(), r"got a list; make one: numpy\.asarray\(feats, "),
            (lambda x: x.astype(int), r"got int64; make floats of them: feats\.astype"),
        ],
    )
    def test_steps_to_take(self, feats, message, made):
        made.dump_group("val", feats=feats(made.groups["val"]["feats"]))
        with pytest.raises(UserError, match=message):
            load(made)

    def test_pairs(self, made):
        for group, content in made.groups.items():
            pair = (content["feats"], content["labels"])
            made.dump(f"{FEATURES}/{group}.pkl", pair)
        check(made, load(made)[0])

    def test_names_in_npz(self, made):
        for group, content in made.groups.items():
            (made.root / FEATURES / f"{group}.pkl").unlink()
            path = made.root / FEATURES / f"{group}.npz"
            paths = np.array(
                [{"path": "a.jpg"}], dtype=object
            )  # pickled, not asked for
            np.savez(path, X=content["feats"], y=content["labels"], paths=paths)
        check(made, load(made)[0])

    def test_arrays_alone_in_npz(self, made):
        for group, content in made.groups.items():
            (made.root / FEATURES / f"{group}.pkl").unlink()
            np.savez(made.root / FEATURES / f"{group}_X.npz", content["feats"])
            np.savez(made.root / FEATURES / f"{group}_y.npz", content["labels"])
        check(made, load(made)[0])

    def test_arrays_without_names_in_npz(self, made):
        for group, content in made.groups.items():
            (made.root / FEATURES / f"{group}.pkl").unlink()
            path = made.root / FEATURES / f"{group}.npz"
            np.savez(path, content["feats"], content["labels"])
        check(made, load(made)[0])

    @pytest.mark.parametrize("ending", [".npy", ".npz"])
    def test_pickled_objects(self, ending, made):
        (made.root / FEATURES / "val.pkl").unlink()
        path = made.root / FEATURES / f"val{ending}"
        content = np.array(made.groups["val"], dtype=object)
        if ending == ".npy":
            np.save(path, content, allow_pickle=True)
        else:
            np.savez(path, feats=content)
        with pytest.raises(UserError, match=r"val\.np.*and save its arrays with numpy"):
            load(made)

    def test_labels_from_one(self, made):
        made.dump_group("train", labels=made.groups["train"]["labels"] + 1)
        with pytest.raises(UserError, match="counted from 1, save labels - 1"):
            load(made)

    @pytest.mark.parametrize("form", ["dict", "legacy", "bfloat16", "grad", "column"])
    def test_tensors(self, form, made):
        torch = pytest.importorskip("torch")
        for group, content in made.groups.items():
            (made.root / FEATURES / f"{group}.pkl").unlink()
            feats = torch.from_numpy(content["feats"])
            labels = torch.from_numpy(content["labels"])
            if form == "bfloat16":
                feats = feats.bfloat16()
                content["feats"] = feats.float().numpy()
            elif form == "grad":
                feats = torch.nn.Parameter(feats)
            elif form == "column":
                labels = labels[:, None].float()
            torch.save(
                {"embeddings": feats, "target": labels},
                made.root / FEATURES / f"{group}.pth.tar",
                _use_new_zipfile_serialization=form != "legacy",
            )
        check(made, load(made)[0])

    def test_two_torch_files(self, made):
        torch = pytest.importorskip("torch")
        for group, content in made.groups.items():
            (made.root / FEATURES / f"{group}.pkl").unlink()
            for name, key in (("features", "feats"), ("labels", "labels")):
                tensor = torch.from_numpy(content[key])
                torch.save(tensor, made.root / FEATURES / f"{group}_{name}.pt")
        check(made, load(made)[0])


class TestIdxs:
    def shuffle(self, made, by):
        rng = np.random.default_rng(1)
        for group, content in made.groups.items():
            order = rng.permutation(len(content["labels"]))
            labels = content["labels"] if by == "row" else content["labels"][order]
            made.dump_group(group, labels=labels, idxs=order)

    def test_columns_and_floats(self, made):
        rng = np.random.default_rng(1)
        for group, content in made.groups.items():
            order = rng.permutation(len(content["labels"]))
            idxs = order[:, None].astype(float)
            made.dump_group(group, labels=content["labels"][order], idxs=idxs)
        check(made, load(made)[0])

    @pytest.mark.parametrize("by", ["row", "idxs"])
    def test_what_fits_is_taken_and_said_once(self, by, made):
        self.shuffle(made, by)
        loaded, lines = load(made)
        check(made, loaded)
        assert sum(f"labels were taken by {by}" in line for line in lines) == 3
        assert load(made)[1] == []

    def test_neither_is_refused(self, made):
        self.shuffle(made, "row")
        made.dump_classifier(weight=-np.eye(6, dtype="f4")[::-1], bias=None)
        with pytest.raises(UserError, match='choose with labels_by = "row" or "idxs"'):
            load(made)
        check(made, load(made, labels_by="row")[0])
        made.write_registry(labels_by="row")
        check(made, load(made)[0])

    def test_near_chance(self, made):
        made.dump_classifier(weight=np.roll(made.weight, 1, axis=0))
        lines = load(made)[1]
        (warning,) = [line for line in lines if line.startswith("warning")]
        for cause in ("another order", "scrambled", "another model"):
            assert cause in warning


class TestMemorised:
    """Training rows that a classifier knows by heart."""

    FEW = np.array([0, 1])

    def group(self, right, total=50, wrong_class=2):
        """Samples of all classes, of which some of few classes are predicted right."""
        labels = np.arange(2 * total) % 4
        features = np.eye(4, dtype=np.float32)[labels]
        few = np.flatnonzero(labels < 2)
        features[few[right:]] = np.eye(4)[wrong_class]
        return features, labels

    def remark(self, train, held_out, **changes):
        classifier = {"weight": np.eye(4, dtype=np.float32), "bias": np.zeros(4)}
        return agreement.memorised(
            train, held_out, few_classes=self.FEW, **classifier, **changes
        )

    def test_says_so(self):
        assert self.remark(self.group(49), self.group(20), name="test") == (
            "the classifier gets 98.0 percent of the few classes' own training rows "
            "right, but 40.0 of their test samples: it knows these rows by heart, and "
            "training has little to learn from them; what helps is features of samples "
            "that it was not trained on, or of augmented ones, a smaller rho, which "
            "costs the base classes more, or another correction"
        )

    @pytest.mark.parametrize(
        ("train", "held_out"),
        [
            ((48, 50), (20, 50)),  # it has not all of them right
            ((50, 50), (45, 50)),  # nor are others much worse
            ((18, 18), (2, 50)),  # too few tell
            ((50, 50), (2, 18)),
        ],
    )
    def test_nothing_to_say(self, train, held_out):
        assert self.remark(self.group(*train), self.group(*held_out)) is None

    def test_many_rows_are_sampled(self, monkeypatch):
        monkeypatch.setattr(agreement, "_MOST_FEW_ROWS", 30)
        looked = []

        def look(features, rows, **classifier):
            looked.append(rows)
            return predict(features, rows, **classifier)

        predict = agreement.predict_sample
        monkeypatch.setattr(agreement, "predict_sample", look)
        assert self.remark(self.group(400, 400), self.group(0, 400))
        assert [len(rows) for rows in looked] == [30, 30]
        assert all((rows % 4 < 2).all() for rows in looked)


class TestSplits:
    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            (
                {"few_below": 5},
                "no class is few: classes have 5 to 60 training samples",
            ),
            ({"few_below": 61}, "all classes are few: classes have 5 to 60 training"),
            ({"few_below": 50, "many_above": 10}, "must not be more than many_above"),
            ({"few_below": "a"}, "few_below must be a number of samples"),
            ({"few_below": "120%"}, "few_below must be a number of samples"),
        ],
    )
    def test_errors(self, arguments, message):
        with pytest.raises(UserError, match=message):
            splits_from_counts([5, 19, 30, 60], **arguments)

    @pytest.mark.parametrize("limit", [0, 10**6])
    @pytest.mark.parametrize("counts", [[1, 2, 3], [9, 5, 5, 5, 7], range(4, 90, 7)])
    def test_advice(self, counts, limit):
        with pytest.raises(UserError, match="would do") as error:
            splits_from_counts(counts, few_below=limit, many_above=10**6)
        (low,) = re.findall("few_below=([0-9]+) would", str(error.value))
        splits = splits_from_counts(counts, few_below=low)
        assert 0 < len(splits["few"]) < len(counts)

    def test_equal_counts(self):
        with pytest.raises(UserError, match=r"equal counts .* list the classes"):
            splits_from_counts([5, 5, 5])

    def test_medium_or_many_may_lack_classes(self):
        found = splits_from_counts([5, 19, 30, 60])
        assert [v.tolist() for v in found.values()] == [[0, 1], [2, 3], []]
        found = splits_from_counts([5, 19, 300, 600])
        assert [v.tolist() for v in found.values()] == [[0, 1], [], [2, 3]]

    def test_loaded(self, made):
        labels = np.repeat(np.arange(6), [100, 80, 30, 20, 6, 4])
        made.groups["train"] = {"feats": made.weight[labels], "labels": labels}
        made.dump_group("train")
        made.write_registry(split_files_dir=None, many_above="50%")
        loaded, lines = load(made)
        assert [v.tolist() for v in loaded.splits.values()] == [[4, 5], [3], [0, 1, 2]]
        assert lines[-1] == (
            "splits by few_below=20, many_above=50%: few 2 classes with 10 samples, "
            "medium 1 class with 20 samples, many 3 classes with 210 samples"
        )
        other = load(made, few_below="5", many_above="90")[0]
        assert other.splits["few"].tolist() == [5]
        assert other.file_hashes != loaded.file_hashes

    @pytest.mark.parametrize("form", ["spaces", "commas", "counts", "floats", "line"])
    def test_list_of_samples(self, form, made):
        counts = [100, 80, 30, 20, 6, 4]
        between = "," if form == "commas" else " "
        lines = [
            f"train/n {c}.jpg{between}{c}" for c in range(6) for _ in range(counts[c])
        ]
        lines = {
            "counts": [str(count) for count in counts],
            "floats": [f"{count:.18e}" for count in counts],
            "line": [", ".join(map(str, counts))],
        }.get(form, lines)
        made.write_registry(split_files_dir=None, counts_file="list.txt", many_above=50)
        made.path("list.txt").write_text("\r\n".join(lines), encoding="utf-16")
        loaded, _ = load(made)
        assert [v.tolist() for v in loaded.splits.values()] == [[4, 5], [2, 3], [0, 1]]

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ("a.jpg 1\nb.jpg\n", r"list\.txt:2: expected a path and its label"),
            ("a.jpg 6\n", r"list\.txt:1: labels must be in 0\.\.5, got 6"),
            ("1\n2\n", "2 counts for 6 classes"),
            ("", "0 counts for 6 classes"),
        ],
    )
    def test_lists_that_are_not_right(self, text, message, made):
        made.write_registry(split_files_dir=None, counts_file="list.txt")
        made.path("list.txt").write_text(text)
        with pytest.raises(UserError, match=message):
            load(made)

    def test_splits_from_one(self, made):
        for name, classes in (("few", "1 4"), ("medium", "2 5"), ("many", "3 6")):
            made.path(f"data/splits/{name}.txt").write_text(classes)
        with pytest.raises(UserError, match="got 6; if classes are counted from 1"):
            load(made)

    def test_no_splits_at_all(self, made):
        made.path("data/splits/few.txt").unlink()
        with pytest.raises(UserError, match=r"without split_files_dir .* are made of"):
            load(made)

    def test_limits_of_the_registry(self, made):
        made.write_registry(split_files_dir=None, few_below=True)
        with pytest.raises(UserError, match="few_below must be a number of samples or"):
            registry.get_entry(made.registry, "made")

    def test_not_both(self, made):
        made.write_registry(few_below=20)
        with pytest.raises(UserError, match="give one or the other"):
            registry.get_entry(made.registry, "made")

    @pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
    @pytest.mark.parametrize(
        "form", ["savetxt", "commas", "semicolons", "brackets", "comments"]
    )
    def test_lists_that_people_have(self, form, encoding, made):
        text = io.StringIO()
        np.savetxt(text, [3.0, 0.0])
        texts = {
            "savetxt": text.getvalue(),
            "commas": "3,0\r\n",
            "semicolons": "3; 0;\n\n",
            "brackets": "[3, 0]",
            "comments": "# few\n3 # three\n0\n",
        }
        made.path("data/splits/few.txt").write_bytes(texts[form].encode(encoding))
        found = class_files.read_splits(made.entry, made.root)
        assert found["few"].tolist() == [0, 3]

    def test_written(self, tmp_path):
        splits = splits_from_counts([1, 50, 500])
        class_files.write_splits(tmp_path / "splits", splits)
        assert files.read_lines(tmp_path / "splits" / "many.txt") == ["2", ""]


def test_registry_with_a_mark(made):
    made.registry.write_bytes(b"\xef\xbb\xbf" + made.registry.read_bytes())
    assert made.entry.classifier_file == CLASSIFIER


def test_missing_validation_names_the_option(made):
    (made.root / FEATURES / "val.pkl").unlink()
    with pytest.raises(UserError, match=r"training\.val_datagrp= \(empty\) trains"):
        load(made)
    assert load(made, val_group="")[0].val is None


def test_datagrps_say_that_there_is_no_validation(made):
    (made.root / FEATURES / "val.pkl").unlink()
    made.write_registry(datagrps=["train", "test"])
    loaded, lines = load(made)
    assert loaded.val is None
    assert sum("no validation samples, as datagrps" in line for line in lines) == 1
    made.write_registry(datagrps=["train", "validation", "test"])
    with pytest.raises(UserError, match=r"training\.val_datagrp= \(empty\) trains"):
        load(made)


def test_missing_test_names_the_option(made):
    (made.root / FEATURES / "test.pkl").unlink()
    made.write_registry(datagrps=["train", "val"])
    with pytest.raises(UserError, match=r"--config\.training\.test_datagrp=NAME"):
        load(made)


def test_two_options_that_contradict_each_other(made):
    status, out, err = made.convert(
        made.root / "out", "--ignore_idxs", "--labels_by=idxs"
    )
    assert (status, out) == (1, "")
    assert err.startswith("error: --ignore_idxs takes labels row by row")
