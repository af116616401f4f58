"""Every way into an unpickler that a server's modules have is on a list, with the reason why it is
none for a client's bytes.
"""

import ast
from pathlib import Path

import pytest

import ZEO.Exceptions

PACKAGE = Path(ZEO.Exceptions.__file__).parent

#: Names by which code gets an unpickler, or has ZODB use one: whatever is called `load`, it is of
#: one of these or harmless.
WAYS = {
    'Unpickler',
    'PersistentUnpickler',
    'pickle',
    'cPickle',
    'zodbpickle',
    '_pickle',
    '_compat',
    'marshal',
    'shelve',
    'dill',
    'ObjectReader',
    'DB',
    'get_pickle_metadata',
    'is_blob_record',
    'referencesf',
    'get_refs',
    'find_global',
    'tryToResolveConflict',
    'TransactionMetaData',
    'TransactionRecord',
    '.extension',
    '._extension',
    'eval',
    'exec',
    '__import__',
    'import_module',
    'copyTransactionsFrom',
    'copyTransactionsFromTo',
    'importFile',
    'ConflictError(data=)',
}

#: A server process runs these modules: all but the client's own and the commands that talk to
#: servers.
CLIENT_ONLY = {'ClientStorage', 'nagios', 'zeoctl'}
CLIENT_PACKAGES = {'link', 'cache'}

#: (module, name) -> why no byte of a client gets to an unpickler there.
KNOWN = {
    ('commands/bench_worker', 'pickle'): 'it makes records of its own, and reads none',
    ('commands/bench_worker', 'TransactionMetaData'): 'it makes metadata of its own',
    ('__init__', 'DB'): 'of the front door, for clients',
    ('databases', 'DB'): 'the same',
    (
        'wire/pickles',
        'pickle',
    ): 'messages, after the walk over their opcodes, with a find_class that knows plain data only',
    ('wire/pickles', 'Unpickler'): 'the same',
    ('serving/doors', 'pickle'): 'what is replaced, and by what',
    ('serving/doors', 'zodbpickle'): 'the same',
    ('serving/doors', '_compat'): 'the same',
    ('serving/doors', 'PersistentUnpickler'): 'the same',
    ('serving/doors', 'get_pickle_metadata'): 'the same',
    ('serving/doors', 'is_blob_record'): 'the same',
    ('serving/doors', 'find_global'): 'the argument of what is replaced',
    (
        'serving/doors',
        '.extension',
    ): 'of transactions that hold a dictionary; all others are read from their bytes',
    ('serving/doors', 'TransactionMetaData'): 'the base of a class whose extension is guarded',
    ('serving/index_saving', 'pickle'): 'a pickler, of numbers and places',
    ('serving/resolve', '_compat'): 'a pickler',
    ('serving/resolve', 'tryToResolveConflict'): 'what is replaced',
    ('serving/allowed', 'import_module'): 'modules that the operator names, or BTrees',
    (
        'data/references',
        'referencesf',
    ): 'of a command, for records in which is_tame has found nothing that it would run',
    ('data/structure', 'pickle'): 'of a command, for the index of a file; it knows no class',
    ('data/structure', 'Unpickler'): 'the same',
    ('serving/database', 'referencesf'): 'guarded by serving/doors',
    ('serving/commit/state', 'TransactionMetaData'): 'an annotation',
    ('commands/zeo', 'import_module'): 'modules of this package, from a table',
    ('commands/zeo_serve', 'import_module'): 'two modules of this package',
    ('commands/profiling', 'marshal'): 'writes a profile of the server; it reads nothing',
    ('config/storages', 'import_module'): 'what an operator wrote behind -S',
    ('config/replica', 'import_module'): 'what an operator wrote as packer',
    ('config/grouped', 'import_module'): 'the same',
    ('replica/storage', 'referencesf'): 'an argument of pack, which it passes on',
    ('serving/grouped', 'referencesf'): 'an argument of pack, which it passes on',
    (
        'serving/commit/operations',
        'marshal',
    ): 'a temporary file of this process, of which it has written every byte itself',
    ('net/green', 'import_module'): 'modules of Python that its callers name in their source',
    ('net/tls_contexts', 'import_module'): 'what an operator wrote as password-function',
}


def server_modules():
    for path in sorted(PACKAGE.rglob('*.py')):
        name = path.relative_to(PACKAGE).with_suffix('').as_posix()
        if name.split('/')[0] not in CLIENT_PACKAGES | CLIENT_ONLY:
            yield name, ast.parse(path.read_text(encoding='utf-8'))


def names_in(tree):
    """The names that a module uses, imports, defines or looks up as attributes."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Name):
            yield node.id
        elif isinstance(node, ast.Attribute):
            yield from (node.attr, f'.{node.attr}')
        elif isinstance(node, (ast.Import, ast.ImportFrom)):
            yield from (getattr(node, 'module', None) or '').split('.')
            for alias in node.names:
                yield from (*alias.name.split('.'), alias.asname or '')
        elif isinstance(node, ast.Call) and any(keyword.arg == 'data' for keyword in node.keywords):
            yield f'{getattr(node.func, "attr", getattr(node.func, "id", ""))}(data=)'
        if isinstance(node, ast.Call) and getattr(node.func, 'id', '') == 'getattr':
            yield from (f'.{arg.value}' for arg in node.args if isinstance(arg, ast.Constant))


def found():
    return {
        (module, name)
        for module, tree in server_modules()
        for name in names_in(tree)
        if name in WAYS
    }


def test_every_way_is_known():
    assert sorted(found() - set(KNOWN)) == [], (
        'does a byte of a client get there? if not, say why in KNOWN'
    )


def test_every_known_way_is_there():
    assert sorted(set(KNOWN) - found()) == []


@pytest.mark.parametrize(
    'code',
    [
        'import pickle',
        'from zodbpickle import pickle as p',
        'ZODB.utils.get_pickle_metadata(data)',
        'getattr(x, "extension")',
        'from ZODB.ConflictResolution import find_global',
        'transaction.extension',
        'ConflictError(oid=oid, data=data)',
        'from ZODB._compat import loads',
    ],
)
def test_a_new_way_would_be_seen(code):
    assert set(names_in(ast.parse(code))) & WAYS
