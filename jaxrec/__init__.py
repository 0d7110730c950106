"""Industrial recommender papers in JAX and Flax, on one spine: embedding rows are function inputs.

Import the room you need: `jaxrec.embeddings`, `jaxrec.data`, `jaxrec.training`, `jaxrec.evaluation`,
`jaxrec.ops`, `jaxrec.parallel`, or a paper under `jaxrec.models`. Importing the package itself imports
nothing else.
"""

__version__ = '0.1.0'
