"""What a config would read, counted on extracts of the published files and by scripts of their own."""

import importlib

import pytest

from jaxrec.runs.build import build
from jaxrec.runs.counts import count, table
from tests.data.extracts import amazon, avazu, taobao
from tests.oracles import amazon as amazon_oracle
from tests.oracles import avazu as avazu_oracle
from tests.oracles import taobao as taobao_oracle


@pytest.fixture(scope='module')
def counted(tmp_path_factory):
    """(found, published, path of the extract) of a config of configs/can."""

    def run(name, extract, row='LR'):
        root = tmp_path_factory.mktemp(name)
        paths = extract.write(root / 'data')
        config = importlib.import_module(f'configs.can.{name}').get_config(row)
        config.data.cache, config.mesh = str(root / 'logs'), (1, 1)
        experiment = build(config, str(root / 'data'))
        return count(experiment), dict(experiment.data['published']), paths

    return run


def test_amazon(counted):
    found, published, paths = counted('amazon_books', amazon)
    users, expected = len(amazon_oracle.samples(paths[0])), amazon_oracle.counts(*paths)
    train, both = users * 88 // 100, users * 90 // 100
    assert found['train examples'] == 2 * train and found['train + validation examples'] == 2 * both
    assert (found['test events'], found['test examples']) == (users - both, 2 * (users - both))
    sizes = {name: found[f'values of {name}'] for name in ('user', 'item', 'category')}
    assert sizes == {'user': expected['users'], 'item': expected['items'], 'category': expected['categories']}
    assert published.keys() <= found.keys() and found['values in all'] == sum(sizes.values())
    # The paper's parts are two examples for each of the 603,668 users.
    assert published['train + validation examples'] + published['test examples'] == 2 * 603_668


def test_taobao(counted):
    found, published, path = counted('taobao', taobao)
    samples, expected = taobao_oracle.samples(path), taobao_oracle.counts(path)
    eligible, with_history = len(samples), sum(bool(history) for _, history in samples.values())
    both = eligible * 70 // 100
    assert found['train + validation events'] + found['test events'] == with_history
    assert both - (eligible - with_history) <= found['train + validation events'] <= both
    assert found['test examples'] == 2 * found['test events']
    assert found['values of item'] == expected['items']
    assert published.keys() <= found.keys()


def test_avazu(counted):
    found, published, path = counted('avazu', avazu)
    expected = avazu_oracle.counts(path)
    assert found['train events'] == found['train examples'] == sum(expected['days'][:9])
    assert found['validation events'] + found['test events'] == expected['days'][9]
    assert found['values in all'] == sum(expected['values'].values()) + 24 + 7
    text = table(found, published)
    line = next(line for line in text.splitlines() if line.startswith('train events'))
    assert line.split()[-2:] == [f'{found["train events"]:,}', '36,387,240']
    assert text.splitlines()[1].split()[-1] == '-'
