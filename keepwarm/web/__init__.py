"""HTTP for programs and people: they tell of touches, read what the daemon knows, and act.

It knows neither keeper nor ledger: what it is asked it hands on. FastAPI and uvicorn live only here.
"""

from keepwarm.web.app import Offers, make_app
from keepwarm.web.doorman import Access
from keepwarm.web.prefixes import Desk
from keepwarm.web.probes import Metrics
from keepwarm.web.server import Address, Server, parse_address
from keepwarm.web.stream import Stream

__all__ = ["Access", "Address", "Desk", "Metrics", "Offers", "Server", "Stream", "make_app", "parse_address"]
