r"""Places-LT, ResNet-152; models crt (the default) and lws.

  split   classes  samples of a class  training samples
  many        131         103 to 4980            52,762
  medium      163           20 to 100             8,934
  few          71             5 to 19               804
  all         365           5 to 4980            62,500

and 7,300 validation and 36,500 test samples.

The data does not come with this repository. https://github.com/jayanthkoushik/alphanet
says where to get it; below --config.data_root [here, or else where configs/ is] it must
lie like this:

  data/PlacesLT/splits/few.txt, medium.txt, many.txt
  data/PlacesLT/features/resnet152_MODEL/train.pkl, val.pkl, test.pkl
  data/PlacesLT/classifiers/resnet152_MODEL.pth

Settings: rho is 0.5, the smallest of the paper's main tables. All others are defaults,
which are the paper's: 25 epochs, batches of 64, 5 nearest neighbors, 10 seeds.

The paper's test accuracy in percent, mean and standard deviation of 10 runs; rho is how
many samples of many and medium classes an epoch has for each sample of a few class:

  model  rho               few         med.         many      overall
  cRT    baseline         24.9         37.6         42.0         36.7
  cRT    0.1       38.2 ± 1.30  30.4 ± 0.84  37.3 ± 0.72  34.4 ± 0.41
  cRT    0.5       31.0 ± 0.88  34.5 ± 0.17  40.4 ± 0.29  35.9 ± 0.09
  cRT    1         27.0 ± 1.02  36.1 ± 0.31  41.3 ± 0.13  36.2 ± 0.10
  cRT    1.5       25.5 ± 0.89  36.5 ± 0.36  41.6 ± 0.21  36.2 ± 0.11
  LWS    baseline         28.7         39.1         40.6         37.6
  LWS    0.1       42.5 ± 1.03  29.5 ± 1.01  34.4 ± 0.94  33.8 ± 0.58
  LWS    0.5       37.1 ± 1.39  34.4 ± 0.80  37.7 ± 0.52  36.1 ± 0.31
  LWS    1         34.6 ± 0.97  35.8 ± 0.54  38.6 ± 0.39  36.6 ± 0.22
  LWS    1.5       32.2 ± 1.17  37.2 ± 0.36  39.5 ± 0.39  37.0 ± 0.11

These numbers were made with every run tested at epoch 5 (min_epochs), whatever its
validation accuracy; --config.selection=reference does so. The default, the epoch of
best validation accuracy from the fifth on, is the rule that the paper describes, and
its numbers are others.

  alphanet train --config=placeslt --config.selection=reference \
      --workdir=results/placeslt_crt
  alphanet train --config=placeslt:lws --config.rho=1.0 \
      --config.data_root=/data --workdir=results/placeslt_lws
"""

import ml_collections

from alphanet_jax import bundled
from alphanet_jax.config.presets import dataset_config
from alphanet_jax.errors import UserError

_DATASETS = {
    "crt": "placeslt_resnet152_crt",
    "lws": "placeslt_resnet152_lws",
}


def get_config(model: str = "crt") -> ml_collections.ConfigDict:
    """Gives the config for a model, named after a colon: `placeslt.py:lws`.

    Raises:
      UserError: If there is no such model.
    """
    if model not in _DATASETS:
        raise UserError(
            f"configs/placeslt.py: model must be one of {', '.join(_DATASETS)}, "
            f"got {model!r}"
        )
    config = dataset_config(_DATASETS[model])
    config.registry = bundled.find(bundled.REGISTRY)
    config.data_root = bundled.root_of("data/PlacesLT")
    config.rho = 0.5
    return config
