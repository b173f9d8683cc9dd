"""Targets of notices: a desktop, an address that takes JSON by POST, a mailbox."""

from __future__ import annotations

import json
import os
import shutil
import smtplib
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Mapping
from email.message import EmailMessage
from http import HTTPStatus
from typing import NamedTuple, Protocol
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

from jupyter_batch.core.errors import OptionError
from jupyter_batch.core.secrets import masked, remember
from jupyter_batch.http import network
from jupyter_batch.notices.message import Message
from jupyter_batch.process.log import logger

SECONDS = 15.0
"""The time for one attempt."""
PAUSES = (1.0, 5.0)
"""Seconds before the second and the third attempt."""
SMTP = "JUPYTER_BATCH_SMTP"
"""The variable for the mail server: smtp://host, smtps://user:password@host:465; default: this machine's."""
SMTP_PORT, SMTPS_PORT = 25, 465

_log = logger()


class Target(Protocol):
    """Where a notice goes; its `str` holds no secret."""

    def send(self, message: Message) -> None:
        """Send it once. Raises OSError, subprocess.SubprocessError or smtplib.SMTPException."""


def target(where: str, environ: Mapping[str, str] | None = None) -> Target:
    """The target of that name: `desktop`, an http(s) address, or `mailto:ADDRESS`. Raises OptionError."""
    environ = os.environ if environ is None else environ
    try:
        parts = urlsplit(where)
        _ = parts.port
    except ValueError as e:
        raise OptionError(f"the address of the notice is not valid: {e}") from None
    if where == "desktop":
        return _desktop()
    if parts.scheme in ("http", "https") and parts.hostname:
        return _post(where, parts)
    if parts.scheme == "mailto" and "@" in parts.path and unquote(parts.path).isprintable():
        return _mail(parts, environ.get(SMTP, "smtp://localhost"))
    raise OptionError(
        f"expected desktop, https://..., or mailto:name@host; got {parts.scheme or where!r}"
    )


def deliver(to: Target, message: Message, *, sleep: Callable[[float], None] = time.sleep) -> bool:
    """Send a message, again after a failure; log the last failure. Returns whether it was sent."""
    for pause in (*PAUSES, None):
        try:
            to.send(message)
            return True
        except (OSError, subprocess.SubprocessError, smtplib.SMTPException) as e:
            if pause is None:
                reason = masked(f"{type(e).__name__}: {e}")[:300]
                _log.warning("jupyter_batch: no notice could be sent to %s: %s", to, reason)
            else:
                sleep(pause)
    return False


def deliver_soon(to: Target, message: Message) -> None:
    """Send a message from a thread of its own."""
    threading.Thread(
        target=deliver, args=(to, message), name="jupyter-batch-notice", daemon=True
    ).start()


# -- desktop -----------------------------------------------------------------------------------------------------------

_BALLOON = (
    "Add-Type -AssemblyName System.Windows.Forms; $n = New-Object System.Windows.Forms.NotifyIcon; "
    "$n.Icon = [System.Drawing.SystemIcons]::Information; $n.Visible = $true; "
    "$n.ShowBalloonTip(10000, $env:JB_TITLE, $env:JB_TEXT, 'Info'); Start-Sleep 10; $n.Dispose()"
)
_OSASCRIPT = (
    "on run argv",
    "display notification (item 2 of argv) with title (item 1 of argv)",
    "end run",
)


class _Desktop(NamedTuple):
    """The desktop's own program. The texts are arguments or variables, never code."""

    program: str

    def __repr__(self) -> str:
        return "the desktop"

    def send(self, message: Message) -> None:
        command, more = [self.program, message.title, message.text], dict[str, str]()
        if sys.platform == "darwin":
            code = [word for line in _OSASCRIPT for word in ("-e", line)]
            command = [self.program, *code, message.title, message.text]
        elif sys.platform == "win32":
            command = [self.program, "-NoProfile", "-Command", _BALLOON]
            more = {"JB_TITLE": message.title, "JB_TEXT": message.text}
        subprocess.run(  # noqa: S603 - a fixed program
            command,
            env={**os.environ, **more},
            check=True,
            capture_output=True,
            timeout=SECONDS,
        )


def _desktop() -> Target:
    name = {"darwin": "osascript", "win32": "powershell"}.get(sys.platform, "notify-send")
    program = shutil.which(name)
    if program is None:
        raise OptionError(
            f"this machine has no {name} for desktop notices (Debian: apt install libnotify-bin): "
            "use an https:// address or mailto:"
        )
    return _Desktop(program)


# -- an address --------------------------------------------------------------------------------------------------------


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """The address in the user's words is the only one that is called."""

    def redirect_request(self, *_: object) -> None:
        return None


class _Post(NamedTuple):
    """An address that takes `{"text": ..., "content": ..., "job": ...}`: chat systems read one of the first two."""

    url: str
    host: str

    def __repr__(self) -> str:
        return self.host

    def send(self, message: Message) -> None:
        body = {"text": message.text, "content": message.text, **message.fields}
        request = urllib.request.Request(  # noqa: S310 - `target` takes http and https alone
            self.url,
            json.dumps(body).encode(),
            {"Content-Type": "application/json", "User-Agent": "jupyter_batch"},
        )
        opener = network.opener(self.url)
        opener.add_handler(urllib.request.HTTPSHandler(context=network.trusted()))
        opener.add_handler(_NoRedirect())
        with opener.open(request, timeout=SECONDS) as answer:
            if answer.status >= HTTPStatus.MULTIPLE_CHOICES:
                raise OSError(f"status {answer.status}")


def _post(where: str, parts: SplitResult) -> Target:
    """Addresses of chat systems are secrets: path, query and password are masked from now on."""
    for secret in (parts.path.strip("/"), parts.query, parts.password):
        remember(secret)
    for part in (*parts.path.split("/"), *(value for _, value in parse_qsl(parts.query))):
        remember(part)
    return _Post(where, f"{parts.scheme}://{parts.hostname}")


# -- mail --------------------------------------------------------------------------------------------------------------


class _Mail(NamedTuple):
    """A mailbox, through the user's mail server."""

    to: str
    server: SplitResult

    def __repr__(self) -> str:
        return f"mailto:{self.to} through {self.server.hostname}"

    def send(self, message: Message) -> None:
        mail = EmailMessage()
        user = unquote(self.server.username or "")
        mail["From"] = user if "@" in user else self.to.partition(",")[0]
        mail["To"] = self.to
        mail["Subject"] = message.title
        mail.set_content(f"{message.text}\n")
        host = str(self.server.hostname)
        if self.server.scheme == "smtps":
            port = self.server.port or SMTPS_PORT
            post: smtplib.SMTP = smtplib.SMTP_SSL(
                host, port, timeout=SECONDS, context=network.trusted()
            )
        else:
            post = smtplib.SMTP(host, self.server.port or SMTP_PORT, timeout=SECONDS)
        with post:
            if self.server.scheme == "smtp" and post.has_extn("starttls"):
                post.starttls(context=network.trusted())
            if user:
                post.login(user, unquote(self.server.password or ""))
            post.send_message(mail)


def _mail(parts: SplitResult, server: str) -> Target:
    at = urlsplit(server)
    if at.scheme not in ("smtp", "smtps") or not at.hostname:
        raise OptionError(f"${SMTP} takes smtp://[user:password@]host[:port], or smtps://")
    remember(at.password)
    remember(unquote(at.password or ""))
    return _Mail(unquote(parts.path), at)
