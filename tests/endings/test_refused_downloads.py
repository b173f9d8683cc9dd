"""Downloads of result files that are refused for a while: nothing is taken for a result, nothing is sent again."""

from __future__ import annotations

import pytest

from jupyter_batch.core.status import Step
from tests.endings.remote import remote_provider
from tests.providers.fakes.host import Fault


@pytest.mark.parametrize("status", [401, 403, 404, 410, 503])
@pytest.mark.parametrize("provider", ["openai", "azure", "mistral", "xai"])
def test_a_refused_download_is_tried_again(provider, status, harness):
    """A refused key, an expired address, files that are not found: the answers are fetched once that is over."""
    with remote_provider(provider, harness.clock) as remote:
        frame = harness.frame()
        job = frame.llm.batch("{t}", out="out", **remote.call)
        harness.until(lambda: remote.sent)
        remote.answer_all()
        refused = []

        def spoil(verb, path, answer):
            if verb != "fetch" or len(refused) >= 3:
                return answer
            refused.append(path)
            return Fault(status)

        remote.fake.spoil = spoil
        harness.until(lambda: refused)
        assert job._shards()[0].step is not Step.COLLECTED
        again = frame.llm.batch("{t}", out="out", **remote.call)
        assert again.id == job.id
        harness.until(lambda: again.is_complete)
        again.wait(30)
        assert frame["out"].tolist() == list("ABCD")
        assert len(remote.sent) == 1
