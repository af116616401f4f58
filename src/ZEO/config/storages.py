"""The storages that ``-S name=module_path:attribute`` names, loaded from modules of Python.

Enters: the values of the ``-S`` switches and a file name, as an operator wrote them. Leaves: open
storages by name. Fails: :class:`ConfigurationError` of one line that says what is wrong and where;
every storage that was opened on the way is closed again.
"""

from __future__ import annotations

import importlib
import importlib.util
import logging
import os
import sys
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from types import ModuleType
from typing import Any

from ZODB.FileStorage import FileStorage
from ZODB.interfaces import IStorage

from ZEO.config.opening import one_line, open_and_log, open_beside_others, start_error
from ZEO.Exceptions import ConfigurationError
from ZEO.serving.crash_safety import mend
from ZEO.serving.grouped import GroupedFileStorage
from ZEO.serving.hosted import NEEDED

log = logging.getLogger('ZEO.hosting')

#: The name of a storage that is served without a name.
DEFAULT_NAME = '1'


@dataclass(frozen=True)
class StorageSpec:
    """One ``-S`` value, taken apart."""

    name: str
    module: str
    attribute: str

    @classmethod
    def parse(cls, text: str) -> StorageSpec:
        """Return the parts of ``name=module_path:attribute``; the attribute's default is the name.

        :raises ConfigurationError: when `text` does not have that form.
        """
        name, equals, place = text.partition('=')
        module, colon, attribute = place.rpartition(':')
        if not colon:
            module, attribute = place, name
        if not (name and equals and module and attribute):
            raise ConfigurationError(
                f'-S {text}: give name=module_path:attribute, for example -S 1=/stores/fs:Storage'
            )
        return cls(name, module, attribute)


def open_storages(
    specs: Iterable[str], file_name: str | None = None, grouped: bool = False
) -> dict[str, Any]:
    """Return the storages to serve, by name.

    :param specs: the values of the ``-S`` switches.
    :param file_name: the file of a FileStorage to serve as ``1`` besides them; without it and
        without specs that is :func:`default_file`.
    :param grouped: whether that is one in which one sync may make several transactions permanent.
    :raises ConfigurationError: when something is wrong with one of them.
    """
    parsed = [StorageSpec.parse(text) for text in specs]
    names = [spec.name for spec in parsed]
    if not parsed and file_name is None:
        file_name = default_file()
    if file_name is not None:
        names.append(DEFAULT_NAME)
    _refuse_repeated(names)

    modules = StorageModules()
    storages: dict[str, Any] = {}
    try:
        for spec in parsed:
            storages[spec.name] = _storage_of(spec, modules)
        _refuse_shared(storages)
        if file_name is not None:
            storages[DEFAULT_NAME] = open_and_log(
                DEFAULT_NAME,
                f'FileStorage {file_name}',
                lambda: open_file(file_name, grouped=grouped),
            )
    except BaseException:
        close_all([*storages.values(), *modules.storages()])
        raise
    return storages


def default_file(environ: Mapping[str, str] = os.environ) -> str:
    """Return the default file: ``$INSTANCE_HOME/var/Data.fs``, or else ``Data.fs``."""
    home = environ.get('INSTANCE_HOME')
    return os.path.join(home, 'var', 'Data.fs') if home else 'Data.fs'


def open_file(file_name: str, blob_dir: str | None = None, grouped: bool = False) -> FileStorage:
    """Return an open FileStorage; its file is created if it is missing, its directory is not.

    :param blob_dir: the directory of its blobs, which is created if it is missing.
    :param grouped: whether one sync may make several transactions permanent.
    :raises ConfigurationError: when it cannot be opened.
    """
    directory = os.path.dirname(os.path.abspath(file_name))
    if not os.path.isdir(directory):
        raise ConfigurationError(
            f'cannot open {file_name}: there is no directory {directory}: create it first'
        )
    with _reported(lambda error: f'cannot open {file_name}'):
        mend(file_name, blob_dir)
        kind = GroupedFileStorage if grouped else FileStorage
        return kind(file_name, blob_dir=blob_dir)


def close_all(storages: Iterable[Any]) -> None:
    """Close storages, each once; an exception of one does not keep the others open."""
    for storage in {id(storage): storage for storage in storages}.values():
        try:
            storage.close()
        except Exception:  # storages are of any kind, and the error that led here matters more
            log.warning('could not close %r', storage, exc_info=True)


def is_storage(value: Any) -> bool:
    """Return whether a module's attribute is a storage.

    It need not declare so: one that has what a server needs is served, as one of a section is.
    """
    if isinstance(value, (type, ModuleType)):
        return False
    try:
        return IStorage.providedBy(value) or all(hasattr(value, method) for method in NEEDED)
    except Exception:  # the attribute is a proxy, and has nothing behind it yet
        return False


@contextmanager
def _reported(where: Callable[[Exception], str]) -> Iterator[None]:
    """Turn an exception of a storage or its module into one line for the operator."""
    try:
        yield
    except Exception as error:  # code of any kind raises it, and it ends the start in any case
        raise start_error(f'{where(error)}: {one_line(error)}', error) from error


def _refuse_repeated(names: list[str]) -> None:
    for name in names:
        if names.count(name) > 1:
            raise ConfigurationError(
                f'duplicate storage name {name!r}: every storage needs a unique name'
            )


def _refuse_shared(storages: Mapping[str, Any]) -> None:
    """Refuse two names of one storage: clients of each would miss the other's invalidations."""
    names: dict[int, str] = {}
    for name, storage in storages.items():
        other = names.setdefault(id(storage), name)
        if other != name:
            raise ConfigurationError(
                f'{other!r} and {name!r} are the same storage: serve it under one name'
            )


def _storage_of(spec: StorageSpec, modules: StorageModules) -> Any:
    module = modules.load(spec)
    storage = getattr(module, spec.attribute, None)
    if storage is not None and is_storage(storage):
        return storage
    names = [name for name, value in vars(module).items() if is_storage(value)]
    found = f'it defines the storages {", ".join(names)}' if names else 'it defines no storage'
    where = module.__file__ or module.__name__
    if hasattr(module, spec.attribute):
        wrong = (
            f'{spec.attribute} in {where} is not a storage: its type is {type(storage).__name__}'
        )
    else:
        wrong = f'{where} has no attribute {spec.attribute}'
    raise ConfigurationError(f'storage {spec.name!r}: {wrong}; {found}')


class StorageModules:
    """The modules that define storages, each file imported once however its path is spelled."""

    def __init__(self) -> None:
        self._by_file: dict[str, ModuleType] = {}  # real path -> module

    def load(self, spec: StorageSpec) -> ModuleType:
        """Return the module that `spec` names, and import it if that has not been done.

        :raises ConfigurationError: when there is no such module, or it fails.
        """
        path = _path_of(spec.module)
        file = os.path.realpath(path) if path else _file_of(spec)
        if path and not os.path.isfile(path):
            raise ConfigurationError(f'storage {spec.name!r}: there is no file {path}')
        if file not in self._by_file:
            log.info('opening the storages that %s defines', file)
            with _reported(lambda error: f'storage {spec.name!r}: {_place(error, file)}'):
                self._by_file[file] = open_beside_others(
                    lambda: self._run(file) if path else importlib.import_module(spec.module)
                )
        return self._by_file[file]

    def storages(self) -> list[Any]:
        """Return all storages that the modules define, whether they are served or not."""
        return [
            value
            for module in self._by_file.values()
            for value in vars(module).values()
            if is_storage(value)
        ]

    def _run(self, file: str) -> ModuleType:
        """Import a file: under its own name if that name means this file, so that modules beside it
        import the same one.
        """
        directory, base = os.path.split(file)
        name = os.path.splitext(base)[0]
        _make_importable(directory)
        if not name.isidentifier() or _origin(name) != file:
            name = f'{name} at {directory}'
        elif name in sys.modules:
            return sys.modules[name]
        location = importlib.util.spec_from_file_location(name, file)
        assert location is not None and location.loader is not None  # a .py file has a loader
        module = importlib.util.module_from_spec(location)
        # The manual of ZEO 0.2 has `import ZODB.FileStorage` followed by the bare class name.
        vars(module)['FileStorage'] = FileStorage
        sys.modules[name] = self._by_file[file] = module
        try:
            location.loader.exec_module(module)
        except BaseException:
            del sys.modules[name], self._by_file[file]
            close_all(value for value in vars(module).values() if is_storage(value))
            raise
        return module


def _path_of(module: str) -> str | None:
    """Return the file that a module path means, or None for a dotted name."""
    path = os.path.expanduser(module)
    path = path if path.endswith('.py') else path + '.py'
    looks_like_a_path = os.sep in module or module.endswith('.py')
    return path if looks_like_a_path or os.path.isfile(path) else None


def _file_of(spec: StorageSpec) -> str:
    """Return the real path of a dotted module's file.

    :raises ConfigurationError: when there is no such module.
    """
    _make_importable(os.getcwd())
    with _reported(lambda error: f'storage {spec.name!r}: the package of {spec.module} fails'):
        origin = _origin(spec.module)
    if origin is None:
        raise ConfigurationError(
            f'storage {spec.name!r}: there is no module {spec.module},'
            f' nor a file {spec.module}.py in {os.getcwd()}'
        )
    return origin


def _origin(name: str) -> str | None:
    """Return the real path of the file that ``import name`` would run, or has run, if any."""
    try:
        location = importlib.util.find_spec(name)
    except ValueError:  # a module that was not imported from a file, such as __main__
        return None
    except ModuleNotFoundError as error:
        if error.name and f'{name}.'.startswith(f'{error.name}.'):
            return None
        raise  # the parent package exists, and importing it fails
    return os.path.realpath(location.origin) if location and location.origin else None


def _make_importable(directory: str) -> None:
    """Let storage modules import those beside them; last on the path, so that nothing is hidden."""
    if directory not in sys.path:
        sys.path.append(directory)


def _place(error: Exception, file: str) -> str:
    """Return the file and, if it is known, the line of it that raised an exception."""
    if isinstance(error, SyntaxError):
        return f'{error.filename}, line {error.lineno}'
    lines = [
        entry.lineno
        for entry in traceback.extract_tb(error.__traceback__)
        if os.path.realpath(entry.filename) == file
    ]
    return f'{file}, line {lines[-1]}' if lines else file
