"""Parts that Celery documents under `celery.contrib`: help for tests, for pytest and for Django."""
