"""`silo`, and `python -m silo`."""

from silo.loading import loading


def main() -> None:
    """Load the command line and run it."""
    with loading():
        from silo.cli.main import main as run
    run()


if __name__ == "__main__":
    main()
