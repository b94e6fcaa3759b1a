"""`silo`, and `python -m silo`, which is how ./dev starts it."""

from silo.loading import loading


def main(name: str = "silo") -> None:
    """Load the command line and run it. `name` is what the person typed."""
    with loading():
        from silo.cli.main import main as run
    run(name)


if __name__ == "__main__":
    main("./dev silo")
