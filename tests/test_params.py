import math
import subprocess
import sys

import pytest

from alphanet_jax.lookup.params import format_params, parse_params


class TestParseParams:
    @pytest.mark.parametrize(
        ("text", "expected"),
        [
            ("", {}),
            ("  ", {}),
            ("lr=0.001", {"lr": 0.001}),
            ("step_size=10,gamma=0.1", {"step_size": 10, "gamma": 0.1}),
            (" a = 1 , b = 2e-3 ", {"a": 1, "b": 0.002}),
            ("betas=[0.8, 0.99],lr=1", {"betas": [0.8, 0.99], "lr": 1}),
            ("a=[[1,2],[3]],b=2", {"a": [[1, 2], [3]], "b": 2}),
            ('a={"x": [1,2], "y": 3},b=2', {"a": {"x": [1, 2], "y": 3}, "b": 2}),
            ('a=true,b=null,c="d,e=f"', {"a": True, "b": None, "c": "d,e=f"}),
            ("a=-1", {"a": -1}),
        ],
    )
    def test_forms(self, text, expected):
        params = parse_params(text)
        assert params == expected
        assert list(params) == list(expected)
        for name, value in expected.items():
            assert type(params[name]) is type(value)

    @pytest.mark.parametrize(
        "text",
        [
            "lr",
            "lr=",
            "=1",
            "lr=0.1 gamma=2",
            "lr=0.1;gamma=2",
            "lr=abc",
            "lr=[1,2",
            "lr=1,,gamma=2",
            ",lr=1",
            "lr 2=1",
            "2=1",
            "lr==1",
            "lr=1,gamma",
            "lr=1,",
        ],
    )
    def test_other_forms(self, text):
        with pytest.raises(ValueError, match="expected key=value,key=value with JSON"):
            parse_params(text)

    def test_key_given_twice(self):
        with pytest.raises(ValueError, match="'lr' is given twice: 'lr=1, lr=2'"):
            parse_params("lr=1, lr=2")


class TestFormatParams:
    @pytest.mark.parametrize(
        "text",
        [
            "",
            "lr=0.001",
            "step_size=10,gamma=0.1",
            "betas=[0.8,0.99],lr=1",
            'a={"x":[1,2],"y":3},b=2',
            'a=true,b=null,c="d,e=f",d=false',
            'name="\u00e4 \\"b\\"",x=[]',
            "x=1e-08,y=1e+300,z=-0.0",
        ],
    )
    def test_of_what_was_parsed_is_the_text(self, text):
        assert format_params(parse_params(text)) == text

    @pytest.mark.parametrize(
        "params",
        [
            {},
            {"lr": 0.1 + 0.2, "n": 10**20, "momentum": 1.0, "epochs": 1},
            {"least": 5e-324, "most": 1.7976931348623157e308, "none": -0.0},
            {"nesterov": True, "eps": [None, 1e-3], "mode": "a=1,b=[2"},
            {"boundaries_and_scales": {"2": 0.5, "": {"x": []}}},
            {"text": '\n\t"\\ \u2028 \u00fc', "\u03b2": math.inf},
        ],
    )
    def test_is_read_back(self, params):
        again = parse_params(format_params(params))
        assert again == params
        assert repr(again) == repr(params)

    def test_a_tuple_is_read_back_as_a_list(self):
        assert format_params({"betas": (0.9, 0.99)}) == "betas=[0.9,0.99]"

    @pytest.mark.parametrize(
        ("params", "message"),
        [
            ({"a b": 1}, r"a parameter's name must be an identifier, got 'a b'\."),
            ({1: 1}, r"a parameter's name must be an identifier, got 1\."),
            ({"a": {2: 0.5}}, r"a must be a value that JSON has, got \{2: 0.5\}\."),
            ({"a": [1, {3}]}, r"a must be a value that JSON has, got \{3\}\."),
            ({"a": print}, "a must be a value that JSON has, got <built-in"),
        ],
    )
    def test_what_could_not_be_read_back(self, params, message):
        with pytest.raises(ValueError, match=message):
            format_params(params)


def test_needs_no_jax():
    code = (
        "import sys, alphanet_jax.lookup.by_name, alphanet_jax.lookup.params\n"
        "assert not {'jax', 'optax', 'numpy'} & sys.modules.keys()"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
