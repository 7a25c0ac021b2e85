"""Programs: the worker as the command line starts it."""
