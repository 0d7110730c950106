"""OneRec's table 1 (arXiv 2502.18965) on the simulated world of sessions, the true rewards known.

    jaxrec compare --config=configs/onerec/table_simulated.py --workdir=runs/onerec_table
    jaxrec compare --config=configs/onerec/table_simulated.py --workdir=runs/onerec_q --quick

Every row writes eight sessions of five different items for the same test requests, whatever came of what was
shown to them. `judge_...` are the rewards that the reward model gives, which also mined the pairs, as in the
paper; `true_...` what the users behind the world would give on average. The reward model learns from other
users than those that the rows learn from and are judged on, and knows none of them by name.

Rows of single items and rows of sessions are compared by `..._first`, the session that a row holds best: the
eight of the former are pages of a ranking, each worse than the one before, those of the latter near it.

Columns: `main`, mined for 1% of the requests; `ratio2` to `ratio5`, IPA with 2% to 5%; `null`, a world whose sessions
have no coupling, so that to write a session is to name five items: what OneRec gains on TIGER by `true_reward_first`
there is not of sessions, but of what is learned from those of high quality. --rows=OneRec,OneRec+IPA chooses among the
rows; the semantic IDs, the reward model and the generator of a seed are made once for all of them.

Trials: each row but OneRec+NTP has the same number, on a world that no cell has. Rows before alignment are
tuned over the learning rate, by what they learn on validation: next-token loss or recall@10. A preference
loss is tuned over beta and lambda, from the generator that was chosen of OneRec, so that all alignments of
a seed begin at one, by the `judge_reward_first` of validation requests: by the mean of eight sessions it
would choose how alike beams are. Rows before alignment are not chosen by the judge, so that nobody seeks out
what it errs in: an earlier one, which read histories by attention alone, put twenty trials in an order that
was nearly the reverse of the truth's, and chose the least trained model of most rows.

Cost: some 10 core hours for `main` with its trials, 2 for `null`, 1.5 for the ratios; --quick takes 10 min.
TIGER encodes a history once for up to 6 liked items of a request: 26 MFLOP an item in training where an
example for each takes 78.
"""

from typing import Any

from ml_collections import ConfigDict

from jaxrec.models.onerec.presets import COMPARED, OF_ROWS, PUBLISHED, ROWS, SESSION
from jaxrec.models.onerec.simulated import JUDGE_HISTORY, OWN_ROWS, TRAIN
from jaxrec.models.onerec.simulated import get_config as one_run
from jaxrec.models.onerec.stages import OF_METHOD, REWARD, align_config, reward_model
from jaxrec.options import changed

WORLD = {'users': 12_000}
ALIGN = {'beams': 32, 'passes': 2.0, 'ratio': 0.01, 'chunk': 32, 'judged': 128}
BETAS = (0.1, 0.3, 1.0, 3.0)
# Of SimPO the log-probabilities are means over tokens, some twenty times smaller.
ALIGNED: dict[str, dict[str, Any]] = {
    'OneRec+NTP': {'method': 'ntp'},
    'OneRec+DPO': {'method': 'dpo', 'beta': BETAS},
    # At the reference IPO's slope is 1 / beta, where DPO's is beta / 2: its betas and lambdas are smaller.
    'OneRec+IPO': {'method': 'ipo', 'beta': (0.1, 0.05, 0.2, 0.4), 'weight': (1.0, 3.0, 10.0)},
    'OneRec+cDPO': {'method': 'cdpo', 'beta': BETAS},
    'OneRec+rDPO': {'method': 'rdpo', 'beta': BETAS},
    'OneRec+CPO': {'method': 'cpo', 'beta': BETAS},
    'OneRec+SimPO': {'method': 'simpo', 'beta': tuple(20 * beta for beta in BETAS)},
    'OneRec+S-DPO': {'method': 'sdpo', 'beta': BETAS},
    'OneRec+IPA': {'method': 'ipa', 'beta': BETAS},
}
# Of lambda: of 1% of the requests, as `main` has it, 100 gives pairs and sessions as much to say.
WEIGHTS = (100.0, 300.0, 1000.0)
RATES = (2e-3, 1e-3, 4e-3, 8e-3)
RATIOS = {f'ratio{percent}': percent / 100 for percent in (2, 3, 4, 5)}
AGAINST = {'OneRec': 'TIGER', 'TIGER': 'SASRec'}
NULL = ('SASRec', 'TIGER', 'OneRec', 'OneRec+NTP', 'OneRec+IPA')
# Of 1B parameters, where the rows before alignment are of .1B.
PUBLISHED_ALIGNED = {
    name: dict(zip(('swt', 'vtr', 'wtr', 'ltr'), values, strict=True))
    for name, values in {
        'OneRec+DPO': ('.1014 / .1595', '.6127 / .7116', '.00339 / .00896', '.0351 / .0644'),
        'OneRec+IPO': ('.0979 / .1528', '.6000 / .7012', '.00335 / .00905', '.0350 / .0654'),
        'OneRec+cDPO': ('.0993 / .1547', '.6030 / .7030', '.00339 / .00901', '.0355 / .0652'),
        'OneRec+rDPO': ('.1005 / .1555', '.6071 / .7059', '.00339 / .00899', '.0357 / .0657'),
        'OneRec+CPO': ('.0993 / .1538', '.6045 / .7029', '.00343 / .00911', '.0357 / .0659'),
        'OneRec+SimPO': ('.0995 / .1536', '.6047 / .7022', '.00349 / .00918', '.0360 / .0659'),
        'OneRec+S-DPO': ('.1021 / .1575', '.6096 / .7070', '.00345 / .00909', '.0361 / .0659'),
        'OneRec+IPA': ('.1025 / .1933', '.6141 / .7646', '.00354 / .00992', '.0397 / .1203'),
    }.items()
}
PAIRED = (
    'true_reward_first', 'true_reward_mean', 'true_reward_max', 'judge_reward_first', 'judge_reward_mean',
    'judge_reward_max',
)  # fmt: skip
# What a quick table's networks have: they compile in half the time.
QUICK_NETWORK = {'width': 32, 'encoder_layers': 1, 'decoder_layers': 1, 'hidden': 64, 'expert_hidden': 64}


def aligned(row: dict[str, Any], options: dict[str, Any]) -> dict[str, Any]:
    """An alignment of OneRec's generator, by options of `ALIGNED`; evaluated as often as IPA, with three iterations."""
    method, beta = options['method'], options.get('beta', (0.1,))[0]
    weight = options.get('weight', WEIGHTS)[0]
    own = {'losers': 1, **OF_METHOD.get(method, {}), 'method': method, 'beta': beta, 'weight': weight}
    own['evals'] = 1 if method == 'ipa' else 3
    return row | {'align': own}


def make_rows() -> dict[str, dict[str, Any]]:
    """All models; those before alignment take the section `align` out."""
    after = {name: aligned(OWN_ROWS['OneRec'], options) for name, options in ALIGNED.items()}
    return {name: row | {'align': None} for name, row in OWN_ROWS.items()} | after


def make_search() -> dict[str, Any]:
    """{model: {section: {key: choices}}}: as many trials of each."""
    losses = {
        name: {'align': {'beta': options['beta'], 'weight': options.get('weight', WEIGHTS)}}
        for name, options in ALIGNED.items()
        if 'beta' in options
    }
    return {name: {'train': {'learning_rate': RATES}} for name in COMPARED} | losses


def make_world() -> ConfigDict:
    """What all data sets share: the simulator, the run, the reward model and the evaluation."""
    run = one_run('OneRec')
    data = ('log', 'arguments', 'cache', 'label', 'split', 'history_length')
    rewards = changed(REWARD, data={'source': 'sessions', 'session': SESSION, 'history_length': JUDGE_HISTORY})
    judged = {
        'sessions': 8, 'items': SESSION, 'requests': 1000, 'tuned_on': 256,
        **{name: ALIGN[name] for name in ('beams', 'chunk')},
        # Not those alone whose shown session was of high quality: that is known afterwards.
        'data': {'source': 'sessions', 'session': SESSION, 'choose': 'first', 'quality': None},
        'named': ROWS['OneRec']['data'],
    }  # fmt: skip
    world = {
        **{name: run[name] for name in ('features', 'files')},
        'data': {**{name: run.data[name] for name in data}, 'users': OF_ROWS}, 'train': TRAIN,
        'judge': {**rewards, **reward_model()}, 'align': ALIGN, 'align_train': align_config().train, 'judged': judged,
    }  # fmt: skip
    return ConfigDict(changed(world, data={'arguments': WORLD}))


def make_columns() -> dict[str, ConfigDict]:
    """{data set: config}, which differ from `main` in one number each."""
    columns = {name: make_world().copy_and_resolve_references().unlock() for name in ('main', 'null', *RATIOS)}
    columns['null'].data.arguments.coupling = 0.0
    for name, ratio in RATIOS.items():
        columns[name].align.ratio = ratio
    return columns


def get_config() -> ConfigDict:
    """Builds the config of the table: data sets `main`, `null` and those of `RATIOS`."""
    table = {
        'title': 'OneRec on simulated sessions',
        'run': 'jaxrec.models.onerec.comparison:run_cell',
        'columns': make_columns(),
        'main': 'main',  # a ConfigDict forgets the order of its keys
        'order': (*COMPARED, *ALIGNED),
        'tuned': ('main',),  # the other columns take what was chosen there
        'only': {'null': NULL, **dict.fromkeys(RATIOS, ('OneRec+IPA',))},
        'rows': make_rows(), 'reference': 'OneRec+NTP', 'against': AGAINST, 'seeds': 3,
        'trials': 4, 'search': {}, 'row_search': make_search(), 'after': dict.fromkeys(ALIGNED, 'OneRec'),
        'paired': PAIRED, 'shown': shown(), 'published': PUBLISHED | PUBLISHED_ALIGNED, 'note': NOTE,
        'quick': make_quick(),
    }  # fmt: skip
    return ConfigDict(table)


def shown() -> tuple[str, ...]:
    """The metrics of the table."""
    of = lambda head: tuple(f'{who}_{head}_{what}' for who in ('judge', 'true') for what in ('mean', 'max'))
    first = ('judge_reward_first', 'true_reward_first')
    differences = tuple(f'true_reward_{what}_minus_OneRec+NTP' for what in ('first', 'mean', 'max'))
    gains = ('judge_gain', 'true_gain', 'rank_correlation', 'rank_correlation_all')
    accuracy = ('recall@10', 'recall@10_before', 'ntp', 'ntp_before')
    null = tuple(f'null/{name}' for name in (*first, 'judge_reward_mean', 'true_reward_mean', *differences))
    ratios = tuple(
        f'{column}/{who}_reward_{what}' for column in RATIOS for who in ('judge', 'true') for what in ('mean', 'max')
    )
    heads = tuple(name for head in ('reward', 'swt', 'vtr', 'wtr', 'ltr') for name in of(head))
    told = ('written', 'trained', 'parameters', 'seconds')
    against = tuple(
        f'{column}true_reward_{what}_minus_{row}'
        for column in ('', 'null/')
        for row in AGAINST.values()
        for what in ('first', 'mean')
    )
    return (*first, *heads, *differences, *against, *gains, *accuracy, *null, *ratios, *told)


NOTE = (
    'Published: mean / max of the four rewards, by the reward model of the paper, on a private log; of models of .1B '
    'parameters, aligned ones of 1B. Only their order can be compared. Here: mean and largest reward of the eight '
    'sessions that a row writes for a request, averaged over requests of test users, whether or not what they were '
    'shown was a session of high quality. OneRec and what comes of it write sessions by 32 beams, of which the best '
    'eight count and often differ in an item or two; models of single items cut their ranking into pages of five that '
    'share no item, TIGER one of 160 beams, so that a mean over eight sets their items 6 to 40 against what is near '
    'the best of OneRec. Across the two kinds compare `first`, the reward of the session that a row holds best. '
    '`reward` is the sum of the four. `judge_gain`, `true_gain`: what the mean reward has gained over OneRec before '
    'alignment; the one up and the other down is over-optimisation. `rank_correlation`: of judge and truth among the '
    'sessions of a request, averaged; `_all`: among all sessions. `recall@10`: whether the first item that the user '
    'liked in a session of high quality is among the ten that a row names first, of OneRec those that begin a session; '
    '`ntp`: mean loss of a token of sessions of high quality. Seed s draws world s, the order of the data and the '
    'initial values; trials have a world of their own. `null`: no coupling in a session, where the pair to look at is '
    'OneRec against TIGER by `true_reward_first`: what is gained there comes of what is learned from, not of writing '
    'sessions. `ratio`: percent of requests that are mined; lambda stays what it is. TIGER writes IDs of plain '
    'residual k-means. Aligned rows take the steps of two passes over the sessions, however well they do. `written`: '
    'sessions of five different items that a row has for a request, of eight. What the rows of a seed share counts in '
    'the seconds of the cell that came first.'
)


def make_quick() -> dict[str, Any]:
    """A sixth of the users, a fourth of the items, networks of one layer, no trials."""
    small = {
        'data': {'arguments': {'users': 2_000, 'items': 500}},
        'files': {'ids': {'arguments': {'clusters': 32}}},
        'judged': {'requests': 256, 'tuned_on': 64},
        'align': {'judged': 32},
    }
    networks = {name: {'model': QUICK_NETWORK} for name in ('TIGER', 'OneRec', *ALIGNED)}
    networks['TIGER'] = {'model': QUICK_NETWORK, 'train': {'epochs': 1}}
    return {
        'seeds': 2, 'trials': 0, 'only': dict.fromkeys(('null', *RATIOS), ()), 'columns': {'main': small},
        'rows': networks,
    }  # fmt: skip
