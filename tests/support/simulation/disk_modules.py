"""The simulated disk in the place of the real one, in the modules that use files.

Enters: a function that says on which disk the running code works. Leaves: ``open``, ``os`` and the
rest replaced in these modules while the context lasts. Fails: OSError of a simulated disk.

A name that is not simulated is the real module's: numbers, text, the environment. The test
``tests/simulation/test_disk_modules.py`` runs a server and a client and sees that no real file is
opened meanwhile.
"""

from __future__ import annotations

import builtins
import importlib
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from support.simulation.disk import Disk
from support.simulation.disk_faults import PowerCut
from support.simulation.disk_files import RawFile, flags_of
from support.simulation.disk_os import modules_on

try:
    import fcntl
except ImportError:  # pragma: no cover - Windows
    fcntl = None  # type: ignore[assignment]

#: The modules that use files.
MODULES = (
    'ZEO.cache.cache_file',
    'ZEO.cache.inspection',
    'ZEO.cache.opening',
    'ZEO.cache.ownership',
    'ZEO.cache.reading',
    'ZEO.cache.resizing',
    'ZEO.cache.trace',
    'ZEO.config.storages',
    'ZEO.files',
    'ZEO.incoming',
    'ZEO.leftovers',
    'ZEO.link.blob_boots',
    'ZEO.link.blob_cache',
    'ZEO.link.blob_store',
    'ZEO.link.cached_blobs',
    'ZEO.link.caches',
    'ZEO.link.directories',
    'ZEO.replica.choosing',
    'ZEO.replica.following',
    'ZEO.replica.group',
    'ZEO.replica.lost',
    'ZEO.replica.opening',
    'ZEO.replica.ours',
    'ZEO.replica.saved',
    'ZEO.replica.state_file',
    'ZEO.replica.storage',
    'ZEO.replica.unfinished',
    'ZEO.serving.blob_syncs',
    'ZEO.serving.blobs',
    'ZEO.serving.commit.log',
    'ZEO.serving.commit.replay',
    'ZEO.serving.crash_safety',
    'ZEO.serving.descriptors',
    'ZEO.serving.few_calls',
    'ZEO.serving.filestorage',
    'ZEO.serving.grouped',
    'ZEO.serving.status',
    'ZEO.serving.torn_commit',
    'ZODB.BaseStorage',
    'ZODB.DemoStorage',
    'ZODB.FileStorage.FileStorage',
    'ZODB.FileStorage.fspack',
    'ZODB.blob',
    'ZODB.fsIndex',
    'ZODB.utils',
    'zc.lockfile',
)

Current = Callable[[], Disk | None]

_REAL = {'os': os, 'tempfile': tempfile, 'shutil': shutil, 'fcntl': fcntl, 'path': os.path}
#: Functions that modules import by name, and where they come from.
_FUNCTIONS = {
    'fsync': 'os',
    'pread': 'os',
    'pwrite': 'os',
    'mkstemp': 'tempfile',
    'remove_committed': 'os.remove',
    'remove_committed_dir': 'shutil.rmtree',
    'link_or_copy': 'os.link',
}


class Gone(Disk):
    """The disk of a process that is gone: whatever it still does has no effect."""

    def __init__(self) -> None:
        super().__init__()
        self._is_gone = True

    def call(self, kind: str) -> None:
        if hasattr(self, '_is_gone'):
            raise PowerCut

    def description(self, fd: int) -> Any:
        raise PowerCut


@contextmanager
def installed(current: Current) -> Iterator[None]:
    """Replace files in the modules that use them.

    :param current: returns the disk of the running code; None: the real one.
    """
    undo: list[tuple[dict[str, Any], str, Any]] = []
    try:
        for name, value in _replacements(current):
            module, _, attribute = name.rpartition(':')
            names = vars(sys.modules[module])
            undo.append((names, attribute, names.get(attribute, _MISSING)))
            names[attribute] = value
        yield
    finally:
        for names, attribute, before in reversed(undo):
            if before is _MISSING:
                del names[attribute]
            else:
                names[attribute] = before


_MISSING = object()


def _replacements(current: Current) -> Iterator[tuple[str, Any]]:
    """Yield what to replace, as ``module:name``, and by what."""
    stand_ins = {name: _StandIn(real, name, current) for name, real in _REAL.items()}
    stand_ins['os'].path = stand_ins['path']
    opened = _open(current)
    for module in MODULES:
        names = vars(importlib.import_module(module))
        for name, stand_in in stand_ins.items():
            if names.get(name) is _REAL[name] and _REAL[name] is not None:
                yield f'{module}:{name}', stand_in
        for name, source in _FUNCTIONS.items():
            if name in names:
                owner, _, attribute = source.partition('.')
                yield f'{module}:{name}', getattr(stand_ins[owner], attribute or name)
        yield f'{module}:open', opened
    yield 'ZEO.leftovers:_scope', importlib.import_module('ZEO.leftovers')._scope.__wrapped__
    blob_file = _blob_file(current)
    for module in ('ZODB.blob', 'ZEO.link.blob_store'):
        yield f'{module}:BlobFile', blob_file


def _on(disk: Disk) -> Any:
    """Return what stands for Python's modules on a disk."""
    if disk.modules is None:
        disk.modules = modules_on(disk)
    return disk.modules


class _StandIn:
    """A module whose functions ask which disk they work on."""

    def __init__(self, real: Any, name: str, current: Current) -> None:
        self._real, self._name, self._current = real, name, current

    def __getattr__(self, attribute: str) -> Any:
        found = getattr(self._real, attribute)
        if callable(found) and not isinstance(found, type):
            found = self._asking(attribute, found)
        setattr(self, attribute, found)
        return found

    def _asking(self, attribute: str, real: Any) -> Any:
        name, current = self._name, self._current

        def asking(*args: Any, **options: Any) -> Any:
            disk = current()
            if disk is None:
                return real(*args, **options)
            return getattr(getattr(_on(disk), name), attribute, real)(*args, **options)

        return asking


def _open(current: Current) -> Any:
    def asking(*args: Any, **options: Any) -> Any:
        disk = current()
        if disk is None:
            return builtins.open(*args, **options)
        return _on(disk).open(*args, **options)

    return asking


def _blob_file(current: Current) -> Any:
    from ZODB.blob import BlobFile

    class SimulatedBlobFile(RawFile):
        """What ZODB.blob.BlobFile is on a simulated disk."""

        def __init__(self, disk: Disk, name: str, mode: str, blob: Any) -> None:
            mode += 'b'
            super().__init__(disk, disk.open_descriptor(name, flags_of(mode)), name, mode)
            self.blob = blob

        def close(self) -> None:
            if not self.closed:
                self.blob.closed(self)
                super().close()

        def __reduce__(self) -> Any:
            raise TypeError('Pickling a BlobFile is not allowed')

    def asking(name: str, mode: str, blob: Any) -> Any:
        disk = current()
        return (
            BlobFile(name, mode, blob)
            if disk is None
            else SimulatedBlobFile(disk, name, mode, blob)
        )

    return asking
