"""The tables. Beside each column: who can read what it holds, and when it dies.

"box" means whoever has this database. Ids, hashes and fingerprints are base32 text.
"""

from tortoise import fields
from tortoise.indexes import Index
from tortoise.models import Model


class Keyring(Model):
    """Every keyring version that was accepted. Public, kept for ever."""

    version = fields.IntField(primary_key=True, generated=False)
    document = fields.TextField()  # everybody with an account: the signed JSON, to the byte
    signer = fields.CharField(52)
    signature = fields.CharField(86)
    time = fields.BigIntField()

    class Meta(Model.Meta):
        table = "keyring"


class User(Model):
    """An account."""

    id = fields.CharField(26, primary_key=True)
    name = fields.CharField(64, unique=True)  # box
    role = fields.CharField(16)  # box
    account = fields.BinaryField()  # public key; a request must name its fingerprint before anything is sealed to it
    sign = fields.BinaryField()  # public key; vouches for devices. Whoever cares takes it from a seed or the directory
    time = fields.BigIntField()

    class Meta(Model.Meta):
        table = "user"


class Device(Model):
    """A device key. Its statement is kept for ever, so that old signatures can be checked."""

    id = fields.CharField(26, primary_key=True)
    user_id = fields.CharField(26, db_index=True)
    sign = fields.BinaryField()  # public key
    statement = fields.BinaryField()  # public: the enrolment as the device signed it
    signature = fields.BinaryField()
    vouch = fields.BinaryField()  # public: the account's signature under both. Replaced when the account key is rotated
    time = fields.BigIntField()
    revoked = fields.BigIntField(null=True)

    class Meta(Model.Meta):
        table = "device"


class Lock(Model):
    """The account key's seed, sealed to what its person knows or has."""

    id = fields.CharField(26, primary_key=True)
    user_id = fields.CharField(26, db_index=True)
    kind = fields.CharField(16)
    document = fields.TextField()  # the person; the box can guess a weak password offline. Dies when it is replaced

    class Meta(Model.Meta):
        table = "lock"


class Manifest(Model):
    """What lists a user's locks, MACed under the account key. Replaced with every change of a lock."""

    user_id = fields.CharField(26, primary_key=True)
    version = fields.IntField()
    document = fields.TextField()  # the person; ids, kinds and public halves: box

    class Meta(Model.Meta):
        table = "manifest"


class Rotation(Model):
    """How one account key followed another. Kept for ever. The old seed in it is sealed to the new key."""

    id = fields.IntField(primary_key=True)
    user_id = fields.CharField(26)
    version = fields.IntField()  # of the manifest that it brought
    document = fields.TextField()  # public but for the old seed: the person

    class Meta(Model.Meta):
        table = "rotation"
        unique_together = (("user_id", "version"),)


class Directory(Model):
    """Whose account key is whose, as an administrator signed it. Public, and the newest of each user counts."""

    id = fields.IntField(primary_key=True)
    user_id = fields.CharField(26)
    time = fields.BigIntField()
    document = fields.TextField()  # everybody with an account: the signed entry

    class Meta(Model.Meta):
        table = "directory"
        unique_together = (("user_id", "time"),)


class Record(Model):
    """One entry of a user's log, its sealed core beside it."""

    id = fields.BigIntField(primary_key=True)
    user_id = fields.CharField(26)
    index = fields.BigIntField()  # box
    turn = fields.CharField(26)  # box: chosen by the client
    thread = fields.CharField(26)  # box
    parent = fields.CharField(52, null=True)  # box: core hash
    kind = fields.SmallIntField()  # box
    time = fields.BigIntField()  # box
    core_hash = fields.CharField(52)
    entry_hash = fields.CharField(52)
    core = fields.BinaryField()  # holders of a key to one of the wraps; its padded size: box. Empty once it is deleted
    receipt = fields.BinaryField()  # box: hashes, fingerprints, a time, the silo's signature. Empty with the core

    class Meta(Model.Meta):
        table = "record"
        unique_together = (("user_id", "index"), ("user_id", "turn"))
        indexes = (Index(fields=["user_id", "thread"]),)


class Wrap(Model):
    """A record's key, sealed to one recipient. Replaced by reseal and rotation, never with its core."""

    id = fields.BigIntField(primary_key=True)
    user_id = fields.CharField(26)
    index = fields.BigIntField()
    place = fields.SmallIntField()  # its place in the receipt's list
    recipient = fields.CharField(52)  # box: fingerprint of an account key, a vault epoch or an auditor
    sealed = fields.BinaryField()  # the recipient alone

    class Meta(Model.Meta):
        table = "wrap"
        unique_together = (("user_id", "index", "recipient"),)


class Tombstone(Model):
    """What stands for a record that was deleted. Public hashes, an id, times. Kept for ever."""

    id = fields.BigIntField(primary_key=True)
    user_id = fields.CharField(26)
    index = fields.BigIntField()
    statement = fields.BinaryField()  # box
    signature = fields.BinaryField()  # box: of a device, or of the silo's identity
    receipt = fields.BinaryField(null=True)  # box: of the deletion, once the bytes are gone
    time = fields.BigIntField(db_index=True)

    class Meta(Model.Meta):
        table = "tombstone"
        unique_together = (("user_id", "index"),)


class Bag(Model):
    """The record keys of one thread, as a client sealed them. A cache: emptied by each deletion."""

    id = fields.BigIntField(primary_key=True)
    user_id = fields.CharField(26)
    thread = fields.CharField(26)
    version = fields.BigIntField()
    at = fields.BigIntField()
    entry_hash = fields.CharField(52)
    sealed = fields.BinaryField()  # the account's holder alone; its padded size: box. Empty after a deletion

    class Meta(Model.Meta):
        table = "bag"
        unique_together = (("user_id", "thread"),)


class Once(Model):
    """A request that changes or generates, written down before it begins. Dies after 30 minutes."""

    id = fields.BigIntField(primary_key=True)
    device = fields.CharField(26)
    request = fields.CharField(26)
    time = fields.BigIntField(db_index=True)
    host = fields.CharField(26)  # the process that runs it, so that a crash is told from work
    state = fields.CharField(8)  # running, done, failed, refused, lost
    turn = fields.CharField(26, null=True)

    class Meta(Model.Meta):
        table = "once"
        unique_together = (("device", "request"),)


class Host(Model):
    """A process that serves this silo from a shared database. Dies a day after it was last seen."""

    id = fields.CharField(26, primary_key=True)
    seen = fields.BigIntField()  # by the database's clock

    class Meta(Model.Meta):
        table = "host"


class Setup(Model):
    """The one live setup link. Dies when it is used, replaced or a day old."""

    id = fields.IntField(primary_key=True, generated=False)
    hash = fields.CharField(52)  # box: of what the link's secret derives, never the secret
    time = fields.BigIntField()

    class Meta(Model.Meta):
        table = "setup"


class Silo(Model):
    """Which silo this database belongs to."""

    id = fields.CharField(26, primary_key=True)
    time = fields.BigIntField()

    class Meta(Model.Meta):
        table = "silo"
