"""A real Zope or Plone in this process: a site, and requests to it.

Enters: ``zope`` or ``plone``; where the database is, as a section of ``zope.conf``. Leaves: answers
to requests. Fails: :class:`Unavailable` where this Python does not have the framework;
:class:`~benchlib.records.WrongResult` for a page that does not come as it should.

A process can start one Zope. So ``python -m benchlib.zopes KIND`` makes the site, in a FileStorage
in the working directory, for another process that walks through it.
"""

from __future__ import annotations

import re
import sys
from collections import deque
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from io import BytesIO
from pathlib import Path
from typing import Any

from .limits import Unavailable
from .records import DATA_FILE, expect

#: What a Python needs, and how it comes there.
NEEDS = {'zope': ('Zope2', 'Products.ZCatalog'), 'plone': ('Products.CMFPlone',)}
INSTALL = {
    'zope': 'Zope Products.ZCatalog',
    'plone': "Products.CMFPlone 'plone.app.layout<7'",
}

_CONF = """\
instancehome {directory}
<zodb_db main>
  cache-size {objects}
  mount-point /
  {storage}
</zodb_db>
"""

#: Directives of products have to be known before their configurations are read: first all
#: meta.zcml, then all configure.zcml.
_ZCML = """\
<configure xmlns="http://namespaces.zope.org/zope"
           xmlns:meta="http://namespaces.zope.org/meta"
           xmlns:five="http://namespaces.zope.org/five">
  <include package="Products.Five" />
  <meta:redefinePermission from="zope2.Public" to="zope.Public" />
  <five:loadProducts file="meta.zcml" />
  <five:loadProducts />
  <five:loadProductsOverrides />
  <securityPolicy component="AccessControl.security.SecurityPolicy" />
</configure>
"""

_LINK = re.compile(rb'href="http://localhost(?::80)?(/[^"#?]*)')

#: What is not a page of the site.
_OTHER = re.compile(r'@@|\+\+|-info\b|/(login|sitemap|RSS|layout|index_html)\b|\.\w+$|/$')

AREAS, FOLDERS, PAGES = 5, 5, 20  # of a Zope: areas, folders of each, and what is in each of these
PLONE_FOLDERS, DOCUMENTS = 8, 10


def check(kind: str) -> None:
    """Raise Unavailable when this Python does not have a framework."""
    try:
        missing = [name for name in NEEDS[kind] if find_spec(name) is None]
    except ModuleNotFoundError:
        missing = ['Zope2']
    if missing:
        raise Unavailable(f'{sys.executable} has no {kind}: pip install {INSTALL[kind]}')


class Site:
    """The Zope of this process.

    :param directory: its instance home, which is empty.
    :param storage: the section that names its storage.
    :param objects: size of the object cache.
    """

    def __init__(self, kind: str, directory: Path, storage: str, objects: int = 30_000) -> None:
        check(kind)
        self.kind = kind
        conf = directory / 'zope.conf'
        conf.write_text(_CONF.format(directory=directory, objects=objects, storage=storage))
        (directory / 'inituser').write_text('admin:secret\n')
        if kind == 'plone':
            (directory / 'etc').mkdir()
            (directory / 'etc' / 'site.zcml').write_text(_ZCML)
        from Zope2.Startup.run import configure_wsgi

        configure_wsgi(str(conf))
        import Zope2

        Zope2.app()._p_jar.close()  # have it start now
        self.storage: Any = Zope2.DB.storage
        self._app: Callable[[], Any] = Zope2.app

    def get(self, path: str) -> bytes:
        """Return the page at a path."""
        from ZPublisher.WSGIPublisher import publish_module

        environ = {
            'REQUEST_METHOD': 'GET', 'SERVER_NAME': 'localhost', 'SERVER_PORT': '80',
            'SERVER_PROTOCOL': 'HTTP/1.1', 'PATH_INFO': path, 'SCRIPT_NAME': '',
            'wsgi.input': BytesIO(), 'wsgi.errors': sys.stderr, 'wsgi.url_scheme': 'http',
            'wsgi.version': (1, 0), 'wsgi.multithread': True, 'wsgi.multiprocess': False,
            'wsgi.run_once': False,
        }  # fmt: skip
        statuses: list[str] = []
        body = publish_module(environ, lambda status, headers, info=None: statuses.append(status))
        expect(f'answer to {path}', statuses, ['200 OK'])
        return b''.join(body)

    def crawl(self, start: str) -> Iterator[str]:
        """Follow the links from a page to all others; yield the path of each that has come."""
        seen = {start}
        queue = deque(seen)
        while queue:
            path = queue.popleft()
            for link in _LINK.findall(self.get(path)):
                there = link.decode()
                if there not in seen and not _OTHER.search(there):
                    seen.add(there)
                    queue.append(there)
            yield path

    def fill(self, make: Callable[[Any], None] | None = None) -> None:
        """Make the site's objects.

        :param make: makes others than those that the kind of site has here; it is given the root.
        """
        import transaction
        from AccessControl.SecurityManagement import newSecurityManager
        from Testing.makerequest import makerequest

        app = makerequest(self._app())
        newSecurityManager(None, app.acl_users.getUser('admin').__of__(app.acl_users))
        (make or FILL[self.kind])(app)
        transaction.commit()
        app._p_jar.close()


# Zope: folders with page templates, documents and files, a layout, and a catalog of the documents.

_LAYOUT = """\
<html metal:define-macro="page">
  <head><title tal:content="here/title_or_id">title</title></head>
  <body>
    <ul><li tal:repeat="one python:[o for o in root.objectValues('Folder')]"
      ><a tal:attributes="href one/absolute_url" tal:content="one/title">area</a></li></ul>
    <p tal:repeat="one request/PARENTS" tal:content="one/title_or_id">where we are</p>
    <div metal:define-slot="main">text</div>
  </body>
</html>
"""
_LISTING = """\
<html metal:use-macro="root/layout/macros/page"><div metal:fill-slot="main">
  <a tal:repeat="one python:here.objectValues(['Folder', 'DTML Document', 'Page Template', 'File'])"
     tal:attributes="href one/absolute_url" tal:content="one/title">one</a>
  <i tal:repeat="found python:root.catalog(path='/'.join(here.getPhysicalPath()))"
     tal:content="found/title">found</i>
</div></html>
"""
_PAGE = """\
<html metal:use-macro="root/layout/macros/page"><div metal:fill-slot="main">
  <a tal:repeat="one here/objectValues" tal:attributes="href one/absolute_url"
     tal:content="one/title_or_id">beside it</a> {}
</div></html>
"""
_DOCUMENT = """\
<dtml-var header> <dtml-in "aq_parent.objectValues('DTML Document')">
<a href="<dtml-var absolute_url>"><dtml-var title></a></dtml-in> {} <dtml-var footer>
"""
_HEADER = '<html><head><title><dtml-var title_or_id></title></head><body>'
_FOOTER = '<dtml-with aq_parent><p><dtml-var title_or_id></p></dtml-with></body></html>'


def _fill_zope(app: Any) -> None:
    from Products.PageTemplates.ZopePageTemplate import manage_addPageTemplate

    manage_addPageTemplate(app, 'layout', 'Layout', _LAYOUT)
    app._delObject('index_html', suppress_events=True)
    manage_addPageTemplate(app, 'index_html', '', _LISTING)
    app.manage_addDTMLMethod('header', 'Header', _HEADER)
    app.manage_addDTMLMethod('footer', 'Footer', _FOOTER)
    catalog = _add_catalog(app)
    for area in range(AREAS):
        app.manage_addFolder(f'area-{area}', f'Area {area}')
        for number in range(FOLDERS):
            parent = app[f'area-{area}']
            parent.manage_addFolder(f'folder-{number}', f'Folder {number} of area {area}')
            _fill_folder(parent[f'folder-{number}'], catalog)


def _add_catalog(app: Any) -> Any:
    from Products.ZCatalog.ZCatalog import manage_addZCatalog

    manage_addZCatalog(app, 'catalog', 'Catalog')
    app.catalog.addIndex('path', 'PathIndex')
    app.catalog.addIndex('title', 'FieldIndex')
    app.catalog.addColumn('title')
    return app.catalog


def _fill_folder(folder: Any, catalog: Any) -> None:
    from Products.PageTemplates.ZopePageTemplate import manage_addPageTemplate

    for number in range(PAGES):
        name, text = f'page-{number}', 'text ' * (20 + 30 * (number % 7))
        if number == 0:
            manage_addPageTemplate(folder, name, 'A template', _PAGE.format(text))
        elif number % 4 == 1:
            folder.manage_addFile(name, text.encode(), f'File {number}', 'text/plain')
        else:
            folder.manage_addDTMLDocument(name, f'Document {number}', _DOCUMENT.format(text))
            catalog.catalog_object(folder[name])


# Plone: what its own site and its own contents consist of.


def _fill_plone(app: Any) -> None:
    import transaction
    from Products.CMFCore.indexing import processQueue
    from Products.CMFPlone.factory import addPloneSite
    from zope.component.hooks import setSite

    site = addPloneSite(
        app,
        'Plone',
        title='A site',
        default_language='en',
        extension_ids=('plone.app.contenttypes:default', 'plonetheme.barceloneta:default'),
        setup_content=False,
    )
    transaction.commit()  # the queue of the catalog needs it behind the end of a transaction
    setSite(site)
    for number in range(PLONE_FOLDERS):
        folder = _add(site, 'Folder', f'folder-{number}', f'Folder {number}')
        for one in range(DOCUMENTS):
            kind = 'News Item' if one % 5 == 4 else 'Document'
            page = _add(folder, kind, f'page-{one}', f'Page {one} of folder {number}')
            page.description = f'What page {one} is about'
            page.text = _rich_text('<p>' + 'text ' * (20 + 30 * (one % 7)) + '</p>')
            page.reindexObject()
    processQueue()
    setSite(None)


def _add(container: Any, kind: str, name: str, title: str) -> Any:
    container.invokeFactory(kind, name, title=title)
    workflow = container.portal_workflow
    if workflow.getChainFor(container[name]):
        workflow.doActionFor(container[name], 'publish')
    return container[name]


def _rich_text(text: str) -> Any:
    from plone.app.textfield.value import RichTextValue

    return RichTextValue(text, 'text/html', 'text/x-html-safe')


FILL: dict[str, Callable[[Any], None]] = {'zope': _fill_zope, 'plone': _fill_plone}
FRONT = {'zope': '/', 'plone': '/Plone'}
COUNT = {
    'zope': 1 + AREAS * (1 + FOLDERS * (1 + PAGES)),
    'plone': 1 + PLONE_FOLDERS * (1 + DOCUMENTS),
}


def main(kind: str) -> None:
    """Make a site in the working directory."""
    here = Path.cwd()
    (here / 'made').mkdir()
    storage = f'<filestorage>\n path {here / DATA_FILE}\n</filestorage>'
    Site(kind, here / 'made', storage).fill()


if __name__ == '__main__':
    main(sys.argv[1])
