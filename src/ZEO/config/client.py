"""The ``<clientstorage>`` section.

Enters: its keys. Leaves: an open :class:`~ZEO.ClientStorage.ClientStorage`. Fails: as that does,
and with :class:`ConfigurationError` for wrong TLS files.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ZODB.config import BaseConfig

if TYPE_CHECKING:
    from ZEO.ClientStorage import ClientStorage

#: Keys whose value goes to the constructor's argument of the same name.
_PLAIN = (
    'storage',
    'name',
    'cache_size',
    'client',
    'var',
    'drop_cache_rather_verify',
    'drop_cache_if_older',
    'wait',
    'wait_timeout',
    'read_only',
    'read_only_fallback',
    'server_sync',
    'blob_dir',
    'shared_blob_dir',
)

#: The same, but given only when they are set, so that the constructor's defaults hold.
_OPTIONAL = (
    'blob_cache_size',
    'blob_cache_size_check',
    'client_label',
    'min_disconnect_poll',
    'max_disconnect_poll',
    'timeout',
    'prefer',
    'prefer_wait',
    'read_ahead',
    'username',
    'password',
    'realm',
)


class ClientStorageSection(BaseConfig):
    """Opens the storage of one section, for ZODB.config."""

    def open(self, database_name: str = 'unnamed', databases: Any = None) -> ClientStorage:
        """Return the open storage.

        :param database_name: passed by ZODB.config, and ignored like `databases`.
        :raises ZEO.Exceptions.ClientStorageError: as the constructor of the storage does.
        """
        from ZEO.ClientStorage import ClientStorage

        return ClientStorage(self.config.server, **self.options())

    def options(self) -> dict[str, Any]:
        """Return the keyword arguments that the section stands for.

        :raises ZEO.Exceptions.ConfigurationError: when TLS files are wrong.
        """
        config = self.config
        options = {name: getattr(config, name) for name in _PLAIN}
        options['cache'] = config.cache_path
        for name in _OPTIONAL:
            value = getattr(config, name)
            if value is not None:
                options[name] = value
        if config.ssl is not None:
            options['ssl'] = config.ssl.client_context()
            options['ssl_server_hostname'] = config.ssl.server_hostname
        return options
