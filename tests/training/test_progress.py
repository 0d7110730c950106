"""What the loop remembers, and options it refuses."""

import dataclasses
import math

import pytest

from jaxrec.training.progress import LoopOptions, Progress, progress_bar


def test_a_report_is_the_mean_of_the_window_and_empties_it():
    progress = Progress()
    for loss, norm in ((1.0, 4.0), (2.0, 6.0), (6.0, 8.0)):
        progress.add({'loss': loss, 'grad_norm': norm})
    progress.add({'loss': 3.0})
    assert progress.report() == {'loss': 12.0 / 4, 'grad_norm': 18.0 / 3}
    assert progress.report() == {}
    progress.skip(7, most=1)
    assert progress.report() == {'skipped': 1} == progress.report()  # of the whole run
    with pytest.raises(ValueError, match=r'not finite in step 9, after 1 others .* or let more be skipped'):
        progress.skip(9, most=1)


@pytest.mark.parametrize(('sign', 'best'), [(1, (0.7, 3, 2)), (-1, (0.4, 4, 1))])
def test_the_first_of_equal_values_is_the_best(sign, best):
    progress = Progress()
    for step, value in enumerate([0.5, 0.6, 0.7, 0.4, 0.7], 1):
        progress.judge(value, step, sign, patience=None)
    assert (progress.best, progress.best_step, progress.bad) == best and not progress.done


def test_progress_survives_a_checkpoint():
    progress = Progress(best=0.5, best_step=2, bad=1)
    progress.add({'loss': 1.0})
    assert Progress(**dataclasses.asdict(progress)) == progress


def test_the_bar_is_for_terminals(capsys):
    with progress_bar(9, 4) as bar:
        bar.update()
    assert bar.disable and capsys.readouterr().err == ''


OPTIONS = ['steps', 'log_every', 'eval_every', 'checkpoint_every', 'patience', 'skip_not_finite']


@pytest.mark.parametrize('name', OPTIONS)
def test_bad_options(name):
    with pytest.raises(ValueError, match=rf'train\.{name} = -1: .*give '):
        LoopOptions(**({'steps': 10} | {name: -1}))


def test_a_value_that_is_none_is_worse_than_all():
    progress = Progress()
    for step, value in enumerate((math.nan, 0.5, math.nan, 0.6), 1):
        progress.judge(value, step, 1, patience=3)
    assert (progress.best, progress.best_step, progress.bad, progress.done) == (0.6, 4, 0, False)


def test_patience_runs_out_where_no_value_is_a_number():
    progress = Progress()
    for step in range(4):
        assert not progress.done
        progress.judge(math.nan, step, 1, patience=2)
    assert progress.done and progress.best_step == 0
