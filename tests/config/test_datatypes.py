"""The values of configuration keys, good ones and others."""

from __future__ import annotations

import pytest

from ZEO.config import datatypes


@pytest.mark.parametrize(
    'text, value',
    [
        ('30', 30.0),
        ('0', 0.0),
        ('0.5', 0.5),
        ('30s', 30.0),
        ('5 m', 300.0),
        ('2H', 7200.0),
        ('1d', 86400.0),
    ],
)
def test_a_time_is_a_number_with_a_suffix(text, value):
    assert datatypes.seconds(text) == value


@pytest.mark.parametrize(
    'text, value', [('0', 0), ('3', 3), ('true', 1), ('On', 1), ('false', 0), ('no', 0)]
)
def test_a_fence_is_a_number_of_followers_or_a_switch(text, value):
    assert datatypes.fence(text) == value


def test_what_is_not_a_fence_is_refused():
    with pytest.raises(ValueError, match='is not a number of followers'):
        datatypes.fence('maybe')


@pytest.mark.parametrize('text', ['', 'soon', '5 years', '-1', '1e3', 'nan'])
def test_what_is_not_a_time_is_refused(text):
    with pytest.raises(ValueError, match='is not a time'):
        datatypes.seconds(text)


@pytest.mark.parametrize(
    'text, address',
    [
        ('8100', ('', 8100)),
        (':8100', ('', 8100)),
        ('0', ('', 0)),
        ('Localhost:8100', ('localhost', 8100)),
        ('10.0.0.1:1', ('10.0.0.1', 1)),
        ('[::1]:8100', ('::1', 8100)),
        ('./zeo.sock', './zeo.sock'),
        ('/run/zeo:1', '/run/zeo:1'),
    ],
)
def test_an_address_is_host_port_or_path(text, address):
    assert datatypes.bind_address(text) == address


def test_a_port_to_connect_to_is_of_this_machine():
    assert datatypes.connect_address('8100') == ('127.0.0.1', 8100)
    assert datatypes.connect_address(':8100') == ('127.0.0.1', 8100)


@pytest.mark.parametrize(
    'text', ['localhost', 'localhost:', 'localhost:http', '65536', '::1:8100', '', '-1', 'a:\u0663']
)
def test_what_is_not_an_address_is_refused(text):
    for function in datatypes.bind_address, datatypes.connect_address:
        with pytest.raises(ValueError, match='is not an address'):
            function(text)


def test_a_host_that_no_name_service_knows_is_refused():
    for function in datatypes.bind_address, datatypes.connect_address:
        with pytest.raises(ValueError, match="'a..b' is not the name of a host: give"):
            function('a..b:8100')


def test_a_tilde_is_the_home_directory(monkeypatch, tmp_path):
    monkeypatch.setenv('HOME', str(tmp_path))
    (tmp_path / 'file').touch()
    assert datatypes.bind_address('~/s') == f'{tmp_path}/s'
    assert datatypes.existing_file('~/file') == f'{tmp_path}/file'
    assert datatypes.authenticate('~/') == f'{tmp_path}/'
    assert datatypes.file_in_existing_directory('~/new') == f'{tmp_path}/new'


def test_files_that_are_not_there(tmp_path):
    for function in datatypes.existing_file, datatypes.authenticate:
        with pytest.raises(ValueError, match='there is no file'):
            function(str(tmp_path / 'missing'))
    with pytest.raises(ValueError, match='there is no file'):
        datatypes.existing_file(str(tmp_path))
    with pytest.raises(ValueError, match='there is no directory'):
        datatypes.file_in_existing_directory(str(tmp_path / 'missing' / 'file'))
    assert datatypes.file_in_existing_directory('file') == 'file'


def test_authenticate_takes_two_words_besides_files():
    assert datatypes.authenticate('SIGNED') == 'SIGNED'
    assert datatypes.authenticate('DYNAMIC') == 'DYNAMIC'


def test_numbers_and_sizes_have_bounds():
    assert datatypes.positive('3') == 3
    assert datatypes.percentage('100') == 100
    assert datatypes.size('2KB') == 2048
    assert datatypes.size('7') == 7
    for function, texts in [
        (datatypes.positive, ['0', '-1', 'x', '']),
        (datatypes.percentage, ['0', '101', 'x']),
        (datatypes.preference, ['follower', '', 'Replica']),
        (datatypes.size, ['0', '-1KB', 'x', '']),
    ]:
        for text in texts:
            with pytest.raises(ValueError):
                function(text)


def test_dotted_names_have_a_form():
    assert datatypes.dotted_name('package.module.function') == 'package.module.function'
    assert datatypes.module_name('package') == 'package'
    for text in 'function', 'a.', 'a.1', 'a b.c', '':
        with pytest.raises(ValueError):
            datatypes.dotted_name(text)
    with pytest.raises(ValueError):
        datatypes.module_name('a..b')
