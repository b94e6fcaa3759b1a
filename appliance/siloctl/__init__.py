"""Verbs run on the box, one JSON line each; the console calls them over SSH. They can read nothing that was written."""
