"""HTTP: read, check, call, answer. The only rooms that know Sanic are here."""
