"""The public API: the ten lines of the README, and what it refuses."""

import csv
import json
import os
import subprocess
import sys

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

import jaxrec
from tests.conftest import REPOSITORY

SMALL = {'train.epochs': 1, 'train.batch_size': 32, 'model.widths': (8,), 'model.dim': 4}
COLUMNS = ('user', 'item', 'shown_at', 'clicked', 'hour', 'position', 'price', 'category')


@pytest.fixture(scope='module')
def clicks(tmp_path_factory):
    """A folder with `clicks.csv` (1,500 impressions) and its log `log`."""
    folder = tmp_path_factory.mktemp('api')
    draw = np.random.default_rng(0)
    with (folder / 'clicks.csv').open('w', newline='') as file:
        writer = csv.writer(file)
        writer.writerow(COLUMNS)
        for row in range(1_500):
            item, hour, shown = draw.integers(40), draw.integers(24), 1_700_000_000 + row
            clicked = int(draw.random() < 0.2 + 0.5 * (item % 2))
            price = round(float(draw.random()), 2)
            writer.writerow([f'u{draw.integers(30)}', f'i{item}', shown, clicked, hour, row % 5, price, f'c{item % 4}'])
    ingest(folder)
    return folder


def ingest(folder, name='log'):
    return jaxrec.ingest(
        folder / 'clicks.csv', folder / name, user='user', item='item', time='shown_at', label='clicked',
        context=['hour', 'position', 'price:numeric'], item_attribute=['category'],
    )  # fmt: skip


@pytest.fixture(scope='module')
def trained(clicks):
    return jaxrec.fit(clicks / 'log', 'DNN', workdir=clicks / 'run', mesh=(1, 1), **SMALL)


def jaxrec_command(*words, cwd):
    environment = os.environ | {'PYTHONPATH': str(REPOSITORY)}
    script = 'from jaxrec.cli.main import main; main()'
    done = subprocess.run(
        [sys.executable, '-c', script, *words], cwd=cwd, env=environment, capture_output=True, text=True, timeout=100
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


def test_the_ten_lines(clicks, tmp_path, capsys):
    log = ingest(clicks, 'again')
    assert 'Read 1,500 rows' in capsys.readouterr().out or len(log) == 1_500
    run = jaxrec.fit(log, 'DNN', workdir=tmp_path / 'dnn', mesh=(1, 1), **SMALL)
    shown = capsys.readouterr().out
    assert all(f'{key}=' in shown for key in ('batch_size', 'epochs', 'learning_rate', 'patience', 'dim'))
    found = run.evaluate('test')
    assert 0 <= found['auc'] <= 1 and {'gauc', 'logloss', 'pcoc'} <= set(found)
    frame = pd.read_csv(clicks / 'clicks.csv').tail(50)
    scored = run.predict(frame)
    assert scored.index.equals(frame.index) and scored['probability'].between(0, 1).all()
    run.plot(tmp_path / 'curves.png')
    run.export(tmp_path / 'scorer.jaxexport')
    assert (tmp_path / 'curves.png').stat().st_size and (tmp_path / 'scorer.jaxexport').stat().st_size
    again = jaxrec.load(tmp_path / 'dnn').evaluate('test')
    assert again == pytest.approx(found, abs=1e-6)
    table = jaxrec.compare(log, ['DNN', 'LR'], workdir=tmp_path / 'table', seeds=2, **{'train.epochs': 1})
    assert set(table.summary) == {'DNN', 'LR'} and (tmp_path / 'table' / 'table.png').exists()
    assert 'DNN' in repr(table) and '<pre>' in table._repr_html_()


def test_predict_keeps_the_kind_and_the_order_of_a_frame(clicks, trained):
    frame = pd.read_csv(clicks / 'clicks.csv').tail(20).sample(frac=1, random_state=0).reset_index(drop=True)
    expected = trained.predict(frame)['probability'].to_numpy()
    by_polars = trained.predict(pl.from_pandas(frame))
    by_arrow = trained.predict(pa.Table.from_pandas(frame))
    assert isinstance(by_polars, pl.DataFrame) and isinstance(by_arrow, pa.Table)
    np.testing.assert_array_equal(by_polars['probability'].to_numpy(), expected)
    np.testing.assert_array_equal(by_arrow.column('probability').to_numpy(), expected)
    assert by_polars['item'].to_list() == frame['item'].tolist()


def test_a_run_shows_itself(trained):
    assert 'DNN' in trained.config.task or 'dnn' in trained.config.task
    assert 'best validation' in repr(trained) and '<table>' in trained._repr_html_()
    assert {line['part'] for line in trained.metrics} >= {'train', 'validation'}


def test_the_shell_resumes_what_python_began_and_the_other_way_round(clicks, tmp_path):
    parts = SMALL | {'train.epochs': 2, 'train.evals_per_epoch': 2.0}
    words = ['--mesh=1,1', *(f'--set={key}={value}' for key, value in parts.items())]
    jaxrec.fit(clicks / 'log', 'DNN', workdir=tmp_path / 'python', mesh=(1, 1), **parts)
    jaxrec_command('train', '--model=DNN', f'--log={clicks}/log', '--workdir=shell', *words, cwd=tmp_path)
    python, shell = (jaxrec.load(tmp_path / name) for name in ('python', 'shell'))
    assert python.config == shell.config
    assert python.evaluate('test') == shell.evaluate('test')
    # A finished run is continued by either: nothing is left to do, and nothing changes.
    jaxrec_command('train', '--model=DNN', f'--log={clicks}/log', '--workdir=python', *words, cwd=tmp_path)
    jaxrec.fit(clicks / 'log', 'DNN', workdir=tmp_path / 'shell', mesh=(1, 1), **parts)
    assert jaxrec.load(tmp_path / 'python').metrics == python.metrics


def test_another_config_in_the_same_workdir_is_refused_with_the_keys(clicks, trained):
    with pytest.raises(ValueError, match=r'holds a run of another config \(train\.epochs was 1 and is 2\)'):
        jaxrec.fit(clicks / 'log', 'DNN', workdir=trained.workdir, mesh=(1, 1), **SMALL | {'train.epochs': 2})


@pytest.mark.parametrize(
    ('model', 'changes', 'message'),
    [
        ('DNNN', {}, "there is no model 'DNNN'. Did you mean DNN"),
        ('SIM-sotf', {}, 'Did you mean SIM-soft'),
        ('OneRec', {}, 'session'),
        ('AGE-TS', {}, 'use `jaxrec age replay`'),
        ('DNN', {'train.epoch': 2}, "Did you mean 'train.epochs'?"),
        ('DNN', {'trian.epochs': 2}, "Did you mean 'train.epochs'?"),
        ('DNN', {'train.epochs': 'many'}, 'give int, such as'),
        ('DNN', {'train.batch_size': 1.5}, 'give int, such as'),
    ],
)
def test_what_cannot_be_trained_says_why(clicks, tmp_path, model, changes, message):
    with pytest.raises(ValueError) as error:
        jaxrec.fit(clicks / 'log', model, workdir=tmp_path / 'run', **changes)
    assert message in str(error.value)
    assert not (tmp_path / 'run' / 'checkpoints').exists()


def test_folders_that_hold_no_log_or_run_are_refused(tmp_path):
    with pytest.raises(ValueError, match=str(tmp_path)):
        jaxrec.fit(tmp_path, 'DNN', workdir=tmp_path / 'run')
    with pytest.raises(ValueError, match='give a workdir that `jaxrec train` has written'):
        jaxrec.load(tmp_path)
    (tmp_path / 'config.json').write_text(json.dumps({'task': 'x', 'data': {}}))
    with pytest.raises(ValueError, match='holds no checkpoints: train the run first'):
        jaxrec.load(tmp_path)


def test_frames_that_cannot_be_scored_are_refused(clicks, trained):
    frame = pd.read_csv(clicks / 'clicks.csv').head(3)
    with pytest.raises(ValueError, match='price'):
        trained.predict(frame.drop(columns='price'))
    with pytest.raises(ValueError, match='takes a data frame or the path of a file, not dict'):
        trained.predict({'user': [1]})
    with pytest.raises(ValueError, match="give 'train', 'validation' or 'test'"):
        trained.evaluate('tset')


def test_a_run_that_names_other_code_is_opened_with_permission_alone(trained, tmp_path):
    (tmp_path / 'checkpoints').mkdir()
    config = json.loads((trained.workdir / 'config.json').read_text()) | {'task': 'os:system'}
    (tmp_path / 'config.json').write_text(json.dumps(config))
    with pytest.raises(ValueError, match='--allow_code=os'):
        jaxrec.load(tmp_path).evaluate('test')


def test_models_are_listed_with_their_data_and_pages():
    table = jaxrec.models()
    assert {'LR', 'DIN', 'CAN-DNN', 'SIM-soft', 'AGE-TS', 'OneRec', 'TIGER', 'SMS'} <= {model.name for model in table}
    for model in table:
        assert (REPOSITORY / 'jaxrec' / model.page / 'README.md').exists(), model.page
    assert 'SIM-soft' in repr(table) and '<table>' in table._repr_html_()
    assert 'fit' in dir(jaxrec)
    with pytest.raises(AttributeError, match="has no attribute 'fitt'"):
        jaxrec.fitt  # noqa: B018


def test_importing_the_package_is_light():
    code = 'import sys, jaxrec; print([name for name in ("jax", "pyarrow", "numpy") if name in sys.modules])'
    done = subprocess.run([sys.executable, '-c', code], cwd=REPOSITORY, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == '[]'
