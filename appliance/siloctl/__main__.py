"""`siloctl`, and `python -m appliance.siloctl`, which is how ./dev starts it."""

from silo.loading import loading


def main(name: str = "siloctl") -> None:
    """Load the verbs and run one. `name` is what the person typed."""
    with loading():
        from appliance.siloctl.main import main as run
    run(prog_name=name)


if __name__ == "__main__":
    main("./dev siloctl")
