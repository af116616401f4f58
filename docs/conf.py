"""How Sphinx builds the documentation: ``sphinx-build -W -b html docs docs/_build/html``."""

import re
import sys
from pathlib import Path

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE / 'ext'))

project = 'ZEO'
copyright = '2026, the authors of ZEO 7'
author = 'the authors of ZEO 7'
_setup = (HERE.parent / 'setup.py').read_text(encoding='utf-8')
release = re.search(r'version=[\'"]([^\'"]+)', _setup)[1]
version = release.partition('.dev')[0]

extensions = ['sphinx.ext.autodoc', 'sphinx_copybutton', 'zconfig']
exclude_patterns = ['_build']
highlight_language = 'none'

# The reference. Every name that a page or a docstring refers to must exist.
nitpicky = True
nitpick_ignore = [
    # Seams for tests, and what only the methods named on the pages return.
    ('py:class', 'ZEO.net.system.System'),
    ('py:class', 'ZEO.link.iterators.StorageIterator'),
    ('py:class', 'ZEO.link.copying.Copy'),
]
nitpick_ignore_regex = [
    # Names of other projects; their inventories would have to be fetched at each build.
    ('py:.*', r'(?!ZEO\b).*'),
]
autodoc_member_order = 'bysource'
autodoc_typehints_format = 'short'
autodoc_preserve_defaults = True
python_maximum_signature_line_length = 80

html_theme = 'furo'
html_title = f'ZEO {version}'
html_show_sourcelink = False

# Copy commands without their prompt and without what they print.
copybutton_prompt_text = '$ '


def _named(app, what, name, subject, options, arguments, result):
    """Show the class that a function returns where Python finds the module of the same name."""
    module = re.compile(r"<module '([\w.]+)' from [^>]+>")
    return arguments, result and module.sub(lambda found: f'~{found[1]}.ClientStorage', result)


def _without_contract(app, what, name, subject, options, lines):
    """Leave out the docstrings of modules, which are for developers."""
    if what == 'module':
        lines.clear()


def setup(app):
    """Extend Sphinx."""
    app.connect('autodoc-process-signature', _named)
    app.connect('autodoc-process-docstring', _without_contract)
