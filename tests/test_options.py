"""Every option by a command that a user may type, on a very small dataset."""

import contextlib
import json
import pathlib
import sys

import made_data
import numpy as np
import pytest

from alphanet_jax.commands import cli, train
from alphanet_jax.experiment import loop
from alphanet_jax.experiment import problem as problem_lib
from alphanet_jax.results import file as results
from alphanet_jax.sampling import SAMPLERS

EPOCHS = 3
FIELDS = {
    "seeds": 2,
    "training.n_neighbors": 2,
    "training.train_epochs": EPOCHS,
    "training.min_epochs": 2,
    "training.train_batch_size": 5,
    "training.eval_batch_size": 16,
    "alphanet.hdims": (4,),
}
PTOPT = "training.ptopt."
CLASSES = "training.sampler_builder.sampler_classes"
ARGS = "training.sampler_builder.sampler_args"


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    root = tmp_path_factory.mktemp("options")
    made_data.make(root / "data")
    (root / "config.py").write_text(
        "from alphanet_jax.config.fields import default_config\n"
        "def get_config():\n"
        "    config = default_config()\n"
        "    config.dataset = 'made'\n"
        f"    config.registry = {str(root / 'data' / 'datasets.toml')!r}\n"
        f"    config.data_root = {str(root / 'data')!r}\n"
        + "".join(f"    config.{name} = {value!r}\n" for name, value in FIELDS.items())
        + "    return config\n"
    )
    return root


@pytest.fixture(autouse=True)
def _own_directory(root, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(root / "cache"))
    monkeypatch.delitem(sys.modules, "config_config", raising=False)


def run_train(root, capsys, *flags, **fields):
    """Runs the command; gives its status and what it said."""
    sys.modules.pop("config_config", None)
    given = [f"--config.{name}={value}" for name, value in fields.items()]
    status = cli.main(
        ["main.py", f"--config={root / 'config.py'}", "--workdir=w", *given, *flags]
    )
    return status, capsys.readouterr()


@pytest.fixture
def ok(root, capsys):
    """Runs a command that ends well; gives the result of its only point."""

    def run(**fields):
        with contextlib.suppress(FileNotFoundError):
            pathlib.Path("w/result.npz").unlink()
        status, said = run_train(root, capsys, **fields)
        assert status == 0, said.err
        result = results.load_result(pathlib.Path("w/result.npz"))
        config = json.loads(str(result["config"]))
        for name, value in fields.items():
            node = config
            for part in name.split("."):
                node = node[part]
            wanted = list(value) if isinstance(value, tuple) else value
            assert node == wanted
        for name in ("alphas", "epoch_loss", "test_accuracy"):
            assert np.isfinite(result[name]).all()
        return result

    return run


@pytest.fixture
def refused(root, capsys):
    """Runs a command that is refused, before anything is trained or written."""

    def run(*flags, **fields):
        status, said = run_train(root, capsys, *flags, **fields)
        last = said.err.splitlines()[-1]
        assert status == 1
        assert last.startswith("error: ")
        assert said.err.count("error") == 1
        assert "Traceback" not in said.err
        assert said.out == ""
        assert list(pathlib.Path().iterdir()) == []
        return last

    return run


@pytest.fixture
def problems(monkeypatch):
    """Keeps what the command made of its settings."""
    found = []
    original = problem_lib.prepare_all

    def spy(*arguments, **more):
        found.extend(original(*arguments, **more))
        return found

    monkeypatch.setattr(problem_lib, "prepare_all", spy)
    return found


# A row of few classes or base classes is drawn at most so often, where it says so.
COMBINATIONS = [
    (("AllFewSampler", "AllBaseSampler"), ("",)),
    (("AllManySampler", "UniformManyImageSampler"), ("", "r=0.5")),
    (("AllMediumSampler", "ClassBalancedMediumSampler"), ("r=0.6",)),
    (("UniformManyClassSampler", "UniformMediumClassSampler"), ("r=0.5", "r=1")),
    (("UniformBaseClassSampler", "UniformBaseImageSampler"), ("r=1.5",)),
    (("UniformMediumImageSampler", "ClassBalancedManySampler"), ("", "r=0.25")),
    (("ClassBalancedBaseSampler",), ("r=0.5",)),
]


class TestSamplers:
    def test_all_are_here(self):
        names = [name for classes, _ in COMBINATIONS for name in classes]
        assert sorted(names) == sorted(SAMPLERS)

    @pytest.mark.parametrize(
        ("classes", "args"),
        [
            pytest.param(*case, marks=() if number % 4 == 0 else pytest.mark.slow)
            for number, case in enumerate(COMBINATIONS)
        ],
    )
    def test_rows_of_the_right_splits(self, ok, problems, classes, args):
        # One batch an epoch: the program of training is the same for all samplers.
        whole = {"training.train_batch_size": 64}
        ok(**{CLASSES: classes, ARGS: args, "rho": 0.75, **whole})
        (problem,) = problems
        labels = problem.dataset.train.labels
        num_few = np.isin(labels, made_data.SPLITS["few"]).sum()
        splits = made_data.SPLITS | {"base": (1, 2, 4, 5)}
        assert [sampler.name for sampler in problem.samplers] == list(classes)
        drawn = loop.epoch_batches(problem, [0, 1])
        counts = np.zeros((2, EPOCHS, made_data.NUM_CLASSES), int)
        for epoch, batches in enumerate(drawn):
            for seed in (0, 1):
                rows = batches.rows[seed][batches.valid[seed]]
                counts[seed, epoch] = np.bincount(
                    labels[rows], minlength=made_data.NUM_CLASSES
                )
        wanted_splits = set()
        least = 0
        for index, name in enumerate(classes):
            split = next(s for s in splits if s.capitalize() in name)
            wanted_splits |= set(splits[split])
            text = args[index if len(args) > 1 else 0]
            r = float(text.partition("=")[2] or 0.75)
            if name.startswith("All"):
                least += np.isin(labels, splits[split]).sum()
            elif "Class" in name and not name.startswith("ClassBalanced"):
                least += int(2 * r) * 3  # a few class has 3 or 4 rows
            else:
                least += int(num_few * r)
        outside = [c for c in range(made_data.NUM_CLASSES) if c not in wanted_splits]
        assert not counts[:, :, outside].any()
        sizes = counts.sum(axis=2)
        per_class = sum("Uniform" in n and "Class" in n for n in classes)
        assert (sizes >= least).all()
        assert (sizes <= least + 4 * per_class).all()
        assert per_class or (sizes == least).all()

    @pytest.mark.parametrize(
        ("fields", "message"),
        [
            ({CLASSES: ("AllFewSamplr",)}, "did you mean 'AllFewSampler'"),
            ({CLASSES: ()}, "at least one sampler class is needed"),
            ({ARGS: ("R=0.5",)}, "AllFewSampler takes no argument ['R']"),
            ({ARGS: ("r=0.5", "")}, "AllFewSampler takes no argument r"),
            ({ARGS: ("", "r=x")}, "expected key=value,key=value"),
            ({ARGS: ("", "r=-1")}, "r must be a number from 0 on, got -1"),
            ({ARGS: ("", 'r="1"')}, "r must be a number from 0 on, got '1'"),
            ({ARGS: ("", "", "")}, "one for each of the 2 sampler classes, got 3"),
            (
                {CLASSES: ("UniformManyClassSampler",), ARGS: ("r=1.5",)},
                "UniformManyClassSampler: r=1.5 asks for 3 classes of 'many', which "
                "has 2",
            ),
            (
                {CLASSES: ("ClassBalancedBaseSampler",), ARGS: ("r=0.01",)},
                "the samplers draw no rows at all",
            ),
        ],
    )
    def test_refused(self, refused, fields, message):
        assert message in refused(**fields)


def updates(cls, params=""):
    return {f"{PTOPT}optim_cls": cls, f"{PTOPT}optim_params": params}


def schedule(cls, params=""):
    return {f"{PTOPT}lr_sched_cls": cls, f"{PTOPT}lr_sched_params": params}


class TestByName:
    @pytest.mark.slow
    def test_optimizers_and_schedules(self, ok):
        """Each differs from the others, and has the rates that it should have."""
        cases = [
            (
                updates("AdamW", "lr=0.01,betas=[0.8,0.99],amsgrad=true")
                | schedule("StepLR", "step_size=1,gamma=0.5"),
                [0.01, 0.005, 0.0025],
            ),
            (
                updates("SGD", "lr=0.1,momentum=0.9,nesterov=true")
                | schedule(
                    "OneCycleLR",
                    'max_lr=0.4,total_steps=3,div_factor=4,anneal_strategy="linear",'
                    "final_div_factor=2,pct_start=0.6666666666666666",
                ),
                [0.1, 0.4, 0.05],
            ),
            (
                updates("adamw", "learning_rate=0.01,b1=0.8,weight_decay=0.1")
                | schedule("exponential_decay", "transition_steps=1,decay_rate=0.1"),
                [0.01, 0.001, 0.0001],
            ),
            (
                updates("RMSprop", "lr=0.01,centered=true,alpha=0.9")
                | schedule("MultiStepLR", "milestones=[1,2],gamma=0.5"),
                [0.01, 0.005, 0.0025],
            ),
        ]
        seen = []
        for fields, rates in cases:
            result = ok(**fields)
            np.testing.assert_allclose(result["learning_rate"], rates, rtol=1e-5)
            seen.append(result["alphas"])
        for place, alphas in enumerate(seen):
            for other in seen[:place]:
                assert np.abs(alphas - other).max() > 1e-5

    @pytest.mark.slow
    def test_momentum_follows_its_schedule(self, ok):
        cycle = "base_lr=0.01,max_lr=0.03,step_size_up=2,"
        found = [
            ok(
                **updates("SGD", "lr=0.1,momentum=0.9"),
                **schedule("CyclicLR", cycle + more),
            )
            for more in ("cycle_momentum=false", "max_momentum=0.9", "max_momentum=0.9")
        ]
        for result in found:
            np.testing.assert_allclose(result["learning_rate"], [0.01, 0.02, 0.03])
        assert np.abs(found[0]["alphas"] - found[1]["alphas"]).max() > 1e-6
        np.testing.assert_array_equal(found[1]["alphas"], found[2]["alphas"])

    @pytest.mark.slow
    def test_activations(self, ok):
        names = ("leaky_relu", "squareplus")  # the usual one, and one by its name
        found = [ok(**{"alphanet.hact": name})["alphas"] for name in names]
        assert np.abs(found[0] - found[1]).max() > 1e-3

    @pytest.mark.parametrize(
        ("fields", "messages"),
        [
            (
                schedule("ReduceLROnPlateau"),
                ["'ReduceLROnPlateau' is not available: it needs a metric", "'StepLR'"],
            ),
            (schedule("LambdaLR"), ["needs a function", "'exponential_decay'"]),
            (schedule("StepLr"), ["did you mean 'StepLR'?"]),
            (schedule("StepLR", "step_size=0"), ["step_size must be an integer >= 1"]),
            (schedule("StepLR", "gama=1"), ["StepLR takes ['step_size', 'gamma']"]),
            (
                schedule("OneCycleLR", "max_lr=1,total_steps=2"),
                ["OneCycleLR"],
            ),
            (
                updates("Adagrad") | schedule("CyclicLR", "base_lr=0.1,max_lr=0.2"),
                ["changes the momentum", "cycle_momentum=false"],
            ),
            (updates("LBFGS"), ["'LBFGS' is not available: it evaluates", "'AdamW'"]),
            (updates("lbfgs"), ["'lbfgs' is not available", "'adamw'"]),
            (updates("adm"), ["did you mean 'adam'"]),
            (updates("ADAMW"), ["did you mean 'AdamW' or 'adamw'?"]),
            (updates("Adam", "beta=0.9"), ["Adam takes ['lr', 'betas'", "['beta']"]),
            (updates("Adam", "betas=0.9"), ["Adam: betas must be two numbers"]),
            (updates("Adam", "betas=[0.9,1]"), ["each of betas must be a number in"]),
            (updates("Adam", "foreach=true"), ["only chooses how PyTorch computes"]),
            (updates("Adam", "lr=[0.1"), ["optim_params: expected key=value"]),
            (updates("Adam", "lr=1,lr=2"), ["'lr' is given twice"]),
            ({"alphanet.hact": "dropout"}, ["not available: it is random", "'relu'"]),
            ({"alphanet.hact": "linear"}, ["it needs more than its input", "'tanh'"]),
            ({"alphanet.hact": "softmax"}, ["it is not elementwise", "'sigmoid'"]),
            ({"alphanet.hact": "rellu"}, ["did you mean 'relu'"]),
        ],
    )
    def test_refused(self, refused, fields, messages):
        last = refused(**fields)
        assert all(message in last for message in messages), last


METRICS = ("accuracy", "top5", "f1", "acc_per_split", "acc_per_class")


class TestSettings:
    @pytest.mark.slow
    def test_dummy_mode_is_the_baseline(self, ok):
        result = ok(**{"alphanet.dummy_mode": True})
        alphas = result["alphas"]
        assert alphas.shape == (2, 2, 3)
        assert (alphas[:, :, 0] == 1).all()
        assert (alphas[:, :, 1:] == 0).all()
        for seed in (0, 1):
            for name in METRICS:
                np.testing.assert_array_equal(
                    result[f"test_{name}"][seed], result[f"baseline_test_{name}"]
                )
            np.testing.assert_array_equal(
                result["test_pred"][seed], result["baseline_test_pred"]
            )
            for epoch in range(EPOCHS):
                for name in METRICS[:-1]:
                    np.testing.assert_array_equal(
                        result[f"val_{name}"][seed, epoch],
                        result[f"baseline_val_{name}"],
                    )
        weight = np.load("w/result.npz")["weight_few"]
        assert (weight[0] == weight[1]).all()
        # And it is no other than the classifier that was given.
        plain = ok()
        assert (plain["weight_few"] != weight).any()

    @pytest.mark.slow
    def test_precision(self, ok):
        """On a CPU, both are float32."""
        found = [ok(precision=name) for name in ("highest", "tensorfloat32")]
        np.testing.assert_array_equal(found[0]["alphas"], found[1]["alphas"])

    @pytest.mark.slow
    def test_pred_scale(self, ok):
        found = [ok(pred_scale=scale) for scale in (1.0, 4.0)]
        assert (found[0]["epoch_loss"] != found[1]["epoch_loss"]).all()
        for name in ("baseline_test_accuracy", "neighbors"):
            np.testing.assert_array_equal(found[0][name], found[1][name])

    @pytest.mark.slow
    def test_selection(self, ok):
        best, reference, last = (
            ok(selection=name) for name in ("best", "reference", "last")
        )
        assert reference["selected_epoch"].tolist() == [1, 1]
        assert last["selected_epoch"].tolist() == [EPOCHS - 1, EPOCHS - 1]
        allowed = best["val_accuracy"][:, 1:]
        np.testing.assert_array_equal(
            best["selected_epoch"], 1 + allowed.argmax(axis=1)
        )
        np.testing.assert_array_equal(best["epoch_loss"], last["epoch_loss"])

    @pytest.mark.slow
    def test_distances_and_seed(self, ok):
        first = ok(**{"training.nn_dist": "random", "seed": 0})
        second = ok(**{"training.nn_dist": "random", "seed": 1})
        assert second["seeds"].tolist() == [1, 2]
        assert (first["neighbors"] != second["neighbors"]).any()

    @pytest.mark.slow
    def test_groups(self, ok):
        usual = ok()
        swapped = ok(**{"training.val_datagrp": "test", "training.test_datagrp": "val"})
        np.testing.assert_array_equal(usual["epoch_loss"], swapped["epoch_loss"])
        np.testing.assert_array_equal(
            usual["baseline_test_accuracy"], swapped["baseline_val_accuracy"]
        )
        assert len(swapped["test_labels"]) == made_data.SIZES["val"]
        without = ok(**{"training.val_datagrp": ""})
        assert np.isnan(without["val_accuracy"]).all()
        assert without["selected_epoch"].tolist() == [EPOCHS - 1, EPOCHS - 1]
        other = ok(**{"training.train_datagrp": "test"})
        assert other["class_counts"].sum() == made_data.SIZES["test"]

    @pytest.mark.parametrize(
        ("fields", "messages"),
        [
            ({"precision": "bfloat16"}, ["one of highest, tensorfloat32", "bfloat16"]),
            ({"selection": "first"}, ["one of best, reference, last", "first"]),
            ({"training.nn_dist": "l2"}, ["one of euclidean, cosine", "'l2'"]),
            ({"pred_scale": 0.0}, ["pred_scale must be positive, got 0.0"]),
            ({"pred_scale": -1.0}, ["pred_scale must be positive"]),
            ({"alphanet.dummy_mode": "maybe"}, ["dummy_mode"]),
            ({"training.test_datagrp": "tset"}, ["tset"]),
            ({"training.train_datagrp": "trian"}, ["trian"]),
            ({"training.min_epochs": 0}, ["min_epochs must be at least 1, got 0"]),
            ({"training.n_neighbors": 4}, ["less than the number of base classes"]),
            ({"alphanet.hdims": (4, 0)}, ["hid"]),
            ({"dummy_mode": True}, ["did you mean 'alphanet.dummy_mode'?"]),
        ],
    )
    def test_refused(self, refused, fields, messages):
        last = refused(**fields)
        assert all(message in last for message in messages), last

    @pytest.mark.parametrize(
        ("flag", "message"),
        [
            ("--n_ckpt=0", "--n_ckpt=0"),
            ("--n_ckpt=two", "--n_ckpt=two"),
            ("--load_from_ckpt=perhaps", "--load_from_ckpt=perhaps"),
            ("--ckptdir=c", "did you mean 'ckpt_dir'"),
            ("--tb_log=l", "did you mean 'tb_logs'?"),
        ],
    )
    def test_flags_are_refused(self, refused, flag, message):
        assert message in refused(flag)


def test_flags_of_checkpoints_and_logs_are_explained(capsys):
    assert cli.main(["main.py", "train", "--help"]) == 0
    text = capsys.readouterr().out
    for flag in ("ckpt_dir", "n_ckpt", "load_from_ckpt", "tb_logs"):
        assert f"--{flag}\n" in text
    assert train.DESCRIPTION.splitlines()[0] in text


class TestNeighborsOfSeeds:
    @pytest.mark.slow
    def test_each_seed_has_its_own_and_is_the_same_alone(self, ok):
        fields = {"training.nn_dist": "random", "training.nn_per_seed": True}
        both = ok(**fields, seeds=2)
        assert both["neighbors"].ndim == 3
        assert (both["neighbors"][0] != both["neighbors"][1]).any()
        alone = ok(**fields, seeds=1, seed=1)
        np.testing.assert_array_equal(alone["neighbors"][0], both["neighbors"][1])
        np.testing.assert_array_equal(alone["alphas"][0], both["alphas"][1])
        np.testing.assert_array_equal(alone["test_pred"][0], both["test_pred"][1])

    @pytest.mark.slow
    def test_shared_by_default(self, ok):
        assert ok(**{"training.nn_dist": "random"})["neighbors"].ndim == 2


class TestBaseline:
    def baseline(self, root, capsys, *flags):
        sys.modules.pop("config_config", None)
        status = cli.main(
            ["main.py", "baseline", f"--config={root / 'config.py'}", *flags]
        )
        return status, capsys.readouterr()

    @pytest.mark.slow
    def test_is_the_unchanged_classifier(self, root, capsys, ok):
        status, said = self.baseline(root, capsys, "--out=kept/b.npz")
        assert status == 0
        assert said.out.splitlines()[-1].startswith("Baseline ")
        found = results.load_result(pathlib.Path("kept/b.npz"))
        assert (found["alphas"] == np.eye(found["alphas"].shape[-1])[0]).all()
        trained = ok()
        for name in ("accuracy", "top5", "f1", "acc_per_split", "pred"):
            np.testing.assert_array_equal(
                found[f"test_{name}"][0], trained[f"baseline_test_{name}"]
            )

    @pytest.mark.slow
    def test_goes_where_the_registry_says(self, root, capsys, monkeypatch, tmp_path):
        saved = []
        original = results.save_result

        def save(path, arrays):
            saved.append(path)
            original(path, arrays)

        monkeypatch.setattr(results, "save_result", save)
        text = (root / "data" / "datasets.toml").read_text()
        registry = tmp_path / "datasets.toml"
        for line, expected in (
            ('baseline_eval_file = "kept/b.pkl"\n', root / "data" / "kept" / "b.npz"),
            ("", None),
        ):
            others = [x for x in text.splitlines() if "baseline_eval" not in x]
            registry.write_text("\n".join([*others, line]))
            flag = f"--config.registry={registry}"
            status, said = self.baseline(root, capsys, flag)
            if expected is None:
                assert status == 1
                assert "no baseline_eval_file in the registry" in said.err
            else:
                assert status == 0, said.err
                assert saved == [expected]
                expected.unlink()

    def test_takes_no_sweep(self, root, capsys):
        status, said = self.baseline(root, capsys, "--config.rho=(0.1, 0.5)")
        assert status == 1
        assert said.err == (
            "error: baseline takes one value for each field, got rho=0.1, rho=0.5 ...\n"
        )
