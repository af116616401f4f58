"""docs/operating/logging.rst lists every line of level INFO and above that the code can write, and
no other.
"""

import ast
import re
from pathlib import Path

import ZEO.Exceptions

PACKAGE = Path(ZEO.Exceptions.__file__).parent
PAGE = Path(__file__).parent.parent / 'docs' / 'operating' / 'logging.rst'

#: Methods of loggers, and of what counts lines -> which argument is the text.
LOGGERS = {'info': 0, 'warning': 0, 'error': 0, 'exception': 0, 'critical': 0, 'log': 1}
REPORTS = {'report': 2, 'write': 3, 'failed': 0, '_report': 0, '_refused': 0, 'denied': 2}


def text_of(node):
    """Return a text with … for what differs; None for what is no literal."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return re.sub(r'%[-.\d]*[sdrf]', '…', node.value)
    if isinstance(node, ast.JoinedStr):
        return ''.join(
            text_of(part) if isinstance(part, ast.Constant) else '…' for part in node.values
        )
    return None


def call_of(node):
    """Return the text argument of a call that writes a line, or None."""
    if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)):
        return None
    owner, method = ast.unparse(node.func.value), node.func.attr
    if owner in ('log', 'logger') and method in LOGGERS:
        if method == 'log' and ast.unparse(node.args[0]) == 'logging.DEBUG':
            return None
        return node.args[LOGGERS[method]]
    if (
        method in REPORTS
        and (owner.endswith('reports') or method in ('report', '_report', '_refused', 'denied'))
        and len(node.args) > REPORTS[method]
    ):
        return None if ast.unparse(node.args[0]) == 'logging.DEBUG' else node.args[REPORTS[method]]
    return None


def lines_of_the_code():
    found = {}
    for path in PACKAGE.rglob('*.py'):
        for node in ast.walk(ast.parse(path.read_text(encoding='utf-8'))):
            argument = call_of(node)
            text = None if argument is None else text_of(argument)
            if text and re.search(r'\w', text):  # others are put together of lines that are listed
                found[text] = path.relative_to(PACKAGE).as_posix()
    return found


def lines_of_the_page():
    terms = re.findall(r'^``(.+)``$', PAGE.read_text(encoding='utf-8'), re.M)
    return {line for term in terms for line in term.split('``, ``')}


def test_the_page_lists_every_line_of_the_code():
    code = lines_of_the_code()
    assert len(code) > 60
    missing = {text: file for text, file in code.items() if text not in lines_of_the_page()}
    assert missing == {}, f'say in {PAGE.name} what these lines mean'


def test_every_line_of_the_page_is_in_the_code():
    assert sorted(lines_of_the_page() - set(lines_of_the_code())) == []
