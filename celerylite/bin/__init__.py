"""The command line: `celery.py` is the group, every other file one command. Built on click."""
