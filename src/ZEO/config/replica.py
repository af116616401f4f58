"""The ``<replica>`` section.

Enters: its keys. Leaves: an open :class:`~ZEO.replica.storage.Replica`. Fails: as that does, and
with :class:`ConfigurationError` for wrong TLS files.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from ZODB.config import BaseConfig

if TYPE_CHECKING:
    from ZEO.replica.storage import Replica

#: Keys whose value goes to the constructor's argument of the same name.
_PLAIN = ('storage', 'blob_dir', 'discard_lost', 'quota', 'pack_gc', 'pack_keep_old')

#: The same, but given only when they are set, so that the constructor's defaults hold.
_OPTIONAL = (
    'label',
    'username',
    'password',
    'wait_timeout',
    'timeout',
    'min_disconnect_poll',
    'max_disconnect_poll',
)


class ReplicaSection(BaseConfig):
    """Opens the replica of one section, for ZODB.config."""

    def open(self, database_name: str = 'unnamed', databases: Any = None) -> Replica:
        """Return the open storage.

        :param database_name: passed by ZODB.config, and ignored like `databases`.
        :raises ZEO.Exceptions.ConfigurationError: as the constructor of the storage does.
        """
        from ZEO.replica.storage import Replica

        return Replica(self.config.server, self.config.path, **self._options())

    def _options(self) -> dict[str, Any]:
        config = self.config
        options = {name: getattr(config, name) for name in _PLAIN}
        for name in _OPTIONAL:
            value = getattr(config, name)
            if value is not None:
                options[name] = value
        if config.packer is not None:
            module, name = config.packer.rsplit('.', 1)
            options['packer'] = getattr(import_module(module), name)
        if config.ssl is not None:
            options['ssl'] = config.ssl.client_context()
            options['ssl_server_hostname'] = config.ssl.server_hostname
        return options
