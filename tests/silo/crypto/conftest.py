"""Hypothesis for this folder: no folder of its own in the repository, and no word about speed."""

from hypothesis import settings

settings.register_profile("crypto", database=None, deadline=None, max_examples=100)
settings.load_profile("crypto")
