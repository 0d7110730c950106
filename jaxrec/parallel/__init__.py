"""Meshes, placement rules and batches on their way to devices."""

from jaxrec.parallel.mesh import make_mesh as make_mesh
from jaxrec.parallel.mesh import placement as placement
from jaxrec.parallel.mesh import put_batch as put_batch
from jaxrec.parallel.mesh import shardings as shardings
