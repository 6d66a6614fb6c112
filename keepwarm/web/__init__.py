"""HTTP for programs beside the daemon: they tell it of touches.

It knows neither keeper nor ledger: what it receives it hands to a callable. FastAPI and uvicorn live only here.
"""

from keepwarm.web.app import make_app
from keepwarm.web.server import Address, Server, parse_address
from keepwarm.web.stream import Stream

__all__ = ["Address", "Server", "Stream", "make_app", "parse_address"]
