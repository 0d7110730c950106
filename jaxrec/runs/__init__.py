"""From a name or a config to a finished run: build, fit, evaluate, predict, compare."""
