"""Access tokens for Google Cloud, from the credentials that its own library finds."""

from __future__ import annotations

import asyncio
import json
import os
from pathlib import Path
from typing import Any

from jupyter_batch.core.errors import AuthenticationError, ConnectionFailedError, ProviderError
from jupyter_batch.http.network import bundle

SCOPE = "https://www.googleapis.com/auth/cloud-platform"
HOW = (
    "run `gcloud auth application-default login`, set GOOGLE_APPLICATION_CREDENTIALS to a service account's file, "
    "or give vertex_credentials="
)


class Token:
    """A token that is renewed when it is about to expire.

    given: an access token from the user, which can't be renewed. credentials: a file's path, or its
    JSON text; None for Google's own search (environment, gcloud, the machine's identity).
    """

    def __init__(self, *, given: str | None = None, credentials: str | None = None) -> None:
        self._given = given
        self._source = credentials or os.environ.get("VERTEXAI_CREDENTIALS")
        self._credentials: Any = None
        self._turn = asyncio.Lock()

    async def get(self) -> str:
        """Return a valid token. Raises AuthenticationError, ConnectionFailedError."""
        if self._given is not None:
            return self._given
        async with self._turn:
            if self._credentials is None or not self._credentials.valid:
                await asyncio.to_thread(self._renew)
            return str(self._credentials.token)

    def _renew(self) -> None:
        import requests
        from google.auth.exceptions import GoogleAuthError
        from google.auth.transport.requests import Request

        try:
            if self._credentials is None:
                self._credentials = self._find()
            with requests.Session() as session:
                session.verify = bundle() or True
                self._credentials.refresh(Request(session=session))
        except (GoogleAuthError, ValueError, OSError) as e:
            raise _token_error(e) from None

    def _find(self) -> Any:
        import google.auth
        from google.oauth2 import credentials, service_account

        source = (self._source or "").strip()
        if not source:
            return google.auth.default(scopes=[SCOPE])[0]
        info = json.loads(source if source.startswith("{") else Path(source).read_text("utf-8"))
        match info.get("type") if isinstance(info, dict) else None:
            case "service_account":
                return service_account.Credentials.from_service_account_info(info, scopes=[SCOPE])
            case "authorized_user":
                return credentials.Credentials.from_authorized_user_info(info, scopes=[SCOPE])
            case _:  # of another cloud's identity, and future kinds
                return google.auth.load_credentials_from_dict(info, scopes=[SCOPE])[0]


def _token_error(error: Exception) -> ProviderError:
    """Google's error message, without quotations from a credentials file."""
    if type(error).__name__ == "TransportError" or isinstance(
        error, ConnectionError | TimeoutError
    ):
        return ConnectionFailedError(f"Google's token server can't be reached: {str(error)[:200]}")
    words = (
        ""
        if isinstance(error, ValueError) and not hasattr(error, "retryable")
        else f": {str(error)[:200]}"
    )
    return AuthenticationError(
        f"no access token for Google Cloud ({type(error).__name__}{words}); {HOW}"
    )
