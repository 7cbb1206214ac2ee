"""Hooks of pytest that list skipped tests, or fail a run that has any; see `tools`."""

import os
from pathlib import Path

import pytest


def _skipped(config):
    reporter = config.pluginmanager.get_plugin("terminalreporter")
    return [] if reporter is None else reporter.stats.get("skipped", [])


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session):
    if os.environ.get("ALPHANET_TESTS_NEED_ALL") and _skipped(session.config):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter, config):
    skipped = sorted({report.nodeid for report in _skipped(config)})
    if path := os.environ.get("ALPHANET_TESTS_SKIPPED"):
        Path(path).write_text("".join(f"{name}\n" for name in skipped))
    if skipped and os.environ.get("ALPHANET_TESTS_NEED_ALL"):
        terminalreporter.write_line(
            f"{len(skipped)} tests were skipped, and none may be: {skipped[0]} ..."
        )
