"""Guessing is slow for who guesses, and keeps nobody else out."""

import pytest

from ZEO.serving.access import attempts
from ZEO.serving.access.attempts import BY_ALL, BY_BOTH, BY_SOURCE, BY_USER, Attempts


class Now:
    """A clock that stands still."""

    def __init__(self):
        self.seconds = 1000.0

    def __call__(self):
        return self.seconds


@pytest.fixture
def now():
    return Now()


@pytest.fixture
def guesses(now):
    return Attempts(now)


def guess(guesses, sources, users, times):
    """Fail as often as is looked at; return how often that was."""
    looked = 0
    for number in range(times):
        source, user = sources[number % len(sources)], users[number % len(users)]
        if not guesses.wait(source, user):
            guesses.failed(source, user)
            looked += 1
    return looked


def test_one_source_that_guesses_for_one_user(guesses, now):
    assert guess(guesses, ['a'], ['u'], 1000) == BY_BOTH[0]
    assert 0 < guesses.wait('a', 'u') <= BY_BOTH[1]
    now.seconds += guesses.wait('a', 'u')
    assert guess(guesses, ['a'], ['u'], 1000) == 1
    now.seconds += 3600
    assert guess(guesses, ['a'], ['u'], 1000) == BY_BOTH[0]


def test_one_source_that_guesses_for_many_users(guesses):
    assert guess(guesses, ['a'], [f'u{number}' for number in range(500)], 1000) == BY_SOURCE[0]
    assert not guesses.wait('b', 'u1')


def test_many_sources_that_guess_for_one_user(guesses):
    assert guess(guesses, [f's{number}' for number in range(500)], ['u'], 1000) == BY_USER[0]
    assert not guesses.wait('s1', 'another')


def test_many_sources_that_guess_for_many_users(guesses, now):
    sources = [f's{number}' for number in range(5000)]
    users = [f'u{number}' for number in range(4999)]
    assert guess(guesses, sources, users, 5000) == BY_ALL[0]
    now.seconds += 1
    assert guess(guesses, sources, users, 5000) == pytest.approx(1 / BY_ALL[1], abs=1)


def test_who_has_proved_the_secret_before_is_not_kept_out_by_others(guesses):
    guesses.succeeded('home', 'u')
    guess(guesses, [f's{number}' for number in range(5000)], ['u', 'v', 'w'], 20_000)
    guess(guesses, ['home'], ['v', 'w', *map(str, range(100))], 1000)
    assert guesses.wait('elsewhere', 'u')
    assert not guesses.wait('home', 'u')


def test_not_even_by_a_process_that_has_an_old_secret_for_long(guesses, now):
    guesses.succeeded('home', 'u')
    guess(guesses, ['home'], ['u'], 1000)
    assert 0 < guesses.wait('home', 'u') <= BY_BOTH[1]


def test_success_costs_nothing(guesses):
    for _ in range(10_000):
        assert not guesses.wait('a', 'u')
        guesses.succeeded('a', 'u')


def test_failures_are_answered_later_and_later_up_to_a_bound(guesses):
    late = [guesses.failed('a', 'u') for _ in range(10)]
    assert late == sorted(late)
    assert late[0] == attempts.FIRST_DELAY and late[-1] == attempts.LONGEST_DELAY
    assert guesses.failed('b', 'u') == attempts.FIRST_DELAY


def test_a_flood_grows_no_table(guesses, now, monkeypatch):
    monkeypatch.setattr(attempts, 'MOST', 100)
    for number in range(1000):
        guesses.failed(f's{number}', f'u{number}')
        guesses.succeeded(f's{number}', f'u{number}')
        guesses.wait(f't{number}', f'u{number}')
    tables = [value for value in vars(guesses).values() if hasattr(value, '__len__')]
    assert [len(table) for table in tables] == [100, 100, 100, 1, 100]
