r"""CIFAR-100-LT; models ride (ResNet-32, the default) and ltr (ResNet-34).

  split   classes  samples of a class  training samples
  many         35          102 to 500             8,824
  medium       35            20 to 98             1,718
  few          30             5 to 19               305
  all         100            5 to 500            10,847

and 10,000 test samples. There are none for validation. This is for the paper's
features; others of CIFAR-100-LT come with this repository, see configs/quickstart.py.

The data does not come with this repository. https://github.com/jayanthkoushik/alphanet
says where to get it; below --config.data_root [here, or else where configs/ is] it must
lie like this:

  data/CIFARLT/splits/few.txt, medium.txt, many.txt
  data/CIFARLT/features/resnet32_ride/train.pkl, test.pkl
  data/CIFARLT/features/resnet34_ltr/train.pkl, test.pkl
  data/CIFARLT/classifiers/resnet32_ride.pth, resnet34_ltr.pth

RIDE is the teacher with six experts: their features, each normalized, lie side by side,
and its .pth lists the six files of their classifiers. LTR was trained by the authors of
AlphaNet on the same samples.

Settings that differ from the defaults, as in the paper:

  val_datagrp ""      without validation samples the last epoch is the one tested
  train_epochs 10     a fixed number, as there is nothing to select by
  pred_scale 100      LTR only: its small weights give small logits
  rho 0.5             the smallest of the paper's main tables

The paper's test accuracy in percent, mean and standard deviation of 10 runs; rho is how
many samples of many and medium classes an epoch has for each sample of a few class:

  model  rho               few         med.         many      overall
  RIDE   baseline         25.8         52.1         69.3         50.2
  RIDE   0.1       37.6 ± 1.64  39.4 ± 0.99  57.8 ± 1.40  45.3 ± 0.40
  RIDE   0.5       32.3 ± 1.24  45.9 ± 0.87  64.6 ± 0.78  48.4 ± 0.43
  RIDE   1         27.6 ± 1.41  49.5 ± 0.83  67.4 ± 0.70  49.2 ± 0.16
  RIDE   1.5       25.2 ± 1.11  50.2 ± 0.57  68.3 ± 0.34  49.0 ± 0.26
  LTR    baseline         29.8         49.3         70.1         50.7
  LTR    0.1       38.2 ± 1.42  33.5 ± 2.91  62.9 ± 1.87  45.2 ± 1.10
  LTR    0.5       36.2 ± 1.39  39.5 ± 2.11  63.4 ± 4.18  46.9 ± 1.95
  LTR    1         32.2 ± 1.77  43.4 ± 1.22  67.5 ± 0.95  48.5 ± 0.73
  LTR    1.5       32.0 ± 1.49  46.2 ± 0.86  67.3 ± 1.02  49.3 ± 0.33

  alphanet train --config=cifar100lt --workdir=results/cifar100lt_ride
  alphanet train --config=cifar100lt:ltr --config.rho=1.0 \
      --config.data_root=/data --workdir=results/cifar100lt_ltr
"""

import ml_collections

from alphanet_jax import bundled
from alphanet_jax.config.presets import dataset_config
from alphanet_jax.errors import UserError

_DATASETS = {
    "ride": "cifarlt_resnet32_ride",
    "ltr": "cifarlt_resnet34_ltr",
}


def get_config(model: str = "ride") -> ml_collections.ConfigDict:
    """Gives the config for a model, named after a colon: `cifar100lt.py:ltr`.

    Raises:
      UserError: If there is no such model.
    """
    if model not in _DATASETS:
        raise UserError(
            f"configs/cifar100lt.py: model must be one of {', '.join(_DATASETS)}, "
            f"got {model!r}"
        )
    config = dataset_config(_DATASETS[model])
    config.registry = bundled.find(bundled.REGISTRY)
    config.data_root = bundled.root_of("data/CIFARLT")
    config.rho = 0.5
    return config
