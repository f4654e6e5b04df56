"""Tests of the Celery workers, driven through pytest-celery."""
