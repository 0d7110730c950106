"""The walk of docs/own_logs.md, command by command, prints what the page says but for the figures."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import REPOSITORY

PAGE = REPOSITORY / 'docs' / 'own_logs.md'
_BLOCK = re.compile(r'```(sh|text)\n(.*?)```', re.DOTALL)
# With what numpy pads a shorter figure by.
_FIGURE = re.compile(r'\d+\.\d+(e-\d+)?( +(?=\]))?|step \d+')


def run(command: str, cwd: Path) -> str:
    """What a block of commands prints, the way a reader sees it."""
    places = [str(REPOSITORY), *filter(None, [os.environ.get('PYTHONPATH')])]
    environment = os.environ | {
        'PATH': f'{Path(sys.executable).parent}{os.pathsep}{os.environ["PATH"]}',
        'PYTHONPATH': os.pathsep.join(places),
        'JAX_NUM_CPU_DEVICES': '1',
        'XLA_FLAGS': '--xla_backend_optimization_level=0',
        # One device: commands that follow each other may share what they compiled.
        'JAX_ENABLE_COMPILATION_CACHE': 'true',
        'JAX_COMPILATION_CACHE_DIR': str(cwd / '.compiled'),
        'JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS': '0',
    }
    done = subprocess.run(
        ['bash', '-euo', 'pipefail', '-c', command],
        cwd=cwd, env=environment, capture_output=True, text=True, timeout=240,
    )  # fmt: skip
    assert done.returncode == 0, f'{command}\n{done.stderr[-3000:]}'
    return done.stdout


@pytest.mark.slow
def test_the_page_prints_what_it_says(tmp_path):
    (tmp_path / 'configs').symlink_to(REPOSITORY / 'configs')
    blocks, printed = _BLOCK.findall(PAGE.read_text()), ''
    assert [kind for kind, _ in blocks].count('text') == 6
    for kind, text in blocks:
        if kind == 'sh':
            printed = run(text, tmp_path)
        else:
            masked = [_FIGURE.sub('#', shown).split() for shown in (printed, text)]
            assert masked[0] == masked[1], printed
