"""What a client storage offers is documented: each argument, and what is raised."""

import inspect
import re

import pytest

from ZEO.ClientStorage import ClientStorage

PUBLIC = {
    name: method
    for name, method in vars(ClientStorage).items()
    if inspect.isfunction(method) and not name.startswith('_') or name == '__init__'
}

#: Methods that raise nothing of their own: they need no server, or do without one.
QUIET = {
    'watch_checks',
    'getName',
    'sortKey',
    'getSize',
    'supportsUndo',
    'isReadOnly',
    'is_read_only',
    'is_connected',
    'sync',
    'registerDB',
    'close',
    'prefetch',
    'cached',
    'comes_ahead',
    'begin_copy',
    'bring_ahead',
    'used_ahead',
    'read_ahead_status',
    'tpc_abort',
    'tpc_transaction',
}


def documented(name):
    return inspect.getdoc(ClientStorage if name == '__init__' else PUBLIC[name])


@pytest.mark.parametrize('name', PUBLIC)
def test_each_argument_is_described(name):
    arguments = set(inspect.signature(PUBLIC[name]).parameters) - {'self'}
    described = set(re.findall(r':param (\w+):', documented(name)))
    if name == '__init__':
        arguments -= {'credentials'}  # with realm
    assert described == arguments


@pytest.mark.parametrize('name', PUBLIC)
def test_what_is_raised_is_described(name):
    assert (':raises ' in documented(name)) != (name in QUIET)
