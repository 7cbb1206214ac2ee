"""Ten seeds on the embedded CIFAR-100-LT features: seconds on a laptop.

alphanet quickstart
alphanet train --config=quickstart --config.rho=0.1 --workdir=results/rho_0.1
"""

import ml_collections

from alphanet_jax import bundled
from alphanet_jax.config.fields import default_config


def get_config() -> ml_collections.ConfigDict:
    """Gives the config; the embedded data is found from any working directory."""
    config = default_config()
    config.dataset = "cifar100lt_effnetlite0_crt"
    config.registry = str(bundled.root() / bundled.REGISTRY)
    config.data_root = str(bundled.root())
    config.rho = 0.5
    return config
