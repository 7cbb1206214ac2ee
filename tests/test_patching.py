"""Arrays of files changed where they lie, and all else byte for byte."""

import json
import pickle
import zipfile

import made_checkpoints
import ml_dtypes
import numpy as np
import pytest
from made_checkpoints import FORMS, save_legacy, save_npz, save_pickle, save_zip

from alphanet_jax import staging
from alphanet_jax.data import patching, safetensors, torch_files
from alphanet_jax.data.heads.contents import read_contents
from alphanet_jax.errors import UserError

RNG = np.random.default_rng(0)
WEIGHT = RNG.standard_normal((6, 5), np.float32)
OTHER = RNG.standard_normal((3, 7), np.float32)
KEY = "state_dict.fc.weight"


def checkpoint(weight=WEIGHT):
    # `other` comes before and after, so that a wrong place shows.
    inner = {
        "conv.weight": OTHER.copy(),
        "fc.weight": weight,
        "z.bias": OTHER[0].copy(),
    }
    return {"state_dict": inner, "epoch": 3}


def changed(array, rows=(1, 4)):
    new = array.copy()
    new[list(rows)] = np.asarray(array[list(rows)], np.float32) * 2 + 1
    return new


def patch(source, values, out=None):
    out = out or source.parent / "out" / source.name
    with staging.staged(out.parent) as place:
        lines = patching.patch(source, values, place, out=out)
    return out, lines


def load(path):
    return {key: t.load() for key, t in read_contents(path).tensors.items()}


def differing(one, other):
    """Places of the bytes in which two files differ."""
    one, other = one.read_bytes(), other.read_bytes()
    assert len(one) == len(other)
    return np.flatnonzero(np.frombuffer(one, "u1") != np.frombuffer(other, "u1"))


@pytest.mark.parametrize("dtype", [np.float32, np.float16, ml_dtypes.bfloat16])
@pytest.mark.parametrize("name", FORMS)
def test_all_else_stays(tmp_path, name, dtype):
    if dtype == ml_dtypes.bfloat16 and FORMS[name] in (
        made_checkpoints.save_npz, made_checkpoints.save_packed, save_pickle,
    ):  # fmt: skip
        dtype = np.float64  # NumPy's own files have no bfloat16
    weight = WEIGHT.astype(dtype)
    source = FORMS[name](tmp_path / name, checkpoint(weight))
    before, old = source.read_bytes(), load(source)
    key = next(key for key in old if key.endswith("fc.weight"))
    new = changed(weight)
    out, lines = patch(source, {key: new})
    assert lines == []
    assert source.read_bytes() == before
    found = load(out)
    assert list(found) == list(old)
    for name, array in old.items():
        wanted = new if name == key else array
        assert found[name].dtype == wanted.dtype
        np.testing.assert_array_equal(found[name], wanted)
    if "packed" not in source.name:
        # Two rows, and three or four bytes of checksum, in two or three places.
        rows = 2 * weight.shape[1] * weight.itemsize
        assert 0 < len(differing(source, out)) <= rows + 12
    if zipfile.is_zipfile(out):
        with zipfile.ZipFile(out) as archive, zipfile.ZipFile(source) as was:
            assert archive.testzip() is None
            assert archive.namelist() == was.namelist()


def test_members_of_packed_archives_stay(tmp_path):
    # The changed one is in the middle, and becomes longer and shorter.
    arrays = {"a": OTHER, "w": np.zeros((40, 50)), "z": WEIGHT}
    np.savez_compressed(tmp_path / "one.npz", **arrays)
    source = tmp_path / "one.npz"
    for number, new in enumerate((RNG.standard_normal((40, 50)), np.ones((40, 50)))):
        out, _ = patch(source, {"w": new}, tmp_path / f"out{number}.npz")
        with np.load(out) as found:
            for name, array in (arrays | {"w": new}).items():
                np.testing.assert_array_equal(found[name], array)
        with zipfile.ZipFile(source) as one, zipfile.ZipFile(out) as other:
            assert other.testzip() is None
            for a, b in zip(one.infolist(), other.infolist(), strict=True):
                if a.filename != "w.npy":
                    assert raw(source, a) == raw(out, b)
        source = out


def raw(path, info):
    """Header and content of a member, as they are in the archive."""
    content = path.read_bytes()
    names = content[info.header_offset + 26 : info.header_offset + 30]
    skipped = 30 + sum(np.frombuffer(names, "<u2"))
    return content[info.header_offset :][: skipped + info.compress_size]


@pytest.mark.parametrize(
    "view",
    [
        lambda: np.asfortranarray(WEIGHT),  # stored transposed
        lambda: np.tile(WEIGHT, (1, 3))[:, 5:10],  # a part of something larger
        lambda: np.repeat(WEIGHT, 2, axis=0)[::2],
        lambda: WEIGHT[:, :, None, None].copy(),
    ],
)
@pytest.mark.parametrize("save", [save_zip, save_legacy])
def test_views(tmp_path, save, view):
    weight = view()
    source = save(tmp_path / "a.pth", checkpoint(weight))
    new = changed(weight)
    out, _ = patch(source, {KEY: new})
    np.testing.assert_array_equal(load(out)[KEY], new)
    assert len(differing(source, out)) <= 2 * 5 * 4 + 12


def test_other_columns_of_one_storage_stay(tmp_path):
    both = RNG.standard_normal((6, 10), np.float32)
    content = {"one": both[:, :5], "two": both[:, 5:]}
    out, lines = patch(save_zip(tmp_path / "a", content), {"one": changed(both[:, :5])})
    found = load(out)
    np.testing.assert_array_equal(found["two"], both[:, 5:])
    np.testing.assert_array_equal(found["one"], changed(both[:, :5]))
    assert lines == []


def test_fortran_order_in_npz(tmp_path):
    array = np.asfortranarray(WEIGHT)
    out, _ = patch(save_npz(tmp_path / "a.npz", {"w": array}), {"w": changed(array)})
    np.testing.assert_array_equal(np.load(out)["w"], changed(array))


def test_npy(tmp_path):
    np.save(tmp_path / "a.npy", WEIGHT)
    out, _ = patch(tmp_path / "a.npy", {"": changed(WEIGHT)})
    np.testing.assert_array_equal(np.load(out), changed(WEIGHT))


def test_safetensors_keeps_its_header(tmp_path):
    source = tmp_path / "a.safetensors"
    safetensors.save(source, {"a": OTHER, "w": WEIGHT, "z": OTHER[:2]})
    # As the library writes it, with metadata and other spaces.
    content = source.read_bytes()
    length = int.from_bytes(content[:8], "little")
    header = {"__metadata__": {"format": "pt"}} | json.loads(content[8 : 8 + length])
    text = json.dumps(header).encode()
    source.write_bytes(len(text).to_bytes(8, "little") + text + content[8 + length :])
    out, _ = patch(source, {"w": changed(WEIGHT)})
    np.testing.assert_array_equal(safetensors.load(out)["w"], changed(WEIGHT))
    at = differing(source, out)
    assert at.min() >= 8 + len(text) + OTHER.nbytes
    assert len(at) <= 2 * 5 * 4


def test_index(tmp_path):
    index = tmp_path / "model.safetensors.index.json"
    safetensors.save(tmp_path / "model-1.safetensors", {"a": OTHER})
    safetensors.save(tmp_path / "model-2.safetensors", {"w": WEIGHT, "z": OTHER})
    where = {"a": "model-1.safetensors", "w": "model-2.safetensors",
             "z": "model-2.safetensors"}  # fmt: skip
    index.write_text(json.dumps({"metadata": {}, "weight_map": where}))
    out = tmp_path / "new" / "other.safetensors.index.json"
    patch(index, {"w": changed(WEIGHT)}, out)
    assert {path.name for path in out.parent.iterdir()} == {
        "model-2.safetensors", "other.safetensors.index.json",
    }  # fmt: skip
    assert out.read_bytes() == index.read_bytes()
    np.testing.assert_array_equal(load(out)["w"], changed(WEIGHT))


class TestShared:
    def test_same_tensor_under_two_names(self, tmp_path):
        weight = WEIGHT.copy()
        source = save_zip(tmp_path / "a", {"fc.weight": weight, "head.weight": weight})
        out, lines = patch(source, {"fc.weight": changed(WEIGHT)})
        assert lines == ["head.weight is the same tensor as fc.weight: both change"]
        np.testing.assert_array_equal(load(out)["head.weight"], changed(WEIGHT))

    def test_same_dict_under_two_names(self, tmp_path):
        inner = {"fc.weight": WEIGHT.copy()}
        source = save_zip(tmp_path / "a", {"last": inner, "best": inner})
        _, lines = patch(source, {"last.fc.weight": changed(WEIGHT)})
        assert lines == ["best is the same as last: both change"]

    @pytest.mark.parametrize("save", [save_zip, save_legacy])
    def test_part_of_another(self, tmp_path, save):
        weight = WEIGHT.copy()
        source = save(tmp_path / "a", {"fc.weight": weight, "tied": weight[2:]})
        with pytest.raises(UserError, match=r"fc\.weight and tied share their storage"):
            patch(source, {"fc.weight": changed(WEIGHT)})
        assert not (tmp_path / "out").exists()

    def test_expanded(self, tmp_path):
        row = np.ones(5, np.float32)
        wide = np.lib.stride_tricks.as_strided(row, (6, 5), (0, 4))
        # The base of such a view is not the row itself.
        source = save_zip(tmp_path / "a", {"w": Expanded(wide, row)})
        with pytest.raises(UserError, match=r"a: w stores several elements in one pl"):
            patch(source, {"w": np.ones((6, 5), np.float32)})


class Expanded(np.ndarray):
    """An expanded view whose base is the array that it is a view of."""

    def __new__(cls, view, base):
        return np.ndarray.__new__(
            cls, view.shape, view.dtype, base, strides=view.strides
        )


class TestPickles:
    @pytest.mark.parametrize("protocol", [3, 4, 5])
    @pytest.mark.parametrize("size", [5, 900])
    def test_of_bytes(self, tmp_path, protocol, size):
        weight = RNG.standard_normal((6, size), np.float32)
        source = save_pickle(tmp_path / "a.pkl", checkpoint(weight), protocol)
        out, _ = patch(source, {KEY: changed(weight)})
        found = pickle.loads(out.read_bytes())
        np.testing.assert_array_equal(found["state_dict"]["fc.weight"], changed(weight))
        differing(source, out)

    @pytest.mark.parametrize("size", [5, 900])
    def test_of_text(self, tmp_path, size):
        weight = RNG.standard_normal((6, size), np.float32)
        source = save_pickle(tmp_path / "a.pkl", checkpoint(weight), 2)
        with pytest.raises(
            UserError, match=r"a\.pkl: state_dict\.fc\.weight is not st"
        ):
            patch(source, {KEY: changed(weight)})

    def test_text_that_looks_like_bytes(self, tmp_path):
        # Characters below 128 are the same in UTF-8; their number would change.
        weight = np.frombuffer(b"0123456789abcdefghijklmn", np.float32).reshape(3, 2)
        source = save_pickle(tmp_path / "a.pkl", {"w": weight}, 2)
        with pytest.raises(UserError, match=r"a\.pkl"):
            patch(source, {"w": -weight})
        assert not (tmp_path / "out").exists()

    def test_same_bytes_twice(self, tmp_path):
        source = save_pickle(tmp_path / "a.pkl", {"v": WEIGHT, "w": WEIGHT + 0})
        with pytest.raises(UserError, match=r"a\.pkl: w cannot be told from other pa"):
            patch(source, {"w": changed(WEIGHT)})

    def test_another_array_within(self, tmp_path):
        # The bytes are there once, as a part of what comes before.
        big = np.tile(WEIGHT, (3, 1))[1:]
        content = {"big": big, "w": big[5:11].copy()}
        source = save_pickle(tmp_path / "a.pkl", content)
        with pytest.raises(UserError, match=r"a\.pkl: w cannot be told"):
            patch(source, {"w": changed(big[5:11])})


def test_wrong_shape(tmp_path):
    source = save_zip(tmp_path / "a", {"w": WEIGHT})
    with pytest.raises(
        ValueError, match=r"w must have shape \(6, 5\) and dtype float32"
    ):
        patch(source, {"w": WEIGHT[:5]})


def test_wrong_checksums_are_mended(tmp_path):
    # As some versions of torch write them on request.
    source = save_zip(tmp_path / "a", {"w": WEIGHT})
    with zipfile.ZipFile(source) as archive:
        crc = archive.getinfo("archive/data/0").CRC
    wrong = source.read_bytes().replace(crc.to_bytes(4, "little"), b"\1\2\3\4")
    source.write_bytes(wrong)
    out, _ = patch(source, {"w": changed(WEIGHT)})
    with zipfile.ZipFile(out) as archive:
        assert archive.testzip() is None


def test_archive_that_only_the_reader_takes(tmp_path):
    source, odd = save_zip(tmp_path / "a", {"w": WEIGHT}), tmp_path / "odd"
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(odd, "w") as new:
        for name in old.namelist():
            info = zipfile.ZipInfo(name)
            info.extra = b"\x07\x07\xff\xff"  # longer than it is
            new.writestr(info, old.read(name))
    np.testing.assert_array_equal(load(odd)["w"], WEIGHT)
    with pytest.raises(UserError, match="odd: is not a zip archive that is read"):
        patch(odd, {"w": changed(WEIGHT)})


class TestWithTorch:
    @pytest.fixture
    def torch(self):
        return pytest.importorskip("torch")

    @pytest.mark.parametrize("zipped", [True, False])
    @pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16", "float64"])
    def test_loads_what_was_changed(self, torch, tmp_path, zipped, dtype):
        weight = torch.from_numpy(WEIGHT.copy()).to(getattr(torch, dtype))
        inner = {"fc.weight": torch.nn.Parameter(weight), "o": torch.ones(3, 7)}
        path = tmp_path / "a.pth"
        torch.save({"state_dict": inner}, path, _use_new_zipfile_serialization=zipped)
        out, _ = patch(path, {KEY: changed(load(path)[KEY])})
        found = torch.load(out, weights_only=True)["state_dict"]
        wanted = changed(weight.float().numpy())
        assert found["fc.weight"].dtype == weight.dtype
        assert torch.equal(
            found["fc.weight"].data, torch.from_numpy(wanted).to(weight.dtype)
        )
        assert torch.equal(found["o"], torch.ones(3, 7))
        assert len(differing(path, out)) <= 2 * 5 * weight.element_size() + 12

    def test_written_files_are_those_of_torch(self, torch, tmp_path):
        value = checkpoint(np.asfortranarray(WEIGHT))
        for save in (save_zip, save_legacy):
            found = torch.load(save(tmp_path / "a", value), weights_only=True)
            np.testing.assert_array_equal(found["state_dict"]["fc.weight"], WEIGHT)


def test_made_files_are_read_by_the_reader(tmp_path):
    for name in ("zip.pth", "legacy.pth.tar"):
        found = torch_files.load(FORMS[name](tmp_path / name, checkpoint()))
        np.testing.assert_array_equal(found["state_dict"]["fc.weight"], WEIGHT)
        assert found["epoch"] == 3
