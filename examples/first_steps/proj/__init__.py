"""A small project: `celery.py` makes the app, `tasks.py` has the tasks; `send.py`, outside, calls them."""
