"""Reading configuration files: where things are, and one line for what is wrong."""

from __future__ import annotations

import pytest

from ZEO.config.loading import load, load_text, place_of
from ZEO.Exceptions import ConfigurationError


def refusal(text):
    """Return what is said about a wrong configuration."""
    with pytest.raises(ConfigurationError) as caught:
        load_text(text, 'zeo.conf')
    message = str(caught.value)
    assert '\n' not in message
    return message


@pytest.mark.parametrize(
    'text, line, words',
    [
        ('<zeo>\nadress 1\n</zeo>', 2, "'adress' is not a known key name; did you mean address?"),
        ('<zeo>\nnonsense 1\n</zeo>', 2, "'nonsense' is not a known key name of <zeo>"),
        ('address 1', 1, 'is not a known key name outside of a section'),
        ('<zeo>\naddress nowhere\n</zeo>', 2, 'is not an address'),
        ('<zeo>\nread-only perhaps\n</zeo>', 2, 'not a valid boolean'),
        ('<zeo>\nread-only on\nread-only on\n</zeo>', 3, 'does not support multiple values'),
        ('<zeo>\n<ssl>\ncertificate /missing\n</ssl>\n</zeo>', 3, 'there is no file /missing'),
        ('<zeo>\n', 1, 'unclosed'),
        ('</zeo>\n', 1, 'unexpected section end'),
        ('\n<zeo/>\n<zeo/>\n', 3, 'too many'),
        ('\n<strangestorage>\n</strangestorage>', 2, 'needs %import PACKAGE first'),
        ('<filestorage>\n</filestorage>', 2, "no values for 'path'"),
        ('<clientstorage>\n</clientstorage>', 2, "'server'"),
        ('\n%import no_such_package', 2, '%import no_such_package: could not load'),
        ('\n%include missing.conf', 2, 'missing.conf'),
        ('%nonsense', 1, 'unknown directive'),
        ('\n<zeo>\naddress $unknown\n</zeo>', 3, "'unknown'"),
        ('\n<zeo>\naddress $(ZEO_NO_SUCH_VARIABLE)\n</zeo>', 3, "'ZEO_NO_SUCH_VARIABLE'"),
        ('\n<eventlog>\n<logfile>\npath STDERR\nmax-size 3\n</logfile>\n</eventlog>', 3, 'rotate'),
    ],
)
def test_an_error_names_file_and_line(text, line, words):
    message = refusal(text)
    assert message.startswith(f'zeo.conf, line {line}: '), message
    assert words in message


def test_errors_in_included_files_say_where(tmp_path):
    (tmp_path / 'inner.conf').write_text('\n<zeo>\nnonsense 1\n</zeo>\n')
    (tmp_path / 'outer.conf').write_text('%include inner.conf\n')
    with pytest.raises(ConfigurationError, match=r'inner.conf, line 3: '):
        load(str(tmp_path / 'outer.conf'))


def test_files_are_named_as_short_as_can_be(tmp_path, monkeypatch):
    (tmp_path / 'zeo.conf').write_text('nonsense 1\n')
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigurationError, match=r'^zeo.conf, line 1: '):
        load(str(tmp_path / 'zeo.conf'))
    monkeypatch.chdir('/')
    with pytest.raises(ConfigurationError, match=rf'^{str(tmp_path)[1:]}/zeo.conf, line 1: '):
        load(str(tmp_path / 'zeo.conf'))
    (tmp_path / 'below').mkdir()
    monkeypatch.chdir(tmp_path / 'below')
    with pytest.raises(ConfigurationError, match=rf'^{tmp_path}/zeo.conf, line 1: '):
        load('../zeo.conf')


def test_files_that_cannot_be_read(tmp_path):
    for path in tmp_path / 'missing.conf', tmp_path:
        with pytest.raises(ConfigurationError, match=str(path)):
            load(str(path))
    (tmp_path / 'binary.conf').write_bytes(b'\xff\xfe\0')
    with pytest.raises(ConfigurationError, match='binary.conf: .*not text in UTF-8, at byte 0;'):
        load(str(tmp_path / 'binary.conf'))


def test_sections_know_where_they_are():
    config = load_text('\n<mappingstorage>\n</mappingstorage>\n<zeo>\n</zeo>\n', 'zeo.conf')
    assert str(place_of(config.zeo)) == 'zeo.conf, line 4'
    assert str(place_of(config.storages[0])) == 'zeo.conf, line 2'
    assert place_of(object()) is None
    assert place_of(None) is None


@pytest.mark.parametrize(
    'environ',
    [{'INSTANCE': '/a'}, {'INSTANCE_HOME': '/a'}, {'INSTANCE': '/a', 'INSTANCE_HOME': '/b'}],
)
def test_the_instance_of_the_environment(monkeypatch, environ):
    for name in 'INSTANCE', 'INSTANCE_HOME':
        monkeypatch.delenv(name, raising=False)
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    config = load_text('<zeo>\naddress $INSTANCE/s\naddress ${INSTANCE}/t\n</zeo>', 'zeo.conf')
    assert config.zeo.address == ['/a/s', '/a/t']


def test_a_defined_instance_goes_before_the_environment(monkeypatch):
    monkeypatch.setenv('INSTANCE', '/a')
    config = load_text('%define INSTANCE /c\n<zeo>\naddress $INSTANCE/s\n</zeo>', 'zeo.conf')
    assert config.zeo.address == ['/c/s']


def test_no_instance_at_all(monkeypatch):
    for name in 'INSTANCE', 'INSTANCE_HOME':
        monkeypatch.delenv(name, raising=False)
    assert "no replacement for 'INSTANCE'" in refusal('<zeo>\naddress $INSTANCE/s\n</zeo>')


def test_definitions_are_seen_in_included_files(tmp_path):
    (tmp_path / 'inner.conf').write_text('<zeo>\naddress $where/s\n</zeo>\n')
    (tmp_path / 'outer.conf').write_text('%define where /x\n%include inner.conf\n')
    assert load(str(tmp_path / 'outer.conf')).zeo.address == ['/x/s']


def test_zdaemons_sections_are_accepted():
    config = load_text(
        """
        <runner>
          program $(PATH)
          socket-name /x
          exit-codes 0, 2
          exit-codes 3
          <eventlog>
            <logfile>
              path STDERR
            </logfile>
          </eventlog>
        </runner>
        <environment>
          LANG C
        </environment>""",
        'zeo.conf',
    )
    assert config.runner.settings['exit-codes'] == ['0, 2', '3']
    assert config.environment.settings == {'LANG': 'C'}


def test_import_of_what_is_there_already():
    text = '%import ZEO\n%import ZODB\n<clientstorage>\nserver 1\n</clientstorage>'
    assert len(load_text(text, 'zeo.conf').storages) == 1
