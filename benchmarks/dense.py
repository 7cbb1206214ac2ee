"""The same training the dense way: the yardstick. Needs PyTorch.

    python benchmarks/dense.py --data=/tmp/imagenetlt --epochs=1 --layer=batched

Every batch is multiplied with the whole (C, d) classifier, as the formula stands on
paper, and gives the numbers that `loop.run` gives. There are four kinds:

  batched      what a good user of PyTorch writes: all few classes in one product,
               frozen sources without gradients, features as one tensor, and the new
               classifier built once for all batches of validation data
  original     what the original program does: each few class on its own through a
               convolution of the size of its input, gradients for the frozen source
               classifiers as well, which nothing uses, and the new classifier built
               again for every batch of validation data
  convolution  the same without those gradients
  linear       the linear call that the convolution amounts to, which is faster
"""

import argparse
import dataclasses
import time
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
import synthetic
import torch
from measuring import new_record, write_record
from torch.nn import functional

from alphanet_jax import model, nn_search
from alphanet_jax.data.dataset import Group
from alphanet_jax.experiment import loop
from alphanet_jax.experiment import problem as problem_lib
from alphanet_jax.experiment.problem import Problem
from alphanet_jax.sampling import Batches

LAYERS = ("batched", "original", "convolution", "linear")
DEFAULT_LAYERS = ("batched", "original")


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What came of training one seed for E epochs."""

    step_loss: list[np.ndarray]  # for each epoch, shape=(T,): before each step
    alphas: np.ndarray  # shape=(F, k + 1): after the last epoch
    val_accuracy: list[float]  # of every epoch; empty without validation data
    train_seconds: list[float]  # of every epoch
    eval_seconds: list[float]

    @property
    def seconds_per_epoch(self) -> float:
        """Training and validation together, the median over epochs."""
        return float(np.median(np.add(self.train_seconds, self.eval_seconds)))


class _Classifier(torch.nn.Module):
    """The corrected classifier, with the network that corrects it."""

    def __init__(self, problem: Problem, params: model.Params, layer: str) -> None:
        super().__init__()
        dataset = problem.dataset
        few, base = dataset.few_classes, dataset.base_classes
        sources = np.asarray(nn_search.source_classes(few, problem.neighbors))
        arrays = model.params_to_torch(params).values()
        self.params = torch.nn.ParameterList(torch.tensor(a) for a in arrays)
        self.layer = layer
        self.activation = getattr(functional, problem.settings.hact)
        self.pred_scale = problem.settings.pred_scale
        self.sources = [  # of each few class, shape=(k + 1, d)
            torch.tensor(weights, requires_grad=layer == "original")
            for weights in dataset.weight[sources]
        ]
        self.base_weight = torch.tensor(dataset.weight[base])
        self.bias = torch.tensor(dataset.bias)
        # Where a class is among the few and then the base classes.
        self.place = torch.tensor(np.argsort(np.concatenate([few, base])))

    def _large_layer(
        self, source: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor
    ) -> torch.Tensor:
        """Takes one class's sources, with shape `[k + 1, d]`."""
        if self.layer == "linear":
            return functional.linear(source.flatten()[None], weight.flatten(1), bias)
        return functional.conv2d(source[None, None], weight, bias).flatten(1)

    def alphas(self) -> torch.Tensor:
        """Gives the combination coefficients, with shape `[F, k + 1]`."""
        weight, bias, *rest = self.params
        x = torch.cat([self._large_layer(s, weight, bias) for s in self.sources])
        for weight, bias in zip(rest[::2], rest[1::2], strict=True):
            x = functional.linear(self.activation(x), weight, bias)
        x = x / x.abs().sum(dim=1, keepdim=True)
        return torch.cat([torch.ones_like(x[:, :1]), x], dim=1)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Gives the scaled logits of all classes, with shape `[n, C]`."""
        combined = [a @ s for a, s in zip(self.alphas(), self.sources, strict=True)]
        weight = torch.cat([torch.stack(combined), self.base_weight])[self.place]
        return self.pred_scale * functional.linear(features, weight, self.bias)


class _BatchedClassifier(torch.nn.Module):
    """The same function, with all few classes at once.

    Classes are in the order few, base; `place` says where a class is.
    """

    def __init__(self, problem: Problem, params: model.Params) -> None:
        super().__init__()
        dataset = problem.dataset
        few, base = dataset.few_classes, dataset.base_classes
        sources = np.asarray(nn_search.source_classes(few, problem.neighbors))
        order = np.concatenate([few, base])
        arrays = model.params_to_torch(params).values()
        self.params = torch.nn.ParameterList(
            torch.tensor(np.asarray(a).reshape(len(a), -1) if a.ndim > 1 else a)
            for a in arrays
        )
        self.activation = getattr(functional, problem.settings.hact)
        self.pred_scale = problem.settings.pred_scale
        self.sources = torch.tensor(dataset.weight[sources])  # shape=(F, k + 1, d)
        self.inputs = self.sources.flatten(1)
        self.base_weight = torch.tensor(dataset.weight[base])
        self.bias = torch.tensor(dataset.bias[order])
        self.place = torch.tensor(np.argsort(order))

    def alphas(self) -> torch.Tensor:
        """Gives the combination coefficients, with shape `[F, k + 1]`."""
        weight, bias, *rest = self.params
        x = functional.linear(self.inputs, weight, bias)
        for weight, bias in zip(rest[::2], rest[1::2], strict=True):
            x = functional.linear(self.activation(x), weight, bias)
        x = x / x.abs().sum(dim=1, keepdim=True)
        return torch.cat([torch.ones_like(x[:, :1]), x], dim=1)

    def classifier(self) -> torch.Tensor:
        """Gives the new weights of all classes, with shape `[C, d]`."""
        combined = torch.bmm(self.alphas()[:, None], self.sources)[:, 0]
        return torch.cat([combined, self.base_weight])

    def logits(self, features: torch.Tensor, classifier: torch.Tensor) -> torch.Tensor:
        return self.pred_scale * functional.linear(features, classifier, self.bias)


def _rows(group: Group, rows: np.ndarray | slice) -> tuple[torch.Tensor, torch.Tensor]:
    features = np.array(group.features[rows], np.float32)
    return torch.from_numpy(features), torch.from_numpy(group.labels[rows]).long()


def _tensors(group: Group) -> tuple[torch.Tensor, torch.Tensor]:
    """Gives a group as two tensors; features stay mapped."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # mapped arrays are not writable
        features = torch.from_numpy(np.asarray(group.features))
    return features, torch.from_numpy(np.array(group.labels)).long()


class _Original:
    """Losses and accuracy with `_Classifier`."""

    def __init__(self, problem: Problem, params: model.Params, layer: str) -> None:
        self.problem = problem
        self.classifier = _Classifier(problem, params, layer)

    def loss(self, rows: np.ndarray) -> torch.Tensor:
        features, labels = _rows(self.problem.dataset.train, rows)
        return functional.cross_entropy(self.classifier(features), labels)

    def accuracy(self, group: Group) -> float:
        correct, size = 0, self.problem.settings.eval_batch_size
        for start in range(0, len(group.labels), size):
            features, labels = _rows(group, slice(start, start + size))
            correct += int((self.classifier(features).argmax(dim=1) == labels).sum())
        return correct / len(group.labels)


class _Batched:
    """Losses and accuracy with `_BatchedClassifier`."""

    def __init__(self, problem: Problem, params: model.Params) -> None:
        self.size = problem.settings.eval_batch_size
        self.classifier = _BatchedClassifier(problem, params)
        self.train = _tensors(problem.dataset.train)
        self.val = problem.dataset.val and _tensors(problem.dataset.val)

    def loss(self, rows: np.ndarray) -> torch.Tensor:
        index = torch.from_numpy(rows.astype(np.int64))
        features, labels = (tensor[index] for tensor in self.train)
        logits = self.classifier.logits(features.float(), self.classifier.classifier())
        return functional.cross_entropy(logits, self.classifier.place[labels])

    def accuracy(self, group: Group) -> float:
        del group
        assert self.val is not None
        correct, weight = 0, self.classifier.classifier()
        for features, labels in zip(
            *(tensor.split(self.size) for tensor in self.val), strict=True
        ):
            best = self.classifier.logits(features.float(), weight).argmax(dim=1)
            correct += int((best == self.classifier.place[labels]).sum())
        return correct / len(self.val[1])


def train(
    problem: Problem,
    params: model.Params,
    batches: Sequence[Batches],
    *,
    layer: str = LAYERS[0],
) -> Outcome:
    """Trains one seed.

    Args:
      problem: The problem.
      params: Initial parameters of one seed.
      batches: Batches of every epoch to train, of one seed, with shape `[T, B]`.
      layer: Kind of the dense way, one of `LAYERS`.

    Returns:
      The outcome.
    """
    settings, dataset = problem.settings, problem.dataset
    way = (
        _Batched(problem, params)
        if layer == "batched"
        else _Original(problem, params, layer)
    )
    optimizer = getattr(torch.optim, settings.optim_cls)(
        way.classifier.parameters(), **settings.optim_params
    )
    schedule = getattr(torch.optim.lr_scheduler, settings.lr_sched_cls)(
        optimizer, **settings.lr_sched_params
    )
    outcome = Outcome([], np.zeros(0), [], [], [])
    for epoch in batches:
        clock = time.perf_counter()
        losses = []
        for rows, valid in zip(epoch.rows, epoch.valid, strict=True):
            if not np.any(valid):  # room for more steps than there are
                continue
            loss = way.loss(np.asarray(rows)[np.asarray(valid)])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
        outcome.step_loss.append(np.asarray(losses))
        outcome.train_seconds.append(time.perf_counter() - clock)
        clock = time.perf_counter()
        if dataset.val is not None:
            with torch.no_grad():
                outcome.val_accuracy.append(way.accuracy(dataset.val))
        outcome.eval_seconds.append(time.perf_counter() - clock)
        schedule.step()
    with torch.no_grad():
        return dataclasses.replace(outcome, alphas=way.classifier.alphas().numpy())


def first_seed(tree: Any) -> Any:
    """Takes the first seed of arrays with a leading seed axis."""
    return jax.tree.map(lambda array: np.asarray(array)[0], tree)


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, help="from synthetic.py")
    parser.add_argument(
        "--profile",
        choices=synthetic.PROFILES,
        default="imagenetlt",
        help="[%(default)s]",
    )
    parser.add_argument("--epochs", type=int, default=1, help="to train [1]")
    parser.add_argument(
        "--layer", choices=LAYERS, default=LAYERS[0], help="[%(default)s]"
    )
    parser.add_argument("--threads", type=int, help="[PyTorch's own choice]")
    parser.add_argument("--json", type=Path, help="file to write the record to")
    args = parser.parse_args(argv)
    if args.threads:
        torch.set_num_threads(args.threads)
    synthetic.ensure(args.profile, args.data)
    profile = synthetic.PROFILES[args.profile]
    settings = synthetic.settings(args.profile, train_epochs=args.epochs)
    problem = problem_lib.prepare(synthetic.load(args.profile, args.data), settings)
    outcome = train(
        problem,
        first_seed(loop.initial_params(problem, [0])),
        [first_seed(b) for b in loop.epoch_batches(problem, [0])],
        layer=args.layer,
    )
    for epoch, loss in enumerate(outcome.step_loss):
        line = (
            f"epoch {epoch + 1}/{args.epochs}  loss {loss.mean():.4f}  "
            f"training {outcome.train_seconds[epoch]:.2f} s  "
            f"validation {outcome.eval_seconds[epoch]:.2f} s"
        )
        if outcome.val_accuracy:
            line += f"  accuracy {100 * outcome.val_accuracy[epoch]:.1f}"
        print(line)
    per_epoch = outcome.seconds_per_epoch
    record = new_record(vars(args))
    record["epochs"] = {
        "train_seconds": outcome.train_seconds,
        "eval_seconds": outcome.eval_seconds,
        "loss": [float(loss.mean()) for loss in outcome.step_loss],
        "val_accuracy": outcome.val_accuracy,
    }
    record["seconds_per_epoch"] = per_epoch
    print(
        f"{per_epoch:.2f} s per epoch on {torch.get_num_threads()} threads; "
        f"{profile.num_epochs * per_epoch:.0f} s for {profile.num_epochs} epochs "
        f"(scaled from {args.epochs})"
    )
    write_record(record, args.json)


if __name__ == "__main__":
    main()
