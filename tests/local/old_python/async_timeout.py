"""What redis-py wants on a Python below 3.11.3, where the locks install the real one; only for the tests here."""

from asyncio import timeout

__all__ = ["timeout"]
