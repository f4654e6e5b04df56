"""The Server-Bot: a Celery worker on queue `relay` that holds the connection to Discord."""
