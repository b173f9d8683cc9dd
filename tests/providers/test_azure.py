"""Azure's own ways: a version in each call, a header for the key, no /v1, empty texts for no file."""

from __future__ import annotations

import pytest

from jupyter_batch.http.litellm import load_litellm
from jupyter_batch.providers.azure.batches import ViaAzure
from jupyter_batch.providers.protocol import Access
from jupyter_batch.providers.table import facts_of
from tests.providers.conftest import make
from tests.providers.fakes.host import Batch, Fault, Host


@pytest.fixture
def azure(tmp_path):
    """A harness for Azure."""
    yield from make("azure", tmp_path)


def test_each_call_names_the_version(azure):
    """Upload, file, create, poll, list, cancel and fetch, all in the version that was asked for."""
    job = azure.plan()

    async def way():
        await azure.step()
        await azure.provider().find({}, since=0)
        azure.ledger.cancel(job, azure.now)
        await azure.step(10)
        azure.fake.end("cancelled", answered=1)
        await azure.to_the_end(job)

    azure.play(way())
    assert set(azure.fake.asked) == {"upload", "file", "create", "poll", "list", "cancel", "fetch"}
    assert azure.fake.versions == {"2024-10-21"}


def test_an_empty_text_is_no_file_and_a_float_is_a_time(azure):
    """While it runs its file ids are "", and created_at may be a float."""
    azure.plan()

    async def way():
        await azure.step()
        view = await azure.provider().poll(azure.fake.only.id)
        assert (view.output_file_id, view.error_file_id, view.ending) == (None, None, None)
        assert view.created_at == azure.fake.only.created + 0.25

    azure.play(way())


def test_the_list_is_paged_for_real(azure):
    """Eleven batches on pages of two: all are seen, once each, and older ones end the search."""
    azure.plan()

    async def way():
        await azure.step()
        for n in range(10):
            azure.fake.batches[f"batch_x{n}"] = Batch(
                f"batch_x{n}", "f", {}, {"n": str(n)}, azure.now - n * 1000
            )
        everything = await azure.provider().find({}, since=0)
        assert len({view.id for view in everything}) == len(everything) == 11
        asked = azure.fake.asked["list"]
        await azure.provider().find({"n": "0"}, since=azure.now - 1500)
        assert azure.fake.asked["list"] - asked < 4

    azure.play(way())


def test_a_persons_own_client_does_not_lend_its_retries(azure):
    """A create against a broken server is one POST, whatever litellm keeps in its cache for this address and key."""
    litellm = load_litellm()
    azure.plan()
    azure.fake.faults["create"] = [Fault(500), Fault(500), Fault(500)]

    async def way():
        with pytest.raises(Exception, match="there is no"):
            await litellm.aretrieve_batch(
                "batch_none",
                custom_llm_provider="azure",
                api_base=azure.fake.url,
                api_key=Host.key,
                api_version="2024-10-21",
                max_retries=2,
                litellm_metadata={"batch_ignore_default_logging": True},
            )
        await azure.step()
        await litellm.close_litellm_async_clients()

    azure.play(way())
    assert azure.fake.asked["create"] == 1


@pytest.mark.parametrize("below", ["", "/openai", "/openai/v1", "/openai/deployments/my-model"])
def test_the_address_may_be_any_that_the_portal_shows(below):
    """Each names the resource, whose files and batches are in one place."""
    access = Access(api_base=f"https://my.openai.azure.com{below}/", api_key="k")
    provider = ViaAzure(facts_of("azure", None), access, api_version="2024-10-21")
    assert provider._root == "https://my.openai.azure.com/openai"
