"""Commands and answers, one JSON object a line, between a test and its child processes.

Enters and leaves: plain data, bytes included; tuples come out as lists.  An exception becomes an
object that names its class and those above it, its text and its plain attributes.  The child's
half, :func:`serve`, runs under any Python and imports nothing of ZEO.
"""

from __future__ import annotations

import json
import os
import sys
import traceback
from collections.abc import Callable, Mapping
from typing import Any


def dumps(value: Any) -> bytes:
    """Return a value as one line."""
    return json.dumps(_plain(value)).encode() + b'\n'


def loads(line: bytes) -> Any:
    """Return the value of a line."""
    return json.loads(line, object_hook=_bytes_back)


def _plain(value: Any) -> Any:
    if isinstance(value, (bytes, bytearray, memoryview)):
        return {'bytes': bytes(value).hex()}
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [_plain(item) for item in value]
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    return repr(value)


def _bytes_back(value: dict[str, Any]) -> Any:
    return bytes.fromhex(value['bytes']) if set(value) == {'bytes'} else value


def describe(error: BaseException) -> dict[str, Any]:
    """Return what the other process may know of an exception."""
    classes = [f'{cls.__module__}.{cls.__qualname__}' for cls in type(error).__mro__]
    return {
        'classes': classes,
        'text': _text(error),
        'attributes': _plain(vars(error)),
        'args': _plain(error.args),
        'traceback': ''.join(traceback.format_exception(type(error), error, error.__traceback__)),
    }


def _text(error: BaseException) -> str:
    try:
        return str(error)
    except Exception as failure:  # some of ZODB's can't be shown once they have been on a wire
        return f'{error.args} (its text failed: {failure})'


def serve(commands: Any) -> None:
    """Do what standard input says until it ends.

    :param commands: an object with a method for each command, named ``do_COMMAND``.
    """
    # What libraries print must not come between the answers.
    answers = os.fdopen(os.dup(sys.stdout.fileno()), 'wb', buffering=0)
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    for line in sys.stdin.buffer:
        request = loads(line)
        command: Callable[..., Any] = getattr(commands, 'do_' + request.pop('command'))
        try:
            answer = {'result': command(**request)}
        except Exception as error:  # the boundary: the test sees it and decides
            answer = {'error': describe(error)}
        answers.write(dumps(answer))
