"""Writes the features, labels and classifier of a PyTorch model as plain arrays.

A feature is what the model's last linear layer gets as input. This takes any model and
any DataLoader of (input, label) batches, does not change the model, and needs memory for
one batch:

    from extract_features import extract, save_head

    extract(model, train_loader, "features/train", layer="fc")
    extract(model, val_loader, "features/val", layer="fc")
    extract(model, test_loader, "features/test", layer="fc")
    save_head(model, "features/head.npz", layer="fc")

or, where FILE.py has a function that returns the model and a dict of loaders by name:

    python extract_features.py FILE.py:FUNCTION --layer=fc --out=features

Then `alphanet fit --features=features --classifier=features/head.npz --workdir=results`.

Give the loaders of the training set the transforms of evaluation, no sampler that repeats
samples, and `drop_last=False`: how many samples a class has is counted from them. The
order of samples does not matter, as labels go with features.
"""

import argparse
import runpy
import sys
import time
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import torch
from torch import nn

BLOCK = 1 << 27  # bytes of features that are gathered before they are written


def find_layer(model: nn.Module, name: str | None) -> tuple[str, nn.Module]:
    """Finds the classifier of a model.

    Args:
      model: The model, perhaps in a DataParallel.
      name: Its name, such as 'fc', 'head' or 'classifier.6'; None for the last linear
        layer that was defined.

    Returns:
      Its full name and the layer.

    Raises:
      ValueError: If there is no such layer, or it has no weight of two dimensions.
    """
    layers = dict(model.named_modules())
    linear = [key for key, layer in layers.items() if isinstance(layer, nn.Linear)]
    if name is None:
        if not linear:
            raise ValueError("the model has no nn.Linear; name the layer")
        name = linear[-1]
    elif name not in layers and f"module.{name}" in layers:
        name = f"module.{name}"
    if name not in layers:
        raise ValueError(f"no layer {name!r}; linear layers: {', '.join(linear)}")
    weight = getattr(layers[name], "weight", None)
    if not isinstance(weight, torch.Tensor) or weight.ndim != 2:
        raise ValueError(f"layer {name!r} has no weight of shape (classes, features)")
    return name, layers[name]


@torch.no_grad()
def extract(
    model: nn.Module,
    loader: Iterable,
    out: Path | str,
    *,
    layer: str | None = None,
    dtype: str = "float32",
    device: torch.device | str | None = None,
) -> tuple[int, int]:
    """Writes `OUT.npy`, features, and `OUT_labels.npy`, the labels of its rows.

    Args:
      model: The model. It runs in evaluation mode and is left in the mode it was in.
      loader: Gives batches whose first two items are inputs and labels.
      out: Where to write, without ending: 'features/train'.
      layer: The classifier, as `find_layer` takes it.
      dtype: 'float32', or 'float16' for half the space.
      device: Where to run; by default where the model's first parameter is.

    Returns:
      Numbers of samples and features.

    Raises:
      ValueError: If there is no such layer, or it was not reached once a batch.
    """
    name, classifier = find_layer(model, layer)
    out = Path(out)
    out.parent.mkdir(parents=True, exist_ok=True)
    device = device or next(model.parameters()).device
    seen: list[torch.Tensor] = []
    hook = classifier.register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    was_training = model.training
    model.eval()
    labels: list[np.ndarray] = []
    shapes: set[int] = set()  # one, unless the layer takes several widths
    began = told = time.monotonic()
    raw = out.with_name(out.name + ".raw")
    rows = 0
    try:
        with raw.open("wb", buffering=BLOCK) as file:
            for inputs, truth, *_ in loader:
                seen.clear()
                model(inputs.to(device))
                if len(seen) != 1 or seen[0].ndim != 2 or len(seen[0]) != len(truth):
                    shown = [tuple(part.shape) for part in seen]
                    raise ValueError(
                        f"layer {name!r} must get one array (batch, features) a batch "
                        f"of {len(truth)}, got {shown}"
                    )
                file.write(seen[0].float().cpu().numpy().astype(dtype).tobytes())
                labels.append(np.asarray(truth).reshape(-1).astype(np.int64))
                shapes.add(seen[0].shape[1])
                rows += len(truth)
                if time.monotonic() - told > 2:
                    told = time.monotonic()
                    print(f"{out.name}: {rows} samples, {told - began:.0f} s")
        if not rows:
            raise ValueError(f"{out.name}: the loader gave no samples")
        (width,) = shapes
        # The number of rows is known only now; the header of .npy needs it first.
        mapped = np.memmap(raw, dtype, mode="r", shape=(rows, width))
        np.save(out.with_name(out.name + "_labels.npy"), np.concatenate(labels))
        np.save(out.with_name(out.name + ".npy"), mapped)
        del mapped
    finally:
        hook.remove()
        model.train(was_training)
        raw.unlink(missing_ok=True)
    expected = getattr(loader, "dataset", None)
    if hasattr(expected, "__len__") and len(expected) != rows:
        print(
            f"warning: {out.name}: the loader gave {rows} of {len(expected)} samples; "
            "a sampler that repeats or drop_last makes the counts of classes wrong"
        )
    print(f"{out.name}: {rows} samples, {width} features")
    return rows, width


def save_head(model: nn.Module, path: Path | str, *, layer: str | None = None) -> None:
    """Writes a classifier's `weight` and `bias` into an `.npz` file.

    Args:
      model: The model.
      path: The file.
      layer: The classifier, as `find_layer` takes it.
    """
    _, classifier = find_layer(model, layer)
    arrays = {"weight": classifier.weight.detach().float().cpu().numpy()}
    if getattr(classifier, "bias", None) is not None:
        arrays["bias"] = classifier.bias.detach().float().cpu().numpy()
    np.savez(path, **arrays)


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("source", help="FILE.py:FUNCTION; it returns (model, loaders)")
    parser.add_argument("--layer", help="the classifier; by default the last nn.Linear")
    parser.add_argument("--out", required=True, type=Path, help="directory")
    parser.add_argument("--dtype", default="float32", choices=["float32", "float16"])
    options = parser.parse_args(arguments)
    file, _, function = options.source.rpartition(":")
    if not Path(file).is_file():
        parser.error(f"{options.source}: no file {file!r}; give FILE.py:FUNCTION")
    sys.path.insert(0, str(Path(file).resolve().parent))
    defined = runpy.run_path(file)
    if function not in defined:
        parser.error(f"{file}: no function {function!r}")
    model, loaders = defined[function]()
    try:
        for name, loader in loaders.items():
            extract(
                model,
                loader,
                options.out / name,
                layer=options.layer,
                dtype=options.dtype,
            )
        save_head(model, options.out / "head.npz", layer=options.layer)
    except ValueError as error:
        parser.error(str(error))


if __name__ == "__main__":
    main()
