"""One rule: who may do what, as an operator writes it.

Enters: lines such as ``unix-user zope write``; an identity. Leaves: :class:`Rule`, and whether it
is about that identity. Fails: ValueError for a line that is not a rule, or names a user or a group
that this machine does not have.

Names of users and groups of the machine are looked up when the rules are read, not when a client
connects: a directory service that does not answer then stops no client.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum

from ZEO.net import tls_names, unix_peers
from ZEO.serving.access.identity import Identity
from ZEO.wire.quoting import cleaned
from ZEO.wire.scram import checked_name


class Right(IntEnum):
    """What a client may do with a storage; each right includes those before it."""

    NOTHING = 0  # also not see that it is there
    READ = 1
    WRITE = 2
    ADMIN = 3  # pack

    def __str__(self) -> str:
        return self.name.lower()


RIGHTS = {str(right): right for right in Right}

#: In place of a name: every user that is proved, every certificate that is verified.
ANY = '*'

#: The number that the kernel gives for a user or group that has none where the server runs.
_LARGEST = 2**32 - 2

_FORM = (
    'write WHO RIGHT, where WHO is user NAME, certificate NAME, unix-user NAME, unix-group NAME or '
    'anyone, and RIGHT is nothing, read, write or admin'
)


@dataclass(frozen=True)
class Rule:
    """One rule.

    :param kind: one of :data:`KINDS`.
    :param name: of the one that it is about, in the form in which it is compared.
    :param right: what they may do.
    :param numbers: of a user, or of a group and of the users that are its members.
    """

    kind: str
    name: str
    right: Right
    user: int | None = None
    group: int | None = None
    members: frozenset[int | None] = frozenset()

    def matches(self, identity: Identity) -> bool:
        """Return whether it is about that client."""
        return KINDS[self.kind].matches(self, identity)

    def __str__(self) -> str:
        return ' '.join(filter(None, (self.kind, cleaned(self.name), str(self.right))))


def rule(text: str) -> Rule:
    """Return the rule that a line stands for.

    :raises ValueError: when it is not one.
    """
    text = text.replace('\t', ' ').strip(' ')
    found = re.fullmatch(r'(\S+)(?: +(\S.*?))? +(\S+)', text, re.DOTALL)
    if found is None or not text.isprintable():
        raise ValueError(f'{text!r} is not a rule: {_FORM}')
    word, name, right = found.groups()
    if right.lower() not in RIGHTS:
        raise ValueError(f'{right!r} is not a right: {_FORM}')
    kind = KINDS.get(word.lower())
    if kind is None:
        raise ValueError(f'a rule cannot be about {word!r}: {_FORM}')
    return kind.make(word.lower(), _unquoted(name or ''), RIGHTS[right.lower()])


def _unquoted(name: str) -> str:
    """Return a name without the quotes that an operator may put around one with blanks."""
    return name[1:-1] if len(name) > 2 and name[0] == name[-1] == '"' else name


# The kinds: how a rule of each is made, and whom it is about.


def _named(kind: str, name: str, right: Right) -> Rule:
    if not name:
        raise ValueError(f'a rule about {kind} needs a name: {_FORM}')
    return Rule(kind, name, right)


def _user(kind: str, name: str, right: Right) -> Rule:
    if name in ('', ANY):
        return _named(kind, name, right)
    try:
        # in the form of the name that is proved, which else none would match
        return Rule(kind, checked_name(name), right)
    except ValueError as error:
        raise ValueError(f'{name!r} cannot be the name of a user: {error}') from None


def _certificate(kind: str, name: str, right: Right) -> Rule:
    return _named(kind, name if name in ('', ANY) else tls_names.normal(name), right)


def _anyone(kind: str, name: str, right: Right) -> Rule:
    if name:
        raise ValueError(f'{kind} takes no name, but got {name!r}: {_FORM}')
    return Rule(kind, '', right)


def _unix_user(kind: str, name: str, right: Right) -> Rule:
    _check_unix(kind)
    number = _number(name)
    if number is None:
        number = _user_number(_named(kind, name, right).name)
    return Rule(kind, name, right, user=number)


def _unix_group(kind: str, name: str, right: Right) -> Rule:
    import grp

    _check_unix(kind)
    number = _number(name)
    try:
        entry = grp.getgrnam(_named(kind, name, right).name) if number is None else None
    except (KeyError, OSError):
        raise ValueError(
            f'there is no group {name!r} on this machine: make it, or give its number'
        ) from None
    if entry is None:
        return Rule(kind, name, right, group=number)
    members = frozenset(map(_user_number_or_none, entry.gr_mem)) - {None}
    return Rule(kind, name, right, group=entry.gr_gid, members=members)


def _check_unix(kind: str) -> None:
    if not unix_peers.KNOWN:
        raise ValueError(
            f'a rule cannot be about {kind}, since this system does not say which user is at the '
            'other end of a Unix socket: use certificates or secrets'
        )


def _number(name: str) -> int | None:
    if not (name.isascii() and name.isdigit()):
        return None
    if int(name) > _LARGEST:
        raise ValueError(f'{name} is not the number of a user or a group: it is too large')
    return int(name)


def _user_number(name: str) -> int:
    number = _user_number_or_none(name)
    if number is None:
        raise ValueError(f'there is no user {name!r} on this machine: make it, or give its number')
    return number


def _user_number_or_none(name: str) -> int | None:
    import pwd

    try:
        return pwd.getpwnam(name).pw_uid
    except (KeyError, OSError):
        return None


def _is_user(rule: Rule, identity: Identity) -> bool:
    return identity.user is not None and rule.name in (ANY, identity.user)


def _has_certificate(rule: Rule, identity: Identity) -> bool:
    if rule.name == ANY:
        return bool(identity.certificate)
    return rule.name in identity.certificate


def _is_unix_user(rule: Rule, identity: Identity) -> bool:
    return identity.uid is not None and identity.uid == rule.user


def _is_in_group(rule: Rule, identity: Identity) -> bool:
    return identity.uid is not None and (
        rule.group in identity.groups or identity.uid in rule.members
    )


@dataclass(frozen=True)
class Kind:
    """What rules of one kind have in common."""

    make: Callable[[str, str, Right], Rule]
    matches: Callable[[Rule, Identity], bool]


KINDS = {
    'user': Kind(_user, _is_user),
    'certificate': Kind(_certificate, _has_certificate),
    'unix-user': Kind(_unix_user, _is_unix_user),
    'unix-group': Kind(_unix_group, _is_in_group),
    'anyone': Kind(_anyone, lambda rule, identity: True),
}
