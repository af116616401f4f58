"""TLS without a socket: a codec for one connection, and the contexts that it takes.

Enters: the bytes of a stream. Leaves: plaintext and ciphertext. Fails:
:class:`~ZEO.net.tls_errors.TlsError` in a user's words for errors on a connection.
"""

from __future__ import annotations

import ssl
from typing import Any

from ZEO.Exceptions import ConfigurationError
from ZEO.net.tls_contexts import (
    DYNAMIC,
    SIGNED,
    asks_for_certificates,
    client_context,
    server_context,
    verifies_certificates,
)
from ZEO.net.tls_errors import TlsCut, TlsError, explain, explain_end
from ZEO.net.tls_names import SHORT_NAMES, names_in
from ZEO.net.tls_records import Records
from ZEO.wire.quoting import cleaned

__all__ = [
    'DYNAMIC',
    'SIGNED',
    'SSLContext',
    'TlsCodec',
    'asks_for_certificates',
    'client_context',
    'server_context',
    'verifies_certificates',
]

#: The class of the contexts, for modules that may not import the ssl module.
SSLContext = ssl.SSLContext

#: Bytes of plaintext that one TLS record holds at most.
_RECORD = 16 * 1024

#: Records without plaintext that are accepted on one connection: tickets, a goodbye, and changes of
#: keys; and one more for each so many with plaintext, since a connection of years needs new keys
#: now and then: after 2 ** 24 records, or after hundreds of gigabytes.
_MOST_OF_TLS, _PLAIN_FOR_ONE = 100, 10_000

#: Bytes that are decrypted at a time where many records come: of the smallest there are 100 in
#: them, which take 5 ms.
_PIECE = 2700

#: Records in what comes at once, from which on it is done so.
_MANY = 100


class TlsCodec:
    """One end of a TLS connection, without a socket.

    The handshake runs inside :meth:`receive`; data that is sent before it is done waits for it. Not
    thread-safe: the caller lets one thread in at a time.

    :param context: from :func:`server_context`, :func:`client_context`, or an application's own.
    :param server_side: which end this is.
    :param server_hostname: on the client, the name that the server's certificate must be for,
        where the context checks names.
    :raises ConfigurationError: when the context checks names and there is none.
    """

    def __init__(
        self, context: ssl.SSLContext, server_side: bool, server_hostname: str | None = None
    ) -> None:
        if context.check_hostname and not server_side and not server_hostname:
            raise ConfigurationError(
                'there is no host name to check the certificate of the server for: '
                'configure server-hostname, or set check-hostname off'
            )
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self._tls = context.wrap_bio(
            self._incoming, self._outgoing, server_side=server_side, server_hostname=server_hostname
        )
        self._server_side = server_side
        self._hostname = server_hostname
        self._waiting: list[bytes] = []  # plaintext, until the handshake is done
        self._has_read = False  # whether plaintext has been received
        self._came = Records()
        self._begun = self._plain = 0  # records since the handshake, and those with plaintext
        self.handshaken = False  # whether the handshake is done
        self.closed = False  # whether the other side has ended the stream
        if not server_side:
            self.do_handshake()  # makes the first message, for take()

    def do_handshake(self) -> bool:
        """Continue the handshake as far as the received bytes allow; return whether it is done.

        :raises TlsCut: when the other side ends the stream before.
        :raises TlsError: when it fails; :meth:`take` may hold an alert for the other side.
        """
        if not self.handshaken:
            try:
                self._tls.do_handshake()
            except ssl.SSLWantReadError:
                return False
            except (ssl.SSLZeroReturnError, ssl.SSLEOFError):
                raise self._cut() from None
            except ssl.SSLError as error:
                raise self._failed(error) from None
            self._check_session()
            self.handshaken = True
            waiting, self._waiting = self._waiting, []
            for data in waiting:
                self.send(data)
        return True

    def _check_session(self) -> None:
        """Make sure that a client whose certificate counts has shown it on this connection.

        :raises TlsError: when it continues an earlier session instead: nothing would notice that
            its certificate has expired or was revoked meanwhile.
        """
        needs_certificate = self._tls.context.verify_mode != ssl.CERT_NONE
        if self._server_side and needs_certificate and self._tls.session_reused:
            raise TlsError(
                'the client continues an earlier TLS session instead of showing its certificate'
            )

    def receive(self, data: bytes | memoryview) -> bytes:
        """Take ciphertext; return the plaintext that is complete now, often none.

        :param data: what came from the stream; empty at its end.
        :raises TlsError: when the handshake or the stream is broken; :meth:`take` may hold an
            alert for the other side.
        """
        begun = self._came.begin(data)
        if begun > _MANY and len(data) > _PIECE:
            self._came.again()
            starts = range(0, len(data), _PIECE)
            return b''.join([self.receive(data[start : start + _PIECE]) for start in starts])
        if data:
            self._incoming.write(data)
        else:
            self._end()
        if self.handshaken:
            self._begun += begun
            plain = self._read_all()
            if self._begun - self._plain > _MOST_OF_TLS + self._plain // _PLAIN_FOR_ONE:
                raise TlsError('the other side sends messages of TLS itself without end')
        elif self.do_handshake():
            plain = self._read_all()
            self._begun = self._plain = 0
        else:
            return b''
        if plain:
            self._has_read = True
        return plain

    def _end(self) -> None:
        """Note that the stream has ended.

        :raises TlsCut: when that came too early.
        """
        # In TLS 1.3 the handshake is done before a server has said whether it accepts the client's
        # certificate, and some servers never say so.
        if not self.handshaken or not (self._server_side or self._has_read):
            raise self._cut()
        self._incoming.write_eof()

    def _read_all(self) -> bytes:
        read, incoming = self._tls.read, self._incoming
        pieces: list[bytes] = []
        try:
            while piece := read(_RECORD):
                if not incoming.pending:  # to find out by SSLWantReadError costs as much as a read
                    self._plain += len(pieces) + 1
                    return b''.join((*pieces, piece)) if pieces else piece
                pieces.append(piece)
            self.closed = True
        except ssl.SSLWantReadError:
            pass
        except (ssl.SSLZeroReturnError, ssl.SSLEOFError):
            self.closed = True
        except ssl.SSLError as error:
            raise self._failed(error) from None
        self._plain += len(pieces)
        return b''.join(pieces)

    def encrypt(self, data: bytes | memoryview) -> bytes:
        """Take plaintext, if there is any; return all ciphertext that waits."""
        if data:
            self.send(data)
        return self.take()

    def send(self, data: bytes | memoryview) -> None:
        """Take plaintext; :meth:`take` has its ciphertext once the handshake is done."""
        if not self.handshaken:
            self._waiting.append(bytes(data))
        elif data:
            self._tls.write(data)

    @property
    def has_output(self) -> bool:
        """Whether :meth:`take` would return anything."""
        return self._outgoing.pending > 0

    def take(self) -> bytes:
        """Return the ciphertext that waits to be written to the stream."""
        return self._outgoing.read()

    def subject(self) -> str:
        """Return the subject of the other side's certificate, ``CN=…``; empty if it sent none."""
        found: Any = (self._tls.getpeercert() or {}).get('subject', ()) if self.handshaken else ()
        names = [f'{SHORT_NAMES.get(key, key)}={value}' for part in found for key, value in part]
        return cleaned(', '.join(names))

    def binding(self) -> bytes:
        """Return what only the two ends of this connection can know: TLS's Finished message, which
        covers the whole handshake, so also the server's certificate.

        :raises TlsError: when the connection continues an earlier one, whose handshake alone has
            shown the certificate.
        """
        finished = self._tls.get_channel_binding('tls-unique') if self.handshaken else None
        if finished is None or self._tls.session_reused:
            raise TlsError(
                'a password is accepted only on a TLS connection with a handshake of its own'
            )
        return f'{self._tls.version()} '.encode() + finished

    def names(self) -> tuple[str, ...]:
        """Return the names in the other side's certificate, the whole subject first; none where it
        sent no certificate, or its certificate was not verified.

        :raises TlsError: when they cannot be read.
        """
        try:
            found = self._tls.getpeercert() if self.handshaken else None
        except (ssl.SSLError, ValueError) as error:  # a text that is not one
            raise TlsError(
                f'the names in the certificate of the other side cannot be read: {error}'
            ) from None
        return names_in(found or {})

    def close(self) -> None:
        """End what is sent: :meth:`take` returns the alert that informs the other side."""
        if self.handshaken:
            try:
                self._tls.unwrap()
            except ssl.SSLError:  # the other side has not done so yet, and need not
                pass

    def _failed(self, error: ssl.SSLError) -> TlsError:
        return TlsError(explain(error, self._server_side, self._hostname))

    def _cut(self) -> TlsCut:
        return TlsCut(explain_end(self._server_side, self.handshaken))
