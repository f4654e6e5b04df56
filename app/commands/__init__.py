"""The verbs that come in groups: one noun a module, each with an app of its own that `app.cli` takes in."""
