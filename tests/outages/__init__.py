"""Tests with a server that is away: for real, behind a wire of ours, or after it has forgotten everything."""
