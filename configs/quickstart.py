"""Ten seeds on the embedded CIFAR-100-LT features: seconds on a laptop.

python main.py --config=configs/quickstart.py --workdir=results/quickstart
"""

import pathlib

import ml_collections

from alphanet_jax.config.fields import default_config

_ROOT = pathlib.Path(__file__).resolve().parents[1]


def get_config() -> ml_collections.ConfigDict:
    """Gives the config; the embedded data is found from any working directory."""
    config = default_config()
    config.dataset = "cifar100lt_effnetlite0_crt"
    config.registry = str(_ROOT / "configs" / "datasets.toml")
    config.data_root = str(_ROOT)
    config.rho = 0.5
    return config
