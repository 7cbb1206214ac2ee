"""Tables made into text, in every format."""
# ruff: noqa: RUF001  # Greek letters are among what is tested

import csv
import io
import json
import math
import subprocess

import numpy as np
import pytest
import tools

from alphanet_jax.results.rendering import Layout, format_table, render
from alphanet_jax.results.tables import Row, Table, Value, mean_and_std

NAN = Value(math.nan)
TABLE = Table(
    "Toy | cRT",
    ("Experiment",),
    ("Few", "Med.", "Overall"),
    (
        Row(("Baseline",), (Value(5.0), NAN, Value(49.96))),
        Row(("r=0.1",), (Value(47.58, 1.604), NAN, Value(9.94, 10.02))),
        Row(("r=0.25",), (Value(100.0, 0.0), NAN, Value(50.0, 1.81))),
    ),
    full_columns=("Few", "Medium", "Overall"),
)
STRICT = ("web", "pandoc")  # the original's: widths that do not suffice are errors
FOR_PEOPLE = ("text", "plain", "markdown", "web", "pandoc", "latex")


def named(*names, **changes):
    rows = tuple(Row((name,), (Value(50.0, 1.0),)) for name in names)
    return Table("Toy", ("Name",), ("Few",), rows, **changes)


def lines(table, form, **layout):
    return render(table, form, Layout(**layout)).split("\n")


class TestMeanAndStd:
    def test_worked(self):
        # 40, 50 and 90 percent: mean 60, deviations -20, -10, 30, and 1400 / 2.
        value = mean_and_std(np.array([0.4, 0.5, 0.9]))
        np.testing.assert_allclose(value, (60.0, 700**0.5), rtol=1e-14)

    def test_one_run_has_no_deviation(self):
        assert mean_and_std(np.array([0.125])) == (12.5, None)

    def test_nothing_to_count(self):
        mean, std = mean_and_std(np.array([np.nan, np.nan]))
        assert math.isnan(mean)
        assert math.isnan(std)
        assert render(Table("", (), ("x",), (Row((), (Value(mean, std),)),)), "plain")


class TestForPeople:
    def test_text(self):
        assert render(TABLE, "text", Layout(csv_lines=True)) == (
            "Toy | cRT:\n"
            "==========\n"
            "\n"
            "Experiment           Few  Med.       Overall\n"
            "----------  ------------  ----  ------------\n"
            "Baseline             5.0     -          50.0\n"
            "r=0.1        47.6^±1.60^     -   9.9^±10.02^\n"
            "r=0.25      100.0^±0.00^     -  50.0^±01.81^\n"
            "\n"
            "Experiment,Few,Medium,Overall\n"
            "Baseline,5.0,,50.0\n"
            "r=0.1,47.6,,9.9\n"
            "r=0.25,100.0,,50.0"
        )

    def test_plain(self):
        assert render(TABLE, "plain") == (
            "Toy | cRT\n"
            "=========\n"
            "\n"
            "Experiment           Few  Med.      Overall\n"
            "----------  ------------  ----  -----------\n"
            "Baseline             5.0     -         50.0\n"
            "r=0.1        47.6 ± 1.60     -  9.9 ± 10.02\n"
            "r=0.25      100.0 ± 0.00     -  50.0 ± 1.81"
        )

    def test_markdown(self):
        assert render(TABLE, "markdown") == (
            "Toy | cRT\n"
            "=========\n"
            "\n"
            "| Experiment |          Few | Med. |     Overall |\n"
            "| ---------- | -----------: | ---: | ----------: |\n"
            "| Baseline   |          5.0 |    - |        50.0 |\n"
            "| r=0.1      |  47.6 ± 1.60 |    - | 9.9 ± 10.02 |\n"
            "| r=0.25     | 100.0 ± 0.00 |    - | 50.0 ± 1.81 |"
        )

    def test_web(self):
        assert render(TABLE, "web") == (
            "Toy | cRT:\n"
            "==========\n"
            "\n"
            "Experiment          Few        Med.      Overall\n"
            "----------  -----------  ----------  -----------\n"
            "Baseline            5.0           -         50.0\n"
            "r=0.1        47.6^1.60^           -   9.9^10.02^\n"
            "r=0.25      100.0^0.00^           -  50.0^01.81^"
        )

    def test_latex(self):
        assert render(TABLE, "latex") == (
            "% Toy | cRT\n"
            "\\begin{tabular}{lrrr}\n"
            "\\toprule\n"
            "Experiment &            Few & Med. &        Overall \\\\\n"
            "\\midrule\n"
            "Baseline   &          $5.0$ &    - &         $50.0$ \\\\\n"
            "r=0.1      &  $47.6^{1.60}$ &    - &  $9.9^{10.02}$ \\\\\n"
            "r=0.25     & $100.0^{0.00}$ &    - & $50.0^{01.81}$ \\\\\n"
            "\\bottomrule\n"
            "\\end{tabular}"
        )

    def test_no_minus_before_zero(self):
        row = Row(("x",), (Value(-0.04, 0.001), Value(-1.25)))
        shown = render(Table("", ("",), ("a", "b"), (row,)), "plain")
        assert shown.split("\n")[-1].split() == ["x", "0.0", "±", "0.00", "-1.2"]

    def test_texts_among_the_cells(self):
        rows = (Row(("a", "b"), ("of 12", None)), Row(("c", ""), (None, Value(1.0))))
        table = Table("T", ("X", "Y"), ("M", "N"), rows)
        assert lines(table, "plain")[3:] == [
            "X  Y      M    N",
            "-  -  -----  ---",
            "a  b  of 12",
            "c            1.0",
        ]
        assert lines(table, "latex")[5] == r"a & b & of 12 &       \\"

    @pytest.mark.parametrize("form", FOR_PEOPLE)
    def test_caption(self, form):
        table = named("x", caption="50% of all.", name="mine")
        shown = render(table, form)
        wanted = {"latex": "% 50\\% of all.", "web": ": 50% of all. {#tbl:mine}"}
        wanted["pandoc"] = wanted["web"]
        assert shown.endswith("\n" + wanted.get(form, "50% of all."))
        assert "all" not in render(table, form, Layout(header=False))

    def test_unknown_format(self):
        with pytest.raises(ValueError, match=r"one of \('plain', .*, got 'html'"):
            render(TABLE, "html")


class TestLayout:
    @pytest.mark.parametrize("form", FOR_PEOPLE)
    def test_widths_are_the_least(self, form):
        narrow = render(TABLE, form)
        if form in STRICT:
            with pytest.raises(ValueError, match=r"'Experiment' has 10 .* column 1"):
                render(TABLE, form, Layout(num_width=1, name_width=1))
        else:
            least = render(TABLE, form, Layout(num_width=1, name_width=1))
            assert least == narrow
        wide = render(TABLE, form, Layout(num_width=20, name_width=15))
        cells = [cell.strip() for cell in narrow.split() if set(cell) - set("-:")]
        assert [c for c in wide.split() if set(c) - set("-:")] == cells
        row = next(line for line in wide.split("\n") if "r=0.25" in line)
        bars = {"latex": (15 + 3 * 20, 3 * 3 + 3), "markdown": (75, 3 * 3 + 4)}
        assert len(row) == sum(bars.get(form, (75, 3 * 2)))

    def test_deviations_of_a_column_are_equally_wide(self):
        shown = [line.split()[-1] for line in lines(TABLE, "text")[6:]]
        assert shown == ["9.9^±10.02^", "50.0^±01.81^"]

    def test_width_that_rounding_makes(self):
        rows = (Row(("a",), (Value(1.0, 9.996),)), Row(("b",), (Value(1.0, 1.0),)))
        shown = lines(Table("", ("",), ("x",), rows), "web", header=False)
        assert shown == ["a   1.0^10.00^", "b   1.0^01.00^"]

    @pytest.mark.parametrize(
        ("form", "cell"),
        [
            ("text", "47.6^±001.60^"),
            ("plain", "47.6 ± 001.60"),
            ("markdown", "47.6 ± 001.60"),
            ("web", "47.6^001.60^"),
            ("latex", "$47.6^{001.60}$"),
            ("pandoc", "$47.6^{001.60}$"),
        ],
    )
    def test_fixed_width_of_deviations(self, form, cell):
        assert cell in render(TABLE, form, Layout(sig_width=6))
        if form in STRICT:
            message = "of column 'Few' have 4 characters, and there is room for 1"
            with pytest.raises(ValueError, match=message):
                render(TABLE, form, Layout(sig_width=1))
        else:  # never cut short
            assert "10.02" in render(TABLE, form, Layout(sig_width=1))

    @pytest.mark.parametrize("form", FOR_PEOPLE)
    def test_no_header(self, form):
        whole, rows = lines(TABLE, form), lines(TABLE, form, header=False)
        assert len(rows) == 3
        start = next(i for i, line in enumerate(whole) if "Baseline" in line)
        assert rows == whole[start : start + 3]

    def test_no_header_of_means(self):
        shown = lines(TABLE, "text", header=False, csv_lines=True)
        assert shown[3:5] == ["", "Experiment,Few,Medium,Overall"]

    def test_several_tables(self):
        two = [named("a"), named("b")]
        first, second = (render(table, "plain") for table in two)
        assert render(two, "plain") == f"{first}\n\n\n{second}"
        # Rows alone would not say whose they are.
        assert render(two, "plain", Layout(header=False)) == (
            "Toy\n===\n\na     50.0 ± 1.00\n\n\nToy\n===\n\nb     50.0 ± 1.00"
        )

    def test_nothing_in_it(self):
        assert lines(named(), "plain")[-2:] == ["Name  Few", "----  ---"]


class TestNames:
    def escape(self, form, name):
        row = render(named(name), form, Layout(header=False))
        parts = {"latex": " & ", "markdown": " | "}
        return row.removeprefix("| ").rpartition(parts.get(form, "  "))[0].strip()

    @pytest.mark.parametrize(
        ("name", "wanted"),
        [
            ("rho_0.1", r"rho\_0.1"),
            ("a & b", r"a \& b"),
            ("50% #1 $x {y}", r"50\% \#1 \$x \{y\}"),
            ("a~b^c\\d", r"a\textasciitilde{}b\textasciicircum{}c\textbackslash{}d"),
            ("ρ = 0.5", r"$\rho$ = 0.5"),
            ("α ω ς ο Ω Α", r"$\alpha$ $\omega$ $\varsigma$ ο $\Omega$ Α"),
            ("[x]* <y> |z|", r"{[}x]{*} \textless{}y\textgreater{} "
             r"\textbar{}z\textbar{}"),
            ("ImageNet\u2011LT ± 1", r"ImageNet-LT $\pm$ 1"),
            ("two\nlines", "two lines"),
        ],
    )  # fmt: skip
    def test_latex(self, name, wanted):
        assert self.escape("latex", name) == wanted

    @pytest.mark.parametrize(
        ("name", "markdown"),
        [
            ("rho_0.1", "rho_0.1"),
            ("_x_ __y__", r"\_x\_ \_\_y\_\_"),
            ("a|b", r"a\|b"),
            ("*a* `b` [c]<d", r"\*a\* \`b\` \[c\]\<d"),
            ("a^b~c $d", "a^b~c $d"),
            ("ρ=0.5", "ρ=0.5"),
        ],
    )
    def test_markdown(self, name, markdown):
        assert self.escape("markdown", name) == markdown

    @pytest.mark.parametrize("form", ["text", "plain", "pandoc", "web"])
    def test_others_show_them_as_they_are(self, form):
        """The original does, whose users write math into them."""
        name = r"$\alpha$-net _a|b^ \ρ*"
        assert self.escape(form, name) == name
        table = Table(name, (name,), (), (Row((name,), ()),))
        assert set(lines(table, form)[:1]) <= {name, f"{name}:"}

    def test_title_is_one_line(self):
        table = Table("a\nb", ("",), ("x",), (Row(("c",), (Value(1.0),)),))
        assert lines(table, "latex")[0] == "% a b"
        assert lines(table, "text")[:2] == ["a b:", "===="]

    @pytest.mark.slow
    def test_latex_compiles(self, tmp_path):
        tools.need_program("pdflatex")
        names = [
            *("ρ = 0.5 & α", r"50% #1 $x {y} a~b^c\d", "[x] <y> |z|", "*", "rho_0.1"),
            *("ΓΔΘΛΞΠΣΥΦΨΩ", "αβγδεζηθικλμνξπρςστυφχψω", "± × ∞ ≤ ≥ → \u2212 \u2011"),
            *('"quoted"', "Café", "- -- ---"),
        ]
        table = render(
            named(*names, caption="50% of ρ", name="x"), "latex", Layout(num_width=20)
        )
        (tmp_path / "t.tex").write_text(
            "\\documentclass{article}\n\\usepackage{booktabs}\n\\begin{document}\n"
            f"{table}\n\\end{{document}}\n",
            encoding="utf-8",
        )
        done = subprocess.run(
            ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "t.tex"],
            cwd=tmp_path,
            capture_output=True,
            check=False,
            timeout=100,
        )
        log = done.stdout.decode(errors="replace")
        if "booktabs.sty' not found" in log:
            tools.missing("its LaTeX has no booktabs")
        assert done.returncode == 0, log[-2000:]
        assert "Missing character" not in log


FACTS = Table(
    "T",
    ("Name",),
    ("Few", "Overall"),
    (
        Row(
            ("shown",),
            (Value(1 / 3, 2 / 3), Value(math.nan, math.nan)),
            {"experiment": 'a, "b"\nc', "runs": 2},
        ),
        Row(("other",), (Value(0.1), None), {"experiment": "ρ", "runs": None}),
    ),
)


class TestForPrograms:
    def test_csv_keeps_every_digit(self):
        text = render(FACTS, "csv")
        rows = list(csv.reader(io.StringIO(text)))
        heads = ["few_mean", "few_std", "overall_mean", "overall_std"]
        assert rows == [
            ["experiment", "runs", *heads],
            ['a, "b"\nc', "2", repr(1 / 3), repr(2 / 3), "", ""],
            ["ρ", "", "0.1", "", "", ""],
        ]
        assert render(FACTS, "csv", Layout(header=False)) == text.partition("\n")[2]

    def test_json_is_strict(self):
        def refuse(name):
            raise AssertionError(name)

        found = json.loads(render(FACTS, "json"), parse_constant=refuse)
        nothing = {"mean": None, "std": None}
        assert found == [
            {
                "experiment": 'a, "b"\nc',
                "runs": 2,
                "few": {"mean": 1 / 3, "std": 2 / 3},
                "overall": nothing,
            },
            {
                "experiment": "ρ",
                "runs": None,
                "few": {"mean": 0.1, "std": None},
                "overall": None,
            },
        ]

    def test_without_facts(self):
        row = Row(("x", "y"), (Value(1.5), "word"))
        table = Table("My title", ("Name of it", "B"), ("Med.", "W"), (row,))
        wanted = {"table": "My title", "name_of_it": "x", "b": "y"}
        wanted |= {"med": {"mean": 1.5, "std": None}, "w": "word"}
        assert json.loads(render(table, "json")) == [wanted]
        assert lines(table, "csv") == [
            "table,name_of_it,b,med_mean,med_std,w",
            "My title,x,y,1.5,,word",
        ]

    def test_several_tables_are_one(self):
        two = [named("a"), named("b")]
        assert len(json.loads(render(two, "json"))) == 2
        assert lines(two, "csv") == [
            "table,name,few_mean,few_std",
            "Toy,a,50.0,1.0",
            "Toy,b,50.0,1.0",
        ]

    def test_several_tables_with_other_columns(self):
        with pytest.raises(ValueError, match="must have the same columns"):
            render([named("a"), TABLE], "csv")

    def test_names_with_commas_in_the_means_of_text(self):
        shown = lines(named("a, b"), "text", csv_lines=True)
        assert shown[-2:] == ["Name,Few", '"a, b",50.0']


class TestFormatTable:
    def test_worked(self):
        shown = format_table(["A", "Few"], [["long name", "1.0"], ["b", ""]])
        assert shown.split("\n") == [
            "A          Few",
            "---------  ---",
            "long name  1.0",
            "b",
        ]
