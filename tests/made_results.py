"""Small complete result files, made to be read by reports and figures."""

import json

import numpy as np

from alphanet_jax import eval as evaluation
from alphanet_jax.config import fields as config_lib
from alphanet_jax.experiment import outcome
from alphanet_jax.results import file as results

NUM_CLASSES, NUM_FEATURES, NUM_EPOCHS = 9, 4, 3
# No class has the rank of its size for its number.
SPLITS = {"few": (1, 4, 8), "medium": (0, 5, 7), "many": (2, 3, 6)}
CLASS_COUNTS = (60, 5, 400, 250, 12, 90, 150, 30, 8)
LABEL_NAMES = ("ant", "bee", "cat", "dog", "elk", "fox", "gnu", "hen", "ibis")
SAMPLES_OF_A_CLASS = 7


def make_result(
    path,
    *,
    seed=0,
    num_seeds=2,
    num_neighbors=2,
    rho=0.5,
    nn_dist="euclidean",
    dataset="made",
    proper_name="Made | cRT",
    settings=None,
    **arrays,
):
    """Writes a result file with everything that `results` lists.

    Data (splits, labels, the unchanged classifier's predictions) is the same for every
    seed; what training makes of it differs. Metrics follow from splits, labels and
    predictions, also from those given.

    Args:
      path: The file.
      seed: First seed; also of everything that is drawn.
      num_seeds: Number of seeds S.
      num_neighbors: Number of neighbors k.
      rho: Base samples for each few sample.
      nn_dist: Metric of neighbors.
      dataset: Name in the registry.
      proper_name: Name for people.
      settings: Other fields of the config, by their dotted names.
      **arrays: Arrays in place of those that would be made.

    Returns:
      The arrays written, by name.
    """
    common, rng = np.random.default_rng(12345), np.random.default_rng(seed)
    made = {
        "seeds": np.arange(seed, seed + num_seeds),
        "dataset": np.asarray(dataset),
        "proper_name": np.asarray(proper_name),
        "label_names": np.asarray(
            LABEL_NAMES[: len(arrays.get("class_counts", CLASS_COUNTS))]
        ),
        **{f"{split}_classes": np.int32(SPLITS[split]) for split in SPLITS},
        "class_counts": np.asarray(CLASS_COUNTS),
        "test_labels": np.int32(np.repeat(np.arange(NUM_CLASSES), SAMPLES_OF_A_CLASS)),
    }
    made |= {name: np.asarray(arrays[name]) for name in made if name in arrays}
    num_classes, labels = len(made["class_counts"]), made["test_labels"]
    few, num_seeds = made["few_classes"], len(made["seeds"])
    base = np.concatenate([made["medium_classes"], made["many_classes"]])
    k = np.shape(arrays["neighbors"])[-1] if "neighbors" in arrays else num_neighbors
    made["neighbors"] = np.stack(
        [np.int32(common.permutation(base)[:k]) for _ in few]
    ).reshape(len(few), k)
    shape = np.shape(arrays.get("neighbors", made["neighbors"]))
    distances = rng.uniform(0.0, 1.0 if nn_dist == "random" else 4.0, shape)
    made["neighbor_distances"] = np.float32(np.sort(distances, axis=-1))
    # Rare classes are taken for others by the unchanged classifier, less so after.
    before = np.where(np.isin(labels, few), 0.2, 0.8)
    made["baseline_test_pred"] = _predict(common, labels, before, num_classes)
    after = np.tile(np.where(np.isin(labels, few), 0.6, 0.7), (num_seeds, 1))
    made["test_pred"] = _predict(rng, labels, after, num_classes)
    alphas = rng.normal(size=(num_seeds, len(few), k))
    alphas /= np.abs(alphas).sum(axis=-1, keepdims=True)
    made["alphas"] = np.float32(np.insert(alphas, 0, 1.0, axis=-1))
    made["weight_few"] = np.float32(
        rng.normal(size=(num_seeds, len(few), NUM_FEATURES))
    )
    made["selected_epoch"] = np.full(num_seeds, NUM_EPOCHS - 1, np.int32)
    made["epoch_loss"] = np.float32(rng.uniform(1.0, 2.0, (num_seeds, NUM_EPOCHS)))
    made["epoch_mean_alphas"] = np.float32(
        np.broadcast_to(
            made["alphas"].mean(axis=1)[:, None], (num_seeds, NUM_EPOCHS, k + 1)
        )
    )
    made["learning_rate"] = np.full(NUM_EPOCHS, 0.001)
    made["momentum"] = np.zeros(0)
    made |= {name: np.asarray(array) for name, array in arrays.items()}
    made |= _network(made, num_classes)
    made |= _every_epoch(made, num_classes)

    splits = {split: made[f"{split}_classes"] for split in SPLITS}
    metrics = {"test": _metrics(made["test_pred"], labels, splits, num_classes)}
    metrics["baseline_test"] = metrics["baseline_val"] = {
        name: array[0]
        for name, array in _metrics(
            made["baseline_test_pred"][None], labels, splits, num_classes
        ).items()
    }
    # Validation is as the test, in every epoch.
    metrics["val"] = {
        name: np.repeat(array[:, None], NUM_EPOCHS, axis=1)
        for name, array in metrics["test"].items()
        if name != "acc_per_class"
    }
    for prefix, values in metrics.items():
        made |= {f"{prefix}_{name}": array for name, array in values.items()}
    config = _config(
        {
            "dataset": str(made["dataset"]),
            "seed": int(made["seeds"][0]),
            "seeds": num_seeds,
            "rho": rho,
            "training.n_neighbors": k,
            "training.nn_dist": nn_dist,
            "training.nn_per_seed": made["neighbors"].ndim == 3,
            "training.train_epochs": NUM_EPOCHS,
            "training.min_epochs": 1,
        }
        | (settings or {})
    )
    made |= {
        "config": np.asarray(json.dumps(config, sort_keys=True)),
        "versions": np.asarray(json.dumps(outcome.versions(), sort_keys=True)),
        "file_hashes": np.asarray("{}"),
    }
    made |= {name: np.asarray(array) for name, array in arrays.items()}
    results.save_result(path, made)
    return made


def make_unchanged(path, **arguments):
    """Writes a result of the unchanged classifier, as `baseline` makes it.

    Args:
      path: The file.
      **arguments: As those of `make_result`.
    """
    made = make_result(path, num_seeds=1, **arguments)
    alphas = np.zeros_like(made["alphas"])
    alphas[..., 0] = 1.0
    arguments |= {
        "alphas": alphas,
        "test_pred": made["baseline_test_pred"][None],
        "selected_epoch": np.int32([-1]),
    }
    return make_result(path, num_seeds=1, **arguments)


def _config(fields):
    made = config_lib.default_config()
    for name, value in fields.items():
        config_lib.put(made, name, value)
    return json.loads(json.dumps(made.to_dict()))


def _predict(rng, labels, chances, num_classes):
    """Predicts labels by chance, else any class."""
    right = rng.uniform(size=np.shape(chances)) < chances
    others = rng.integers(num_classes, size=np.shape(chances))
    return np.int32(np.where(right, labels, others))


def _metrics(predictions, labels, splits, num_classes):
    def count(rows):
        return np.bincount(rows, minlength=num_classes)

    right = predictions == labels
    counts = evaluation.Counts(
        correct=np.stack([count(labels[row]) for row in right]),
        predicted=np.stack([count(row) for row in predictions]),
        total=np.stack([count(labels)] * len(right)),
        # Half of the rest are among the best five.
        top5_correct=right.sum(axis=1) + (~right).sum(axis=1) // 2,
    )
    return evaluation.metrics_from_counts(counts, splits)._asdict()


def _network(made, num_classes):
    """Draws a network with one hidden layer, and means of classes."""
    rng = np.random.default_rng(0)
    num_seeds, _, places = made["alphas"].shape
    num_features, units = made["weight_few"].shape[-1], 3
    shapes = {
        "network.conv_layer.weight": (num_seeds, units, 1, places, num_features),
        "network.conv_layer.bias": (num_seeds, units),
        "network.linear_layer__seq.0.weight": (num_seeds, places - 1, units),
        "network.linear_layer__seq.0.bias": (num_seeds, places - 1),
        "class_means": (num_classes, num_features),
    }
    return {name: np.float32(rng.normal(size=shape)) for name, shape in shapes.items()}


def _every_epoch(made, num_classes):
    """Draws what is recorded of every step and epoch; validation has 9 of a class."""
    rng = np.random.default_rng(1)
    runs = made["epoch_mean_alphas"].shape[:2]
    steps = np.repeat(made["epoch_loss"][..., None], 2, axis=-1)
    spread = np.abs(rng.normal(size=made["epoch_mean_alphas"].shape))
    counts = (rng.integers(0, 9, (*runs, num_classes)) for _ in range(2))
    return {
        "step_loss": np.float32(steps),
        "epoch_least_alphas": np.float32(made["epoch_mean_alphas"] - spread),
        "epoch_most_alphas": np.float32(made["epoch_mean_alphas"] + spread),
        "drawn_per_class": np.uint8(next(counts)),
        "val_correct_per_class": np.uint8(next(counts)),
        "val_class_counts": np.full(num_classes, 9),
    }
