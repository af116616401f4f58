"""The values of configuration keys.

Enters: a key's text. Leaves: its value. Fails: ValueError, to which ZConfig adds the file and the
line.
"""

from __future__ import annotations

import grp
import os
import re

from ZEO.link.option_checks import PREFERENCES
from ZEO.net.addresses import Address, checked_host
from ZEO.net.tls import DYNAMIC, SIGNED
from ZEO.serving.access.rules import Rule
from ZEO.serving.access.rules import rule as read_rule
from ZEO.serving.read_ahead.shared import VALUES as READ_AHEAD

_UNITS = {'': 1.0, 's': 1.0, 'm': 60.0, 'h': 3600.0, 'd': 86400.0}


def seconds(text: str) -> float:
    """Return a time in seconds: a number, which may have the suffix s, m, h or d."""
    match = re.fullmatch(r'(\d+(?:\.\d*)?|\.\d+)\s*([smhd]?)', text.strip().lower())
    if not match:
        raise ValueError(
            f'{text!r} is not a time: give seconds, or a number with the suffix s, m, h or d'
        )
    return float(match[1]) * _UNITS[match[2]]


def replicas(text: str) -> int:
    """Return a number of followers: 0 or more."""
    if not (text.isascii() and text.isdigit()):
        raise ValueError(f'{text!r} is not a number of followers: give 0 or more')
    return int(text)


#: What switches are in other keys; here it is about one follower.
_SWITCHES = {'true': 1, 'on': 1, 'yes': 1, 'false': 0, 'off': 0, 'no': 0}


def fence(text: str) -> int:
    """Return how many followers have to agree: a number, or `true` for one."""
    switch = _SWITCHES.get(text.lower())
    return replicas(text) if switch is None else switch


def timeout_action(text: str) -> str:
    """Return what happens when followers do not acknowledge in time."""
    action = text.lower()
    if action not in ('warn', 'refuse'):
        raise ValueError(f'{text!r} is not an action: give warn or refuse')
    return action


#: A form of the log.
JSON = 'json'


def log_format(text: str) -> str:
    """Return the form in which events are logged: ``text`` or ``json``."""
    if text.lower() not in ('text', JSON):
        raise ValueError(f'{text!r} is not a form of the log: give text or json')
    return text.lower()


#: The shortest interval between two polls, in seconds: each takes a database half a millisecond.
SHORTEST_POLL = 0.01


def poll_interval(text: str) -> float:
    """Return a time in seconds that is long enough between two polls of a database."""
    interval = seconds(text)
    if interval < SHORTEST_POLL:
        raise ValueError(f'{text!r} is too short: give at least {SHORTEST_POLL} seconds')
    return interval


def positive(text: str) -> int:
    """Return a whole number above zero."""
    if not (text.isascii() and text.isdigit() and int(text)):
        raise ValueError(f'{text!r} is not a whole number above zero')
    return int(text)


def preference(text: str) -> str:
    """Return which servers a client prefers to read from."""
    if text not in PREFERENCES:
        raise ValueError(f'{text!r} is not a preference: give one of {", ".join(PREFERENCES)}')
    return text


def read_ahead(text: str) -> str:
    """Return which clients are sent records before they ask for them."""
    if text not in READ_AHEAD:
        raise ValueError(f'{text!r} is not a choice: give one of {", ".join(READ_AHEAD)}')
    return text


def percentage(text: str) -> int:
    """Return a whole number from 1 to 100."""
    if not (text.isascii() and text.isdigit() and 1 <= int(text) <= 100):
        raise ValueError(f'{text!r} is not a percentage: give a whole number from 1 to 100')
    return int(text)


def size(text: str) -> int:
    """Return a number of bytes above zero, which may have the suffix KB, MB or GB."""
    from ZConfig.datatypes import SuffixMultiplier

    number = SuffixMultiplier({'kb': 2**10, 'mb': 2**20, 'gb': 2**30})(text)
    if number <= 0:
        raise ValueError(f'{text!r} is too small: give a number of bytes above zero')
    return number


def size_or_none(text: str) -> int:
    """Return a number of bytes as :func:`size` does, or 0 for none."""
    return 0 if text.strip() == '0' else size(text)


def bind_address(text: str) -> Address:
    """Return an address to listen on; a port alone means every network of the machine."""
    return _address(text, '')


def connect_address(text: str) -> Address:
    """Return an address to connect to; a port alone means this machine."""
    return _address(text, '127.0.0.1')


def monitor_address(text: str) -> Address:
    """Return an address to listen on; a port alone means this machine only."""
    return _address(text, '127.0.0.1')


def _address(text: str, default_host: str) -> Address:
    if '/' in text:
        return os.path.expanduser(text)
    host, colon, port = text.rpartition(':')
    if host.startswith('[') and host.endswith(']'):
        host = host[1:-1]
    elif ':' in host:
        raise ValueError(f'{text!r} is not an address: write an IPv6 address as [ADDRESS]:PORT')
    if not (port.isascii() and port.isdigit() and int(port) <= 65535):
        raise ValueError(
            f'{text!r} is not an address: give HOST:PORT, PORT, or the path of a Unix '
            'socket, with at least one slash'
        )
    return (checked_host(host.lower()) if colon else '') or default_host, int(port)


def file_mode(text: str) -> int:
    """Return a file's mode from its octal digits."""
    if not re.fullmatch(r'(0o?)?[0-7]{3}', text):
        raise ValueError(
            f'{text!r} is not a mode: give three octal digits, such as 0660 for the owner and the '
            'group'
        )
    return int(text[-3:], 8)


def group(text: str) -> int:
    """Return the number of a group of users from its name or number."""
    try:
        return int(text) if text.isascii() and text.isdigit() else grp.getgrnam(text).gr_gid
    except KeyError:
        raise ValueError(
            f'there is no group {text!r} on this machine: give the name or number of one'
        ) from None


def rule(text: str) -> Rule:
    """Return a rule of who may do what."""
    return read_rule(text)


def existing_file(text: str) -> str:
    """Return the path of an existing file."""
    path = os.path.expanduser(text)
    if not os.path.isfile(path):
        raise ValueError(f'there is no file {path}: give an existing one')
    return path


def file_or_directory(text: str) -> str:
    """Return the path of an existing file or directory."""
    path = os.path.expanduser(text)
    if not os.path.exists(path):
        raise ValueError(f'there is no file or directory {path}: give an existing one')
    return path


def file_in_existing_directory(text: str) -> str:
    """Return the path of a file whose directory exists."""
    path = os.path.expanduser(text)
    directory = os.path.dirname(path)
    if directory and not os.path.isdir(directory):
        raise ValueError(f'there is no directory {directory} for the file {path}: create it first')
    return path


def authenticate(text: str) -> str:
    """Return whom TLS trusts: SIGNED, DYNAMIC, or an existing file or directory."""
    if text in (SIGNED, DYNAMIC):
        return text
    path = os.path.expanduser(text)
    if not os.path.exists(path):
        raise ValueError(
            f'there is no file or directory {path} to authenticate with; '
            f'give an existing one, {SIGNED} or {DYNAMIC}'
        )
    return path


def dotted_name(text: str) -> str:
    """Return the dotted name of a function, not imported yet."""
    if not re.fullmatch(r'[^\W\d]\w*(\.[^\W\d]\w*)+', text):
        raise ValueError(f'{text!r} is not the dotted name of a function: give module.function')
    return text


def module_name(text: str) -> str:
    """Return the dotted name of a module or package, perhaps with a class behind a colon, not
    imported yet.
    """
    if not re.fullmatch(r'[^\W\d]\w*(\.[^\W\d]\w*)*(:[^\W\d]\w*)?', text):
        raise ValueError(
            f'{text!r} is not the name of a module, a package or a class (module:Class)'
        )
    return text
