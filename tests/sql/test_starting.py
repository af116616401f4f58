"""Servers that start at the same time in front of a database without tables."""

import sqlite3
import sys
import threading

import pytest
from ZODB.config import storageFromString

from ZEO.config.factories import StorageFactory
from ZEO.config.storages import close_all, open_storages
from ZEO.Exceptions import Unavailable


class Section:
    """A storage section that is not opened yet."""

    def __init__(self, text):
        self.text = text

    def open(self):
        return storageFromString(self.text)


@pytest.fixture(params=[True, False], ids=['history', 'no-history'])
def section(cluster, request):
    """The section of a RelStorage in a database without tables."""
    name = cluster.create()
    yield cluster.section(name, request.param)
    cluster.drop(name)


def all_at_once(number, open_one):
    """Open storages in threads that begin together; return them, or what they raised."""
    found, barrier = [], threading.Barrier(number)

    def run(index):
        barrier.wait(20)
        try:
            found.append(open_one(index))
        except BaseException as error:
            found.append(error)

    threads = [threading.Thread(target=run, args=(index,)) for index in range(number)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    return found


def test_servers_of_a_section_may_start_together_in_an_empty_database(section):
    found = all_at_once(4, lambda index: StorageFactory('main', Section(section)).open())
    close_all(each for each in found if not isinstance(each, BaseException))
    assert [each for each in found if isinstance(each, BaseException)] == []


def test_servers_of_a_module_may_start_together_in_an_empty_database(
    section, tmp_path, monkeypatch
):
    monkeypatch.setattr(sys, 'path', list(sys.path))
    for index in range(4):
        (tmp_path / f'stores{index}.py').write_text(
            f'from ZODB.config import storageFromString\nmain = storageFromString({section!r})\n'
        )
    found = all_at_once(4, lambda index: open_storages([f'main={tmp_path}/stores{index}.py:main']))
    for each in found:
        close_all(each.values() if isinstance(each, dict) else [])
    assert [each for each in found if isinstance(each, BaseException)] == []


class Failing:
    """A storage section whose first openings raise errors."""

    def __init__(self, *errors):
        self.errors = list(errors)

    def open(self):
        if self.errors:
            raise self.errors.pop(0)
        return 'storage'


def test_a_table_that_another_process_makes_in_sqlite_is_looked_for_again():
    exists = sqlite3.OperationalError('table transaction already exists')
    assert StorageFactory('main', Failing(exists, exists)).open() == 'storage'


def test_a_database_that_is_away_or_refuses_is_not_tried_again():
    section = Failing(*(sqlite3.OperationalError(text) for text in ('away', 'still away')))
    with pytest.raises(Unavailable, match='OperationalError: away'):
        StorageFactory('main', section).open()
    assert len(section.errors) == 1


def test_what_the_database_refuses_for_good_ends_the_start():
    section = Failing(*(sqlite3.ProgrammingError('permission denied') for _ in range(20)))
    with pytest.raises(Unavailable, match='permission denied'):
        StorageFactory('main', section).open()
