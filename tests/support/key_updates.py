"""A TLS client that can do what Python's cannot: change its keys, again and again.

Enters: the codec of a server. Leaves: ciphertext. Fails: OSError where the library of OpenSSL
cannot be found, so that a test can be skipped.
"""

import ctypes
import ctypes.util
from typing import Any

#: Bytes that one call reads.
_READ = 1 << 20


def _library() -> Any:
    name = ctypes.util.find_library('ssl')
    if name is None:
        raise OSError('there is no library of OpenSSL')
    library = ctypes.CDLL(name)
    pointer, number = ctypes.c_void_p, ctypes.c_int
    for function, result, *kinds in (
        ('TLS_client_method', pointer),
        ('SSL_CTX_new', pointer, pointer),
        ('SSL_new', pointer, pointer),
        ('SSL_free', None, pointer),
        ('SSL_CTX_free', None, pointer),
        ('BIO_s_mem', pointer),
        ('BIO_new', pointer, pointer),
        ('BIO_read', number, pointer, pointer, number),
        ('BIO_write', number, pointer, ctypes.c_char_p, number),
        ('SSL_set_bio', None, pointer, pointer, pointer),
        ('SSL_connect', number, pointer),
        ('SSL_write', number, pointer, ctypes.c_char_p, number),
        ('SSL_key_update', number, pointer, number),
        ('SSL_do_handshake', number, pointer),
    ):
        try:
            found = getattr(library, function)
        except AttributeError:
            raise OSError(f'the library of OpenSSL has no {function}') from None
        found.restype, found.argtypes = result, kinds
    return library


class KeyChanger:
    """The client's end of a connection; it checks no certificate."""

    def __init__(self) -> None:
        self._library = library = _library()
        self._context = library.SSL_CTX_new(library.TLS_client_method())
        self._tls = library.SSL_new(self._context)
        self._incoming, self._outgoing = (library.BIO_new(library.BIO_s_mem()) for _ in range(2))
        library.SSL_set_bio(self._tls, self._incoming, self._outgoing)
        self._buffer = ctypes.create_string_buffer(_READ)

    def take(self) -> bytes:
        """Return the ciphertext that waits."""
        pieces = []
        while (count := self._library.BIO_read(self._outgoing, self._buffer, _READ)) > 0:
            pieces.append(self._buffer.raw[:count])
        return b''.join(pieces)

    def shake(self, server: Any) -> None:
        """Make the handshake with a codec."""
        while self._library.SSL_connect(self._tls) != 1:
            server.receive(self.take())
            data = server.take()
            self._library.BIO_write(self._incoming, data, len(data))
        server.receive(self.take())

    def write(self, data: bytes) -> None:
        """Send plaintext."""
        assert self._library.SSL_write(self._tls, data, len(data)) == len(data)

    def change_keys(self) -> None:
        """Change the keys, and ask the other side to do so."""
        assert self._library.SSL_key_update(self._tls, 1) == 1
        assert self._library.SSL_do_handshake(self._tls) == 1

    def close(self) -> None:
        """Free everything."""
        self._library.SSL_free(self._tls)
        self._library.SSL_CTX_free(self._context)
