"""Who may look: every request is checked here before anything else sees it, and every answer is made harmless."""

from __future__ import annotations

import hashlib
import hmac
from http.cookies import CookieError, SimpleCookie
from typing import Any
from urllib.parse import parse_qsl, urlencode

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import HTMLResponse, PlainTextResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

# A page of another site can be given a name of ours by its own name server (DNS rebinding), but then still asks for
# itself by that name. Any port: a tunnel may have another one at its other end.
_HOSTS = frozenset({"127.0.0.1", "localhost", "[::1]"})
_METHODS = frozenset({"GET", "HEAD"})
_TOKEN = "token"  # noqa: S105 - the name of a parameter
_HEADERS = {
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "cache-control": "no-store",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), geolocation=(), microphone=()",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
}
_REFUSED = "403: open the address that `pipeline ui` has printed; it holds the token that this page wants.\n"
_BOUNCE = '<!doctype html><title>pipeline</title><meta http-equiv="refresh" content="0;url={}"><a href="{}">Go on</a>'


class Guard:
    """Lets only requests through that have the token, read only, and ask for this machine by its own name."""

    def __init__(self, app: ASGIApp, *, token: str) -> None:
        self._app = app
        self._token = token
        # Cookies know no ports: by this name several servers on one machine, or behind tunnels, do not mix theirs up.
        self._cookie = f"pipeline-{hashlib.sha256(token.encode()).hexdigest()[:12]}"
        # For the same reason a browser sends it to every server on this machine: from it nobody learns the token. It is
        # made of that, so that open pages find back after a restart with the same one.
        self._pass = hmac.new(token.encode(), b"cookie of the live page", "sha256").hexdigest()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def send_harmless(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in _HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        answer = self._refusal(scope) or self._welcome(scope) or self._app
        await answer(scope, receive, send_harmless)

    def _refusal(self, scope: Scope) -> Response | None:
        headers = Headers(scope=scope)
        if _name_of(headers.get("host", "")) not in _HOSTS or len(headers.getlist("host")) != 1:
            return PlainTextResponse("403: ask for 127.0.0.1 or localhost\n", status_code=403)
        # A page of another site must not even learn from how long it takes that this one is there.
        if headers.get("sec-fetch-site") in ("cross-site", "same-site") and headers.get("sec-fetch-mode") != "navigate":
            return PlainTextResponse(_REFUSED, status_code=403)
        if not (self._has_cookie(headers) or self._gives_token(scope)):
            return PlainTextResponse(_REFUSED, status_code=403)
        if scope["method"] not in _METHODS:
            return PlainTextResponse("405: this page only shows\n", status_code=405, headers={"allow": "GET, HEAD"})
        return None

    def _welcome(self, scope: Scope) -> Response | None:
        """Return what keeps the token as a cookie and takes it out of the address; None where it is not there."""
        if not self._gives_token(scope):
            return None
        rest = urlencode([(name, value) for name, value in _query(scope) if name != _TOKEN])
        # Beginning with one slash: with two it would be the name of another machine.
        target = "/" + scope.get("raw_path", scope["path"].encode()).decode("ascii", "replace").lstrip("/\\")
        target += f"?{rest}" if rest else ""
        answer: Response = RedirectResponse(target, status_code=303)
        if Headers(scope=scope).get("sec-fetch-site") == "cross-site":
            # Someone followed a link of another page, or of a file: the browser sends a strict cookie along only with
            # what this page itself asks for.
            place = answer.headers["location"].replace("&", "&amp;").replace('"', "%22").replace("<", "%3C")
            answer = HTMLResponse(_BOUNCE.format(place, place))
        answer.set_cookie(self._cookie, self._pass, httponly=True, samesite="strict", path="/")
        return answer

    def _has_cookie(self, headers: Headers) -> bool:
        for line in headers.getlist("cookie"):
            cookies: SimpleCookie = SimpleCookie()
            try:
                cookies.load(line)
            except CookieError:
                continue
            if self._cookie in cookies and _is_same(cookies[self._cookie].value, self._pass):
                return True
        return False

    def _gives_token(self, scope: Scope) -> bool:
        return any(_is_same(value, self._token) for name, value in _query(scope) if name == _TOKEN)


def _is_same(text: str, secret: str) -> bool:
    # In a time that does not depend on how much of it is right.
    return hmac.compare_digest(text.encode(errors="replace"), secret.encode())


def _query(scope: Scope) -> list[tuple[str, str]]:
    query: Any = scope.get("query_string", b"")
    try:
        return parse_qsl(query.decode("ascii", "replace"), keep_blank_values=True, max_num_fields=20)
    except ValueError:
        return []


def _name_of(host: str) -> str:
    """Return a Host header without its port, in small letters."""
    name, colon, port = host.rpartition(":")
    return (name if colon and port.isdigit() else host).lower()
