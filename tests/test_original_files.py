"""Files given as results of the original that are something else, or hostile."""

import copy

import made_data
import made_originals
import numpy as np
import pytest
from made_originals import changed, without

from alphanet_jax import results
from alphanet_jax.errors import UserError
from alphanet_jax.results import pytorch


@pytest.fixture(scope="module")
def content(tmp_path_factory):
    return made_originals.result_of(made_data.make(tmp_path_factory.mktemp("made")))


def expanded(*shape):
    """A tensor that takes four bytes of a file, whatever its shape."""
    one = np.zeros(1, np.float32)
    return np.ndarray(shape, np.float32, one, strides=(0,) * len(shape))


BIG = expanded(100_000, 100_000)


class TestHostileFiles:
    @pytest.mark.parametrize(
        ("new", "keys", "told"),
        [
            (3, ("train_data_info",), "not a dict"),
            ("x" * 600, ("train_data_info", "dataset_name"), "600 letters"),
            ({0: 1}, ("train_data_info", "n_imgs__per__class"), "has 1 classes"),
            (-1, ("train_data_info", "n_imgs__per__class", 2), "has -1"),
            (0.5, ("train_data_info", "n_imgs__per__class", 2), "whole number"),
            ({0, 99}, ("train_data_info", "class__set__per__split", "few"), "class 99"),
            ({0}, ("train_data_info", "class__set__per__split", "few"), "in one split"),
            ({"a"}, ("train_data_info", "class__set__per__split", "few"), "a str for"),
            ([1, 99], ("nn_info", "nn_class__seq__per__fclass", 0), "class 99"),
            ([1], ("nn_info", "nn_class__seq__per__fclass", 0), "lists of"),
            ([1, 1], ("nn_info", "nn_class__seq__per__fclass", 0), "twice"),
            ([1, 3], ("nn_info", "nn_class__seq__per__fclass", 0), "few classes among"),
            ("far", ("nn_info", "nn_dist"), "must be one of"),
            ("yes", ("alphanet", "dummy_mode"), "not True or False"),
            ((0,), ("alphanet", "hdims"), "at least 1"),
            ([], ("alphanet_source__mat__seq",), "has 0 tensors"),
            (np.zeros((3, 9), np.float32), ("alphanet_source__mat__seq", 0), "(3, 4)"),
            (BIG, ("alphanet_source__mat__seq", 0), "must be of floats"),
            (np.zeros(6, np.int64), ("fbclass_ordered_idx__vec",), "not an order"),
            (np.arange(6)[::-1].copy(), ("fbclass_ordered_idx__vec",), "few classes"),
            (7, ("best_epoch",), "there are 3 epochs"),
            (2.0, ("test_metrics", "accuracy"), "from 0 to 1"),
            (float("nan"), ("test_acc__per__split", "few"), "has nan"),
            ("one", ("test_metrics", "f1"), "a str for a number"),
            ({9: 0.5}, ("test_acc__per__class",), "class 9"),
            (-5, ("training_config", "train_epochs"), "at least 0"),
            (float("inf"), ("training_config", "pred_scale"), "is inf"),
            ({"a b": 1}, ("training_config", "ptopt", "optim_params"), "for a name"),
            ([3], ("epoch_data__seq",), "not a dict"),
            ({0: 0.5}, ("epoch_data__seq", 1, "n_train__per__class"), "whole numbers"),
            ([BIG], ("epoch_data__seq", 1, "mean_batch_loss__seq"), "for a number"),
            (BIG, ("epoch_data__seq", 1, "max_alpha__vec"), "must be of floats"),
            (
                "much",
                ("training_config", "sampler_builder", "sampler_args", 1, "r"),
                "must be a number",
            ),
        ],
    )
    def test_a_value(self, content, tmp_path, new, keys, told):
        path = made_originals.save(tmp_path / "r.pth", changed(content[0], new, *keys))
        with pytest.raises(UserError) as caught:
            pytorch.load_record(path)
        assert told in str(caught.value)
        assert str(path) in str(caught.value)
        assert "\n" not in str(caught.value)

    @pytest.mark.parametrize(
        ("name", "told"),
        [
            ("base_clf.weight", "base_clf.weight"),
            ("alphanet.conv_layer.weight", "conv_layer.weight"),
            ("alphanet.linear_layer__seq.1.bias", "linear_layer__seq.1.bias"),
        ],
    )
    def test_weights(self, content, tmp_path, name, told):
        state = content[0]["best_alphanet_classifier_state_dict"]
        for new in (np.full_like(state[name], np.nan), BIG, "text", None):
            keys = ("best_alphanet_classifier_state_dict", name)
            path = tmp_path / "r.pth"
            made_originals.save(path, changed(content[0], new, *keys))
            with pytest.raises(UserError, match=told):
                pytorch.load_record(path)

    def test_one_long_epoch_does_not_make_all_others_as_long(self, content, tmp_path):
        value = copy.deepcopy(content[0])
        short = value["epoch_data__seq"][0]
        value["epoch_data__seq"] = [
            {"mean_batch_loss__seq": [1.0] * (20_000 if number == 0 else 1)}
            for number in range(2_000)
        ]
        value["epoch_data__seq"][1] = short
        with pytest.raises(UserError, match="more objects than a file of"):
            pytorch.load_record(made_originals.save(tmp_path / "r.pth", value))

    def test_expanded_tensors_take_no_memory(self, content, tmp_path):
        value = copy.deepcopy(content[0])
        flat = expanded(4, 30_000_000)
        value["best_alphanet_classifier_state_dict"]["base_clf.weight"] = flat
        with pytest.raises(UserError, match="more objects than a file of"):
            pytorch.load_record(made_originals.save(tmp_path / "r.pth", value))

    def test_coefficients_that_are_no_numbers(self, content, tmp_path):
        value = copy.deepcopy(content[0])
        state = value["best_alphanet_classifier_state_dict"]
        for name in state:
            if name.startswith("alphanet."):
                state[name] = np.zeros_like(state[name])
        file = results.load_file(made_originals.save(tmp_path / "r.pth", value))
        with pytest.raises(UserError, match="coefficients that are NaN"):
            file.array("alphas")

    @pytest.mark.parametrize(
        ("value", "told"),
        [
            ([1, 2], "it is a list of 2 items"),
            ({"weight": np.zeros((2, 2), np.float32), "bias": None}, "a classifier"),
            ({"feats": 1, "labels": 2}, "features and labels"),
            ({"a": np.zeros(2, np.float32)}, "state dict of 1 tensor"),
            ({"n_neighbors": 1, "nn_class__seq__per__fclass": {}}, "file of neighbors"),
            ({}, "an empty dict"),
            ({"x\x1b[2J": 1}, "a dict of"),
            (np.zeros(3, np.float32), "a tensor of shape (3,)"),
            ("text", "a pickle of a str"),
        ],
    )
    def test_files_of_another_kind(self, tmp_path, value, told):
        path = made_originals.save(tmp_path / "r.pth", value)
        with pytest.raises(UserError) as caught:
            results.load_file(path)
        assert told in str(caught.value)
        assert str(caught.value).isprintable()

    def test_fields_that_are_missing_are_named(self, content, tmp_path):
        value = without(without(content[0], "nn_info"), "training_config")
        path = made_originals.save(tmp_path / "r.pth", value)
        with pytest.raises(UserError, match="it lacks nn_info, training_config"):
            results.load_file(path)

    @pytest.mark.parametrize(
        ("data", "told"),
        [
            (b"", "it is empty"),
            (b"version https://git-lfs.github.com/spec/v1\n", "is text that begins"),
            (b"PK\x03\x04 cut short", "zip archive"),
            (b"\x93NUMPY\x01\x00", "a NumPy .npy file"),
        ],
    )
    def test_files_that_are_damaged(self, tmp_path, data, told):
        path = tmp_path / "r.pth"
        path.write_bytes(data)
        with pytest.raises(UserError, match=told):
            results.load_file(path)

    def test_no_file(self, tmp_path):
        with pytest.raises(UserError, match="no such file"):
            results.load_file(tmp_path / "r.pth")

    def test_a_checkpoint_is_told(self, content, tmp_path):
        value = made_originals.checkpoint_of(content[0])
        path = made_originals.save(tmp_path / "checkpoint_3.pt", value)
        with pytest.raises(UserError, match="a checkpoint of the original's training"):
            results.load_file(path)
