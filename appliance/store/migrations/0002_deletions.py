from tortoise import fields, migrations
from tortoise.migrations import operations as ops


class Migration(migrations.Migration):
    dependencies = [("store", "0001_initial")]

    initial = False

    operations = [
        ops.CreateModel(
            name="Bag",
            fields=[
                ("id", fields.BigIntField(generated=True, primary_key=True, unique=True, db_index=True)),
                ("user_id", fields.CharField(max_length=26)),
                ("thread", fields.CharField(max_length=26)),
                ("version", fields.BigIntField()),
                ("at", fields.BigIntField()),
                ("entry_hash", fields.CharField(max_length=52)),
                ("sealed", fields.BinaryField()),
            ],
            options={
                "table": "bag",
                "app": "store",
                "unique_together": (("user_id", "thread"),),
                "pk_attr": "id",
                "table_description": "The record keys of one thread, as a client sealed them. A cache: emptied by each deletion.",
            },
            bases=["Model"],
        ),
        ops.CreateModel(
            name="Tombstone",
            fields=[
                ("id", fields.BigIntField(generated=True, primary_key=True, unique=True, db_index=True)),
                ("user_id", fields.CharField(max_length=26)),
                ("index", fields.BigIntField()),
                ("statement", fields.BinaryField()),
                ("signature", fields.BinaryField()),
                ("receipt", fields.BinaryField(null=True)),
                ("time", fields.BigIntField(db_index=True)),
            ],
            options={
                "table": "tombstone",
                "app": "store",
                "unique_together": (("user_id", "index"),),
                "pk_attr": "id",
                "table_description": "What stands for a record that was deleted. Public hashes, an id, times. Kept for ever.",
            },
            bases=["Model"],
        ),
    ]
