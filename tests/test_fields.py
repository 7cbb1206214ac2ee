"""One declaration of the settings, and all that follows from it."""

import dataclasses
import json

import numpy as np
import pytest

from alphanet_jax.commands import running
from alphanet_jax.config import compare, fields, presets
from alphanet_jax.config.fields import FIELDS, Params, Settings
from alphanet_jax.errors import UserError

# Another value for every field, as a config holds it.
OTHERS = {
    "dataset": "toy",
    "registry": "other.toml",
    "data_root": "/data",
    "labels_by": "row",
    "few_below": "25%",
    "many_above": "50",
    "classifier_key": "state_dict.fc",
    "classifier_normalize": True,
    "seed": 3,
    "seeds": 2,
    "rho": 0.7,
    "selection": "last",
    "pred_scale": 2.0,
    "precision": "tensorfloat32",
    "alphanet.dummy_mode": True,
    "alphanet.debug": True,
    "alphanet.hdims": (8, 4),
    "alphanet.hact": "relu",
    "training.n_neighbors": 3,
    "training.nn_dist": "cosine",
    "training.nn_per_seed": True,
    "training.ptopt.optim_cls": "SGD",
    "training.ptopt.optim_params": "lr=0.5,betas=[0.8,0.99],nesterov=true",
    "training.ptopt.lr_sched_cls": "CosineAnnealingLR",
    "training.ptopt.lr_sched_params": "T_max=7",
    "training.train_epochs": 4,
    "training.min_epochs": 2,
    "training.train_batch_size": 5,
    "training.eval_batch_size": 6,
    "training.sampler_builder.sampler_classes": ("AllFewSampler",),
    "training.sampler_builder.sampler_args": ("r=0.5", ""),
    "training.train_datagrp": "a",
    "training.val_datagrp": "b",
    "training.test_datagrp": "c",
}


def make_config(**values):
    config = fields.default_config()
    config.dataset = "toy"
    for name, value in values.items():
        fields.put(config, name, value)
    return config


class TestFields:
    def test_all_are_here(self):
        assert [field.name for field in FIELDS] == list(OTHERS)
        attributes = [field.name for field in dataclasses.fields(Settings)]
        assert [field.attribute for field in FIELDS] == attributes

    def test_a_config_has_their_defaults(self):
        given = dict(fields.flatten(fields.default_config()))
        assert given == {field.name: field.default for field in FIELDS}
        assert fields.settings_from_config(make_config()) == Settings(dataset="toy")

    @pytest.mark.parametrize("field", FIELDS, ids=lambda field: field.name)
    def test_from_a_config_and_back(self, field):
        config = make_config(**{field.name: OTHERS[field.name]})
        settings = fields.settings_from_config(config)
        changed = {
            other.attribute
            for other in FIELDS
            if getattr(settings, other.attribute)
            != getattr(Settings(dataset="toy"), other.attribute)
        }
        assert changed == ({field.attribute} if field.name != "dataset" else set())
        assert fields.get(settings.as_config(), field.name) == OTHERS[field.name]
        back = json.loads(json.dumps(settings.as_config()))
        assert compare.config_differences(back, settings.as_config()) == []

    def test_help_and_flags_follow(self):
        shown = {name: (default, text) for name, default, text in running.fields()}
        for field in FIELDS:
            assert shown[f"config.{field.name}"] == (field.default, field.help)
            assert field.help[-1] != "."

    def test_of_the_paper(self):
        settings = presets.dataset_settings("cifarlt_resnet34_ltr")
        assert (settings.pred_scale, settings.val_datagrp) == (100.0, "")
        assert presets.dataset_settings("mine") == Settings(dataset="mine")

    @pytest.mark.parametrize(
        ("values", "message"),
        [
            ({"rho": "x"}, r"config\.rho must be of type float, got 'x'"),
            ({"alphanet.hdims": 8}, r"config\.alphanet\.hdims must be of type tuple"),
            ({"training.n": 8}, r"unknown field config\.training\.n; did you mean"),
            (
                {"training.sampler_builder.sampler_args": (0.5,)},
                r"sampler_args must be text, got 0\.5",
            ),
            (
                {"training.ptopt.optim_params": "lr"},
                r"optim_params: expected key=value,key=value with JSON values: 'lr'",
            ),
        ],
    )
    def test_what_is_refused(self, values, message):
        with pytest.raises(UserError, match=message):
            fields.settings_from_config(make_config(**values))


class TestLimits:
    @pytest.mark.parametrize("value", [20, 20.0, "20", np.int32(20)])
    def test_numbers_are_text(self, value):
        assert Settings(few_below=value) == Settings(few_below="20")
        assert type(Settings(few_below=value).as_config()["few_below"]) is str

    def test_in_a_config(self):
        config = make_config(few_below=0, many_above=2.5)
        settings = fields.settings_from_config(config)
        assert (settings.few_below, settings.many_above) == ("0", "2.5")

    def test_others_are_refused(self):
        with pytest.raises(UserError, match="few_below must be a number, or a quant"):
            Settings(few_below=True)
        with pytest.raises(UserError, match=r"config\.few_below must be of type str"):
            fields.settings_from_config(make_config(few_below=True))


class TestSettings:
    def test_can_be_compared_and_hashed(self):
        one = Settings(optim_params={"lr": 0.1, "betas": [0.8, 0.9]}, hdims=[8, 4])
        other = Settings(optim_params={"betas": [0.8, 0.9], "lr": 0.1}, hdims=(8, 4))
        assert one == other
        assert len({one, other, Settings()}) == 2
        assert isinstance(one.optim_params, Params)

    def test_parameters_cannot_be_changed_from_outside(self):
        given = {"lr": 0.1}
        settings = Settings(optim_params=given)
        given["lr"] = 9.0
        assert settings.optim_params == {"lr": 0.1}

    @pytest.mark.parametrize(
        ("values", "message"),
        [
            ({"rho": "x"}, "rho must be a number, got 'x'"),
            ({"rho": (0.1, 0.5)}, r"rho must be a number, got \(0\.1, 0\.5\)"),
            ({"n_neighbors": 5.0}, r"n_neighbors must be a whole number, got 5\.0"),
            ({"seeds": True}, "seeds must be a whole number, got True"),
            ({"debug": 1}, "debug must be True or False, got 1"),
            ({"hact": None}, "hact must be text, got None"),
            ({"hdims": 8}, "hdims must be a list or tuple, got 8"),
            ({"hdims": (8, 4.0)}, "each of hdims must be a whole number, got"),
            ({"hdims": (True,)}, "each of hdims must be a whole number, got"),
            ({"sampler_classes": "AllFewSampler"}, "must be a list or tuple, got 'All"),
            ({"sampler_args": {"r": 1}}, "sampler_args must be a list or tuple"),
            ({"sampler_args": ("r=1",)}, "each of sampler_args must be a mapping of"),
            ({"optim_params": "lr=1"}, "optim_params must be a mapping of names to"),
        ],
    )
    def test_types_are_checked(self, values, message):
        with pytest.raises(UserError, match=message):
            Settings(**values)

    def test_numbers_become_those_of_python(self):
        given = Settings(
            rho=1,
            pred_scale=np.float32(0.5),
            seeds=np.int64(3),
            hdims=np.array([8, 4]).tolist(),
        )
        assert given == Settings(rho=1.0, pred_scale=0.5, seeds=3, hdims=(8, 4))
        assert type(given.rho) is type(given.pred_scale) is float
        assert type(given.seeds) is int
        json.dumps(given.as_config())

    def test_equal_parameters_have_one_hash(self):
        one, other = Params({"a": 1, "b": [0.5]}), Params({"b": [0.5], "a": 1.0})
        assert one == other
        assert hash(one) == hash(other)

    @pytest.mark.parametrize("field", FIELDS, ids=lambda field: field.name)
    def test_what_programs_depend_on(self, field):
        settings = fields.settings_from_config(
            make_config(**{field.name: OTHERS[field.name]})
        )
        usual = Settings(dataset="toy")
        same_value = settings.compiled("value") == usual.compiled("value")
        same_shape = settings.compiled("shape") == usual.compiled("shape")
        assert same_value == (field.compiles != "value")
        assert same_shape == (field.compiles == "nothing")

    def test_programs_take_the_learning_rate_as_a_number(self):
        one, other = (
            Settings(optim_params={name: 0.1, "weight_decay": 0.2}).compiled("value")
            for name in ("lr", "learning_rate")
        )
        assert one == other
        assert one.optim_params["weight_decay"] == 0.2

    @pytest.mark.parametrize(
        ("seed", "seeds", "found"),
        [(0, 3, (0, 1, 2)), (2**32 - 1, 1, (2**32 - 1,)), (7, 1, (7,))],
    )
    def test_seeds(self, seed, seeds, found):
        assert Settings(seed=seed, seeds=seeds).run_seeds() == found

    @pytest.mark.parametrize(
        ("seed", "seeds", "message"),
        [(0, 0, "seeds must be at least 1, got 0"), (-1, 1, "got -1 to -1"),
         (2**32 - 1, 2, f"got {2**32 - 1} to {2**32}")],
    )  # fmt: skip
    def test_seeds_that_there_are_not(self, seed, seeds, message):
        with pytest.raises(UserError, match=message):
            Settings(seed=seed, seeds=seeds).run_seeds()


class TestCompare:
    def test_equal_parameters_written_in_another_way(self):
        name = "training.ptopt.optim_params"
        old, new = {}, {}
        fields.put(old, name, "lr = 1e-1, betas=[0.8, 0.99]")
        fields.put(new, name, "lr=0.1,betas=[0.8,0.99]")
        assert compare.config_differences(old, new) == []
        assert compare.setting_key(old) == compare.setting_key(new)
        fields.put(new, name, "lr=0.2,betas=[0.8,0.99]")
        assert compare.config_differences(old, new) == [
            f"{name} 'lr=0.1,betas=[0.8,0.99]', now 'lr=0.2,betas=[0.8,0.99]'"
        ]

    def test_text_that_is_no_parameters_is_compared_as_it_is(self):
        old = {"training": {"ptopt": {"optim_params": "rubbish"}}}
        assert compare.config_differences(old, old) == []
        assert len(compare.config_differences(old, {})) == 1
