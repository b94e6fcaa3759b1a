"""`python -m silo.cli`."""

from silo.cli.main import main

main()
