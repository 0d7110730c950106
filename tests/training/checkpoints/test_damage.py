"""Damaged checkpoints: found, passed over by a run that goes on, refused to whoever asks for them."""

import json
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxrec.parallel import put_batch
from jaxrec.training.checkpoints import Checkpoints, DamagedCheckpoint
from jaxrec.training.state import abstract_state, init_state
from tests.training.worlds import ROWS, make_batch, make_setup

V = {'item': ROWS}


class Position:
    """A loader that is nothing but its place."""

    def __init__(self, place=0):
        self.place = place

    def get_state(self):
        return {'next_index': self.place}

    def set_state(self, state):
        self.place = state['next_index']


@pytest.fixture(scope='module')
def parts():
    setup, batch = make_setup(), put_batch(make_batch())
    return init_state(setup, batch, 0), abstract_state(setup, batch)


def save(checkpoints, state, step, auc=None):
    state = state.replace(step=jnp.int32(step))
    metrics = {'auc': auc or step / 10}
    options = {'data': Position(10 * step), 'metrics': metrics, 'trained_on': {'fingerprint': 'f'}}
    checkpoints.save(state, {'bad': step}, table_rows=V, **options)


@pytest.fixture(scope='module')
def kept(tmp_path_factory, parts):
    """Checkpoints of the steps 1, 2 and 3, the first of which is the best."""
    folder = tmp_path_factory.mktemp('kept') / 'c'
    with Checkpoints(folder, keep=3, monitor='auc') as checkpoints:
        for step in (1, 2, 3):
            save(checkpoints, parts[0], step, auc=1 - step / 10)
    return folder


@pytest.fixture
def folder(kept, tmp_path):
    return shutil.copytree(kept, tmp_path / 'c')


def data_file(step):
    """The largest file of the model's arrays."""
    return max((step / 'model').rglob('d/*'), key=lambda path: path.stat().st_size)


def flip(path, bit=1003):
    held = bytearray(path.read_bytes())
    held[bit // 8 % len(held)] ^= 1 << bit % 8
    path.write_bytes(held)


def drop(*names):
    """Removes files or parts of a step."""

    def damage(step):
        for name in names:
            path = step / name
            shutil.rmtree(path) if path.is_dir() else path.unlink()

    return damage


DAMAGES = {
    'a flipped bit': (lambda step: flip(data_file(step)), r'd/\w+ does not have the checksum'),
    'a flipped bit of the optimizer': (
        lambda step: flip(step / 'optimizer' / 'manifest.ocdbt'),
        r'optimizer/manifest\.ocdbt does not',
    ),
    'a cut file': (lambda step: data_file(step).write_bytes(b'cut'), r'd/\w+ has 3 bytes instead of \d+'),
    'a lost file': (lambda step: data_file(step).unlink(), r'd/\w+ is missing'),
    'a lost part': (drop('optimizer'), r'optimizer/\S+ is missing'),
    'a lost description': (drop('_CHECKPOINT_METADATA'), r'_CHECKPOINT_METADATA is missing'),
    'spoiled sums': (lambda step: (step / 'sums.json').write_text('{'), r'sums\.json cannot be read'),
    'sums of another form': (lambda step: (step / 'sums.json').write_text('[]'), r'sums\.json cannot be read'),
    'metrics that are none': (
        lambda step: (step / 'metrics' / 'metrics').write_text('{"a'),
        r'metrics/metrics has 3 bytes instead of \d+',
    ),
    # As a kill amid the removal of an old checkpoint leaves them: without sums, which may go first.
    'no description, no sums': (drop('_CHECKPOINT_METADATA', 'sums.json'), r'it has lost its description'),
    'no part, no sums': (drop('model', 'optimizer', 'sums.json', '_CHECKPOINT_METADATA'), r'3 is damaged'),
    'no array, no sums': (drop('model/manifest.ocdbt', 'sums.json'), r'3 is damaged'),
}


@pytest.mark.parametrize('name', DAMAGES)
def test_a_run_falls_back_to_the_one_before(folder, parts, caplog, name):
    damage, message = DAMAGES[name]
    damage(folder / '3')
    with pytest.raises(DamagedCheckpoint, match=message), Checkpoints(folder, read_only=True) as checkpoints:
        checkpoints.restore(parts[1], 3, table_rows=V)
    assert (folder / '3').exists()
    loader = Position()
    with Checkpoints(folder, keep=2, monitor='auc') as checkpoints:
        restored = checkpoints.restore(parts[1], table_rows=V, data=loader)
        assert int(restored.state.step) == 2 and restored.progress == {'bad': 2} and loader.place == 20
        assert restored.trained_on == {'fingerprint': 'f'}
        np.testing.assert_array_equal(restored.state.tables['item'], parts[0].tables['item'])
        text = ' '.join(caplog.messages)
        assert f'checkpoint {folder}/3 is damaged' in text and 'moved to 3.damaged' in text
        assert checkpoints.steps == [1, 2] and (folder / '3.damaged').exists()
        save(checkpoints, parts[0], 3)
        assert checkpoints.steps == [1, 2, 3] and not (folder / '3.damaged').exists()
        assert 'removed' in caplog.messages[-1] and '3.damaged' in caplog.messages[-1]
        assert int(checkpoints.restore(parts[1], table_rows=V).state.step) == 3


def test_two_in_a_row_are_passed_over(folder, parts):
    for step in '23':
        flip(data_file(folder / step))
    with Checkpoints(folder, keep=3) as checkpoints:
        assert int(checkpoints.restore(parts[1], table_rows=V).state.step) == 1
        assert checkpoints.steps == [1]


@pytest.mark.parametrize('asked', [{'step': 3}, {'model_only': True}, {'step': 3, 'model_only': True}])
def test_who_asks_for_a_certain_one_gets_it_or_an_error(folder, parts, asked):
    flip(data_file(folder / '3'))
    with Checkpoints(folder) as checkpoints:
        with pytest.raises(DamagedCheckpoint, match=r'c/3 is damaged .*delete that folder and use an earlier'):
            checkpoints.restore(parts[1], table_rows=V, **asked)
        assert checkpoints.steps == [1, 2, 3] and (folder / '3').exists()


def test_a_damaged_optimizer_is_no_matter_where_the_model_is_read(folder, parts):
    flip(folder / '3' / 'optimizer' / '_METADATA')
    with Checkpoints(folder, read_only=True) as checkpoints:
        state = checkpoints.restore(parts[1], 3, table_rows=V, model_only=True).state
    np.testing.assert_array_equal(state.params['w'], parts[0].params['w'])


def test_where_none_is_sound_nothing_is_moved_and_no_run_begins_anew(folder, parts):
    for step in '123':
        flip(data_file(folder / step))
    for _ in range(2):
        with Checkpoints(folder) as checkpoints, pytest.raises(ValueError) as error:
            assert checkpoints.steps == [1, 2, 3]
            checkpoints.restore(parts[1], table_rows=V)
        message = str(error.value)
        assert f'{folder} has no sound checkpoint left' in message and 'remove that folder' in message
        assert all(f'c/{step} is damaged' in message for step in '123')


@pytest.mark.parametrize('damage', ['{"auc": 0.4}', '{"a', None])
def test_an_older_one_with_other_metrics_is_not_passed_over(folder, damage):
    """It may be the best, which nobody would train again: its sums say what its metrics were."""
    metrics = folder / '1' / 'metrics' / 'metrics'
    metrics.unlink() if damage is None else metrics.write_text(damage)
    with pytest.raises(DamagedCheckpoint, match=r'c/1 is damaged \(metrics/metrics (has|is|does not)'):
        Checkpoints(folder)
    assert sorted(path.name for path in folder.iterdir()) == ['1', '2', '3']


def test_a_file_system_that_does_not_answer_is_no_damage(folder, parts, monkeypatch):
    with Checkpoints(folder) as checkpoints:

        def fail(*arguments):
            raise OSError(116, 'Stale file handle')

        monkeypatch.setattr(checkpoints._orbax, 'load_checkpointables', fail)
        with pytest.raises(ValueError, match=r'c/3 could not be read \(.*Stale file.*its checksums are right') as e:
            checkpoints.restore(parts[1], table_rows=V)
    assert not isinstance(e.value, DamagedCheckpoint)
    assert sorted(path.name for path in folder.iterdir()) == ['1', '2', '3']


def test_the_only_one_with_unreadable_metrics_is_not_moved(folder):
    for step in '12':
        shutil.rmtree(folder / step)
    (folder / '3' / 'metrics' / 'metrics').write_text('')
    with pytest.raises(DamagedCheckpoint, match=r'c/3 is damaged \(metrics/metrics has 0 bytes'):
        Checkpoints(folder)
    assert (folder / '3').exists()


def test_another_model_is_no_damage(folder, parts):
    with Checkpoints(folder) as checkpoints, pytest.raises(ValueError, match='is of another model') as error:
        checkpoints.restore(parts[1], table_rows={'item': ROWS + 1})
    assert not isinstance(error.value, DamagedCheckpoint) and (folder / '3').exists()


def test_a_run_that_ended_before_the_sums_has_a_checkpoint(folder, parts, caplog):
    (folder / '3' / 'sums.json').rename(folder / '3' / '.sums.json.partial')  # written, and not yet in place
    with Checkpoints(folder) as checkpoints:
        assert int(checkpoints.restore(parts[1], table_rows=V).state.step) == 3
    assert not caplog.messages


def test_checkpoints_of_older_versions_are_refused(tmp_path, parts):
    """Their tables lay in the model's part, and the loader's position in one of its own."""
    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(parts[0].replace(step=jnp.int32(4)), {}, table_rows=V)
        with pytest.raises(ValueError, match=r'4 has no position of the loader: .*or was saved without it'):
            checkpoints.restore(parts[1], table_rows=V, data=Position(0))
        (tmp_path / '4' / 'sums.json').unlink()
        (tmp_path / '4' / 'tables').rename(tmp_path / '4' / 'elsewhere')
        with pytest.raises(ValueError, match=r'4 has no tables: it is of a version that kept it elsewhere'):
            checkpoints.restore(parts[1], table_rows=V)
    assert (tmp_path / '4').is_dir()  # refused, and not taken for a damaged one


def test_the_position_is_a_plain_number(folder):
    described = json.loads((folder / '3' / '_CHECKPOINT_METADATA').read_text())['custom_metadata']
    assert described['data'] == {'next_index': 30}
    assert not (folder / '3' / 'data').exists()
    assert jax.process_count() == 1
