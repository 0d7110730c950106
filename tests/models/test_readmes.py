"""A paper's README shows a batch in shapes: what it says is printed is printed, its links lead somewhere."""

import contextlib
import io
import re

import pytest

from tests.conftest import REPOSITORY

ROOMS = sorted(file.parent for file in (REPOSITORY / 'jaxrec/models').glob('*/README.md'))
PAPERS = [room for room in ROOMS if room.name != 'baselines']


def test_papers_have_a_readme():
    assert {'can', 'sim'} <= {room.name for room in ROOMS}


@pytest.mark.slow
@pytest.mark.parametrize('room', PAPERS, ids=lambda room: room.name)
def test_the_toy_batch_prints_what_the_readme_says(room):
    text = (room / 'README.md').read_text()
    program, printed = re.search(
        r'```python\n((?:(?!```).)*)```\n\nprints\n\n```text\n(.*?)```', text, re.DOTALL
    ).groups()
    with contextlib.redirect_stdout(io.StringIO()) as out:
        exec(compile(program, 'README.md', 'exec'), {'__name__': 'readme'})
    assert out.getvalue() == printed


@pytest.mark.parametrize('room', ROOMS, ids=lambda room: room.name)
def test_its_links_lead_somewhere(room):
    links = re.findall(r'\]\((?!http)([^)#]+)\)', (room / 'README.md').read_text())
    assert links and [link for link in links if not (room / link).exists()] == []
