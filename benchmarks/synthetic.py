"""Makes datasets of true shape: the class sizes of the real ones, made-up features.

    python benchmarks/synthetic.py --profile=imagenetlt --out=/tmp/imagenetlt

Classes come in groups. A class's features are normal around its mean, so that its own
mean gives the best linear classifier; the one written here has shorter weights for
smaller classes, which then lose to their group: what a long tail does. Class sizes are
those of `class_counts.json`; README.md says where they come from.

The result is a directory in the converted form, with its own registry
`datasets.toml`. It is written a chunk at a time and depends on the seed alone.
"""

import argparse
import dataclasses
import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from alphanet_jax import files
from alphanet_jax.config.fields import Settings
from alphanet_jax.data.dataset import Dataset, Group
from alphanet_jax.data.loading import load_dataset
from alphanet_jax.data.registry import get_entry

MODEL = "synthetic"
RECORD = "synthetic.json"
REGISTRY = "datasets.toml"
_FORMAT = 1  # of what is generated: changes whenever equal seeds give other data
_CHUNK_ROWS = 4096

# Distances in units of the standard deviation of each feature.
_GROUP_SIZE = 10
_GROUP_RADIUS = 6.0
_CLASS_RADIUS = 2.2
_SIZE_EXPONENT = 0.16  # of the length of a weight vector, in the class's size


@dataclasses.dataclass(frozen=True)
class Profile:
    """The shape of a dataset, and the settings that are usual for it.

    Without `val_per_class` there is no validation group.
    """

    proper_name: str
    num_features: int
    val_per_class: int
    test_per_class: int
    num_epochs: int
    batch_size: int = 64
    rho: float = 0.5

    @property
    def groups(self) -> tuple[str, ...]:
        return ("train", "val", "test") if self.val_per_class else ("train", "test")


PROFILES = {
    "imagenetlt": Profile("ImageNet-LT (synthetic)", 2048, 20, 50, 25),
    "placeslt": Profile("Places-LT (synthetic)", 2048, 20, 100, 25),
    "cifar": Profile("CIFAR-100-LT (synthetic)", 128, 20, 80, 25),
    "inaturalist": Profile("iNaturalist (synthetic)", 2048, 0, 3, 10, 256, rho=0.05),
    "tiny": Profile("tiny (synthetic)", 24, 5, 10, 6),
}


def class_counts(name: str) -> np.ndarray:
    """Gives the number of training samples of every class of a profile."""
    if name == "cifar":
        return tail_counts(100, most=500, least=5)
    if name == "tiny":
        return np.tile([150, 120, 60, 30, 8, 5], 5)
    path = Path(__file__).with_name("class_counts.json")
    return np.asarray(json.loads(path.read_text(encoding="utf-8"))[name])


def tail_counts(num_classes: int, *, most: int, least: int) -> np.ndarray:
    """Gives class sizes that fall from `most` to `least` by equal factors."""
    place = np.arange(num_classes) / (num_classes - 1)
    return np.asarray(most * (least / most) ** place).astype(int)


def make_splits(counts: np.ndarray) -> dict[str, np.ndarray]:
    """Splits classes by size, as all the long-tailed datasets do."""
    return {
        "few": np.flatnonzero(counts < 20),
        "medium": np.flatnonzero((counts >= 20) & (counts <= 100)),
        "many": np.flatnonzero(counts > 100),
    }


def _make_means(
    rng: np.random.Generator, num_classes: int, num_features: int
) -> np.ndarray:
    """Places classes around the centers of groups, `_GROUP_SIZE` to each."""
    num_groups = max(2, num_classes // _GROUP_SIZE)
    group = rng.permutation(num_classes) % num_groups
    directions = rng.standard_normal((num_groups + num_classes, num_features))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    centers, offsets = directions[:num_groups], directions[num_groups:]
    means = _GROUP_RADIUS * centers[group] + _CLASS_RADIUS * offsets
    return means.astype(np.float32)


def _make_classifier(
    means: np.ndarray, counts: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    scale = (counts / counts.max()) ** _SIZE_EXPONENT
    weight = means * scale[:, None].astype(np.float32)
    return weight, -0.5 * np.sum(weight**2, axis=1)


def _write_group(
    path: Path, rng: np.random.Generator, means: np.ndarray, per_class: np.ndarray
) -> np.ndarray:
    """Writes features, rows of all classes mixed, and gives their labels."""
    labels = _draw_labels(rng, per_class)
    header = {
        "descr": "<f4",
        "fortran_order": False,
        "shape": (len(labels), means.shape[1]),
    }
    # Not a mapped array: its pages would count as this program's memory.
    with files.replacing(path) as temporary, temporary.open("wb") as file:
        np.lib.format.write_array_header_1_0(file, header)
        for features in _draw_features(rng, means, labels):
            file.write(features.data)
    np.save(path.with_name(f"{path.stem}_labels.npy"), labels)
    return labels


def _draw_labels(rng: np.random.Generator, per_class: np.ndarray) -> np.ndarray:
    labels = np.repeat(np.arange(len(per_class), dtype=np.int32), per_class)
    rng.shuffle(labels)
    return labels


def _draw_features(
    rng: np.random.Generator, means: np.ndarray, labels: np.ndarray
) -> Iterator[np.ndarray]:
    """Yields features a chunk of rows at a time."""
    for start in range(0, len(labels), _CHUNK_ROWS):
        chunk = labels[start : start + _CHUNK_ROWS]
        shape = (len(chunk), means.shape[1])
        features = rng.standard_normal(shape, dtype=np.float32)
        features += means[chunk]
        yield features


def make_dataset(
    counts: np.ndarray,
    *,
    num_features: int,
    val_per_class: int,
    test_per_class: int,
    seed: int = 0,
) -> Dataset:
    """Makes a dataset of any shape in memory, as `generate` writes them.

    Args:
      counts: Number of training samples of every class.
      num_features: Feature dimensions.
      val_per_class: Validation samples of every class; 0 for no validation group.
      test_per_class: Test samples of every class.
      seed: Seed of everything that is drawn.

    Returns:
      The dataset.
    """
    rng, *group_rngs = np.random.default_rng(seed).spawn(4)
    means = _make_means(rng, len(counts), num_features)
    weight, bias = _make_classifier(means, counts)

    def group(index: int, per_class: np.ndarray) -> Group:
        labels = _draw_labels(group_rngs[index], per_class)
        features = np.empty((len(labels), num_features), np.float32)
        start = 0
        for chunk in _draw_features(group_rngs[index], means, labels):
            features[start : start + len(chunk)] = chunk
            start += len(chunk)
        return Group(features, labels)

    return Dataset(
        name=MODEL,
        proper_name=f"{len(counts)} classes (synthetic)",
        weight=weight,
        bias=bias.astype(np.float32),
        splits={k: v.astype(np.int32) for k, v in make_splits(counts).items()},
        train=group(0, counts),
        val=group(1, np.full(len(counts), val_per_class)) if val_per_class else None,
        test=group(2, np.full(len(counts), test_per_class)),
    )


def _registry_text(name: str, profile: Profile) -> str:
    groups = ", ".join(f'"{group}"' for group in profile.groups)
    return f"""\
[{name}]
split_files_dir = "splits"
feature_files_dir = "features/{MODEL}"
classifier_file = "classifiers/{MODEL}.npz"
classifier_loader = "LinearClassifierLoader"
nn_files_dir = "nns/{MODEL}"
baseline_eval_file = "baselines/{MODEL}.npz"
datagrps = [{groups}]
proper_name = "{profile.proper_name}"
"""


def generate(name: str, out: Path, *, seed: int = 0) -> None:
    """Writes a dataset.

    Args:
      name: Name in `PROFILES`.
      out: Directory of the dataset, and of no other.
      seed: Seed of everything that is drawn.
    """
    profile, counts = PROFILES[name], class_counts(name)
    num_classes = len(counts)
    rng, *group_rngs = np.random.default_rng(seed).spawn(1 + len(profile.groups))
    means = _make_means(rng, num_classes, profile.num_features)

    for directory in ("splits", "classifiers", f"features/{MODEL}"):
        (out / directory).mkdir(parents=True, exist_ok=True)
    for split, classes in make_splits(counts).items():
        lines = "".join(f"{label}\n" for label in classes)
        (out / "splits" / f"{split}.txt").write_text(lines, encoding="utf-8")
    weight, bias = _make_classifier(means, counts)
    files.write_npz(
        out / "classifiers" / f"{MODEL}.npz", {"weight": weight, "bias": bias}
    )
    sizes = {
        "train": counts,
        "val": np.full(num_classes, profile.val_per_class),
        "test": np.full(num_classes, profile.test_per_class),
    }
    for group, group_rng in zip(profile.groups, group_rngs, strict=True):
        path = out / "features" / MODEL / f"{group}.npy"
        _write_group(path, group_rng, means, sizes[group])
    (out / REGISTRY).write_text(_registry_text(name, profile), encoding="utf-8")
    # Last: where the record is, the dataset is whole.
    (out / RECORD).write_text(json.dumps(_record(name, seed)) + "\n", encoding="utf-8")


def _record(name: str, seed: int) -> dict[str, object]:
    return {"format": _FORMAT, "profile": name, "seed": seed}


def ensure(name: str, out: Path, *, seed: int = 0) -> bool:
    """Generates a dataset where it is not there yet; tells whether it did.

    Raises:
      SystemExit: If the directory holds something else.
    """
    record = out / RECORD
    if record.exists():
        found = json.loads(record.read_text(encoding="utf-8"))
        if found != _record(name, seed):
            raise SystemExit(
                f"error: {out} holds {found}, not {_record(name, seed)}; "
                "choose another directory"
            )
        return False
    generate(name, out, seed=seed)
    return True


def load(name: str, out: Path) -> Dataset:
    """Loads a generated dataset, as any other."""
    val_group = "val" if PROFILES[name].val_per_class else ""
    return load_dataset(get_entry(out / REGISTRY, name), out, val_group=val_group)


def settings(name: str, **changes: Any) -> Settings:
    """Gives the usual settings of a profile, with changes."""
    profile = PROFILES[name]
    usual = {
        "train_epochs": profile.num_epochs,
        "train_batch_size": profile.batch_size,
        "rho": profile.rho,
    }
    return Settings(**(usual | changes))


def flags(
    name: str, out: Path, *, seeds: int, epochs: int, rho: float | None = None
) -> list[str]:
    """Writes the flags with which `main.py` trains on a profile's dataset."""
    profile = PROFILES[name]
    config = {
        "dataset": name,
        "registry": out.resolve() / REGISTRY,
        "data_root": out.resolve(),
        "seeds": seeds,
        "rho": rho or profile.rho,
        "training.train_epochs": epochs,
        "training.min_epochs": min(5, epochs),
        "training.train_batch_size": profile.batch_size,
        "training.val_datagrp": "val" if profile.val_per_class else "",
    }
    return [f"--config.{field}={value}" for field, value in config.items()]


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--profile", choices=PROFILES, required=True)
    parser.add_argument("--out", type=Path, required=True, help="directory to write")
    parser.add_argument("--seed", type=int, default=0, help="[0]")
    args = parser.parse_args(argv)
    clock = time.perf_counter()
    made = ensure(args.profile, args.out, seed=args.seed)
    took = time.perf_counter() - clock
    counts, profile = class_counts(args.profile), PROFILES[args.profile]
    sizes = ", ".join(f"{len(c)} {s}" for s, c in make_splits(counts).items())
    print(
        f"{args.out}: {counts.sum()} training samples of {len(counts)} classes "
        f"({sizes}) x {profile.num_features} features, "
        + (f"written in {took:.1f} s" if made else "there already"),
        file=sys.stderr,
    )


if __name__ == "__main__":
    main()
