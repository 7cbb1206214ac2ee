import pytest

from alphanet_jax.lookup.by_name import REQUIRED, Param, Row, check, look_up

KNOWN = {f"thing{i}": i for i in range(20)} | {"Apple": 1, "apple": 2, "Pear": 3}
REFUSED = {"plum": "it is not ripe"}


class TestLookUp:
    def test_what_has_the_name(self):
        assert look_up("apple", "fruit", KNOWN, REFUSED) == 2

    @pytest.mark.parametrize(
        ("name", "message"),
        [
            ("APPLE", r"^unknown fruit 'APPLE'; did you mean 'Apple' or 'apple'\?$"),
            ("pear", r"^unknown fruit 'pear'; did you mean 'Pear'\?$"),
            ("Peer", r"^unknown fruit 'Peer'; did you mean 'Pear'\?$"),
            ("xyz", r"^unknown fruit 'xyz'; known are 'thing0', .*, 'apple', 'Pear'$"),
            (
                "plum",
                r"^fruit 'plum' is not available: it is not ripe; known are 'thing0',",
            ),
        ],
    )
    def test_message(self, name, message):
        with pytest.raises(ValueError, match=message):
            look_up(name, "fruit", KNOWN, REFUSED)


ROW = Row(
    max,
    needed=REQUIRED,
    size=Param(2, "integer >= 1"),
    rate=0.5,
    most=None,
    both=True,
    way=Param("up", ("up", "down")),
    half=Param(None, lambda name, value: value / 2),
)
DEFAULTS = {
    "size": 2,
    "rate": 0.5,
    "most": None,
    "both": True,
    "way": "up",
    "half": None,
}


class TestRow:
    def test_defaults_and_what_is_given(self):
        values = ROW.bind("Build", {"rate": 3, "needed": 10})
        assert values == {"needed": 10, **DEFAULTS, "rate": 3}
        assert list(values) == list(ROW.params)

    def test_function_makes_the_value(self):
        values = ROW.bind("Build", {"needed": 1, "half": 3.0})
        assert values == {"needed": 1, **DEFAULTS, "half": 1.5}

    def test_a_default_may_be_given_though_not_allowed(self):
        given = {"needed": 1, "most": None, "half": None}
        assert ROW.bind("Build", given) == {"needed": 1, **DEFAULTS}

    @pytest.mark.parametrize(
        ("params", "message"),
        [
            ({}, r"^Build needs \['needed'\]\.$"),
            (
                {"needed": 1, "rule": 2},
                r"^Build takes \['needed', 'size', .*'half'\], got \['rule'\]\.$",
            ),
            ({"extra": 1, "also": 2}, r"^Build takes .*, got \['also', 'extra'\]\.$"),
            ({"needed": 1, "old": 2}, r"^Build does not take 'old': it is gone\.$"),
            ({"needed": -1}, r"^Build: needed must be a number in \[0, inf\), got -1"),
            ({"needed": None}, "^Build: needed must be a number .* got None"),
            ({"needed": 1, "size": 0}, "^Build: size must be an integer >= 1, got 0"),
            ({"needed": 1, "rate": None}, "^Build: rate must be a number .* got None"),
            ({"needed": 1, "both": 1}, "^Build: both must be true or false, got 1"),
            (
                {"needed": 1, "way": "in"},
                "^Build: way must be 'up' or 'down', got 'in'",
            ),
        ],
    )
    def test_message(self, params, message):
        with pytest.raises(ValueError, match=message):
            ROW.bind("Build", params, refused={"old": "it is gone"})


class TestCheck:
    @pytest.mark.parametrize(
        ("value", "interval"),
        [(0, "[0, inf)"), (1.0, "[0, 1]"), (0.5, "(0, 1)"), (-9.0, "(-inf, 0]")],
    )
    def test_number_within(self, value, interval):
        check("x", value, interval)

    @pytest.mark.parametrize(
        ("value", "interval"),
        [
            (-1e-9, "[0, inf)"),
            (float("inf"), "[0, inf)"),
            (float("nan"), "[0, inf)"),
            (0.0, "(0, 1]"),
            (1.0, "[0, 1)"),
            (1.5, "[0, 1]"),
            (True, "[0, 1]"),
            ("0.5", "[0, 1]"),
            (None, "[0, 1]"),
            ([0.5], "[0, 1]"),
        ],
    )
    def test_number_not_within(self, value, interval):
        with pytest.raises(ValueError, match=r"^x must be a number in [\[(].*, got "):
            check("x", value, interval)

    @pytest.mark.parametrize("value", [2, 2.0, 3.5, True, "3", None])
    def test_integer(self, value):
        check("n", 3, "integer >= 3")
        with pytest.raises(ValueError, match=r"^n must be an integer >= 3, got "):
            check("n", value, "integer >= 3")

    @pytest.mark.parametrize("value", [0, 1, "true", None])
    def test_flag(self, value):
        check("f", True, "true or false")
        check("f", False, "true or false")
        with pytest.raises(ValueError, match=r"^f must be true or false, got "):
            check("f", value, "true or false")

    def test_pair(self):
        check("p", [0, 0.5], "two in [0, 1)")
        check("p", (0, 0.5), "two in [0, 1)")
        for value in ([1, 2, 3], [1], 0.5, "ab", None):
            with pytest.raises(ValueError, match=r"^p must be two numbers, got "):
                check("p", value, "two in [0, inf)")
        with pytest.raises(ValueError, match=r"^each of p must be .* got 1\.$"):
            check("p", [0, 1], "two in [0, 1)")
        with pytest.raises(ValueError, match=r"^SGD: each of p must be .* got 1\.$"):
            check("SGD: p", [0, 1], "two in [0, 1)")

    @pytest.mark.parametrize("value", ["c", "A", "", 1, None, ["a"]])
    def test_word(self, value):
        words = ("a", "b", "d")
        check("w", "b", words)
        with pytest.raises(
            ValueError, match=r"^w must be one of \('a', 'b', 'd'\), got"
        ):
            check("w", value, words)
        with pytest.raises(ValueError, match=r"^w must be 'a' or 'b', got"):
            check("w", value, words[:2])

    def test_function(self):
        assert check("x", 3, lambda name, value: f"{name}{value}") == "x3"
