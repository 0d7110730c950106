import math

import pytest

from jaxrec.configurable import resolve


def test_names_are_found():
    assert resolve('math:sqrt') is math.sqrt
    assert resolve('pathlib:Path.cwd').__name__ == 'cwd'


@pytest.mark.parametrize(
    ('path', 'message'),
    [
        ('math.sqrt', "write 'package.module:name'"),
        ('math:', "write 'package.module:name'"),
        (3, "write 'package.module:name'"),
        ('jaxrec.nowhere:f', "there is no module 'jaxrec.nowhere'"),
        ('nowhere_at_all.deep:f', "there is no module 'nowhere_at_all'"),
        ('jaxrec.configurable:resolv', "has no 'resolv'; it has Any, importlib, resolve"),
    ],
)
def test_bad_paths_say_why(path, message):
    with pytest.raises(ValueError) as error:
        resolve(path)
    assert message in str(error.value) and repr(path) in str(error.value)


def test_a_missing_dependency_is_not_hidden(tmp_path, monkeypatch):
    (tmp_path / 'needs_more.py').write_text('import absent_dependency\n')
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ModuleNotFoundError, match='absent_dependency'):
        resolve('needs_more:f')
