"""Every test sees eight simulated CPU devices unless the caller chose a platform."""

import gc
import os
from importlib import metadata

# Before jax is imported, and by the environment: child processes that tests start inherit the same devices.
os.environ.setdefault('JAX_PLATFORMS', 'cpu')
os.environ.setdefault('JAX_NUM_CPU_DEVICES', '8')
os.environ.setdefault('MPLBACKEND', 'agg')
# A program for several simulated devices that is read back from the persistent cache was seen to hang in its
# collectives, some devices in one and some in another, until XLA aborted the process.
os.environ['JAX_ENABLE_COMPILATION_CACHE'] = 'false'
# Tests compile far more than they compute: without LLVM's costly passes and XLA's fusions (whose code is several times
# as long) it takes half the time. Newer versions of XLA may not know these flags, and stop at one that they don't.
if os.environ['JAX_PLATFORMS'] == 'cpu' and metadata.version('jax').startswith('0.10.'):
    os.environ['XLA_FLAGS'] = ' '.join(
        [
            os.environ.get('XLA_FLAGS', ''),
            '--xla_backend_optimization_level=0',
            '--xla_llvm_disable_expensive_passes=true',
            '--xla_cpu_use_fusion_emitters=false',
            '--xla_cpu_parallel_codegen_split_count=1',
        ]
    ).strip()

import pathlib
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import jax
import pytest
from absl import flags

from jaxrec.configurable import allow_code

# Tracing makes many small objects that live on; a twentieth of all time went into looking them through.
gc.set_threshold(200_000, 50, 100)
flags.FLAGS.mark_as_parsed()  # pytest never calls absl.app.run, and grain's workers read a flag

REPOSITORY = pathlib.Path(__file__).resolve().parent.parent


def slow_but_for(quick: Iterable[str], names: Iterable[str]) -> list[Any]:
    """Parameters of a test that runs for some names always, and for the others with `make slow`."""
    return [name if name in quick else pytest.param(name, marks=pytest.mark.slow) for name in names]


def slow_cases_but_for(quick: Iterable[tuple], cases: Iterable[tuple]) -> list[Any]:
    """The same where a case is of several arguments."""
    return [case if case in quick else pytest.param(*case, marks=pytest.mark.slow) for case in cases]


@pytest.fixture(scope='session', autouse=True)
def configs_of_tests() -> Iterator[None]:
    """Configs of tests name logs and models of tests."""
    with allow_code(('tests',)):
        yield


@pytest.fixture(scope='session')
def repository() -> pathlib.Path:
    """Root of the checkout: where configs, experiments and notebooks lie."""
    return REPOSITORY


@pytest.fixture(scope='session')
def data_folder() -> Callable[[str], pathlib.Path]:
    """`data_folder('ml-latest-small')` is that folder of $JAXREC_DATA; the test skips if it is absent."""

    def find(name: str) -> pathlib.Path:
        root = os.environ.get('JAXREC_DATA', '')
        if not root:
            pytest.skip(f'needs the data set {name}: JAXREC_DATA is not set to the folder that holds it')
        folder = pathlib.Path(root) / name
        if not folder.is_dir():
            pytest.skip(f'needs the data set {name}: {folder} is absent')
        return folder

    return find


@pytest.fixture(scope='session')
def eight_devices() -> list[jax.Device]:
    """Eight devices for sharded tests; fails, not skips, where the simulation did not start."""
    devices = jax.devices()
    if len(devices) < 8:
        pytest.fail(
            f'sharded tests need 8 devices and see {len(devices)}; unset JAX_NUM_CPU_DEVICES or set it to 8, '
            'and import no jax before tests/conftest.py'
        )
    return devices[:8]
