"""Pickles that run something, and every place in a server where a client can put them.

Enters: a canary, which is the path of a file that a pickle touches when it runs. Leaves: opcodes;
calls on a raw client. Fails: never by what a server answers: refusals are what is hoped for.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from typing import Any

from support.scripted import RawClient, Unexpected, oid
from ZEO.wire.calls import OF_CLIENT

Z64 = b'\0' * 8
NEWEST = b'\x7f' + b'\xff' * 7

#: A record that a server resolves: the class, and a number for a state.
LENGTH = b'\x80\x03cBTrees.Length\nLength\nq\0.\x80\x03K%c.'
BUCKET = b'\x80\x03cBTrees.OOBTree\nOOBucket\nq\0.\x80\x03(%btq\1\x85q\2.'
BLOB = b'\x80\x03cZODB.blob\nBlob\nq\0.\x80\x03%b.'


def text(value: str) -> bytes:
    """Return opcodes that push a text."""
    data = value.encode()
    return b'X' + struct.pack('<I', len(data)) + data


def bytes_(data: bytes) -> bytes:
    """Return opcodes that push bytes."""
    return b'B' + struct.pack('<I', len(data)) + data


#: name -> opcodes that push a global by module and name.
NAMINGS: dict[str, Callable[[str, str], bytes]] = {
    'GLOBAL': lambda module, name: f'c{module}\n{name}\n'.encode(),
    'GLOBAL in the memo': lambda module, name: (
        f'c{module}\n{name}\nr\xff\x01\0\0'.encode('latin-1') + b'0j\xff\1\0\0'
    ),
    'STACK_GLOBAL': lambda module, name: text(module) + text(name) + b'\x93',
    'through find_global': lambda module, name: (
        b'cZODB.broken\nfind_global\n' + text(module) + text(name) + b'\x86R'
    ),
    'through a module': lambda module, name: (
        b'cbuiltins\ngetattr\ncbuiltins\n__import__\n'
        + text(module)
        + b'\x85R'
        + text(name)
        + b'\x86R'
    ),
}

#: name -> opcodes that push what a call gives, of those that push a function and its argument.
CALLINGS: dict[str, Callable[[bytes, bytes], bytes]] = {
    'REDUCE': lambda function, argument: function + argument + b'\x85R',
    'REDUCE with MARK': lambda function, argument: function + b'(' + argument + b'tR',
    'OBJ': lambda function, argument: b'(' + function + argument + b'o',
    'NEWOBJ': lambda function, argument: function + argument + b'\x85\x81',
    'NEWOBJ_EX': lambda function, argument: function + argument + b'\x85}\x92',
    'BUILD': lambda function, argument: (
        b'ccopyreg\n_reconstructor\ncBTrees.Length\nLength\ncbuiltins\nobject\nN\x87R'
        + b'}'
        + text('__setstate__')
        + function
        + b'sb'
        + argument
        + b'b'
    ),
    'slots': lambda function, argument: (
        b'cBTrees.Length\nLength\n)\x81N}'
        + text('__setstate__')
        + function
        + b's\x86b'
        + argument
        + b'b'
    ),
    'a class': lambda function, argument: (
        b'cBTrees.Length\nLength\nN}' + text('_p_resolveConflict') + function + b's\x86b'
    ),
    'call of a call': lambda function, argument: (
        b'cbuiltins\nmap\n' + function + b'(' + argument + b'l\x86R'
    ),
}

#: name -> what is called, and with what, to touch the canary.
TARGETS: dict[str, Callable[[str], tuple[str, str, bytes]]] = {
    'os.system': lambda canary: ('os', 'system', text(f'touch {canary}')),
    'posix.system': lambda canary: ('posix', 'system', text(f'touch {canary}')),
    'exec': lambda canary: ('builtins', 'exec', text(f'open({canary!r}, "w")')),
    'old eval': lambda canary: ('__builtin__', 'eval', text(f'open({canary!r}, "w")')),
    'open': lambda canary: ('io', 'FileIO', text(canary) + text('w') + b'\x86'),
    'loads': lambda canary: (
        'ZODB._compat',
        'loads',
        bytes_(b'\x80\x03cos\nsystem\n' + text(f'touch {canary}') + b'\x85R.'),
    ),
    'a FileStorage': lambda canary: ('ZODB.FileStorage', 'FileStorage', text(canary)),
    'a blob': lambda canary: ('ZODB.blob', 'Blob', bytes_(b'data')),
    'remove': lambda canary: ('ZODB.blob', 'remove_committed_dir', text(canary)),
    'run': lambda canary: (
        'subprocess',
        'check_call',
        text('touch') + text(canary) + b'\x86]\x94\x8f0',
    ),
}

#: name -> opcodes around such an expression.
WRAPPINGS: dict[str, Callable[[bytes], bytes]] = {
    'alone': lambda expression: expression,
    'dropped': lambda expression: b'N0' + expression + b'0N',
    'in a list': lambda expression: b']' + expression + b'a',
    'in a dictionary': lambda expression: b'}' + text('key') + expression + b's',
    'as a key': lambda expression: b'}' + expression + b'Ns',
    'in tuples': lambda expression: (
        expression + b'\x85\x85\x86' if False else expression + b'\x85\x85'
    ),
    'as a reference': lambda expression: expression + b'Q',
    'in a reference': lambda expression: b'C\x08\0\0\0\0\0\0\0\1' + expression + b'\x86Q',
    'in the memo': lambda expression: expression + b'q\x070h\x07',
    'of protocol 4': lambda expression: b'\x80\x04' + expression,
    'in a set': lambda expression: b'cbuiltins\nset\n](' + expression + b'e\x85R',
}


def expression(naming: str, calling: str, target: str, wrapping: str, canary: str) -> bytes:
    """Return opcodes that push one value, and touch the canary where they are run."""
    module, name, argument = TARGETS[target](canary)
    return WRAPPINGS[wrapping](CALLINGS[calling](NAMINGS[naming](module, name), argument))


def pickled(opcodes: bytes) -> bytes:
    """Return a pickle of protocol 3."""
    return b'\x80\x03' + opcodes + b'.'


class Attacker:
    """Puts opcodes into one server.

    :param connect: returns a registered client.
    """

    def __init__(self, connect: Callable[[], RawClient]) -> None:
        self._connect = connect
        self._client: RawClient | None = None
        self._txn = 0
        self.oids = [Z64]
        self.tids = [Z64]

    def tried(self, action: Callable[[RawClient], Any]) -> Any:
        """Do something; None where the server refuses it, or ends the connection."""
        if self._client is None:
            self._client = self._connect()
        try:
            return action(self._client)
        except (LookupError, Unexpected, OSError):
            self._client.close()
            self._client = None

    def commit(
        self,
        *stores: tuple[bytes, bytes, bytes],
        user: bytes = b'',
        description: bytes = b'',
        extension: Any = b'',
    ) -> Any:
        """Commit a transaction; returns its tid, or None."""
        self._txn += 1

        def act(client: RawClient) -> Any:
            client.tell('tpc_begin', self._txn, user, description, extension, None, ' ')
            for one, serial, data in stores:
                client.tell('storea', one, serial, data, self._txn)
            client.call('vote', self._txn)
            return client.call('tpc_finish', self._txn)

        tid = self.tried(act)
        if tid is not None:
            self.oids = [*self.oids, *(store[0] for store in stores)][-6:]
            self.tids = [*self.tids, tid][-4:]
        return tid

    def reconnect(self) -> None:
        """Begin with a new connection; the server may be another."""
        if self._client is not None:
            self._client.close()
            self._client = None

    def new_oid(self) -> bytes:
        """Return an oid without records."""
        found = self.tried(lambda client: client.call('new_oids'))
        return found[0] if found else oid(1_000_000 + self._txn)

    def conflicts(self, old: bytes, committed: bytes, lost: bytes) -> None:
        """Have three records conflict."""
        one = self.new_oid()
        first = self.commit((one, Z64, old))
        if first is not None and self.commit((one, first, committed)) is not None:
            self.commit((one, first, lost))

    def place(self, opcodes: bytes) -> Iterator[str]:
        """Put them everywhere, one place after the other; yields the names of the places."""
        whole, good = pickled(opcodes), LENGTH % 1
        for name, record in {
            'the class': whole + pickled(b'}'),
            'a tuple for the class': pickled(opcodes + b')\x86') + pickled(b'}'),
            'arguments of the class': pickled(b'cBTrees.Length\nLength\n' + opcodes + b'\x85\x86')
            + pickled(b'K\1'),
            'the state': b'\x80\x03cBTrees.Length\nLength\nq\0.' + whole,
            'within a bucket': BUCKET % (text('key') + opcodes),
            'the state of a blob': BLOB % opcodes,
            'a blob': BLOB % b'N' + whole,
        }.items():
            self.conflicts(good, LENGTH % 2, record)
            self.conflicts(record, LENGTH % 2, good)
            self.conflicts(good, record, LENGTH % 3)
            yield name
        for extension in (whole, pickled(b'}' + text('key') + opcodes + b's'), {'key': whole}):
            self.commit((self.new_oid(), Z64, good), extension=extension)
        yield 'the extension'
        self.commit((self.new_oid(), Z64, good), user=whole, description=whole)
        yield 'user and description'
        for call in (
            'restorea',
            'deleteObject',
            'undoa',
            'checkCurrentSerialInTransaction',
            'storeBlobEnd',
            'storea',
        ):
            self._in_transaction(call, whole, good)
            yield call
        self.tried(lambda client: client.tell('set_client_label', whole.decode('latin-1')))
        yield 'the label'

    def _in_transaction(self, call: str, whole: bytes, good: bytes) -> None:
        self._txn += 1
        txn, one = self._txn, self.new_oid()
        several = {
            'restorea': [(one, NEWEST, whole, whole), (one, Z64, whole, None)],
            'deleteObject': [(one, whole)],
            'undoa': [(whole,)],
            'checkCurrentSerialInTransaction': [(one, whole)],
            'storea': [(one, whole, good), (whole, Z64, good)],
            'storeBlobEnd': [(one, Z64, BLOB % b'N' + whole), (one, whole, whole)],
        }[call]
        for args in several:
            self._txn += 1
            self.tried(lambda client, args=args, txn=self._txn: self._one(client, call, args, txn))
        del txn

    @staticmethod
    def _one(client: RawClient, call: str, args: tuple[Any, ...], txn: int) -> None:
        client.tell('tpc_begin', txn, b'', b'', {}, None, ' ')
        if call == 'storeBlobEnd':
            client.tell('storeBlobStart')
            client.tell('storeBlobChunk', args[-1])
        client.tell(call, *args, txn)
        client.call('vote', txn)
        client.call('tpc_finish', txn)

    def call_everything(self, junk: bytes) -> None:
        """Call every method of the table on what is there, and with junk."""
        for name, method in OF_CLIENT.items():
            for args in self._arguments(name, junk):
                self._txn += 1
                if method.answered:
                    self.tried(lambda client, name=name, args=args: client.call(name, *args))
                else:
                    self.tried(
                        lambda client, name=name, args=args: (
                            client.tell(name, *args),
                            client.call('ping'),
                        )
                    )
        self._iterate()
        self._undo()

    def _undo(self) -> None:
        """Undo what was done last, each in a transaction of its own."""
        found = self.tried(lambda client: client.call('undoLog', 0, -6)) or ()
        for description in found:
            self._txn += 1
            self.tried(
                lambda client, args=(description['id'],), txn=self._txn: self._one(
                    client, 'undoa', args, txn
                )
            )

    def _arguments(self, name: str, junk: bytes) -> list[tuple[Any, ...]]:
        return self._known(junk)[name]

    def _known(self, junk: bytes) -> dict[str, list[tuple[Any, ...]]]:
        txn, oids, tids = self._txn, self.oids, self.tids
        of_objects = [(one, NEWEST) for one in oids]
        return {
            **{name: [()] for name in ('get_info', 'server_status', 'ping', 'lastTransaction')},
            'scram_first': [(junk.decode('latin-1'),), ('n,,n=app,r=' + 'n' * 24,)],
            'scram_final': [(junk.decode('latin-1'),)],
            'register': [('1', False), (junk.decode('latin-1'), False)],
            'getInvalidations': [(tid,) for tid in tids],
            'loadBefore': of_objects,
            'loadSerial': [(one, tid) for one in oids for tid in tids],
            'getTid': [(one,) for one in oids],
            'history': [(one, 20) for one in oids],
            'undoLog': [(0, -50), (0, 50)],
            'undoInfo': [(0, -50, None), (0, -50, {'user_name': junk}), (0, 50, {'key': junk})],
            'record_iternext': [(None,), *((one,) for one in oids)],
            'iterator_start': [(None, None), (tids[0], None)],
            'iterator_next': [(1,)],
            'iterator_record_start': [(1, tids[-1])],
            'iterator_record_next': [(2,)],
            'sendBlob': [(one, tid) for one in oids for tid in tids[-2:]],
            'pack': [(4e9, True)],
            'load_many': [(oids, NEWEST)],
            'used_ahead': [(oids,)],
            'iterator_batch': [(1,)],
            'new_oids': [(), (5,)],
            'set_client_label': [('label',)],
            'iterator_gc': [([5],)],
            'follow': [('label',), (junk.decode('latin-1'),)],
            'replicated': [(tids[-1],)],
            'promote': [()],
            'kick': [(junk.decode('latin-1'),)],
            'vote': [(txn,)],
            'tpc_finish': [(txn,)],
            'tpc_abort': [(txn,)],
            'commit_after': [(txn, None), (txn, txn)],
            'tpc_begin': [(txn, junk, junk, junk, None, ' ')],
            'storea': [(oids[-1], tids[-1], junk, txn)],
            'restorea': [(oids[-1], tids[-1], junk, None, txn)],
            'checkCurrentSerialInTransaction': [(oids[-1], tids[-1], txn)],
            'deleteObject': [(oids[-1], tids[-1], txn)],
            'storeBlobChunk': [(junk,)],
            'storeBlobEnd': [(oids[-1], tids[-1], junk, txn)],
            'storeBlobShared': [(oids[-1], tids[-1], junk, 'name', txn)],
            'restoreBlobEnd': [(oids[-1], tids[-1], junk, None, txn)],
            'restoreBlobShared': [(oids[-1], tids[-1], junk, None, 'name', txn)],
            'undoa': [(junk, txn)],
            'storeBlobStart': [()],
        }

    def known_calls(self) -> set[str]:
        """Return the names of the calls whose arguments are known here."""
        return set(self._known(b''))

    def _iterate(self) -> None:
        def act(client: RawClient) -> None:
            number = client.call('iterator_start', None, None)
            while (transaction := client.call('iterator_next', number)) is not None:
                records = client.call('iterator_record_start', number, transaction[0])
                while client.call('iterator_record_next', records) is not None:
                    pass
            number = client.call('iterator_start', None, None)
            while not client.call('iterator_batch', number)[1]:
                pass

        self.tried(act)
