"""Tests of the Server-Bot against the sandbox."""
