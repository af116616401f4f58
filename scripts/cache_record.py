#!/usr/bin/env python
"""Record what a real application asks of its client cache, for the laboratory of eviction policies.

Enters: what to record (``reports`` needs ZODB only, ``zope`` and ``plone`` a Python with it), and
where to put it. Leaves: accesses, compressed, as ``cache_policies.py --recorded`` reads them.
Fails: with a traceback; nothing is left then.
"""

from __future__ import annotations

import argparse
import os
import random
import sys
import tempfile
from pathlib import Path
from typing import Any

TOP = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(TOP / 'scripts'), str(TOP / 'tests')]

from benchlib.zopes import DOCUMENTS, FRONT, PLONE_FOLDERS, Site  # noqa: E402
from cache_lab.recorded import write  # noqa: E402

import ZEO  # noqa: E402
from ZEO.cache import trace  # noqa: E402
from ZEO.cache.simulate import accesses_of  # noqa: E402

CLIENT = """\
<zeoclient>
    server {}:{}
    client trace
    var {}
    cache-size 2GB
  </zeoclient>"""
OBJECTS = 200  # in the object cache of a connection: much less than there are, as in production
PAGES, FOLDERS = 2000, 40
REQUESTS = 12_000
PLONE_OBJECTS, PLONE_REQUESTS = 1000, 360


def reports(directory: Path, address: Any) -> None:
    """Orders are taken and looked up, mostly of a few customers; reports read all of them."""
    import transaction
    from BTrees.OOBTree import OOBTree
    from cache_lab.workloads import zipf
    from persistent.mapping import PersistentMapping

    db = ZEO.DB(address, client='trace', var=str(directory), cache_size=2 << 30)
    db.setCacheSize(OBJECTS)
    chooser = random.Random(1)
    with db.transaction() as connection:
        connection.root.customers = OOBTree()
        connection.root.orders = OOBTree()
        for number in range(3000):
            connection.root.customers[number] = PersistentMapping(
                name=f'customer {number}' * 5, orders=[]
            )
    customers = iter(zipf(20_000, 3000, chooser))
    connection = db.open()
    root = connection.root
    for step in range(20_000):
        customer = root.customers[next(customers)]
        for order in customer['orders'][-3:]:
            root.orders[order]['text']
        if chooser.random() < 0.3:
            text = 'goods ' * chooser.randrange(10, 120)
            root.orders[step] = PersistentMapping(text=text, customer=customer['name'])
            customer['orders'] = [*customer['orders'], step]
        transaction.commit()
        if step % 2000 == 1999:
            sum(len(order['text']) for order in root.orders.values())
        if step % 500 == 499:
            sum(
                len(some['orders']) for some in root.customers.values(step % 1000, step % 1000 + 99)
            )
    connection.close()
    db.close()


def zope(directory: Path, address: Any) -> None:
    """A crawler goes through a Zope while readers come back to its favourite pages."""
    site = Site('zope', directory, CLIENT.format(*address, directory), OBJECTS)
    site.fill(_fill_zope)
    pages = [f'/folder{number % FOLDERS}/page{number}' for number in range(PAGES)]
    _read_and_crawl(site, pages, '/front', REQUESTS)


def _fill_zope(app: Any) -> None:
    for number in range(FOLDERS):
        app.manage_addFolder(f'folder{number}', f'Folder {number}')
    for number in range(PAGES):
        folder = app[f'folder{number % FOLDERS}']
        folder.manage_addDTMLMethod(f'page{number}', f'Page {number}', _page(number))
    app.manage_addDTMLMethod('front', 'Front', _front())


def _page(number: int) -> str:
    links = ''.join(
        f'<a href="<dtml-var BASE0>/folder{n % FOLDERS}/page{n}">{n}</a> '
        for n in ((number * 7 + step) % PAGES for step in (1, 2, 3))
    )
    return f'<html><dtml-var title_or_id> {links} {"text " * (number % 300)}</html>'


def _front() -> str:
    return (
        '<dtml-in "objectValues(\'Folder\')"><a href="<dtml-var absolute_url>/page'
        '<dtml-var "_.str(_[\'sequence-index\'])">"><dtml-var title></a></dtml-in>'
    )


def plone(directory: Path, address: Any) -> None:
    """The same with a Plone, in which each page needs hundreds of objects."""
    site = Site('plone', directory, CLIENT.format(*address, directory), PLONE_OBJECTS)
    site.fill()
    front = FRONT['plone']
    pages = [
        f'{front}/folder-{folder}/page-{page}'
        for folder in range(PLONE_FOLDERS)
        for page in range(DOCUMENTS)
    ]
    _read_and_crawl(site, pages, front, PLONE_REQUESTS)


def _read_and_crawl(site: Site, pages: list[str], front: str, requests: int) -> None:
    """Two of three requests are for favourites among the pages, the third is the crawler's."""
    from cache_lab.workloads import zipf

    favourites = iter(zipf(requests, len(pages), random.Random(1)))
    crawler = site.crawl(front)
    for step in range(requests):
        if step % 3:
            site.get(pages[next(favourites)])
        elif next(crawler, None) is None:  # it begins anew
            crawler = site.crawl(front)


def main() -> int:
    """Run the command; return its exit status."""
    parser = argparse.ArgumentParser(description=__doc__.partition('\n')[0])
    parser.add_argument('what', choices=['reports', 'zope', 'plone'])
    parser.add_argument('output', help='file of accesses, such as reports.xz')
    options = parser.parse_args()
    os.environ['ZEO_CACHE_TRACE'] = '1'
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        address, stop = ZEO.server(str(directory / 'data.fs'))
        try:
            globals()[options.what](directory, address)
        finally:
            stop()
        (found,) = directory.glob('*.trace')
        accesses = accesses_of(trace.read(str(found)))
    write(options.output, accesses)
    print(f'{len(accesses):,} accesses, {Path(options.output).stat().st_size:,} bytes')
    return 0


if __name__ == '__main__':
    sys.exit(main())
