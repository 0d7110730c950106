"""OneRec at the shapes of its peer, a T5 of TIGER's size: training steps and beam search.

The peer reads 60 tokens and writes 4 in training, 3 in search, out of 1,024. Here a history item is a separator and its
codes, so the encoder reads as many tokens. The `..._row` benchmarks have the network and batch of the model OneRec in
configs/onerec/amazon_beauty.py, with its longest histories.

B batch, n history items, m session items, L levels, K beams.
"""

import itertools
from collections.abc import Iterator
from typing import Any

import jax
import numpy as np

from experiments.benchmarks.steps import make_setup, train_record
from jaxrec.data.logs.vocabulary import FIRST
from jaxrec.models.onerec.generate import catalogue, make_generate
from jaxrec.models.onerec.options import Network, read_network
from jaxrec.models.onerec.task import SessionTask, with_special
from jaxrec.parallel.peak_memory import peak_mb
from jaxrec.runs.timing import measure, record

BATCH, BEAM_BATCH, TOKENS, CODES, ITEMS = 64, 32, 60, 1024, 20_000
WIDTH, HEADS, HEAD, HIDDEN, LAYERS = 128, 6, 64, 1024, 4
EXPERTS, ACTIVE = 24, 2
BEAMS = (20, 128, 512)
ROW: dict[str, Any] = {
    'levels': (256, 256, 256, 38),  # Beauty's largest group has 19 items, and room for as many more
    'history': 20,
    'session': 1,
    'width': 128,
    'heads': 4,
    'encoder_layers': 2,
    'decoder_layers': 2,
    'hidden': 256,
    'experts': 8,
    'active': 2,
    'expert_hidden': 128,
    'dropout': 0.1,
}
ROW_BATCH = 128
BRANCHES = 256  # codes of a level that the catalogue uses, as the peer's
Batch = dict[str, np.ndarray]


def make_task(levels: int, session: int, experts: int = 0) -> SessionTask:
    """Build the peer's network over random semantic IDs; active experts together are as wide as the dense net."""
    network = Network(
        levels=(CODES,) * levels,
        history=TOKENS // (1 + levels),
        session=session,
        width=WIDTH,
        heads=HEADS,
        head_dim=HEAD,
        encoder_layers=LAYERS,
        decoder_layers=LAYERS,
        hidden=HIDDEN,
        experts=experts,
        active=ACTIVE,
        expert_hidden=HIDDEN // ACTIVE,
        activation='relu',
        dropout=0.1,
    )
    codes = np.random.default_rng(1).integers(0, min(BRANCHES, CODES), (ITEMS, levels))
    return SessionTask(network, with_special(codes))


def row_task() -> tuple[SessionTask, int]:
    """The network of the table's row over random semantic IDs, and its batch."""
    network = read_network(ROW)
    codes = np.random.default_rng(1).integers(0, np.array(network.levels), (ITEMS, len(network.levels)))
    return SessionTask(network, with_special(codes)), ROW_BATCH


def make_batches(network: Network, batch: int, number: int = 4) -> list[Batch]:
    """Draw host batches of full histories and sessions, uniform over the items."""
    draw = np.random.default_rng(0)
    items = lambda size: draw.integers(FIRST, FIRST + ITEMS, (batch, size)).astype(np.int32)
    return [
        {
            'history/item': items(network.history),
            'history/length': np.full(batch, network.history, np.int32),
            'target/item': items(network.session),
            'valid': np.ones((batch, network.session), np.float32),
        }
        for _ in range(number)
    ]


def train(name: str, levels: int = 4, session: int = 1, experts: int = 0, row: bool = False) -> dict[str, Any]:
    """Time training steps with dropout, clipping and Adam; `row` takes the table's network and batch."""
    idle = peak_mb()
    task, size = row_task() if row else (make_task(levels, session, experts), BATCH)
    network = task.network
    setup, batches = make_setup(task, rate=1e-4, clip_norm=1.0), make_batches(network, size)
    line = train_record(name, _words(network, size) + ' dropout.1 fp32', setup, batches, size, idle)
    return line | {'tokens_per_s': round(line['examples_per_s'] * network.session * len(network.levels))}


def search(name: str, trie: bool, session: int = 1, row: bool = False) -> Iterator[dict[str, Any]]:
    """Time the beam search from host histories to host items and scores, a record a number of beams."""
    idle, task = peak_mb(), row_task()[0] if row else make_task(3, session)
    batches = make_batches(task.network, BEAM_BATCH)
    params, state = jax.jit(task.init)(jax.random.key(0), batches[0])
    tree = catalogue(task.codes, task.network.levels)
    size = sum(x.size for x in jax.tree.leaves(params))
    for beams in BEAMS:
        turns = itertools.cycle(batches)
        generate = make_generate(task, beams=beams, free=not trie)

        def call(turns: Iterator[Batch] = turns, generate: Any = generate) -> Any:
            batch = next(turns)
            asked = {key: batch[key] for key in ('history/item', 'history/length')}
            return jax.device_get(generate(params, state, asked, tree))

        timed = measure(call, lambda: None)
        words = f'{_words(task.network, BEAM_BATCH)} beams{beams} fp32'
        words += f', trie of {ITEMS} items' if trie else ''
        yield record(name, words, size, timed, BEAM_BATCH, idle, beams=beams)


def _words(network: Network, batch: int) -> str:
    per = network.tokens
    words = (
        f'B{batch} history{network.history * per} session{network.session * per} tokens '
        f'L{len(network.levels)} C{network.levels[0]} d{network.width} ff{network.hidden} '
        f'{network.encoder_layers}+{network.decoder_layers} layers {network.heads}x{network.head_width} heads'
    )
    if network.experts:
        words += f' {network.experts} experts top {network.active} of ff{network.expert_hidden}'
    return words
