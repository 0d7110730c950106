"""AGE's online experiment: fair buckets, what is explored and learned, and how it is told."""

import json

import jax.numpy as jnp
import numpy as np
import pytest

from jaxrec.models.age.online import seeds
from jaxrec.models.age.online.buckets import Buckets
from jaxrec.models.age.online.report import draw, pair, summarise_seeds, to_markdown
from jaxrec.models.age.online.seeds import run_seed
from jaxrec.models.age.online.simulated import PUBLISHED, get_config
from jaxrec.models.age.policies.neural import where_explorable
from jaxrec.models.age.policies.policy import Ranked
from jaxrec.models.age.replay.streams import open_stream
from jaxrec.options import lay_over
from tests.models.age.run_worlds import shrink

ONLINE = {'shares': (0.4, 0.3, 0.3), 'learn_every': 300, 'max_impressions': 60}
SERVED = 1_100


def tiny(cache, **sections):
    """The real config, of two explorers that explore, and one that does not."""
    config = shrink(get_config().copy_and_resolve_references(), cache)
    del config['replay']
    config.explorers['AGE-TS'].options.direction = 'fgm'
    config.explorers['Ensemble-TS'].options.networks = 2
    config.explorers['none'] = {}
    # In so small a world the gate opens for enough pairs only where something is known of items.
    features = {'candidate': ('item', 'category', 'source')}
    lay_over(config, {'features': features, 'online': ONLINE, **sections})
    return config


@pytest.fixture(scope='module')
def served(tmp_path_factory):
    folder = tmp_path_factory.mktemp('online')
    config = tiny(folder / 'logs')
    return config, folder, run_seed(config, 3, folder / 'seed3')


@pytest.mark.slow
def test_buckets_are_fair_and_share_the_traffic(served):
    buckets = served[2]['buckets']
    count = {name: bucket['visits'] for name, bucket in buckets.items()}
    assert count['A'] == count['B AGE-TS'] == count['B none'] and count['C'] == count['D AGE-TS']
    assert count['common'] + count['C'] + count['A'] == SERVED
    assert 0.1 < count['C'] / SERVED < 0.5 and 0.1 < count['A'] / SERVED < 0.5  # of 40 users only
    assert all(bucket['matches'] == bucket['visits'] for bucket in buckets.values())


@pytest.mark.slow
def test_who_does_not_explore_leaves_everything_as_it_is(served):
    buckets = served[2]['buckets']
    assert buckets['B none'] == buckets['A'] and buckets['D none'] == buckets['C']
    assert served[2]['days']['B none'] == served[2]['days']['A']


@pytest.mark.slow
def test_explorers_change_winners_and_so_what_the_models_learn(served):
    buckets, tuned = served[2]['buckets'], served[2]['tuned']
    assert tuned.keys() == {'AGE-TS'} and tuned['AGE-TS']['explore_lambda'] > 0
    for name in ('AGE-TS', 'Ensemble-TS'):
        assert 0 < buckets[f'D {name}']['changed'] < 1
        assert buckets[f'B {name}'] != buckets['A'] and buckets[f'B {name}']['changed'] == 0
    assert buckets['A']['changed'] == buckets['C']['changed'] == buckets['common']['changed'] == 0


@pytest.mark.slow
def test_a_finished_seed_is_read_and_one_of_another_config_is_not(served, monkeypatch):
    config, folder, result = served
    monkeypatch.setattr(seeds, 'Buckets', None)
    assert run_seed(config, 3, folder / 'seed3') == json.loads(json.dumps(result))
    other = config.copy_and_resolve_references()
    other.online.learn_every = 500
    with pytest.raises(TypeError):
        run_seed(other, 3, folder / 'seed3')


def test_what_has_impressions_enough_is_not_explored():
    ranked = Ranked(jnp.asarray([[0.5, 0.1, 0.3]]), jnp.asarray([[0.2, 0.4, 0.3]]))
    explorable = {'explorable': jnp.asarray([[1.0, 0.0, 0.0]])}
    np.testing.assert_array_equal(where_explorable(ranked, explorable).score, np.float32([[0.5, 0.4, 0.3]]))
    assert where_explorable(ranked, {}) is ranked


def result_of(seed, b=0.06, pcoc=1.1, caveat=''):
    one = {'ctr': 0.05, 'true_ctr': 0.05, 'regret': 0.1, 'new': 40, 'pcoc': 1.3, 'changed': 0.0}
    one |= {'ctr_low': 0.04, 'ctr_high': 0.07, 'caveat': caveat}
    other = {**one, 'ctr': b, 'true_ctr': b, 'new': 50, 'pcoc': pcoc, 'regret': 0.09}
    explored = {**one, 'true_ctr': 0.045, 'changed': 0.1}
    buckets = {'common': one, 'C': one, 'A': one, 'B AGE-TS': other, 'D AGE-TS': explored}
    days = {name: [None, 0.05, bucket['true_ctr']] for name, bucket in buckets.items()}
    return {'seed': seed, 'buckets': buckets, 'days': days}


def test_pairs_are_b_against_a_and_d_against_c():
    found = pair(result_of(0), 'AGE-TS')
    want = {'ctr': 0.2, 'true_ctr': 0.2, 'new': 0.25, 'pcoc_a': 1.3, 'pcoc_b': 1.1, 'nearer': 0.2}
    assert found == pytest.approx({**want, 'regret': -0.01, 'cost': -0.1, 'changed': 0.1})
    result = result_of(0)
    result['buckets']['A'] = {**result['buckets']['A'], 'new': 0}
    assert 'new' not in pair(result, 'AGE-TS')


def test_the_table_says_how_often_and_from_how_many_clicks(tmp_path):
    results = [result_of(0), result_of(1, b=0.045, pcoc=0.6, caveat='only 3 clicks stand behind this')]
    summary = summarise_seeds(results, ['AGE-TS'])
    pairs = summary['pairs']['AGE-TS']
    assert pairs['ctr']['mean'] == pytest.approx(0.05) and pairs['ctr']['above'] == 1 and pairs['ctr']['n'] == 2
    assert pairs['nearer']['above'] == 1
    text = to_markdown(summary, PUBLISHED, results)
    assert '| +5.00% ± 21.21% |' in text and '+6.4% | +3.0% | 1.10 |' in text and '| Ensemble-UCB |' in text
    assert 'of 2 seeds B is above A in CTR in 1 of 2, in true CTR in 1 of 2, nearer 1 in PCOC in 1 of 2' in text
    assert 'seed 1, bucket A: CTR 0.0500 [0.0400, 0.0700]; only 3 clicks stand behind this' in text
    draw(results, ['AGE-TS'], tmp_path / 'ctr.png')
    assert (tmp_path / 'ctr.png').stat().st_size > 10_000


@pytest.mark.slow
def test_configs_that_make_no_experiment_are_refused(served):
    config = served[0].copy_and_resolve_references()
    stream = open_stream(config)
    config.online.shares = (0.5, 0.5)
    with pytest.raises(ValueError, match=r'online.shares = \(0.5, 0.5\): give three'):
        Buckets(config, stream)
    for shares in ((0.5, 0.5, 0.0), (0.6, -0.1, 0.5), (0.5, 0.3, 0.3)):
        config.online.shares = shares
        with pytest.raises(ValueError, match=r'online.shares = .* each above 0 and at most 1 in all'):
            Buckets(config, stream)
    with pytest.raises(ValueError, match=r'no simulated feed.*set data.log'):
        Buckets(served[0], stream.__class__(stream.source, stream.warm_up, None))
    none = served[0].copy_and_resolve_references()
    none.explorers = {}
    with pytest.raises(ValueError, match=r'config.explorers names none: give \{name: row\}'):
        run_seed(none, 0, served[1] / 'none')
    none['explorer'] = 1
    with pytest.raises(ValueError, match=r'config\.explorer is not a section'):
        run_seed(none, 0, served[1] / 'none')
    with pytest.raises(ValueError, match="there is no world 'moving'; choose one of"):
        get_config('moving')
