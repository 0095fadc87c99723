"""Scorers that need something outside: a model in a folder, a package, an endpoint, another program."""
