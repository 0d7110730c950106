"""Each notebook runs from top to bottom in a fresh kernel and ends in the numbers that it promises.

A notebook is a newcomer's first reading: it calls the public API and defines no class and no loss or metric
of its own. Its last code cells are expressions, one for each number, whose value is a plain Python number.
"""

import ast
import math
import os
import pathlib

import nbclient
import nbformat
import pytest

from tests.conftest import REPOSITORY

NOTEBOOKS = REPOSITORY / 'colabs'
CELL_SECONDS = 600

# notebook -> the intervals in which its final numbers must lie, in their order.
FINAL_NUMBERS = {
    # Test AUC of CAN-DNN above the DNN's; correlation of what its co-action learned with the true table of
    # 64 cells, where chance has a standard deviation of .14.
    'can': [(0.005, 0.1), (0.75, 1.0)],
    # Recall of what matters by the soft search, above that of as many behaviours at random.
    'sim': [(0.1, 1.0)],
    # Share of pairs behind a closed gate whose score moved; of the visits whose winner AGE changed, 0 if
    # it explored nothing; its true click rate over that of chance.
    'age': [(0.0, 0.0), (0.005, 0.5), (1.15, 6.0)],
    # Recall of relations at an IoU of .5 in held-out scenes; share of them whose parts are right as well.
    'sms': [(0.197, 1.0), (0.5, 1.0)],
    # True mean reward of sessions aligned above that of as many steps without pairs; .175 was printed.
    'onerec': [(0.116, 0.5)],
    # Largest difference between the table on one device and on eight, after the same training steps.
    'sharded_tables': [(0.0, 1e-5)],
}


def code_of(notebook: nbformat.NotebookNode) -> ast.Module:
    """The notebook's code cells as one module, without magics and shell lines."""
    cells = [cell.source for cell in notebook.cells if cell.cell_type == 'code']
    lines = [line for cell in cells for line in cell.splitlines() if not line.lstrip().startswith(('%', '!'))]
    return ast.parse('\n'.join(lines))


def final_numbers(notebook: nbformat.NotebookNode, count: int = 1) -> list[float]:
    """The values of the last code cells.

    Raises:
      ValueError: one of them has no result, or a result that is not a finite number.
    """
    cells = [cell for cell in notebook.cells if cell.cell_type == 'code'][-count:]
    return [_number(cell) for cell in cells]


def _number(cell: nbformat.NotebookNode) -> float:
    results = [output for output in cell.outputs if output.output_type == 'execute_result']
    if not results:
        raise ValueError(f'The last code cell must end in an expression; it reads: {cell.source!r}')
    text = results[-1].data['text/plain']
    try:
        number = float(text)
    except ValueError:
        raise ValueError(f'The last code cell gives {text!r}; end it in a plain number: float(...)') from None
    if not math.isfinite(number):
        raise ValueError(f'The last code cell gives {text}; it must be finite.')
    return number


def own_definitions(tree: ast.Module) -> list[str]:
    """Classes, and functions whose name says loss or metric."""
    return [
        node.name
        for node in ast.walk(tree)
        if isinstance(node, ast.ClassDef)
        or (isinstance(node, ast.FunctionDef) and any(w in node.name for w in ('loss', 'metric', 'auc')))
    ]


def test_every_notebook_is_executed_and_judged():
    assert {path.stem for path in NOTEBOOKS.glob('*.ipynb')} == FINAL_NUMBERS.keys()


@pytest.mark.notebook
@pytest.mark.parametrize('name', FINAL_NUMBERS)
def test_notebook_ends_in_its_numbers(name, tmp_path, monkeypatch):
    notebook = nbformat.read(NOTEBOOKS / f'{name}.ipynb', as_version=4)
    assert own_definitions(code_of(notebook)) == []
    monkeypatch.setenv('PYTHONPATH', str(REPOSITORY))
    monkeypatch.delenv('JAX_NUM_CPU_DEVICES', raising=False)  # a notebook asks for its devices itself
    # Notebooks train, and what makes programs quick to compile makes them slow to run.
    flags = os.environ.get('XLA_FLAGS', '').split()
    kept = [flag for flag in flags if not flag.startswith('--xla_backend_optimization_level')]
    monkeypatch.setenv('XLA_FLAGS', ' '.join(kept))
    for variable in ('IPYTHONDIR', 'JUPYTER_CONFIG_DIR', 'JUPYTER_DATA_DIR', 'JUPYTER_RUNTIME_DIR'):
        monkeypatch.setenv(variable, str(tmp_path))
    client = nbclient.NotebookClient(
        notebook, timeout=CELL_SECONDS, kernel_name='python3', resources={'metadata': {'path': str(tmp_path)}}
    )
    client.execute()
    intervals = FINAL_NUMBERS[name]
    for (low, high), number in zip(intervals, final_numbers(notebook, len(intervals)), strict=True):
        assert low <= number <= high


def executed(source: str, folder: pathlib.Path) -> nbformat.NotebookNode:
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source)])
    nbclient.NotebookClient(notebook, resources={'metadata': {'path': str(folder)}}).execute()
    return notebook


@pytest.mark.notebook
@pytest.mark.parametrize(
    ('source', 'message'),
    [('x = 1', 'end in an expression'), ('[1, 2]', 'plain number'), ('float("nan")', 'must be finite')],
)
def test_a_notebook_without_a_final_number_is_refused(source, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        final_numbers(executed(source, tmp_path))


def test_own_models_and_losses_are_seen():
    cells = ['%matplotlib inline\nclass Model: pass', '!ls\ndef my_loss(x): return x', 'def show(): pass']
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
    assert own_definitions(code_of(notebook)) == ['Model', 'my_loss']
