"""The documentation's table of ZODB's test classes says what runs."""

import importlib.util
import re
from pathlib import Path

from support import kinds
from support.served import Served

HERE = Path(__file__).parent
PAGE = HERE.parent.parent / 'docs' / 'developing' / 'storages.rst'

COLUMNS = {
    'FileStorage': kinds.FILE,
    'FileStorage, shared blobs': kinds.FILE_SHARED_BLOBS,
    'FileStorage, transferred blobs': kinds.FILE_TRANSFERRED_BLOBS,
    'MappingStorage': kinds.MAPPING,
    'DemoStorage': kinds.DEMO,
    'Wrapped on the server': kinds.HEX_ON_SERVER,
    'Wrapped on the client': kinds.HEX_ON_CLIENT,
}


def documented():
    """Return the table's rows, without the head: name -> the columns that say yes."""
    table = PAGE.read_text(encoding='utf-8').split('.. list-table::')[1]
    rows = [
        re.findall(r'^ +(?:\* )?- ?(.*)', row, re.M) for row in re.split(r'\n(?=   \* )', table)[1:]
    ]
    head, *rows = rows
    assert head[1:] == list(COLUMNS)
    return {
        row[0]: {column for column, cell in zip(head[1:], row[1:], strict=True) if cell == 'yes'}
        for row in rows
    }


def running():
    """Return what runs: name of a test class of ZODB's -> the columns with a storage it runs on."""
    found = {}
    for path in HERE.glob('test_*.py'):
        spec = importlib.util.spec_from_file_location(f'table_{path.stem}', path)
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        for test in vars(module).values():
            if isinstance(test, type) and issubclass(test, Served) and test is not Served:
                for base in test.__mro__:
                    if base.__module__.startswith('ZODB.tests.'):
                        found.setdefault(base.__name__, set()).update(
                            column for column, kind in COLUMNS.items() if kind is test.kind
                        )
    return found


def test_the_table_is_right():
    """Each row says of each storage whether the class runs on it."""
    runs = running()
    rows = documented()
    assert rows == {name: runs[name] for name in rows}
    helpers = {
        'TestCase',
        'StorageTestBase',
        'IteratorCompare',
        'IteratorDeepCompare',
        'PackableStorageBase',
    }
    assert set(runs) - set(rows) == helpers
