"""`python -m silo.cli`."""

from silo.cli.main import main

if __name__ == "__main__":
    main()
