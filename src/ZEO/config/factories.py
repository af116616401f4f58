"""What opens the storages of a configuration.

Enters: storage sections of ZConfig, or objects like them. Leaves: open storages, whose files were
mended before, as after a crash. Fails: :class:`ConfigurationError` of one line, with the place of
the section.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import ZODB.config

from ZEO.config.loading import at, place_of
from ZEO.config.opening import one_line, open_and_log, open_beside_others, start_error
from ZEO.config.storages import open_file
from ZEO.Exceptions import ConfigurationError
from ZEO.serving.crash_safety import mend


class StorageFactory:
    """Opens one storage of a configuration.

    :param name: the name that clients ask for.
    :param section: has ``open()``, and perhaps ``config`` with the keys.
    """

    def __init__(self, name: str, section: Any) -> None:
        self.name = name
        self.config = getattr(section, 'config', section)
        self.section = section

    @property
    def kind(self) -> str:
        """What its section is called, in words of code, such as ``FileStorage``."""
        return type(self.section).__name__

    def open(self) -> Any:
        """Return the storage.

        :raises ConfigurationError: when it cannot be opened, whatever its class raises.
        """
        return open_and_log(self.name, self.kind, self._open)

    def _open(self) -> Any:
        try:
            for path, blobs in _data_files(self.section):
                mend(path, blobs)
            return open_beside_others(self.section.open)
        except ConfigurationError as error:
            if place_of(self.section) is None:  # of -f, whose text is complete
                raise
            raise self._failed(error) from error
        except Exception as error:  # of a storage of any kind; it ends the start
            raise self._failed(error) from error

    def _failed(self, error: Exception) -> ConfigurationError:
        text = f'cannot open storage {self.name!r}: {one_line(error)}'
        return start_error(at(self.section, text), error)


def _data_files(section: Any) -> Iterator[tuple[str, str | None]]:
    """Yield the paths of the FileStorages that a section opens for writing, however deep, and of
    the directories of their blobs.
    """
    config: Any = getattr(section, 'config', None)
    if isinstance(section, ZODB.config.FileStorage) and not (config.read_only or config.create):
        yield config.path, config.blob_dir
    if hasattr(config, 'getSectionAttributes'):
        for name in config.getSectionAttributes():
            value = getattr(config, name)
            for one in value if isinstance(value, list) else [value]:
                yield from _data_files(one)


class FileStorage:
    """A storage section as ``runzeo -f`` means it."""

    def __init__(self, path: str) -> None:
        self.path = path

    def open(self) -> Any:
        """Return the storage."""
        return open_file(self.path)
