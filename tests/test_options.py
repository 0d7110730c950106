"""Config sections against their defaults, and configs as plain values."""

import dataclasses
import pickle

import pytest
from ml_collections import ConfigDict

from jaxrec.options import lay_over, plain, read_options, read_sized

DEFAULTS = {'size': 4, 'rate': 0.1, 'name': 'a', 'widths': (8,), 'fast': False, 'extra': {}, 'limit': None}


@pytest.mark.parametrize('kind', [dict, ConfigDict])
def test_a_section_wins_over_its_defaults(kind):
    given = {'rate': 1, 'widths': (3, 2), 'extra': {'a': 1}, 'limit': 7}
    read = read_options(kind(given), 'train', **DEFAULTS)
    assert plain(read) == DEFAULTS | given


@pytest.mark.parametrize(
    ('given', 'message'),
    [
        ({'sizes': 5}, r"train\.sizes is not an option; did you mean 'size'\?\. Allowed: \['extra'"),
        ({'zzz': 5}, r'train\.zzz is not an option\. Allowed: '),
        ({'size': 4.5}, r'train\.size = 4\.5 is float, but int such as 4 is expected'),
        ({'size': True}, r'train\.size = True is bool, but int'),
        ({'fast': 1}, r'train\.fast = 1 is int, but bool'),
        ({'rate': '1'}, r"train\.rate = '1' is str, but float"),
        ({'widths': 8}, r'train\.widths = 8 is int, but tuple'),
        ({'extra': ()}, r'train\.extra = \(\) is tuple, but dict'),
        ({'name': None}, r'train\.name = None is NoneType, but str'),
    ],
)
def test_what_does_not_fit_is_refused(given, message):
    with pytest.raises(ValueError, match=message):
        read_options(given, 'train', **DEFAULTS)


@dataclasses.dataclass(frozen=True)
class Shape:
    width: int = 8
    rate: float = 0.5
    levels: tuple[int, ...] = (1, 2)


SIZES = {'full': {}, 'tiny': {'width': 2, 'levels': (1,)}}


@pytest.mark.parametrize('kind', [dict, ConfigDict])
def test_a_section_wins_over_the_size_that_it_names(kind):
    read = lambda **given: read_sized(kind(given), 'model', Shape, SIZES, 'full')
    assert read() == Shape() and read(size='tiny') == Shape(2, 0.5, (1,))
    assert read(size='tiny', rate=1, levels=[4, 5]) == Shape(2, 1, (4, 5))


@pytest.mark.parametrize(
    ('given', 'message'),
    [
        ({'size': 'huge'}, r"model\.size = 'huge' does not exist; choose one of \['full', 'tiny'\]"),
        ({'with': 3}, r"model\.with is not an option; did you mean 'width'\?"),
        ({'size': 'tiny', 'width': 'x'}, r"model\.width = 'x' is str, but int such as 2"),
    ],
)
def test_a_sized_section_is_refused_by_name(given, message):
    with pytest.raises(ValueError, match=message):
        read_sized(given, 'model', Shape, SIZES, 'full')


def test_a_plain_config_has_sorted_dicts_and_tuples_all_the_way_down():
    given = {'b': {'z': [1, [2, {'y': 3}]], 'a': 'text'}, 'a': None}
    want = {'a': None, 'b': {'a': 'text', 'z': (1, (2, {'y': 3}))}}
    for config in (given, ConfigDict(given)):
        found = plain(config)
        assert found == want and type(found['b']) is dict
        assert pickle.dumps(found) == pickle.dumps(want) and repr(found) == repr(want)


@pytest.mark.parametrize('kind', [dict, ConfigDict])
def test_sections_are_laid_over_each_other(kind):
    config = kind({'data': {'length': 9, 'long': {'keep': 3}}, 'seed': 0})
    lay_over(config, {'data': {'long': {'keep': 4, 'search': 'hard'}, 'gap': {'unit': 1}}, 'seed': 2})
    data = {'length': 9, 'long': {'keep': 4, 'search': 'hard'}, 'gap': {'unit': 1}}
    assert plain(config) == {'data': data, 'seed': 2}
    lay_over(config, {'data': {'long': None}})
    assert plain(config) == {'data': data | {'long': None}, 'seed': 2}
    lay_over(config, {'data': {'long': {'keep': 5}}})  # a section where there was none
    assert plain(config)['data']['long'] == {'keep': 5}
