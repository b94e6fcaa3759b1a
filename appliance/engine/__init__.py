"""The room of the models: what an engine promises, and the ways to have one.

`make_engine` gives an Engine; `start` it, `run` jobs, `stop` it. Nothing outside this room knows
which program answers. Nothing in it knows who asks: no accounts, no store, no keys.
"""

from appliance.engine.attach import PATIENCE
from appliance.engine.choose import make_engine
from appliance.engine.protocol import Engine, Finish, Job, Message, Model

__all__ = ["PATIENCE", "Engine", "Finish", "Job", "Message", "Model", "make_engine"]
