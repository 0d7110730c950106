"""Thin mains: each reads a config, builds the pieces from jaxrec, and runs them.

Whatever is imported of here first tells glibc to keep freed memory: later some import has started a thread,
and what threads were given before is not kept.
"""

from jaxrec.parallel.host_memory import keep_freed_memory

keep_freed_memory()
