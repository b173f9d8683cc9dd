"""Detection of create errors that concern the uploaded file, from providers' error texts.

Texts seen: "Input file not found", "No such File object: file-..." (OpenAI), "The file 'file-...' could not be found"
(Azure), "File not found" (Mistral), "input file ... does not exist" (Groq), "The file is not in the processed state".
"""

from __future__ import annotations

import re
from enum import StrEnum


class InputFile(StrEnum):
    """The state of an uploaded file according to the refused create."""

    ABSENT = "absent"
    UNREADY = "not ready"


_CANNOT = r"(?:is|was|were|has|have|are|could|can|do|does)?\s?(?:not|n.t|cannot)\s"
_ABSENT = re.compile(
    r"\b(?:input[_ ]?)?file(?:s|[_ ]?ids?| objects?)?\b.{0,120}?"
    rf"(?:{_CANNOT}(?:be )?(?:found|exists?|located|accessible|available here)|not[_ ]found|no longer (?:exists|there)"
    r"|is (?:unknown|missing|absent|gone))"
    r"|(?:no such|unknown|could ?n['o]t find|can ?not find|can't find|unable to find)\b.{0,40}?\bfile\b"
    r"|(?:input_)?file_?not_?found|invalid[_ ](?:input[_ ])?file[_ ]?id\b"
)
_UNREADY = re.compile(
    r"\bfile\b.{0,160}?(?:"
    rf"{_CANNOT}(?:yet |been |fully |currently |in (?:a |an |the )?)*['\"]?"
    r"(?:processed|ready|finished|uploaded|validated|imported|available yet|terminal|succeeded|complete)"
    r"|(?:still|being|currently|already) (?:being )?(?:process|validat|upload|import|pending|running|queued)"
    r"|is (?:pending|processing|running|uploading)"
    r"|(?:must|should|has to|have to|needs? to) be (?:in )?(?:a |the )?['\"]?(?:fully )?(?:processed|ready)"
    r"|(?:state|status)\b.{0,20}?(?:pending|running|notrunning|processing|uploaded))"
    r"|file_?(?:is_?)?not_?(?:ready|processed)|(?:un|not[ _])processed[ _](?:input[ _])?file"
    r"|processing of (?:the |your )?(?:input )?file"
)


def of_file(message: str) -> InputFile | None:
    """Return the file's state from a refusal (code and message); None for other refusals."""
    text = " ".join(message.lower().split())
    if _UNREADY.search(text):
        return InputFile.UNREADY
    return InputFile.ABSENT if _ABSENT.search(text) else None
