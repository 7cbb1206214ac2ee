"""Every way to break a dataset, and the one line that says so."""

import os
import shutil

import made_data
import ml_dtypes
import numpy as np
import pytest
from converting import convert_another
from made_data import CLASSIFIER, CONVERTED, FEATURES, SIZES, snapshot

from alphanet_jax import streaming
from alphanet_jax.data import classifiers, convert
from alphanet_jax.errors import UserError


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
    return convert_another(tmp_path_factory.mktemp("converted"))


@pytest.fixture(autouse=True)
def no_waiting_for_the_disk(monkeypatch):
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)


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


NO_TENSORS = (
    "no linear classifier for 4 features and 6 classes was found; it holds no tensors"
)


@breaks(CLF, NO_TENSORS)
def classifier_a_list(made):
    made.dump(CLASSIFIER, [made.weight.tolist()])


@breaks(CLF, NO_TENSORS)
def classifier_of_other_keys(made):
    made.dump(CLASSIFIER, dict(enumerate("abcdefgh")))


@breaks(CLF, NO_TENSORS)
def classifier_an_empty_dict(made):
    made.dump(CLASSIFIER, {})


@breaks(CLF, NO_TENSORS)
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
    made.dump(CLASSIFIER, made_data.System(f"touch {made.root / 'marker'}"))


@breaks(CLF, "no linear classifier", "not loaded: model (posix.system); save arrays")
def classifier_in_an_object(made):
    made.dump(CLASSIFIER, {"model": made_data.System(f"touch {made.root / 'marker'}")})


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


@breaks(TRAIN, "feats has 4 features a sample, but the classifier takes 7")
def combined_features_do_not_fit(made):
    made.dump(
        "data/classifiers/f.pth", {"weight": made.weight[:, 1:], "bias": made.bias}
    )
    combine(made, [expert(), expert("f.pth")])


@breaks(
    f"{FEATURES}: nothing to convert for group 'val'; expected val.pkl (or .pickle, "
    ".pth, .pt, .pth.tar, .npz, .npy, .safetensors), numbered parts val_0.pkl, "
    "val_1.pkl, ..., or one file that begins with val; there are test.pkl, train.pkl"
)
def group_missing(made):
    (made.root / FEATURES / "val.pkl").unlink()


@breaks(
    f"{FEATURES}: nothing to convert for group 'train'", "there is no such directory"
)
def feature_directory_missing(made):
    shutil.rmtree(made.root / FEATURES)


@breaks(f"{FEATURES}: nothing to convert for group 'val'")
def features_a_directory(made):
    (made.root / FEATURES / "val.pkl").unlink()
    (made.root / FEATURES / "val.pkl").mkdir()


@breaks(VAL, "expected a dict of 'feats' and 'labels', got a dict of 'labels'")
def feats_missing(made):
    made.dump_group("val", feats=None)


@breaks(VAL, "expected a dict of 'feats' and 'labels', got a dict of 'feats', 'idxs'")
def labels_missing(made):
    made.dump_group("val", labels=None, idxs=[])


@breaks(
    VAL,
    "expected a dict of 'feats' and 'labels', got a tuple of 3; save {'feats': feats,",
)
def features_a_tuple(made):
    made.dump(f"{FEATURES}/val.pkl", (feats(made), labels(made), labels(made)))


@breaks(VAL, "got a list of 9; stack what is in them, and save {'feats': feats,")
def features_a_list_of_samples(made):
    samples = [{"feats": x, "label": 0} for x in feats(made)]
    made.dump(f"{FEATURES}/val.pkl", samples)


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


def as_shard(made):
    path = made.root / FEATURES / "val.pkl"
    path.rename(path.with_name("val_1.pkl"))


@breaks("val_2.pkl: ", "feats has 3 features a sample, but the classifier takes 4")
def feats_of_another_width_in_a_shard(made):
    as_shard(made)
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
    as_shard(made)
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


@breaks(VAL, "labels must be whole numbers, got 1.5 in row 0")
def labels_floats(made):
    made.dump_group("val", labels=(labels(made) + 0.5).tolist())


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


@breaks(VAL, "labels must be one number a sample, got 6; if they are scores")
def labels_of_two_dimensions(made):
    made.dump_group("val", labels=np.eye(6)[labels(made)])


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


@breaks(VAL, "labels must be a list of integers", "object of 'posix.system', which is")
def labels_that_call(made):
    system = made_data.System(f"touch {made.root / 'marker'}")
    made.dump_group("val", labels=system)


@breaks(VAL, "feats must be a tensor or array", "object of 'posix.system', which is")
def features_that_call(made):
    system = made_data.System(f"touch {made.root / 'marker'}")
    made.dump_group("val", feats=system)


@breaks(VAL, "refuses to load 'posix.system'")
def file_that_calls(made):
    made.dump(f"{FEATURES}/val.pkl", made_data.System(f"touch {made.root / 'marker'}"))


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


@breaks("val.npz: not a readable .npz file (it holds Python objects, perhaps a dict")
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


@breaks("data/splits/few.txt:3: expected one class number a line, got 'three # 3'")
def split_not_a_number(made):
    write_split(made, "few", "0\n\nthree # 3\n")


@breaks("data/splits/few.txt:1: expected one class number a line, got '0.5'")
def split_float(made):
    write_split(made, "few", "0.5\n3\n")


@breaks("data/splits/few.txt:2: expected one class number a line, got '9999", "9...")
def split_huge(made):
    write_split(made, "few", "0\n" + "9" * 5000)


@breaks("data/splits/few.txt: not a UTF-8 text file")
def split_binary(made):
    write_split(made, "few", "\xff0\0")


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


@pytest.mark.slow
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
        (["--groups=trian"], "nothing to convert for group 'trian'; expected trian"),
        (["--groups=../m/val"], "groups of samples must have plain names, got '../m/"),
        (["--groups=val,/val"], "groups of samples must have plain names, got '/val'"),
        (["extra"], "unexpected argument 'extra'; see --help"),
        (["--out={root}/datasets.toml"], "{root}/datasets.toml is a file; choose"),
        (["--out={root}/datasets.toml/x"], "toml is a file; name a file elsewhere"),
        (["--out=/dev/null/x"], "/dev/null is a file; name a file elsewhere"),
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
