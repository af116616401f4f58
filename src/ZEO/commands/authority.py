"""The directory of an authority: its key, what it has signed, and what it has revoked.

Enters: the path of a directory, names. Leaves: files there: ``ca.pem``, ``crl.pem``, ``NAME.pem``,
keys that only their owner can read, and a register in the form of ``openssl ca``. Fails:
:class:`ConfigurationError`, and nothing is lost; a file is replaced only when that is asked for.
"""

from __future__ import annotations

import fcntl
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timezone
from typing import NamedTuple

from ZEO import files
from ZEO.commands import certificates, half_made
from ZEO.commands.certificates import AUTHORITY, CLIENT, SERVER, Facts, Issuer, Pair
from ZEO.Exceptions import ConfigurationError

#: The authority's own name in its directory, and the names that other things have there.
CA = 'ca'
CRL = 'crl.pem'
_REGISTER = 'index.txt'
_RESERVED = (CA, 'crl', 'index')

#: Days that an authority lasts.
AUTHORITY_DAYS = 3650

#: The states in the register.
_VALID, _REVOKED = 'V', 'R'


class Entry(NamedTuple):
    """A line of the register: a certificate that the authority has signed."""

    state: str
    until: str
    revoked: str  # since when; empty for a valid one
    serial: str  # hexadecimal digits
    file: str
    subject: str

    @property
    def revocation(self) -> tuple[int, datetime]:
        """The serial number, and since when it is revoked."""
        return int(self.serial, 16), _time(self.revoked)


def _text(time: datetime) -> str:
    """Return a time as the register has it: with two digits of a year before 2050."""
    return time.strftime('%y%m%d%H%M%SZ' if time.year < 2050 else '%Y%m%d%H%M%SZ')


def _time(text: str) -> datetime:
    digits = text.partition(',')[0]  # a reason may follow
    form = '%y%m%d%H%M%SZ' if len(digits) == 13 else '%Y%m%d%H%M%SZ'
    return datetime.strptime(digits, form).replace(tzinfo=timezone.utc)


def stem(name: str) -> str:
    """Return the name of the files for a server or client, without ``.pem`` and ``.key``."""
    return name.replace('*', '_wildcard').replace(':', '-')


def check_name(name: str) -> None:
    """Make sure that a server or client can have files of this name.

    :raises ConfigurationError: when the authority has such files itself.
    """
    if name in _RESERVED:
        raise ConfigurationError(
            f'{name!r} cannot be the name of a server or client: the authority has files of this '
            'name'
        )


class Authority:
    """An authority in its directory; :meth:`opened` makes one.

    :param now: when certificates are made.
    """

    def __init__(self, directory: str, now: datetime) -> None:
        self.directory = os.path.abspath(directory)
        self._now = now
        self.made: list[str] = []  # the files that were written

    @classmethod
    @contextmanager
    def opened(cls, directory: str, now: datetime, create: bool) -> Iterator[Authority]:
        """Have an authority's directory for this process alone.

        :param create: make the directory if it is not there.
        :raises ConfigurationError: when it cannot be used, or another process uses it.
        """
        try:
            if create:
                os.makedirs(directory, 0o700, exist_ok=True)
            lock = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except FileNotFoundError:
            raise ConfigurationError(
                f'there is no directory {directory}: --server NAME makes it, with an authority and '
                'the first certificate'
            ) from None
        except OSError as error:
            raise ConfigurationError(f'{directory}: {error.strerror}') from None
        try:
            _check(directory, lock)
            half_made.finish(directory)
            yield cls(directory, now)
        except OSError as error:
            raise ConfigurationError(f'{error.filename or directory}: {error.strerror}') from None
        finally:
            os.close(lock)

    # What is there.

    def path(self, name: str) -> str:
        """Return the path of a file of the directory."""
        return os.path.join(self.directory, name)

    def holds(self, name: str) -> bool:
        """Return whether there is a certificate or a key with this name."""
        return any(os.path.lexists(self.path(f'{name}.{end}')) for end in ('pem', 'key'))

    def facts(self, name: str) -> Facts:
        """Return what the certificate with this name says.

        :raises ConfigurationError: when there is none.
        """
        pem = self._read(f'{name}.pem')
        try:
            return certificates.facts(pem)
        except ValueError as error:
            raise ConfigurationError(
                f'{self.path(name)}.pem is not a certificate in PEM format: {error}'
            ) from None

    def all(self) -> dict[str, Facts]:
        """Return what there is: the authority, servers and clients, by the names of their files."""
        names = sorted(
            name.removesuffix('.pem')
            for name in os.listdir(self.directory)
            if name.endswith('.pem') and name != CRL
        )
        found = {name: self.facts(name) for name in names}
        order = [AUTHORITY, SERVER, CLIENT]
        return dict(sorted(found.items(), key=lambda item: order.index(item[1].kind)))

    def in_use(self) -> dict[str, Facts]:
        """Return what there is and has not been revoked."""
        return {name: one for name, one in self.all().items() if not self.is_revoked(one)}

    def is_revoked(self, facts: Facts) -> bool:
        """Return whether the authority has revoked a certificate."""
        return any(
            entry.state == _REVOKED and int(entry.serial, 16) == facts.serial
            for entry in self._register()
        )

    def listed(self) -> set[int]:
        """Return the serial numbers in ``crl.pem``, which servers read; none without that file.

        :raises ConfigurationError: when it cannot be read.
        """
        if not os.path.exists(self.path(CRL)):
            return set()
        try:
            return certificates.listed(self._read(CRL))
        except ValueError as error:
            raise ConfigurationError(
                f'{self.path(CRL)} is not a list of revoked certificates: {error}'
            ) from None

    def _read(self, name: str) -> bytes:
        try:
            with open(self.path(name), 'rb') as file:
                return file.read(2**20)
        except FileNotFoundError:
            raise ConfigurationError(f'there is no {name} in {self.directory}') from None

    def _register(self) -> list[Entry]:
        try:
            lines = self._read(_REGISTER).decode('utf-8').splitlines()
        except ConfigurationError:
            return []
        try:
            found = [Entry(*line.split('\t')) for line in lines if line]
            for entry in found:
                _ = entry.revocation if entry.state == _REVOKED else int(entry.serial, 16)
        except (TypeError, ValueError):
            raise ConfigurationError(
                f'{self.path(_REGISTER)} is damaged: it is not a register as openssl ca has it'
            ) from None
        return found

    # Making certificates.

    def may_make(self, name: str, again: bool) -> None:
        """Make sure that a certificate of this name would replace none that is of use.

        :param again: that it may replace one.
        :raises ConfigurationError: when it would.
        """
        if self.holds(name) and not again and not self._is_done_with(name):
            raise ConfigurationError(
                f'{self.path(name)}.pem or .key exists: --renew {name} makes a new one'
            )

    def _is_done_with(self, name: str) -> bool:
        return os.path.exists(self.path(f'{name}.pem')) and self.is_revoked(self.facts(name))

    def begin(self, again: bool = False) -> None:
        """Make the authority unless it is there.

        :param again: make a new certificate for it, with the same key, also if it is.
        :raises ConfigurationError: when only its certificate or only its key is there.
        """
        if self.holds(CA):
            before = self._pair(CA)
            if again:
                self._write(CA, certificates.new_authority(AUTHORITY_DAYS, self._now, before))
        else:
            self._write(CA, certificates.new_authority(AUTHORITY_DAYS, self._now))
        if again or not os.path.exists(self.path(CRL)) or self._revoked_serials() - self.listed():
            self._write_revocations()

    def add_server(self, names: tuple[str, ...], days: int) -> str:
        """Make a certificate for a server; return the name of its files."""
        return self._add(stem(names[0]), self._issuer().server(names, days, self._now))

    def add_client(self, name: str, days: int) -> str:
        """Make a certificate for a client; return the name of its files."""
        return self._add(name, self._issuer().client(name, days, self._now))

    def _add(self, name: str, pair: Pair) -> str:
        found = certificates.facts(pair.certificate)
        serial = f'{found.serial:X}'
        entry = Entry(
            _VALID,
            _text(found.until),
            '',
            serial.zfill(len(serial) + len(serial) % 2),
            f'{name}.pem',
            f'/CN={found.name}',
        )
        self._write_register([*self._register(), entry])  # first: what is not in it stays valid
        self._write(name, pair)
        return name

    def revoke(self, name: str) -> int:
        """Revoke all certificates of this name; return how many were valid until now.

        :raises ConfigurationError: when the authority has signed none.
        """
        register = self._register()
        if not any(entry.file == f'{name}.pem' for entry in register):
            raise ConfigurationError(f'{self.directory} has no certificate for {name!r} to revoke')
        changed = [self._revoked(entry, f'{name}.pem') for entry in register]
        self._write_register(changed)
        self._write_revocations()
        return sum(before != after for before, after in zip(register, changed, strict=True))

    def _revoked(self, entry: Entry, file: str) -> Entry:
        if entry.file != file or entry.state == _REVOKED:
            return entry
        return entry._replace(state=_REVOKED, revoked=_text(self._now))

    def _revoked_serials(self) -> set[int]:
        return {entry.revocation[0] for entry in self._register() if entry.state == _REVOKED}

    def _issuer(self) -> Issuer:
        issuer = Issuer(self._pair(CA))
        if issuer.until <= self._now:
            raise ConfigurationError(
                f'the authority in {self.directory} has expired: --renew {CA} makes it valid again'
            )
        return issuer

    def _pair(self, name: str) -> Pair:
        return Pair(self._read(f'{name}.pem'), self._read(f'{name}.key'))

    # Writing.

    def _write(self, name: str, pair: Pair) -> None:
        """Write a certificate and its key; a kill leaves what :func:`half_made.finish` needs."""
        both = f'{name}.key', f'{name}.pem'
        self._prepare(both[0], pair.key, 0o600)
        self._prepare(both[1], pair.certificate, 0o644)
        for one in both:  # the key first: then its certificate is known for its own
            self._give_name(one)
        self.made += both

    def _write_revocations(self) -> None:
        revoked = [entry.revocation for entry in self._register() if entry.state == _REVOKED]
        self._put(CRL, self._issuer().revocations(revoked, self._now), 0o644)

    def _write_register(self, entries: list[Entry]) -> None:
        text = ''.join('\t'.join(entry) + '\n' for entry in entries)
        self._put(_REGISTER, text.encode(), 0o600, is_told=False)

    def _put(self, name: str, data: bytes, mode: int, is_told: bool = True) -> None:
        """Write a file whole, so that it is the old one or the new one at any time."""
        self._prepare(name, data, mode)
        self._give_name(name)
        if is_told:
            self.made.append(name)

    def _prepare(self, name: str, data: bytes, mode: int) -> None:
        fd = files.open_regular(
            self.path(half_made.new_name(name)), os.O_WRONLY | os.O_CREAT | os.O_TRUNC
        )
        with open(fd, 'wb') as file:
            os.fchmod(fd, mode)
            file.write(data)
            file.flush()
            os.fsync(fd)

    def _give_name(self, name: str) -> None:
        os.replace(self.path(half_made.new_name(name)), self.path(name))


def _check(directory: str, lock: int) -> None:
    if os.fstat(lock).st_mode & stat.S_IWOTH:
        raise ConfigurationError(
            f'{directory}: every user of this machine can write there, and could replace keys: '
            'take that right away (chmod o-w), or give another directory'
        )
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise ConfigurationError(f'{directory}: another process makes certificates there') from None
