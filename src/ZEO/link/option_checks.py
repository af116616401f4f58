"""What the arguments of a client storage may be.

Enters: the constructor's arguments. Leaves: nothing. Fails: ConfigurationError for the first that
makes no sense, with what to write instead.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import Any

from ZEO.Exceptions import ConfigurationError
from ZEO.net.tls import SSLContext
from ZEO.wire.extensions import PRIMARY, REPLICA

#: Which servers a client may prefer to read from.
PREFERENCES = ('nearest', REPLICA, PRIMARY)

#: Those that may read and write at different servers.
READ_ELSEWHERE = PREFERENCES[:2]

_Checks = dict[str, tuple[Callable[[Any], bool], str]]


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _is_path(value: Any) -> bool:
    return isinstance(value, (str, os.PathLike)) and isinstance(os.fspath(value), str)


def _is_time(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and value >= 0


def _is_size(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _is_flag(value: Any) -> bool:
    return isinstance(value, bool) or (isinstance(value, int) and value in (0, 1))


def _is_tls(value: Any) -> bool:
    if isinstance(value, tuple) and len(value) == 2:  # as ZConfig sections give it
        value = value[0]
    return value is False or isinstance(value, SSLContext)


def _all(names: str, check: Callable[[Any], bool], remedy: str) -> _Checks:
    return dict.fromkeys(names.split(), (check, remedy))


#: The constructor's arguments -> what they may be besides None, and what to write instead.
_CHECKS: _Checks = {
    **_all('storage', _is_text, "names are text, such as '1'"),
    **_all(
        'name client client_label ssl_server_hostname username password', _is_text, 'give a text'
    ),
    **_all('var blob_dir', _is_path, 'give the path of a directory'),
    **_all(
        'wait_timeout timeout min_disconnect_poll max_disconnect_poll disconnect_poll prefer_wait',
        _is_time,
        'give a number of seconds, 0 or more',
    ),
    **_all('cache_size blob_cache_size', _is_size, 'give a number of bytes'),
    **_all(
        'blob_cache_size_check',
        lambda value: _is_size(value) and value <= 100,
        'give a whole number from 1 to 100, in per cent',
    ),
    **_all(
        'wait read_only read_only_fallback shared_blob_dir server_sync drop_cache_rather_verify '
        'drop_cache_if_older wait_for_server_on_startup read_ahead',
        _is_flag,
        'give True or False',
    ),
    **_all('prefer', lambda value: value in PREFERENCES, f'give one of {", ".join(PREFERENCES)}'),
    **_all(
        'ssl',
        _is_tls,
        'give an ssl.SSLContext, such as ssl.create_default_context(cafile=FILE) makes',
    ),
}


def check(given: Mapping[str, Any]) -> None:
    """Look at all arguments of the constructor.

    :param given: each by its name.
    :raises ConfigurationError: for one that makes no sense; the text says what to give instead.
    """
    for name, (makes_sense, remedy) in _CHECKS.items():
        value = given[name]
        if value is not None and not makes_sense(value):
            shown = f'a {type(value).__name__}' if name == 'password' else repr(value)
            raise ConfigurationError(f'{name} is {shown}: {remedy}')
    if given['shared_blob_dir'] and given['prefer'] in READ_ELSEWHERE:
        raise ConfigurationError(
            f'prefer is {given["prefer"]!r} and shared_blob_dir is on: each server has a blob '
            'directory of its own. Give another blob_dir, which becomes a cache, without '
            'shared_blob_dir'
        )
