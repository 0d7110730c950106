"""Meshes, placement rules, batches on their way to devices, and experts that lie on several of them."""

from jaxrec.parallel.experts import sharded_moe_ffn as sharded_moe_ffn
from jaxrec.parallel.mesh import host_mesh as host_mesh
from jaxrec.parallel.mesh import make_mesh as make_mesh
from jaxrec.parallel.mesh import placement as placement
from jaxrec.parallel.mesh import put_batch as put_batch
from jaxrec.parallel.mesh import shardings as shardings
