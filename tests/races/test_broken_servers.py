"""A server with a fault, or one that means harm: the client says so, in one way, and neither keeps
nor hands on what came.
"""

import os
import time

import pytest
from ZODB.POSException import ConflictError
from ZODB.utils import maxtid, z64

from support.inside import cache_of, link_of
from support.scripted import INFO, Answering, Unexpected, oid, tid
from ZEO.cache.memory_cache import MemoryCache
from ZEO.Exceptions import ClientDisconnected, ProtocolError, UnrecognizedResult

FIRST = tid(1)
RECORD = (oid(1), tid(1), b'data', None)
DESCRIBED = (tid(1), ' ', b'', b'', b'')
BATCHES = {**INFO, 'extensions': ('multi_commit', 'batches')}


@pytest.fixture(params=[b'Z5', b'M5'], ids=['Z5', 'M5'])
def answering(request, scripted, clients, tmp_path):
    """A function that opens a client of a scripted server which answers as the test says."""

    def connect(answers, last=FIRST, **options):
        server = scripted(protocol=request.param)
        served = Answering(server, last, answers)
        return clients(server.address, **options), served

    return connect


def finish(client, metadata):
    client.tpc_begin(metadata)
    client.store(oid(1), z64, b'mine', '', metadata)
    try:
        client.tpc_vote(metadata)
        return client.tpc_finish(metadata)
    finally:
        client.tpc_abort(metadata)


NOT_IDS = [5, 'text', b'short', [], {}, True, 1.5, [tid(1)]]
NOT_TIDS = [*NOT_IDS, b'\xff' * 8]
NOT_LISTS_OF_DICTS = [5, 'text', {}, [5], [[]], [{}, None], None, b'']
NOT_NUMBERS = [None, 'text', b'1', [1], 1.5, True]
NOT_BYTES = [None, 5, 'text', [b''], {}]
NOT_RECORDS = [
    5,
    'abc',
    [],
    {},
    ('data', 'tid', 5),
    (b'd', tid(1)),
    (b'd', b'short', None),
    (b'd', tid(1), 5),
    ('d', tid(1), None),
    (b'd', tid(1), b'short'),
    (b'd', None, None),
    (None, tid(1), None),
    (b'd', tid(1), None, None),
    b'abc',
]

#: The call -> how an application makes it, and what can't be an answer.
CASES = {
    'loadBefore': (lambda client, _: client.loadBefore(oid(1), maxtid), NOT_RECORDS),
    'loadSerial': (lambda client, _: client.loadSerial(oid(1), tid(1)), NOT_BYTES),
    'getTid': (lambda client, _: client.getTid(oid(1)), [None, *NOT_IDS]),
    'new_oids': (
        lambda client, _: client.new_oid(),
        [None, [], 5, 'text', {}, [5], [b'short'], [oid(1), None], ['x' * 8]],
    ),
    'history': (lambda client, _: client.history(oid(1)), NOT_LISTS_OF_DICTS),
    'undoLog': (lambda client, _: client.undoLog(), NOT_LISTS_OF_DICTS),
    'undoInfo': (lambda client, _: client.undoInfo(), NOT_LISTS_OF_DICTS),
    'record_iternext': (
        lambda client, _: client.record_iternext(),
        [
            None,
            5,
            [],
            (oid(1), tid(1), b''),
            (5, tid(1), b'', None),
            (oid(1), 5, b'', None),
            (oid(1), tid(1), 'x', None),
            (oid(1), tid(1), b'x', []),
        ],
    ),
    'server_status': (lambda client, _: client.server_status(), [None, 5, [], 'text', b'']),
    'iterator_start': (lambda client, _: client.iterator(), NOT_NUMBERS),
    'vote': (
        finish,
        [
            5,
            'text',
            {},
            [5],
            [b'short'],
            [{}],
            [{'oid': oid(1)}],
            [{'oid': 5, 'serials': (tid(1), tid(1)), 'data': b''}],
            [{'oid': oid(1), 'serials': 5, 'data': b''}],
            [{'oid': oid(1), 'serials': (tid(1),), 'data': b''}],
            [{'oid': oid(1), 'serials': (tid(1), tid(1)), 'data': 'x'}],
        ],
    ),
    'tpc_finish': (finish, [None, *NOT_TIDS]),
}


@pytest.mark.parametrize('call', CASES)
def test_an_answer_of_another_type_is_said_to_be_one(answering, metadata, call):
    act, wrong = CASES[call]
    client, server = answering({'vote': [], 'tpc_finish': tid(2)})
    for answer in wrong:
        server.answers[call] = answer
        with pytest.raises(UnrecognizedResult, match=f'answered {call} with'):
            act(client, metadata)
        assert client.load is not None and len(cache_of(client)) == 0
    assert client.ping() is None  # it works on, if need be over a connection of its own


NEXT = [
    5,
    'text',
    [],
    {},
    DESCRIBED[:4],
    (5, *DESCRIBED[1:]),
    (*DESCRIBED[:1], 5, *DESCRIBED[2:]),
    (*DESCRIBED[:2], 5, b'', b''),
    (*DESCRIBED[:4], 5),
    (*DESCRIBED[:4], []),
]
NO_RECORDS = [
    5,
    'text',
    [],
    {},
    RECORD[:3],
    (5, *RECORD[1:]),
    (oid(1), 5, b'', None),
    (oid(1), tid(1), 5, None),
    (oid(1), tid(1), b'', 5),
]


def test_a_transaction_of_another_type_ends_an_iteration_with_an_error(answering):
    client, server = answering({'iterator_start': 1})
    for answer in NEXT:
        server.answers['iterator_next'] = answer
        with pytest.raises(UnrecognizedResult, match='answered iterator_next with'):
            list(client.iterator())


def test_a_record_of_another_type_ends_an_iteration_with_an_error(answering):
    client, server = answering(
        {'iterator_start': 1, 'iterator_next': DESCRIBED, 'iterator_record_start': 2}
    )
    for answer in NO_RECORDS:
        server.answers['iterator_record_next'] = answer
        with pytest.raises(UnrecognizedResult, match='answered iterator_record_next with'):
            [list(transaction) for transaction in client.iterator()]
    server.answers['iterator_record_start'] = 'x'
    with pytest.raises(UnrecognizedResult, match='answered iterator_record_start with'):
        [list(transaction) for transaction in client.iterator()]


def test_a_batch_of_another_type_ends_an_iteration_with_an_error(answering):
    client, server = answering({'iterator_start': 1, 'get_info': BATCHES})
    for answer in [
        None,
        5,
        [],
        {},
        ([], 5),
        (5, True),
        ([5], True),
        ([(DESCRIBED, [])], True),
        ([(DESCRIBED, [], 5)], True),
        ([(DESCRIBED, 5, True)], True),
        *[([(other, [], True)], True) for other in NEXT],
        *[([(DESCRIBED, [other], True)], True) for other in NO_RECORDS],
    ]:
        server.answers['iterator_batch'] = answer
        with pytest.raises(UnrecognizedResult, match='answered iterator_batch with'):
            list(client.iterator())


def test_a_prefetch_that_is_answered_with_something_else_is_as_good_as_none(answering):
    client, server = answering({'get_info': BATCHES, 'loadBefore': (b'data', tid(1), None)})
    connection = link_of(client).connection
    for answer in [
        None,
        5,
        [],
        'text',
        [None],
        [None] * 3,
        [5, None],
        [None, ('data', 'tid', 5)],
        {},
    ]:
        server.answers['load_many'] = answer
        client.prefetch([oid(1), oid(2)], maxtid)
        assert client.load(oid(1)) == client.load(oid(2)) == (b'data', tid(1))
        cache_of(client).clear()
    assert link_of(client).connection is connection


@pytest.mark.parametrize(
    'call, wrong',
    [
        ('register', [5, 'text', b'short', [], {}]),
        ('lastTransaction', [None, *NOT_TIDS]),
        (
            'get_info',
            [
                None,
                5,
                [],
                'text',
                {'interfaces': 5},
                {'interfaces': [('a', 'b', 'c')]},
                {'interfaces': ('ab',)},
                {'interfaces': [('a', 5)]},
                {'interfaces': [5]},
                {'extensions': 5},
                {'extensions': [5]},
                {'length': 'x'},
                {'size': None},
                {'size': 'x'},
                {'max-message-size': 'x'},
                {'extensions': 'batches'},
            ],
        ),
    ],
)
def test_a_server_that_can_not_say_what_it_serves_is_refused_and_tried_again(
    scripted, clients, call, wrong
):
    """The thread that connects lives on: once the server answers as it should, there is a
    connection.
    """
    server = scripted()
    served = Answering(server, tid(1), {'register': None} if call == 'lastTransaction' else {})
    good = served.answers[call]
    for answer in wrong:
        served.answers[call] = answer
        with pytest.raises(UnrecognizedResult, match=f'answered {call} with'):
            clients(server.address)
    client = clients(server.address, wait=False)
    with pytest.raises(UnrecognizedResult):
        client.ping()
    served.answers[call] = good
    _reach(client)


def test_an_answer_to_the_cache_check_of_another_type_is_refused(answering):
    for answer in [
        5,
        'text',
        [],
        (tid(2),),
        (5, []),
        (tid(2), 5),
        (tid(2), [5]),
        (tid(2), [b'short']),
        (b'short', []),
    ]:
        cache = MemoryCache()
        cache.setLastTid(tid(1))
        with pytest.raises(UnrecognizedResult, match='answered getInvalidations with'):
            answering({'getInvalidations': answer}, last=tid(2), cache=cache)


MESSAGES = [
    ('invalidateTransaction',),
    ('invalidateTransaction', tid(2)),
    ('invalidateTransaction', 5, []),
    ('invalidateTransaction', b'short', []),
    ('invalidateTransaction', b'\xff' * 8, []),
    ('invalidateTransaction', tid(2), 5),
    ('invalidateTransaction', tid(2), [5]),
    ('invalidateTransaction', tid(2), [b'short']),
    ('invalidateTransaction', tid(2), [[]]),
    ('invalidateTransaction', tid(2), {}),
    ('info',),
    ('info', 5),
    ('info', {'size': 'x'}),
    ('info', {'extensions': 5}),
    ('info', {'interfaces': [5]}),
    ('receiveBlobStart',),
    ('receiveBlobStart', oid(1), tid(1)),
    ('receiveBlobChunk', oid(1), tid(1), b'x'),
    ('receiveBlobStop', [], {}),
    ('receiveBlobElse', oid(1), tid(1)),
    ('loadBefore', oid(1), tid(1)),
    ('',),
    ('x' * 1000,),
]


@pytest.mark.parametrize('blobs', [False, True], ids=['', 'blob_dir'])
def test_a_message_that_makes_no_sense_ends_the_connection(answering, tmp_path, caplog, blobs):
    """No thread is killed by it, and the next connection works."""
    client, server = answering({}, **{'blob_dir': str(tmp_path / 'blobs')} if blobs else {})
    for name, *args in MESSAGES:
        client.ping()
        said = server.connections[-1]
        said.tell(name, *args)
        _until(lambda said=said: not client.is_connected() or server.connections[-1] is not said)
        _reach(client)
    assert client.lastTransaction() == tid(1) and 'Traceback' not in caplog.text


def merge_everything(client, monkeypatch):
    monkeypatch.setattr(client._commits, '_merge', lambda *_: b'merged')


def test_conflicts_that_are_handed_back_for_ever_end_the_transaction(
    answering, metadata, monkeypatch
):
    number = iter(range(2, 10**6))

    def vote(client, request):
        client.send(
            request.reply(
                [{'oid': oid(1), 'serials': (tid(next(number)), tid(1)), 'data': b'lost'}]
            )
        )

    client, server = answering({'vote': vote})
    merge_everything(client, monkeypatch)
    with pytest.raises(ConflictError, match='after 100 votes'):
        finish(client, metadata)
    assert next(number) == 102


def test_a_conflict_that_is_handed_back_once_more_ends_the_transaction(
    answering, metadata, monkeypatch
):
    client, server = answering(
        {'vote': [{'oid': oid(1), 'serials': (tid(2), tid(1)), 'data': b'lost'}]}
    )
    merge_everything(client, monkeypatch)
    with pytest.raises(ConflictError, match='resolved before'):
        finish(client, metadata)


def test_a_commit_whose_tid_is_not_one_is_found_out_by_the_next_connection(
    answering, metadata, logged_cache
):
    """It may be committed: what the cache has of it must not be served as current."""
    client, server = answering(
        {'vote': [], 'tpc_finish': 5, 'loadBefore': (b'old', tid(1), None)}, cache=logged_cache
    )
    assert client.load(oid(1)) == (b'old', tid(1))
    server.answers.update(
        register=tid(2),
        lastTransaction=tid(2),
        getInvalidations=(tid(2), [oid(1)]),
        loadBefore=(b'mine', tid(2), None),
    )
    with pytest.raises(ProtocolError):
        finish(client, metadata)
    _reach(client)
    assert client.load(oid(1)) == (b'mine', tid(2)) and client.lastTransaction() == tid(2)


class TestBlobs:
    """What is in the blob cache is what was committed, to the last byte."""

    @pytest.fixture(params=[False, True], ids=['', 'announced'])
    def announced(self, request):
        return request.param

    @pytest.fixture
    def sending(self, answering, tmp_path, announced):
        """A function that opens a client whose server sends these messages for a blob, and then
        says that it has.
        """

        def connect(*messages):
            def send(client, request):
                assert len(request.args) == 2 + announced
                for name, *args in messages:
                    if name == 'receiveBlobStart' and announced and len(args) == 2:
                        args.append(6)
                    client.tell(name, *args)
                client.send(request.reply(None))

            info = {
                **INFO,
                'extensions': ('multi_commit', 'blob_length') if announced else ('multi_commit',),
            }
            return answering({'sendBlob': send, 'get_info': info}, blob_dir=str(tmp_path / 'blobs'))

        return connect

    START, CHUNK, STOP = [
        ('receiveBlob' + part, oid(1), tid(1)) for part in ('Start', 'Chunk', 'Stop')
    ]

    def kept(self, tmp_path):
        return [
            name
            for _, _, names in os.walk(tmp_path / 'blobs')
            for name in names
            if name.endswith(('.blob', '.tmp'))
        ]

    def test_a_whole_one_is_kept(self, sending, tmp_path):
        client, _ = sending(self.START, (*self.CHUNK, b'abc'), (*self.CHUNK, b'def'), self.STOP)
        with client.openCommittedBlobFile(oid(1), tid(1)) as file:
            assert file.read() == b'abcdef'
        assert len(self.kept(tmp_path)) == 1

    @pytest.mark.parametrize(
        'messages',
        [
            [],
            [START],
            [START, (*CHUNK, b'abc')],
            [STOP],
            [(*CHUNK, b'abc'), STOP],
            [START, STOP, STOP],
            [START, START, STOP],
            [START, STOP, (*CHUNK, b'abc')],
            [START, (*CHUNK, 'text'), STOP],
            [START, (*CHUNK, 5), STOP],
            [START, CHUNK, STOP],
            [START, (*CHUNK, [b'abc']), STOP],
            [START, ('receiveBlobChunk', oid(2), tid(1), b'abcdef'), STOP],
            [START, ('receiveBlobChunk', oid(1), tid(2), b'abcdef'), STOP],
            [('receiveBlobStart', oid(2), tid(1)), STOP],
            [(*START, 'x'), STOP],
            [(*START, -1), STOP],
            [(*START, 6, 6), STOP],
        ],
        ids=str,
    )
    def test_one_with_a_fault_is_not(self, sending, tmp_path, messages):
        client, server = sending(*messages)
        with pytest.raises((ProtocolError, ClientDisconnected)):
            client.loadBlob(oid(1), tid(1))
        assert self.kept(tmp_path) == []
        _reach(client)

    @pytest.mark.parametrize('announced', [True], indirect=True)
    @pytest.mark.parametrize(
        'chunks', [[], [b'abc'], [b'abcdef', b'g'], [b'abcdefg'], [b'x' * 2**20] * 50]
    )
    def test_one_of_another_length_than_announced_is_not(self, sending, tmp_path, chunks):
        client, server = sending(self.START, *[(*self.CHUNK, chunk) for chunk in chunks], self.STOP)
        with pytest.raises((ProtocolError, ClientDisconnected), match='bytes'):
            client.loadBlob(oid(1), tid(1))
        assert self.kept(tmp_path) == []

    @pytest.mark.parametrize('announced', [False], indirect=True)
    def test_an_empty_one_of_an_older_server_is_kept(self, sending, tmp_path):
        client, _ = sending(self.START, self.STOP)
        assert os.path.getsize(client.loadBlob(oid(1), tid(1))) == 0


def _reach(client):
    """Wait until the client has a connection again."""

    def connected():
        try:
            client.ping()
        except (ClientDisconnected, ProtocolError):
            return False
        return True

    _until(connected)


def _until(condition):
    deadline = time.monotonic() + 30
    while not condition():
        if time.monotonic() > deadline:
            raise Unexpected('it does not come to that')
        time.sleep(0.005)
