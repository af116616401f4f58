"""A client of a server in front of PostgreSQL is sent what it will ask for, and nothing old."""

import random

import ZODB
from BTrees.IOBTree import IOBTree
from persistent.mapping import PersistentMapping

from ZEO.serving.backends.rows import RowReader

PAGES = 150


def filled(storage):
    """Make pages in a BTree, each of which has an object of its own; return the database."""
    database = ZODB.DB(storage)
    with database.transaction() as connection:
        connection.root.pages = pages = IOBTree()
        for number in range(PAGES):
            pages[number] = page = PersistentMapping(text='x' * 300)
            page['more'] = PersistentMapping(number=number)
    return database


def test_a_walk_takes_few_loads_and_fewer_queries(sql, serving, clients, monkeypatch):
    filled(sql.open()).close()
    server = serving(sql.open())
    queries = []
    prefetch = RowReader.prefetch

    def counted(self, oids):
        queries.append(len(oids))
        prefetch(self, oids)

    monkeypatch.setattr(RowReader, 'prefetch', counted)
    client = clients(server.addr)
    database = ZODB.DB(client)
    with database.transaction() as connection:
        assert sum(p['more']['number'] == n for n, p in connection.root.pages.items()) == PAGES
    used = client.read_ahead_status()['used']
    assert used > PAGES
    assert server.hosted['1'].status()['loads'] < 2 * PAGES - used / 2
    assert len(queries) < used / 3


def test_what_others_commit_to_the_database_is_never_overtaken(sql, serving, clients):
    direct = filled(sql.open())
    address = serving(sql.open(), poll_interval=0.05).addr
    opened = [clients(address) for _ in range(2)]
    walking = [ZODB.DB(client) for client in opened]
    choose = random.Random(7)
    expected = {}
    for client, database in zip(
        opened, walking, strict=True
    ):  # each sees what the others have had in the server's memory
        for turn in range(3):
            number = choose.randrange(PAGES)
            with direct.transaction() as connection:
                page = connection.root.pages[number]
                page['more']['number'] = page['text'] = expected[number] = f'turn {turn}'
        client.ping()
        with database.transaction() as connection:
            for at, page in connection.root.pages.items():
                found = page['text'], page['more']['number']
                assert found == (expected.get(at, 'x' * 300), expected.get(at, at))
    assert sum(client.read_ahead_status()['used'] for client in opened) > PAGES
    direct.close()
