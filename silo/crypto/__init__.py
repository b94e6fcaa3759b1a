"""The protocol's core: pure functions over bytes, no I/O and no clock (SPEC.md fixes every byte).

The only home of PyNaCl and cryptography. Who may call what:

    labels, encoding   words and spellings; everybody
    keys, keyring      signatures, fingerprints, the signed keyring; both ends
    directory          whose account key is whose, as an administrator signed it; both ends
    frames, channel    the sealed door; both ends
    sealing            writing records and receipts; the silo
    locks, keyfile     what keeps a secret under a password or on paper; the person's device
    rotation           how one account key follows another; made on the device, checked by both ends
    opening, unlocking reading what was written, and the locks; the person's device, never the silo
"""
