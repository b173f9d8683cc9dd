"""Pictures and files of a row: read, looked at, sent as parts of its message; one that can't be is its row's reason."""

from __future__ import annotations

import asyncio
import base64
import io
import json
from hashlib import blake2b
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import jupyter_batch
from jupyter_batch import col
from jupyter_batch.core.errors import ColumnError, InputError, OptionError
from jupyter_batch.core.media import TYPES, kind_of, pixels_of
from jupyter_batch.frames.frame import blocks
from jupyter_batch.prompts import additions as images
from jupyter_batch.prompts import media_files
from jupyter_batch.prompts.additions import Pictured, in_pieces, part_of
from jupyter_batch.prompts.media_files import Unreadable
from jupyter_batch.prompts.prompt import prompt_of

from .files import GIF, JPEG, PDF, WEBP, png, sent

UNHURRIED = settings(
    deadline=None, suppress_health_check=[HealthCheck.too_slow]
)  # of a machine that others share
DATA = "data:{};base64,{}"


def url(data: bytes) -> str:
    """As it is sent."""
    return DATA.format(TYPES[kind_of(data)], base64.b64encode(data).decode())


@pytest.mark.parametrize(
    ("data", "kind", "size"),
    [
        (png(64, 48), "png", (64, 48)),
        (JPEG, "jpeg", (31, 9)),
        (GIF, "gif", (7, 5)),
        (WEBP, "webp", (20, 12)),
        (PDF, "pdf", None),
        (b"BM6\0", None, None),
        (b"", None, None),
        (b"RIFF\0\0\0\0WAVE", None, None),
    ],
)
def test_heads(data, kind, size):
    """The kind of bytes is read from their beginning, and so is the size of a picture."""
    assert kind_of(data) == kind
    assert pixels_of(data) == size


@UNHURRIED
@given(
    st.binary(max_size=80), st.sampled_from([png(2, 3), JPEG, GIF, WEBP, PDF]), st.integers(0, 60)
)
def test_heads_of_anything(junk, data, cut):
    """Bytes that are cut off or are junk have no size, and are no error."""
    for held in (junk, data[:cut], data[:cut] + junk):
        size = pixels_of(held)
        assert size is None or min(size) > 0


def test_each_sort_of_cell(call, home, here):
    """An address, a path, a Path, one from ~, bytes, a data: URL, bare base64, a data set's dict, a list, an array."""
    (here / "a.png").write_bytes(png(64, 48))
    (here / "b.pdf").write_bytes(PDF)
    cells = [
        "https://x.invalid/y.png?q=1",
        "a.png",
        Path("a.png"),
        "~/a.png",
        (here / "a.png").as_uri(),
        png(3, 4),
        bytearray(JPEG),
        url(GIF),
        base64.b64encode(png(90, 80) + b"\0" * 200).decode(),
        {"bytes": WEBP, "path": None},
        {"bytes": None, "path": "a.png"},
        ["a.png", PDF],
        np.array(["a.png", "b.pdf"], dtype=object),
        [],
        "b.pdf",
    ]
    df = pd.DataFrame({"n": range(len(cells)), "photo": pd.Series(cells, dtype=object)})
    job = df.llm.batch("Row {n}", images="photo", out="o", **call).wait(60)
    assert job.is_successful, job.errors["_error"].tolist()
    lines = [row.removeprefix(f"Row {n}").strip().split("\n") for n, row in enumerate(df["o"])]
    large = ["[image png 64x48]"]
    assert lines == [
        ["[image https://x.invalid/y.png?q=1]"],
        large,
        large,
        large,
        large,
        ["[image png 3x4]"],
        ["[image jpeg 31x9]"],
        ["[image gif 7x5]"],
        ["[image png 90x80]"],
        ["[image webp 20x12]"],
        large,
        [*large, "[file document.pdf pdf]"],
        [*large, "[file b.pdf pdf]"],
        [""],
        ["[file b.pdf pdf]"],
    ]
    asked = sent(job)
    assert asked[1] == [
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "Row 1"},
                {"type": "image_url", "image_url": {"url": url(png(64, 48))}},
            ],
        }
    ]
    assert asked[13] == [{"role": "user", "content": "Row 13"}], (
        "without a picture it is the plain request"
    )
    assert asked[14][0]["content"][1] == {
        "type": "file",
        "file": {"filename": "b.pdf", "file_data": url(PDF)},
    }


def test_reasons(call, home, here):
    """A picture that can't be sent is its row's reason; the others are sent, in the same job."""
    (here / "a.png").write_bytes(png(2, 2))
    (here / "a.txt").write_text("no picture")
    (here / "none.png").write_bytes(b"")
    (here / "folder").mkdir()
    cells = [
        "a.png",
        "gone.png",
        "/gone/too.png",
        "a.txt",
        "none.png",
        "folder",
        "s3://bucket/a.png",
        "https://x.invalid/a.PDF",
        "",
        7,
        "data:image/png;base64,%%%",
        b"BM not a picture",
        ["a.png", None],
        "\0",
        np.zeros((2, 2)),
        None,
    ]
    df = pd.DataFrame({"photo": pd.Series(cells, dtype=object)})
    job = df.llm.batch("What is it?", images=["photo"], out="o", **call).wait(60)
    assert df["o"].iloc[0] == "What is it?\n[image png 2x2]"
    reasons = job.errors["_error"].tolist()
    kinds = "is no PNG, JPEG, GIF or WebP picture and no PDF; image_size= makes a PNG of other pictures, with Pillow"
    assert reasons == [
        f"no such file: gone.png (in {here})",
        "no such file: /gone/too.png",
        f"a.txt {kinds}",
        "none.png is empty",
        "folder is no file",
        "s3://bucket/a.png: what lies at s3:// can't be sent: give an https:// address, or the file",
        "https://x.invalid/a.PDF: a PDF can't be sent by its address; give a path, or its bytes",
        "an empty text is no picture",
        "a int is no picture: give an address, a path, bytes, or a picture of Pillow's",
        "data:image/png;base64,%%%...: this data: address is damaged",
        f"a cell holds {kinds[3:]}",
        "a picture among others in the cell is missing",
        "\0 can't be read: embedded null byte",
        (
            "an array of float64 of shape (2, 2) is no picture: it is uint8 of shape (height, width), or (height, width, "  # noqa: E501
            "3 or 4)"
        ),
        "no value in column 'photo'",
    ]
    assert (job.counts.succeeded, job.counts.failed, job.counts.skipped) == (1, 14, 1)


def test_missing_pictures(call, home, here):
    """na="send" sends the row without its picture; na="raise" sends nothing; a list that is empty is a value."""
    df = pd.DataFrame({"t": ["a", "b"], "photo": [png(2, 2), None]})
    job = df.llm.batch("{t}", images="photo", na="send", out="o", **call).wait(60)
    assert df["o"].tolist() == ["a\n[image png 2x2]", "b"]
    assert job.is_successful
    with pytest.raises(InputError, match=r"row 1 .* has no value in column 'photo', and na="):
        df.llm.batch("{t}", images="photo", na="raise", out="p", **call)


def test_several_columns_and_turns(call, home, here):
    """Columns follow each other, after the text, in the last user message; the other messages stay."""
    df = pd.DataFrame({"t": ["x"], 1: [png(1, 1)], "two": [png(2, 2)]})
    prompt = [
        {"role": "user", "content": "first"},
        {"role": "assistant", "content": "ok"},
        {"role": "user", "content": "then {t}"},
        {"role": "assistant", "content": "so:"},
    ]
    job = df.llm.batch(prompt, images=["two", 1], system="Be brief", out="o", **call).wait(60)
    asked = sent(job)[0]
    assert [one["role"] for one in asked] == ["system", "user", "assistant", "user", "assistant"]
    assert asked[1]["content"] == "first"
    assert asked[3]["content"] == [
        {"type": "text", "text": "then x"},
        *({"type": "image_url", "image_url": {"url": url(png(n, n))}} for n in (2, 1)),
    ]


def test_functions_and_conversations(call, home, here):
    """A function's messages and a column's take pictures in the same place, next to their other parts."""
    own = {"type": "image_url", "image_url": {"url": "https://x.invalid/z.png"}}
    talk = [
        [{"role": "user", "content": [{"type": "text", "text": "this one"}, own]}],
        [{"role": "user", "content": "old"}, {"role": "assistant", "content": "yes"}],
        [{"role": "system", "content": "s"}],
    ]
    df = pd.DataFrame({"talk": talk, "photo": [png(1, 1)] * 3})
    job = df.llm.batch(lambda row: row["talk"][0]["role"], images="photo", out="o", **call).wait(60)
    assert df["o"].tolist() == [
        "user\n[image png 1x1]",
        "user\n[image png 1x1]",
        "system\n[image png 1x1]",
    ]
    job = df.llm.batch(col("talk"), images="photo", out="p", **call).wait(60)
    assert df["p"].tolist()[0] == "this one\n[image https://x.invalid/z.png]\n[image png 1x1]"
    assert [type(one["content"]) for one in sent(job)[1]] == [list, str]
    assert job.errors["_error"].tolist() == [
        "the images go into the last user message, and there is none"
    ]


@pytest.mark.parametrize(
    ("given_options", "error", "says"),
    [
        (
            {"images": "foto"},
            ColumnError,
            r"the frame has no column 'foto'; did you mean 'photo'\?",
        ),
        (
            {"images": ["photo", "xyz"]},
            ColumnError,
            r"the frame has no column 'xyz'. Columns: t, photo",
        ),
        ({"images": ""}, OptionError, "`images` takes a column, or a list of columns"),
        ({"images": []}, OptionError, "`images` takes a column, or a list of columns"),
        ({"image_size": 512}, OptionError, "name their column there"),
        (
            {"images": "photo", "image_size": 0},
            OptionError,
            "`image_size` takes a whole number above 0",
        ),
    ],
)
def test_wrong_options(given_options, error, says, call, home):
    """A meaningless combination is refused before anything is read."""
    df = pd.DataFrame({"t": ["a"], "photo": ["a.png"]})
    with pytest.raises(error, match=says):
        df.llm.batch("{t}", **given_options, **call)


def test_no_place_for_pictures(call, home):
    """A prompt without a user message, prompts without a frame, and vectors have none."""
    df = pd.DataFrame({"t": ["a"], "photo": ["a.png"]})
    with pytest.raises(OptionError, match="last user message, and the prompt has none"):
        df.llm.batch([{"role": "system", "content": "{t}"}], images="photo", **call)
    with pytest.raises(InputError, match="`images` names columns of a frame, and there is none"):
        jupyter_batch.batch(["a"], images="photo", **call)
    with pytest.raises(OptionError, match="`images` has no meaning for vectors"):
        df.llm.embed("t", images="photo", **call)


def test_without_pillow(call, home, monkeypatch):
    """Where pixels have to be looked at and Pillow is not there, it says what to install, before anything is sent."""
    monkeypatch.setitem(__import__("sys").modules, "PIL.Image", None)
    df = pd.DataFrame({"t": ["a"], "photo": [png(2, 2)]})
    with pytest.raises(OptionError, match="image_size= needs Pillow: pip install pillow"):
        df.llm.batch("{t}", images="photo", image_size=100, **call)
    df["photo"] = [np.zeros((2, 2, 3), dtype=np.uint8)]
    with pytest.raises(
        OptionError, match="a picture that is an array needs Pillow: pip install pillow"
    ):
        df.llm.batch("{t}", images="photo", **call)


def test_run_again(server, call, home, here):
    """Paths, and bytes of the same content, find the job that is there, sorted too; another file is another request."""
    for n in range(6):
        (here / f"{n}.png").write_bytes(png(n + 1, 2))

    def made():
        held = [f"{n}.png" if n % 2 else (here / f"{n}.png").read_bytes() for n in range(6)]
        return pd.DataFrame({"photo": pd.Series(held, dtype=object)})

    df = made()
    job = df.llm.batch("What?", images="photo", out="o", **call).wait(60)
    again = made().iloc[::-1]
    assert again.llm.batch("What?", images="photo", out="o", **call).wait(60).id == job.id
    assert again["o"].tolist() == df["o"].tolist()[::-1]
    (here / "3.png").write_bytes(png(99, 2))
    changed = made()
    other = changed.llm.batch("What?", images="photo", out="o", **call).wait(60)
    assert other.id != job.id
    assert other.counts.reused == 5
    assert changed["o"].iloc[3] == "What?\n[image png 99x2]"
    assert server.stats()["batches_created"] == 2


def test_in_real_time(server, call, home, here):
    """The same parts, asked at once."""
    df = pd.DataFrame({"t": ["a", "b"], "photo": [png(2, 2), PDF]})
    job = df.llm.batch("{t}", images="photo", out="o", mode="realtime", **call).wait(60)
    assert job.is_successful, job.errors["_error"].tolist()
    assert df["o"].tolist() == ["a\n[image png 2x2]", "b\n[file document.pdf pdf]"]


def test_by_responses(server, call, home, here):
    """A model that is asked at /v1/responses gets the same pictures."""
    df = pd.DataFrame({"t": ["a", "b"], "photo": [png(2, 2), PDF]})
    job = df.llm.batch(
        "{t}", images="photo", out="o", **{**call, "model": "openai/responses/echo"}
    ).wait(60)
    assert job.is_successful, job.errors["_error"].tolist()
    assert df["o"].tolist() == ["a\n[image png 2x2]", "b\n[file document.pdf pdf]"]


def test_a_list_of_messages_with_parts(call, home):
    """Prompts without a frame hold their own parts."""
    part = {"type": "image_url", "image_url": {"url": url(png(5, 6))}}
    message = [[{"role": "user", "content": [{"type": "text", "text": "x"}, part]}]]
    assert asyncio.run(jupyter_batch.abatch(message, **call)) == ["x\n[image png 5x6]"]


def test_a_picture_that_no_file_holds(call, home, here, monkeypatch):
    """A request larger than a batch file is its row's reason; the others go, in shards that are cut by bytes."""
    from jupyter_batch.core.request import Limits
    from jupyter_batch.planning import target

    facts = target.facts_of

    def small(*given_facts):
        import msgspec

        return msgspec.structs.replace(
            facts(*given_facts), limits=Limits(requests=1000, bytes=30_000)
        )

    monkeypatch.setattr(target, "facts_of", small)
    noise = np.random.default_rng(0)
    df = pd.DataFrame(
        {"photo": [png(9, 9) + noise.bytes(size) for size in (100, 12_000, 40_000, 11_000, 200)]}
    )
    job = df.llm.batch("What?", images="photo", out="o", **call).wait(60)
    assert job.counts.succeeded == 4
    assert len(job.batches) == 2
    (reason,) = job.errors["_error"]
    assert reason.endswith(
        "bytes, and a batch file may hold 30,000: image_size= makes pictures smaller"
    )


def test_pieces(monkeypatch):
    """Rows are rendered in pieces whose pictures fit into memory together; one that does not is alone."""
    monkeypatch.setattr(images, "PIECE_BYTES", 1000)
    df = pd.DataFrame(
        {"t": list("abcdefg"), "p": [b"x" * n for n in (400, 400, 400, 3000, 10, 10, 990)]}
    )
    prompt = Pictured(prompt_of("{t}", ["t", "p"], system=None, kind="braces"), ["p"], None)
    found = [
        piece
        for block in blocks(df, prompt.columns)
        for piece in in_pieces(prompt, prompt.columns, block)
    ]
    assert [(piece.start, piece[1][0]) for piece in found] == [
        (0, ["a", "b"]),
        (2, ["c"]),
        (3, ["d"]),
        (4, ["e", "f"]),
        (6, ["g"]),
    ]
    assert all(piece.rows == len(piece[1][1]) for piece in found)


def test_how_much_a_cell_weighs(here):
    """It is refused before anything is read; an unknown size weighs nothing."""
    (here / "a").write_bytes(b"x" * 77)
    assert [
        media_files.weight(cell)
        for cell in (
            "a",
            Path("a"),
            b"12345",
            ["a", b"1"],
            {"bytes": b"123", "path": "a"},
            {"path": "a"},
            np.array(["a", b"12"], dtype=object),
            np.zeros((4, 5), np.uint8),
            "gone",
            None,
            "\0",
            3,
        )
    ] == [77, 77, 5, 78, 3, 77, 79, 20, 0, 0, 0, 0]


@UNHURRIED
@given(
    st.one_of(
        st.none(),
        st.text(max_size=30),
        st.binary(max_size=30),
        st.integers(),
        st.floats(),
        st.booleans(),
        st.lists(st.binary(max_size=3), max_size=2),
        st.dictionaries(st.sampled_from(["bytes", "path", "x"]), st.binary(max_size=4), max_size=2),
    )
)
def test_any_cell(cell):
    """Any cell is a part, or has a reason in a sentence."""
    try:
        message = part_of(cell, None)["type"]
    except Unreadable as e:
        message = str(e)
    assert message


def test_built(home, here, monkeypatch):
    """The metadata of request files that are built tell of bytes by a hash; the files hold them."""
    monkeypatch.setenv("OPENAI_API_KEY", "none is asked")
    df = pd.DataFrame({"photo": [png(2, 2), {"bytes": png(3, 3), "path": None}]})
    made = df.llm.build("What?", images="photo", model="openai/gpt-4.1-mini")
    rows = json.loads(Path(made.metadata).read_text())["rows"]
    digests = [blake2b(png(n, n), digest_size=16).hexdigest() for n in (2, 3)]
    assert rows[0]["inputs"] == {"photo": f"bytes {digests[0]}"}
    assert rows[1]["inputs"] == {"photo": {"bytes": f"bytes {digests[1]}", "path": None}}


# --- with Pillow ----------------------------------------------------------------------------------------------------


@pytest.fixture
def pillow():
    """Pillow, which is optional."""
    return pytest.importorskip("PIL.Image")


def saved(picture, form, **options):
    """A picture's file."""
    held = io.BytesIO()
    picture.save(held, form, **options)
    return held.getvalue()


def read_back(pillow, part):
    """The picture of a part."""
    return pillow.open(io.BytesIO(base64.b64decode(part["image_url"]["url"].partition(",")[2])))


@pytest.mark.parametrize(
    ("form", "mode", "comes"),
    [
        ("PNG", "RGB", "PNG"),
        ("PNG", "RGBA", "PNG"),
        ("PNG", "P", "PNG"),
        ("PNG", "1", "PNG"),
        ("PNG", "I;16", "PNG"),
        ("JPEG", "RGB", "JPEG"),
        ("JPEG", "L", "JPEG"),
        ("JPEG", "CMYK", "JPEG"),
        ("GIF", "P", "PNG"),
        ("WEBP", "RGB", "WEBP"),
        ("BMP", "RGB", "PNG"),
        ("TIFF", "CMYK", "PNG"),
    ],
)
def test_downscaled(pillow, form, mode, comes):
    """The longer edge is what was asked for, and the kind is kept where models take it; a small one stays as it is."""
    data = saved(pillow.new(mode, (400, 100)), form)
    small = read_back(pillow, part_of(data, 80))
    small.load()
    assert (small.size, small.format) == ((80, 20), comes)
    kept = part_of(data, 400)["image_url"]["url"]
    if form in ("BMP", "TIFF"):
        assert kept.startswith("data:image/png")
    else:
        assert kept == url(data)
    with pytest.raises(Unreadable, match="can't be made smaller"):
        part_of(png(500, 500)[:60], 80)


def test_upright(pillow):
    """A camera's turned picture is turned as it is made smaller."""
    picture = pillow.new("RGB", (400, 100))
    turned = picture.getexif()
    turned[0x0112] = 6
    small = read_back(pillow, part_of(saved(picture, "JPEG", exif=turned), 80))
    assert small.size == (20, 80)


def test_pillows_own(pillow, call, home, here):
    """Pictures of Pillow's and arrays are sent; a lazily opened one is not loaded into memory; run again, same job."""
    shades = pillow.linear_gradient("L")
    shades.convert("RGB").save("g.jpg")

    opened = []

    def made():
        opened.append(pillow.open("g.jpg"))
        return pd.DataFrame(
            {
                "photo": pd.Series(
                    [
                        shades,
                        opened[-1],
                        np.asarray(shades),
                        np.zeros((3, 4, 3), np.uint8),
                        [shades, "g.jpg"],
                    ],
                    dtype=object,
                )
            }
        )

    df = made()
    job = df.llm.batch("What?", images="photo", out="o", **call).wait(60)
    assert job.is_successful, job.errors["_error"].tolist()
    full = "[image png 256x256]"
    assert [row.split("\n")[1:] for row in df["o"]] == [
        [full],
        ["[image jpeg 256x256]"],
        [full],
        ["[image png 4x3]"],
        [full, "[image jpeg 256x256]"],
    ]
    assert df["photo"].iloc[1].tile, "it was not loaded"
    again = made()
    again["photo"].iloc[1].load()
    assert again.llm.batch("What?", images="photo", out="o", **call).wait(60).id == job.id
    assert again["o"].tolist() == df["o"].tolist()
    moved = made().iloc[[4, 0, 2, 3, 1]]
    assert moved.llm.batch("What?", images="photo", out="o", **call).wait(60).id == job.id
    assert moved["o"].tolist() == df["o"].iloc[[4, 0, 2, 3, 1]].tolist()
    df = made()
    job = df.llm.batch("What?", images="photo", image_size=32, out="o", **call).wait(60)
    assert [row.split("\n")[1] for row in df["o"]] == [
        "[image png 32x32]",
        "[image jpeg 32x32]",
        "[image png 32x32]",
        "[image png 4x3]",
        "[image png 32x32]",
    ]
    for one in opened:
        one.close()


def test_other_kinds_need_a_size(pillow):
    """A bitmap is refused as it is, since no provider takes it, and says what helps."""
    with pytest.raises(Unreadable, match="image_size= makes a PNG of other pictures"):
        part_of(saved(pillow.new("RGB", (4, 4)), "BMP"), None)
    with pytest.raises(Unreadable, match=r"no PNG, JPEG, GIF or WebP picture and no PDF$"):
        part_of(b"neither", 100)
