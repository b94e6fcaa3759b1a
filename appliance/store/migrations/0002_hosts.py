from tortoise import fields, migrations
from tortoise.migrations import operations as ops


class Migration(migrations.Migration):
    dependencies = [("store", "0002_deletions")]

    initial = False

    operations = [
        ops.CreateModel(
            name="Host",
            fields=[
                ("id", fields.CharField(primary_key=True, unique=True, db_index=True, max_length=26)),
                ("seen", fields.BigIntField()),
            ],
            options={
                "table": "host",
                "app": "store",
                "pk_attr": "id",
                "table_description": "A process that serves this silo from a shared database. Dies a day after it was last seen.",
            },
            bases=["Model"],
        ),
    ]
