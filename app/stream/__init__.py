"""A turn's events on Redis: appended under the fence, replayed, followed live."""
