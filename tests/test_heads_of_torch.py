"""Heads of real PyTorch models give the model's own logits."""

import argparse
import collections
import datetime
import pathlib
import pickle

import numpy as np
import pytest

from alphanet_jax.data.heads import read_head
from alphanet_jax.errors import UserError

C, D = 6, 16


@pytest.fixture
def torch():
    return pytest.importorskip("torch")


@pytest.fixture(params=["zip", "legacy"])
def save(request, torch, tmp_path):
    def write(value):
        new = request.param == "zip"
        torch.save(value, tmp_path / "m.pth", _use_new_zipfile_serialization=new)
        return tmp_path / "m.pth"

    return write


def network(torch):
    """A small network with a linear head, and an optimizer that has made a step."""
    torch.manual_seed(0)
    layers = collections.OrderedDict(
        conv1=torch.nn.Conv2d(3, 8, 3),
        bn1=torch.nn.BatchNorm2d(8),
        fc=torch.nn.Linear(D, C),
    )
    model = torch.nn.Sequential(layers)
    optimizer = torch.optim.AdamW(model.parameters())
    model.fc(torch.ones(2, D)).sum().backward()
    optimizer.step()
    return model, optimizer


def check(torch, path, head, **options):
    x = torch.randn(32, D)
    found = read_head(path, num_features=D, num_classes=C, **options)
    wanted = head(x).detach().float().numpy()
    np.testing.assert_allclose(
        x.numpy() @ found.weight.T + found.bias, wanted, atol=1e-5, rtol=1e-5
    )
    return found


def test_everything_that_stands_beside_a_state_dict(torch, save):
    model, optimizer = network(torch)
    content = {
        "state_dict": torch.nn.DataParallel(model).state_dict(),
        "optimizer": optimizer.state_dict(),
        "args": argparse.Namespace(lr=0.1, device=torch.device("cpu")),
        "hparams": collections.defaultdict(list, a=[1]),
        "callbacks": {argparse.Namespace: {"best": np.float64(0.5)}},
        "rng": (torch.get_rng_state(), np.random.default_rng(0)),
        "sparse": torch.eye(3).to_sparse(),
        "objects": np.array([None, "x"], object),
        "when": (datetime.datetime(2020, 1, 1), pathlib.PurePosixPath("x"), range(3)),
        "functions": [torch.nn.functional.relu, torch.nn.Linear, print],
        "model": model,
    }
    check(torch, save(content), model.fc)
    path = save(content | {"state_dict": None})
    with pytest.raises(UserError, match=r"not loaded: args \(argparse\.Namespace\), "):
        check(torch, path, model.fc)


def test_scales(torch, save):
    head = torch.nn.Module()
    head.fc, head.scales = (
        torch.nn.Linear(D, C),
        torch.nn.Parameter(torch.rand(C) + 0.5),
    )
    path = save({"state_dict_best": {"classifier": head.state_dict()}})
    check(torch, path, lambda x: head.fc(x) * head.scales)


def test_half_precision(torch, save):
    head = torch.nn.Linear(D, C, bias=False).half()
    found = check(torch, save({"head": head.state_dict()}), head.float())
    assert found.forms[0].dtype == "float16"


def test_normalized_columns(torch, save):
    weight = torch.nn.Parameter(torch.randn(D, C))
    path = save({"linear.weight": weight})
    normalize = torch.nn.functional.normalize
    check(torch, path, lambda x: x @ weight)
    check(torch, path, lambda x: x @ normalize(weight, dim=0), normalize=True)


def test_weight_norm(torch, save):
    for head in (
        torch.nn.utils.parametrizations.weight_norm(torch.nn.Linear(D, C)),
        torch.nn.ModuleList([torch.nn.Linear(D, C)])[0],
    ):
        check(torch, save(head.state_dict()), head)


def test_a_convolution(torch, save):
    head = torch.nn.Conv2d(D, C, 1)
    check(
        torch,
        save({"conv_head": head.state_dict()}),
        lambda x: head(x[..., None, None])[..., 0, 0],
    )


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_plain_pickles(protocol, torch, tmp_path):
    model, _ = network(torch)
    content = {"args": argparse.Namespace(a=1), "net": model.state_dict()}
    path = tmp_path / "m.pkl"
    path.write_bytes(pickle.dumps(content, protocol))
    check(torch, path, model.fc)


def test_whole_models(torch, save):
    model, _ = network(torch)
    for whole in (model, model.fc):
        with pytest.raises(UserError, match=r"refuses to load .*model\.state_dict\(\)"):
            read_head(save(whole), num_features=D)
