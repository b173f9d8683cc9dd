"""Webhooks: the signature of the Standard Webhooks specification, what an event does, and the two servers for it."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import time
import urllib.error
import urllib.request

import pytest

from jupyter_batch.core.errors import OptionError
from jupyter_batch.ledger.store import Ledger
from jupyter_batch.notices.listener import Listener, place_of
from jupyter_batch.notices.webhooks import MOST_BYTES, batch_of, is_signed, key_of, wake
from tests.lab.conftest import Server, planned

SECRET = "whsec_" + base64.b64encode(b"a key of this test").decode()
KEY = b"a key of this test"
NOW = 1_700_000_000.0


def event(batch="batch_jb1", kind="batch.completed"):
    """An event as OpenAI's guide shows it."""
    return json.dumps(
        {"object": "event", "id": "evt_1", "type": kind, "created_at": 1, "data": {"id": batch}}
    ).encode()


def signed(body, *, at=NOW, key=KEY, ident="wh_1"):
    """The three headers, as the specification defines them."""
    digest = hmac.new(key, f"{ident}.{int(at)}.".encode() + body, hashlib.sha256).digest()
    return {
        "webhook-id": ident,
        "webhook-timestamp": str(int(at)),
        "webhook-signature": "v1," + base64.b64encode(digest).decode(),
    }


def test_the_specification_s_own_example():
    """The vector in the README of standard-webhooks (and of Svix) is accepted."""
    key = key_of("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    headers = {
        "webhook-id": "msg_p5jXN8AQM9LWM0D4loKWxJek",
        "webhook-timestamp": "1614265330",
        "webhook-signature": "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
    }
    assert is_signed(b'{"test": 2432232314}', headers, key, 1_614_265_331)


def test_a_signature_is_checked():
    """Names of headers in any case, several signatures: taken; another key, body, id or time, or none: not."""
    body, headers = event(), signed(event())
    assert is_signed(body, headers, KEY, NOW)
    assert is_signed(body, {name.title(): value for name, value in headers.items()}, KEY, NOW + 299)
    several = {**headers, "webhook-signature": "v1a,x v1,bad " + headers["webhook-signature"]}
    assert is_signed(body, several, KEY, NOW)
    refused = [
        (body + b" ", headers, KEY, NOW),
        (body, headers, b"another key", NOW),
        (body, {**headers, "webhook-id": "wh_2"}, KEY, NOW),
        (body, headers, KEY, NOW + 301),
        (body, headers, KEY, NOW - 301),
        (body, {**headers, "webhook-timestamp": str(int(NOW) + 1)}, KEY, NOW),
        (body, {**headers, "webhook-timestamp": "now"}, KEY, NOW),
        (body, {**headers, "webhook-timestamp": "9" * 400}, KEY, NOW),
        (body, {**headers, "webhook-signature": headers["webhook-signature"][3:]}, KEY, NOW),
        (body, {**headers, "webhook-signature": "v1,"}, KEY, NOW),
        (body, {}, KEY, NOW),
    ]
    assert [is_signed(*one) for one in refused] == [False] * len(refused)


@pytest.mark.parametrize("secret", ["whsec_", "whsec_not base64!", "", "whsec_abc"])
def test_an_invalid_secret_is_refused_without_repeating_it(secret):
    """The message names the variable."""
    with pytest.raises(OptionError, match=r"\$OPENAI_WEBHOOK_SECRET") as refused:
        key_of(secret)
    assert not secret[6:] or secret[6:] not in str(refused.value)


def test_only_events_of_batches_count():
    """The batch's id; None for another event and for what is no event."""
    assert batch_of(event("batch_9")) == "batch_9"
    assert batch_of(event(kind="batch.expired")) == "batch_jb1"
    others = (event(kind="response.completed"), b"[", b"[]", b'{"type": "batch.failed"}', b"\xff")
    assert [batch_of(body) for body in others] == [None] * len(others)
    assert batch_of(b"[" * MOST_BYTES) is None


def test_an_event_makes_the_poll_due(tmp_path):
    """The shard of that batch is polled now, and no other job's."""
    ledger = Ledger(tmp_path / "home")
    for job in ("jb1", "jb2"):
        planned(ledger, job)
    assert wake(ledger, "batch_jb1") == "jb1"
    assert wake(ledger, "batch_of_someone") is None
    assert ledger.shards("jb1")[0].due_at == 0.0
    assert ledger.shards("jb2")[0].due_at > 0.0
    ledger.close()


def post(url, body, headers):
    """The status of a POST."""
    try:
        with urllib.request.urlopen(urllib.request.Request(url, body, headers)) as answer:
            return answer.status
    except urllib.error.HTTPError as e:
        with e:
            return e.code


def test_the_listener_of_watch_takes_signed_events_alone():
    """204 and one call for a signed event; 401 for a forged one, 413 for a large one, 501 for a GET."""
    woken = []
    with Listener(("127.0.0.1", 0), KEY, woken.append, clock=lambda: NOW) as listener:
        url = f"http://127.0.0.1:{listener.port}/any"
        assert post(url, event(), signed(event())) == 204
        assert post(url, event("batch_2"), signed(event())) == 401
        other = event(kind="response.completed")
        assert post(url, other, signed(other)) == 204
        assert post(url, b"x" * (MOST_BYTES + 1), signed(b"x")) == 413
        with pytest.raises(OptionError, match="--webhook"):
            Listener(("127.0.0.1", listener.port), KEY, woken.append)
    assert woken == ["batch_jb1"]


@pytest.mark.parametrize("place", ["", "port", "70000", "127.0.0.1:", "-1"])
def test_a_place_that_is_none_is_refused(place):
    """A sentence in place of a traceback."""
    with pytest.raises(OptionError, match="--webhook takes"):
        place_of(place)
    assert place_of("0.0.0.0:80") == ("0.0.0.0", 80)


def test_the_jupyter_server_takes_them_without_a_token(tmp_path):
    """401 for a forged event, 204 for a signed one, whose job is due then; without a secret there is no such route."""
    ledger = Ledger(tmp_path / "home")
    planned(ledger, "jb1")
    ledger.lease("jb1", "another", time.time(), 3600.0)  # a kernel follows it
    (tmp_path / "server").mkdir()
    server = Server(tmp_path / "server", tmp_path / "home", OPENAI_WEBHOOK_SECRET=SECRET)
    try:
        url = f"{server.url}jupyter-batch/webhook"
        now = time.time()
        assert post(url, event(), signed(event(), at=now, key=b"another")) == 401
        assert ledger.shards("jb1")[0].due_at > 0.0
        assert post(url, event(), signed(event(), at=now)) == 204
        assert ledger.shards("jb1")[0].due_at == 0.0
    finally:
        server.close()
        ledger.close()
