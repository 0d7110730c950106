"""Row-sharded embedding tables: the only code that knows how tables are cut.

    specs = as_specs([Table('item', rows=10_000_000, dim=18)])
    tables = init_tables(specs, key, mesh)         # each shard drawn on its own device
    rows = lookup(specs, tables, ids, mesh=mesh)   # {table: {feature: [B, ..., D]}}
    grads = jax.grad(loss)(rows)                   # with respect to rows, never to tables

`update` then moves the rows that `ids` names, in place.
"""

from jaxrec.embeddings.grow import grow as grow
from jaxrec.embeddings.lookup import choose_exchange as choose_exchange
from jaxrec.embeddings.lookup import lookup as lookup
from jaxrec.embeddings.optimizers import RowOptimizer as RowOptimizer
from jaxrec.embeddings.optimizers import lazy_adam as lazy_adam
from jaxrec.embeddings.optimizers import make_row_optimizer as make_row_optimizer
from jaxrec.embeddings.optimizers import row_adagrad as row_adagrad
from jaxrec.embeddings.optimizers import sgd as sgd
from jaxrec.embeddings.table import Table as Table
from jaxrec.embeddings.table import as_specs as as_specs
from jaxrec.embeddings.table import check_ids as check_ids
from jaxrec.embeddings.table import cut_rows as cut_rows
from jaxrec.embeddings.table import init_tables as init_tables
from jaxrec.embeddings.table import normal as normal
from jaxrec.embeddings.table import padded_rows as padded_rows
from jaxrec.embeddings.table import place_rows as place_rows
from jaxrec.embeddings.table import uniform as uniform
from jaxrec.embeddings.update import choose_strategies as choose_strategies
from jaxrec.embeddings.update import init_scratch as init_scratch
from jaxrec.embeddings.update import init_slots as init_slots
from jaxrec.embeddings.update import update as update
