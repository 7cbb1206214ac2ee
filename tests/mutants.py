"""Changes the formulas one by one, and sees whether a test notices; not for CI.

    python tests/mutants.py --sample=40 --seed=1 --json=mutants.json
    python tests/mutants.py --module=model --sample=0         # all that there are
    python tests/mutants.py --mutant=model:71:25+14:lt         # one, shown and tested

A mutant is a copy of the tree in which one operator, comparison, condition, constant,
axis or function of a pure module is another. The tests of that module run on it, quick
ones first. A mutant that fails none of them survives: a gap, or a change that changes
nothing. Those that are known to change nothing are in `same_mutants.toml`, and why.
Which mutants are drawn depends on the seed and the modules alone.
"""

import argparse
import ast
import collections
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
import tomllib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from queue import SimpleQueue
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[1]
COPIED = ("alphanet_jax", "tests", "configs", "data", "docs", "examples")
QUICK = ("-m", "not slow")
LEAST_SECONDS, TIMES_LONGER = 60, 8  # until a mutant counts as one that never ends

_FORMULAS = [("tests/test_closed_forms.py", *QUICK), ("tests/test_posthoc.py", *QUICK),
             ("tests/test_closed_forms.py",), ("tests/test_posthoc.py",)]  # fmt: skip
# What is changed, and which tests are tried on it, one after the other.
MODULES = {
    "model": [("tests/test_model.py", *QUICK), ("tests/test_model.py",),
              ("tests/test_properties_of_jax.py",)],
    "nn_search": [("tests/test_nn_search.py", *QUICK),
                  ("tests/test_nn_search.py", "tests/test_nearest.py"),
                  ("tests/test_properties_of_jax.py",)],
    "sampling": [("tests/test_sampling.py", *QUICK), ("tests/test_sampling.py",),
                 ("tests/test_properties_of_jax.py",)],
    "train_step": [("tests/test_train_step.py", *QUICK), ("tests/test_train_step.py",),
                   ("tests/test_properties_of_jax.py",)],
    "scores": [("tests/test_scores.py", *QUICK), ("tests/test_scores.py",),
               ("tests/test_properties_of_jax.py",)],
    "streaming": [("tests/test_streaming.py",), ("tests/test_nn_search.py", *QUICK)],
    "measures": [("tests/test_measures.py",), ("tests/test_properties.py",)],
    "posthoc/norms": _FORMULAS,
    "posthoc/means": _FORMULAS,
    "posthoc/offsets": _FORMULAS,
    "posthoc/neighborhood": [("tests/test_alphanet_plus.py", *QUICK), *_FORMULAS,
                             ("tests/test_alphanet_plus.py",)],
    "posthoc/gaussian": [("tests/test_gaussian.py",), *_FORMULAS[:2],
                         ("tests/test_alphanet_plus.py",)],
    "posthoc/lbfgs": [("tests/test_lbfgs.py",), ("tests/test_convex_head.py",)],
    "posthoc/plus": [("tests/test_alphanet_plus.py", *QUICK),
                     ("tests/test_alphanet_plus.py",)],
}  # fmt: skip

# Those that change nothing that is promised, and why.
SAME = tomllib.loads(Path(__file__).with_name("same_mutants.toml").read_text())["same"]

_OTHER = {
    ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult,
    ast.FloorDiv: ast.Mult, ast.Mod: ast.Mult, ast.Pow: ast.Mult,
    ast.BitAnd: ast.BitOr, ast.BitOr: ast.BitAnd, ast.LShift: ast.RShift,
    ast.RShift: ast.LShift,
    ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt,
    ast.Eq: ast.NotEq, ast.NotEq: ast.Eq, ast.Is: ast.IsNot, ast.IsNot: ast.Is,
    ast.In: ast.NotIn, ast.NotIn: ast.In, ast.And: ast.Or, ast.Or: ast.And,
}  # fmt: skip
_FUNCTIONS = {
    "minimum": "maximum", "maximum": "minimum", "min": "max", "max": "min",
    "sum": "mean", "mean": "sum", "any": "all", "all": "any", "argmin": "argmax",
    "argmax": "argmin", "zeros": "ones", "ones": "zeros", "floor": "ceil",
    "ceil": "floor", "zeros_like": "ones_like", "ones_like": "zeros_like",
    "sqrt": "square", "square": "sqrt", "exp": "expm1", "log": "log1p",
    "isnan": "isfinite", "isfinite": "isnan", "prod": "sum", "sort": "flip",
}  # fmt: skip


class Mutant(NamedTuple):
    """One change of one module."""

    module: str
    line: int
    column: int
    kind: str
    start: int  # of what is replaced, in bytes of the file
    stop: int
    before: str
    after: str
    text: str  # of its line

    @property
    def name(self):
        size = self.stop - self.start
        return f"{self.module}:{self.line}:{self.column}+{size}:{self.kind}"

    @property
    def why_same(self):
        """Why it changes nothing that is promised; None where that is not known."""
        change = f"{self.before} -> {self.after}"
        for one in SAME:
            here = one["module"] == self.module and one["line"] in self.text
            if here and change in one["changes"]:
                return one["why"]
        return None


def path_of(module, root=None):
    return (root or ROOT) / "alphanet_jax" / f"{module}.py"


def changed(mutant, content):
    """Makes the change in the content of the module."""
    return content[: mutant.start] + mutant.after.encode() + content[mutant.stop :]


def _variants(node):
    """Yields the kinds of changes of an expression, and what it becomes."""
    if isinstance(node, ast.BinOp) and type(node.op) in _OTHER:
        other = _OTHER[type(node.op)]
        yield (
            type(node.op).__name__.lower(),
            ast.BinOp(node.left, other(), node.right),
        )
    elif isinstance(node, ast.BoolOp):
        yield (
            type(node.op).__name__.lower(),
            ast.BoolOp(_OTHER[type(node.op)](), node.values),
        )
    elif isinstance(node, ast.Compare):
        for place, op in enumerate(node.ops):
            ops = list(node.ops)
            ops[place] = _OTHER[type(op)]()
            kind = f"{type(op).__name__.lower()}{place or ''}"
            yield kind, ast.Compare(node.left, ops, node.comparators)
    elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not | ast.USub):
        yield type(node.op).__name__.lower(), node.operand
    elif isinstance(node, ast.IfExp):
        yield "if", ast.IfExp(node.test, node.orelse, node.body)
    elif isinstance(node, ast.Constant):
        value = node.value
        if isinstance(value, bool):
            yield "truth", ast.Constant(not value)
        elif isinstance(value, int):
            yield "number", ast.Constant(value + 1)
            if value > 1:
                yield "less", ast.Constant(value - 1)
        elif isinstance(value, float):
            yield "number", ast.Constant(2 * value if value else 1.0)
    elif isinstance(node, ast.Attribute) and node.attr in _FUNCTIONS:
        yield "function", ast.Attribute(node.value, _FUNCTIONS[node.attr], ast.Load())
    elif (
        isinstance(node, ast.Call)
        and isinstance(node.func, ast.Name)
        and node.func.id in ("min", "max", "any", "all")
    ):
        name = ast.Name(_FUNCTIONS[node.func.id], ast.Load())
        yield "function", ast.Call(name, node.args, node.keywords)


def _expressions(node):
    """Yields what may be changed: not messages, types, names or documentation."""
    skipped = []
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
        skipped = [node.returns, *node.decorator_list]
    elif isinstance(node, ast.AnnAssign | ast.arg):
        skipped = [node.annotation]
    elif (
        isinstance(node, ast.Subscript)
        and isinstance(node.value, ast.Name)
        and node.value.id in ("tuple", "list", "dict", "Callable", "Sequence")
    ):
        return  # a type
    for child in ast.iter_child_nodes(node):
        if child in skipped or isinstance(
            child, ast.Raise | ast.JoinedStr | ast.Assert | ast.Import | ast.ImportFrom
        ):
            continue
        if isinstance(child, ast.expr):
            yield child
        yield from _expressions(child)


def mutants_of(module):
    """Lists all mutants of a module, in the order of its lines."""
    content = path_of(module).read_bytes()
    starts = [0]
    for line in content.splitlines(keepends=True):
        starts.append(starts[-1] + len(line))
    found = []
    tree = ast.parse(content)
    for statement in ast.walk(tree):
        if isinstance(statement, ast.If) and not _is_of_types(statement):
            # That a condition is never looked at is another mistake than its contrary.
            _add(found, module, content, starts, statement.test, "never", "False")
    for node in _expressions(tree):
        for kind, other in _variants(node):
            _add(found, module, content, starts, node, kind, ast.unparse(other))
    return sorted(found, key=lambda m: (m.line, m.column, m.kind))


def _is_of_types(statement):
    return "TYPE_CHECKING" in ast.unparse(statement.test)


def _add(found, module, content, starts, node, kind, text):
    start = starts[node.lineno - 1] + node.col_offset
    stop = starts[node.end_lineno - 1] + node.end_col_offset
    before = content[start:stop].decode()
    after = f"({text})" if kind != "function" else text
    place = node.lineno, node.col_offset
    text = content[starts[place[0] - 1] : starts[place[0]]].decode().strip()
    found.append(Mutant(module, *place, kind, start, stop, before, after, text))


def sample(modules, size, seed):
    """Draws mutants of each module; 0 is for all of them."""
    drawn = []
    for module in modules:
        every = mutants_of(module)
        rng = random.Random(f"{seed} {module}")
        if 0 < size < len(every):
            every = sorted(rng.sample(every, size))
        drawn += every
    return drawn


def copy_tree(target):
    """Copies what tests need."""
    ignore = shutil.ignore_patterns("__pycache__", ".*")
    for name in COPIED:
        shutil.copytree(ROOT / name, target / name, ignore=ignore)
    for path in [*ROOT.glob("*.py"), *ROOT.glob("*.toml"), *ROOT.glob("*.md")]:
        shutil.copy(path, target / path.name)


class Bench:
    """A copy of the tree, in which mutants are tried."""

    def __init__(self, root, cache):
        self.root, self.cache = root, cache
        self.seconds = {}  # that tests take on what is right
        copy_tree(root)

    def run(self, tests, limit=None):
        """Runs tests; returns whether they passed, None if they never ended."""
        command = [sys.executable, "-m", "pytest", "-x", "-q", "-n0", "--tb=no"]
        command += ["-p", "no:randomly", "-o", f"cache_dir={self.cache}", *tests]
        started = time.monotonic()
        try:
            done = subprocess.run(
                command,
                cwd=self.root,
                env=os.environ | {"PYTHONPATH": str(self.root), "JAX_PLATFORMS": "cpu"},
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                timeout=limit,
                check=False,
            )
        except subprocess.TimeoutExpired:
            return None
        if limit is None:
            self.seconds[tests] = time.monotonic() - started
            if done.returncode:
                raise SystemExit(f"{' '.join(tests)}: fail as they are\n{done.stdout}")
        return done.returncode == 0

    def limit(self, tests):
        """Seconds that tests may take; those on the right tree are taken before."""
        if tests not in self.seconds:
            self.run(tests)
        return max(LEAST_SECONDS, TIMES_LONGER * self.seconds[tests])

    def try_mutant(self, mutant):
        """Tries a mutant; returns 'killed', 'endless' or 'survived'."""
        path = path_of(mutant.module, self.root)
        content = path_of(mutant.module).read_bytes()
        limits = [self.limit(tests) for tests in MODULES[mutant.module]]
        path.write_bytes(changed(mutant, content))
        try:
            for tests, limit in zip(MODULES[mutant.module], limits, strict=True):
                passed = self.run(tests, limit)
                if not passed:
                    return "endless" if passed is None else "killed"
        finally:
            path.write_bytes(content)
        return "survived"


def _arguments():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--module", action="append", choices=list(MODULES))
    parser.add_argument("--sample", type=int, default=20, help="of a module; 0: all")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--mutant", action="append", help="this one, by its name")
    parser.add_argument("--list", action="store_true", help="count them, and end")
    parser.add_argument("--json", type=Path, help="write all outcomes to this file")
    return parser.parse_args()


def _chosen(args):
    if args.mutant:
        names = set(args.mutant)
        every = [m for module in MODULES for m in mutants_of(module)]
        found = [mutant for mutant in every if mutant.name in names]
        if missing := names - {mutant.name for mutant in found}:
            raise SystemExit(f"no such mutant: {', '.join(sorted(missing))}")
        return found
    return sample(args.module or list(MODULES), args.sample, args.seed)


def main():
    args = _arguments()
    if args.list:
        for module in args.module or MODULES:
            print(f"{module:<22} {len(mutants_of(module)):>5}")
        return
    chosen = _chosen(args)
    outcomes = {}
    with (
        tempfile.TemporaryDirectory() as scratch,
        ThreadPoolExecutor(args.jobs) as pool,
    ):
        benches = SimpleQueue()
        for number in range(args.jobs):
            benches.put(Bench(Path(scratch, str(number)), Path(scratch, "cache")))

        def try_one(mutant):
            bench = benches.get()
            try:
                return mutant, bench.try_mutant(mutant)
            finally:
                benches.put(bench)

        for mutant, outcome in pool.map(try_one, chosen):
            outcomes[mutant] = outcome
            if outcome == "survived" or args.mutant:
                why = f"[{mutant.why_same}]" if mutant.why_same else ""
                change = f"{mutant.before} -> {mutant.after}"
                print(f"{outcome} {mutant.name}  {change}  {why}", flush=True)
            if args.json:
                listed = [(m.name, m.before, m.after, o) for m, o in outcomes.items()]
                args.json.write_text(json.dumps(listed, indent=0) + "\n")
    _report(outcomes)


def _report(outcomes):
    print(f"\n{'module':<22} {'tried':>6} {'found':>6} {'same':>6} {'missed':>6} score")
    totals = collections.Counter()
    rows = {module: collections.Counter() for module in MODULES}
    for mutant, outcome in outcomes.items():
        same = outcome == "survived" and mutant.why_same is not None
        kind = "same" if same else "missed" if outcome == "survived" else "found"
        rows[mutant.module][kind] += 1
        totals[kind] += 1
    for module, row in [*rows.items(), ("all", totals)]:
        if count := sum(row.values()):
            print(
                f"{module:<22} {count:>6} {row['found']:>6} {row['same']:>6} "
                f"{row['missed']:>6} {row['found'] / max(count - row['same'], 1):.1%}"
            )


if __name__ == "__main__":
    main()
