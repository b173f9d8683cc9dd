"""The wire format of the chaos tests' fake server, in OpenAI's and Anthropic's words; standard library alone.

A request is {"key", "model", "text", "tool"}: key names what is paid for. A request with tools is answered with a call
of the tool, and its follow-up with the tool's result.
"""

from __future__ import annotations

import datetime as dt
import json


def text_of(content):
    """The last text of a message's content."""
    if isinstance(content, str):
        return content
    part = content[-1]
    return text_of(part["content"]) if part["type"] == "tool_result" else part["text"]


def answer_text(asked):
    """The text of a good answer."""
    return asked["text"].upper()


class OpenAI:
    """/v1/batches and /v1/chat/completions."""

    def asked(self, body):
        """The request in a body."""
        messages = body["messages"]
        text = text_of(messages[-1]["content"])
        first = messages[-1]["role"] == "user"
        tool = body["tools"][0]["function"]["name"] if body.get("tools") and first else None
        key = f"{body['model']}/{text}"
        return {"key": key, "model": body["model"], "text": text, "tool": tool}

    def answer(self, asked):
        """A whole completion."""
        message = {"role": "assistant", "content": None if asked["tool"] else answer_text(asked)}
        if asked["tool"]:
            call = {"name": asked["tool"], "arguments": json.dumps({"text": asked["text"]})}
            message["tool_calls"] = [{"id": "call_1", "type": "function", "function": call}]
        reason = "tool_calls" if asked["tool"] else "stop"
        return {
            "id": "c",
            "object": "chat.completion",
            "created": 1,
            "model": asked["model"],
            "choices": [{"index": 0, "finish_reason": reason, "message": message}],
            "usage": {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2},
        }

    def line(self, custom_id, asked, good):
        """A line of a result file."""
        sick = {"error": {"message": "sick", "type": "server_error"}}
        body = self.answer(asked) if good else sick
        response = {"status_code": 200 if good else 500, "request_id": "r", "body": body}
        return {"id": "r", "custom_id": custom_id, "error": None, "response": response}

    def batch(self, batch, counts, *, over, has_files):
        """A batch object."""
        total, good, bad = counts
        ending = "cancelled" if batch["cancelled"] else "completed"
        doing = "cancelling" if batch["cancelled"] else "in_progress"
        return {
            "id": batch["id"],
            "object": "batch",
            "endpoint": "/v1/chat/completions",
            "completion_window": "24h",
            "created_at": int(batch["at"]),
            "status": ending if over else doing,
            "input_file_id": batch["file"],
            "output_file_id": f"out-{batch['id']}" if good and has_files else None,
            "error_file_id": f"err-{batch['id']}" if bad and has_files else None,
            "metadata": batch["metadata"],
            "request_counts": {"total": total, "completed": good, "failed": bad},
        }


class Anthropic:
    """/v1/messages/batches and /v1/messages."""

    def asked(self, body):
        """The request in a body."""
        last = body["messages"][-1]["content"]
        shown = not isinstance(last, str) and last[-1]["type"] == "tool_result"
        tool = body["tools"][0]["name"] if body.get("tools") and not shown else None
        text = text_of(last)
        key = f"{body['model']}/{text}"
        return {"key": key, "model": body["model"], "text": text, "tool": tool}

    def answer(self, asked):
        """A whole message."""
        block = {"type": "text", "text": answer_text(asked)}
        if asked["tool"]:
            block = {"type": "tool_use", "id": "call_1", "name": asked["tool"]}
            block["input"] = {"text": asked["text"]}
        return {
            "id": "m",
            "type": "message",
            "role": "assistant",
            "model": asked["model"],
            "stop_reason": "tool_use" if asked["tool"] else "end_turn",
            "stop_sequence": None,
            "content": [block],
            "usage": {"input_tokens": 1, "output_tokens": 1},
        }

    def line(self, custom_id, asked, good):
        """A line of the results."""
        sick = {"type": "error", "error": {"type": "api_error", "message": "sick"}}
        result = {"type": "errored", "error": sick}
        if good:
            result = {"type": "succeeded", "message": self.answer(asked)}
        if asked is None:
            result = {"type": "canceled"}
        return {"custom_id": custom_id, "result": result}

    def batch(self, batch, counts, *, over, has_files):
        """A message batch object."""
        total, good, bad = counts
        at = dt.datetime.fromtimestamp(batch["at"], dt.UTC)
        place = f"http://x/v1/messages/batches/{batch['id']}/results"
        doing = "canceling" if batch["cancelled"] else "in_progress"
        return {
            "id": batch["id"],
            "type": "message_batch",
            "created_at": at.isoformat(),
            "expires_at": (at + dt.timedelta(days=1)).isoformat(),
            "processing_status": "ended" if over else doing,
            "ended_at": at.isoformat() if over else None,
            "cancel_initiated_at": at.isoformat() if batch["cancelled"] else None,
            "archived_at": None,
            "results_url": place if has_files else None,
            "request_counts": {
                "processing": 0 if over else total,
                "succeeded": good,
                "errored": bad,
                "canceled": total - good - bad if over else 0,
                "expired": 0,
            },
        }


OPENAI, ANTHROPIC = OpenAI(), Anthropic()
