"""Starts the processes of one run on this machine, and shows what each of them printed when one fails."""

import os
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from tests.conftest import REPOSITORY

DEVICES = 4  # simulated, of each process
CONFIG = """
from tests.{worlds} import {make}

def get_config():
    return {make}({arguments})
"""


class Ended(NamedTuple):
    """How a process has ended: its status, and what it printed."""

    status: int
    out: str
    err: str


class Started(subprocess.Popen):
    """A process that prints to files: pipes would block it while another one is listened to."""

    def __init__(self, command: Sequence[str], environment: dict[str, str]):
        self._files = tempfile.TemporaryFile('w+'), tempfile.TemporaryFile('w+')
        super().__init__(command, cwd=REPOSITORY, env=environment, stdout=self._files[0], stderr=self._files[1])

    def printed(self) -> tuple[str, str]:
        """What it has printed so far, to standard output and to standard error."""
        heard = []
        for file in self._files:
            size = os.fstat(file.fileno()).st_size
            heard.append(os.pread(file.fileno(), size, 0).decode(errors='replace'))
        return heard[0], heard[1]


def free_port() -> int:
    """A port that nobody listens at now."""
    with socket.socket() as listening:
        listening.bind(('localhost', 0))
        return listening.getsockname()[1]


def write_config(path: Path, worlds: str, make: str, *arguments: object) -> Path:
    """A config file that calls a function of the tests' worlds."""
    text = ', '.join(repr(str(value) if isinstance(value, Path) else value) for value in arguments)
    path.write_text(CONFIG.format(worlds=worlds, make=make, arguments=text))
    return path


def start(
    command: Sequence[object], count: int = 2, devices: int = DEVICES, environment: dict | None = None
) -> list[Started]:
    """Starts `python <command>` so many times; with an environment of its own each finds the others by it.

    Args:
      command: what follows the interpreter.
      count: processes.
      devices: of each.
      environment: {variable: value}, where {id} stands for the number of the process; None gives the flags.
    """
    port, processes = free_port(), []
    for number in range(count):
        flags = [f'--coordinator=localhost:{port}', f'--num_processes={count}', f'--process_id={number}']
        own = {name: value.format(id=number, port=port) for name, value in (environment or {}).items()}
        known = os.environ | {'PYTHONPATH': str(REPOSITORY), 'JAX_NUM_CPU_DEVICES': str(devices)} | own
        given = [] if environment or count == 1 else flags
        processes.append(Started([sys.executable, *map(str, command), *given], known))
    return processes


def finish(processes: Sequence[Started], within: float = 600) -> list[Ended]:
    """Waits for all of them; past the time limit all are killed and what they printed is shown."""
    ended, late = [], False
    for process in processes:
        try:
            process.wait(timeout=within)
        except subprocess.TimeoutExpired:
            late = True
            for each in processes:
                each.send_signal(signal.SIGKILL)
            process.wait()
        ended.append(Ended(process.returncode, *process.printed()))
    assert not late, f'not ended within {within} s\n{shown(ended)}'
    return ended


def run(command: Sequence[object], count: int = 2, **options: object) -> list[Ended]:
    """Starts processes and expects all of them to end well."""
    ended = finish(start(command, count, **options))  # type: ignore[arg-type]
    assert not any(each.status for each in ended), shown(ended)
    return ended


def shown(ended: Sequence[Ended]) -> str:
    """What processes printed, for the message of a failed assertion."""
    return '\n'.join(
        f'--- process {i}, status {each.status}\n{each.out[-2000:]}\n{each.err[-4000:]}' for i, each in enumerate(ended)
    )
