"""Reading configuration files: ZConfig with places, hints and errors of one line.

Enters: a file's name or URL, or a text. Leaves: ZConfig's configuration object, each section
of which knows its :class:`Place`. Fails: :class:`ConfigurationError` of one line, with file and
line as far as ZConfig reports them.
"""

from __future__ import annotations

import difflib
import os
from functools import lru_cache
from io import StringIO
from typing import Any, NamedTuple
from urllib.request import url2pathname

import ZConfig
from ZConfig.cfgparser import ZConfigParser
from ZConfig.loader import ConfigLoader

from ZEO.Exceptions import ConfigurationError

SCHEMA = os.path.join(os.path.dirname(__file__), 'runzeo.xml')


class Place(NamedTuple):
    """Where in a configuration something is."""

    url: str | None
    line: int | None

    def __str__(self) -> str:
        name = self.url or 'the configuration'
        if name.startswith('file://'):
            name = os.path.relpath(url2pathname(name[len('file://') :]))
            name = os.path.abspath(name) if name.startswith('..') else name
        return f'{name}, line {self.line}' if self.line and self.line > 0 else name


def place_of(section: Any) -> Place | None:
    """Return where a section, or what it was made into, begins; None if that is not known."""
    place = getattr(section, 'place', None)
    if place is None:
        section = getattr(section, 'config', section)
        matcher = getattr(section, '_matcher', None)
        place = getattr(matcher, 'place', None)
    return place


def at(section: Any, text: str, key: str | None = None) -> str:
    """Return `text` behind the place that it is about: a section's, or that of a key in it."""
    place = place_of(section)
    matcher = getattr(section, '_matcher', None)
    if key is not None:
        place = getattr(matcher, 'places_of_keys', {}).get(key, place)
    return f'{place}: {text}' if place else text


def wrong(section: Any, text: str) -> ConfigurationError:
    """Return an error about a section, with its place."""
    return ConfigurationError(at(section, text))


def load(url: str) -> Any:
    """Return the configuration in a file.

    :param url: the file's name, or a URL.
    :raises ConfigurationError: when there is something wrong with it.
    """
    path = os.path.expanduser(url)
    try:
        return _Loader(_schema()).loadURL(path)[0]
    except ZConfig.ConfigurationError as error:
        raise ConfigurationError(explained(error, path)) from None
    except OSError as error:
        raise ConfigurationError(_unreadable(url, error.strerror or str(error))) from None
    except UnicodeDecodeError as error:
        where = f'it is not text in UTF-8, at byte {error.start}'
        raise ConfigurationError(_unreadable(url, where)) from None


def load_text(text: str, name: str) -> Any:
    """Return the configuration in a text.

    :param name: what errors call the text.
    :raises ConfigurationError: when there is something wrong with it.
    """
    try:
        return _Loader(_schema()).loadFile(StringIO(text), name)[0]
    except ZConfig.ConfigurationError as error:
        raise ConfigurationError(explained(error, name)) from None


@lru_cache(maxsize=1)
def _schema() -> Any:
    return ZConfig.loadSchema(SCHEMA)


class _Loader(ConfigLoader):
    """Reads with the parser of this module."""

    def loadResource(self, resource: Any) -> Any:
        matcher = self.createSchemaMatcher()
        _Parser(resource, self, _Defines()).parse(matcher)
        return matcher.finish(), None

    def includeConfiguration(self, section: Any, url: str, defines: Any) -> None:
        with self.openResource(self.normalizeURL(url)) as resource:
            _Parser(resource, self, defines).parse(section)


class _Defines(dict[str, str]):
    """What ``%define`` has defined, and $INSTANCE if the environment has it."""

    def get(self, name: str, default: Any = None) -> Any:
        found = super().get(name, default)
        if found is None and name == 'instance':
            return os.environ.get('INSTANCE') or os.environ.get('INSTANCE_HOME')
        return found


class _Parser(ZConfigParser):
    """Notes where sections and keys are, and suggests the key that may have been meant."""

    def start_section(self, section: Any, rest: str) -> Any:
        line = self.lineno
        found = super().start_section(section, rest)
        if found is not section:  # an empty section is closed already
            found.place = Place(self.url, line)
        return found

    def parse(self, section: Any) -> None:
        try:
            super().parse(section)
        except ZConfig.ConfigurationError as error:
            if not error.url:  # not every error of ZConfig has a place
                error.url, error.lineno = self.url, self.lineno
            raise

    def handle_import(self, section: Any, rest: str) -> None:
        try:
            super().handle_import(section, rest)
        except ZConfig.SchemaError as error:
            self.error(f'%import {rest}: {error.message}')

    def handle_include(self, section: Any, rest: str) -> None:
        line = self.lineno
        try:
            super().handle_include(section, rest)
        except ZConfig.ConfigurationError as error:
            if getattr(error, 'lineno', None) is None:  # the file itself cannot be read
                error.url, error.lineno = self.url, line
            raise

    def handle_key_value(self, section: Any, rest: str) -> None:
        places = vars(section).setdefault('places_of_keys', {})
        places.setdefault(rest.split()[0].lower(), Place(self.url, self.lineno))
        try:
            super().handle_key_value(section, rest)
        except ZConfig.ConfigurationError as error:
            if error.message.endswith(' is not a known key name'):
                error.message += self._hint(section, rest.split()[0])
            raise

    def _hint(self, section: Any, key: str) -> str:
        names = [name for name, _ in section.type if name and name != '+']
        close = difflib.get_close_matches(key.lower(), names, 1)
        if close:
            return f'; did you mean {close[0]}?'
        within = getattr(section.type, 'name', None)
        return f' of <{within}>' if within else ' outside of a section'


def explained(error: ZConfig.ConfigurationError, source: str) -> str:
    """Return what is wrong as one line, with the file and the line of it.

    :param source: the name of the file, or its URL, which may be given by the error too.
    """
    url, line = error.url, getattr(error, 'lineno', None)
    within = place_of(getattr(error, 'value', None))
    if within is not None:
        url, line = within
    text = ' '.join(str(error.message).split())
    if text.startswith('unknown type name:'):
        text += '; a storage of another package needs %import PACKAGE first'
    if text.startswith(('error opening file', 'error opening URL')) and not line:
        return _unreadable(source, _reason(error))
    return f'{Place(url or _url(source), line)}: {text}'


def _unreadable(source: str, reason: str) -> str:
    return f'{source}: cannot be read: {reason}; give a configuration file that can be read'


def _reason(error: ZConfig.ConfigurationError) -> str:
    """Return why a file could not be opened, without the file's name and the error's number."""
    cause = getattr(error, '__cause__', None) or getattr(error, '__context__', None)
    cause = getattr(cause, 'reason', cause)  # which urllib has wrapped
    return getattr(cause, 'strerror', None) or str(cause or error.message)


def absolute(source: str) -> str:
    """Return the name of a file, or its URL, that means the same in another directory."""
    return source if ':' in source else os.path.abspath(os.path.expanduser(source))


def _url(source: str) -> str:
    return source if ':' in source else 'file://' + os.path.abspath(source)
