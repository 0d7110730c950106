"""When two runs are the same: AUC within 1e-6, all else within 1e-4 of its size."""

from pathlib import Path

import numpy as np

from jaxrec.training.writers import read_metrics


def same(found: Path, wanted: Path) -> None:
    """Asserts that two workdirs tell of the same steps, losses and evaluations."""
    ours, theirs = (read_metrics(workdir / 'metrics.jsonl') for workdir in (found, wanted))
    assert [(line['step'], line['part']) for line in ours] == [(x['step'], x['part']) for x in theirs]
    for line, other in zip(ours, theirs, strict=True):
        assert line.keys() == other.keys()
        for name, value in line.items():
            if name in ('auc', 'gauc'):
                assert abs(value - other[name]) < 1e-6, (line, other)
            elif name != 'part':
                np.testing.assert_allclose(value, other[name], rtol=1e-4, atol=1e-7, err_msg=f'{name}: {line}')
