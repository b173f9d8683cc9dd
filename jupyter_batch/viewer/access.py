"""Access to the row view: loopback names, a secret in the path, this page's own requests; and its headers."""

from __future__ import annotations

import secrets

from aiohttp import hdrs, web

from jupyter_batch.http.address import LOOPBACK, host_name, is_same_host

_FRAMES = (
    "'self' http://localhost:* http://127.0.0.1:* https://localhost:* https://127.0.0.1:* "
    "vscode-webview: vscode-file:"  # VS Code's own pages
)
_POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "connect-src 'self'",
        "img-src data:",  # pictures of a prompt; nothing is loaded from elsewhere
        "base-uri 'none'",
        "form-action 'none'",
        f"frame-ancestors {_FRAMES}",  # a notebook's page
        "require-trusted-types-for 'script'",  # no text becomes HTML
    )
)
HEADERS = {
    "Content-Security-Policy": _POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",  # the address has the token
    "Cache-Control": "no-store",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}


class Access:
    """A token for as long as the server runs, and entries that are valid once.

    An address that is given to a browser as an argument is visible to other users of the machine:
    it has an entry in place of the token.
    """

    def __init__(self) -> None:
        self.token = secrets.token_urlsafe(24)
        self._entries: set[str] = set()

    def entry(self) -> str:
        """A secret that can be exchanged for the token once."""
        made = secrets.token_urlsafe(24)
        self._entries.add(made)
        return made

    def check(self, request: web.Request) -> None:
        """Raise HTTPForbidden for another name or page, HTTPNotFound for a wrong token, HTTPSeeOther for an entry."""
        if host_name(f"//{request.host}") not in LOOPBACK:
            raise web.HTTPForbidden(text="this page is served under loopback names alone")
        origin = request.headers.get(hdrs.ORIGIN)
        if origin is not None and not is_same_host(origin, request.host):
            raise web.HTTPForbidden(text="this request comes from another page")
        site = request.headers.get("Sec-Fetch-Site", "none")
        navigates = request.headers.get("Sec-Fetch-Mode") == "navigate"
        if site not in {"same-origin", "none"} and not navigates:
            raise web.HTTPForbidden(text="this request comes from another page")
        given = request.match_info.get("token", "")
        if given in self._entries:
            self._entries.remove(given)
            raise web.HTTPSeeOther(request.path.replace(given, self.token, 1))
        if not secrets.compare_digest(given.encode(), self.token.encode()):
            raise web.HTTPNotFound(text="there is nothing here: the address has no valid token")
