"""Launchers of `jaxrec` commands and the benchmarks; importing it asks glibc first to keep freed memory."""

from jaxrec.parallel.host_memory import keep_freed_memory

keep_freed_memory()
