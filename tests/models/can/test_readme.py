"""The room's README shows a batch in shapes; what it says is printed, is printed."""

import contextlib
import io
import re

from tests.conftest import REPOSITORY


def test_the_toy_batch_prints_what_the_readme_says():
    text = (REPOSITORY / 'jaxrec/models/can/README.md').read_text()
    program, printed = re.search(
        r'```python\n(.*?)```\n\nprints\n\n```text\n(.*?)```', text, re.DOTALL
    ).groups()
    with contextlib.redirect_stdout(io.StringIO()) as out:
        exec(compile(program, 'README.md', 'exec'), {'__name__': 'readme'})
    assert out.getvalue() == printed


def test_its_links_lead_somewhere():
    room = REPOSITORY / 'jaxrec/models/can'
    links = re.findall(r'\]\((?!http)([^)#]+)\)', (room / 'README.md').read_text())
    assert links and [link for link in links if not (room / link).exists()] == []
