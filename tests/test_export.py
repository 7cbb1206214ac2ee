"""The way back: corrected classifiers to files, and into copies of checkpoints."""

import json
import os
from pathlib import Path

import made_checkpoints
import made_data
import ml_dtypes
import numpy as np
import pytest
import results_of_data
from made_checkpoints import save_legacy, save_npz, save_pickle, save_zip

from alphanet_jax import results
from alphanet_jax.commands import cli
from alphanet_jax.data import heads, safetensors
from alphanet_jax.errors import UserError
from alphanet_jax.results import corrected, saved_heads

D = 12
SEEDS = (3, 5, 8)
VAL = (0.4, 0.7, 0.6)  # of the seeds, at their selected epochs


def result_of(made, **changes):
    """A result of a made dataset, whose coefficients are as AlphaNet's."""
    arrays = results_of_data.arrays_of(made, seeds=SEEDS)
    alphas, neighbors = arrays["alphas"].astype(np.float64), arrays["neighbors"]
    alphas[..., 1:] /= np.abs(alphas[..., 1:]).sum(axis=-1, keepdims=True)
    arrays["alphas"] = alphas = alphas.astype(np.float32)
    few = arrays["few_classes"]
    rows = np.einsum(
        "sfj,fjd->sfd", alphas, made.weight[np.column_stack([few, neighbors])]
    )
    x, y = made.groups["test"]["feats"], made.groups["test"]["labels"]
    heads = np.tile(made.weight, (len(SEEDS), 1, 1))
    heads[:, few] = rows
    predicted = (x @ heads.transpose(0, 2, 1) + made.bias).argmax(axis=2)
    arrays |= {
        "weight_few": rows.astype(np.float32),
        "test_pred": predicted,
        "test_accuracy": (predicted == y).mean(axis=1),
        "test_acc_per_split": np.full((len(SEEDS), 3), 0.25),
        "val_accuracy": np.array([[0.1, value] for value in VAL]),
        "selected_epoch": np.ones(len(SEEDS), int),
        "baseline_val_accuracy": np.asarray(0.5),
    }
    return arrays | changes


class Case:
    """A dataset, and a result of it."""

    def __init__(self, root, *, bias=True, **changes):
        self.root = root
        self.made = made_data.make(root / "data", num_features=D)
        if not bias:
            self.made.bias[:] = 0
        self.made.dump_classifier()
        self.arrays = result_of(self.made, **changes)
        self.path = results_of_data.write(root / "r" / "result.npz", self.arrays)
        self.lines = []

    def export(self, out, **options):
        self.lines.clear()
        return results.export_result(
            results.load_file(self.path),
            self.root / out,
            report=self.lines.append,
            **options,
        )

    def head(self, seed):
        original = corrected.Head(self.made.weight, self.made.bias)
        return corrected.corrected_head(original, self.arrays, seed)

    def check(self, path, seed=5, rounding=0.0, **options):
        """Checks that a file has the corrected classifier of a seed."""
        found = heads.read_head(path, num_features=D, num_classes=6, **options)
        wanted = self.head(seed)
        few = self.arrays["few_classes"]
        base = np.setdiff1d(np.arange(6), few)
        scale = rounding + 1e-6
        np.testing.assert_allclose(found.weight[few], wanted.weight[few], atol=scale)
        np.testing.assert_allclose(found.weight[base], wanted.weight[base], atol=scale)
        np.testing.assert_allclose(found.bias, wanted.bias, atol=scale)
        if seed != "mean" and not rounding:
            x = self.made.groups["test"]["feats"]
            predicted = (x @ found.weight.T + found.bias).argmax(axis=1)
            place = SEEDS.index(seed)
            np.testing.assert_array_equal(predicted, self.arrays["test_pred"][place])


@pytest.fixture
def case(tmp_path):
    return Case(tmp_path)


class TestAlone:
    @pytest.mark.parametrize("ending", [".npz", ".safetensors"])
    def test_best(self, case, ending):
        made = case.export(f"head{ending}")
        case.check(case.root / f"head{ending}")
        assert made.seed == 5
        np.testing.assert_array_equal(made.head.weight, case.head(5).weight)
        hits = case.arrays["test_pred"][1] == case.made.groups["test"]["labels"]
        assert made.accuracy["overall"] == hits.mean()
        text = "\n".join(case.lines)
        assert "seed 5, the best of 3 seeds: 70.0 % on validation data" in text
        assert "2 of 6 rows change, all of 'few' classes" in text
        assert "predictions of 12 test samples are those in the result" in text
        assert "unchanged: few" in text

    def test_seed(self, case):
        assert case.export("head.npz", seed=8).seed == 8
        case.check(case.root / "head.npz", 8)

    def test_mean_has_an_accuracy_of_its_own(self, case):
        made = case.export("head.npz", seed="mean")
        assert made.seed is None
        case.check(case.root / "head.npz", "mean")
        head = case.head("mean")
        x, y = (case.made.groups["test"][name] for name in ("feats", "labels"))
        predicted = (x @ head.weight.T + head.bias).argmax(axis=1)
        assert made.accuracy["overall"] == (predicted == y).mean()
        assert f"overall {100 * (predicted == y).mean():.1f}" in "\n".join(case.lines)
        assert "mean of 3 seeds" in case.lines

    def test_says_by_how_much_rows_change(self, case):
        case.export("head.npz")
        norms = np.linalg.norm(case.made.weight, axis=1)[case.arrays["neighbors"]]
        moved = np.linalg.norm(case.head(5).weight - case.made.weight, axis=1)
        for place, label in enumerate(case.arrays["few_classes"]):
            assert moved[label] <= norms[place].max()
            line = (
                f"  class {label} name {label}: moves by {moved[label]:.3g} of at most "
                f"{norms[place].max():.3g}, its largest neighbor's norm"
            )
            assert line in case.lines

    def test_says_when_it_harms(self, tmp_path):
        case = Case(tmp_path, baseline_val_accuracy=np.asarray(0.75))
        case.export("head.npz")
        said = "note: on validation data the unchanged classifier gets 75.00 overall, m"
        assert [line[: len(said)] for line in case.lines].count(said) == 1

    def test_without_validation_data(self, tmp_path):
        nothing = np.full((3, 2), np.nan)
        case = Case(
            tmp_path, val_accuracy=nothing, baseline_val_accuracy=np.asarray(np.nan)
        )
        assert case.export("head.npz").seed is None
        assert any("mean of 3 seeds, as there is no valid" in x for x in case.lines)

    def test_without_test_data(self, case):
        for path in case.made.root.glob("data/features/m/*"):
            path.unlink()
        made = case.export("head.npz")
        assert made.accuracy is None
        case.check(case.root / "head.npz")
        text = "\n".join(case.lines)
        assert "predictions are not verified: the data of" in text
        assert "accuracy on test data, by the result: few 25.0" in text

    def test_without_anything_but_a_classifier(self, case):
        save_zip(case.root / "c.pth", {"m": {"fc.weight": case.made.weight,
                                             "fc.bias": case.made.bias}})  # fmt: skip
        case.made.registry.unlink()
        with pytest.raises(UserError, match="name its file by --into or --classifier"):
            case.export("head.npz")
        case.export("head.npz", classifier=case.root / "c.pth")
        case.check(case.root / "head.npz")

    def test_with_torch(self, case):
        torch = pytest.importorskip("torch")
        case.export("head.pth")
        case.check(case.root / "head.pth")
        found = torch.load(case.root / "head.pth", weights_only=True)
        layer = torch.nn.Linear(D, 6)
        layer.load_state_dict(found)
        x = torch.from_numpy(case.made.groups["test"]["feats"])
        predicted = layer(x).argmax(dim=1).numpy()
        np.testing.assert_array_equal(predicted, case.arrays["test_pred"][1])

    def test_without_torch(self, case, monkeypatch):
        monkeypatch.setattr(saved_heads.importlib.util, "find_spec", lambda name: None)
        with pytest.raises(UserError, match=r"head\.pth: PyTorch, which writes \.pth"):
            case.export("head.pth")
        assert not (case.root / "head.pth").exists()


SCALES = np.linspace(0.5, 2, 6, dtype=np.float32)
OTHER = np.arange(12, dtype=np.float32).reshape(4, 3)


def named(weight, bias, **more):
    inner = {"conv.weight": OTHER, "fc.weight": weight, "fc.bias": bias, **more}
    return {"state_dict": {k: v for k, v in inner.items() if v is not None}, "epoch": 3}


def scaled(made):
    return named(
        made.weight / SCALES[:, None], made.bias / SCALES, scales=SCALES.copy()
    )


def apart(made):
    """Scales in a part of their own, of shape (1, C), and what an optimizer keeps."""
    return {
        "epoch": 7,
        "state_dict_model": {"module.conv.weight": OTHER},
        "state_dict_classifier": {
            "module.fc.weight": made.weight / SCALES[:, None],
            "module.fc.bias": made.bias / SCALES,
        },
        "state_dict_lws_model": {"module.learned_norm": SCALES[None]},
        "optimizer": {"state": {0: {"momentum_buffer": made.weight + 1}}},
    }


def directions(made):
    norms = np.linalg.norm(made.weight, axis=1, keepdims=True)
    longer = np.arange(1, 7, dtype=np.float32)[:, None]
    return {
        "head.weight_g": norms,
        "head.weight_v": made.weight / norms * longer,
        "head.bias": made.bias,
    }


def side_by_side(made):
    parts = np.split(3 * made.weight, 3, axis=1)
    found = {f"experts.{i}.fc.weight": part.copy() for i, part in enumerate(parts)}
    return found | {f"experts.{i}.fc.bias": made.bias.copy() for i in range(3)}


def of_same_features(made):
    apart = np.random.default_rng(1).standard_normal((3, 6, D), np.float32)
    apart -= apart.mean(axis=0)
    return {f"experts.{i}.fc.weight": made.weight + apart[i] for i in range(3)} | {
        f"experts.{i}.fc.bias": made.bias.copy() for i in range(3)
    }


# What is in the file, what writes it, whether the head has biases, its key.
FORMS = {
    "zip.pth": (lambda m: named(m.weight, m.bias), save_zip, True, ""),
    "legacy.pth.tar": (lambda m: named(m.weight, m.bias), save_legacy, True, ""),
    "pickle.pkl": (lambda m: named(m.weight, m.bias), save_pickle, True, ""),
    "two.pth": (
        lambda m: {"best": named(m.weight, m.bias), "ema": named(m.weight + 1, m.bias)},
        save_zip,
        True,
        "best",
    ),
    "scales.pth": (scaled, save_zip, True, "fc"),
    "apart.pth": (apart, save_legacy, True, ""),
    "half.pth": (
        lambda m: named(m.weight.astype("f2"), m.bias.astype("f2")), save_zip, True, ""
    ),
    "brain.pth": (
        lambda m: named(
            m.weight.astype(ml_dtypes.bfloat16), m.bias.astype(ml_dtypes.bfloat16)
        ),
        save_legacy,
        True,
        "",
    ),
    "transposed.pth": (
        lambda m: named(np.ascontiguousarray(m.weight.T), None), save_zip, False, ""
    ),
    "fortran.pth": (
        lambda m: named(np.asfortranarray(m.weight), m.bias), save_zip, True, ""
    ),
    "convolution.pth": (
        lambda m: named(m.weight[:, :, None, None].copy(), m.bias), save_zip, True, ""
    ),
    "directions.pth": (directions, save_zip, True, ""),
    "probe.npz": (
        lambda m: {"coef_": m.weight, "intercept_": m.bias}, save_npz, True, ""
    ),
    "packed.npz": (
        lambda m: {"coef_": m.weight, "intercept_": m.bias},
        made_checkpoints.save_packed,
        True,
        "",
    ),
    "head.safetensors": (
        lambda m: {"a": OTHER, "head.fc.bias": m.bias, "head.fc.weight": m.weight},
        lambda path, value: safetensors.save(path, value) or path,
        True,
        "",
    ),
    "experts.pth": (side_by_side, save_zip, True, ""),
    "same_features.pth": (of_same_features, save_zip, True, "experts.*.fc.weight"),
}  # fmt: skip


def load(path):
    return {
        key: tensor.load()
        for key, tensor in heads.contents.read_contents(path).tensors.items()
    }


class TestInto:
    @pytest.mark.parametrize("name", FORMS)
    def test_forms(self, tmp_path, name):
        make, save, bias, key = FORMS[name]
        case = Case(tmp_path, bias=bias)
        source = save(tmp_path / name, make(case.made))
        before, old = source.read_bytes(), load(source)
        out = tmp_path / "out" / name
        made = case.export(out, into=[source], key=key)
        assert made.seed == 5
        rounding = {"half.pth": 2e-3, "brain.pth": 2e-2}.get(name, 0.0)
        case.check(out, rounding=rounding, key=key)
        assert source.read_bytes() == before
        new = load(out)
        assert list(new) == list(old)
        few = case.arrays["few_classes"]
        for key, array in old.items():
            assert (new[key].shape, new[key].dtype) == (array.shape, array.dtype)
            if np.array_equal(new[key], array):
                continue
            rows = np.moveaxis(
                np.asarray(new[key] != array), name == "transposed.pth", 0
            )
            changed = np.flatnonzero(rows.reshape(6, -1).any(axis=1))
            np.testing.assert_array_equal(changed, few)
        if rounding:
            kind = "float16" if name == "half.pth" else "bfloat16"
            assert any(f"by the rounding of {kind}" in line for line in case.lines)
        assert case.lines[-1].startswith(f"saved {out}: a copy of {source}, with other")

    @pytest.mark.parametrize("seed", [*SEEDS, "mean"])
    def test_every_seed(self, case, seed):
        source = save_zip(case.root / "a.pth", scaled(case.made))
        case.export(f"{seed}.pth", seed=seed, into=[source], key="fc")
        case.check(case.root / f"{seed}.pth", seed)

    def test_experts_get_their_number_of_times_their_part(self, case):
        source = save_zip(case.root / "a.pth", side_by_side(case.made))
        case.export("b.pth", into=[source])
        found, wanted = load(case.root / "b.pth"), case.head(5).weight
        for i in range(3):
            part = 3 * wanted[:, 4 * i : 4 * i + 4]
            np.testing.assert_allclose(found[f"experts.{i}.fc.weight"], part, atol=1e-6)

    def expert_files(self, case):
        for i, part in enumerate(np.split(3 * case.made.weight, 3, axis=1)):
            content = {"weight": part.copy(), "bias": case.made.bias}
            save_zip(case.root / f"e{i}.pth", content)
        listed = [
            {"classifier_loader": "LinearClassifierLoader", "classifier_file": name}
            for name in ("e0.pth", "e1.pth", "e2.pth")
        ]
        return save_pickle(case.root / "all.pth", listed)

    def test_list_of_experts(self, case):
        source = self.expert_files(case)
        case.export("out/mine.pth", into=[source])
        assert (case.root / "out/mine.pth").read_bytes() == source.read_bytes()
        names = {path.name for path in (case.root / "out").iterdir()}
        assert names == {"mine.pth", "e0.pth", "e1.pth", "e2.pth"}
        case.check(case.root / "out/mine.pth")

    def test_experts_one_by_one(self, case):
        listed = self.expert_files(case)
        files = [case.root / f"e{i}.pth" for i in range(3)]
        case.export("out", into=files)
        listed.rename(case.root / "out" / "all.pth")
        case.check(case.root / "out" / "all.pth")

    def test_list_of_files_elsewhere(self, case):
        source = self.expert_files(case)
        (case.root / "lists").mkdir()
        listed = [
            {
                "classifier_loader": "LinearClassifierLoader",
                "classifier_file": f"../e{i}.pth",
            }
            for i in range(3)
        ]
        source = save_pickle(case.root / "lists/all.pth", listed)
        with pytest.raises(UserError, match="which is not beside it"):
            case.export("out/mine.pth", into=[source])

    def test_index(self, case):
        parts = {
            "m-1.safetensors": {"a": OTHER},
            "m-2.safetensors": {"fc.weight": case.made.weight},
            "m-3.safetensors": {"fc.bias": case.made.bias},
        }
        for name, tensors in parts.items():
            safetensors.save(case.root / name, tensors)
        where = {key: name for name, part in parts.items() for key in part}
        index = case.root / "m.safetensors.index.json"
        index.write_text(json.dumps({"weight_map": where}))
        out = case.root / "out" / "m.safetensors.index.json"
        case.export(out, into=[index])
        names = {path.name for path in out.parent.iterdir()}
        assert names == {"m-2.safetensors", "m-3.safetensors", out.name}
        case.check(out)
        assert any("those with the classifier are written" in x for x in case.lines)

    def test_other_copies_stay_and_are_said(self, case):
        content = {
            "best": named(case.made.weight, case.made.bias),
            "ema": named(case.made.weight + 1, case.made.bias),
        }
        source = save_zip(case.root / "a.pth", content)
        case.export("b.pth", into=[source], key="best")
        key = "ema.state_dict.fc.weight"
        np.testing.assert_array_equal(
            load(case.root / "b.pth")[key], case.made.weight + 1
        )
        assert any(f"stay as they are: {key}" in line for line in case.lines)

    def test_normalized_rows_are_refused(self, tmp_path):
        case = Case(tmp_path, bias=False)
        norms = np.linalg.norm(case.made.weight, axis=1, keepdims=True)
        stored = case.made.weight.T.copy()
        case.made.weight /= norms
        case.made.dump_classifier()
        case.arrays = result_of(case.made)
        results_of_data.write(case.path, case.arrays)
        source = save_zip(tmp_path / "a.pth", named(stored, None))
        with pytest.raises(UserError, match="is normalized when it is used, which wo"):
            case.export("b.pth", into=[source])
        assert not (tmp_path / "b.pth").exists()

    def test_classifier_key_of_the_registry(self, case):
        content = {
            "best": named(case.made.weight, case.made.bias),
            "ema": named(case.made.weight + 1, case.made.bias),
        }
        save_zip(case.made.path(made_data.CLASSIFIER), content)
        case.made.write_registry(classifier_key="best")
        results_of_data.write(case.path, result_of(case.made))
        source = case.made.path(made_data.CLASSIFIER)
        case.export("b.pth", into=[source])
        case.check(case.root / "b.pth", key="best")


class TestOtherHeads:
    """Heads of other corrections, which may have other biases."""

    def save(self, case, source, head, key=""):
        original = corrected.Head(case.made.weight, case.made.bias)
        checkpoint = saved_heads.open_original([source], original=original, key=key)
        out = case.root / "out" / source.name
        saved_heads.save_into(checkpoint, head, out, original=original)
        return heads.read_head(out, key=key, num_features=D, num_classes=6)

    @pytest.mark.parametrize("make", [scaled, side_by_side, of_same_features])
    def test_biases(self, case, make):
        source = save_zip(case.root / "a.pth", make(case.made))
        key = "experts.*.fc.weight" if make is of_same_features else ""
        head = case.head(5)
        head.bias[1:4] += (0.5, -2, 1)
        found = self.save(case, source, head, key)
        np.testing.assert_allclose(found.bias, head.bias, atol=1e-6)
        np.testing.assert_allclose(found.weight, head.weight, atol=2e-6)

    def test_all_rows(self, case):
        source = save_zip(case.root / "a.pth", scaled(case.made))
        head = corrected.Head(case.made.weight * 3, case.made.bias)
        found = self.save(case, source, head)
        np.testing.assert_allclose(found.weight, head.weight, atol=1e-5)

    def test_nowhere_to_put_biases(self, tmp_path):
        case = Case(tmp_path, bias=False)
        source = save_zip(tmp_path / "a.pth", named(case.made.weight, None))
        head = case.head(5)
        head.bias[2] = 1
        with pytest.raises(
            UserError, match=r"there is no bias beside state_dict\.fc\.w"
        ):
            self.save(case, source, head)

    def test_scales_of_zero(self, case):
        scales = SCALES.copy()
        scales[3] = 0
        case.made.weight[3] = case.made.bias[3] = 0
        safe = np.maximum(scales, 0.1)
        content = named(
            case.made.weight / safe[:, None], case.made.bias / safe, scales=scales
        )
        source = save_zip(case.root / "a.pth", content)
        with pytest.raises(UserError, match="has zeros for classes that change"):
            self.save(case, source, case.head(5))

    def test_rows_that_stay_of_one_norm(self, tmp_path):
        # Where no length is lost, a normalized head takes them.
        case = Case(tmp_path, bias=False)
        norms = np.linalg.norm(case.made.weight, axis=1, keepdims=True)
        stored = case.made.weight.T.copy()
        original = corrected.Head(case.made.weight / norms, case.made.bias)
        source = save_zip(tmp_path / "a.pth", named(stored, None))
        checkpoint = saved_heads.open_original([source], original=original, key="")
        assert checkpoint.parts[0].form.normalized
        head = corrected.Head(original.weight.copy(), original.bias)
        head.weight[0] = original.weight[1]
        out = tmp_path / "b.pth"
        saved_heads.save_into(checkpoint, head, out, original=original)
        found = heads.read_head(out, num_features=D, normalize=True)
        np.testing.assert_allclose(found.weight, head.weight, atol=1e-6)


class TestErrors:
    def source(self, case, **changes):
        content = named(case.made.weight, case.made.bias) | changes
        return save_zip(case.root / "a.pth", content)

    def refuse(self, case, match, out="b.pth", **options):
        before = made_data.snapshot(case.root)
        with pytest.raises(UserError, match=match) as caught:
            case.export(out, **options)
        assert made_data.snapshot(case.root) == before
        return str(caught.value)

    def test_another_classifier(self, case):
        wrong = named(case.made.weight[::-1].copy(), case.made.bias)
        source = save_zip(case.root / "a.pth", wrong)
        self.refuse(case, r"a\.pth: its classifier is not the one that", into=[source])

    def test_other_biases(self, case):
        source = self.source(case)
        save_zip(source, named(case.made.weight, case.made.bias[::-1] + 3))
        self.refuse(case, "has it the same biases and scales", into=[source])

    def test_another_shape(self, case):
        source = save_zip(case.root / "a.pth", named(case.made.weight[:5], None))
        self.refuse(case, r"a\.pth: no linear classifier", into=[source])

    def test_no_such_key(self, case):
        source = self.source(case)
        self.refuse(case, "classifier_key 'nothing'", into=[source], key="nothing")

    def test_no_such_file(self, case):
        self.refuse(case, r"none\.pth", into=[case.root / "none.pth"])

    def test_not_a_checkpoint(self, case):
        (case.root / "a.txt").write_text("no")
        self.refuse(case, r"a\.txt", into=[case.root / "a.txt"])

    def test_no_such_seed(self, case):
        self.refuse(case, r"seed must be one of \[3, 5, 8\], got 4", "h.npz", seed=4)

    @pytest.mark.parametrize("link", [None, os.symlink, os.link])
    def test_into_itself(self, case, link):
        source = self.source(case)
        out = source
        if link is not None:
            out = case.root / "link.pth"
            link(source, out)
        self.refuse(case, "is the checkpoint itself", out, into=[source])

    def test_is_there_already(self, case):
        (case.root / "b.pth").write_text("mine")
        self.refuse(case, r"b\.pth: is there already", into=[self.source(case)])
        (case.root / "h.npz").write_text("mine")
        self.refuse(case, r"h\.npz: is there already", "h.npz")

    def test_another_ending(self, case):
        self.refuse(case, r"h\.txt: must end in \.npz, \.safetensors, ", "h.txt")
        source = self.source(case)
        self.refuse(case, r"must end in \.pth, too", "b.npz", into=[source])

    def test_base_rows_cannot_change(self, tmp_path):
        case = Case(tmp_path, few_classes=np.array([0, 3]))
        rows = case.arrays["weight_few"] * 50
        results_of_data.write(case.path, case.arrays, weight_few=rows)
        self.refuse(case, "is not the one that", "h.npz")

    def test_coefficients_of_something_else(self, case):
        alphas = case.arrays["alphas"].copy()
        alphas[..., 1:] *= 50
        few = case.arrays["few_classes"]
        sources = np.column_stack([few, case.arrays["neighbors"]])
        rows = np.einsum("sfj,fjd->sfd", alphas, case.made.weight[sources])
        results_of_data.write(
            case.path, case.arrays, alphas=alphas, weight_few=rows.astype(np.float32)
        )
        self.refuse(case, "more than the norm of its largest neighbor", "h.npz")

    def test_other_predictions(self, case):
        pred = case.arrays["test_pred"].copy()
        pred[1, :3] = (pred[1, :3] + 1) % 6
        results_of_data.write(case.path, case.arrays, test_pred=pred)
        self.refuse(case, "predicts 3 of 12 test samples otherwise", "h.npz")
        self.refuse(case, "predicts 3 of 12", into=[self.source(case)])

    @pytest.mark.parametrize("name", ["weight_few", "val_accuracy", "class_counts"])
    def test_array_is_missing(self, case, name):
        results_of_data.write(case.path, case.arrays, **{name: None})
        self.refuse(case, f"{name}.* missing", "h.npz")

    def test_rows_that_are_not_finite(self, case):
        rows = case.arrays["weight_few"].copy()
        rows[2, 0, 0] = np.nan
        results_of_data.write(case.path, case.arrays, weight_few=rows)
        message = r"weight_few must hold finite numbers"
        self.refuse(case, message, "h.npz", seed=8)
        self.refuse(case, message, "h.npz", seed="mean")

    def test_half_precision_too_small(self, tmp_path):
        case = Case(tmp_path)
        case.made.weight *= np.float32(60000 / np.abs(case.made.weight).max())
        case.made.dump_classifier()
        results_of_data.write(case.path, result_of(case.made))
        case.arrays = result_of(case.made)
        half = named(case.made.weight.astype("f2"), case.made.bias.astype("f2"))
        source = save_zip(tmp_path / "a.pth", half)
        assert np.abs(case.arrays["weight_few"][1]).max() > np.finfo("f2").max
        self.refuse(case, "are too large for float16", into=[source])

    def test_disk_is_full(self, case, monkeypatch):
        def full(*paths):
            raise OSError(28, "No space left on device")

        source = self.source(case)
        monkeypatch.setattr("shutil.copyfile", full)
        message = self.refuse(case, "cannot write: No space left", into=[source])
        assert message.startswith(str(case.root / "b.pth"))
        monkeypatch.setattr("alphanet_jax.files.write_npz", full)
        self.refuse(case, r"h\.npz: cannot write: No space left", "h.npz")

    def test_directory_is_a_file(self, case):
        (case.root / "file").write_text("mine")
        self.refuse(case, "cannot write", "file/b.pth", into=[self.source(case)])


class TestCommand:
    def run(self, capsys, *arguments):
        status = cli.main(["main.py", "export", *map(str, arguments)])
        out, err = capsys.readouterr()
        return status, out, err

    def test_runs(self, case, capsys):
        source = save_zip(case.root / "a.pth", scaled(case.made))
        out = case.root / "b.pth"
        status, text, err = self.run(
            capsys, f"--result={case.path.parent}", "--seed=8", f"--into={source}",
            "--classifier_key=fc", f"--out={out}",
        )  # fmt: skip
        assert status == 0, err
        case.check(out, 8, key="fc")
        assert text.splitlines()[-1].startswith(f"saved {out}: a copy of {source}")

    def test_several_files_after_into(self, case, capsys):
        TestInto().expert_files(case)
        files = [case.root / f"e{i}.pth" for i in range(3)]
        out = case.root / "out"
        arguments = [f"--result={case.path}", "--into", *files, f"--out={out}"]
        assert self.run(capsys, *arguments)[0] == 0
        assert len(list(out.iterdir())) == 3

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            ([], "--result is missing"),
            (["--result=r"], "--out is missing"),
            (["--result=none", "--out=a.npz"], "none: no such file"),
            (["--seed=first"], "--seed must be 'best', 'mean' or a seed, got 'first'"),
            (["--seed=99"], "seed must be one of [3, 5, 8], got 99"),
            (["--into=a", "--classifier=b"], "--classifier cannot be given"),
            (["--classifier_key=b"], "--classifier_key has no effect without --into"),
        ],
    )
    def test_errors(self, case, capsys, arguments, message):
        if arguments and not arguments[0].startswith("--result"):
            arguments = [f"--result={case.path}", "--out=h.npz", *arguments]
        status, _, err = self.run(capsys, *arguments)
        assert status == 1
        assert message in err
        assert len(err.splitlines()) == 1 or "loading" in err
        assert not Path("h.npz").exists()

    def test_relative_paths(self, case, capsys, monkeypatch):
        save_zip(case.root / "a.pth", named(case.made.weight, case.made.bias))
        monkeypatch.chdir(case.root)
        arguments = ["--result=r", "--into=a.pth", "--out=b.pth"]
        status, _, err = self.run(capsys, *arguments)
        assert status == 0, err
        case.check(case.root / "b.pth")

    def test_several_results(self, case, capsys):
        results_of_data.write(case.path.parent / "two" / "result.npz", case.arrays)
        arguments = f"--result={case.path.parent}", f"--out={case.root / 'h.npz'}"
        status, _, err = self.run(capsys, *arguments)
        assert status == 1
        assert "2 results below" in err
        assert "name one of result.npz, two/result.npz" in err
