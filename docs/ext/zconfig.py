"""Syntax colours for ``code-block:: zconfig``: ZEO's and Zope's configuration files.

Enters: the text of a block. Leaves: its tokens, for Pygments. Fails: never; a line that is not
ZConfig's is shown without colours.
"""

from __future__ import annotations

from typing import Any

from pygments.lexer import RegexLexer, bygroups, include
from pygments.token import Comment, Keyword, Name, Punctuation, String, Text


class ZConfigLexer(RegexLexer):
    """Sections, keys with their values, directives such as ``%import``, and comments."""

    name = 'ZConfig'
    aliases = ['zconfig']
    tokens = {
        'root': [
            (r'\s+', Text),
            (r'#.*', Comment),
            (r'(%\w+)([^\S\n]*)', bygroups(Keyword.Namespace, Text), 'value'),
            (r'(</?)([\w.-]+)', bygroups(Punctuation, Name.Tag), 'section'),
            (r'([\w.-]+)([^\S\n]*)', bygroups(Name.Attribute, Text), 'value'),
            (r'.+', Text),
        ],
        'section': [
            (r'(/?>)', Punctuation, '#pop'),
            (r'\n', Text, '#pop'),
            include('substitution'),
            (r'[^\s<>/$]+|[\s/$]', Name.Label),
        ],
        'value': [
            (r'\n', Text, '#pop'),
            include('substitution'),
            (r'[^\n$]+|\$', String),
        ],
        'substitution': [(r'\$(\w+|\{\w+\}|\$)', Name.Variable)],
    }


def setup(app: Any) -> dict[str, Any]:
    """Add the lexer to Sphinx."""
    app.add_lexer('zconfig', ZConfigLexer)
    return {'parallel_read_safe': True}
