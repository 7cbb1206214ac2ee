"""Ctrl-C and SIGTERM: the program ends, in seconds, whatever it does."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from alphanet_jax import stopping
from alphanet_jax.commands import cli

ROOT = Path(__file__).parents[1]
BEGIN = """
import signal, sys, time
from types import SimpleNamespace
from alphanet_jax import stopping
from alphanet_jax.commands import cli
stopping.SECONDS_TO_END = 0.7

def define_flags(values, argv):
    pass

def run(values):
    print("runs", flush=True)
    {body}

module = SimpleNamespace(DESCRIPTION="", define_flags=define_flags, run=run)
sys.exit(stopping.leave(cli.run_program(module, ["x"])))
"""
BODIES = {
    "waits": "time.sleep(60)",
    "catches everything": """
    while True:
        try:
            time.sleep(60)
        except BaseException:
            pass""",
    "makes another error of it": """
    try:
        time.sleep(60)
    except KeyboardInterrupt:
        raise RuntimeError("from deep within")""",
    "drops it": """
    class Final:
        def __del__(self):
            time.sleep(60)
    final = Final()
    del final
    time.sleep(60)""",
    "is in a callback whose errors Python shows": """
    import gc
    gc.callbacks.append(lambda *_: time.sleep(60))
    gc.collect()
    time.sleep(60)""",
    "logs what it catches": """
    import logging
    try:
        time.sleep(60)
    except KeyboardInterrupt:
        logging.getLogger("x").exception("failed")
        raise""",
    "has a thread that fails when the main one leaves": """
    import threading
    gone = threading.Event()
    def wait():
        gone.wait()
        raise RuntimeError("from a thread")
    thread = threading.Thread(target=wait)
    thread.start()
    try:
        time.sleep(60)
    finally:
        gone.set()
        thread.join()""",
    "does not come back to Python": "import ctypes; ctypes.CDLL(None).sleep(60)",
    "has a thread that does not end": """
    import threading
    threading.Thread(target=time.sleep, args=(60,)).start()
    time.sleep(60)""",
}


def start_code(code):
    return subprocess.Popen(
        [sys.executable, "-c", code],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
    )


def start(body):
    process = start_code(BEGIN.format(body=body))
    assert process.stdout.readline() == "runs\n"
    time.sleep(0.1)
    return process


def ended(process, number):
    """Sends a signal; returns the status, and what was said."""
    process.send_signal(number)
    _, err = process.communicate(timeout=20)
    return process.returncode, err


@pytest.mark.slow
class TestEnds:
    @pytest.mark.parametrize(
        ("number", "word"),
        [(signal.SIGINT, "interrupted"), (signal.SIGTERM, "terminated")],
    )
    @pytest.mark.parametrize("body", BODIES.values(), ids=BODIES)
    def test_whatever_it_does(self, body, number, word):
        process = start(body)
        assert ended(process, number) == (128 + number, f"error: {word}\n")

    def test_a_second_one_ends_it_at_once(self):
        process = start(
            "stopping.SECONDS_TO_END = 60\n    " + BODIES["catches everything"]
        )
        process.send_signal(signal.SIGINT)
        time.sleep(0.3)
        assert process.poll() is None
        assert ended(process, signal.SIGINT) == (130, "error: interrupted\n")

    def test_what_is_ignored_stays_ignored(self):
        process = start(
            "time.sleep(0.5)\n    print('on', flush=True)",
        )
        process.communicate(timeout=20)
        code = BEGIN.format(body="import os; os.kill(os.getpid(), signal.SIGINT)")
        code = code.replace(
            "from types", "signal.signal(signal.SIGINT, signal.SIG_IGN)\nfrom types"
        )
        done = subprocess.run([sys.executable, "-c", code], cwd=ROOT)
        assert done.returncode == 0

    @pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
    def test_when_all_is_done(self, number):
        """While Python ends: the status is that of the command."""
        code = (
            "import atexit, sys, time; sys.argv = ['alphanet', 'help']\n"
            "def late():\n"
            "    print('late', flush=True); time.sleep(60)\n"
            "atexit.register(late)\n"
            "from alphanet_jax.__main__ import main\n"
            "sys.exit(main())"
        )
        process = start_code(code)
        while process.stdout.readline() != "late\n":
            assert process.poll() is None
        assert ended(process, number) == (0, "")

    def test_an_import_that_makes_another_error_of_it(self):
        code = (
            "import sys, time; sys.argv = ['alphanet', 'help']\n"
            "class Slow:\n"
            "    def find_spec(self, name, *rest):\n"
            "        if name == 'alphanet_jax.commands.cli':\n"
            "            print('runs', flush=True)\n"
            "            try:\n"
            "                time.sleep(60)\n"
            "            except KeyboardInterrupt:\n"
            "                raise ImportError(name)\n"
            "from alphanet_jax.__main__ import main\n"
            "sys.meta_path.insert(0, Slow()); sys.exit(main())"
        )
        process = start_code(code)
        assert process.stdout.readline() == "runs\n"
        assert ended(process, signal.SIGTERM) == (143, "error: terminated\n")

    def test_while_modules_are_imported(self):
        """From the first moment that the program is its own."""
        code = (
            "import sys, time; sys.argv = ['alphanet', 'help']\n"
            "class Slow:\n"
            "    def find_spec(self, name, *rest):\n"
            "        if name == 'alphanet_jax.commands.cli':\n"
            "            print('runs', flush=True); time.sleep(60)\n"
            "from alphanet_jax.__main__ import main\n"
            "sys.meta_path.insert(0, Slow()); sys.exit(main())"
        )
        process = start_code(code)
        assert process.stdout.readline() == "runs\n"
        assert ended(process, signal.SIGINT) == (130, "error: interrupted\n")


def ask_to_end(number):
    os.kill(os.getpid(), number)
    time.sleep(1)  # a signal need not be handled before the next step of Python


class TestListening:
    def test_handlers_are_as_before(self):
        before = [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)]
        with pytest.raises(KeyboardInterrupt), stopping.listening():
            ask_to_end(signal.SIGINT)
        assert [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)] == before
        assert not stopping.was_asked()
        stopping.check()

    def test_what_was_caught_is_raised_again(self):
        with stopping.listening():
            with pytest.raises(KeyboardInterrupt):
                ask_to_end(signal.SIGTERM)
            assert stopping.was_asked()
            with pytest.raises(stopping.Terminated) as raised:
                stopping.check()
            assert stopping.status_of(raised.value) == 143

    def test_the_inner_block_says_more(self):
        with stopping.listening(lambda: "; outer"):
            with stopping.listening(lambda: "; inner"):
                assert stopping.line(130) == "interrupted; inner"
            assert stopping.line(143) == "terminated; outer"

    def test_nothing_to_leave_for(self):
        assert [stopping.leave(status) for status in (0, 1)] == [0, 1]

    def test_help_is_no_signal(self, capsys):
        assert cli.main(["alphanet", "help"]) == 0
