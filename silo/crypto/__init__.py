"""The protocol's core: pure functions over bytes, no I/O and no clock (SPEC.md fixes every byte).

The only home of PyNaCl and cryptography. Who may call what:

    labels, encoding   words and spellings; everybody
    keys, keyring      signatures, fingerprints, the signed keyring; both ends
    frames, channel    the sealed door; both ends
    sealing            writing records and receipts; the silo
    locks, keyfile     what keeps a secret under a password or on paper; the person's device
    opening            reading what was written; the person's device, never the silo
"""
