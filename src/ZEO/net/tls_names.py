"""The names in a certificate, in one form in which those of rules and certificates are compared.

Enters: a certificate that TLS has verified, as Python's ssl module describes it; a name as an
operator writes it. Leaves: texts such as ``CN=app1,O=Site`` and ``DNS:app1.example.org``, which are
equal where they mean the same. Fails: ValueError for a text that is not such a name.

A holder of a certificate chooses what is in it, as far as its authority lets it. So a name says of
which kind it is, and in the values of a subject commas, blanks at the ends and unprintable
characters are escaped: nothing passes for another name.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

#: Short names for the parts of a certificate's subject, in the order in which they are written.
SHORT_NAMES = {
    'commonName': 'CN',
    'organizationalUnitName': 'OU',
    'organizationName': 'O',
    'localityName': 'L',
    'stateOrProvinceName': 'ST',
    'countryName': 'C',
    'domainComponent': 'DC',
    'userId': 'UID',
}

_ORDER = {name: number for number, name in enumerate(SHORT_NAMES.values())}

#: The kinds of alternative names that are compared, by Python's names for them.
_ALTERNATIVES = {'DNS': 'DNS:', 'email': 'email:', 'URI': 'URI:'}

#: One character of a value, perhaps escaped; a comma without an escape ends the value.
_PIECE = re.compile(r'((?:\\[0-9A-Fa-f]{2})+)|\\([^0-9A-Fa-f])|([^\\,])')

_FORMS = (
    'write CN=NAME, a whole subject such as CN=app1,O=Site with a backslash before a comma that '
    'belongs to a value, or DNS:NAME, email:ADDRESS or URI:URI'
)

Part = tuple[str, str]


def names_in(certificate: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the names in a certificate: the whole subject first, the common name alone if there is
    one only, and the alternative names for hosts, mail addresses and URIs.

    :param certificate: what ``SSLObject.getpeercert`` returns; empty for one that is not verified.
    """
    parts = [
        (SHORT_NAMES.get(key, key), value)
        for together in certificate.get('subject', ())
        for key, value in together
    ]
    common = [part for part in parts if part[0] == 'CN']
    found = [_joined(parts)] if parts else []
    if len(common) == 1:
        found.append(_joined(common))
    for kind, value in certificate.get('subjectAltName', ()):
        if kind in _ALTERNATIVES and value.isprintable():  # no rule can name others
            found.append(_alternative(_ALTERNATIVES[kind], value))
    return tuple(dict.fromkeys(found))


def normal(text: str) -> str:
    """Return a name, as an operator writes it, in the form of :func:`names_in`.

    :raises ValueError: when it is not a name of one of these kinds.
    """
    for prefix in _ALTERNATIVES.values():
        if text.lower().startswith(prefix.lower()) and len(text) > len(prefix):
            return _alternative(prefix, text[len(prefix) :].strip())
    return _joined(list(_parts(text)))


def _alternative(prefix: str, value: str) -> str:
    return prefix + (value.lower() if prefix == 'DNS:' else value)


def _joined(parts: Iterable[Part]) -> str:
    """Return the parts of a subject as one text, in an order of their own: certificates and people
    have several.
    """
    ordered = sorted(parts, key=lambda part: (_ORDER.get(part[0], len(_ORDER)), part))
    return ','.join(f'{key}={_escaped(value)}' for key, value in ordered)


def _escaped(value: str) -> str:
    inner = value.strip(' ')
    left = len(value) - len(value.lstrip(' ')) if inner else len(value)
    right = len(value) - left - len(inner)
    return '\\ ' * left + ''.join(map(_escape, inner)) + '\\ ' * right


def _escape(character: str) -> str:
    if character in ',\\':
        return '\\' + character
    if character.isprintable():
        return character
    return ''.join(f'\\{byte:02X}' for byte in character.encode('utf-8', 'surrogatepass'))


def _parts(text: str) -> Iterable[Part]:
    position = 0
    while True:
        start = re.compile(r'\s*([A-Za-z][\w-]*|\d+(?:\.\d+)+)\s*=\s*', re.ASCII).match(
            text, position
        )
        if start is None:
            raise ValueError(f'{text!r} is not the name in a certificate: {_FORMS}')
        value, position = _value(text, start.end())
        yield _short(start[1]), value
        if position >= len(text):
            return
        position += 1  # the comma


def _short(key: str) -> str:
    """Return how a part of a subject is called here, whatever its case."""
    for long, short in SHORT_NAMES.items():
        if key.lower() in (long.lower(), short.lower()):
            return short
    return key


def _value(text: str, position: int) -> tuple[str, int]:
    """Return a value without escapes and without blanks around it, and where it ends."""
    pieces: list[str] = []
    blanks = 0  # at the end, without an escape
    while found := _PIECE.match(text, position):
        position = found.end()
        codes, escaped, plain = found.groups()
        blanks = blanks + 1 if plain == ' ' else 0
        pieces.append(
            bytes.fromhex(codes.replace('\\', '')).decode() if codes else escaped or plain
        )
    if position < len(text) and text[position] != ',':
        raise ValueError(f'{text!r} ends with a backslash: {_FORMS}')
    value = ''.join(pieces[: len(pieces) - blanks])
    if not value:
        raise ValueError(f'{text!r} has an empty part: {_FORMS}')
    return value, position
