"""What every side of a silo shares: the protocol's core, the client and the command line.

Nothing in here may import the appliance, its web framework or its database.
"""

__version__ = "0.1.0"
