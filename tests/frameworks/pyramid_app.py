"""A Pyramid application over two databases; pyramid_check.py runs it in an environment that has
Pyramid.

    python pyramid_app.py PORT URI SECOND-URI
"""

import sys

import waitress
from pyramid.config import Configurator
from pyramid.response import Response
from pyramid_zodbconn import get_connection


def roots(request):
    return get_connection(request).root(), get_connection(request, 'second').root()


def put(request):
    """Store one value in both databases."""
    for root in roots(request):
        root[request.params['key']] = request.params['value']
    return Response('stored')


def get(request):
    """Return what both databases have."""
    return Response(' '.join(str(root.get(request.params['key'])) for root in roots(request)))


def fail(request):
    """Store in both databases, then raise."""
    put(request)
    raise ValueError('on purpose')


def count(request):
    """Add one to a counter in each database."""
    for root in roots(request):
        root['count'] = root.get('count', 0) + 1
    return Response('counted')


def failed(problem, request):
    return Response(f'{type(problem).__name__}', status=500)


def main(port, uri, second_uri):
    settings = {
        'zodbconn.uri': uri,
        'zodbconn.uri.second': second_uri,
        'retry.attempts': 500,
        'tm.manager_hook': 'pyramid_tm.explicit_manager',
    }
    with Configurator(settings=settings) as config:
        config.include('pyramid_retry')
        config.include('pyramid_tm')
        config.include('pyramid_zodbconn')
        for view in put, get, fail, count:
            config.add_route(view.__name__, '/' + view.__name__)
            config.add_view(view, route_name=view.__name__)
        config.add_exception_view(failed, context=ValueError)
        app = config.make_wsgi_app()
    waitress.serve(app, host='127.0.0.1', port=int(port), threads=4)


if __name__ == '__main__':
    main(*sys.argv[1:])
