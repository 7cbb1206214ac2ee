"""Results as the original writes them, of a small made dataset; without torch.

What the network comes to is written down here once more, in plain NumPy.
"""

import collections
import copy
import pickle

import made_checkpoints
import made_data
import numpy as np


class Named:
    """What a pickle names: a class, or an object of it with a state."""

    def __init__(self, name, state=None):
        self.name, self.state = name, state


class Pickler(made_checkpoints.TensorPickler):
    """Pickles arrays as tensors, and classes that are not there by their names."""

    def __init__(self, file, *, legacy, protocol=2):
        pickle._Pickler.__init__(self, file, protocol=protocol)
        self.legacy, self.storages = legacy, []

    def save(self, obj, save_persistent_id=True):
        if not isinstance(obj, Named):
            return super().save(obj, save_persistent_id)
        module, _, name = obj.name.rpartition(".")
        self.write(f"c{module}\n{name}\n".encode())
        if obj.state is not None:
            self.write(b")\x81")
            self.save(obj.state)
            self.write(b"b")
        return None


def save(path, value, *, form="zip", protocol=2):
    """Writes a file of torch.save: 'zip' or 'legacy'."""
    path.parent.mkdir(parents=True, exist_ok=True)
    before = made_checkpoints.TensorPickler
    made_checkpoints.TensorPickler = lambda file, *, legacy: Pickler(
        file, legacy=legacy, protocol=protocol
    )
    try:
        write = {"zip": "save_zip", "legacy": "save_legacy"}[form]
        return getattr(made_checkpoints, write)(path, value)
    finally:
        made_checkpoints.TensorPickler = before


def alphas_of(network, sources):
    """Coefficients of every few class: a plain network with leaky ReLU."""
    x = sources.reshape(len(sources), -1).astype(np.float64)
    weights = [network["conv_layer.weight"].reshape(-1, x.shape[1])]
    biases = [network["conv_layer.bias"]]
    for layer in range(sum("linear" in name for name in network) // 2):
        weights.append(network[f"linear_layer__seq.{layer}.weight"])
        biases.append(network[f"linear_layer__seq.{layer}.bias"])
    for place, (weight, bias) in enumerate(zip(weights, biases, strict=True)):
        x = x if not place else np.where(x > 0, x, 0.01 * x)
        x = x @ weight.T + bias
    x /= np.abs(x).sum(axis=1, keepdims=True)
    return np.concatenate([np.ones((len(x), 1)), x], axis=1)


def network_of(rng, *, hdims, num_neighbors, num_features):
    def draw(*shape):
        return rng.standard_normal(shape).astype(np.float32)

    network = {
        "conv_layer.weight": draw(hdims[0], 1, num_neighbors + 1, num_features),
        "conv_layer.bias": draw(hdims[0]),
    }
    for layer, units in enumerate([*hdims[1:], num_neighbors]):
        network[f"linear_layer__seq.{layer}.weight"] = draw(units, hdims[layer])
        network[f"linear_layer__seq.{layer}.bias"] = draw(units)
    return network


def result_of(made, *, seed=0, hdims=(5, 3), k=2, r="0.5", val=True, dummy=False):
    """Makes what the original saves of a run.

    Args:
      made: The dataset.
      seed: Of everything that is drawn.
      hdims: Hidden layers.
      k: Neighbors of a class.
      r: Argument of the second sampler, text as there.
      val: Whether there is validation data.
      dummy: Whether it is the baseline.

    Returns:
      The content of the file, and the predictions that it comes from.
    """
    rng = np.random.default_rng(seed)
    size = made_data.NUM_CLASSES
    splits = {name: set(classes) for name, classes in made_data.SPLITS.items()}
    few = np.sort([*splits["few"]])
    base = np.setdiff1d(np.arange(size), few)
    # In an order of its own, few classes first.
    order = np.concatenate([few[::-1], np.roll(base, 1)])
    labels = {name: group["labels"] for name, group in made.groups.items()}
    train = made.groups["train"]["feats"].astype(np.float64)
    means = np.stack([train[labels["train"] == c].mean(axis=0) for c in range(size)])
    near = {}
    for c in few.tolist():
        far = np.linalg.norm(means[base] - means[c], axis=1)
        near[c] = base[np.argsort(far, kind="stable")[:k]].tolist()
    sources = np.stack([made.weight[[c, *near[c]]] for c in order[: len(few)]])
    network = network_of(
        rng, hdims=hdims, num_neighbors=k, num_features=made.weight.shape[1]
    )
    alphas = alphas_of(network, sources)
    if dummy:
        alphas = np.eye(1, k + 1).repeat(len(few), axis=0)
    weight = made.weight.astype(np.float64).copy()
    for place, c in enumerate(order[: len(few)]):
        weight[c] = alphas[place] @ sources[place]
    x = made.groups["test"]["feats"].astype(np.float64)
    predicted = (x @ weight.T + made.bias).argmax(axis=1)
    right = predicted == labels["test"]
    metrics = {"accuracy": float(right.mean()), "top-5 accuracy": 1.0, "f1": 0.25}

    def info(group):
        counts = np.bincount(labels[group], minlength=size)
        return {
            "dataset_name": "made",
            "datagrp": group,
            "n_features": made.weight.shape[1],
            "n_imgs": int(counts.sum()),
            "n_classes": size,
            "n_imgs__per__class": {c: int(counts[c]) for c in order.tolist()},
            "class__set__per__split": splits,
        }

    def per_class(group, hits):
        return {
            c: float(hits[labels[group] == c].mean())
            for c in order.tolist()
            if (labels[group] == c).any()
        }

    def per_split(group, hits):
        return {
            name: float(hits[np.isin(labels[group], [*classes])].mean())
            for name, classes in splits.items()
        }

    val_hits = [rng.random(len(labels["val"])) < 0.5 for _ in range(3)]
    epochs = [
        {
            "n_train__per__class": collections.Counter({1: 2, 0: 5}),
            "n_train__per__split": {"many": 1, "medium": 1, "few": 5},
            "mean_batch_loss__seq": [1.0 + number, 2.0 + number],
            "mean_alpha__vec": np.float32(alphas.mean(axis=0)),
            "min_alpha__vec": np.float32(alphas.min(axis=0)),
            "max_alpha__vec": np.float32(alphas.max(axis=0)),
            # One and the same object, that of the test.
            "val_metrics": metrics if val else None,
            "val_acc__per__split": per_split("val", hits) if val else None,
            "val_acc__per__class": per_class("val", hits) if val else None,
        }
        for number, hits in enumerate([] if dummy else val_hits)
    ]
    state = {"alphanet_b__vec": made.bias[order[: len(few)]]}
    state |= {f"alphanet.{name}": array for name, array in network.items()}
    state["base_clf.weight"] = made.weight[order[len(few) :]]
    state["base_clf.bias"] = made.bias[order[len(few) :]]
    content = {
        "train_data_info": info("train"),
        "val_data_info": info("val") if val else None,
        "nn_info": {
            "n_neighbors": k,
            "nn_dist": "euclidean",
            "nn_class__seq__per__fclass": {
                c: near[c] for c in order[: len(few)].tolist()
            },
            "nn_mean_feat__mat__per__fclass": {
                c: np.float32(means[[c, *near[c]]]) for c in few.tolist()
            },
            "nn_clf__per__fclass": {
                c: Named("torch.nn.modules.linear.Linear", {"training": True})
                for c in few.tolist()
            },
        },
        "alphanet": {
            "hdims": tuple(hdims),
            "hact": "leaky_relu",
            "dummy_mode": dummy,
            "debug": False,
        },
        "alphanet_source__mat__seq": list(sources),
        "fbclass_ordered_idx__vec": np.argsort(order),
        "training_config": {
            "n_neighbors": k,
            "nn_dist": "euclidean",
            "ptopt": {
                "optim_cls": Named("torch.optim.adamw.AdamW"),
                "optim_params": {"lr": 0.01},
                "lr_sched_cls": Named("torch.optim.lr_scheduler.StepLR"),
                "lr_sched_params": {"step_size": 10, "gamma": 0.1},
            },
            "train_epochs": len(epochs),
            "min_epochs": 2,
            "train_batch_size": 4,
            "eval_batch_size": 1024,
            "sampler_builder": {
                "sampler_classes": (
                    Named("alphanet._samplers.AllFewSampler"),
                    Named("alphanet._samplers.ClassBalancedBaseSampler"),
                ),
                "sampler_args": [{}, {"r": r}],
            },
            "train_datagrp": "train",
            "val_datagrp": "val" if val else None,
            "test_datagrp": "test",
            "pred_scale": 1.0,
        },
        "epoch_data__seq": epochs,
        "best_epoch": 1 if val and epochs else None,
        "best_alphanet_classifier_state_dict": collections.OrderedDict(state),
        "test_metrics": metrics,
        "test_acc__per__split": per_split("test", right),
        "test_acc__per__class": per_class("test", right),
    }
    return content, predicted, alphas[::-1]  # few classes ascending


def checkpoint_of(content):
    """Makes the checkpoint that the original keeps beside a result."""
    left_out = ("test_metrics", "test_acc__per__split")
    kept = {name: value for name, value in content.items() if name not in left_out}
    return {
        "model": content["best_alphanet_classifier_state_dict"],
        "optimizer": {"state": {}, "param_groups": [{"lr": 0.001}]},
        "lr_scheduler": {"last_epoch": 3},
        "trainer": collections.OrderedDict(epoch_length=2, max_epochs=3, iteration=6),
        "train_result": kept | {"test_acc__per__class": None},
    }


def without(value, *keys):
    """A copy of nested dicts without an entry."""
    made = copy.deepcopy(value)
    node = made
    for key in keys[:-1]:
        node = node[key]
    del node[keys[-1]]
    return made


def changed(value, new, *keys):
    made = copy.deepcopy(value)
    node = made
    for key in keys[:-1]:
        node = node[key]
    node[keys[-1]] = new
    return made
