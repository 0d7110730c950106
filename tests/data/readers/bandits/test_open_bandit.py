"""The Open Bandit reader on the published sample and on an extract laid out as the full set."""

import gzip

import jax
import numpy as np
import pytest

from jaxrec.data.readers.bandits.open_bandit import compile_open_bandit
from jaxrec.data.sources.pool_source import PoolSource
from jaxrec.evaluation.off_policy import evaluate_off_policy
from jaxrec.evaluation.replay import ReplayOptions, replay, start
from jaxrec.evaluation.tallies import summarise
from tests.data.extracts import open_bandit as extract
from tests.oracles import open_bandit as oracle

SAMPLE = 'open-bandit-small'
SIZES = {'all': (80, 38), 'men': (34, 46), 'women': (46, 46)}  # items and clicks that the publisher states
FEATURES = {'user': ['position', 'user_feature_0'], 'candidate': ['item', 'affinity', 'item_feature_0']}


@pytest.fixture(scope='module')
def sample(data_folder, tmp_path_factory):
    folder = tmp_path_factory.mktemp('open_bandit')
    root = data_folder(SAMPLE)
    compiled = {name: compile_open_bandit(root, folder / name, campaign=name) for name in SIZES}
    return {name: (log, oracle.rows(root / f'random/{name}/{name}.csv.gz')) for name, log in compiled.items()}


@pytest.fixture(scope='module')
def full(tmp_path_factory):
    folder = tmp_path_factory.mktemp('full')
    path = extract.write(folder / 'open_bandit_dataset')
    return compile_open_bandit(folder, folder / 'log', 'bts', 'men'), oracle.rows(path), path


def same_rows(log, read):
    assert len(log) == len(read)
    item = log.vocabulary('item')
    np.testing.assert_array_equal(item.decode(log.events['item']), [row['item'] for row in read])
    for name in ('click', 'propensity'):
        np.testing.assert_array_equal(log.events[name], [row[name] for row in read])
    np.testing.assert_allclose(log.events['time'], [row['time'] for row in read], rtol=0, atol=1e-6)
    positions = log.vocabulary('position').decode(log.events['position'])
    np.testing.assert_array_equal(positions, [row['position'] for row in read])
    for n in range(4):
        name = f'user_feature_{n}'
        decoded = log.vocabulary(name).decode(log.events[name]).tolist()
        assert decoded == [row['features'][n] for row in read]
    pool = item.decode(log.pools['candidates'].values)
    assert len(log.pools) == 1 and sorted(pool.tolist()) == list(range(len(read[0]['affinity'])))
    lent = np.asarray([row['affinity'] for row in read], np.float32)[:, pool]
    np.testing.assert_array_equal(log.events['affinity'].values.reshape(lent.shape), lent)


@pytest.mark.parametrize('name', SIZES)
def test_the_sample_has_the_rows_of_an_independent_script(sample, name):
    log, read = sample[name]
    same_rows(log, read)
    assert len(log) == 10_000 and log.logging == 'uniform' and not log.manifest['notes']
    assert (log.candidates, int(log.events['click'].sum())) == SIZES[name]
    assert log.schema['item_feature_0'].kind == 'numeric' and log.schema['item_feature_3'].vocabulary


def digits(value):
    """The fifteen digits that a float64 holds; the sixteenth is that of the sum's order."""
    return f'{float(value):.15g}'


class Pick:
    """A fixed policy over raw items; (item, position) -> whether it is the pick."""

    def __init__(self, log, picks):
        self.items = np.zeros(log.schema['item'].rows, int)
        keys = log.vocabulary('item').keys
        self.items[2:] = keys
        self.positions = np.concatenate([[0, 0], log.vocabulary('position').keys])
        self.picks = picks

    def score(self, state, requests, rng=None):
        position = self.positions[requests['user/position']][:, None]
        return self.picks(self.items[requests['candidate/item']], position).astype(np.float64)

    def learn(self, state, matched):
        return state

    def probabilities(self, batch):
        return self.score(None, batch)


POLICIES = {
    'item 3': (lambda item, position: item == 3, lambda row: 3),
    'item 20': (lambda item, position: item == 20, lambda row: 20),
    'by position': (lambda item, position: item == 5 * position + 1, lambda row: 5 * row['position'] + 1),
}


@pytest.mark.parametrize('policy', POLICIES)
@pytest.mark.parametrize('name', SIZES)
def test_replay_and_ips_agree_with_independent_arithmetic_to_the_digit(sample, name, policy):
    log, read = sample[name]
    picks, plain = POLICIES[policy]
    expected = oracle.fixed_policy(read, plain)
    visits = PoolSource(log.folder, features=FEATURES, batch_size=700)
    pick = Pick(log, picks)
    options = ReplayOptions(refit_every=1000)
    found = summarise(replay(pick, visits, start(None), jax.random.key(0), options).tally)
    assert (found['matches'], found['clicks']) == (expected['matches'], expected['clicks'])
    assert found['ctr'] == float(expected['ctr']) and found['match_rate'] == expected['matches'] / 10_000
    assert found['caveat'].startswith(f'only {expected["clicks"]} clicks stand behind this')
    batches = map(visits.__getitem__, range(len(visits)))
    estimated = evaluate_off_policy(pick.probabilities, batches, replicates=100)
    assert digits(estimated['ips'].value) == digits(expected['ips'])
    assert digits(estimated['snips'].value) == digits(expected['snips']) == digits(expected['ctr'])
    assert estimated['ips'].clicks == expected['clicks'] and 'too few' in str(estimated['ips'])


def test_the_uniform_policy_earns_the_click_rate_of_the_log(sample):
    log, _ = sample['all']
    visits = PoolSource(log.folder, features=FEATURES, batch_size=1024)
    even = lambda batch: batch['pool'] / batch['pool'].sum(1, keepdims=True).clip(1)
    found = evaluate_off_policy(even, map(visits.__getitem__, range(len(visits))), replicates=100)
    assert found['ips'].value == pytest.approx(0.0038, rel=1e-12)
    assert found['ips'].low < 0.0038 < found['ips'].high and found['ips'].effective == pytest.approx(10_000)


def test_the_full_layout(full):
    log, read, _ = full
    same_rows(log, read)
    assert len(log) == 600 and log.logging == 'propensities' and log.candidates == extract.ITEMS
    assert log.manifest['notes']['rows out of time order'] > 30
    assert (np.diff(log.events['time']) >= 0).all()
    item = log.vocabulary('item').encode(np.arange(extract.ITEMS))
    np.testing.assert_array_equal(log.items['item_feature_0'][item], np.arange(extract.ITEMS) / 4 - 0.5)


def test_uneven_propensities_weigh_in(full):
    log, read, _ = full
    visits = PoolSource(log.folder, features=FEATURES, batch_size=100)
    pick = Pick(log, lambda item, position: item == position)
    expected = oracle.fixed_policy(read, lambda row: row['position'])
    found = evaluate_off_policy(pick.probabilities, [visits[i] for i in range(len(visits))], replicates=100)
    assert found['ips'].value == pytest.approx(float(expected['ips']), rel=1e-12)
    assert found['snips'].value == pytest.approx(float(expected['snips']), rel=1e-12)
    with pytest.raises(ValueError, match=r"not uniform over its pool, .* set accept='propensity'"):
        replay(pick, visits, start(None), jax.random.key(0))


def test_blocks_packings_and_fewer_columns(full, tmp_path, monkeypatch):
    log, _, path = full
    monkeypatch.setattr('jaxrec.data.readers.csv_blocks.BLOCK_BYTES', 20_000)
    monkeypatch.setattr('jaxrec.data.readers.bandits.open_bandit.BLOCK_ROWS', 130)
    place = tmp_path / 'bts' / 'men'
    place.mkdir(parents=True)
    for name in ('men.csv', 'item_context.csv'):
        (place / f'{name}.gz').write_bytes(gzip.compress((path.parent / name).read_bytes()))
    again = compile_open_bandit(tmp_path, tmp_path / 'log', 'bts', 'men')
    assert again.manifest['vocabularies'] == log.manifest['vocabularies']
    for name in ('time', 'item', 'shown', 'propensity', 'user_feature_2'):
        np.testing.assert_array_equal(again.events[name], log.events[name])
    np.testing.assert_array_equal(again.events['affinity'].values, log.events['affinity'].values)
    bare = compile_open_bandit(tmp_path, tmp_path / 'bare', 'bts', 'men', affinity=False)
    assert 'affinity' not in bare.schema and len(bare) == 600


def test_a_compiled_log_is_opened_without_reading_the_files_again(full, monkeypatch):
    log, _, path = full
    monkeypatch.setattr('jaxrec.data.readers.bandits.open_bandit.read_blocks', lambda *_: pytest.fail('read again'))
    assert compile_open_bandit(path.parents[2], log.folder, 'bts', 'men').manifest == log.manifest
