"""Fuzzes the readers with files that change by what they reach.

    pip install -e '.[fuzz]'
    python tests/fuzz --seconds=180                       # every target, one by one
    python tests/fuzz --seconds=60 --target=pickle --target=npz --jobs=2
    python tests/fuzz --replay=FILE --target=pickle       # one input, and what it gets

Each target runs in a process of its own, which atheris guides by the coverage of this
package, `zipfile`, `tomllib` and `json`. Inputs that break a promise of `watch` are
written to `--out`, one of each kind; the exit status is 1 if there are any. What was
found worth keeping to go on from is kept in `--corpus`.
"""

import argparse
import hashlib
import json
import os
import re
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:1] = [str(HERE.parents[1]), str(HERE.parent)]
os.environ["JAX_PLATFORMS"] = "cpu"

INSTRUMENTED = ["alphanet_jax", "zipfile", "tomllib", "json"]
LONGEST = 8192  # bytes of an input
IN_MEMORY = "/dev/shm" if os.path.isdir("/dev/shm") else None  # where inputs lie
KINDS = 25  # of findings of a target; it stops after so many


def _arguments():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=int, default=60, help="for each target")
    parser.add_argument("--target", action="append", help="all, by default")
    parser.add_argument("--jobs", type=int, default=1, help="targets at a time")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--corpus", type=Path, help="a directory, a temporary one else")
    parser.add_argument("--out", type=Path, default=Path("fuzz-findings"))
    parser.add_argument("--replay", type=Path, help="read this input, and no others")
    parser.add_argument("--json", type=Path, help="write the counts to this file")
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    return parser.parse_args()


def _fuzz(args, name, corpus):
    """Fuzzes one target in this process, which ends with it."""
    import atheris

    with tempfile.TemporaryDirectory(dir=IN_MEMORY) as scratch:
        with atheris.instrument_imports(include=INSTRUMENTED):
            from fuzz import targets, watch

            target = targets.TARGETS[name]
            watched = watch.Watch(target, scratch)
        for number, data in enumerate(target.seeds()):
            (corpus / f"seed{number}").write_bytes(data)
        words = Path(scratch).with_suffix(".dict")
        lines = ("".join(f"\\x{byte:02x}" for byte in word) for word in target.words)
        words.write_text("".join(f'"{line}"\n' for line in lines))
        kinds = set()

        def read(data):
            try:
                watched.read(data)
            except watch.BrokenPromise as broken:
                if broken.kind in kinds:
                    return
                kinds.add(broken.kind)
                digest = hashlib.sha256(data).hexdigest()[:12]
                (args.out / f"{name}-{digest}").write_bytes(data)
                print(f"\nFOUND {name}-{digest} {broken}\n", file=sys.stderr)
                if len(kinds) >= KINDS:
                    raise

        options = [
            f"-max_total_time={args.seconds}",
            f"-max_len={LONGEST}",
            f"-seed={args.seed}",
            f"-dict={words}",
            "-timeout=20",
            "-rss_limit_mb=4096",
            "-print_final_stats=1",
            f"-artifact_prefix={args.out}/{name}-",
            str(corpus),
        ]
        atheris.Setup([sys.argv[0], *options], read)
        try:
            atheris.Fuzz()
        finally:
            words.unlink(missing_ok=True)


def _start(args, name):
    """Fuzzes one target in a process of its own; returns what came of it."""
    args.out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as temporary:
        corpus = Path(temporary) if args.corpus is None else args.corpus / name
        corpus.mkdir(parents=True, exist_ok=True)
        command = [sys.executable, str(HERE), "--child", f"--target={name}"]
        command += [f"--seconds={args.seconds}", f"--seed={args.seed}"]
        command += [f"--corpus={corpus}", f"--out={args.out.absolute()}"]
        done = subprocess.run(
            command, stderr=subprocess.PIPE, text=True, errors="replace", check=False
        )
    log = done.stderr
    covered = [int(n) for n in re.findall(r"\bcov: (\d+)", log)] or [0]
    size = [int(n) for n in re.findall(r"\bcorp: (\d+)", log)] or [0]
    runs = re.findall(r"number_of_executed_units: (\d+)", log) or [0]
    found = re.findall(r"(?m)^FOUND (.*)$", log)
    if done.returncode and not found:
        found = [f"{name}: ended with status {done.returncode}: {log[-500:]}"]
    return {
        "target": name,
        "inputs": int(runs[-1]),
        "seconds": args.seconds,
        "coverage": [covered[0], covered[-1]],  # with the seeds; in the end
        "corpus": size[-1],
        "found": found,
    }


def _replay(args):
    from fuzz import targets, watch

    for name in args.target or []:
        with tempfile.TemporaryDirectory() as scratch:
            watched = watch.Watch(targets.TARGETS[name], scratch)
            try:
                print(name, watched.read(args.replay.read_bytes()))
            except watch.BrokenPromise as broken:
                print(name, "BROKEN:", broken)


def main():
    args = _arguments()
    if args.child:
        return _fuzz(args, args.target[0], args.corpus)
    if args.replay:
        return _replay(args)
    from fuzz import targets

    names = args.target or list(targets.TARGETS)
    results = []
    print(f"{'target':<20} {'inputs':>9} {'seconds':>7} {'coverage':>12} {'found':>5}")
    with ThreadPoolExecutor(args.jobs) as pool:
        for one in pool.map(lambda name: _start(args, name), names):
            results.append(one)
            first, last = one["coverage"]
            print(
                f"{one['target']:<20} {one['inputs']:>9,} {one['seconds']:>7} "
                f"{first:>5} -> {last:<4} {len(one['found']):>5}",
                *(f"  {line}" for line in one["found"]),
                sep="\n",
                flush=True,
            )
    if not any(args.out.iterdir()):
        args.out.rmdir()
    if args.json:
        args.json.write_text(json.dumps(results, indent=1) + "\n")
    return any(one["found"] for one in results)


if __name__ == "__main__":
    sys.exit(main())
