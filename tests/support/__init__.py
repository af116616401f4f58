"""What the tests share: processes on the other end of a socket, and storages behind a server.

- :mod:`support.sides`: which Python, and so which ZEO, a process of a test runs.
- :mod:`support.jsonlines`, :mod:`support.children`: one command and one answer a line, both ends.
- :mod:`support.host`, :mod:`support.agent`: the processes themselves, a server and a client.
- :mod:`support.bounded`: a server process seen from outside.
- :mod:`support.commands`: servers as their operators start them.
- :mod:`support.kinds`, :mod:`support.served`, :mod:`support.sets`: ZODB's test classes over a
  server.
- :mod:`support.scripted`: a server and a client that send what a test says, byte for byte.
- :mod:`support.stress`: rounds of everything that happens to processes, wires and disks.
- :mod:`support.forker`: clients that fork.
- :mod:`support.struck_by_chance`: a client in whose threads exceptions strike at any moment.
- :mod:`support.pages`: pages of the documentation, typed in as they stand.
- :mod:`support.postgres`: a PostgreSQL of the tests' own.
- :mod:`support.suites`: ZODB's doctest suites as pytest parameters.
"""
