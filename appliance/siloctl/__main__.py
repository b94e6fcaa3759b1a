"""`python -m appliance.siloctl`."""

from appliance.siloctl.main import main

if __name__ == "__main__":
    main()
