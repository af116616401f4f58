"""The messages of the page on troubleshooting are those of the code."""

import ast
import re
from pathlib import Path

import pytest

import ZEO.Exceptions

PACKAGE = Path(ZEO.Exceptions.__file__).parent
PAGE = Path(__file__).parent.parent / 'docs' / 'operating' / 'troubleshooting.rst'


def messages():
    text = PAGE.read_text(encoding='utf-8')
    part = text[text.index('.. messages\n') : text.index('.. end of messages\n')]
    terms = re.findall(r'^``(.+)``$', part, re.M)
    return [message for term in terms for message in term.split('``, ``')]


def texts_of_the_code():
    """Yield every text of the code, with … for what differs."""
    for path in PACKAGE.rglob('*.py'):
        for node in ast.walk(ast.parse(path.read_text(encoding='utf-8'))):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                yield re.sub(r'%[-.\d]*[sdrfg]', '…', node.value)
            elif isinstance(node, ast.JoinedStr):
                yield ''.join(
                    part.value if isinstance(part, ast.Constant) else '…' for part in node.values
                )


@pytest.fixture(scope='module')
def code():
    return list(texts_of_the_code())


@pytest.mark.parametrize('message', messages())
def test_a_message(message, code):
    # a part of a text will do, and a … at the end stands for the rest of it
    wanted = message.removesuffix(' …').strip('…')
    assert any(wanted in text for text in code)


def test_a_message_that_there_is_not(code):
    assert not any('the server is asleep' in text for text in code)
