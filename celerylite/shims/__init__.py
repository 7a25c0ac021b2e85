"""What stands behind other packages' names when celerylite plays Celery (see alias). Not for our own use."""
