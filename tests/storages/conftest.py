"""ZODB's own tests of storages; one that takes long is run every time with one of them only."""

from pathlib import Path

import pytest

HERE = Path(__file__).parent
LONG = 'test_race_external_invalidate_vs_disconnect'
EVERY_TIME = {'TestFileStorage'}


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items):
    for item in items:
        if item.name == LONG and HERE in item.path.parents and item.cls.__name__ not in EVERY_TIME:
            item.add_marker(pytest.mark.slow)
