"""`python -m appliance`, which is how ./dev starts it."""

from silo.loading import loading


def main() -> None:
    """Load the start and run it."""
    with loading():
        from appliance.start import main as run
    run(prog_name="./dev")


if __name__ == "__main__":
    main()
