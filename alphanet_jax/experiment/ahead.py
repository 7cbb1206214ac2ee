"""Programs compiled ahead: in threads, while samples are drawn, read and scored.

Compiling takes seconds and no data, only shapes, and XLA lets other threads of Python
work meanwhile. JAX keeps a program that was compiled ahead by its function and shapes;
the call finds it. Where shapes were foreseen wrongly, or compiling fails, the call does
it itself: nothing here changes what is computed.
"""

import contextlib
import os
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import jax

from alphanet_jax.experiment import kernels

__all__ = ["Ahead"]

# The calling thread compiles as well, what it needs first.
_MOST_THREADS = 4


class Ahead:
    """Compiles programs before they are called, where that is of use.

    Args:
      waited: Takes the seconds that were spent on waiting for a program.
    """

    def __init__(self, waited: Callable[[float], None] = lambda seconds: None) -> None:
        self._waited = waited
        self._jobs: dict[str, Future[object]] = {}
        self._pool: ThreadPoolExecutor | None = None
        # Many devices, or processes, need to know where arrays lie. Where kernels are
        # chosen by their speed, other work beside would disturb that.
        timed = jax.default_backend() != "cpu" and kernels.are_timed()
        if jax.device_count() == 1 and not timed:
            threads = min(_MOST_THREADS, max(1, (os.cpu_count() or 1) - 1))
            self._pool = ThreadPoolExecutor(threads, thread_name_prefix="compiling")

    def start(
        self, name: str, function: Any, foresee: Callable[[], tuple[Any, ...]]
    ) -> None:
        """Begins to compile a program.

        Args:
          name: What to wait for.
          function: The function, from `executables.kept`.
          foresee: Makes its arguments as of the call, in the thread; shapes in place of
            arrays will do.
        """
        self.run(name, lambda: function.make_ready(*foresee()))

    def run(self, name: str, compile_it: Callable[[], object]) -> None:
        """Begins to run what compiles a program, or several."""
        if self._pool is not None:
            self._jobs[name] = self._pool.submit(compile_it)

    def wait(self, *names: str) -> None:
        """Waits for programs that are being compiled.

        Those whose turn has not come are left to their call.
        """
        clock = time.perf_counter()
        for name in names:
            job = self._jobs.pop(name, None)
            if job is not None and not job.cancel():
                with contextlib.suppress(Exception):  # the call will say what it is
                    job.result()
        self._waited(time.perf_counter() - clock)

    def close(self) -> None:
        """Lets go of what was not called."""
        if self._pool is not None:
            self._pool.shutdown(wait=False, cancel_futures=True)
