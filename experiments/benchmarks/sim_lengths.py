"""How cost grows with the length of the history: SIM hard with its search, SIM soft, and DIN over all of it."""

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib

from experiments.benchmarks import sim
from jaxrec.runs.row_files import save_figure

LENGTHS = (256, 512, 1024, 2048, 4096, 8192, 16_384)
BATCH = 64  # of the longest histories, DIN's hidden units take hundreds of MiB already
MODELS = ('hard', 'soft', 'din')


def run(name: str, training: bool = True) -> Iterator[dict[str, Any]]:
    """Time training steps, or scoring, at each length; both ascend in cost, since `peak_rss_mb` is the peak so far."""
    with tempfile.TemporaryDirectory() as folder:
        for model in MODELS:
            for length in LENGTHS:
                shapes = sim.PEER._replace(batch=BATCH, long=length - sim.PEER.short)
                log = Path(folder) / str(length)
                line = sim.from_log(name, model, shapes, log, training=training)
                yield line | {'model': model, 'length': length}


def draw(lines: Sequence[Mapping[str, Any]], path: Path) -> None:
    """Draws milliseconds against length, a line a model."""
    matplotlib.use('agg')
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(5, 3.6), layout='constrained')
    for model in dict.fromkeys(line['model'] for line in lines):
        points = [(line['length'], line['step_ms']) for line in lines if line['model'] == model]
        axes.plot(*zip(*points, strict=True), marker='.', label=model)
    axes.set(xscale='log', yscale='log', xlabel='behaviours', ylabel='ms a step', title=lines[0]['task'])
    lengths = sorted({line['length'] for line in lines})
    axes.set_xticks(lengths, labels=map(str, lengths))
    axes.minorticks_off()
    axes.grid(alpha=0.3)
    axes.legend()
    path.parent.mkdir(parents=True, exist_ok=True)
    save_figure(figure, path)
