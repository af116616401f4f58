"""How Sphinx builds the documentation: ``sphinx-build -W -b html docs docs/_build/html``."""

import re
from pathlib import Path

project = 'ZEO'
copyright = '2026, the authors of ZEO 7'
author = 'the authors of ZEO 7'
_setup = (Path(__file__).parent.parent / 'setup.py').read_text(encoding='utf-8')
release = re.search(r'version=[\'"]([^\'"]+)', _setup)[1]
version = release.partition('.dev')[0]

extensions = []
exclude_patterns = ['_build']
highlight_language = 'none'
html_theme = 'alabaster'
html_theme_options = {'description': 'One ZODB database for many processes', 'page_width': '70em'}
