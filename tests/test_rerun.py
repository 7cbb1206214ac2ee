"""`rerun` makes a result again, and says what differs."""

import made_data
import made_originals
import numpy as np
import pytest
import results_of_data

from alphanet_jax.commands import cli
from alphanet_jax.results import again
from alphanet_jax.results.file import load_result, save_result


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    root = tmp_path_factory.mktemp("rerun")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(root / "cache"))
        yield made_data.make(root / "data")


@pytest.fixture(scope="module")
def path(made, tmp_path_factory):
    return results_of_data.train(made, tmp_path_factory.mktemp("w") / "w")


def rerun(capsys, *arguments):
    status = cli.main(["main.py", "rerun", *map(str, arguments)])
    said = capsys.readouterr()
    return status, said.out.splitlines(), said.err.splitlines()


class TestCompare:
    def test_by_hand(self):
        before = {
            "seeds": np.array([0, 1]),
            "alphas": np.array([[1.0, 0.5]]),
            "test_pred": np.array([[0, 1, 2], [0, 0, 0]]),
            "test_acc_per_split": np.array([[0.5, 0.5, np.nan], [0.2, 0.1, np.nan]]),
            "test_accuracy": np.array([0.5, 0.2]),
            "step_loss": np.zeros((2, 1, 1)),
            "versions": np.array('{"jax": "1", "numpy": "2"}'),
        }
        after = dict(before) | {
            "alphas": np.array([[1.0, 0.25]]),
            "test_pred": np.array([[0, 1, 1], [0, 0, 0]]),
            "test_acc_per_split": np.array([[0.3, 0.5, np.nan], [0.3, 0.4, np.nan]]),
            "versions": np.array('{"jax": "3", "numpy": "2"}'),
        }
        del after["step_loss"]
        found = again.compare_results(before, after)
        assert found.equal == ("seeds", "test_accuracy")
        assert found.different == {
            "alphas": "at most 0.25 apart",
            "test_pred": "1 of 6 differ",
            "test_acc_per_split": "at most 0.3 apart",
        }
        assert found.missing == ("step_loss",)
        assert found.versions == ("jax 1, now 3",)
        assert found.predictions == (1, 6)
        changes = {"few": -20.0, "medium": 30.0, "overall": 0.0}
        assert found.accuracy == pytest.approx(changes)
        assert found.verdict == "other predictions"

    def test_verdicts(self):
        one = {"test_pred": np.array([[0, 1]]), "alphas": np.ones((1, 2))}
        assert again.compare_results(one, one).verdict == "the same, to the last bit"
        close = one | {"alphas": np.full((1, 2), 1 + 1e-7)}
        found = again.compare_results(one, close)
        assert found.verdict.startswith("the same predictions; numbers differ")
        shape = again.compare_results(one, {"test_pred": np.array([[0]])})
        assert shape.different == {"test_pred": "shape (1, 2), now (1, 1)"}
        assert shape.predictions == (2, 2)

    def test_nan_is_equal_to_nan_alone(self):
        one, other = {"x": np.array([np.nan, 1.0])}, {"x": np.array([2.0, 1.0])}
        assert again.compare_results(one, one).equal == ("x",)
        different = again.compare_results(one, other).different
        assert different == {"x": "one of them has no number where the other has"}


@pytest.mark.slow
def test_the_same(path, capsys, tmp_path):
    status, out, _ = rerun(capsys, f"--result={path}", f"--out={tmp_path / 'a.npz'}")
    assert status == 0
    assert out[0] == f"{path}: the same, to the last bit"
    assert len(out) == 2
    assert (tmp_path / "a.npz").read_bytes() == path.read_bytes()
    status, _, err = rerun(capsys, f"--result={path}", f"--out={tmp_path / 'a.npz'}")
    assert (status, err) == (
        1,
        [f"error: --out: {tmp_path / 'a.npz'} is there already"],
    )


@pytest.mark.slow
def test_other_predictions(path, capsys, tmp_path):
    arrays = load_result(path)
    predictions = arrays["test_pred"].copy()
    predictions[0, :2] = (predictions[0, :2] + 1) % 6
    save_result(tmp_path / "result.npz", arrays | {"test_pred": predictions})
    status, out, err = rerun(capsys, f"--result={tmp_path}")
    assert status == 1
    assert "other predictions" in out[0]
    assert any(line.split() == ["test_pred", "2", "of", "24", "differ"] for line in out)
    assert err[-1].endswith("2 of 24 predictions are other ones now")


@pytest.mark.slow
def test_settings_are_those_of_the_result(made, capsys, tmp_path):
    """Also what is not by default, and a brief result as one."""
    path = results_of_data.train(
        made,
        tmp_path / "w",
        "--config.rho=0.75",
        "--config.seed=7",
        "--config.alphanet.hdims=(5, 4)",
        "--config.training.ptopt.optim_params=lr=0.01,betas=[0.8,0.9]",
        "--config.training.nn_dist=random",
        "--brief_result",
    )
    capsys.readouterr()
    status, out, _ = rerun(capsys, f"--result={path}")
    assert (status, out[0]) == (0, f"{path}: the same, to the last bit")


@pytest.mark.slow
def test_another_correction(tmp_path, capsys, monkeypatch):
    """The classes are borrowed from again, and the targets held to."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    rng = np.random.default_rng(0)
    centers = rng.normal(size=(6, 5)).astype(np.float32)
    (tmp_path / "feats").mkdir()
    for group, counts in (("train", [40, 30, 25, 9, 8, 7]), ("val", [8] * 6)):
        labels = np.repeat(np.arange(6), counts)
        rows = np.float32(centers[labels] + rng.normal(size=(len(labels), 5)))
        np.savez(tmp_path / f"feats/{group}.npz", feats=rows, labels=labels)
    np.savez(tmp_path / "head.npz", weight=centers, bias=np.zeros(6, np.float32))
    arguments = ["main.py", "fit", "--features=feats", "--classifier=head.npz"]
    more = ["--workdir=w", "--method=logit_adjustment", "--target=overall >= -5"]
    assert cli.main([*arguments, *more]) == 0
    capsys.readouterr()
    status, out, err = rerun(capsys, "--quiet", "w")
    assert (status, out[0]) == (0, "w/result.npz: the same, to the last bit"), err


def test_no_result(capsys):
    status, _, err = rerun(capsys)
    assert (status, err) == (1, ["error: no result is named: rerun RESULT"])


def test_data_that_is_gone(path, capsys, tmp_path):
    status, _, err = rerun(capsys, f"--result={path}", f"--data_root={tmp_path}")
    assert status == 1
    assert "is needed: " in err[-1]
    assert "--data_root" in err[-1]


class TestOfTheOriginal:
    @pytest.fixture
    def content(self, made):
        return made_originals.result_of(made)[0]

    def flags(self, made):
        return f"--registry={made.registry}", f"--data_root={made.root}"

    @pytest.mark.slow
    def test_runs_of_its_settings_are_put_beside_it(
        self, made, content, tmp_path, capsys
    ):
        path = made_originals.save(tmp_path / "result.pth", content)
        status, said, told = rerun(
            capsys, path, *self.flags(made), f"--out={tmp_path / 'again.npz'}"
        )
        assert status == 0, told
        assert said[0].startswith(f"{path}: a result of the original")
        assert "20 runs of its settings" in said[0]
        assert said[1] == "classes and their neighbors are the same"
        after = load_result(tmp_path / "again.npz")
        assert len(after["seeds"]) == 20
        now = 100 * after["test_accuracy"]
        before = 100 * content["test_metrics"]["accuracy"]
        assert said[-1] == (
            f"  overall  {before:5.1f}; now {now.mean():.1f}, from {now.min():.1f} to "
            f"{now.max():.1f}, and {(now < before).sum()} of 20 below"
        )
        assert "reference" in str(after["config"])

    def test_neighbors_that_differ_are_told(self):
        one = {
            "neighbors": np.array([[0, 1]]),
            "test_acc_per_split": np.array([[0.5, np.nan, 0.25]]),
            "test_accuracy": np.array([0.5]),
        }
        several = {
            "neighbors": np.array([[1, 0]]),
            "test_acc_per_split": np.array([[0.5, np.nan, 0.5], [1.0, np.nan, 0.75]]),
            "test_accuracy": np.array([0.25, 0.75]),
        }
        differ = again.differences(one, several, ["neighbors", "class_counts"])
        assert differ == {"neighbors": "2 of 2 differ"}
        beside = again.spread(one, several)
        assert beside.keys() == {"few", "many", "overall"}
        assert beside["many"][0] == 25.0
        assert beside["many"][1].tolist() == [50.0, 75.0]

    def test_nothing_was_trained(self, made, tmp_path, capsys):
        content = made_originals.result_of(made, dummy=True)[0]
        path = made_originals.save(tmp_path / "result.pth", content)
        status, _, told = rerun(capsys, path, *self.flags(made))
        assert status == 1
        assert told[-1].endswith("is of the unchanged classifier: nothing was trained")
