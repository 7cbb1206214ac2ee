import errno
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import textwrap
from pathlib import Path

import made_data
import ml_dtypes
import numpy as np
import pytest
from made_data import CLASSIFIER, CONVERTED, FEATURES, GROUP_FILES, SIZES, snapshot

from alphanet_jax import files, streaming
from alphanet_jax.data import checks, class_files, classifiers, convert
from alphanet_jax.errors import UserError

ROOT = Path(__file__).parents[1]
RECORDED = Path(__file__).parent / "recorded"
PROGRAM = ROOT / "convert_torch_features.py"


@pytest.fixture
def made(tmp_path):
    return made_data.make(tmp_path / "original")


@pytest.fixture
def out(tmp_path):
    return tmp_path / "out"


@pytest.fixture
def torch():
    return pytest.importorskip("torch")


@pytest.fixture(scope="module")
def converted(tmp_path_factory):
    """An earlier conversion of another dataset, with a file of the user's own."""
    root = tmp_path_factory.mktemp("converted")
    other = made_data.make(root / "original", seed=1)
    status, _, err = other.convert(root / "out")
    assert (status, err) == (0, "")
    (root / "out" / "notes.txt").write_text("mine")
    return root / "out"


@pytest.fixture(autouse=True)
def no_waiting_for_the_disk(monkeypatch):
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)


def good(result):
    status, out, err = result
    assert (status, err) == (0, "")
    return out.splitlines()


def check_group(out, group, features, labels, dtype=np.float32):
    found, found_labels = made_data.load_group(out, group)
    assert found.dtype == dtype
    assert found_labels.dtype == np.int32
    np.testing.assert_array_equal(found, features.astype(dtype))
    np.testing.assert_array_equal(found_labels, labels)


# --- The program ----------------------------------------------------------------------


def run_program(*flags):
    return subprocess.run(
        [sys.executable, PROGRAM, *flags], capture_output=True, text=True, cwd=ROOT
    )


def run_code(code):
    return subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)],
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )


def recorded_flags(out):
    return (
        f"--registry={RECORDED / 'datasets.toml'}",
        "--dataset=small",
        f"--data_root={RECORDED}",
        f"--out={out}",
    )


class TestProgram:
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
            "sha256": files.file_sha256(source),
            "dtype": "float32",
        }
    ]
    assert [item["name"] for item in found["outputs"]] == ["val.npy", "val_labels.npy"]
    for item in found["outputs"]:
        path = out / FEATURES / item["name"]
        assert item["sha256"] == files.file_sha256(path)
        assert item["mtime_ns"] == path.stat().st_mtime_ns
    assert found["notes"] == []


def test_order_is_that_of_the_entry(made, out):
    made.write_registry(datagrps=["test", "train", "val"])
    lines = good(made.convert(out))
    arrows = [line.split()[1] for line in lines if line.startswith("  ->")]
    assert arrows == [
        "data/classifiers/m.npz:",
        *(f"{FEATURES}/{group}.npy:" for group in ("test", "train", "val")),
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


def test_shards_are_stacked_in_order_of_names(made, out):
    feats, labels = made.groups["train"].values()
    parts = {"train_b": slice(5, 11), "train": slice(0, 5), "train_c": slice(11, 23)}
    for name, rows in parts.items():
        made.dump(
            f"{FEATURES}/{name}.pkl", {"feats": feats[rows], "labels": labels[rows]}
        )
    good(made.convert(out))
    check_group(out, "train", feats, labels)
    sources = made_data.record(out, f"{FEATURES}/train")["sources"]
    assert [s["name"] for s in sources] == ["train.pkl", "train_b.pkl", "train_c.pkl"]


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
    monkeypatch.setattr(convert, "_PROGRESS_SECONDS", -1.0)
    feats, labels = made.groups["train"].values()
    lines = good(made.convert(out))
    check_group(out, "train", feats, labels)
    assert f"  {FEATURES}/train.pkl: 100%" in lines
    assert (f"  {FEATURES}/train.pkl: 30%" in lines) == (size in (1, 7))


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
        labels, notes = self.convert(made, out, values)
        for i, label in enumerate(made.groups["test"]["labels"]):
            assert labels[idxs[i]] == label
        assert notes == [
            "idxs is not in order: labels[i] was given to feats[idxs[i]]; "
            "--ignore_idxs takes labels row by row"
        ]
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
            np.arange(12.0),
            np.arange(12)[:, None],
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
        for name, rows in (("test", slice(0, 5)), ("test_2", slice(5, 12))):
            count = len(labels[rows])
            order = np.arange(count)[::-1]
            made.dump(
                f"{FEATURES}/{name}.pkl",
                {"feats": feats[rows], "labels": labels[rows][order], "idxs": order},
            )
        lines = good(made.convert(out))
        check_group(out, "test", feats, labels)
        assert sum("note" in line for line in lines) == 2


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


# --- Converting again -----------------------------------------------------------------


class TestAgain:
    def again(self, made, out, *flags):
        """Converts once more; returns the files that were written."""
        before = snapshot(out)
        lines = good(made.convert(out, *flags))
        after = snapshot(out)
        assert after.keys() == before.keys()
        written = {name for name in after if after[name] != before[name]}
        unchanged = sum("unchanged" in line for line in lines)
        assert unchanged == 4 - sum(name.endswith(".json") for name in written)
        return written

    def group(self, name):
        return {n for n in GROUP_FILES if f"/{name}" in n}

    @pytest.fixture
    def out(self, made, tmp_path):
        good(made.convert(tmp_path / "out"))
        return tmp_path / "out"

    def test_nothing_changed(self, made, out):
        assert self.again(made, out) == set()

    def test_other_content(self, made, out):
        path = made.root / FEATURES / "val.pkl"
        size = path.stat().st_size
        feats = made.groups["val"]["feats"] + 1
        made.dump_group("val", feats=feats)
        assert path.stat().st_size == size
        assert self.again(made, out) == self.group("val")
        check_group(out, "val", feats, made.groups["val"]["labels"])
        assert self.again(made, out) == set()

    def test_other_time(self, made, out):
        os.utime(made.root / FEATURES / "val.pkl", ns=(1, 1))
        assert self.again(made, out) == set()

    def test_same_size_and_time_count_as_unchanged(self, made, out):
        path = made.root / FEATURES / "val.pkl"
        stat = path.stat()
        made.dump_group("val", feats=made.groups["val"]["feats"] + 1)
        os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
        assert self.again(made, out) == set()

    def test_new_shard(self, made, out):
        made.dump(f"{FEATURES}/val_2.pkl", made.groups["test"])
        assert self.again(made, out) == self.group("val")
        assert len(made_data.load_group(out, "val")[1]) == SIZES["val"] + SIZES["test"]
        (made.root / FEATURES / "val_2.pkl").unlink()
        assert self.again(made, out) == self.group("val")

    def test_renamed_shard(self, made, out):
        path = made.root / FEATURES / "val.pkl"
        path.rename(path.with_name("val_0.pkl"))
        assert self.again(made, out) == self.group("val")

    def test_other_options(self, made, out):
        groups = set(GROUP_FILES)
        assert self.again(made, out, "--feature_dtype=float16") == groups
        assert self.again(made, out, "--feature_dtype=float16") == set()
        assert self.again(made, out, "--ignore_idxs") == groups

    @pytest.mark.parametrize("name", ["val.npy", "val_labels.npy"])
    @pytest.mark.parametrize("damage", ["gone", "cut", "other"])
    def test_outputs_changed(self, name, damage, made, out):
        good_bytes = (out / FEATURES / name).read_bytes()
        path = out / FEATURES / name
        if damage == "gone":
            path.unlink()
            path.write_bytes(b"")  # so that the names of files stay the same
        else:
            cut = good_bytes[:-1]
            path.write_bytes(cut if damage == "cut" else cut + b"\x01")
        assert self.again(made, out) == self.group("val")
        assert path.read_bytes() == good_bytes

    @pytest.mark.parametrize(
        "text",
        [
            "",
            "[]",
            "{",
            "null",
            "{}",
            '{"format": 2}',
            '{"format": 1, "options": 3, "outputs": 1, "sources": 1}',
            '{"format": 1, "options": {}, "outputs": {"a": 1}, "sources": [1]}',
            '{"format": 1, "options": {}, "outputs": [], "sources": []}',
            "\udcff",
        ],
    )
    def test_damaged_record(self, text, made, out):
        path = out / FEATURES / "val.json"
        path.write_text(text, errors="surrogateescape")
        assert self.again(made, out) == self.group("val")

    def test_copied_tree(self, made, out, tmp_path):
        shutil.copytree(out, tmp_path / "copy", copy_function=shutil.copyfile)
        assert self.again(made, tmp_path / "copy") == set()

    def test_texts(self, made, out):
        path = made.root / "data/names.txt"
        path.write_text(path.read_text().upper())
        assert self.again(made, out) == {"data/names.txt"}

    def test_classifier_that_does_not_fit_unchanged_features(self, made, out):
        before = snapshot(out)
        made.dump_classifier(weight=np.ones((6, 5), np.float32))
        status, _, err = made.convert(out)
        assert status == 1
        assert "train.pkl: feats has 4 features a sample" in err
        assert snapshot(out) == before


# --- Whole or not at all --------------------------------------------------------------


def test_interrupted_in_the_last_group(made, out, converted, monkeypatch):
    shutil.copytree(converted, out, copy_function=shutil.copy2)
    before = snapshot(out)
    monkeypatch.setattr(streaming, "_CHUNK_BYTES", 16)
    real, calls = checks.check_finite, []

    def check_finite(where, features, *, dtype, first_row):
        if "test.pkl" in where and first_row == 7:
            calls.append(where)
            raise KeyboardInterrupt
        real(where, features, dtype=dtype, first_row=first_row)

    monkeypatch.setattr(checks, "check_finite", check_finite)
    for target in (out, out.with_name("new") / "deep"):
        assert made.convert(target)[0] == 130
    assert len(calls) == 2
    assert snapshot(out) == before
    assert not out.with_name("new").exists()


@pytest.mark.parametrize("new", [False, True])
def test_writing_fails(new, made, out, converted, monkeypatch):
    """At any of the moves to the final places."""
    if not new:
        shutil.copytree(converted, out, copy_function=shutil.copy2)
    before = snapshot(out)
    real, full = Path.replace, os.strerror(errno.ENOSPC)

    def failing(count):
        def replace(self, target):
            nonlocal count
            count -= 1
            if count == 0:
                raise OSError(errno.ENOSPC, full, str(self), None, str(target))
            return real(self, target)

        return replace

    moves = 0
    while True:
        moves += 1
        monkeypatch.setattr(Path, "replace", failing(moves))
        status, _, err = made.convert(out)
        if not status:
            break
        assert err.startswith("error: ")
        assert err.endswith(f": {full}\n")
        assert snapshot(out) == before
    assert moves == (1 + len(CONVERTED) if new else 1 + 2 * (len(CONVERTED) - 4))


def kill_within(made, out, *, patch):
    """Converts in another process, which kills itself at a place in the code."""
    code = f"""
        import os, signal, sys
        from pathlib import Path
        from alphanet_jax.commands import cli
        from alphanet_jax.commands import convert as command
        from alphanet_jax.data import convert

        def die():
            os.kill(os.getpid(), signal.SIGKILL)

        {patch}
        cli.run_program(command, {["x", *made.flags(out)]!r})
    """
    result = run_code(code)
    assert result.returncode == -signal.SIGKILL, result.stderr


def test_killed_before_all_is_written(made, out):
    kill_within(made, out, patch="convert._copy_texts = lambda job: die()")
    (left,) = out.iterdir()
    assert left.name.startswith(".staging-")
    assert any(left.rglob("*.npy"))
    good(made.convert(out))
    assert made_data.names(out) == CONVERTED


def test_killed_while_files_move(made, out, converted, tmp_path):
    """Every file is whole, and what is out of date is known to be."""
    shutil.copytree(converted, out, copy_function=shutil.copy2)
    good(made.convert(tmp_path / "wanted"))
    wanted = {n: (tmp_path / "wanted" / n).read_bytes() for n in CONVERTED}
    old = {n: (out / n).read_bytes() for n in CONVERTED}
    for moves in (3, 14, 20):
        kill_within(
            made,
            out,
            patch=f"""
        real, left = Path.replace, {moves}
        def replace(self, target):
            global left
            left -= 1
            if not left:
                die()
            return real(self, target)
        Path.replace = replace""",
        )
        assert any(path.name.startswith(".staging-") for path in out.iterdir())
        for name in CONVERTED:
            if (out / name).exists() and not name.endswith(".json"):
                assert (out / name).read_bytes() in (wanted[name], old[name])
        good(made.convert(out))
        assert made_data.names(out) == sorted([*CONVERTED, "notes.txt"])
        for name in CONVERTED:
            if not name.endswith(".json"):
                assert (out / name).read_bytes() == wanted[name]
        shutil.rmtree(out)
        shutil.copytree(converted, out, copy_function=shutil.copy2)


def test_two_at_a_time(made, out):
    """The second waits for the first, and then has nothing to do."""
    processes = [
        subprocess.Popen(
            [sys.executable, PROGRAM, *made.flags(out)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(3)
    ]
    outputs = [process.communicate() for process in processes]
    assert [process.returncode for process in processes] == [0] * 3
    assert {err for _, err in outputs} == {""}
    assert sorted(text.count("unchanged") for text, _ in outputs) == [0, 4, 4]
    assert made_data.names(out) == CONVERTED


# --- Errors ---------------------------------------------------------------------------

ERRORS = {}


def breaks(*expected):
    """Registers a way to break a dataset, and what the error must say."""

    def register(function):
        ERRORS[function.__name__.strip("_")] = (function, expected)
        return function

    return register


def cut(path, by=1):
    path.write_bytes(path.read_bytes()[:-by])


def change(array, index, value):
    array = array.copy()
    array[index] = value
    return array


def feats(made, group="val"):
    return made.groups[group]["feats"]


def labels(made, group="val"):
    return made.groups[group]["labels"]


TRAIN, VAL, TEST = (f"{FEATURES}/{group}.pkl: " for group in SIZES)
CLF = f"{CLASSIFIER}: "


@breaks(CLF, "No such file or directory")
def classifier_missing(made):
    (made.root / CLASSIFIER).unlink()


@breaks(CLF, "is not a regular file")
def classifier_a_directory(made):
    (made.root / CLASSIFIER).unlink()
    (made.root / CLASSIFIER).mkdir()


@breaks(CLF, "is empty")
def classifier_empty(made):
    (made.root / CLASSIFIER).write_bytes(b"")


@breaks(CLF, "declares a frame of", "bytes, more than it holds")
def classifier_cut(made):
    cut(made.root / CLASSIFIER)


@breaks(CLF, "expected a dict of 'weight' and 'bias', got a dict of 'bias'")
def classifier_without_weight(made):
    made.dump(CLASSIFIER, {"bias": made.bias})


@breaks(CLF, "expected a dict of 'weight' and 'bias', got a dict of 'weight'")
def classifier_without_bias(made):
    made.dump(CLASSIFIER, {"weight": made.weight})


@breaks(CLF, "expected a dict of 'weight' and 'bias', got a list")
def classifier_a_list(made):
    made.dump(CLASSIFIER, [made.weight])


@breaks(CLF, "got a dict of 0, 1, 2, 3, 4, 5, ...")
def classifier_of_other_keys(made):
    made.dump(CLASSIFIER, dict(enumerate("abcdefgh")))


@breaks(CLF, "expected a dict", "got an empty dict")
def classifier_an_empty_dict(made):
    made.dump(CLASSIFIER, {})


@breaks(CLF, "expected a dict", "got a dict of 'xxxxxx", "xxx...")
def classifier_of_a_long_key(made):
    made.dump(CLASSIFIER, {"x" * 1000: 1})


@breaks(CLF, "weight must have shape (classes, features), got (6,)")
def weight_of_one_dimension(made):
    made.dump_classifier(weight=made.weight[:, 0])


@breaks(CLF, "weight must have shape (classes, features), got ()", "")
def weight_of_no_dimension(made):
    made.dump_classifier(weight=np.float32(made.weight[:1, :1]).reshape(()))


@breaks(CLF, "weight must have shape (classes, features), got (6, 0)")
def weight_empty(made):
    made.dump_classifier(weight=made.weight[:, :0])


@breaks(CLF, "weight must be a tensor or array, got a list")
def weight_a_list(made):
    made.dump_classifier(weight=made.weight.tolist())


@breaks(CLF, "weight must be a tensor or array, got None")
def weight_none(made):
    made.dump_classifier(weight=None, bias=None)


@breaks(CLF, "weight must hold floats, got int64")
def weight_of_integers(made):
    made.dump_classifier(weight=made.weight.astype(int))


@breaks(CLF, "weight must hold floats, got complex64")
def weight_complex(made):
    made.dump_classifier(weight=made.weight.astype(np.complex64))


@breaks(CLF, "bias must hold floats, got <U4")
def bias_of_text(made):
    made.dump_classifier(bias=np.array(["0.25"] * 6))


@breaks(CLF, "bias must have shape (6,) to fit weight (6, 4), got (5,)")
def bias_too_short(made):
    made.dump_classifier(bias=made.bias[:5])


@breaks(CLF, "bias must have shape (6,) to fit weight (6, 4), got (6, 1)")
def bias_of_two_dimensions(made):
    made.dump_classifier(bias=made.bias[:, None])


@breaks(CLF, "weight must be finite in float32, got nan at (2, 3)")
def weight_nan(made):
    made.dump_classifier(weight=change(made.weight, (2, 3), np.nan))


@breaks(CLF, "bias must be finite in float32, got -inf at (5,)")
def bias_infinite(made):
    made.dump_classifier(bias=change(made.bias, 5, -np.inf))


@breaks(CLF, "weight must be finite in float32, got 1e+39 at (0, 1)")
def weight_too_large(made):
    made.dump_classifier(weight=change(made.weight.astype(float), (0, 1), 1e39))


@breaks(CLF, "refuses to load 'posix.system'")
def classifier_that_calls(made):
    made.dump_classifier(x=made_data.System(f"touch {made.root / 'marker'}"))


def combine(made, content):
    made.write_registry(classifier_loader="CombinedClassifierLoader")
    made.dump(CLASSIFIER, content)
    made.dump("data/classifiers/e.pth", {"weight": made.weight, "bias": made.bias})


LISTED = "expected a list of dicts of 'classifier_loader' and 'classifier_file', got "


def expert(name="e.pth", loader="LinearClassifierLoader"):
    return {"classifier_loader": loader, "classifier_file": name}


@breaks(CLF, LISTED + "a dict of 'classifier_loader', 'classifier_file'")
def combined_no_list(made):
    combine(made, expert())


@breaks(CLF, LISTED + "an empty list")
def combined_empty(made):
    combine(made, [])


@breaks(CLF, LISTED + "a str")
def combined_text(made):
    combine(made, "e.pth")


@breaks(CLF, "item 1 must be a dict of", "got a str")
def combined_item_text(made):
    combine(made, [expert(), "e.pth"])


@breaks(CLF, "item 0 must be a dict of", "got a dict of 'classifier_file'")
def combined_item_without_loader(made):
    combine(made, [{"classifier_file": "e.pth"}])


@breaks(CLF, "item 1 must be a dict of", "both text, got a dict of")
def combined_item_number(made):
    combine(made, [expert(), expert(3)])


@breaks(CLF, r"item 0 has 'a\nb\x00' for a file name")
def combined_item_odd_name(made):
    combine(made, [expert("a\nb\0")])


@breaks(
    "classifiers/e.pth: ",
    "classifier_loader must be one of LinearClassifierLoader, "
    "CombinedClassifierLoader, got 'Other'",
)
def combined_unknown_loader(made):
    combine(made, [expert(), expert(loader="Other")])


@breaks("data/classifiers/gone.pth: ", "No such file or directory")
def combined_expert_missing(made):
    combine(made, [expert(), expert("gone.pth")])


@breaks("classifiers/f.pth: 5 classes, but 6 in the first classifier of ", CLASSIFIER)
def combined_class_counts(made):
    made.dump(
        "data/classifiers/f.pth", {"weight": made.weight[:5], "bias": made.bias[:5]}
    )
    combine(made, [expert(), expert("f.pth")])


@breaks("data/classifiers/f.pth: ", "weight must be finite", "nan at (0, 0)")
def combined_nan(made):
    weight = change(made.weight, (0, 0), np.nan)
    made.dump("data/classifiers/f.pth", {"weight": weight, "bias": made.bias})
    combine(made, [expert(), expert("f.pth")])


@breaks("classifiers/../classifiers/m.pth: combined classifier lists itself")
def combined_lists_itself(made):
    item = expert("../classifiers/m.pth", "CombinedClassifierLoader")
    combine(made, [expert(), item, item])


@breaks("data/classifiers/m.pth: combined classifier lists itself")
def combined_circle(made):
    back = expert("m.pth", "CombinedClassifierLoader")
    made.dump("data/classifiers/f.pth", [back] * 50)
    combine(made, [expert("f.pth", "CombinedClassifierLoader")] * 50)


@breaks("data/classifiers/e.pth: a combined classifier may have 256 files at most")
def combined_too_many(made):
    for level in range(4):
        loader = "CombinedClassifierLoader" if level else "LinearClassifierLoader"
        below = expert(f"{level - 1}.pth" if level else "e.pth", loader)
        made.dump(f"data/classifiers/{level}.pth", [below] * 10)
    combine(made, [expert("3.pth", "CombinedClassifierLoader")])


@breaks(TRAIN, "feats has 4 features a sample, but the classifier takes 8")
def combined_features_do_not_fit(made):
    combine(made, [expert(), expert()])


@breaks(
    f"{FEATURES}: nothing to convert for group 'val'; expected val*.pkl, val.npz "
    "or val.safetensors"
)
def group_missing(made):
    (made.root / FEATURES / "val.pkl").unlink()


@breaks(f"{FEATURES}: nothing to convert for group 'train'")
def feature_directory_missing(made):
    shutil.rmtree(made.root / FEATURES)


@breaks(VAL, "is not a regular file")
def features_a_directory(made):
    (made.root / FEATURES / "val.pkl").unlink()
    (made.root / FEATURES / "val.pkl").mkdir()


@breaks(VAL, "expected a dict of 'feats' and 'labels', got a dict of 'labels'")
def feats_missing(made):
    made.dump_group("val", feats=None)


@breaks(VAL, "expected a dict of 'feats' and 'labels', got a dict of 'feats', 'idxs'")
def labels_missing(made):
    made.dump_group("val", labels=None, idxs=[])


@breaks(VAL, "expected a dict of 'feats' and 'labels', got a tuple")
def features_a_tuple(made):
    made.dump(f"{FEATURES}/val.pkl", (feats(made), labels(made)))


@breaks(VAL, "feats must be a tensor or array, got a list")
def feats_a_list(made):
    made.dump_group("val", feats=feats(made).tolist())


@breaks(
    VAL, "feats must have shape (samples, features) and at least one sample, got (9,)"
)
def feats_of_one_dimension(made):
    made.dump_group("val", feats=feats(made)[:, 0])


@breaks(VAL, "at least one sample, got (0, 4)")
def feats_empty(made):
    made.dump_group("val", feats=feats(made)[:0], labels=[])


@breaks(VAL, "feats must be floats, got int64")
def feats_of_integers(made):
    made.dump_group("val", feats=feats(made).astype(int))


@breaks(VAL, "feats must be floats, got complex128")
def feats_complex(made):
    made.dump_group("val", feats=feats(made).astype(complex))


@breaks(VAL, "feats must be floats, got <U1")
def feats_of_text(made):
    made.dump_group("val", feats=np.full((9, 4), "x"))


@breaks(TEST, "feats has 5 features a sample, but the classifier takes 4")
def feats_of_another_width(made):
    made.dump_group("test", feats=np.ones((12, 5), np.float32))


@breaks("val_2.pkl: ", "feats has 3 features a sample, but the classifier takes 4")
def feats_of_another_width_in_a_shard(made):
    made.dump(
        f"{FEATURES}/val_2.pkl", {"feats": feats(made)[:, :3], "labels": labels(made)}
    )


@breaks(VAL, "feats must be finite in float32, got nan in row 8, column 3")
def feats_nan(made):
    made.dump_group("val", feats=change(feats(made), (8, 3), np.nan))


@breaks(VAL, "feats must be finite in float16, got -inf in row 2, column 0")
def feats_infinite_half(made):
    made.dump_group("val", feats=change(feats(made).astype("f2"), (2, 0), -np.inf))


@breaks(VAL, "feats must be finite in float32, got nan in row 2, column 1")
def feats_nan_bfloat16(made):
    array = feats(made).astype(ml_dtypes.bfloat16)
    made.dump_group("val", feats=change(array, (2, 1), np.nan))


@breaks(VAL, "feats must be finite in float32, got 1e+300 in row 1, column 2")
def feats_too_large(made):
    made.dump_group("val", feats=change(feats(made).astype(float), (1, 2), 1e300))


@breaks("val_2.pkl: ", "feats must be finite in float32, got inf in row 0, column 1")
def feats_infinite_in_a_shard(made):
    array = change(feats(made), (0, 1), np.inf)
    made.dump(f"{FEATURES}/val_2.pkl", {"feats": array, "labels": labels(made)})


@breaks(VAL, "labels must be in 0..5 (the classifier has 6 classes), got 6 in row 4")
def label_too_large(made):
    made.dump_group("val", labels=change(labels(made), 4, 6))


@breaks(VAL, "labels must be in 0..5", "got -1 in row 0")
def label_negative(made):
    made.dump_group("val", labels=change(labels(made), 0, -1).tolist())


@breaks(VAL, "labels must be in 0..5", f"got {2**64 - 1} in row 8")
def label_huge(made):
    made.dump_group("val", labels=change(labels(made).astype("u8"), 8, 2**64 - 1))


@breaks(VAL, "labels must be a list of integers, got float64 of shape (9,)")
def labels_floats(made):
    made.dump_group("val", labels=labels(made).astype(float).tolist())


@breaks(VAL, "labels must be a list of integers, got bool of shape (9,)")
def labels_bools(made):
    made.dump_group("val", labels=labels(made) > 2)


@breaks(VAL, "labels must be a list of integers, got <U1 of shape (9,)")
def labels_text(made):
    made.dump_group("val", labels=[str(label) for label in labels(made)])


@breaks(VAL, "labels must be a list of integers, got object of shape (9,)")
def labels_with_none(made):
    made.dump_group("val", labels=[None, *labels(made)[1:].tolist()])


@breaks(VAL, "labels must be a list of integers, got object of shape ()")
def labels_ragged(made):
    made.dump_group("val", labels=[[1], [2, 3]])


@breaks(VAL, "labels must be a list of integers, got object of shape ()")
def labels_a_dict(made):
    made.dump_group("val", labels={1: 2})


@breaks(VAL, "labels must be a list of integers, got int64 of shape (9, 1)")
def labels_of_two_dimensions(made):
    made.dump_group("val", labels=labels(made)[:, None])


@breaks(VAL, "10 labels for 9 samples")
def labels_too_many(made):
    made.dump_group("val", labels=[*labels(made), 0])


@breaks(VAL, "8 labels for 9 samples")
def labels_too_few(made):
    made.dump_group("val", labels=labels(made)[:8])


@breaks(VAL, "declares a frame of", "bytes, more than it holds")
def features_cut(made):
    cut(made.root / FEATURES / "val.pkl", by=20)


@breaks(VAL, "has no pickle operation 0xff")
def features_damaged(made):
    (made.root / FEATURES / "val.pkl").write_bytes(b"\xff" * 99)


@breaks(VAL, "refuses to load 'posix.system'")
def features_that_call(made):
    system = made_data.System(f"touch {made.root / 'marker'}")
    made.dump_group("val", labels=system)


def use(made, kind, content):
    (made.root / FEATURES / "val.pkl").unlink()
    path = made.root / FEATURES / f"val.{kind}"
    if kind == "npz":
        np.savez(path, **content)
    else:
        made_data.safetensors(path, **content)
    return path


@breaks("val.npz: not a readable .npz file (File is not a zip file)")
def npz_cut(made):
    cut(use(made, "npz", made.groups["val"]), by=30)


@breaks("val.npz: not a readable .npz file (Bad CRC-32 for file 'feats.npy')")
def npz_damaged(made):
    path = use(made, "npz", made.groups["val"])
    data = bytearray(path.read_bytes())
    data[data.index(feats(made).tobytes())] ^= 1
    path.write_bytes(data)


@breaks("val.npz: not a readable .npz file (Object arrays cannot be loaded")
def npz_of_objects(made):
    use(made, "npz", made.groups["val"] | {"labels": np.array([1, None])})


@breaks("val.npz: not a readable .npz file (File is not a zip file)")
def npz_of_one_array(made):
    path = use(made, "npz", made.groups["val"])
    with path.open("wb") as file:
        np.save(file, feats(made))


@breaks("val.npz: expected a dict of 'feats' and 'labels', got a dict of 'labels'")
def npz_without_feats(made):
    use(made, "npz", {"labels": labels(made)})


@breaks("val.safetensors: ", "has tensor 'labels' outside of the file")
def safetensors_cut(made):
    cut(use(made, "safetensors", made.groups["val"]))


@breaks("data/splits/many.txt: cannot read: No such file or directory")
def split_missing(made):
    (made.root / "data/splits/many.txt").unlink()


def write_split(made, name, text):
    (made.root / f"data/splits/{name}.txt").write_bytes(text.encode("latin1"))


@breaks("data/splits: class 3 is in few.txt and in medium.txt")
def splits_overlap(made):
    write_split(made, "medium", "1\n4\n3\n")


@breaks("data/splits: class 1 is twice in medium.txt")
def split_twice(made):
    write_split(made, "medium", "1\n4\n1\n")


@breaks("data/splits: 2 of 6 classes are in no split: 1, 4")
def splits_incomplete(made):
    write_split(made, "medium", "")


@breaks("data/splits: many.txt: classes must be in 0..5, got 6")
def split_class_too_large(made):
    write_split(made, "many", "2\n5\n6\n")


@breaks("data/splits: few.txt: classes must be in 0..5, got -1")
def split_class_negative(made):
    write_split(made, "few", "0\n-1\n3\n")


@breaks("data/splits/few.txt:3: expected one class number a line, got '3 # three'")
def split_not_a_number(made):
    write_split(made, "few", "0\n\n3 # three\n")


@breaks("data/splits/few.txt:1: expected one class number a line, got '0.0'")
def split_float(made):
    write_split(made, "few", "0.0\n3\n")


@breaks("data/splits/few.txt:2: expected one class number a line, got '9999", "9...")
def split_huge(made):
    write_split(made, "few", "0\n" + "9" * 5000)


@breaks("data/splits/few.txt: not a UTF-8 text file")
def split_binary(made):
    write_split(made, "few", "\xff\xfe0\0")


@breaks("data/splits: few.txt is empty: there is nothing to mend")
def split_few_empty(made):
    write_split(made, "few", "\n")
    write_split(made, "many", "0\n3\n2\n5\n")


@breaks("data/splits: medium.txt and many.txt are empty: no base classes")
def split_base_empty(made):
    write_split(made, "few", "0\n1\n2\n3\n4\n5\n")
    write_split(made, "medium", "")
    write_split(made, "many", "")


@breaks("data/names.txt: 5 names for 6 classes")
def names_too_few(made):
    (made.root / "data/names.txt").write_text("a\nb\n\nc\nd\ne\n")


@breaks("data/names.txt: cannot read: No such file or directory")
def names_missing(made):
    (made.root / "data/names.txt").unlink()


def check_error(result, *expected):
    status, _, err = result
    assert status == 1
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    assert err.endswith("\n")
    assert len(err) < 600
    for text in expected:
        assert text in err


@pytest.mark.parametrize("name", ERRORS)
def test_error(name, made, out, converted):
    breaking, expected = ERRORS[name]
    breaking(made)
    originals = snapshot(made.root)
    check_error(made.convert(out), *expected)
    assert not out.exists()
    shutil.copytree(converted, out, copy_function=shutil.copy2)
    before = snapshot(out)
    check_error(made.convert(out), *expected)
    assert snapshot(out) == before
    assert snapshot(made.root) == originals
    assert not (made.root / "marker").exists()


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        (["--dataset="], "--dataset is missing; see --help"),
        (["--out="], "--out is missing; see --help"),
        (["--dataset=mode"], "unknown dataset 'mode' in {root}/datasets.toml; did you"),
        (["--registry=gone.toml"], "gone.toml: cannot read registry: No such file"),
        (["--data_root=gone"], "gone/data/splits/few.txt: cannot read: No such file"),
        (["--feature_dtype=float8"], "feature_dtype must be one of source, float32, "
         "float16, got 'float8'"),
        (["--feature_type=x"], "unknown flag --feature_type; did you mean"),
        (["--groups="], "dataset 'made': no groups of samples to convert"),
        (["--groups=trian"], "nothing to convert for group 'trian'; expected trian*"),
        (["--groups=../m/val"], "groups of samples must have plain names, got '../m/"),
        (["--groups=val,/val"], "groups of samples must have plain names, got '/val'"),
        (["extra"], "unexpected argument 'extra'; see --help"),
        (["--out={root}/datasets.toml"], "{root}/datasets.toml: File exists"),
        (["--out={root}/datasets.toml/x"], "datasets.toml/x: Not a directory"),
        (["--out=/dev/null/x"], "/dev/null/x: Not a directory"),
    ],
)  # fmt: skip
def test_error_of_flags(flags, expected, made, out):
    before = snapshot(made.root)
    root = str(made.root)
    flags = [flag.format(root=root) for flag in flags]
    check_error(made.convert(out, *flags), expected.format(root=root))
    assert not out.exists()
    assert snapshot(made.root) == before


@pytest.mark.parametrize("place", [f"{FEATURES}/test.npy", FEATURES, "data/names.txt"])
def test_error_something_else_is_in_the_way(place, made, out):
    (out / place).parent.mkdir(parents=True)
    if place == FEATURES:
        (out / place).write_text("mine")
    else:
        (out / place).mkdir()
        (out / place / "mine").write_text("mine")
    before = snapshot(out)
    check_error(made.convert(out), str(out / place))
    assert snapshot(out) == before


def test_error_half_too_small(made, out):
    for dtype in (np.float32, ml_dtypes.bfloat16):
        array = change(feats(made).astype(dtype), (5, 1), 2.0**17)
        made.dump_group("val", feats=array)
        check_error(
            made.convert(out, "--feature_dtype=float16"),
            VAL + "feats must be finite in float16, got 131072",
            "in row 5, column 1",
        )
        assert not out.exists()


def test_error_of_a_row_beyond_the_first_chunk(made, out, monkeypatch):
    monkeypatch.setattr(streaming, "_CHUNK_BYTES", 4 * 4 * 4)
    made.dump_group("train", feats=change(feats(made, "train"), (17, 2), np.nan))
    check_error(made.convert(out), TRAIN, "got nan in row 17, column 2")


def test_error_of_an_expanded_tensor(torch, made, out):
    made.dump_group("val", feats=torch.ones(1, 4).expand(2**40, 4))
    check_error(made.convert(out), VAL, "feats must not be an expanded tensor")
    made.dump_group("val", feats=torch.ones(9, 1).expand(9, 4))
    check_error(made.convert(out), VAL, "feats must not be an expanded tensor")


def test_load_classifier_checks_its_loader(made):
    with pytest.raises(UserError, match=r"must be one of Linear.*, got 'Linear'"):
        classifiers.load_classifier(made.root / CLASSIFIER, "Linear")


def test_convert_dataset_reports_nothing_unasked(made, out, capsys):
    convert.convert_dataset(made.entry, made.root, out)
    assert made_data.names(out) == CONVERTED
    assert capsys.readouterr() == ("", "")


# --- Memory ---------------------------------------------------------------------------


@pytest.mark.slow
def test_memory(tmp_path):
    """A file of 300 MB takes far less memory to convert."""
    with tempfile.TemporaryDirectory(dir=tmp_path) as directory:
        made = made_data.make(Path(directory) / "original", num_features=1024)
        out = Path(directory) / "out"
        rows = 75_000
        feats = np.tile(made.groups["train"]["feats"], (rows // 23 + 1, 1))[:rows]
        labels = (np.arange(rows) % 6).tolist()
        made.dump(f"{FEATURES}/train.pkl", {"feats": feats, "labels": labels})
        code = f"""
            import threading
            from alphanet_jax.commands import cli, convert
            peak, done = 0, threading.Event()
            def measure():
                global peak
                while not done.wait(0.002):
                    lines = open("/proc/self/status").read().splitlines()
                    (line,) = [x for x in lines if x.startswith("RssAnon")]
                    peak = max(peak, int(line.split()[1]))
            thread = threading.Thread(target=measure)
            thread.start()
            status = cli.run_program(convert, {["x", *made.flags(out)]!r})
            done.set()
            thread.join()
            print(status, peak)
        """
        result = run_code(code)
        assert result.stderr == ""
        status, peak = map(int, result.stdout.split()[-2:])
        assert status == 0
        assert 10_000 < peak < 200_000  # kB
        found = np.load(out / FEATURES / "train.npy", mmap_mode="r")
        np.testing.assert_array_equal(found[::1000], feats[::1000])
