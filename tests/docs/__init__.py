"""Holds the documents against the code: what they name exists, and what exists is named."""
