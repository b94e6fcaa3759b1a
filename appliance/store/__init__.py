"""The store: rows and bytes that it cannot read. The only importer of Tortoise; it imports no crypto."""
