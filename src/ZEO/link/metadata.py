"""What describes a transaction: its user, its description and its extension.

Enters: a transaction of an application. Leaves: the three, as its server takes them. Fails:
ConfigurationError for what can't be sent.
"""

from __future__ import annotations

from typing import Any

from ZODB.Connection import TransactionMetaData

from ZEO.Exceptions import ConfigurationError
from ZEO.wire.extensions import EXTENSION_BYTES
from ZEO.wire.plain import is_plain


def metadata(transaction: Any, abilities: frozenset[str]) -> tuple[bytes, bytes, Any]:
    """Return a transaction's user, description and extension as its server takes them.

    :param transaction: a TransactionMetaData of ZODB, or a transaction of the package
        ``transaction``, whose texts are of type str.
    :param abilities: what the server can do beyond the protocol.
    :raises ConfigurationError: when the server takes plain data only, and the extension holds
        other objects; when user or description is not a text.
    """
    user, description = _encoded(transaction.user), _encoded(transaction.description)
    if EXTENSION_BYTES in abilities:
        stored = getattr(transaction, 'extension_bytes', None)
        if not isinstance(stored, bytes):
            stored = TransactionMetaData(
                extension=dict(getattr(transaction, 'extension', None) or {})
            ).extension_bytes
        return user, description, stored
    # some extensions have a class of their own, which carries no data
    plain = dict(getattr(transaction, 'extension', None) or {})
    if not is_plain(plain):
        raise ConfigurationError(
            'the extension of this transaction holds objects, but this server accepts plain data '
            'only: set it to numbers, texts, lists and dictionaries'
        )
    return user, description, plain


def _encoded(text: Any) -> bytes:
    if isinstance(text, bytes):
        return text
    if text is None or isinstance(text, str):
        return (text or '').encode('utf-8', 'surrogatepass')
    raise ConfigurationError(
        f'the user or the description of this transaction is a {type(text).__name__}: give a text'
    )
