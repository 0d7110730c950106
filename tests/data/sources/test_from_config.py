import pytest

from jaxrec.data.sources.from_config import open_log
from tests.data.worlds import small_log


def test_a_config_names_the_function_that_compiles(tmp_path):
    config = {'log': 'tests.data.worlds:small_log', 'arguments': {'users': 5}}
    log = open_log(config, tmp_path / 'log')
    assert log.manifest['counts']['users'] == 5
    assert open_log(config, tmp_path / 'log').manifest == log.manifest == small_log(tmp_path / 'log', users=5).manifest


def no_log(folder):
    return folder


@pytest.mark.parametrize(
    ('config', 'message'),
    [
        ({'reader': 'x'}, "no 'log' but reader"),
        ({'log': 'tests.data.worlds:small_log', 'arguments': {'folder': 'x'}}, 'do not fit'),
        ({'log': 'tests.data.worlds:raw_world'}, "unexpected keyword argument 'folder'.: it takes users, items"),
        (
            {'log': 'tests.data.sources.test_from_config:no_log'},
            'returned PosixPath: it must return a BehaviourLog or a ClickLog',
        ),
    ],
)
def test_bad_configs(tmp_path, config, message):
    with pytest.raises(ValueError, match=message):
        open_log(config, tmp_path / 'log')
