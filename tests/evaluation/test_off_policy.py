"""Off-policy estimates against exact fractions, their bootstrap against the resampled log itself."""

import numpy as np
import pytest

from jaxrec.evaluation.off_policy import (
    ESTIMATORS,
    estimates,
    evaluate_off_policy,
    few_clicks,
    merge_sums,
    off_policy_sums,
)
from jaxrec.evaluation.resampling import poisson_counts, uniforms
from tests.evaluation.bandits import Logged
from tests.oracles import replay as oracle


def softmax_target(visits, seed=5):
    """A stochastic target over the five candidates of each user."""
    weight = np.exp(np.random.default_rng(seed).normal(size=visits.rates.shape))
    table = weight / weight.sum(1, keepdims=True)
    return table, lambda batch: table[batch['user/user']]


def rough_model(visits, seed=6):
    table = visits.rates * np.random.default_rng(seed).uniform(0.5, 1.5, visits.rates.shape)
    return table, lambda batch: table[batch['user/user']]


def columns_of(visits):
    (table, _), (model, _) = softmax_target(visits), rough_model(visits)
    target = table[visits.user, visits.shown]
    modelled = (table * model).sum(1)[visits.user]
    return (
        visits.click.astype(np.float64), target, visits.propensity, modelled, model[visits.user, visits.shown]
    )  # fmt: skip


def test_estimates_are_their_definitions():
    visits = Logged(700, uneven=0.8)
    clicks, *others = columns_of(visits)
    expected = oracle.estimates(clicks.astype(int).tolist(), *(column.tolist() for column in others))
    found = estimates(off_policy_sums(np.arange(700), clicks, *others, replicates=10))
    assert tuple(found) == ESTIMATORS == tuple(expected)
    for name, estimate in found.items():
        assert estimate.value == pytest.approx(float(expected[name]), rel=1e-12)
        assert (estimate.visits, estimate.matches) == (700, 700)
        assert estimate.clicks == int(clicks.sum())


def test_a_replicate_is_the_estimate_of_the_resampled_log():
    visits = Logged(300, uneven=0.5, seed=1)
    rows = np.arange(40, 340)
    clicks, *others = columns_of(visits)
    sums = off_policy_sums(rows, clicks, *others, replicates=7, seed=9)
    counts = poisson_counts(rows, 7, 9)
    for r in range(7):
        drawn = np.repeat(np.arange(300), counts[:, r])
        again = off_policy_sums(rows[drawn], clicks[drawn], *(column[drawn] for column in others), replicates=1)
        np.testing.assert_allclose(sums.resampled[r], again.plain, rtol=1e-9)


def test_parts_merge_to_the_whole():
    visits = Logged(500, seed=2)
    columns = columns_of(visits)
    whole = off_policy_sums(np.arange(500), *columns, replicates=20)
    parts = [
        off_policy_sums(rows, *(c[rows] for c in columns), replicates=20)
        for rows in (np.arange(170), np.arange(170, 500))
    ]
    for found, expected in zip(merge_sums(parts[1], parts[0]), whole, strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-12)


def test_intervals_cover_the_truth():
    """At 90 %, of 60 logs: below 48 or above 60 has a chance of about 1 %."""
    covered = dict.fromkeys(('ips', 'snips', 'dr'), 0)
    for seed in range(60):
        visits = Logged(1500, uneven=0.5, seed=100 + seed)
        table, target = softmax_target(visits)
        _, model = rough_model(visits)
        true = (table * visits.rates).sum(1).mean()  # users are equally frequent
        batches = map(visits.__getitem__, range(len(visits)))
        found = evaluate_off_policy(target, batches, model, replicates=200, level=0.9, seed=seed)
        for name in covered:
            covered[name] += found[name].low <= true <= found[name].high
    assert all(48 <= count <= 60 for count in covered.values()), covered


def test_walking_a_log_equals_its_columns():
    visits = Logged(600, batch_size=64, uneven=0.5)
    (_, target), (_, model) = softmax_target(visits), rough_model(visits)
    found = evaluate_off_policy(target, map(visits.__getitem__, range(len(visits))), model, replicates=50)
    expected = estimates(off_policy_sums(np.arange(600), *columns_of(visits), replicates=50))
    for name in ESTIMATORS:
        assert found[name].value == pytest.approx(expected[name].value, rel=1e-12)
        assert (found[name].low, found[name].high) == pytest.approx((expected[name].low, expected[name].high), rel=1e-9)


def test_only_the_direct_method_does_without_propensities():
    visits = Logged(300)
    (table, target), (model_table, model) = softmax_target(visits), rough_model(visits)
    batches = [{name: c for name, c in visits[i].items() if 'propensity' not in name} for i in range(len(visits))]
    with pytest.raises(ValueError, match=r"no propensities .* ips, snips would .* ask for 'dm' alone"):
        evaluate_off_policy(target, batches)
    found = evaluate_off_policy(target, batches, model, estimators=['dm'], replicates=20)
    expected = (table * model_table).sum(1)[visits.user].mean()
    assert set(found) == {'dm'} and found['dm'].value == pytest.approx(expected)


def test_without_clicks_there_is_no_interval_and_with_heavy_ones_few_clicks_are_said():
    target, propensity = np.full(400, 0.5), np.full(400, 0.5)
    none = estimates(off_policy_sums(np.arange(400), np.zeros(400), target, propensity, target, target))
    for name in ('ips', 'snips', 'dr'):
        assert np.isnan(none[name].low) and np.isnan(none[name].high), name
        assert ' without an interval, from 0 clicks (worth 0) in 400' in str(none[name])
        assert 'only 0 clicks' in str(none[name])
    assert none['dm'].low == none['dm'].high == 0.5
    clicks = np.repeat((1.0, 0.0), 200)
    even = estimates(off_policy_sums(np.arange(400), clicks, target, propensity))['snips']
    assert even.effective_clicks == 200 and even.caveat == '' and '200 clicks (worth 200)' in str(even)
    # One click of weight 100 among 200 counts for nearly all of them.
    propensity[0] = 0.005
    heavy = estimates(off_policy_sums(np.arange(400), clicks, target, propensity))['snips']
    assert heavy.clicks == 200 and heavy.effective_clicks == pytest.approx(299**2 / (100**2 + 199), rel=1e-6)
    assert heavy.caveat.startswith('only 8 clicks stand behind this')


def test_the_direct_method_needs_no_match():
    visits = Logged(50, items=5)
    never = lambda batch: np.eye(5)[(batch['shown'] + 1) % 5]
    found = evaluate_off_policy(
        never, [visits[0]], lambda batch: np.full((50, 5), 0.3), estimators=['dm'], replicates=20
    )
    assert found['dm'].value == pytest.approx(0.3) and found['dm'].matches == 0
    with pytest.raises(ValueError, match='shows none of the logged items'):
        evaluate_off_policy(never, [visits[0]], replicates=4)


def test_few_clicks_are_said_with_the_interval():
    visits = Logged(60)
    batches = [visits[0]]
    pick_first = lambda batch: np.eye(5)[np.zeros(len(batch['shown']), int)]
    found = evaluate_off_policy(pick_first, batches, replicates=50)
    text = str(found['ips'])
    assert f'only {found["ips"].clicks} clicks stand behind this' in text and 'too few to rank' in text
    assert f'[{found["ips"].low:.6f}, {found["ips"].high:.6f}] at 95%' in text
    assert few_clicks(100) == '' and few_clicks(99)
    many = Logged(3000)
    assert 'too few' not in str(evaluate_off_policy(softmax_target(many)[1], [many[i] for i in range(12)])['ips'])


def test_resampling_counts_are_poisson_and_belong_to_the_visit():
    rows = np.arange(3000)
    counts = poisson_counts(rows, 50, 1)
    for k, chance in enumerate([0.3679, 0.3679, 0.1839, 0.0613, 0.0153]):
        assert (counts == k).mean() == pytest.approx(chance, abs=0.004)
    assert abs(np.corrcoef(counts[:, 0], counts[:, 1])[0, 1]) < 0.06
    assert abs(np.corrcoef(counts[:-1, 0], counts[1:, 0])[0, 1]) < 0.06
    order = np.random.default_rng(0).permutation(3000)
    np.testing.assert_array_equal(poisson_counts(rows[order], 50, 1), counts[order])
    np.testing.assert_array_equal(poisson_counts(rows, 7, 1), counts[:, :7])
    assert (poisson_counts(rows, 50, 2) != counts).mean() > 0.5
    numbers = uniforms(rows, 1)
    assert np.histogram(numbers, 10, (0, 1))[0].min() > 230 and (numbers != uniforms(rows, 1, stream=1)).all()


def call(**changes):
    given = {
        'rows': np.arange(3), 'clicks': [0, 1, 0], 'target': [0.5, 0.5, 0], 'propensity': [0.2, 0.5, 1.0],
    }  # fmt: skip
    return lambda: estimates(off_policy_sums(**given | changes, replicates=4))


def walk(target, model=None, **options):
    return lambda: evaluate_off_policy(target, [Logged(20)[0]], model, replicates=4, **options)


@pytest.mark.parametrize(
    ('spoiled', 'message'),
    [
        (call(propensity=[0.2, 0.0, 1]), r'propensity\[1\] is 0\.0; propensity must be in \(0, 1\]'),
        (call(propensity=[0.2, np.nan, 1]), r'propensity\[1\] is nan'),
        (call(propensity=[0.2, 1.5, 1]), r'propensity\[1\] is 1\.5'),
        (call(clicks=[0, 3, 0]), r'clicks\[1\] is 3\.0; clicks must be 0 or 1'),
        (call(target=[0.5, -0.1, 0]), r'target\[1\] is -0\.1'),
        (call(target=[0.5, 0.5]), r'target has shape \(2,\) and rows \(3,\)'),
        (call(target=[0, 0, 0]), 'shows none of the logged items'),
        (call(modelled=[0.1, np.nan, 0.1]), r'modelled\[1\] is nan; modelled must be finite, or dm and dr'),
        (
            walk(lambda batch: np.full((20, 5), 0.2), lambda batch: np.full((20, 5), np.nan)),
            r'modelled\[0\] is nan; .* look at what the model predicts',
        ),
        (call(rows=[], clicks=[], target=[], propensity=[]), 'there is no visit'),
        (walk(lambda batch: np.ones((20, 5))), r'at visit 0 sum to 5\.0 over the pool'),
        (walk(lambda batch: np.full((20, 5), np.nan)), 'at visit 0 sum to nan'),
        (walk(lambda batch: np.full((20, 5), 0.2), estimators=['dr']), "'dr' is not among ips, snips: give a"),
        (walk(lambda batch: np.full((20, 5), 0.2), estimators=['mrdr']), "'mrdr' is not among"),
        (lambda: evaluate_off_policy(lambda batch: None, []), 'there is no batch'),
    ],
)
def test_bad_input_is_refused(spoiled, message):
    with pytest.raises(ValueError, match=message):
        spoiled()
