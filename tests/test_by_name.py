import pytest

from alphanet_jax.lookup.by_name import (
    call,
    check_flag,
    check_integer,
    check_number,
    check_pair,
    look_up,
)

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
                r"^fruit 'plum' cannot be had: it is not ripe; known are 'thing0',",
            ),
        ],
    )
    def test_message(self, name, message):
        with pytest.raises(ValueError, match=message):
            look_up(name, "fruit", KNOWN, REFUSED)


def build(given, /, *, needed, other=2):
    extra = given + needed  # a local variable is no parameter
    return extra + other


class TestCall:
    def test_positions_and_keywords(self):
        assert call(build, "Build", {"needed": 10}, 100) == 112
        assert call(build, "Build", {"needed": 10, "other": 0}, 100) == 110

    @pytest.mark.parametrize(
        ("params", "message"),
        [
            ({}, r"^Build needs \['needed'\]\.$"),
            (
                {"needed": 1, "given": 2},
                r"^Build takes \['needed', 'other'\], got \['g",
            ),
            (
                {"needed": 1, "extra": 2},
                r"^Build takes \['needed', 'other'\], got \['e",
            ),
            ({"needed": 1, "old": 2}, r"^Build does not take 'old': it is gone\.$"),
        ],
    )
    def test_message(self, params, message):
        with pytest.raises(ValueError, match=message):
            call(build, "Build", params, 100, refused={"old": "it is gone"})


class TestChecks:
    @pytest.mark.parametrize(
        ("value", "interval"),
        [(0, "[0, inf)"), (1.0, "[0, 1]"), (0.5, "(0, 1)"), (-9.0, "(-inf, 0]")],
    )
    def test_number_within(self, value, interval):
        check_number("x", value, interval)

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
            check_number("x", value, interval)

    @pytest.mark.parametrize("value", [2, 2.0, 3.5, True, "3", None])
    def test_integer(self, value):
        check_integer("n", 3, least=3)
        with pytest.raises(ValueError, match=r"^n must be an integer >= 3, got "):
            check_integer("n", value, least=3)

    @pytest.mark.parametrize("value", [0, 1, "true", None])
    def test_flag(self, value):
        check_flag("f", True)
        check_flag("f", False)
        with pytest.raises(ValueError, match=r"^f must be true or false, got "):
            check_flag("f", value)

    def test_pair(self):
        check_pair("p", [0, 0.5], "[0, 1)")
        check_pair("p", (0, 0.5), "[0, 1)")
        for value in ([1, 2, 3], [1], 0.5, "ab", None):
            with pytest.raises(ValueError, match=r"^p must be two numbers, got "):
                check_pair("p", value)
        with pytest.raises(ValueError, match=r"^each of p must be .* got 1\.$"):
            check_pair("p", [0, 1], "[0, 1)")
