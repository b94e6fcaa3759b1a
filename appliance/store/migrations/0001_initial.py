from tortoise import fields, migrations
from tortoise.indexes import Index
from tortoise.migrations import operations as ops


class Migration(migrations.Migration):
    initial = True

    operations = [
        ops.CreateModel(
            name="Device",
            fields=[
                ("id", fields.CharField(primary_key=True, unique=True, db_index=True, max_length=26)),
                ("user_id", fields.CharField(db_index=True, max_length=26)),
                ("sign", fields.BinaryField()),
                ("statement", fields.BinaryField()),
                ("signature", fields.BinaryField()),
                ("vouch", fields.BinaryField()),
                ("time", fields.BigIntField()),
                ("revoked", fields.BigIntField(null=True)),
            ],
            options={
                "table": "device",
                "app": "store",
                "pk_attr": "id",
                "table_description": "A device key. Its statement is kept for ever, so that old signatures can be checked.",
            },
            bases=["Model"],
        ),
        ops.CreateModel(
            name="Directory",
            fields=[
                ("id", fields.IntField(generated=True, primary_key=True, unique=True, db_index=True)),
                ("user_id", fields.CharField(max_length=26)),
                ("time", fields.BigIntField()),
                ("document", fields.TextField(unique=False)),
            ],
            options={
                "table": "directory",
                "app": "store",
                "unique_together": (("user_id", "time"),),
                "pk_attr": "id",
                "table_description": "Whose account key is whose, as an administrator signed it. Public, and the newest of each user counts.",
            },
            bases=["Model"],
        ),
        ops.CreateModel(
            name="Keyring",
            fields=[
                ("version", fields.IntField(primary_key=True, generated=False, unique=True, db_index=True)),
                ("document", fields.TextField(unique=False)),
                ("signer", fields.CharField(max_length=52)),
                ("signature", fields.CharField(max_length=86)),
                ("time", fields.BigIntField()),
            ],
            options={
                "table": "keyring",
                "app": "store",
                "pk_attr": "version",
                "table_description": "Every keyring version that was accepted. Public, kept for ever.",
            },
            bases=["Model"],
        ),
        ops.CreateModel(
            name="Lock",
            fields=[
                ("id", fields.CharField(primary_key=True, unique=True, db_index=True, max_length=26)),
                ("user_id", fields.CharField(db_index=True, max_length=26)),
                ("kind", fields.CharField(max_length=16)),
                ("document", fields.TextField(unique=False)),
            ],
            options={
                "table": "lock",
                "app": "store",
                "pk_attr": "id",
                "table_description": "The account key's seed, sealed to what its person knows or has.",
            },
            bases=["Model"],
        ),
        ops.CreateModel(
            name="Manifest",
            fields=[
                ("user_id", fields.CharField(primary_key=True, unique=True, db_index=True, max_length=26)),
                ("version", fields.IntField()),
                ("document", fields.TextField(unique=False)),
            ],
            options={
                "table": "manifest",
                "app": "store",
                "pk_attr": "user_id",
                "table_description": "What lists a user's locks, MACed under the account key. Replaced with every change of a lock.",
            },
            bases=["Model"],
        ),
        ops.CreateModel(
            name="Once",
            fields=[
                ("id", fields.BigIntField(generated=True, primary_key=True, unique=True, db_index=True)),
                ("device", fields.CharField(max_length=26)),
                ("request", fields.CharField(max_length=26)),
                ("time", fields.BigIntField(db_index=True)),
                ("host", fields.CharField(max_length=26)),
                ("state", fields.CharField(max_length=8)),
                ("turn", fields.CharField(null=True, max_length=26)),
            ],
            options={
                "table": "once",
                "app": "store",
                "unique_together": (("device", "request"),),
                "pk_attr": "id",
                "table_description": "A request that changes or generates, written down before it begins. Dies after 30 minutes.",
            },
            bases=["Model"],
        ),
        ops.CreateModel(
            name="Record",
            fields=[
                ("id", fields.BigIntField(generated=True, primary_key=True, unique=True, db_index=True)),
                ("user_id", fields.CharField(max_length=26)),
                ("index", fields.BigIntField()),
                ("turn", fields.CharField(max_length=26)),
                ("thread", fields.CharField(max_length=26)),
                ("parent", fields.CharField(null=True, max_length=52)),
                ("kind", fields.SmallIntField()),
                ("time", fields.BigIntField()),
                ("core_hash", fields.CharField(max_length=52)),
                ("entry_hash", fields.CharField(max_length=52)),
                ("core", fields.BinaryField()),
                ("receipt", fields.BinaryField()),
            ],
            options={
                "table": "record",
                "app": "store",
                "unique_together": (("user_id", "index"), ("user_id", "turn")),
                "indexes": [Index(fields=["user_id", "thread"])],
                "pk_attr": "id",
                "table_description": "One entry of a user's log, its sealed core beside it.",
            },
            bases=["Model"],
        ),
        ops.CreateModel(
            name="Rotation",
            fields=[
                ("id", fields.IntField(generated=True, primary_key=True, unique=True, db_index=True)),
                ("user_id", fields.CharField(max_length=26)),
                ("version", fields.IntField()),
                ("document", fields.TextField(unique=False)),
            ],
            options={
                "table": "rotation",
                "app": "store",
                "unique_together": (("user_id", "version"),),
                "pk_attr": "id",
                "table_description": "How one account key followed another. Kept for ever. The old seed in it is sealed to the new key.",
            },
            bases=["Model"],
        ),
        ops.CreateModel(
            name="Setup",
            fields=[
                ("id", fields.IntField(primary_key=True, generated=False, unique=True, db_index=True)),
                ("hash", fields.CharField(max_length=52)),
                ("time", fields.BigIntField()),
            ],
            options={
                "table": "setup",
                "app": "store",
                "pk_attr": "id",
                "table_description": "The one live setup link. Dies when it is used, replaced or a day old.",
            },
            bases=["Model"],
        ),
        ops.CreateModel(
            name="Silo",
            fields=[
                ("id", fields.CharField(primary_key=True, unique=True, db_index=True, max_length=26)),
                ("time", fields.BigIntField()),
            ],
            options={
                "table": "silo",
                "app": "store",
                "pk_attr": "id",
                "table_description": "Which silo this database belongs to.",
            },
            bases=["Model"],
        ),
        ops.CreateModel(
            name="User",
            fields=[
                ("id", fields.CharField(primary_key=True, unique=True, db_index=True, max_length=26)),
                ("name", fields.CharField(unique=True, max_length=64)),
                ("role", fields.CharField(max_length=16)),
                ("account", fields.BinaryField()),
                ("sign", fields.BinaryField()),
                ("time", fields.BigIntField()),
            ],
            options={"table": "user", "app": "store", "pk_attr": "id", "table_description": "An account."},
            bases=["Model"],
        ),
        ops.CreateModel(
            name="Wrap",
            fields=[
                ("id", fields.BigIntField(generated=True, primary_key=True, unique=True, db_index=True)),
                ("user_id", fields.CharField(max_length=26)),
                ("index", fields.BigIntField()),
                ("place", fields.SmallIntField()),
                ("recipient", fields.CharField(max_length=52)),
                ("sealed", fields.BinaryField()),
            ],
            options={
                "table": "wrap",
                "app": "store",
                "unique_together": (("user_id", "index", "recipient"),),
                "pk_attr": "id",
                "table_description": "A record's key, sealed to one recipient. Replaced by reseal and rotation, never with its core.",
            },
            bases=["Model"],
        ),
    ]
