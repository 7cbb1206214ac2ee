"""From a model of PyTorch to a corrected one, and what refuses to be one."""

import numpy as np
import pytest
from test_experiment import SPLITS, make_dataset

import alphanet_jax
from alphanet_jax.correction import Correction
from alphanet_jax.data import heads
from alphanet_jax.errors import UserError
from alphanet_jax.results.corrected import Head

DATA = make_dataset()
SEEDS = 3


@pytest.fixture
def torch():
    return pytest.importorskip("torch")


@pytest.fixture(scope="module")
def correction():
    return _made()


def _made(bias=DATA.bias):
    """A correction with coefficients that were drawn, not trained."""
    rng = np.random.default_rng(0)
    few = np.sort(SPLITS["few"])
    base = np.setdiff1d(np.arange(len(DATA.weight)), few)
    alphas = np.ones((SEEDS, len(few), 4), np.float32)
    alphas[..., 1:] = rng.dirichlet((1, 1, 1), alphas.shape[:2])
    neighbors = np.stack([rng.permutation(base)[:3] for _ in few])
    sources = DATA.weight[np.column_stack([few, neighbors])]
    result = {
        "seeds": np.arange(SEEDS),
        "few_classes": few,
        "neighbors": neighbors,
        "alphas": alphas,
        "weight_few": np.einsum("sfj,fjd->sfd", alphas, sources),
        "val_accuracy": np.array([[0.3], [0.5], [0.4]]),
        "selected_epoch": np.zeros(SEEDS, int),
        "baseline_val_accuracy": np.asarray(0.2),
    }
    return Correction(Head(DATA.weight, bias), result, {}, True)


def _fit(weight, bias, **changes):
    options = {
        "val": (DATA.val.features, DATA.val.labels),
        "test": (DATA.test.features, DATA.test.labels),
        "splits": SPLITS,
        "n_neighbors": 3,
        "hdims": (8, 4),
        "train_epochs": 3,
        "min_epochs": 1,
        "seeds": SEEDS,
    }
    return alphanet_jax.fit(
        DATA.train.features, DATA.train.labels, weight, bias, **(options | changes)
    )


def _model(torch, weight=DATA.weight, bias=DATA.bias, **more):
    """A model whose classifier is `fc`."""
    model = torch.nn.Module()
    model.body = torch.nn.Identity()
    model.fc = torch.nn.Linear(weight.shape[1], len(weight), bias=bias is not None)
    model.fc.weight.data = torch.from_numpy(np.array(weight))
    if bias is not None:
        model.fc.bias.data = torch.from_numpy(np.array(bias))
    for name, value in more.items():
        setattr(model, name, value)
    return model


def _predict(torch, layer, features=DATA.test.features):
    with torch.no_grad():
        return layer(torch.from_numpy(np.asarray(features))).argmax(dim=1).numpy()


class TestTrained:
    """A model that is trained here, corrected, and put back both ways."""

    @pytest.fixture
    def model(self, torch):
        torch.manual_seed(0)
        model = _model(torch)
        x = torch.from_numpy(np.array(DATA.train.features))
        y = torch.from_numpy(np.array(DATA.train.labels, np.int64))
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        for _ in range(20):
            optimizer.zero_grad()
            torch.nn.functional.cross_entropy(model.fc(x), y).backward()
            optimizer.step()
        return model

    @pytest.mark.slow
    def test_patched_models_predict_what_results_say(self, torch, model, tmp_path):
        path = tmp_path / "model.pth.tar"
        state = {"state_dict": model.state_dict(), "arch": "small", "epoch": 20}
        torch.save(state, path)
        correction = _fit(model.fc.weight, model.fc.bias)
        before = _predict(torch, model.fc)
        np.testing.assert_array_equal(before, correction.result["baseline_test_pred"])
        for index in range(SEEDS):
            wanted = correction.result["test_pred"][index]
            # In the file, and loaded into a new model.
            out = tmp_path / f"{index}.pth.tar"
            correction.save(out, seed=index, into=path)
            other = _model(torch)
            loaded = torch.load(out, weights_only=True)
            assert loaded["arch"] == "small"
            other.load_state_dict(loaded["state_dict"])
            np.testing.assert_array_equal(_predict(torch, other.fc), wanted)
            # In the model itself.
            same = alphanet_jax.patch_torch(model, "fc", correction, seed=index)
            assert same is model
            np.testing.assert_array_equal(_predict(torch, model.fc), wanted)
            assert torch.equal(model.fc.weight, other.fc.weight)
            assert torch.equal(model.fc.bias, other.fc.bias)
        alphanet_jax.patch_torch(model, "fc", correction, seed="mean")
        mean = correction.head("mean")
        np.testing.assert_array_equal(model.fc.weight.detach().numpy(), mean.weight)


class TestPatch:
    def test_only_rows_of_few_classes(self, torch, correction):
        model = _model(torch)
        parameter, version = model.fc.weight, model.fc.weight.data_ptr()
        alphanet_jax.patch_torch(model, "fc", correction)
        assert model.fc.weight is parameter
        assert parameter.data_ptr() == version
        assert parameter.requires_grad
        np.testing.assert_array_equal(
            parameter.detach().numpy(), correction.head().weight
        )
        np.testing.assert_array_equal(model.fc.bias.detach().numpy(), DATA.bias)

    @pytest.mark.parametrize("dtype", ["float64", "float16", "bfloat16"])
    def test_keeps_the_dtype(self, torch, correction, dtype):
        kind = getattr(torch, dtype)
        model = _model(torch).to(kind)
        base = model.fc.weight.detach().clone()
        alphanet_jax.patch_torch(model, "fc", correction)
        assert model.fc.weight.dtype == kind
        few = correction.result["few_classes"]
        wanted = torch.from_numpy(correction.head().weight[few]).to(kind)
        assert torch.equal(model.fc.weight[few].detach(), wanted)
        others = np.setdiff1d(np.arange(len(base)), few)
        assert torch.equal(model.fc.weight[others].detach(), base[others])

    def test_within_others(self, torch, correction):
        model = torch.nn.DataParallel(_model(torch))
        alphanet_jax.patch_torch(model, "module.fc", correction, seed=1)
        np.testing.assert_array_equal(
            model.module.fc.weight.detach().numpy(), correction.head(1).weight
        )

    def test_the_layer_itself(self, torch, correction):
        layer = _model(torch).fc
        alphanet_jax.patch_torch(layer, "", correction)
        np.testing.assert_array_equal(
            layer.weight.detach().numpy(), correction.head().weight
        )

    @pytest.mark.parametrize("name", ["scales", "learned_norm"])
    def test_scales(self, torch, correction, name):
        scales = np.linspace(0.5, 2, len(DATA.weight), dtype=np.float32)
        parameter = torch.nn.Parameter(torch.from_numpy(scales))
        model = _model(
            torch,
            DATA.weight / scales[:, None],
            DATA.bias / scales,
            **{name: parameter},
        )
        alphanet_jax.patch_torch(model, "fc", correction)
        used = model.fc.weight.detach().numpy() * scales[:, None]
        np.testing.assert_allclose(used, correction.head().weight, atol=1e-5)
        np.testing.assert_array_equal(parameter.detach().numpy(), scales)

    def test_scales_that_were_not_part_of_it(self, torch, correction):
        scales = torch.nn.Parameter(torch.full((len(DATA.weight),), 2.0))
        model = _model(torch, scales=scales)
        alphanet_jax.patch_torch(model, "fc", correction)
        np.testing.assert_array_equal(
            model.fc.weight.detach().numpy(), correction.head().weight
        )

    def test_convolution(self, torch, correction):
        classes, features = DATA.weight.shape
        layer = torch.nn.Conv2d(features, classes, 1)
        layer.weight.data = torch.from_numpy(DATA.weight[:, :, None, None].copy())
        layer.bias.data = torch.from_numpy(np.array(DATA.bias))
        alphanet_jax.patch_torch(layer, "", correction)
        np.testing.assert_array_equal(
            layer.weight.detach().numpy()[:, :, 0, 0], correction.head().weight
        )

    def test_no_bias(self, torch):
        correction = _made(np.zeros_like(DATA.bias))
        model = _model(torch, bias=None)
        alphanet_jax.patch_torch(model, "fc", correction)
        np.testing.assert_array_equal(
            model.fc.weight.detach().numpy(), correction.head().weight
        )


class TestErrors:
    def refuse(self, model, name, correction, match):
        before = {key: value.clone() for key, value in model.state_dict().items()}
        with pytest.raises(UserError, match=match):
            alphanet_jax.patch_torch(model, name, correction)
        assert all((model.state_dict()[key] == before[key]).all() for key in before)

    def test_no_such_layer(self, torch, correction):
        message = "the model has no layer 'fcs': did you mean 'fc'"
        self.refuse(_model(torch), "fcs", correction, message)
        self.refuse(_model(torch), "fc.linear", correction, "no layer 'fc.linear'")

    def test_no_layer_of_weights(self, torch, correction):
        message = "'body' has no weight, so it is no linear layer"
        self.refuse(_model(torch), "body", correction, message)
        self.refuse(_model(torch), "", correction, "in it are 'fc'")

    def test_another_shape(self, torch, correction):
        model = _model(torch, DATA.weight[1:], DATA.bias[1:])
        self.refuse(model, "fc", correction, r"has a weight of shape \(\d+, \d+\), and")

    def test_another_classifier(self, torch, correction):
        model = _model(torch, DATA.weight[::-1])
        self.refuse(model, "fc", correction, "'fc' is not the layer that was corrected")
        model = _model(torch, bias=DATA.bias + 1)
        self.refuse(model, "fc", correction, "'fc' is not the layer that was corrected")

    def test_transposed(self, torch, correction):
        class Normed(torch.nn.Module):
            def __init__(self):
                super().__init__()
                turned = torch.from_numpy(DATA.weight.T.copy())
                self.weight = torch.nn.Parameter(turned)

        message = "such layers normalize it, and take no rows as they are"
        self.refuse(Normed(), "", correction, message)

    def test_weight_norm(self, torch, correction):
        model = _model(torch)
        torch.nn.utils.parametrizations.weight_norm(model.fc)
        self.refuse(model, "fc", correction, "makes its weight of other tensors")

    def test_other_biases(self, torch, correction):
        moved = Moved(correction.original, correction.result, correction.config, True)
        self.refuse(_model(torch), "fc", moved, "the correction has other biases")


class Moved(Correction):
    def head(self, seed="best"):
        head = super().head(seed)
        return head._replace(bias=head.bias + 1)


class TestSave:
    """`Correction.save`, which needs no torch."""

    def test_into_a_checkpoint(self, correction, tmp_path):
        path = tmp_path / "probe.npz"
        np.savez(path, coef_=DATA.weight, intercept_=DATA.bias, classes_=np.arange(3))
        lines = correction.save(tmp_path / "new.npz", seed=1, into=path)
        assert any(line.startswith("saved ") for line in lines)
        with np.load(tmp_path / "new.npz") as found:
            np.testing.assert_array_equal(found["coef_"], correction.head(1).weight)
            np.testing.assert_array_equal(found["intercept_"], DATA.bias)
            np.testing.assert_array_equal(found["classes_"], np.arange(3))

    def test_experts_in_files_of_their_own(self, correction, tmp_path):
        # All take the same features, so each moves as far as their mean.
        files = []
        for number, shift in enumerate((-1, 1)):
            files.append(tmp_path / f"{number}.npz")
            np.savez(files[-1], weight=DATA.weight + shift, bias=DATA.bias)
        correction.save(tmp_path / "out", into=files)
        found = [np.load(tmp_path / "out" / file.name)["weight"] for file in files]
        np.testing.assert_allclose(
            np.mean(found, axis=0), correction.head().weight, atol=1e-6
        )
        np.testing.assert_allclose(found[1] - found[0], 2, atol=1e-6)

    def test_of_another_classifier(self, correction, tmp_path):
        path = tmp_path / "probe.npz"
        np.savez(path, weight=DATA.weight, bias=DATA.bias[::-1])
        with pytest.raises(UserError, match="is not the one that was corrected"):
            correction.save(tmp_path / "new.npz", into=path)
        with pytest.raises(
            UserError, match="nothing in it has the classifier_key 'fc'"
        ):
            correction.save(tmp_path / "new.npz", into=path, key="fc")

    def test_endings(self, correction, tmp_path):
        correction.save(tmp_path / "head.safetensors")
        with pytest.raises(UserError, match="is there already"):
            correction.save(tmp_path / "head.safetensors")
        found = heads.read_head(tmp_path / "head.safetensors")
        np.testing.assert_array_equal(found.weight, correction.head().weight)
