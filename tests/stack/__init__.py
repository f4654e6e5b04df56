"""Tests of the whole: `meatlizard up`, a real model, real processes that are killed."""
