"""Trains as the original program does: a re-enactment, not that program. Needs PyTorch.

    python benchmarks/original_way.py --data=/tmp/imagenetlt --name=imagenetlt

Written from what its documentation says and what is known of its behaviour, in words of
our own, and with neither JAX nor this package: features of all groups are read into
memory; a data loader puts every batch together sample by sample; each few class goes on
its own through a convolution of the size of its sources, whose gradients are computed
too; the whole classifier is built for every batch, of validation and test data as well;
metrics are kept in Python; samples are drawn anew for every epoch. What it leaves out
makes it faster than the original: engines of events, checkpoints, and logs.

`side_by_side.py` runs it beside ours. It reads the data that `synthetic.py` makes, and
ends with `seconds: load x epochs y evaluation z`, in the form that `main.py` has.
"""

import argparse
import collections
import itertools
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional
from torch.utils.data import DataLoader, Subset, TensorDataset

Splits = dict[str, list[int]]


def read_group(data: Path, group: str) -> TensorDataset:
    """Reads the features and labels of a group into memory."""
    features, labels = (
        torch.from_numpy(np.load(data / "features" / "synthetic" / f"{group}{ending}"))
        for ending in (".npy", "_labels.npy")
    )
    return TensorDataset(features.float(), labels.long())


def read_splits(data: Path) -> Splits:
    """Reads the lists of classes."""
    return {
        split: [*map(int, (data / "splits" / f"{split}.txt").read_text().split())]
        for split in ("few", "medium", "many")
    }


def nearest_base_classes(
    train: TensorDataset, few: Sequence[int], base: Sequence[int], k: int
) -> torch.Tensor:
    """Finds the base classes with the nearest mean features, with shape `[F, k]`."""
    features, labels = train.tensors
    counts = torch.bincount(labels)
    means = torch.zeros(len(counts), features.shape[1])
    means.index_add_(0, labels, features)
    means /= counts[:, None]
    distances = torch.cdist(means[list(few)], means[list(base)])
    order = torch.topk(distances, k, largest=False).indices
    return torch.tensor(base)[order]


class AlphaNet(nn.Module):
    """From the source classifiers of one class to its coefficients."""

    def __init__(self, k: int, num_features: int, hidden: Sequence[int]) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(1, hidden[0], (k + 1, num_features))
        sizes = [*hidden, k]
        self.others = nn.ModuleList(
            nn.Linear(fan_in, out) for fan_in, out in itertools.pairwise(sizes)
        )

    def forward(self, sources: torch.Tensor) -> torch.Tensor:
        """Takes sources with shape `[k + 1, d]`."""
        x = self.convolution(sources[None, None]).flatten(1)
        for layer in self.others:
            x = layer(functional.leaky_relu(x))
        x = x / x.abs().sum(dim=1, keepdim=True)
        return torch.cat([torch.ones(1, 1), x], dim=1)


class CorrectedClassifier(nn.Module):
    """The classifier, with its few classes made of their sources at every call."""

    def __init__(
        self,
        weight: torch.Tensor,
        bias: torch.Tensor,
        few: Sequence[int],
        base: Sequence[int],
        neighbors: torch.Tensor,
    ) -> None:
        super().__init__()
        k = neighbors.shape[1]
        self.alphanet = AlphaNet(k, weight.shape[1], (32, 32, 32))
        self.sources = [
            weight[[label, *nearest.tolist()]].clone().requires_grad_()
            for label, nearest in zip(few, neighbors, strict=True)
        ]
        self.base_weight = weight[list(base)].clone()
        self.bias = bias
        self.place = torch.tensor(np.argsort([*few, *base]))

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        new = [(self.alphanet(sources) @ sources)[0] for sources in self.sources]
        weight = torch.cat([torch.stack(new), self.base_weight])[self.place]
        return functional.linear(features, weight, self.bias)


class Draws:
    """Draws all few samples and, of base classes alike, `rho` times as many."""

    def __init__(self, train: TensorDataset, splits: Splits, rho: float) -> None:
        labels = train.tensors[1]
        is_few = torch.isin(labels, torch.tensor(splits["few"]))
        self.few = torch.nonzero(is_few)[:, 0]
        self.number = int(len(self.few) * rho)
        counts = torch.bincount(labels)
        self.weights = torch.where(is_few, 0.0, 1.0 / counts[labels])

    def draw(self) -> list[int]:
        """Draws the samples of one epoch."""
        base = torch.multinomial(self.weights, self.number, replacement=True)
        drawn: list[int] = torch.cat([self.few, base]).tolist()
        return drawn


def accuracy(
    model: nn.Module, group: TensorDataset, batch_size: int, splits: Splits
) -> dict[str, float]:
    """Computes accuracy, top-5, F1 and the accuracy of each split."""
    right: collections.Counter[int] = collections.Counter()
    predicted: collections.Counter[int] = collections.Counter()
    seen: collections.Counter[int] = collections.Counter()
    top5 = 0
    with torch.no_grad():
        for features, labels in DataLoader(group, batch_size):
            logits = model(features)
            best = torch.topk(logits, 5).indices
            top5 += int((best == labels[:, None]).any(dim=1).sum())
            for label, guess in zip(labels.tolist(), best[:, 0].tolist(), strict=True):
                seen[label] += 1
                predicted[guess] += 1
                right[label] += label == guess
    total = sum(seen.values())
    classes = [label for ids in splits.values() for label in ids]
    f1 = [2 * right[c] / max(seen[c] + predicted[c], 1) for c in classes]
    found = {
        "accuracy": sum(right.values()) / total,
        "top5": top5 / total,
        "f1": sum(f1) / len(f1),
    }
    for split, ids in splits.items():
        found[split] = sum(right[c] for c in ids) / max(sum(seen[c] for c in ids), 1)
    return found


def epochs(
    model: CorrectedClassifier,
    train: TensorDataset,
    val: TensorDataset | None,
    splits: Splits,
    args: argparse.Namespace,
) -> Iterator[tuple[float, dict[str, float] | None]]:
    """Trains; yields the mean loss and the metrics of every epoch."""
    draws = Draws(train, splits, args.rho)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    schedule = torch.optim.lr_scheduler.StepLR(optimizer, step_size=10, gamma=0.1)
    for _ in range(args.epochs):
        drawn = Subset(train, draws.draw())
        losses = []
        for features, labels in DataLoader(drawn, args.batch_size, shuffle=True):
            optimizer.zero_grad()
            loss = functional.cross_entropy(model(features), labels)
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
        found = None
        if val is not None:
            found = accuracy(model, val, args.eval_batch_size, splits)
        schedule.step()
        yield sum(losses) / len(losses), found


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, help="from synthetic.py")
    parser.add_argument("--name", default="", help="to print [none]")
    parser.add_argument("--epochs", type=int, default=1, help="[%(default)s]")
    parser.add_argument("--rho", type=float, default=0.5, help="[%(default)s]")
    parser.add_argument("--neighbors", type=int, default=5, help="[%(default)s]")
    parser.add_argument("--batch_size", type=int, default=64, help="[%(default)s]")
    parser.add_argument(
        "--eval_batch_size", type=int, default=1024, help="[%(default)s]"
    )
    parser.add_argument("--seed", type=int, default=0, help="[%(default)s]")
    parser.add_argument("--threads", type=int, help="[PyTorch's own choice]")
    parser.add_argument("--out", type=Path, help="file for the result [none]")
    args = parser.parse_args(argv)
    if args.threads:
        torch.set_num_threads(args.threads)
    torch.manual_seed(args.seed)
    seconds: dict[str, float] = {}
    clock = time.perf_counter()

    def lap(phase: str) -> None:
        nonlocal clock
        now = time.perf_counter()
        seconds[phase], clock = now - clock, now

    splits = read_splits(args.data)
    few, base = splits["few"], sorted(splits["medium"] + splits["many"])
    train, test = (read_group(args.data, group) for group in ("train", "test"))
    has_val = (args.data / "features" / "synthetic" / "val.npy").exists()
    val = read_group(args.data, "val") if has_val else None
    with np.load(args.data / "classifiers" / "synthetic.npz") as arrays:
        weight, bias = (torch.from_numpy(arrays[name]) for name in ("weight", "bias"))
    neighbors = nearest_base_classes(train, few, base, args.neighbors)
    model = CorrectedClassifier(weight, bias, few, base, neighbors)
    lap("load")
    for number, (loss, found) in enumerate(epochs(model, train, val, splits, args), 1):
        line = f"{args.name} epoch {number}/{args.epochs}  loss {loss:.4f}"
        if found is not None:
            line += f"  validation {100 * found['accuracy']:.1f}"
        print(line.strip(), flush=True)
    lap("epochs")
    outcome: dict[str, Any] = accuracy(model, test, args.eval_batch_size, splits)
    print("  ".join(f"{name} {100 * value:.1f}" for name, value in outcome.items()))
    if args.out is not None:
        torch.save({"model": model.state_dict(), "test": outcome}, args.out)
    lap("evaluation")
    print("seconds:", *(f"{name} {spent:.2f}" for name, spent in seconds.items()))


if __name__ == "__main__":
    main()
