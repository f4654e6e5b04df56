"""The rules of the platform, free of FastAPI, Celery and discord.py."""
