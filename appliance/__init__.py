"""The appliance: what runs on the silo's own machine."""
