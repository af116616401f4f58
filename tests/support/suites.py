"""ZODB's doctest suites as pytest parameters.

Enters: what ZODB's suite functions return.  Leaves: one parameter for each test in them, and
:func:`run` which runs one and fails as pytest's own tests do.
"""

from __future__ import annotations

import os
import unittest
from collections.abc import Iterator
from typing import Any

import pytest
from zope.testing import setupstack


def parameters(*suites: unittest.TestSuite) -> Any:
    """Return a decorator that runs a test once for each case in the suites, as ``case``."""
    cases = [case for suite in suites for case in _cases(suite)]
    return pytest.mark.parametrize('case', cases, ids=[_name(case) for case in cases])


def _cases(suite: unittest.TestSuite) -> Iterator[unittest.TestCase]:
    for item in suite:
        if isinstance(item, unittest.TestSuite):
            yield from _cases(item)
        else:
            yield item


def _name(case: unittest.TestCase) -> str:
    """Return the last parts of a test's name: of a doctest file or function, or class and
    method.
    """
    identity = case.id().rpartition('/')[2].replace('_txt', '')
    parts = identity.split('.')
    return '-'.join(
        parts[-2:] if hasattr(case, '_testMethodName') and len(parts) > 3 else parts[-1:]
    )


#: What ZODB's texts expect the system to forbid, and what it allows to root.
FORBIDDEN_TO_OTHERS = "open(blob.committed(), 'w')"


def run(case: unittest.TestCase) -> None:
    """Run one case."""
    if os.geteuid() == 0 and hasattr(case, '_dt_test'):
        examples = case._dt_test.examples
        examples[:] = [item for item in examples if FORBIDDEN_TO_OTHERS not in item.source]
    # A test whose set-up fails is not torn down; twice does no harm.
    case.addCleanup(setupstack.tearDown, case)
    result = unittest.TestResult()
    case.run(result)
    if result.skipped:
        pytest.skip(result.skipped[0][1])
    for _, report in result.errors + result.failures:
        pytest.fail(report, pytrace=False)
