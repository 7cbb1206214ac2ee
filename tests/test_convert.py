"""What conversion makes of files of every kind."""

import os
import re
import shutil

import made_data
import ml_dtypes
import numpy as np
import pytest
from converting import (
    PROGRAM,
    RECORDED,
    check_group,
    good,
    recorded_flags,
    run_code,
    run_program,
)
from made_data import CLASSIFIER, CONVERTED, FEATURES, GROUP_FILES, SIZES, snapshot

from alphanet_jax import hashing, stages, streaming
from alphanet_jax.data import class_files


@pytest.fixture
def made(tmp_path):
    return made_data.make(tmp_path / "original")


@pytest.fixture
def out(tmp_path):
    return tmp_path / "out"


@pytest.fixture
def torch():
    return pytest.importorskip("torch")


@pytest.fixture(autouse=True)
def no_waiting_for_the_disk(monkeypatch):
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)


# --- The program ----------------------------------------------------------------------


class TestProgram:
    @pytest.mark.slow
    def test_real_files(self, out):
        result = run_program(*recorded_flags(out))
        assert (result.returncode, result.stderr) == (0, "")
        assert result.stdout.splitlines()[:5] == [
            f"small: {RECORDED} -> {out}",
            "  data/small/classifiers/m.pth: float32, 17,141 bytes, "
            "sha256 b99f948bf6fe",
            "  -> data/small/classifiers/m.npz: 60 classes x 64",
            "  data/small/features/m/train.pkl: float32, 1,310,259 bytes, "
            "sha256 e994aa1e939a",
            "  -> data/small/features/m/train.npy: 4923 x 64 float32",
        ]
        before = snapshot(out)
        again = run_program(*recorded_flags(out))
        assert (again.returncode, again.stderr) == (0, "")
        assert again.stdout.splitlines() == [
            f"small: {RECORDED} -> {out}",
            "  classifier: unchanged, data/small/classifiers/m.npz",
            *(
                f"  {group}: unchanged, data/small/features/m/{group}.npy"
                for group in ("train", "val", "test")
            ),
        ]
        assert snapshot(out) == before

    def test_error_is_one_line(self, out):
        result = run_program(*recorded_flags(out)[:1], "--dataset=smal", f"--out={out}")
        assert result.returncode == 1
        assert result.stdout == ""
        assert result.stderr == (
            f"error: unknown dataset 'smal' in {RECORDED / 'datasets.toml'}; "
            "did you mean 'small'?\n"
        )

    def test_help_is_quick_and_whole(self):
        result = run_program("--help")
        assert result.returncode == 0
        for flag in ("data_root", "groups", "feature_dtype", "ignore_idxs", "out"):
            assert f"--{flag}\n" in result.stdout

    @pytest.mark.slow
    def test_needs_neither_jax_nor_torch(self, out):
        result = run_code(f"""
            import runpy, sys
            sys.modules |= dict.fromkeys(["jax", "torch"])
            sys.argv = {[str(PROGRAM), *recorded_flags(out)]!r}
            runpy.run_path(sys.argv[0], None, "__main__")
        """)
        assert (result.returncode, result.stderr) == (0, "")


# --- What is converted ----------------------------------------------------------------


def test_everything(made, out):
    lines = good(made.convert(out))
    assert made_data.names(out) == CONVERTED
    for group, content in made.groups.items():
        check_group(out, group, content["feats"], content["labels"])
    weight, bias = made_data.load_classifier(out)
    np.testing.assert_array_equal(weight, made.weight)
    np.testing.assert_array_equal(bias, made.bias)
    for name in ("data/names.txt", "data/splits/few.txt"):
        assert (out / name).read_bytes() == (made.root / name).read_bytes()
    assert not [line for line in lines if "note" in line]


def test_record(made, out):
    made.convert(out)
    found = made_data.record(out, f"{FEATURES}/val")
    source = made.root / FEATURES / "val.pkl"
    stat = source.stat()
    assert found["sources"] == [
        {
            "name": "val.pkl",
            "size": stat.st_size,
            "mtime_ns": stat.st_mtime_ns,
            "sha256": hashing.file_sha256(source),
            "dtype": "float32",
        }
    ]
    assert [item["name"] for item in found["outputs"]] == ["val.npy", "val_labels.npy"]
    for item in found["outputs"]:
        path = out / FEATURES / item["name"]
        assert item["sha256"] == hashing.file_sha256(path)
        assert item["mtime_ns"] == path.stat().st_mtime_ns
    assert found["notes"] == []


def test_order_is_that_of_the_entry_after_the_training_group(made, out):
    made.write_registry(datagrps=["test", "train", "val"])
    lines = good(made.convert(out))
    arrows = [line.split()[1] for line in lines if line.startswith("  ->")]
    assert arrows == [
        "data/classifiers/m.npz:",
        *(f"{FEATURES}/{group}.npy:" for group in ("train", "test", "val")),
        *(f"data/splits/{split}.txt" for split in ("few", "medium", "many")),
        "data/names.txt",
    ]


@pytest.mark.parametrize("flag", ["--groups=test", "--groups=test, test"])
def test_some_groups(flag, made, out):
    (made.root / FEATURES / "train.pkl").write_bytes(b"not looked at")
    good(made.convert(out, flag))
    assert made_data.names(out) == [
        name for name in CONVERTED if name not in GROUP_FILES or "/test" in name
    ]


def test_group_names_are_not_patterns(made, out):
    made.dump(f"{FEATURES}/[x]*.pkl", made.groups["val"])
    made.dump(f"{FEATURES}/x.pkl", "not looked at")
    good(made.convert(out, "--groups=[x]*"))
    check_group(out, "[x]*", *made.groups["val"].values())


def test_dataset_without_names(made, out):
    made.write_registry(label_names_file=None)
    good(made.convert(out))
    assert made_data.names(out) == [n for n in CONVERTED if n != "data/names.txt"]


def test_same_bytes_wherever_converted(made, tmp_path):
    for name in ("a", "b/c"):
        good(made.convert(tmp_path / name))
    for name in CONVERTED:
        if not name.endswith(".json"):
            first, second = (tmp_path / d / name for d in ("a", "b/c"))
            assert first.read_bytes() == second.read_bytes(), name


def test_paths_stay_below_out(made, out, tmp_path):
    moved = tmp_path / "elsewhere" / "features"
    shutil.move(made.root / FEATURES, moved)
    shutil.move(made.root / CLASSIFIER, tmp_path / "m.pth")
    made.write_registry(
        feature_files_dir=str(moved), classifier_file="../original/../m.pth"
    )
    around = snapshot(tmp_path)
    good(made.convert(out))
    inside = str(moved).lstrip("/")
    assert f"{inside}/train.npy" in made_data.names(out)
    assert "original/m.npz" in made_data.names(out)
    after = snapshot(tmp_path)
    assert {k: v for k, v in after.items() if not k.startswith("out")} == around


def test_in_place(made):
    originals = snapshot(made.root)
    good(made.convert(made.root))
    after = snapshot(made.root)
    assert originals.items() <= after.items()
    assert set(CONVERTED) <= after.keys()
    lines = good(made.convert(made.root))
    assert [line for line in lines[1:] if "unchanged" not in line] == []
    assert snapshot(made.root) == after


def test_plain_classifier_in_place(made, tmp_path, monkeypatch):
    made.write_registry(classifier_file="data/classifiers/c.npz")
    path = made.path("data/classifiers/c.npz")
    np.savez(path, weight=made.weight.astype(np.float64), bias=made.bias)
    before = path.read_bytes()
    monkeypatch.chdir(made.root)
    lines = good(made.convert("."))  # the same root by another name
    assert "  classifier: data/classifiers/c.npz is in plain form" in lines
    assert path.read_bytes() == before
    good(made.convert(tmp_path / "out"))
    with np.load(tmp_path / "out" / "data/classifiers/c.npz") as arrays:
        np.testing.assert_array_equal(arrays["weight"], made.weight)


# --- Kinds of features ----------------------------------------------------------------

HALF = np.dtype(np.float16)
SINGLE = np.dtype(np.float32)


@pytest.mark.parametrize(
    ("dtype", "wanted", "rounded"),
    [
        (np.float16, HALF, False),
        (np.float32, SINGLE, False),
        (np.float64, SINGLE, True),
        (">f4", SINGLE, False),
        (ml_dtypes.bfloat16, SINGLE, False),
    ],
)
def test_dtypes(dtype, wanted, rounded, made, out):
    dtype = np.dtype(dtype)
    exact = made.groups["val"]["feats"].astype(np.float64) / 3
    feats = exact.astype(dtype)
    made.dump_group("val", feats=feats)
    lines = good(made.convert(out))
    check_group(out, "val", feats, made.groups["val"]["labels"], wanted)
    note = "  note: values were rounded to float32"
    assert (note in lines) == rounded
    found = made_data.record(out, f"{FEATURES}/val")
    assert found["sources"][0]["dtype"] == str(dtype)
    assert found["notes"] == [note.removeprefix("  note: ")] * rounded


@pytest.mark.parametrize("dtype", [np.float16, np.float32, ml_dtypes.bfloat16])
@pytest.mark.parametrize("wanted", [HALF, SINGLE])
def test_feature_dtype_flag(dtype, wanted, made, out):
    feats = made.groups["val"]["feats"].astype(dtype)
    made.dump_group("val", feats=feats)
    lines = good(made.convert(out, f"--feature_dtype={wanted}", "--groups=val"))
    check_group(out, "val", feats, made.groups["val"]["labels"], wanted)
    exact = (feats.astype(wanted).astype(dtype) == feats).all()
    assert (f"  note: values were rounded to {wanted}" in lines) == (not exact)


def test_shards_are_stacked_in_order_of_numbers(made, out):
    feats, labels = made.groups["train"].values()
    (made.root / FEATURES / "train.pkl").unlink()
    parts = {"train_10": slice(11, 23), "train_9": slice(5, 11), "train_1": slice(0, 5)}
    for name, rows in parts.items():
        made.dump(
            f"{FEATURES}/{name}.pkl", {"feats": feats[rows], "labels": labels[rows]}
        )
    made.dump(f"{FEATURES}/train_val.pkl", made.groups["val"])
    good(made.convert(out))
    check_group(out, "train", feats, labels)
    sources = made_data.record(out, f"{FEATURES}/train")["sources"]
    assert [s["name"] for s in sources] == [
        "train_1.pkl",
        "train_9.pkl",
        "train_10.pkl",
    ]


@pytest.mark.parametrize("kind", ["half", "mixed"])
def test_shards_of_several_dtypes(kind, made, out):
    feats, labels = made.groups["train"].values()
    dtypes = [np.float16, np.float16 if kind == "half" else np.float32, np.float16]
    halves = feats.astype(np.float16)
    (made.root / FEATURES / "train.pkl").unlink()
    for index, (dtype, rows) in enumerate(
        zip(dtypes, np.array_split(np.arange(23), 3), strict=True)
    ):
        content = {"feats": halves[rows].astype(dtype), "labels": labels[rows].tolist()}
        made.dump(f"{FEATURES}/train{index}.pkl", content)
    good(made.convert(out))
    check_group(out, "train", halves, labels, HALF if kind == "half" else SINGLE)


def test_arrays_that_are_not_contiguous(made, out):
    feats, labels = made.groups["train"].values()
    made.dump_group("train", feats=np.asfortranarray(feats), labels=labels[::-1][::-1])
    good(made.convert(out))
    check_group(out, "train", feats, labels)


@pytest.mark.parametrize("size", [1, 7, 22, 23, 24])
def test_chunks(size, made, out, monkeypatch):
    monkeypatch.setattr(streaming, "_CHUNK_BYTES", size * 4 * made_data.NUM_FEATURES)
    monkeypatch.setattr(stages, "SHOWN_AFTER", 0.0)
    feats, labels = made.groups["train"].values()
    lines = good(made.convert(out))
    check_group(out, "train", feats, labels)
    first, ended = (line for line in lines if line.startswith("  train: copying: "))
    assert first.startswith(f"  train: copying: {min(size / len(labels), 1):.0%}, ")
    assert re.search(r" samples/s, \d+ s left$", first)
    assert re.search(r": done in \d+ s$", ended)


@pytest.mark.parametrize(
    "labels",
    [
        lambda x: x.tolist(),
        lambda x: tuple(x.tolist()),
        lambda x: list(x),
        lambda x: list(x.astype(np.uint8)),
        lambda x: x.astype(np.uint8),
        lambda x: x.astype(">i4"),
        lambda x: [np.asarray(label) for label in x],
    ],
)
def test_labels(labels, made, out):
    wanted = made.groups["train"]["labels"]
    made.dump_group("train", labels=labels(wanted))
    good(made.convert(out))
    np.testing.assert_array_equal(made_data.load_group(out, "train")[1], wanted)


class TestIdxs:
    def convert(self, made, out, idxs, *flags):
        made.dump_group("test", idxs=idxs)
        lines = good(made.convert(out, *flags))
        feats, labels = made_data.load_group(out, "test")
        np.testing.assert_array_equal(feats, made.groups["test"]["feats"])
        start = f"  note: {FEATURES}/test.pkl: "
        notes = [line.removeprefix(start) for line in lines if "note" in line]
        recorded = made_data.record(out, f"{FEATURES}/test")["notes"]
        assert recorded == [f"{FEATURES}/test.pkl: {note}" for note in notes]
        return labels, notes

    @pytest.mark.parametrize("make", [np.arange, lambda n: list(range(n))])
    def test_in_order(self, make, made, out):
        labels, notes = self.convert(made, out, make(12))
        np.testing.assert_array_equal(labels, made.groups["test"]["labels"])
        assert notes == []

    @pytest.mark.parametrize("dtype", [np.int64, np.uint8, list])
    def test_permuted(self, dtype, made, out, rng):
        idxs = rng.permutation(12)
        values = idxs.tolist() if dtype is list else idxs.astype(dtype)
        labels, notes = self.convert(made, out, values, "--labels_by=idxs")
        for i, label in enumerate(made.groups["test"]["labels"]):
            assert labels[idxs[i]] == label
        assert notes == ["idxs is not in order: labels were taken by it, as asked"]
        labels, notes = self.convert(made, out, values, "--ignore_idxs")
        np.testing.assert_array_equal(labels, made.groups["test"]["labels"])
        assert notes == []

    @pytest.mark.parametrize(
        "idxs",
        [
            np.arange(12) + 100,  # a shard numbered on from another
            np.arange(12)[::-1] - 1,
            np.zeros(12, int),
            np.arange(11),
            np.arange(12.0) + 0.5,
            np.arange(12)[None],
            7,
            "text",
            ["a"] * 12,
            [[1], [2, 3]],
            [2**70] * 12,
            {"a": 1},
            [],
        ],
    )
    def test_other(self, idxs, made, out):
        labels, notes = self.convert(made, out, idxs)
        np.testing.assert_array_equal(labels, made.groups["test"]["labels"])
        assert notes == [
            "idxs does not number the 12 rows of this file: labels were taken row by "
            "row"
        ]
        assert self.convert(made, out, idxs, "--ignore_idxs")[1] == []

    def test_each_shard_has_its_own(self, made, out):
        feats, labels = made.groups["test"].values()
        (made.root / FEATURES / "test.pkl").unlink()
        for name, rows in (("test_1", slice(0, 5)), ("test_2", slice(5, 12))):
            count = len(labels[rows])
            order = np.arange(count)[::-1]
            made.dump(
                f"{FEATURES}/{name}.pkl",
                {"feats": feats[rows], "labels": labels[rows][order], "idxs": order},
            )
        lines = good(made.convert(out, "--labels_by=idxs"))
        check_group(out, "test", feats, labels)
        assert sum("note" in line for line in lines) == 1


@pytest.mark.parametrize("kind", ["npz", "compressed npz", "safetensors"])
def test_other_inputs(kind, made, out):
    for group, content in made.groups.items():
        (made.root / FEATURES / f"{group}.pkl").unlink()
        path = made.root / FEATURES / f"{group}.{kind.split()[-1]}"
        if kind == "npz":
            np.savez(path, **content)
        elif kind == "compressed npz":
            np.savez_compressed(path, **content)
        else:
            made_data.safetensors(path, **content)
    name = f"data/classifiers/c.{kind.split()[-1]}"
    made.write_registry(classifier_file=name)
    classifier = {"weight": made.weight, "bias": made.bias}
    if "npz" in kind:
        np.savez(made.path(name), **classifier)
    else:
        made_data.safetensors(made.path(name), **classifier)
    good(made.convert(out))
    for group, content in made.groups.items():
        check_group(out, group, content["feats"], content["labels"])
    with np.load(out / "data/classifiers/c.npz") as arrays:
        np.testing.assert_array_equal(arrays["weight"], made.weight)


def test_text_files_as_windows_writes_them(made, out):
    few = made.root / "data/splits/few.txt"
    few.write_bytes(b"\xef\xbb\xbf0\r\n\r\n 3 \r\n\r\n")
    names = made.root / "data/names.txt"
    lines = [b"a", b"", b"b, c", b"d\xe2\x80\xa8d", b"  ", b"e\x0cf", b"g", b"h"]
    names.write_bytes(b"\r\n".join(lines))
    good(made.convert(out))
    assert (out / "data/splits/few.txt").read_bytes() == few.read_bytes()
    assert (out / "data/names.txt").read_bytes() == names.read_bytes()
    splits = class_files.read_splits(made.entry, out)
    np.testing.assert_array_equal(splits["few"], [0, 3])
    found = class_files.read_label_names(made.entry, out, num_classes=6)
    assert found == ("a", "b, c", "d\u2028d", "e\x0cf", "g", "h")


def test_synset_ids_are_copied_where_there_are_some(made, out):
    made.write_registry(synsets_file="data/ids.txt")
    good(made.convert(out))
    assert not (out / "data/ids.txt").exists()
    ids = made.path("data/ids.txt")
    ids.write_text("n01440764 a\n")
    good(made.convert(out))
    assert (out / "data/ids.txt").read_bytes() == ids.read_bytes()
    assert class_files.synsets_path(made.entry, out) == out / "data/ids.txt"


# --- Kinds of classifiers -------------------------------------------------------------


@pytest.mark.parametrize(
    "dtype", [np.float16, np.float32, np.float64, ml_dtypes.bfloat16]
)
def test_linear_classifier(dtype, made, out):
    weight = made.weight.astype(dtype)
    made.dump_classifier(weight=weight, bias=None, extra="more")
    good(made.convert(out))
    found, bias = made_data.load_classifier(out)
    assert found.dtype == bias.dtype == np.float32
    np.testing.assert_array_equal(found, weight.astype(np.float32))
    np.testing.assert_array_equal(bias, np.zeros(6))
    recorded = made_data.record(out, "data/classifiers/m")["sources"]
    assert [item["dtype"] for item in recorded] == [np.dtype(dtype).name]


class TestCombined:
    def expert(self, made, name, rng, num_features=3, bias=True):
        expert = {
            "weight": rng.standard_normal((6, num_features)).astype(np.float32),
            "bias": rng.standard_normal(6).astype(np.float32) if bias else None,
        }
        made.dump(f"data/classifiers/{name}", expert)
        return expert

    def listed(self, *names, loader="LinearClassifierLoader"):
        return [{"classifier_loader": loader, "classifier_file": n} for n in names]

    def logits(self, features, experts):
        """The mean of the experts' logits, each on its own features."""
        start, logits = 0, []
        for expert in experts:
            width = expert["weight"].shape[1]
            part = features[:, start : start + width].astype(np.float64)
            bias = 0.0 if expert["bias"] is None else expert["bias"]
            logits.append(part @ expert["weight"].T + bias)
            start += width
        assert start == features.shape[1]
        return np.mean(logits, axis=0)

    def test_mean_of_logits(self, tmp_path, out, rng):
        made = made_data.make(tmp_path / "original", num_features=10)
        experts = [
            self.expert(made, "e1.pth", rng),
            self.expert(made, "sub/e2.pth", rng, num_features=5, bias=False),
            self.expert(made, "e3.pth", rng, num_features=2),
        ]
        made.write_registry(classifier_loader="CombinedClassifierLoader")
        made.dump(CLASSIFIER, self.listed("e1.pth", "sub/e2.pth", "e3.pth"))
        lines = good(made.convert(out))
        weight, bias = made_data.load_classifier(out)
        assert weight.dtype == bias.dtype == np.float32
        features = made_data.load_group(out, "test")[0]
        np.testing.assert_allclose(
            features @ weight.T + bias, self.logits(features, experts), rtol=1e-4
        )
        recorded = made_data.record(out, "data/classifiers/m")["sources"]
        assert [(item["name"], item["dtype"]) for item in recorded] == [
            ("m.pth", None),
            ("e1.pth", "float32"),
            ("sub/e2.pth", "float32"),
            ("e3.pth", "float32"),
        ]
        assert sum(".pth: " in line for line in lines) == 4
        # A changed expert is noticed.
        assert any("classifier: unchanged" in x for x in good(made.convert(out)))
        self.expert(made, "sub/e2.pth", rng, num_features=5)
        lines = good(made.convert(out))
        assert not any("classifier: unchanged" in line for line in lines)
        assert not (made_data.load_classifier(out)[0] == weight).all()

    def test_nested(self, tmp_path, out, rng):
        made = made_data.make(tmp_path / "original", num_features=9)
        experts = [self.expert(made, f"sub/e{i}.pth", rng) for i in range(3)]
        made.write_registry(classifier_loader="CombinedClassifierLoader")
        made.dump("data/classifiers/sub/two.pth", self.listed("e0.pth", "e1.pth"))
        both = self.listed("sub/two.pth", loader="CombinedClassifierLoader")
        made.dump(CLASSIFIER, tuple(both + self.listed("sub/e2.pth")))
        good(made.convert(out))
        weight, bias = made_data.load_classifier(out)
        features = made_data.load_group(out, "test")[0]
        inner = self.logits(features[:, :6], experts[:2])
        outer = self.logits(features[:, 6:], experts[2:])
        np.testing.assert_allclose(
            features @ weight.T + bias, (inner + outer) / 2, rtol=1e-4
        )

    def test_one_expert_twice(self, tmp_path, out, rng):
        made = made_data.make(tmp_path / "original", num_features=6)
        expert = self.expert(made, "e.pth", rng)
        made.write_registry(classifier_loader="CombinedClassifierLoader")
        made.dump(CLASSIFIER, self.listed("e.pth", "e.pth"))
        good(made.convert(out))
        weight, bias = made_data.load_classifier(out)
        np.testing.assert_array_equal(weight, np.tile(expert["weight"] / 2, 2))
        np.testing.assert_array_equal(bias, expert["bias"])
        assert len(made_data.record(out, "data/classifiers/m")["sources"]) == 2
        assert any("classifier: unchanged" in x for x in good(made.convert(out)))


# --- Files that PyTorch wrote ---------------------------------------------------------


@pytest.mark.parametrize("name", ["float16", "bfloat16", "float32", "float64"])
def test_torch_features(name, torch, made, out):
    dtype = getattr(torch, name)
    feats = {g: torch.tensor(c["feats"]).to(dtype) for g, c in made.groups.items()}
    labels = {g: torch.tensor(c["labels"]) for g, c in made.groups.items()}
    wide = torch.cat([feats["test"], feats["test"]], dim=1)
    contents = {
        "train": {
            "feats": feats["train"].t().contiguous().t(),
            "labels": labels["train"],
        },
        "val": {"feats": feats["val"], "labels": list(labels["val"])},
        "test": {"feats": wide[:, 4:], "labels": labels["test"].tolist()},
    }
    contents["train"]["idxs"] = torch.arange(SIZES["train"])
    for group, content in contents.items():
        made.dump(f"{FEATURES}/{group}.pkl", content)
    torch.save(
        {"weight": torch.nn.Parameter(torch.tensor(made.weight)), "bias": None},
        made.root / CLASSIFIER,
    )
    good(made.convert(out))
    for group, wanted in feats.items():
        check_group(
            out,
            group,
            wanted.float().numpy(),
            made.groups[group]["labels"],
            HALF if name == "float16" else SINGLE,
        )
    np.testing.assert_array_equal(made_data.load_classifier(out)[0], made.weight)


def test_shards_of_tensors_and_arrays(torch, made, out):
    feats, labels = made.groups["train"].values()
    (made.root / FEATURES / "train.pkl").unlink()
    made.dump(
        f"{FEATURES}/train_1.pkl",
        {"feats": torch.tensor(feats[:9]), "labels": torch.tensor(labels[:9])},
    )
    made.dump(
        f"{FEATURES}/train_2.pkl",
        {"feats": feats[9:].astype(np.float64), "labels": list(labels[9:])},
    )
    good(made.convert(out))
    check_group(out, "train", feats, labels)


def test_torch_state_dict_and_list(torch, made, out):
    layer = torch.nn.Linear(4, 6)
    torch.save(layer.state_dict(), made.root / "data/classifiers/layer.pth")
    content = [
        {
            "classifier_loader": "LinearClassifierLoader",
            "classifier_file": "layer.pth",
        }
    ]
    torch.save(content, made.root / CLASSIFIER)
    made.write_registry(classifier_loader="CombinedClassifierLoader")
    good(made.convert(out))
    weight, bias = made_data.load_classifier(out)
    np.testing.assert_array_equal(weight, layer.weight.detach().numpy())
    np.testing.assert_array_equal(bias, layer.bias.detach().numpy())


# -
