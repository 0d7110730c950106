"""Commands of docs/several_machines.md name mains, flags and configs that there are."""

import re

import pytest

from tests.conftest import REPOSITORY

PAGE = (REPOSITORY / 'docs' / 'several_machines.md').read_text()
COMMANDS = [
    line
    for block in re.findall(r'```sh\n(.*?)```', PAGE, re.DOTALL)
    for line in block.replace('\\\n', ' ').splitlines()
    if 'jaxrec ' in line and '--' in line
]


def test_there_are_commands_for_every_kind_of_machine():
    assert len(COMMANDS) == 7
    for kind in ('One GPU', 'Several GPUs', 'Several machines', 'Slurm', 'A TPU slice'):
        assert f'## {kind}' in PAGE


@pytest.mark.parametrize('command', COMMANDS)
def test_commands_name_what_there_is(command):
    # Read, not imported: two mains in one process define the same flags.
    main = re.search(r'jaxrec (\w+) ', command).group(1)
    sources = [
        (REPOSITORY / f'{name}.py').read_text()
        for name in (f'jaxrec/cli/{main}', 'jaxrec/cli/flags', 'jaxrec/cli/configs')
    ]
    known = set(re.findall(r"DEFINE_\w+\(\s*'(\w+)'", '\n'.join(sources)))
    for name in re.findall(r'--(\w+)=', command.split('jaxrec ')[1]):
        assert name in known, name
    for config in re.findall(r'--config=(\S+?\.py)', command):
        assert (REPOSITORY / config).exists(), config
