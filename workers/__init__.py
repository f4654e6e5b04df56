"""Celery workers: the platform's tasks, and below `inference` the node's."""
