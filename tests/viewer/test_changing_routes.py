"""Every route that changes something: token, Host, Origin, Sec-Fetch-Site and body are checked; GET changes nothing."""

from __future__ import annotations

import httpx
import pytest

from jupyter_batch.results.rows import Rows
from jupyter_batch.viewer.actions import Held
from jupyter_batch.viewer.server import Viewer

BODIES = {
    "label": {"row": 0, "column": "sentiment", "label": "x"},
    "action": {"name": "forget"},
    "retry": {"chip": "failed"},
    "choose": {"model": "openai/gpt-4.1-mini"},
}
REFUSED = [
    {"Host": "evil.example"},
    {"Host": "127.0.0.1.evil.example:80"},
    {"Origin": "https://evil.example"},
    {"Origin": "null"},
    {"Origin": "http://127.0.0.1:1"},
    {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "cors"},
    {"Sec-Fetch-Site": "same-site", "Sec-Fetch-Mode": "no-cors"},
]


def routes(viewer):
    """(method, last part of the path) of each route of a job's page."""
    found = set()
    for route in viewer._app().router.routes():
        path = route.resource.canonical if route.resource is not None else ""
        if path.startswith("/{token}/{job}/"):
            found.add((route.method, path.rpartition("/")[2]))
    return found


@pytest.fixture
def changed(viewer):
    """The calls of the kernel's object."""
    calls = []

    def done(*given, **more):
        calls.append((given, more))
        return "done"

    deeds = dict.fromkeys(("retry", "finish", "cancel", "forget"), done)
    viewer.hold("jbfew", Held(deeds=deeds, retry=done, choose=done))
    return calls


def test_these_are_all_routes_that_change_something(viewer):
    """A new POST comes with a body here; other methods are not there."""
    assert {place for method, place in routes(viewer) if method == "POST"} == set(BODIES)
    assert {method for method, _ in routes(viewer)} <= {"GET", "HEAD", "POST"}


@pytest.mark.parametrize("place", BODIES)
def test_nothing_is_changed_for_others(viewer, few, changed, place):
    """Other names, pages and tokens, forms and malformed bodies are refused, whatever the right token does."""
    with httpx.Client(base_url=viewer.address("jbfew"), trust_env=False) as client:
        for headers in REFUSED:
            assert client.post(place, json=BODIES[place], headers=headers).status_code == 403
        for kind in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data", ""):
            sent = client.post(place, content=b"{}", headers={"Content-Type": kind})
            assert sent.status_code == 415
        for body in (b"", b"[]", b"{", b'{"more": 1}', b"{}" + b" " * 70_000):
            sent = client.post(place, content=body, headers={"Content-Type": "application/json"})
            assert sent.status_code in (400, 413)
        assert client.get(place).status_code in (404, 405)
    for token in ("x", viewer.access.token[:-1], f"{viewer.access.token}x"):
        url = f"http://127.0.0.1:{viewer.port}/{token}/jbfew/{place}"
        assert httpx.post(url, json=BODIES[place], trust_env=False).status_code == 404
    assert changed == []
    assert Rows(few, "jbfew").labels().read() == {"sentiment": {}}


def test_get_changes_nothing(viewer, few, changed):
    """Every GET route, asked as a page of another site may have it asked."""
    before = sorted(path.name for path in few.folders.of("jbfew").path.iterdir())
    with httpx.Client(base_url=viewer.address("jbfew"), trust_env=False) as client:
        for method, place in sorted(routes(viewer)):
            if method == "GET":
                client.get(place, params={"name": "forget", "chip": "failed", "row": 0})
    assert changed == []
    assert sorted(path.name for path in few.folders.of("jbfew").path.iterdir()) == before
    assert [job.id for job in few.jobs()] == ["jbfew"]


def test_an_entry_is_valid_once_and_for_no_change(viewer, changed):
    """The address in a command line's arguments is exchanged for the token; a POST to it does nothing."""
    entry = viewer.entry("jbfew")
    sent = httpx.post(f"{entry}action", json={"name": "forget"}, trust_env=False)
    assert sent.status_code == 303
    assert httpx.get(entry, trust_env=False).status_code == 404
    assert changed == []


def test_each_page_has_its_policy(viewer):
    """Files, JSON, refusals and errors have it: no inline script, nothing from elsewhere, no framing by others."""
    with httpx.Client(base_url=viewer.address("jbfew"), trust_env=False) as client:
        answers = [client.get(place) for method, place in sorted(routes(viewer)) if method == "GET"]
        answers += [client.post("retry", content=b"{}"), client.get("none")]
    for answer in answers:
        policy = answer.headers["Content-Security-Policy"]
        assert "default-src 'none'" in policy
        assert "script-src 'self';" in policy
        assert "unsafe" not in policy
        assert "require-trusted-types-for 'script'" in policy
        assert answer.headers["X-Content-Type-Options"] == "nosniff"


def test_the_page_ends_with_its_server(few):
    """A stopped viewer answers nothing any more; another one has another token."""
    first, second = Viewer(few).start(), Viewer(few).start()
    try:
        assert first.access.token != second.access.token
    finally:
        first.stop()
        second.stop()
    with pytest.raises(httpx.ConnectError):
        httpx.get(first.address("jbfew"), trust_env=False)
