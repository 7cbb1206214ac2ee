"""Settings of the paper's datasets that are not the defaults, in one place.

The files under `configs/` take them from here, and so does `main.py paper`.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from alphanet_jax.config import fields
from alphanet_jax.config.fields import Settings

if TYPE_CHECKING:
    import ml_collections

__all__ = ["CHANGES", "dataset_config", "dataset_settings"]

# Without validation samples nothing can be selected: the last of fewer epochs counts.
_NO_VALIDATION = {"training.val_datagrp": "", "training.train_epochs": 10}

# By the dataset's name in the registry: fields of the config and their values.
CHANGES: Mapping[str, Mapping[str, Any]] = MappingProxyType(
    {
        "imagenetlt_resnext50_crt": {},
        "imagenetlt_resnext50_lws": {},
        "imagenetlt_resnext50_ride": {},
        "placeslt_resnet152_crt": {},
        "placeslt_resnet152_lws": {},
        "cifarlt_resnet32_ride": _NO_VALIDATION,
        # Its small weights give small logits.
        "cifarlt_resnet34_ltr": {**_NO_VALIDATION, "pred_scale": 100.0},
        # The few classes alone have 46,112 samples an epoch.
        "inat_resnet152_crt": {**_NO_VALIDATION, "training.train_batch_size": 256},
    }
)


def dataset_config(name: str) -> "ml_collections.ConfigDict":
    """Makes the config of a dataset: the paper's settings, or else the defaults.

    Args:
      name: Its name in the registry.

    Returns:
      A config in which `dataset` is set; `rho` and places are the defaults.
    """
    config = fields.default_config()
    config.dataset = name
    for field, value in CHANGES.get(name, {}).items():
        fields.put(config, field, value)
    return config


def dataset_settings(name: str) -> Settings:
    """Makes the settings of a dataset; see `dataset_config`."""
    return fields.settings_from_config(dataset_config(name))
