"""Who you are and what you may: the box's identity, the keyring in force, accounts, devices, roles."""
