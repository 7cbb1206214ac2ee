"""Result files of a small made dataset, with coefficients drawn at random.

Predictions come from a plain NumPy classifier, written down here once more.
"""

import json

import numpy as np

from alphanet_jax import results
from alphanet_jax.commands import cli
from alphanet_jax.config.fields import default_config
from alphanet_jax.data.loading import load_dataset

# Two epochs. Programs of these sizes are compiled once, for many tests.
SHORT = (
    "--config.seeds=2",
    "--config.alphanet.hdims=(4,)",
    "--config.training.n_neighbors=2",
    "--config.training.train_epochs=2",
    "--config.training.min_epochs=1",
    "--config.training.train_batch_size=5",
    "--config.training.eval_batch_size=16",
)


def config_of(made, **fields):
    config = default_config()
    config.dataset = made.entry.name
    config.registry = str(made.registry)
    config.data_root = str(made.root)
    config.training.n_neighbors = 2
    for name, value in fields.items():
        *parents, last = name.split(".")
        node = config
        for parent in parents:
            node = node[parent]
        node[last] = value
    return json.loads(json.dumps(config.to_dict()))


def scores(data, alphas, neighbors, features):
    """Logits of one run: rows of the classifier, added up by their coefficients."""
    weight = np.asarray(data.weight, np.float64).copy()
    for place, label in enumerate(data.few_classes):
        sources = [label, *neighbors[place]]
        weight[label] = sum(
            float(alpha) * np.asarray(data.weight[source], np.float64)
            for alpha, source in zip(alphas[place], sources, strict=True)
        )
    return np.asarray(features, np.float64) @ weight.T + data.bias


def arrays_of(made, *, seeds=(0, 1), per_seed=False, draw=0, **fields):
    """Arrays of a result, with neighbors and coefficients that mean nothing."""
    data = load_dataset(made.entry, made.root)
    config = config_of(made, **fields)
    rng = np.random.default_rng(draw)
    k = config["training"]["n_neighbors"]
    few = len(data.few_classes)
    base = np.setdiff1d(np.arange(data.num_classes), data.few_classes)
    neighbors = np.stack(
        [
            np.stack([rng.permutation(base)[:k] for _ in range(few)])
            for _ in range(len(seeds) if per_seed else 1)
        ]
    )
    alphas = rng.standard_normal((len(seeds), few, k + 1)).astype(np.float32)
    alphas[..., 0] = 1.0
    x, labels = np.asarray(data.test.features), np.asarray(data.test.labels)
    logits = [
        scores(data, alpha, neighbors[place if per_seed else 0], x)
        for place, alpha in enumerate(alphas)
    ]
    none = np.eye(1, k + 1)[0] * np.ones((few, 1))
    return {
        "seeds": np.asarray(seeds),
        "dataset": np.asarray(data.name),
        "proper_name": np.asarray(data.proper_name),
        "label_names": np.asarray(data.label_names or (), np.str_),
        **{f"{split}_classes": classes for split, classes in data.splits.items()},
        "class_counts": data.class_counts,
        "neighbors": neighbors if per_seed else neighbors[0],
        "neighbor_distances": np.ones((few, k), np.float32),
        "alphas": alphas,
        "weight_few": np.ones((len(seeds), few, data.weight.shape[1]), np.float32),
        "test_pred": np.stack([np.argmax(each, axis=1) for each in logits]),
        "test_acc_per_split": np.zeros((len(seeds), 3)),
        "baseline_test_pred": np.argmax(scores(data, none, neighbors[0], x), axis=1),
        "test_labels": labels,
        "config": np.asarray(json.dumps(config)),
        "file_hashes": np.asarray(json.dumps(dict(data.file_hashes))),
    }


def train(made, workdir, *more):
    """Trains for two epochs by the real command; gives the path of the result."""
    config = made.path("config_of_tests.py")
    config.write_text(
        "from alphanet_jax.config.fields import default_config as get_config\n"
    )
    arguments = [
        *(f"--config={config}", f"--workdir={workdir}", "--config.dataset=made"),
        *(f"--config.registry={made.registry}", f"--config.data_root={made.root}"),
        *SHORT,
    ]
    assert cli.main(["main.py", *arguments, *more]) == 0
    (path,) = workdir.glob("**/result.npz")
    return path


def write(path, arrays, **changes):
    """Saves a result; a change to None leaves an array out."""
    arrays = {k: v for k, v in (arrays | changes).items() if v is not None}
    results.save_result(path, {k: np.asarray(v) for k, v in arrays.items()})
    return path


def load(directory, arrays, **changes):
    """Writes a result below a directory, and loads it."""
    path = write(directory / "r" / "result.npz", arrays, **changes)
    (found,) = results.load_sets({"x": [path]})
    return found.files[0]
