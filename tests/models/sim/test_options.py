"""Presets of the long-term interest block, and what it refuses."""

import pytest

from jaxrec.models.baselines.dnn import BASE_OPTIONS
from jaxrec.models.sim.options import SIM_OPTIONS, read_sim_options
from jaxrec.models.sim.presets import PRESETS
from tests.models import worlds

FEATURES = {'features': worlds.FEATURES}


def read(features=worlds.FEATURES, **options):
    return read_sim_options({'features': features, **options}, worlds.SCHEMA)


def test_presets_say_what_the_papers_do_and_give_way_to_options():
    assert set(PRESETS) == {
        'cikm20_hard', 'cikm20_hard_time', 'cikm20_soft', 'cikm20_soft_time', 'eta', 'sdim', 'twin'
    }  # fmt: skip
    for name, preset in PRESETS.items():
        assert set(preset) <= {*SIM_OPTIONS, *BASE_OPTIONS}
        assert {key: read(preset=name)[key] for key in preset} == preset
    assert read(preset='cikm20_hard')['alpha'] == 0 and read(preset='cikm20_soft')['alpha'] == 1
    assert read(preset='cikm20_soft_time')['time_gap'] == 4 and not read(preset='cikm20_soft')['time_gap']
    mixed = read(preset='cikm20_soft', short_model='din', keep=7)
    assert (mixed['short_model'], mixed['keep'], mixed['dim']) == ('din', 7, 4)


def test_alpha_is_that_of_the_search_unless_it_is_given():
    assert {search: read(search=search)['alpha'] for search in ('soft', 'hard', 'twin')} == {
        'soft': 1.0, 'hard': 0.0, 'twin': 0.0}  # fmt: skip
    assert read(alpha=0, project=False)['alpha'] == 0 and read(alpha=2)['alpha'] == 2


@pytest.mark.parametrize('preset', list(PRESETS))
def test_every_preset_builds(preset):
    options = {'features': worlds.FEATURES, 'preset': preset}
    task = worlds.resolve('jaxrec.models.sim:make_task', 'task')(options, worlds.SCHEMA)
    assert {table.dim for table in task.tables.values()} == {4 if 'cikm20' in preset else 18}


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        ({'preset': 'cikm21'}, r"model.preset = 'cikm21' does not exist; choose one of \['cikm20_hard'"),
        ({'search': 'hash'}, r"model.search = 'hash' does not exist; choose one of \['hard', 'none', 'sdim'"),
        ({'attention': 'sum'}, r"model.attention = 'sum' does not exist; choose one of \['din', 'mean', 'mha'"),
        ({'short_model': 'gru'}, r"model.short_model = 'gru' does not exist; choose one of \['dien', 'din', 'none'"),
        ({'keep': 0}, 'model.keep = 0: give at least 1'),
        ({'time_gap': -1}, 'model.time_gap = -1: give at least 0'),
        ({'beta': 0.0}, 'model.beta = 0.0: .* needs a positive weight'),
        ({'alpha': -1.0}, 'model.alpha = -1.0: give the weight of the search loss, or 0'),
        ({'alpha': 1.0, 'search': 'hard'}, "model.alpha = 1.0 .* the search 'hard' has none: set it to 0"),
        ({'alpha': 0.0}, 'model.alpha = 0 leaves W_a and W_b .* or set model.project = False'),
        ({'search': 'sdim', 'hash_group': 5}, 'model.hash_group = 5 must divide model.hashes = 48'),
        ({'search': 'sdim', 'attention': 'mean'}, "model.attention = 'mean', but the search 'sdim' brings its own"),
        ({'search': 'twin', 'attention': 'din'}, "model.attention = 'din', but the search 'twin' brings its own"),
        ({'search': 'hard', 'column': 'brand'}, "model.column = 'brand': .* name a categorical column of features"),
        ({'keeep': 3}, "model.keeep is not an option; did you mean 'keep'"),
        ({'base_options': {'dim': 3}}, 'model.base_options.dim: the base takes it from model.dim'),
    ],
)
def test_what_cannot_be_built_is_refused(options, message):
    with pytest.raises(ValueError, match=message):
        worlds.resolve('jaxrec.models.sim:make_task', 'task')({**FEATURES, **options}, worlds.SCHEMA)


def test_a_hard_search_wants_one_id():
    with pytest.raises(ValueError, match=r"model.column = 'tags': a hard search compares one id"):
        read(worlds.RICH, search='hard', column='tags')


def test_behaviours_and_candidates_must_be_comparable():
    fewer = {**worlds.FEATURES, 'history': ('item',)}
    with pytest.raises(ValueError, match=r'SIM compares each behaviour .* must equal features.candidate'):
        read(fewer)
    with pytest.raises(ValueError, match=r"lacks 'category' of features.candidate: TWIN compares these columns"):
        read(fewer, search='twin')
