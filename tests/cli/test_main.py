"""The command `jaxrec`: its help, its suggestions, and what it imports."""

import json
import subprocess
import sys

import pytest

from jaxrec.cli import main
from tests.conftest import REPOSITORY

# Prints [exit status, output, errors, heavy modules imported] of each command line in argv: a fork each, because
# flags of two subcommands cannot be defined in one process.
FORKS = """
import contextlib, importlib, io, json, os, sys
for name in sys.argv[2:]:
    importlib.import_module(name)
from jaxrec.cli import main
import absl.app, absl.flags, jaxrec.cli.flags
for words in json.loads(sys.argv[1]):
    read, write = os.pipe()
    if not os.fork():
        out, err, status = io.StringIO(), io.StringIO(), 0
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            try:
                main.run(words)
            except SystemExit as end:
                status = end.code or 0
        heavy = [name for name in ('jax', 'pyarrow') if name in sys.modules]
        os.write(write, json.dumps([status, out.getvalue()[:60000], err.getvalue()[:2000], heavy]).encode())
        os._exit(0)
    os.close(write)
    print(b''.join(iter(lambda: os.read(read, 65536), b'')).decode())
    os.wait()
"""

HEAVY = ('jaxrec.runs.api', 'jaxrec.models.onerec.task', 'jaxrec.models.sms.task', 'jaxrec.models.age.model')


def outcomes(*lines, before=()):
    """What each command line ends with; modules in `before` are imported once, before the forks."""
    done = subprocess.run(
        [sys.executable, '-c', FORKS, json.dumps([line.split() for line in lines]), *before],
        cwd=REPOSITORY, capture_output=True, text=True, timeout=100,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_every_command_describes_itself_and_its_flags():
    for name, (status, out, _, _) in zip(
        main.COMMANDS, outcomes(*(f'{name} --help' for name in main.COMMANDS), before=HEAVY), strict=True
    ):
        assert status == 0 and out.startswith(f'jaxrec {name}: '), name
        flags = [line for line in out.split('flags:')[1].splitlines() if line.strip()]
        assert name == 'models' or flags, f'{name} has no flags'
        assert all(line.split(':', 1)[1].strip() for line in flags), f'a flag of {name} has no help'


def test_quick_paths_import_neither_jax_nor_pyarrow():
    for line, (status, out, _, heavy) in zip(
        quick := ('--help', 'help', 'onerec', 'sms --help', 'models', '--version'), outcomes(*quick), strict=True
    ):
        assert status == 0 and out and not heavy, line


def test_ingest_does_not_import_jax(tmp_path):
    (tmp_path / 'a.csv').write_text('user,item\n1,2\n2,3\n')
    line = f'ingest --input={tmp_path}/a.csv --output={tmp_path}/log --user=user --item=item'
    ((status, _, err, heavy),) = outcomes(line)
    assert status == 0, err
    assert 'jax' not in heavy


@pytest.mark.parametrize(
    ('line', 'expected'),
    [
        ('trian', 'Did you mean `jaxrec train`?'),
        ('onerec tokenise', 'Did you mean `jaxrec onerec tokenize`?'),
        ('xyzzy', '`jaxrec --help` lists all'),
        ('evaluate --wrkdir=x', 'Did you mean: workdir'),
        ('train --model=SIM-sotf --log=simulated --workdir=never', 'Did you mean SIM-soft'),
        ('train --model=DNN --log=simulated --workdir=never --set=train.epoch=1', "Did you mean 'train.epochs'?"),
        ('train --model=DNN --log=simulated --workdir=never --set=train.epochs=many', 'give int, such as'),
        ('train --model=DNN --log=nowhere --workdir=never', 'nowhere'),
        ('evaluate --workdir=never', 'give a workdir that `jaxrec train` has written'),
    ],
)
def test_mistakes_end_in_a_line_with_the_remedy(line, expected):
    ((status, _, err, _),) = outcomes(line)
    assert status and expected in ' '.join(err.split()), err
    assert 'Traceback' not in err


def test_a_missing_extra_is_named_with_its_pip_line(monkeypatch, capsys):

    def absent(name):
        raise ModuleNotFoundError("No module named 'uvicorn'", name='uvicorn')

    monkeypatch.setattr(main.importlib, 'import_module', absent)
    with pytest.raises(SystemExit) as end:
        main.launch('serve', [])
    assert end.value.code == 2
    assert "`jaxrec serve` needs uvicorn: pip install 'jaxrec[serve]'" in capsys.readouterr().err
