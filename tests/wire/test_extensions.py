"""What the two ends agree on beyond the protocol is written down once."""

import ast
from pathlib import Path

import pytest

import ZEO.Exceptions
from ZEO.wire import extensions

PACKAGE = Path(ZEO.Exceptions.__file__).parent
TABLE = {name: value for name, value in vars(extensions).items() if name.isupper()}
VALUES = {value for value in TABLE.values() if isinstance(value, (str, int))}

#: The same text with another meaning: a key of a server's configuration, keys of its status.
OTHERS = {
    ('serving/limits.py', extensions.MESSAGE_SIZE),
    ('serving/followers.py', extensions.FOLLOWERS),
    ('serving/status.py', extensions.FOLLOWERS),
    ('serving/status.py', extensions.REPLICA),
    ('serving/monitor/live.py', extensions.FOLLOWERS),
    ('serving/backends/replica.py', extensions.PRIMARY),
    ('serving/info.py', extensions.WHOLE),
    ('serving/info.py', extensions.CHAIN),
    ('replica/following.py', extensions.CHAIN),
    ('replica/storage.py', extensions.PRIMARY),
    ('replica/storage.py', extensions.WHOLE),
    ('commands/live_primary.py', extensions.CHAIN),
    ('commands/live_primary.py', extensions.PRIMARY),
    ('commands/live_primary.py', extensions.REPLICA),
    ('commands/zeo_promote.py', extensions.REPLICA),
    ('commands/zeo_promote.py', extensions.PRIMARY),
    ('commands/zeo_promote.py', extensions.WHOLE),
    ('commands/zeo_status.py', extensions.FOLLOWERS),
    ('commands/zeo_status.py', extensions.REPLICA),
}


def literals(path):
    """Return the constants of a file, without the names of attributes that getattr is given."""
    tree = ast.parse(path.read_text(encoding='utf-8'))
    attributes = {
        id(node.args[1])
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and ast.unparse(node.func) in ('getattr', 'hasattr')
    }
    return {
        node.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and id(node) not in attributes
    }


@pytest.mark.parametrize(
    'path', [path for path in PACKAGE.rglob('*.py') if path.name != 'extensions.py'], ids=str
)
def test_no_other_module_spells_them(path):
    module = path.relative_to(PACKAGE).as_posix()
    spelled = {value for value in literals(path) if isinstance(value, (str, int))} & VALUES
    assert {value for value in spelled if (module, value) not in OTHERS} == set()


def test_what_a_server_announces_is_a_name_of_the_table():
    assert set(extensions.ALL) <= VALUES
    assert len(set(extensions.ALL)) == len(extensions.ALL) == 10
