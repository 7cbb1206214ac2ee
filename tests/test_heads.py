"""The linear head is found in the checkpoints of all programs, or named by its key."""

import json
import re

import made_data
import ml_dtypes
import numpy as np
import pytest
import torch_writer
from torch_writer import Unknown

from alphanet_jax import files, parsing
from alphanet_jax.data import heads
from alphanet_jax.data.heads import HeadForm, keys, list_tensors, read_head
from alphanet_jax.errors import UserError

C, D = 6, 10
RNG = np.random.default_rng(0)
WEIGHT = RNG.standard_normal((C, D)).astype(np.float32)
BIAS = RNG.standard_normal(C).astype(np.float32)
SCALES = RNG.uniform(0.5, 2, C).astype(np.float32)
OTHER = RNG.standard_normal((C, D)).astype(np.float32)
CONV = np.zeros((4, 3, 3, 3), np.float32)
ZEROS = np.zeros(C, np.float32)
FC = {"fc.weight": WEIGHT, "fc.bias": BIAS}


def form(weight_key, bias_key=None, **changes):
    made = dict.fromkeys(("scales_key",)) | {"transposed": False, "normalized": False}
    made |= {"dtype": "float32"} | changes
    return HeadForm(weight_key=weight_key, bias_key=bias_key, **made)


def check(head, weight=WEIGHT, bias=BIAS):
    assert head.weight.dtype == head.bias.dtype == np.float32
    assert head.weight.flags.c_contiguous
    np.testing.assert_allclose(head.weight, weight, rtol=1e-6)
    np.testing.assert_allclose(head.bias, bias, rtol=1e-6)


@pytest.fixture(params=torch_writer.FORMATS)
def saved(request, tmp_path):
    """Writes a file of torch.save in each of its formats."""

    def save(content, name="model.pth.tar"):
        torch_writer.save(content, tmp_path / name, request.param)
        return tmp_path / name

    return save


def find(path, **options):
    return read_head(path, **{"num_features": D, "num_classes": C} | options)


def fails(path, *texts, **options):
    """Checks an error: one line, and then what there is to choose from."""
    with pytest.raises(UserError) as caught:
        find(path, **options)
    first, *lines = str(caught.value).split("\n")
    assert first.startswith(f"{path}: ")
    assert all(line.startswith("  ") for line in lines)
    assert len(lines) <= 21
    for text in texts:
        assert text in str(caught.value)
    return lines


BACKBONE = {
    "module.conv1.weight": CONV,
    "module.bn1.weight": np.ones(4, np.float32),
    "module.bn1.num_batches_tracked": np.array(7),
}
RESNET = {
    "conv1.weight": CONV,
    "layer4.0.conv1.weight": np.ones((C, D, 1, 1), np.float32),
    "layer4.0.downsample.0.weight": np.ones((D, C, 1, 1), np.float32),
    **FC,
}
MOMENTS = {
    0: {"step": 3, "exp_avg": OTHER, "exp_avg_sq": OTHER**2},
    1: {"momentum_buffer": OTHER},
}
HALF = WEIGHT.astype(np.float16)

# Name -> content, head, form, and a part of what is said.
FOUND = {
    "plain": (
        {"weight": WEIGHT, "bias": BIAS},
        (WEIGHT, BIAS),
        form("weight", "bias"),
        None,
    ),
    "bias_is_none": (
        {"weight": WEIGHT, "bias": None},
        (WEIGHT, ZEROS),
        form("weight"),
        None,
    ),
    "no_bias": (
        {"weight": WEIGHT},
        (WEIGHT, ZEROS),
        form("weight"),
        "classifier: no bias (zeros)",
    ),
    "decoupling": (
        {
            "epoch": 90,
            "best_acc": np.float64(0.4),
            "centroids": None,
            "state_dict_best": {
                "feat_model": BACKBONE,
                "classifier": {"module.fc.weight": WEIGHT, "module.fc.bias": BIAS},
            },
        },
        (WEIGHT, BIAS),
        form(
            "state_dict_best.classifier.module.fc.weight",
            "state_dict_best.classifier.module.fc.bias",
        ),
        "classifier: state_dict_best.classifier.module.fc.weight",
    ),
    "centroids": (
        {"centroids": OTHER, "state_dict": FC},
        (WEIGHT, BIAS),
        form("state_dict.fc.weight", "state_dict.fc.bias"),
        None,
    ),
    "lws": (
        {
            "classifier": {
                "module.fc.weight": WEIGHT,
                "module.fc.bias": BIAS,
                "module.scales": SCALES,
            }
        },
        (WEIGHT * SCALES[:, None], BIAS * SCALES),
        form(
            "classifier.module.fc.weight",
            "classifier.module.fc.bias",
            scales_key="classifier.module.scales",
        ),
        "weight and bias multiplied by classifier.module.scales",
    ),
    "mislas": (
        {
            "state_dict_model": BACKBONE,
            "state_dict_classifier": {"module.fc.weight": WEIGHT},
            "state_dict_lws_model": {"module.learned_norm": SCALES[None]},
        },
        (WEIGHT * SCALES[:, None], ZEROS),
        form(
            "state_dict_classifier.module.fc.weight",
            scales_key="state_dict_lws_model.module.learned_norm",
        ),
        "no bias (zeros), weight multiplied by state_dict_lws_model.module.learned",
    ),
    "half": (
        {
            "head": {"weight": HALF},
            "tuner": {"down.weight": np.ones((3, D), HALF.dtype)},
        },
        (HALF.astype(np.float32), ZEROS),
        form("head.weight", dtype="float16"),
        None,
    ),
    "bfloat16": (
        {"head.weight": WEIGHT.astype(ml_dtypes.bfloat16)},
        (WEIGHT.astype(ml_dtypes.bfloat16).astype(np.float32), ZEROS),
        form("head.weight", dtype="bfloat16"),
        None,
    ),
    "float64": (
        {"head.weight": WEIGHT.astype(float), "head.bias": BIAS.astype(float)},
        (WEIGHT, BIAS),
        form("head.weight", "head.bias", dtype="float64"),
        None,
    ),
    "torchvision": (RESNET, (WEIGHT, BIAS), form("fc.weight", "fc.bias"), None),
    "timm": (
        {
            "arch": "vit",
            "args": Unknown("argparse.Namespace", {"lr": 0.1}),
            "state_dict": {
                "blocks.0.mlp.fc1.weight": np.ones((4 * D, D), np.float32),
                "blocks.0.mlp.fc2.weight": np.ones((D, 4 * D), np.float32),
                "blocks.0.mlp.fc2.bias": np.ones(D, np.float32),
                "head.fc.weight": WEIGHT,
                "head.fc.bias": BIAS,
            },
            "optimizer": {"state": MOMENTS},
        },
        (WEIGHT, BIAS),
        form("state_dict.head.fc.weight", "state_dict.head.fc.bias"),
        None,
    ),
    "moments_alone_at_the_top": (
        {"net": FC, "exp_avg": OTHER, "optimizer_states": [{"state": MOMENTS}]},
        (WEIGHT, BIAS),
        form("net.fc.weight", "net.fc.bias"),
        None,
    ),
    "equal_copies": (
        {"model": FC, "ema": dict(FC)},
        (WEIGHT, BIAS),
        form("model.fc.weight", "model.fc.bias"),
        "the same values are at ema.fc.weight",
    ),
    "same_object_twice": (
        {"state_dict": FC, "state_dict_best": FC},
        (WEIGHT, BIAS),
        form("state_dict.fc.weight", "state_dict.fc.bias"),
        None,
    ),
    "transposed": (
        {"state_dict": {"module.linear.weight": WEIGHT.T}},
        (WEIGHT, ZEROS),
        form("state_dict.module.linear.weight", transposed=True),
        "shape (10, 6) transposed",
    ),
    "transposed_in_memory_alone": (
        {"fc.weight": np.ascontiguousarray(WEIGHT.T).T, "fc.bias": BIAS},
        (WEIGHT, BIAS),
        form("fc.weight", "fc.bias"),
        None,
    ),
    "convolution": (
        {
            "conv1.weight": CONV,
            "head.weight": WEIGHT[:, :, None, None],
            "head.bias": BIAS,
        },
        (WEIGHT, BIAS),
        form("head.weight", "head.bias"),
        "a 1 x 1 convolution of shape (6, 10, 1, 1)",
    ),
    "weight_norm": (
        {"last.weight_v": WEIGHT, "last.weight_g": SCALES[:, None], "last.bias": BIAS},
        (
            WEIGHT / np.linalg.norm(WEIGHT, axis=1, keepdims=True) * SCALES[:, None],
            BIAS,
        ),
        form("last.weight_v", "last.bias", gain_key="last.weight_g"),
        "rows with the norms last.weight_g",
    ),
    "parametrized_weight_norm": (
        {
            "fc.parametrizations.weight.original0": SCALES[:, None],
            "fc.parametrizations.weight.original1": WEIGHT,
            "fc.bias": BIAS,
        },
        (
            WEIGHT / np.linalg.norm(WEIGHT, axis=1, keepdims=True) * SCALES[:, None],
            BIAS,
        ),
        form(
            "fc.parametrizations.weight.original1",
            "fc.bias",
            gain_key="fc.parametrizations.weight.original0",
        ),
        None,
    ),
    "other_names": (
        {"probe": {"W": WEIGHT, "b": BIAS}},
        (WEIGHT, BIAS),
        form("probe.W", "probe.b"),
        None,
    ),
    "a_pair": ([WEIGHT, BIAS], (WEIGHT, BIAS), form("0", "1"), None),
    "a_tensor": (WEIGHT, (WEIGHT, ZEROS), form(""), "classifier: (the array itself)"),
    "unused_beside": (
        {"fc.weight": WEIGHT, "fc.bias": BIAS, "fc.offsets": SCALES},
        (WEIGHT, BIAS),
        form("fc.weight", "fc.bias"),
        "not used are fc.offsets",
    ),
}


class TestFound:
    @pytest.mark.parametrize("name", FOUND)
    def test_in_torch_files(self, name, saved):
        content, wanted, stored, said = FOUND[name]
        head = find(saved(content))
        check(head, *wanted)
        assert head.forms == (stored,)
        assert said is None or said in "; ".join(head.remarks)
        assert "plain" not in name or not head.remarks

    @pytest.mark.parametrize(
        ("wanted", "bias"),
        [
            ({"coef_": WEIGHT, "intercept_": BIAS}, "intercept_"),
            ({"params.head.kernel": WEIGHT.T, "params.head.bias": BIAS}, "bias"),
            ({"fc_weight": WEIGHT, "fc_bias": BIAS}, "fc_bias"),
            ({"arr_0": WEIGHT}, None),
        ],
    )
    @pytest.mark.parametrize("ending", [".npz", ".ckpt"])
    def test_in_npz_files(self, wanted, bias, ending, tmp_path):
        path = tmp_path / f"probe{ending}"
        with path.open("wb") as file:
            np.savez_compressed(file, **wanted)
        head = find(path)
        check(head, WEIGHT, ZEROS if bias is None else BIAS)
        assert head.forms[0].transposed == any("kernel" in key for key in wanted)
        assert (head.forms[0].bias_key or "").endswith(bias or "")

    @pytest.mark.parametrize("ending", [".safetensors", ".bin"])
    def test_in_safetensors(self, ending, tmp_path):
        path = tmp_path / f"model{ending}"
        made_data.safetensors(
            path, **{"stem.weight": CONV, "head.fc.weight": HALF, "head.fc.bias": BIAS}
        )
        head = find(path)
        check(head, HALF.astype(np.float32))
        assert head.forms == (form("head.fc.weight", "head.fc.bias", dtype="float16"),)

    def test_in_an_array(self, tmp_path):
        np.save(tmp_path / "w.npy", WEIGHT)
        check(find(tmp_path / "w.npy"), WEIGHT, ZEROS)

    def test_without_knowing_sides(self, saved):
        check(read_head(saved({"fc.weight": WEIGHT.T, "fc.bias": BIAS})))
        head = read_head(saved({"fc.weight": WEIGHT}))
        check(head, WEIGHT, ZEROS)
        assert "taken as (classes, features)" in head.remarks[0]
        path = saved({"a.weight": WEIGHT, "b.weight": np.ones((C, 3), np.float32)})
        check(read_head(path, num_features=D), WEIGHT, ZEROS)
        fails(path, "2 tensors may be the classifier for 6 classes", num_features=None)

    def test_a_square_one_is_not_transposed(self, saved):
        square = WEIGHT[:, :C]
        head = read_head(saved({"fc.weight": square}), num_features=C, num_classes=C)
        check(head, square, ZEROS)
        assert "shape (6, 6) taken as (classes, features)" in head.remarks[0]
        path = saved({"fc.kernel": square})
        check(read_head(path, num_features=C, num_classes=C), square.T, ZEROS)

    def test_rows_are_normalized_on_request(self, saved):
        rows = WEIGHT / np.linalg.norm(WEIGHT, axis=1, keepdims=True)
        head = find(saved({"fc.weight": WEIGHT.T}), normalize=True)
        check(head, rows, ZEROS)
        assert head.forms == (form("fc.weight", transposed=True, normalized=True),)
        assert "rows normalized" in head.remarks[0]
        scaled = saved({"fc.weight": WEIGHT, "fc.bias": BIAS, "scales": SCALES})
        check(find(scaled, normalize=True), rows * SCALES[:, None], BIAS * SCALES)
        one = np.arange(len(WEIGHT))[:, None] > 0  # the others stay 0
        found = find(saved({"fc.weight": one * WEIGHT}), normalize=True)
        check(found, one * rows, ZEROS)

    def test_scales_of_another_head_are_left(self, saved):
        content = {
            "best": {"fc.weight": WEIGHT, "fc.bias": BIAS, "scales": SCALES},
            "last": {"fc.weight": OTHER, "fc.bias": BIAS},
        }
        head = find(saved(content), key="last")
        check(head, OTHER, BIAS)
        head = find(saved(content), key="best")
        check(head, WEIGHT * SCALES[:, None], BIAS * SCALES)


def shards(tmp_path, ending, write, **changes):
    """Writes a checkpoint in two parts, with its index."""
    parts = {"conv.weight": "a", "fc.weight": "b", "fc.bias": "a"} | changes
    tensors = {"conv.weight": CONV, **FC}
    for part in "ab":
        write(
            tmp_path / f"{part}{ending}",
            {k: t for k, t in tensors.items() if parts.get(k) == part},
        )
    index = tmp_path / f"model{ending}.index.json"
    where = {key: f"{part}{ending}" for key, part in parts.items()}
    index.write_text(json.dumps({"metadata": {}, "weight_map": where}))
    return index


class TestParts:
    def test_safetensors(self, tmp_path):
        index = shards(
            tmp_path, ".safetensors", lambda p, t: made_data.safetensors(p, **t)
        )
        check(find(index))
        sources = heads.read_path(index).sources
        assert sources == {
            index: None,
            tmp_path / "b.safetensors": "float32",
            tmp_path / "a.safetensors": "float32",
        }
        assert [t.key for t in list_tensors(index)] == [
            *("conv.weight", "fc.bias", "fc.weight")
        ]

    def test_torch(self, tmp_path):
        check(find(shards(tmp_path, ".bin", lambda p, t: torch_writer.save(t, p))))

    def test_a_part_that_is_not_there(self, tmp_path):
        """It matters only where something in it is needed."""
        index = shards(tmp_path, ".bin", lambda p, t: torch_writer.save(t, p), x="c")
        check(find(index))
        (tmp_path / "b.bin").unlink()
        fails(index, "not loaded: fc.weight (tensor of b.bin, missing)")

    @pytest.mark.parametrize(
        ("text", "error"),
        [
            ("[", "is not JSON"),
            ("[" * 100_000, "is not JSON"),
            ("[]", "expected a weight_map"),
            ('{"weight_map": ["a"]}', "expected a weight_map"),
            ('{"weight_map": {"a": 1}}', "expected a weight_map"),
            ('{"weight_map": {"a": "../a.bin"}}', "expected a weight_map"),
            ('{"weight_map": {"a": "/etc/passwd"}}', "expected a weight_map"),
            ('{"weight_map": {"a": "m.index.json"}}', "expected a weight_map"),
            ('{"weight_map": {}}', "it holds no tensors"),
        ],
    )
    def test_an_index_that_is_not_right(self, text, error, tmp_path):
        path = tmp_path / "m.index.json"
        path.write_text(text)
        fails(path, error)
        fails(tmp_path / "no.index.json", "No such file")


NESTED = {
    "epoch": 3,
    "state_dict_best": {
        "classifier": {"module.fc.weight": WEIGHT, "module.fc.bias": BIAS}
    },
    "state_dict": {"classifier": {"module.fc.weight": OTHER}},
}


class TestKeys:
    @pytest.mark.parametrize(
        "key",
        [
            "state_dict_best.classifier.module.fc.weight",
            "state_dict_best.classifier.module.fc",
            "state_dict_best.classifier.fc.weight",
            "state_dict_best.classifier.fc",
            "state_dict_best.module.classifier",
            "state_dict_best",
        ],
    )
    def test_named(self, key, saved):
        head = find(saved(NESTED), key=key)
        check(head)
        assert head.forms[0].bias_key == "state_dict_best.classifier.module.fc.bias"

    def test_ends_of_keys(self, saved):
        path = saved({"a": {"net.fc.weight": WEIGHT, "net.fc.bias": BIAS, "z": OTHER}})
        for key in ("fc.weight", "net.fc", "fc", "net", "a", "a.net.fc.weight"):
            check(find(path, key=key))
        check(find(path, key="z"), OTHER, ZEROS)
        check(find(path, key="a.z"), OTHER, ZEROS)

    def test_wrappers(self, saved):
        path = saved({"_orig_mod.module.fc.weight": WEIGHT, "ema.fc.weight": OTHER})
        check(find(path, key="fc.weight"), WEIGHT, ZEROS)
        check(find(path, key="module.fc"), WEIGHT, ZEROS)

    def test_by_either_name_of_one_object(self, saved):
        path = saved(
            {"first": {"net": FC}, "second": FC, "other": {"fc.weight": OTHER}}
        )
        for key in ("second", "second.fc", "second.fc.weight", "first.net.fc"):
            head = find(path, key=key)
            check(head)
            assert head.forms[0].weight_key == "first.net.fc.weight"

    def test_several(self, saved):
        lines = fails(
            saved(NESTED),
            "2 tensors may be the classifier for 10 features and 6 classes: name one",
            "classifier_key=state_dict_best.classifier.module.fc.weight",
        )
        assert [line.split() for line in lines] == [
            [f"{name}.classifier.module.fc.weight", "(6,", "10)", "float32"]
            for name in ("state_dict_best", "state_dict")
        ]
        fails(saved(NESTED), "2 tensors may", key="fc")

    def test_very_many(self, saved):
        many = {f"a{i}b.x{i}.weight": WEIGHT + i for i in range(40)}
        lines = fails(saved(many), "40 tensors may be the classifier")
        assert lines[-1] == "  and 20 more"

    @pytest.mark.parametrize(
        ("key", "error"),
        [
            ("head", "nothing in it has the classifier_key 'head'; name its weight"),
            ("fc.bias", "'fc.bias' is float32 of shape (6,); a weight is a matrix"),
            ("steps", "'steps' is int64 of shape (6, 10); a weight is a matrix"),
            (
                "small.weight",
                "'small.weight' is float32 of shape (6, 3), no head for 10",
            ),
            (
                "small",
                "no linear classifier for 10 features and 6 classes was found in",
            ),
        ],
    )
    def test_none(self, key, error, saved):
        small = np.ones((C, 3), np.float32)
        steps = np.ones((C, D), np.int64)
        lines = fails(
            saved({**FC, "small.weight": small, "steps": steps}), error, key=key
        )
        if lines:
            assert lines[0].split() == ["fc.weight", "(6,", "10)", "float32"]

    def test_another_number_of_classes_is_left_to_who_knows_them(self, saved):
        path = saved(FC)
        check(find(path, num_classes=C + 1, key="fc.weight"))
        fails(path, "no linear classifier for 10 features and 7 classes", num_classes=7)

    def test_shown_keys_cannot_draw_on_a_terminal(self, saved):
        lines = fails(saved({"a\x1b[2J\n": WEIGHT, "b": OTHER}), "2 tensors")
        assert "a\\x1b[2J\\n" in lines[0]


EXPERTS = [RNG.standard_normal((C, D)).astype(np.float32) for _ in range(3)]
RIDE = {
    "arch": "RIDE",
    "config": Unknown("parse_config.ConfigParser", {"a": 1}),
    "state_dict": {
        "backbone.conv1.weight": CONV,
        **{f"backbone.linears.{i}.weight": w.T for i, w in enumerate(EXPERTS)},
    },
}


def check_experts(head, weights, biases=None, shared=False):
    """Compares with the mean of the logits of experts."""
    shape = np.shape(weights[0])[1] if shared else sum(w.shape[1] for w in weights)
    x = RNG.standard_normal((5, shape)).astype(np.float32)
    parts = (
        [x] * len(weights)
        if shared
        else np.split(x, np.cumsum([w.shape[1] for w in weights])[:-1], axis=1)
    )
    biases = [0.0] * len(weights) if biases is None else biases
    logits = [p @ w.T + b for p, w, b in zip(parts, weights, biases, strict=True)]
    np.testing.assert_allclose(
        x @ head.weight.T + head.bias, np.mean(logits, axis=0), rtol=1e-4, atol=1e-5
    )
    assert len(head.forms) == len(weights)
    assert all(each.shares_features == shared for each in head.forms)
    assert f"mean of {len(weights)} experts" in head.remarks[0]


class TestExperts:
    def test_with_their_features_side_by_side(self, saved):
        head = find(saved(RIDE), num_features=3 * D)
        check_experts(head, EXPERTS)
        assert head.forms == tuple(
            form(f"state_dict.backbone.linears.{i}.weight", transposed=True)
            for i in range(3)
        )
        check_experts(find(saved(RIDE), num_features=3 * D, key="linears"), EXPERTS)

    def test_of_different_widths_in_the_order_of_their_numbers(self, saved):
        weights = [RNG.standard_normal((C, w)).astype(np.float32) for w in range(2, 13)]
        biases = RNG.standard_normal((11, C)).astype(np.float32)
        content = {}
        for i in sorted(range(11), key=str):
            content |= {
                f"expert{i}.fc.weight": weights[i],
                f"expert{i}.fc.bias": biases[i],
            }
        width = sum(range(2, 13))
        check_experts(find(saved(content), num_features=width), weights, biases)

    def test_of_the_same_features_only_if_named(self, saved):
        path = saved(RIDE)
        fails(
            path, "classifier_key=state_dict.backbone.linears.*.weight takes the mean"
        )
        for key in ("state_dict.backbone.linears", "linears", "linears.*"):
            check_experts(find(path, key=key), EXPERTS, shared=True)
        check(find(path, key="linears.1"), EXPERTS[1], ZEROS)
        assert len(find(path, key="linears.1").forms) == 1

    def test_copies_of_one(self, saved):
        content = {f"linears.{i}.weight": WEIGHT for i in range(2)}
        check_experts(find(saved(content)), [WEIGHT] * 2, shared=True)

    def test_two_sets(self, saved):
        more = {f"ema.linears.{i}.weight": w.T + 1 for i, w in enumerate(EXPERTS)}
        path = saved(RIDE | more)
        lines = fails(path, "6 tensors may be", num_features=3 * D)
        assert len(lines) == 6
        check_experts(find(path, num_features=3 * D, key="state_dict"), EXPERTS)
        same = {f"ema.linears.{i}.weight": w.T for i, w in enumerate(EXPERTS)}
        check_experts(find(saved(RIDE | same), num_features=3 * D), EXPERTS)

    def test_in_files_of_their_own(self, saved, tmp_path):
        saved({"fc.weight": EXPERTS[0], "fc.bias": BIAS}, "a.pth")
        (tmp_path / "sub").mkdir()
        np.savez(tmp_path / "sub/b.npz", coef_=EXPERTS[1], intercept_=BIAS)
        saved({"m": {"linear.weight": EXPERTS[2].T}, "scales": SCALES}, "c.pth")
        names = ("a.pth", "sub/b.npz", "c.pth")
        path = saved(
            [
                {"classifier_loader": "LinearClassifierLoader", "classifier_file": n}
                for n in names
            ],
            "list.pth",
        )
        weights = [*EXPERTS[:2], EXPERTS[2] * SCALES[:, None]]
        head = find(path, num_features=3 * D)
        check_experts(head, weights, [BIAS, BIAS, ZEROS])
        assert [each.file for each in head.forms] == list(names)
        assert [each.weight_key for each in head.forms] == [
            *("fc.weight", "coef_", "m.linear.weight")
        ]
        check_experts(find(path), weights, [BIAS, BIAS, ZEROS], shared=True)
        assert heads.read_path(path).sources.keys() == {
            path,
            *(tmp_path / name for name in names),
        }


class TestRefused:
    def test_a_whole_model(self, saved):
        for name in ("torch.nn.modules.linear.Linear", "mine.Net"):
            path = saved(Unknown(name, {"_parameters": {"weight": WEIGHT}}))
            fails(path, f"refuses to load '{name}'", "torch.save(model.state_dict(), ")
            path = saved({"epoch": 1, "model": Unknown(name, {})})
            fails(
                path,
                f"not loaded: model ({name}); ",
                "such as torch.save(model.state_dict()",
            )
            path = saved({"net": {"model": Unknown(name, {})}, **FC})
            fails(path, f"net.model ({name}) is not loaded; save arrays", key="model")

    def test_a_fitted_estimator(self, saved):
        path = saved({"clf": Unknown("sklearn.linear_model.LogisticRegression", {})})
        fails(path, "numpy.savez(FILE, coef_=model.coef_, intercept_=model.intercept_)")

    def test_objects_beside_the_head_do_not_matter(self, saved):
        check(find(saved({"model": Unknown("mine.Net", {"weight": OTHER}), **FC})))

    def test_weights_that_layers_make_anew(self, saved):
        path = saved({"fc.weight_orig": WEIGHT, "fc.weight_u": BIAS, "fc.bias": BIAS})
        lines = fails(path, "no linear classifier")
        assert lines[0].endswith("float32 (of pruning or spectral norm)")
        fails(path, "torch.nn.utils", key="fc.weight_orig")
        fails(saved({"fc.weight_v": WEIGHT}), "no linear classifier")

    def test_a_bias_that_does_not_fit(self, saved):
        fails(saved({"weight": WEIGHT, "bias": BIAS[:4]}), "bias must have shape (6,)")
        fails(saved({"fc.weight": WEIGHT, "fc.bias": BIAS[:4]}), "no linear classifier")
        unknown = Unknown("mine.Bias", {})
        fails(saved({"fc.weight": WEIGHT, "fc.bias": unknown}), "no linear classifier")

    def test_two_scales(self, saved):
        path = saved({**FC, "a.scales": SCALES, "b.scales": SCALES})
        fails(path, "a.scales and b.scales may both be the scales of fc.weight")

    @pytest.mark.parametrize("name", ["fc.weight", "fc.bias"])
    def test_what_is_not_finite(self, name, saved):
        broken = FC[name].copy()
        broken.flat[3] = np.nan
        fails(saved({**FC, name: broken}), f"{name} must be finite in float32, got nan")

    def test_no_tensors(self, saved):
        for content in ({}, {"a": 1}, [], "text"):
            assert not fails(saved(content), "it holds no tensors")

    def test_files_that_are_not_there_or_damaged(self, saved, tmp_path):
        fails(tmp_path / "no.pth", "No such file")
        fails(tmp_path / "no.npz", "no such file")
        path = saved(FC)
        path.write_bytes(path.read_bytes()[:-40])
        fails(path, "")
        (tmp_path / "x.npz").write_bytes(b"PK\x03\x04")
        fails(tmp_path / "x.npz", "not a readable .npz file")
        with (tmp_path / "o.npz").open("wb") as file:
            np.savez(file, weight=np.array([None, 1]), fc=WEIGHT)
        check(find(tmp_path / "o.npz"), WEIGHT, ZEROS)


class TestHostile:
    def test_arrays_that_grow_are_not_read(self, tmp_path, monkeypatch):
        monkeypatch.setattr(parsing, "FREE_BYTES", 1 << 16)
        with (tmp_path / "zeros.npz").open("wb") as file:
            np.savez_compressed(file, weight=np.zeros((2_000, 2_000), np.float32))
        fails(tmp_path / "zeros.npz", "takes 16,000,000 bytes", num_features=2_000,
              num_classes=2_000)  # fmt: skip

    def test_members_that_nobody_asks_for_stay_packed(self, tmp_path, monkeypatch):
        asked = []
        read = files.open_npz

        def noting(path, names=None):
            asked.extend(names)
            return read(path, names)

        monkeypatch.setattr(files, "open_npz", noting)
        np.savez_compressed(tmp_path / "m.npz", **FC, big=np.zeros(10_000_000))
        check(find(tmp_path / "m.npz"))
        assert sorted(asked) == ["fc.bias", "fc.weight"]

    def test_containers_within_themselves(self, saved):
        loop = {"fc.weight": WEIGHT}
        loop["self"] = loop
        pairs = [WEIGHT]
        for _ in range(64):
            pairs = [pairs, pairs]
        path = saved({"loop": loop, "pairs": pairs})
        assert {t.key for t in list_tensors(path)} == {"loop.fc.weight"}
        check(find(path), WEIGHT, ZEROS)

    def test_very_many_tensors(self, tmp_path):
        content = {f"{i}.{i}.1.1.1.1.1.weight": WEIGHT for i in range(300)}
        path = tmp_path / "many.pth"
        torch_writer.save({**content, **FC}, path)
        fails(path, "301 tensors may be", key="")


def test_parts_of_keys():
    assert keys.parts("module.a._orig_mod.b.weight") == ("a", "b", "weight")
    assert keys.bias_keys("a.Weight") == ["a.bias", "a.BIAS", "a.Bias"]
    assert keys.gain_key("a.original1") is None
    assert not keys.is_weight("a.weight_orig")
    for key in ("opt.a", "x.momentum_buffer", "lr_schedulers.0", "optimizer_states.0"):
        assert keys.is_of_training(key)
    assert not keys.is_of_training("optics.fc.weight") or re.match("optim", "optics")


def test_the_files_are_what_torch_writes(tmp_path):
    torch = pytest.importorskip("torch")
    content = {
        "a": {"fc.weight": WEIGHT.T, "half": HALF, "n": np.array(3)},
        "more": [1, None, 2.5, "x", (True, False)],
    }
    for name in torch_writer.FORMATS:
        torch_writer.save(content, tmp_path / name, name)
        found = torch.load(tmp_path / name, weights_only=True)
        assert found["more"] == content["more"]
        for key, array in content["a"].items():
            np.testing.assert_array_equal(found["a"][key].numpy(), array)
