"""The table of models: every preset of every paper, what it needs, and its config on a log."""

import dataclasses
import difflib
import importlib
from collections.abc import Callable
from pathlib import Path

from ml_collections import ConfigDict

PAPERS = ('can', 'sim', 'age', 'onerec', 'sms')
SIMULATED = 'simulated'  # in place of a log: the data that the paper's own preset is trained on


COLUMNS = ('name', 'paper', 'needs', 'simulated data', 'command', 'page')


@dataclasses.dataclass(frozen=True)
class Model:
    """A named model.

    Attributes:
      paper: whose preset it is, with its arXiv number.
      needs: the kind of log that it trains on.
      command: what runs it.
      page: where it is described.
      on_log: from the path of a log to the config of a run on it.
      simulated: the config of a run on the paper's simulated data; None where there is none.
    """

    name: str
    paper: str
    needs: str
    command: str
    page: str
    on_log: Callable[[str], ConfigDict]
    simulated: Callable[[], ConfigDict] | None = None


class ModelTable(tuple[Model, ...]):
    """All models; prints and displays as a table."""

    def __repr__(self) -> str:
        rows = [COLUMNS, *map(_cells, self)]
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        lines = ['  '.join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip() for row in rows]
        return '\n'.join(lines)

    def _repr_html_(self) -> str:
        head = ''.join(f'<th>{name}</th>' for name in COLUMNS)
        body = ''.join('<tr>' + ''.join(f'<td>{text}</td>' for text in _cells(model)) + '</tr>' for model in self)
        return f'<table><tr>{head}</tr>{body}</table>'


def _cells(model: Model) -> tuple[str, ...]:
    return model.name, model.paper, model.needs, 'yes' if model.simulated else 'no', model.command, model.page


def all_models() -> ModelTable:
    """Every model, by paper."""
    modules = [importlib.import_module(f'jaxrec.models.{paper}.registry') for paper in PAPERS]
    return ModelTable(model for module in modules for model in module.MODELS)


def find_model(name: str, command: str = 'jaxrec train') -> Model:
    """The model of a name; ValueError where there is none, or another command runs it."""
    models = all_models()
    for model in models:
        if model.name == name and model.command == command:
            return model
    for model in models:
        if model.name == name:
            raise ValueError(f'{name} is not a model of `{command}`: use `{model.command}`')
    names = [model.name for model in models if model.command == command]
    close = difflib.get_close_matches(name, names, n=3, cutoff=0.5)
    hint = f' Did you mean {" or ".join(close)}?' if close else ''
    raise ValueError(f'there is no model {name!r}.{hint} `jaxrec models` lists all of them')


def model_config(name: str, log: str | Path, command: str = 'jaxrec train') -> ConfigDict:
    """The config of a model, by its name and command, on the path of a log or `SIMULATED`, with defaults that suit it.

    Raises:
      ValueError: there is no such model, or the log cannot feed it.
    """
    model = find_model(name, command)
    if str(log) != SIMULATED:
        return model.on_log(str(Path(log)))
    if model.simulated is None:
        raise ValueError(f'{name} has no simulated data: give a log that `jaxrec ingest` has written')
    return model.simulated()
