"""Converts a dataset of PyTorch files to plain arrays; needs no PyTorch.

python convert_torch_features.py --registry=configs/datasets.toml --dataset=NAME \
    --data_root=DIR --out=DIR
"""

import sys

from alphanet_jax import stopping
from alphanet_jax.commands import cli, convert

if __name__ == "__main__":
    sys.exit(stopping.leave(cli.run_program(convert, sys.argv)))
