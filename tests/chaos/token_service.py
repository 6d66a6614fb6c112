"""A stand-in for AWS STS that lets roles be assumed, or does not.

It knows one action, AssumeRole, and looks at nothing that it is asked.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler

from tests.integration.test_bedrock import DENIED, server

ROLE = "arn:aws:iam::123456789012:role/keepwarm"
ROLE_SECRET_CANARY = "role-secret-canary-77aa"
SESSION_CANARY = "session-canary-c0ffee"
_ASSUMED = f"""<AssumeRoleResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><AssumeRoleResult><Credentials>
<AccessKeyId>ASIAROLE</AccessKeyId><SecretAccessKey>{ROLE_SECRET_CANARY}</SecretAccessKey>
<SessionToken>{SESSION_CANARY}</SessionToken><Expiration>2100-01-01T00:00:00Z</Expiration>
</Credentials></AssumeRoleResult></AssumeRoleResponse>"""


@dataclass(slots=True)
class TokenService:
    """What it does now, and how often it was asked.

    Attributes:
        url: where it listens.
    """

    url: str = ""
    refusing: bool = False
    asked: int = 0

    def __call__(self, handler: BaseHTTPRequestHandler) -> None:
        """Answer one request."""
        handler.rfile.read(int(handler.headers["Content-Length"]))
        self.asked += 1
        body = (DENIED if self.refusing else _ASSUMED).encode()
        handler.send_response(403 if self.refusing else 200)
        handler.send_header("Content-Type", "text/xml")
        handler.send_header("Content-Length", str(len(body)))
        handler.end_headers()
        handler.wfile.write(body)


@contextmanager
def token_service() -> Iterator[TokenService]:
    """One that lets roles be assumed, while the block lasts."""
    service = TokenService()
    with server(service) as service.url:
        yield service
