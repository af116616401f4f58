"""What the arguments of a client storage say, as values."""

import dataclasses
import inspect
import os

import pytest

from ZEO.ClientStorage import ClientStorage
from ZEO.link.options import LONGEST, BlobOptions, ClientOptions

DEFAULTS = {
    name: argument.default
    for name, argument in inspect.signature(ClientStorage).parameters.items()
    if name != 'system'
}


def options(addr=('localhost', 1), **arguments):
    return ClientOptions.from_arguments({**DEFAULTS, 'addr': addr, **arguments})


def test_options_do_not_change():
    with pytest.raises(dataclasses.FrozenInstanceError):
        options().wait = False


def test_none_is_the_default_of_every_argument():
    assert options(**dict.fromkeys(name for name in DEFAULTS if name != 'addr')) == options()


def test_a_relative_path_goes_on_meaning_what_it_meant(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    found = options('./socket').addresses
    os.chdir('/')
    assert found == [str(tmp_path / 'socket')]


def test_who_reads_only_needs_no_fallback():
    assert not options(read_only=True, read_only_fallback=True).registration.fallback
    assert options(read_only_fallback=True).registration.fallback


@pytest.mark.parametrize(
    'wait, older_name, expected',
    [(None, None, True), (False, None, False), (True, False, False), (False, True, True)],
)
def test_the_older_name_of_wait_goes_before_it(wait, older_name, expected):
    assert options(wait=wait, wait_for_server_on_startup=older_name).wait == expected


def test_a_client_waits_for_no_longer_than_threads_can():
    assert options(wait_timeout=float('inf')).wait_timeout == LONGEST


def test_blobs_need_a_directory():
    assert options(shared_blob_dir=True).blobs is None
    assert options(blob_dir='blobs', blob_cache_size=5).blobs == BlobOptions('blobs', size=5)


def test_a_label_is_one_line():
    assert options(client_label='one\ntwo').registration.label == 'one two'


def test_clients_of_one_storage_have_one_sort_key_whatever_they_call_it():
    assert len({options(addr).sort_key for addr in (1, ('127.0.0.1', 1), 'localhost:1')}) == 1
    assert options(storage='2').sort_key != options().sort_key
