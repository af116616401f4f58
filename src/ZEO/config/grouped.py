"""The ``<grouped-filestorage>`` section.

Enters: the keys of a ``<filestorage>``. Leaves: an open
:class:`~ZEO.serving.grouped.GroupedFileStorage`. Fails: as FileStorage does; ImportError and
AttributeError for a packer that does not exist.
"""

from __future__ import annotations

from importlib import import_module
from operator import attrgetter
from typing import TYPE_CHECKING, Any

import ZODB.config

if TYPE_CHECKING:
    from ZEO.serving.grouped import GroupedFileStorage

#: Keys whose value goes to the constructor's argument of the same name.
_PLAIN = ('blob_dir', 'create', 'read_only', 'quota', 'pack_gc', 'pack_keep_old')


class GroupedFileStorageSection(ZODB.config.FileStorage):
    """Opens the storage of one section, for ZODB.config."""

    def open(self) -> GroupedFileStorage:
        """Return the open storage."""
        # here, because programs that are clients only read sections as well
        from ZEO.serving.grouped import GroupedFileStorage

        config = self.config
        options: dict[str, Any] = {name: getattr(config, name) for name in _PLAIN}
        if config.packer:
            module, name = config.packer.rsplit(':' if ':' in config.packer else '.', 1)
            options['packer'] = attrgetter(name)(import_module(module))
        return GroupedFileStorage(config.path, **options)
