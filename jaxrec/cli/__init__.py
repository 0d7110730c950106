"""The command `jaxrec`: one module a subcommand, absl flags."""
