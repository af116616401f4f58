"""The packaging of ZEO: what is installed, what it needs, and the commands it brings."""

from pathlib import Path

from setuptools import find_packages, setup

HERE = Path(__file__).resolve().parent

#: Everything that is imported without a fallback.
REQUIRED = [
    'BTrees',
    'ZConfig',
    'ZODB >= 5.6',  # the first whose transactions have extension_bytes, which every commit sends
    'persistent',
    'transaction',
    'zc.lockfile',
    'zope.interface',
    'zope.proxy',
]

EXTRAS = {
    'test': [
        'ZODB[test]',
        'RelStorage >= 4',
        'cryptography >= 42',
        'django',  # this, fastapi and flask: the recipes of docs/start/frameworks
        'fastapi',
        'flask',
        'gevent',
        'greenlet',  # the threads of simulated processes
        'httpx',  # by which fastapi's applications are tested
        'hypothesis',
        'manuel',
        'msgpack',
        'prometheus_client',  # reads what a server shows to Prometheus
        'psycopg2-binary',
        'pyte',  # a terminal, as a person sees it
        'pytest >= 7.4',
        'pytest-timeout',
        'pytest-xdist',
        'pyyaml',  # reads the rules of alerts
        'requests',
        'rich',
        'shtab',
        'setuptools >= 77.0.3',  # builds a wheel to test
        'trustme',
        'zc.zlibstorage',
        'zdaemon',
        'zope.testing',
    ],
    # zeo certs
    'certs': ['cryptography >= 42'],
    'top': ['rich'],
    'completion': ['shtab'],
    'docs': ['furo', 'sphinx', 'sphinx-copybutton'],
    'msgpack': ['msgpack'],
    # A storage in PostgreSQL; other databases need a driver of their own.
    'relstorage': ['RelStorage >= 4', 'psycopg2-binary'],
    'zdaemon': ['zdaemon'],
    'plot': ['matplotlib'],
    # Nothing here needs uvloop; the name stays so that old requirement lines still install.
    'uvloop': [],
}

COMMANDS = [
    'zeo = ZEO.commands.zeo:main',
    'start.py = ZEO.start:main',
    'runzeo = ZEO.runzeo:main',
    'zeoctl = ZEO.zeoctl:main',
    'zeo-nagios = ZEO.nagios:main',
    'zeopack = ZEO.commands.zeopack:main',
    'zeo-cache = ZEO.commands.zeo_cache:main',
    'zeo-status = ZEO.commands.zeo_status:main',
]

setup(
    name='ZEO',
    version='7.0.dev0',
    description='One ZODB database for many processes: a fast storage server and its clients',
    long_description='\n\n'.join(
        (HERE / name).read_text(encoding='utf-8') for name in ('README.rst', 'CHANGES.rst')
    ),
    long_description_content_type='text/x-rst',
    license_expression='MIT',
    license_files=['LICENSE'],
    project_urls={'ZODB': 'https://zodb.org'},
    keywords='database zodb zeo server client cache',
    classifiers=[
        'Development Status :: 3 - Alpha',
        'Framework :: ZODB',
        'Intended Audience :: Developers',
        'Intended Audience :: System Administrators',
        'Operating System :: POSIX',
        'Programming Language :: Python :: 3',
        'Programming Language :: Python :: 3.10',
        'Programming Language :: Python :: 3.11',
        'Programming Language :: Python :: 3.12',
        'Programming Language :: Python :: 3.13',
        'Programming Language :: Python :: Implementation :: CPython',
        'Programming Language :: Python :: 3 :: Only',
        'Topic :: Database',
        'Topic :: Database :: Database Engines/Servers',
    ],
    package_dir={'': 'src'},
    packages=find_packages('src'),
    # ZConfig reads the schema files from the installed package, wheels included; py.typed tells
    # type checkers that the annotations are meant for them.
    package_data={'': ['*.xml', '*.html'], 'ZEO': ['py.typed']},
    zip_safe=False,
    python_requires='>=3.10',
    install_requires=REQUIRED,
    extras_require=EXTRAS,
    entry_points={'console_scripts': COMMANDS},
)
