"""Benches: our own work against the alternative, in one run. `./dev bench` lists them."""
