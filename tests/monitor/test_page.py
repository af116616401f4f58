"""The live page in a browser: what people see, and that no text of a client becomes part of it."""

import os
import threading

import pytest
import transaction
from ZODB.FileStorage import FileStorage
from ZODB.MappingStorage import MappingStorage

from support import chromium
from ZEO.serving.monitor.page import PAGE

#: Labels that a client may choose, to have the page run something.
NASTY = [
    '<img src=x onerror="window.struck = 1">',
    '"><script>window.struck = 1</script>',
    "'-window.struck-' {{7*7}} ${window.struck = 1}",
    '</script><svg onload=window.struck=1>',
]

pytestmark = [
    pytest.mark.timeout(180),
    pytest.mark.skipif(
        chromium.found() is None and 'CI' not in os.environ, reason='there is no chromium'
    ),
]


@pytest.fixture(scope='module')
def browser(tmp_path_factory):
    with chromium.Chromium(tmp_path_factory.mktemp('chromium')) as one:
        yield one


@pytest.fixture
def server(monitored, tmp_path):
    storages = {'main': FileStorage(str(tmp_path / 'Data.fs')), NASTY[0]: MappingStorage()}
    return monitored(storages)


def show(browser, server):
    host, port = server.server.monitor_addresses[0]
    del browser.complaints[:]
    browser.looks(1280, 900)
    browser.open(f'http://{host}:{port}/')
    browser.comes("document.getElementById('state')?.textContent === 'ready'")


def text(browser):
    return browser.run('document.body.innerText')


def test_it_shows_storages_clients_and_the_commit_lock(browser, server):
    holder, waiter = (server.client(client_label=name) for name in ('zope-1', 'zope-2'))
    one, other = transaction.Transaction(), transaction.Transaction()
    holder.tpc_begin(one)
    holder.tpc_vote(one)
    waiter.tpc_begin(other)
    thread = threading.Thread(target=waiter.tpc_vote, args=(other,), daemon=True)
    thread.start()
    show(browser, server)
    browser.comes("document.body.innerText.includes('waits for the commit lock')")
    seen = text(browser)
    assert 'has the commit lock: ready to finish' in seen and 'FileStorage' in seen
    assert '1 transaction waits: ' in seen and '(zope-2)' in seen
    holder.tpc_abort(one)
    thread.join(30)
    waiter.tpc_abort(other)
    # it renews itself
    browser.comes("!document.body.innerText.includes('waits for the commit lock')")
    waiter.close()
    browser.comes("document.querySelectorAll('tbody tr').length === 1")
    assert browser.complaints == []


def test_no_text_of_a_client_runs_or_becomes_html(browser, server):
    clients = [server.client(client_label=label) for label in NASTY]
    assert len(clients) == 4
    show(browser, server)
    browser.comes("document.querySelectorAll('tbody tr').length === 4")
    seen = text(browser)
    assert all(label in seen for label in NASTY)
    assert browser.run('window.struck === undefined')
    # nor would it if it were put into the page: the policy refuses it
    put = "document.body.insertAdjacentHTML('beforeend', '<img src=x onerror=window.struck=1>')"
    browser.run(put)
    browser.comes('document.images[0].complete && !document.images[0].naturalWidth')
    assert browser.run('window.struck === undefined')
    assert any('Content Security Policy' in one for one in browser.complaints)


def test_it_is_usable_on_a_phone_and_for_who_cannot_see_it(browser, server):
    server.client(client_label='a-long-name-of-a-client-' * 4)
    show(browser, server)
    browser.comes("document.querySelectorAll('tbody tr').length === 1")
    browser.looks(360, 740)
    assert browser.run('document.documentElement.scrollWidth') <= 360
    # each chart says its numbers, each section has a heading, the table stays one
    labels = browser.run(
        "[...document.querySelectorAll('svg')].map(x => x.getAttribute('aria-label'))"
    )
    assert len(labels) == 12 and all('last ten minutes: now' in label for label in labels)
    tree = browser.call('Accessibility.getFullAXTree')['nodes']
    roles = [node['role']['value'] for node in tree if 'role' in node and not node['ignored']]
    for role in 'table', 'columnheader', 'cell', 'status', 'navigation', 'main', 'heading':
        assert role in roles, role
    assert browser.run("document.querySelectorAll('h1').length") == 1
    assert browser.complaints == []


@pytest.mark.parametrize('dark', [False, True])
def test_texts_stand_out_from_what_is_behind_them(browser, server, dark):
    """By the contrast that WCAG asks for: 4.5."""
    show(browser, server)
    browser.looks(1280, 900, dark=dark)
    script = """(() => {
      const css = getComputedStyle(document.documentElement);
      const light = name => {
        const hex = css.getPropertyValue(name).trim();
        const parts = [1, 3, 5].map(at => parseInt(hex.slice(at, at + 2), 16) / 255)
          .map(one => one <= .03928 ? one / 12.92 : ((one + .055) / 1.055) ** 2.4);
        return .2126 * parts[0] + .7152 * parts[1] + .0722 * parts[2];
      };
      const pairs = [['--text', '--page'], ['--text', '--card'], ['--soft', '--page'],
        ['--soft', '--card'], ['--accent', '--card'], ['--second', '--card'],
        ['--good', '--good-back'], ['--bad', '--bad-back'], ['--warn', '--warn-back'],
        ['--warn', '--card'], ['--bad', '--card'], ['--accent', '--page']];
      return pairs.map(([one, other]) => {
        const [low, high] = [light(one), light(other)].sort((a, b) => a - b);
        return [one + ' on ' + other, (high + .05) / (low + .05)];
      });
    })()"""
    contrasts = dict(browser.run(script))
    assert len(contrasts) == 12
    assert [name for name, contrast in contrasts.items() if contrast < 4.5] == []


def test_it_says_when_the_server_is_gone_and_goes_on_when_it_is_back(browser, server):
    show(browser, server)
    server.server.is_stopping = True
    browser.comes("document.getElementById('state').textContent === 'not ready'")
    assert 'the server is stopping' in text(browser)
    server.close()
    browser.comes("document.getElementById('state').textContent === 'no answer'")
    assert 'last answer at' in text(browser)


def test_it_asks_for_nothing_from_elsewhere():
    page = PAGE.body.decode()
    outside = [part for part in page.split('"') if part.startswith(('http:', 'https:', '//'))]
    assert outside == [] and 'innerHTML' not in page and ' style="' not in page
