"""A channel on a socketpair: what it buffers is bounded, what it sends arrives whole, and its end
is told once.
"""

import select
import socket
import tracemalloc

import pytest

from support.inside import unsent
from ZEO.net.channel import Channel
from ZEO.net.loop import READ, Loop
from ZEO.net.output import Unread
from ZEO.net.sending import STREAM_AHEAD, push_to_all
from ZEO.wire.frames import FrameReader, FrameTooLarge, frame
from ZEO.wire.session import Probed

LIMIT = 1_000_000

UNREAD = (
    'closed by this server: client does not read its messages, and more than 100000 bytes wait '
    'for it'
)


def to_many(channel, data):
    """Send what goes to many to this one."""
    push_to_all([channel], None, data, lambda channel, error: pytest.fail(str(error)))


class Frames(FrameReader):
    """A session whose messages are frames."""


class Owner:
    """Notes what it is told."""

    def __init__(self):
        self.messages = []
        self.reasons = []
        self.probes = 0
        self.on_message = lambda message: None

    def handle(self, messages):
        self.messages += messages
        for message in messages:
            self.on_message(message)

    def probed(self):
        self.probes += 1

    def closed(self, reason):
        self.reasons.append(reason)


class Setup:
    """A channel and the other end of its socket."""

    def __init__(self, limit=LIMIT, frame_limit=10 * LIMIT, ends=None, unread=None):
        self.loop = Loop()
        self.here, self.there = ends or socket.socketpair()
        for end in (self.here, self.there):
            end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 20_000)
            end.setblocking(False)
        self.owner = Owner()
        self.session = Frames(frame_limit)
        self.channel = Channel(self.loop, self.here, self.session, self.owner, limit, unread)

    def turn(self, times=5):
        for _ in range(times):
            self.loop.run_once(0)

    def read(self):
        """Return all that can be read now, with the loop running in between."""
        data, idle = b'', 0
        while idle < 3:
            self.turn(2)
            try:
                more = self.there.recv(100_000)
            except BlockingIOError:
                idle += 1
                continue
            except ConnectionResetError:  # closed with something unread
                break
            if not more:
                break
            data, idle = data + more, 0
        return data

    def fill(self, data):
        """Send until the socket takes no more; return how much."""
        try:
            return self.there.send(data)
        except BlockingIOError:
            return 0


@pytest.fixture
def setup():
    setups = []

    def make(**options):
        setups.append(Setup(**options))
        return setups[-1]

    yield make
    for one in setups:
        one.channel.close('the test is over')
        one.there.close()
        one.loop.close()


def waiting_in(channel):
    """Return what waits to be sent."""
    return channel._out


def test_messages_come_and_go(setup):
    one = setup()
    one.there.send(frame(b'first') + frame(b'second')[:5])
    one.turn()
    assert one.owner.messages == [b'first']
    one.there.send(frame(b'second')[5:])
    one.turn()
    assert one.owner.messages == [b'first', b'second']
    one.channel.send(frame(b'answer'))
    assert one.read() == frame(b'answer')


def test_messages_that_the_owner_leaves_come_in_the_next_turn(setup):
    one, taken = setup(), []

    def two_at_a_time(messages):
        assert one.loop.serving == one.here.fileno()  # so that it does not wait for itself
        for message in messages:
            taken.append(message)
            if len(taken) % 2 == 0:
                return False
        return True

    one.owner.handle = two_at_a_time
    received = one.session.received
    one.session.received = lambda count: iter(received(count))
    one.there.send(b''.join(frame(b'%d' % number) for number in range(7)))
    one.turn(1)
    assert taken == [b'0', b'1']
    one.there.send(frame(b'7'))  # waits for those before it
    one.turn(1)
    assert taken == [b'0', b'1', b'2', b'3']
    one.turn(5)
    assert taken == [b'%d' % number for number in range(8)]


def test_messages_that_were_left_wait_until_the_answers_are_read(setup):
    one, taken = setup(limit=100_000), []

    def while_there_is_room(messages):
        for message in messages:
            taken.append(message)
            one.channel.send(frame(b'a' * 60_000))
            if one.channel.is_full:
                return False
        return True

    one.owner.handle = while_there_is_room
    received = one.session.received
    one.session.received = lambda count: iter(received(count))
    one.there.send(b''.join(frame(b'%d' % number) for number in range(50)))
    one.turn(10)
    assert len(taken) < 10
    assert one.read() == frame(b'a' * 60_000) * 50
    assert len(taken) == 50


def test_a_close_drops_the_messages_that_were_left(setup):
    one, taken = setup(), []

    def one_at_a_time(messages):
        for message in messages:
            taken.append(message)
            return False
        return True

    one.owner.handle = one_at_a_time
    received = one.session.received
    one.session.received = lambda count: iter(received(count))
    one.there.send(b''.join(frame(b'%d' % number) for number in range(50)))
    one.turn(1)
    one.channel.close('the test says so')
    one.turn(10)
    assert len(taken) < 5 and one.owner.reasons == ['the test says so']


def test_a_stream_to_one_who_reads_fast_gives_way(setup):
    one, others = setup(), []
    one.there.setblocking(True)
    chunks = (b'c' * 60_000 for _ in range(1000))
    one.channel.stream(chunks)
    for _turn in range(3):
        one.loop.soon(lambda: others.append(1))
        one.turn(1)
    assert len(others) == 3 and any(chunks)  # some are left to send


class Counting(socket.socket):
    """A socket that counts its sends."""

    sends = 0

    def send(self, data):
        self.sends += 1
        return super().send(data)


def test_all_answers_of_a_wake_up_leave_together(setup):
    here, there = socket.socketpair()
    counting = Counting(fileno=here.detach())
    one = setup(ends=(counting, there))
    one.owner.on_message = lambda message: one.channel.send(frame(message))
    one.there.send(b''.join(frame(b'%d' % n) for n in range(100)))
    assert one.read() == b''.join(frame(b'%d' % n) for n in range(100))
    assert counting.sends == 1


@pytest.mark.parametrize(
    'sizes',
    [[3_000_000], [1, 200_000, 5, 64 * 1024, 64 * 1024 - 1, 100_000], [10] * 30_000, [0, 0, 1]],
)
def test_everything_arrives_in_order_in_spite_of_partial_writes(setup, sizes):
    one = setup(limit=10 * LIMIT)
    pieces = [bytes([number % 251]) * size for number, size in enumerate(sizes)]
    for piece in pieces:
        one.channel.send(piece)
    assert one.read() == b''.join(pieces)
    assert unsent(one.channel) == 0


def test_nothing_is_read_from_a_client_that_does_not_read(setup):
    """It asks and asks; past the bound its requests stay where they are, in its own socket."""
    one = setup(limit=100_000)
    one.owner.on_message = lambda message: one.channel.send(b'a' * 10_000)
    for _ in range(300):
        one.fill(frame(b'please' * 100))
        one.turn(2)
    answered = len(one.owner.messages)
    assert answered < 100  # the bound, what the kernel took, and what the last read brought
    assert one.fill(b'x' * 100_000) < 100_000
    one.turn()
    assert len(one.owner.messages) == answered


def test_it_is_read_again_once_it_reads(setup):
    one = setup(limit=100_000)
    one.channel.send(b'a' * 500_000)
    one.turn()
    one.there.send(frame(b'hello'))
    one.turn()
    assert one.owner.messages == []
    assert len(one.read()) == 500_000
    one.turn()
    assert one.owner.messages == [b'hello']


def test_what_nobody_asked_for_is_bounded(setup):
    one = setup(limit=100_000)
    for _ in range(200):
        one.channel.push(b'i' * 1000)
        one.turn(1)
    assert one.owner.reasons == [UNREAD]
    assert not waiting_in(one.channel)


def test_pushes_to_one_who_reads_are_not(setup):
    one = setup(limit=100_000)
    for _ in range(500):
        one.channel.push(b'i' * 1000)
        assert one.read() == b'i' * 1000
    assert not one.owner.reasons


def test_large_answers_do_not_count_as_pushes(setup):
    one = setup(limit=100_000)
    one.channel.send(b'a' * 1_000_000)
    one.turn()
    one.channel.push(b'i')
    assert len(one.read()) == 1_000_001


def test_the_answer_to_all_that_has_come_leaves_at_once(setup):
    one = setup()
    one.channel.answer(b'answer')
    assert one.there.recv(100) == b'answer'  # the loop did not run
    assert one.channel.bytes_sent == 6
    assert not waiting_in(one.channel)


def test_an_answer_keeps_its_place(setup):
    one = setup()
    one.channel.push(b'first')
    one.channel.answer(b' second')
    one.channel.stream(iter([b' third']))
    one.channel.answer(b' fourth')
    assert one.read() == b'first second fourth third'


def test_answers_are_taken_up_where_the_socket_was_full(setup):
    one = setup()
    one.owner.on_message = lambda message: one.channel.answer(message * 4)
    asked = [b'%06d' % number for number in range(20_000)]
    frames, received = b''.join(map(frame, asked)), b''
    while frames or one.channel.unsent or len(received) < 24 * len(asked):
        frames = frames[one.fill(frames[:5000]) :]
        received += one.read()
    assert received == b''.join(message * 4 for message in asked)


def test_an_answer_meets_one_who_has_gone(setup):
    one = setup()
    one.there.close()
    one.channel.answer(b'answer')
    one.channel.answer(b'another')
    assert one.owner.reasons == ['the connection broke: Broken pipe']


def test_what_goes_to_many_leaves_at_once(setup):
    one = setup()
    to_many(one.channel, b'news')
    assert one.there.recv(100) == b'news'  # the loop did not run
    assert not waiting_in(one.channel)


def test_what_goes_to_many_goes_to_all_but_one_and_past_one_that_cannot_be_sent_it(setup):
    first, second, broken, gone, last = several = [setup() for _ in range(5)]
    ours, broken.channel._socket = broken.channel._socket, None  # what is no error of a socket
    gone.there.close()
    failed = []
    push_to_all(
        [one.channel for one in several],
        second.channel,
        b'news',
        lambda channel, error: failed.append((channel, type(error))),
    )
    broken.channel._socket = ours
    assert first.there.recv(100) == last.there.recv(100) == b'news'
    assert second.read() == b''
    assert failed == [(broken.channel, AttributeError)]
    assert gone.owner.reasons == ['the connection broke: Broken pipe']
    assert [one.channel.bytes_sent for one in several] == [4, 0, 0, 0, 4]


def test_what_goes_to_many_keeps_its_place(setup):
    one = setup()
    one.channel.send(b'first')
    to_many(one.channel, b' second')
    one.channel.stream(iter([b' third']))
    to_many(one.channel, b'?')
    assert one.read() == b'first second? third'
    one.channel.stream(iter([b'1' * 1000, b'2' * 1000]))
    one.turn()
    to_many(one.channel, b'3')
    assert one.read() == b'1' * 1000 + b'2' * 1000 + b'3'


def test_what_goes_to_many_is_bounded_too(setup):
    one = setup(limit=100_000)
    for _ in range(300):
        to_many(one.channel, b'n' * 1000)
    assert one.owner.reasons == [UNREAD]


@pytest.mark.parametrize('size', [600, 120_000])
def test_what_goes_to_many_is_taken_up_where_the_socket_was_full(setup, size):
    one = setup()
    sent = b''.join(b'%06d' % number for number in range(20_000))
    for start in range(0, len(sent), size):
        to_many(one.channel, sent[start : start + size])
    assert waiting_in(one.channel)
    assert one.read() == sent


def test_one_large_piece_for_many_is_not_copied_and_gives_way_to_the_others(setup):
    ends = socket.socketpair()
    one = setup(limit=10_000_000, ends=ends)
    ends[0].setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4_000_000)
    sent = b''.join(b'%08d' % number for number in range(200_000))
    tracemalloc.start()
    to_many(one.channel, sent)
    copied = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert copied < 100_000
    at_once = one.channel.bytes_sent
    assert 0 < at_once < len(sent) / 4
    one.turn(1)
    assert one.channel.bytes_sent < len(sent) / 2
    assert one.read() == sent


def test_a_large_one_in_turn_leaves_when_the_loop_finds_space_for_it_and_keeps_its_place(setup):
    one = setup(limit=10_000_000)
    sent = b''.join(b'%08d' % number for number in range(200_000))
    to_many(one.channel, b'first ')
    one.channel.push_in_turn((b'head ', sent))
    assert one.channel.bytes_sent == len(b'first ')
    to_many(one.channel, b' next')
    one.channel.answer(b' last')
    assert one.read() == b'first head ' + sent + b' next last'
    assert not waiting_in(one.channel)


def test_large_ones_in_turn_are_bounded_too(setup):
    one = setup(limit=100_000)
    one.channel.push_in_turn((b'head', b'n' * 60_000))
    assert not one.owner.reasons
    one.channel.push_in_turn((b'head', b'n' * 60_000))
    assert one.owner.reasons == [UNREAD]


def test_what_goes_to_many_meets_one_who_has_gone(setup):
    one = setup()
    one.there.close()
    to_many(one.channel, b'news')
    to_many(one.channel, b'more')
    assert one.owner.reasons == ['the connection broke: Broken pipe']


def test_a_stream_costs_little_memory_however_long(setup):
    one, most = setup(limit=10 * LIMIT), 0

    def chunks():
        nonlocal most
        for _ in range(200):
            most = max(most, unsent(one.channel))
            yield b'c' * 50_000

    one.channel.stream(chunks())
    assert len(one.read()) == 200 * 50_000
    assert most < STREAM_AHEAD


def test_streams_take_turns_with_each_other_and_with_answers(setup):
    one = setup(limit=10 * LIMIT)
    for name in (b'a', b'b'):
        one.channel.stream(iter([name * 60_000] * 50))
    one.turn(1)
    one.channel.send(b'!')
    got = one.read()
    assert len(got) == 100 * 60_000 + 1
    assert got.index(b'b') == 60_000
    assert got.index(b'!') < len(got) // 4
    assert got[::60_000].count(b'a') in (49, 50, 51)


def test_a_stream_is_closed_with_its_channel(setup):
    one, closed = setup(), []

    def chunks():
        try:
            while True:
                yield b'c' * 60_000
        finally:
            closed.append(1)

    one.channel.stream(chunks())
    one.turn()
    one.channel.close('now')
    assert closed == [1]


def test_a_stream_whose_file_fails_ends_the_connection(setup):
    one = setup()

    def chunks():
        yield b'some'
        raise OSError(5, 'Input/output error')

    one.channel.stream(chunks())
    one.turn()
    assert one.owner.reasons == ['the connection broke: Input/output error']


def test_last_words_are_said_and_nothing_is_heard_after_them(setup):
    one = setup()
    one.channel.send_last(b'l' * 300_000)
    one.there.send(frame(b'too late'))
    assert one.read() == b'l' * 300_000
    one.turn()
    assert one.owner.reasons == ['done']
    assert one.owner.messages == []


def test_the_end_is_told_once(setup):
    one = setup()
    one.channel.send(b'x')
    one.channel.close('enough')
    one.channel.close('again')
    one.channel.send(b'y')
    one.channel.push(b'z')
    one.turn()
    assert one.owner.reasons == ['enough']


def test_an_end_that_its_owner_could_not_take_for_want_of_memory_is_told_again(setup):
    one, failures = setup(), [MemoryError(), None]
    closed = one.owner.closed

    def without_memory(reason):
        failure = failures.pop(0)
        if failure is not None:
            raise failure
        closed(reason)

    one.owner.closed = without_memory
    with pytest.raises(MemoryError):
        one.channel.close('enough')
    assert one.loop.lost_task
    one.loop.lost_task = False
    one.channel.close('again')
    one.channel.close('and again')
    assert one.owner.reasons == ['again']
    assert failures == []


def test_an_end_during_which_a_task_was_lost_is_told_again(setup):
    one = setup()
    closed = one.owner.closed

    def lose_a_task(reason):
        one.loop.lost_task = len(one.owner.reasons) == 0
        closed(reason)

    one.owner.closed = lose_a_task
    for reason in 'enough', 'again', 'and again':
        one.channel.close(reason)
    assert one.owner.reasons == ['enough', 'again']


def test_a_socket_that_the_loop_could_not_let_go_for_want_of_memory_is_closed(setup, monkeypatch):
    one = setup()

    def remove(file):
        monkeypatch.undo()
        raise MemoryError

    monkeypatch.setattr(one.loop, 'remove', remove)
    with pytest.raises(MemoryError):
        one.channel.close('enough')
    assert one.there.recv(1) == b''
    one.channel.close('again')
    assert one.owner.reasons == ['again']


def test_the_other_side_closes(setup):
    one = setup()
    one.there.close()
    one.turn()
    assert one.owner.reasons == ['the other side has closed']


def test_the_other_side_breaks_off(setup):
    one = setup()
    one.channel.send(b'x' * 500_000)
    one.turn()
    one.there.close()
    one.turn()
    assert len(one.owner.reasons) == 1


@pytest.mark.parametrize(
    'error, reason',
    [
        (FrameTooLarge('too much'), 'closed by this server: too much'),
        (MemoryError(), 'closed by this server: not enough memory for a message of the client'),
    ],
)
def test_what_a_session_refuses_closes(setup, error, reason):
    one = setup()

    def refuse(message):
        raise error

    one.owner.on_message = refuse
    one.there.send(frame(b'x'))
    one.turn()
    assert one.owner.reasons == [reason]


def test_a_probe_is_told(setup, monkeypatch):
    one = setup()

    def probe(count):
        raise Probed

    monkeypatch.setattr(one.session, 'received', probe)
    one.there.send(b'x')
    one.turn()
    assert one.owner.probes == 1


def test_a_channel_closed_in_its_own_wake_up_is_left_alone(setup):
    """Two are ready at once, and the first closes the second."""
    one = setup()
    one.there.send(frame(b'x'))
    one.channel.is_closed = True
    one.turn()
    assert one.owner.messages == []
    one.channel.is_closed = False


def test_a_channel_that_is_held_reads_nothing_until_all_reasons_are_gone():
    setup = Setup()
    setup.channel.hold('one')
    setup.channel.hold('other')
    setup.there.send(frame(b'message'))
    setup.turn()
    setup.channel.release('one')
    setup.channel.release('none')
    setup.turn()
    assert setup.owner.messages == []
    setup.channel.send(b'answer')  # what is sent leaves all the same
    assert setup.read() == b'answer'
    setup.channel.release('other')
    setup.turn()
    assert setup.owner.messages == [b'message']


def test_a_channel_that_is_held_while_it_is_ready_is_not_taken_for_one_that_has_ended():
    setup = Setup()
    setup.there.send(frame(b'message'))
    setup.channel.hold('reason')
    setup.channel._on_ready(READ)  # as the loop does that was told so before
    assert setup.owner.reasons == [] and setup.owner.messages == []
    setup.channel.release('reason')
    setup.turn()
    assert setup.owner.messages == [b'message']


@pytest.mark.skipif(not hasattr(select, 'epoll'), reason='told by epoll only')
@pytest.mark.parametrize('kind', ['unix', 'tcp'])
def test_the_end_of_a_stream_that_is_held_is_noticed(kind):
    setup = Setup(ends=tcp_pair() if kind == 'tcp' else None)
    setup.channel.hold('reason')
    setup.there.send(frame(b'message'))
    setup.there.close()
    for _ in range(100):
        setup.loop.run_once(0.1)
        if setup.owner.reasons:
            break
    assert setup.owner.reasons == ['the other side has closed'] and setup.owner.messages == []


def tcp_pair():
    """Return the two ends of a connection."""
    with socket.socket() as listener:
        listener.bind(('127.0.0.1', 0))
        listener.listen()
        there = socket.create_connection(listener.getsockname())
        return listener.accept()[0], there


def test_what_waits_is_counted_for_all_until_it_is_read_or_the_stream_ends():
    unread = Unread(LIMIT)
    one, other = Setup(limit=100 * LIMIT, unread=unread), Setup(unread=unread)
    one.channel.send(b'x' * 10 * LIMIT)
    one.turn()
    assert unread.total > LIMIT and one.channel.is_full and not other.channel.is_full
    assert len(one.read()) == 10 * LIMIT
    assert unread.total == 0 and not one.channel.is_full
    one.channel.send(b'x' * 10 * LIMIT)
    one.turn()
    one.channel.close('done')
    assert unread.total == 0
