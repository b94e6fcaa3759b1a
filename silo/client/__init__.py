"""The client: a silo's door from the person's own device, and what is kept there of it.

    home       the folder with this device's identity; the only reader of the environment
    door       one sealed request and its answer (SPEC 4)
    session    what a device asks of its silo, with trust checked; chat
    history    the log and the records in it, opened here (SPEC 7)
    setup      the first run (SPEC 8.5)
    recover    an export opened offline with an admin key (SPEC 7.5)

Nothing here prints: what a person should know goes to a `Warn`, what fails is a SiloError.
"""
