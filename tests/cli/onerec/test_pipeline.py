"""The pipeline from end to end on a tiny world, and run again; its table, and configs that cannot be."""

import json

import numpy as np
import pytest
from ml_collections import ConfigDict

from configs.onerec.pipeline import get_config as get_pipeline
from jaxrec.models.onerec import pipeline as pipelining
from jaxrec.models.onerec.alignment import iterations
from jaxrec.models.onerec.alignment.mining import Miner
from jaxrec.runs import fit as running
from jaxrec.runs import workdir as workdirs
from tests.models.onerec.run_worlds import NETWORK
from tests.models.onerec.worlds import REWARD
from tests.runs.worlds import SESSIONS


@pytest.mark.slow
def test_a_pipeline_runs_from_a_log_to_a_table_and_is_not_run_again(tmp_path, monkeypatch):
    config, workdir, asked = tiny_pipeline(tmp_path / 'logs'), tmp_path / 'run', []
    judge_written = pipelining.judge_written
    spy = lambda write, source, *rest: asked.append(source) or judge_written(write, source, *rest)
    monkeypatch.setattr(pipelining, 'judge_written', spy)
    rows = pipelining.run_pipeline(config, workdir)
    assert list(rows) == ['generator', 'ntp', 'ipa']
    for row in rows.values():
        wanted = (*pipelining.COLUMNS, 'true_reward_first', 'judge_reward_first', 'ndcg@10', 'step')
        assert set(wanted) <= row.keys() and all(np.isfinite(value) for value in row.values())
    assert [(source.selection, source.choose) for source in asked] == [(None, 'first')] * 3
    begun = rows['generator']['step']
    with workdirs.own_checkpoints(workdir / 'generator') as checkpoints:  # not by what alignments monitor
        assert begun == checkpoints.best
    assert begun > 0 and rows['ntp']['step'] == rows['ipa']['step'] > begun
    assert rows['ipa']['ntp'] != rows['ntp']['ntp'] != rows['generator']['ntp']
    assert len(list((workdir / 'ipa/align').glob('pairs-*'))) == 3
    assert not list((workdir / 'ntp/align').glob('pairs-*'))
    table = (workdir / 'table.md').read_text()
    assert json.loads((workdir / 'table.json').read_text()) == rows and '| ipa | ' in table
    seconds = json.loads((workdir / 'seconds.json').read_text())
    stages = {'tokenize', 'generator', 'reward', 'ntp', 'ipa', 'evaluate ntp', 'evaluate ipa', 'evaluate'}
    assert seconds.keys() == stages and 'seconds: tokenize' in table

    def refuse(*_):
        raise AssertionError('a stage that is finished trains')

    made = {path: path.stat().st_mtime_ns for path in workdir.glob('*/checkpoints/*/**/*')}
    written = {path: path.read_text() for path in workdir.glob('*/metrics.jsonl')}
    assert len(written) == 4 and made
    for module in (running, iterations):
        monkeypatch.setattr(module, 'make_train_step', lambda setup: refuse)
    monkeypatch.setattr(Miner, 'mine_chunk', refuse)
    assert pipelining.run_pipeline(config, workdir) == rows
    assert {path: path.stat().st_mtime_ns for path in workdir.glob('*/checkpoints/*/**/*')} == made
    assert {path: path.read_text() for path in workdir.glob('*/metrics.jsonl')} == written
    again = json.loads((workdir / 'seconds.json').read_text())
    assert again.keys() == stages and all(again[name] >= seconds[name] for name in stages)


def tiny_pipeline(cache):
    """The pipeline's config on 60 users and 49 items, sessions of 2, one layer of two experts."""
    config = get_pipeline()
    for section in (config.generator, config.reward):
        # Else no session of the few that are validation would have a follow.
        section.data.arguments = ConfigDict(SESSIONS | {'follow_bias': -1.0, 'like_bias': -1.0})
        section.data.cache = str(cache)
        section.data.history_length, section.data.session, section.mesh = 6, 2, (1, 1)
        section.train.update({'batch_size': 16, 'eval_batch_size': 32, 'epochs': 1, 'log_every': 2})
    config.generator.data.quality = ConfigDict({'watched': 2})
    config.generator.files.ids.arguments.update({'clusters': 8, 'levels': 1, 'behaviour': 4})
    config.generator.model.update(NETWORK | {'session': 2, 'experts': 2, 'active': 1, 'dropout': 0.1})
    config.reward.model.update({key: x for key, x in REWARD.items() if key != 'init_std'})
    config.align.align.update({'beams': 4, 'passes': 3.0, 'ratio': 0.2, 'chunk': 4, 'judged': 4})
    config.pipeline.requests = 6
    return config


def test_pipelines_that_cannot_be(tmp_path):
    with pytest.raises(ValueError, match=r'config\.align is missing or no section; a pipeline has'):
        pipelining.run_pipeline(ConfigDict({'generator': {}, 'reward': {}, 'pipeline': {}}), tmp_path)
    config = get_pipeline()
    config.pipeline.requests = 0
    with pytest.raises(ValueError, match=r'pipeline\.requests = 0: give at least 1 request of the test part'):
        pipelining.run_pipeline(config, tmp_path)
    config.pipeline.requests, config.pipeline.of_method = 1, ConfigDict({'grpo': {}})
    with pytest.raises(ValueError, match=r"pipeline\.of_method names 'grpo'; choose of"):
        pipelining.run_pipeline(config, tmp_path)
    config.pipeline.of_method, config.align.beams = ConfigDict(), 4
    with pytest.raises(ValueError, match=r'config\.align\.beams is not a section; an alignment has'):
        pipelining.run_pipeline(config, tmp_path)
    del config.align.beams
    config.align.align.passes = 0.0
    with pytest.raises(ValueError, match=r'align\.iterations = 1, passes = 0\.0, evals = 1: give'):
        pipelining.run_pipeline(config, tmp_path)
    assert not list(tmp_path.iterdir())  # another config may still take it
    config.pipeline.methods = ()
    with pytest.raises(ValueError, match=r'pipeline\.methods is empty: name at least one of'):
        pipelining.run_pipeline(config, tmp_path)


def test_bare_ids_need_no_report(tmp_path, monkeypatch):
    config = ConfigDict({'model': {'ids': str(tmp_path / 'ids.npz')}})
    for name, value in (('log_of', None), ('read_data', None), ('make_files', {})):
        monkeypatch.setattr(pipelining, name, lambda *_, value=value: value)
    assert pipelining._tokenize(config, None) == {}
    (tmp_path / pipelining.TOKENS_REPORT).write_text('{"items": 3}')
    assert pipelining._tokenize(config, None) == {'items': 3}


def test_the_table_has_a_line_a_row():
    rows = {
        'generator': {'ntp': 2.0, 'judge_reward_mean': 1.5},
        'ipa': {'ntp': 2.25, 'judge_reward_mean': 2.0},
        'ntp': {'ntp': 2.5},
    }
    assert pipelining.to_table(rows).splitlines() == [
        '| row | NTP loss | judge mean |', '|---|---|---|', '| generator | 2.0000 | 1.5000 |',
        '| ipa | 2.2500 | 2.0000 |', '| ntp | 2.5000 |  |',
    ]  # fmt: skip
