"""The words that cross a wire: names, envelopes, events, states and errors, pure and without I/O."""
