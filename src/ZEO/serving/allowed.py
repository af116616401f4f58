"""The classes that a server loads to resolve conflicts, as exact pairs of module and name.

Enters: the names of a record's globals, and what the operator wrote as ``conflict-module``. Leaves:
classes. Fails: :class:`NotAllowed` for all other globals, functions included.
"""

from __future__ import annotations

import importlib
import logging
from collections.abc import Iterable, Iterator
from typing import Any

from ZEO.wire.quoting import explained, quoted

log = logging.getLogger('ZEO.StorageServer')


class NotAllowed(Exception):
    """A record names a global that the server does not load."""


#: Modules that are remembered as broken.
MOST_BROKEN = 100

#: Keys and values of the BTrees: objects, integers of 4 and 8 bytes, with and without sign, and
#: floats.
_BTREES = 'OO OI OL OU OQ IO II IF IU LO LL LF LQ UO UU UF UI QO QQ QF QL fs'


def _of_zodb() -> Iterator[tuple[str, str]]:
    for family in _BTREES.split():
        for kind in ('BTree', 'Bucket', 'Set', 'TreeSet'):
            for ending in ('', 'Py'):
                yield f'BTrees.{family}BTree', f'{family}{kind}{ending}'
    yield 'BTrees.Length', 'Length'
    # These have no resolution of their own, but are what the others refer to.
    yield 'persistent.mapping', 'PersistentMapping'
    yield 'persistent.list', 'PersistentList'
    yield 'persistent', 'Persistent'
    yield 'ZODB.blob', 'Blob'


#: Classes of data structures that are part of ZODB. None of them stands as an object within
#: another's record.
OF_ZODB = frozenset(_of_zodb())


class Allowed:
    """Which classes may be loaded: :data:`OF_ZODB`, and what the operator names.

    :param names: modules, packages with all their modules, or classes (``module:Class`` or
        ``module.Class``).
    """

    def __init__(self, names: Iterable[str] = ()) -> None:
        self._classes: set[tuple[str, str]] = set()  # named by the operator
        self._modules: list[str] = []  # modules and packages named by the operator
        for name in names:
            module, colon, kind = name.partition(':')
            if colon:
                self._classes.add((module, kind))
            else:
                self._modules.append(name)
                package, dot, last = name.rpartition('.')
                if dot:
                    self._classes.add((package, last))
        self._makeable: set[type] = set()  # classes of the operator's that were found
        self._found: dict[tuple[str, str], type] = {}
        # modules that cannot be imported, up to MOST_BROKEN
        self._broken: set[str] = set()

    def find(self, module: str, name: str) -> type:
        """Return a class.

        :raises NotAllowed: when it is not one that may be loaded.
        """
        found = self._found.get((module, name))
        if found is None:
            found = self._found[module, name] = self._load(module, name)
        return found

    def makes(self, kind: type) -> bool:
        """Return whether objects of a class may be made in a record: the operator allows it."""
        return kind in self._makeable

    def _load(self, module: str, name: str) -> type:
        if type(module) is not str or type(name) is not str:
            raise NotAllowed('a global whose name is not text')
        is_named = (module, name) in OF_ZODB or (module, name) in self._classes
        if not is_named and not self._is_within(module):
            raise NotAllowed(
                f'{quoted(module)}, {quoted(name)} is not a class that this server loads'
            )
        kind = getattr(self._imported(module), name, None)
        if not isinstance(kind, type):
            raise NotAllowed(f'{quoted(name)} of {module} is not a class')
        if not is_named and kind.__module__ != module:
            raise NotAllowed(f'{quoted(name)} of {module} is defined in another module')
        if (module, name) not in OF_ZODB:
            self._makeable.add(kind)
        return kind

    def _is_within(self, module: str) -> bool:
        return any(
            module == allowed or module.startswith(allowed + '.') for allowed in self._modules
        )

    def _imported(self, module: str) -> Any:
        if module in self._broken or not all(part.isidentifier() for part in module.split('.')):
            raise NotAllowed(f'{quoted(module)} is not a module that can be imported')
        try:
            return importlib.import_module(module)
        # Whatever a module of the operator's choice fails with, its classes are not available here.
        except Exception as error:
            if len(self._broken) < MOST_BROKEN:  # clients choose the names
                self._broken.add(module)
                log.warning(
                    'conflicts in classes of %s go to the clients: it cannot be imported here: %s',
                    quoted(module),
                    explained(error),
                )
            raise NotAllowed(f'{quoted(module)} cannot be imported') from error
