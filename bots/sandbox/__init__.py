"""A local Discord for development and tests: REST and Gateway v10 as far as our bots use them, and a page of the guild."""
