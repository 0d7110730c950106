"""Bad configs, from a misspelt section to a mesh in words."""

import pytest
from ml_collections import ConfigDict

from jaxrec.cli.flags import parse_mesh
from jaxrec.data.simulators.ctr import simulate
from jaxrec.runs import fit as running
from tests.bad_input.worlds import Case, assert_refused, config
from tests.runs.worlds import tiny

MOVIELENS = {
    'log': 'jaxrec.data.readers.movielens:compile_movielens',
    'arguments': ConfigDict({'data_dir': '', 'edition': 'latest-small-2016'}),
}

CASES: dict[str, Case] = {
    'unknown section': (config(optimiser={}), r'config\.optimiser is not a section', r"has the sections \('task'"),
    'missing section': (config(features=None), r"no 'features'", r'has the sections'),
    'misspelt key': (config(train__batchsize=8), r'train\.batchsize is not an option', r"did you mean 'batch_size'"),
    'misspelt model key': (config('DNN', model__width=(8,)), r'model\.width', r"did you mean 'widths'"),
    'wrong type': (config(train__batch_size='many'), r"train\.batch_size = 'many' is str", r'int such as 1024'),
    'None for a number': (config(train__log_every=None), r'train\.log_every = None', r'int such as 100'),
    'count of zero': (config(train__epochs=0), r'train\.epochs = 0', r'give at least 1'),
    'no evaluation': (
        config(train__evals_per_epoch=0),
        r'train\.evals_per_epoch = 0',
        r'give a number above 0, such as 0\.5',
    ),
    'text for a norm': (config(train__clip_norm='big'), r"train\.clip_norm = 'big' is str", r'give float or None'),
    'yes for a count of steps': (
        config(train__skip_not_finite=True),
        r'train\.skip_not_finite = True is bool',
        r'give int or None',
    ),
    'unknown row': (lambda world: tiny('SIM', world.cache), r"no model 'SIM'", r'[Cc]hoose one of .*CAN-DNN'),
    'unknown optimizer': (config(train__optimizer='lion'), r"train\.optimizer = 'lion'", r"one of \['adagrad', 'adam'"),
    'unknown row optimizer': (
        config(train__row_optimizer='adam'),
        r"row optimizer 'adam'",
        r"choose one of \['lazy_adam'",
    ),
    'unknown preset': (config('CAN-DNN', model__preset='kdd'), r"model\.preset = 'kdd'", r"one of \['wsdm22_code'"),
    'unknown order reduce': (
        config('CAN-DNN', model__order_reduce='mean'),
        r"model\.order_reduce = 'mean' does not exist",
        r"choose one of \['concat', 'sum'\]",
    ),
    'unknown layer output': (
        config('CAN-DNN', model__layer_output='all'),
        r"model\.layer_output = 'all' does not exist",
        r"choose one of \['concat', 'last'\]",
    ),
    'unknown last activation': (
        config('CAN-DNN', model__preset='wsdm22_paper', model__last_activation='relu'),
        r"model\.last_activation = 'relu' does not exist",
        r"choose one of \['none', 'tanh'\]",
    ),
    'unknown pooling': (
        config('CAN-DNN', model__pooling='max'),
        r"model\.pooling = 'max' does not exist",
        r"choose one of \['sum', 'mean'\]",
    ),
    'micro-network without layers': (
        config('CAN-DNN', model__dims=(16,)),
        r'model\.dims = \(16,\): give two or more whole numbers',
        r'such as \(16, 8, 4\)',
    ),
    'micro-network of no width': (
        config('CAN-DNN', model__dims=(16, 0, 4)),
        r'model\.dims = \(16, 0, 4\)',
        r'of at least 1',
    ),
    'micro-network of half a width': (
        config('CAN-DNN', model__dims=(16, 8.5)),
        r'model\.dims = \(16, 8\.5\)',
        r'whole numbers',
    ),
    'no order': (config('CAN-DNN', model__orders=0), r'model\.orders = 0', r'give at least 1'),
    'orders in words': (config('CAN-DNN', model__orders='two'), r"model\.orders = 'two'", r'int such as 3'),
    'misspelt unit option': (
        config('CAN-DNN', model__order_reduction='sum'),
        r'model\.order_reduction is not an option',
        r"did you mean 'order_reduce'",
    ),
    'bias in words': (config('CAN-DNN', model__use_bias='no'), r"model\.use_bias = 'no'", r'bool such as'),
    'auxiliary loss without negatives': (
        lambda world: running.fit(config('DIEN', data__history_negatives=None)(world), world.workdir / 'new'),
        r"lacks 'history_negative/<column>'",
        r"data\.history_negatives = 'uniform'",
    ),
    'pair of no feature': (
        config('CAN-DNN', model__pairs=(('item', 'history/brand'),)),
        r'pairs: .*history/brand',
        r'write pairs as',
    ),
    'unknown label': (config(data__label={'kind': 'stars'}), r"label kind 'stars'", r'use one of impressions'),
    'unknown split': (config(data__split={'kind': 'random'}), r"split kind 'random'", r'use one of leave_last_out'),
    'unknown monitor': (
        lambda world: running.fit(config(train__monitor='ndcg', train__epochs=1)(world), world.workdir / 'new'),
        r"train\.monitor = 'ndcg'",
        r"among the metrics \['auc'.*name one",
    ),
    'no data folder': (
        config(data__log=MOVIELENS['log'], data__arguments=MOVIELENS['arguments']),
        r'compile_movielens reads files',
        r'--data_dir, or in the environment variable JAXREC_DATA',
    ),
    'no such task': (
        config(task='jaxrec.models.simm:make_task'),
        r"no module 'jaxrec\.models\.simm'",
        r'check the spell',
    ),
    'no such function': (
        config(task='jaxrec.models.can:make'),
        r"jaxrec\.models\.can has no 'make'",
        r'it has .*make_task',
    ),
    'mesh in words': (lambda world: parse_mesh('8x1'), r"--mesh='8x1'", r'give two sizes, such as --mesh=4,2'),
    'unknown knob': (
        lambda world: simulate(world.log, item=5),
        r'world\.item is not an option',
        r"did you mean 'items'",
    ),
}


@pytest.mark.parametrize('name', CASES)
def test_bad_configs(world, name):
    assert_refused(CASES[name], world)
