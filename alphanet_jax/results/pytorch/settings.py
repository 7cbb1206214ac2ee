"""The settings of a run of the original, in our words."""

import json
from pathlib import Path
from typing import Any

import numpy as np

from alphanet_jax import bundled
from alphanet_jax.config.fields import Settings
from alphanet_jax.data import registry
from alphanet_jax.data.torch_files import Placeholder
from alphanet_jax.data.untrusted import Refused
from alphanet_jax.errors import UserError, printable
from alphanet_jax.lookup.params import Params
from alphanet_jax.results import recorded
from alphanet_jax.results.pytorch import fields
from alphanet_jax.results.pytorch.fields import Fields

__all__ = ["read_settings"]

_NN_DISTS = ("euclidean", "cosine", "random")
_REGISTRY = "config/datasets.toml"  # where the original has it


def _places(dataset: str) -> tuple[str, str]:
    """Finds the registry of a dataset, the original's or ours, and its root."""
    if Path(_REGISTRY).is_file():
        return _REGISTRY, "."
    path = bundled.find(bundled.REGISTRY)
    try:
        entry = registry.get_entry(Path(path), dataset)
    except UserError:
        return path, "."
    return path, bundled.root_of(str(entry.feature_files_dir))


def read_settings(
    whole: Fields, num_neighbors: int, best_epoch: int | None
) -> Settings:
    """Translates the settings; what is not recorded has the original's default."""
    network, training = whole.inner("alphanet"), whole.inner("training_config")
    dataset = whole.inner("train_data_info").text("dataset_name")
    registry_file, data_root = _places(dataset)
    given: dict[str, Any] = {
        "dataset": dataset,
        "registry": registry_file,
        "data_root": data_root,
        # The original has no seeds: 0 stands for none.
        "seed": 0,
        "seeds": 1,
        # What its samplers take where their arguments have no r.
        "rho": 1.0,
        "dummy_mode": network.flag("dummy_mode"),
        "debug": network.flag("debug"),
        "n_neighbors": num_neighbors,
    }
    if "hdims" in network:
        sizes = network.sequence("hdims")
        network.allowance.take(8 * len(sizes))
        given["hdims"] = [fields.integer(s, "alphanet.hdims", least=1) for s in sizes]
    if "hact" in network:
        given["hact"] = network.text("hact")
    nn_info = whole.inner("nn_info")
    source = nn_info if "nn_dist" in nn_info else training
    given["nn_dist"] = source.text("nn_dist") if "nn_dist" in source else _NN_DISTS[0]
    if given["nn_dist"] not in _NN_DISTS:
        raise Refused(
            f"{source.name}nn_dist is {given['nn_dist'][:50]!r}, and must be one of "
            f"{', '.join(_NN_DISTS)}"
        )
    for name in ("train_epochs", "min_epochs", "train_batch_size", "eval_batch_size"):
        if name in training:
            given[name] = training.integer(name)
    for group in ("train", "val", "test"):
        if f"{group}_datagrp" in training:
            given[f"{group}_datagrp"] = training.text(f"{group}_datagrp")
    if "val_data_info" not in whole:
        given["val_datagrp"] = ""
    if "pred_scale" in training:
        name = f"{training.name}pred_scale"
        given["pred_scale"] = fields.number(training.raw("pred_scale"), name)
        if not np.isfinite(given["pred_scale"]):
            raise Refused(f"{name} is {given['pred_scale']}")
    # Where there is validation, its rule came to that, whatever was best.
    given["selection"] = "last" if best_epoch is None else "reference"
    if "ptopt" in training:
        given |= _optimizer(training.inner("ptopt"))
    if "sampler_builder" in training:
        given |= _samplers(training.inner("sampler_builder"))
    try:
        settings = Settings(**given)
        # What could not be read again.
        recorded.config_of(json.dumps(settings.as_config()))
    except ValueError as error:  # UserError among them
        raise Refused(f"its training_config: {error}") from None
    return settings


def _optimizer(options: Fields) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for kind in ("optim", "lr_sched"):
        if f"{kind}_cls" in options:
            found[f"{kind}_cls"] = options.text(f"{kind}_cls")
        if f"{kind}_params" in options:
            name = f"{options.name}{kind}_params"
            found[f"{kind}_params"] = _params(options.raw(f"{kind}_params"), name)
    return found


def _samplers(builder: Fields) -> dict[str, Any]:
    found: dict[str, Any] = {}
    if "sampler_classes" in builder:
        name = f"{builder.name}sampler_classes"
        classes = builder.sequence("sampler_classes")
        builder.allowance.take(100 * len(classes))
        found["sampler_classes"] = [fields.text(each, name) for each in classes]
    if "sampler_args" in builder:
        name = f"{builder.name}sampler_args"
        listed = builder.sequence("sampler_args")
        builder.allowance.take(100 * len(listed))
        found["sampler_args"] = [_params(each, name) for each in listed]
    return found


def _params(value: object, name: str) -> Params:
    """Reads parameters by name; numbers may be text, as those of samplers are."""
    if not isinstance(value, dict) or len(value) > 100:
        raise Refused(f"{name} is not a dict of a few parameters")
    made: dict[str, Any] = {}
    for key, item in value.items():
        if not isinstance(key, str) or not key.isidentifier():
            raise Refused(f"{name} has {printable(str(key))[:50]!r} for a name")
        made[key] = _parameter(item, f"{name}.{key}")
    return Params(made)


def _parameter(item: object, name: str) -> Any:
    if isinstance(item, np.ndarray | np.generic):
        return fields.number(item, name)
    if isinstance(item, Placeholder):
        return fields.text(item, name)
    if isinstance(item, list | tuple):
        if len(item) > 100:
            raise Refused(f"{name} is a list of {len(item)} values")
        return [_plain(each, name) for each in item]
    return _plain(item, name)


def _plain(item: object, name: str) -> Any:
    if isinstance(item, str):
        item = fields.text(item, name)
        for kind in (int, float):
            try:
                return kind(item) if len(item) < 40 else item
            except ValueError:
                continue
        return item
    if item is None or isinstance(item, bool | int | float):
        return item
    raise Refused(f"{name} is a {type(item).__name__}, not a plain value")
