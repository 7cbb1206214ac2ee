"""The original's defaults for every field; each other config starts from them."""

import ml_collections

from alphanet_jax import bundled
from alphanet_jax.config.fields import default_config


def get_config() -> ml_collections.ConfigDict:
    """Gives the default config, in which `dataset` is yet to be set."""
    config = default_config()
    config.registry = bundled.find(bundled.REGISTRY)
    return config
