"""A main without a model, for what processes do before, beside and after a step.

python -m tests.processes.meet --act=meet --coordinator=localhost:1234 --num_processes=2 --process_id=0
"""

import json
import os
import sys
import time

import jax
import numpy as np
from absl import app, flags

from jaxrec.cli.flags import friendly_together
from jaxrec.parallel.mesh import make_mesh, put_batch, take_local
from jaxrec.parallel.processes import gather, wait_for_all

ACT = flags.DEFINE_enum('act', 'meet', ['meet', 'beat', 'refuse', 'fail'], 'What to do.')
ROWS = 40  # of the global batch


def meet() -> dict:
    """Everything that processes tell each other, once."""
    number, count = jax.process_index(), jax.process_count()
    told = gather({'number': number, 'big': 2**40 + number, 'bytes': b'x' * (3_000_000 * number)})
    assert [len(each.pop('bytes')) for each in told] == [3_000_000 * i for i in range(count)]
    share = ROWS // count
    rows = np.arange(ROWS, dtype=np.int32)[number * share : (number + 1) * share]
    for shape in ((8, 1), (4, 2), (2, 4)):
        mesh = make_mesh(shape)
        owners = [device.process_index for device in mesh.devices.flat]
        assert owners == sorted(owners), owners
        sent = put_batch({'x': rows, 'y': rows[:, None] + np.zeros((1, 3), np.float32)}, mesh)
        assert sent['x'].shape == (ROWS,)
        for shard in sent['x'].addressable_shards:
            np.testing.assert_array_equal(np.asarray(shard.data), np.arange(ROWS)[shard.index])
        np.testing.assert_array_equal(take_local(sent['x']), rows)
        assert take_local(sent['y']).shape == (share, 3)
    refused = ''
    try:
        make_mesh((2, 1))
    except ValueError as error:
        refused = str(error)
    total = int(jax.jit(lambda x: x.sum())(sent['x']))
    wait_for_all('met')
    return {'number': number, 'count': count, 'told': told, 'total': total, 'refused': refused}


@friendly_together(may_stop=False)
def main(_: list[str]) -> None:
    """Does what --act says."""
    if ACT.value == 'meet':
        print(json.dumps(meet()), file=sys.stderr)
        print('only the first process is heard')
        return
    for beat in range(10_000):
        gather(beat)
        if beat == 3:
            print(f'beating {os.getpid()}', file=sys.stderr, flush=True)
            if ACT.value == 'refuse' and jax.process_index() == 1:
                raise ValueError('this is wrong: make it right')
            if ACT.value == 'fail' and jax.process_index() == 0:
                raise KeyError('nobody foresaw this')
        time.sleep(0.05)


if __name__ == '__main__':
    app.run(main)
