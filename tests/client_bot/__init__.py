"""Tests of the Client-Bot: a real node on a local Discord, with a Server-Bot that does what the test says."""
