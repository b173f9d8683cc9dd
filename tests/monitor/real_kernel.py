"""A real kernel without a page, and cells that run in it one after the other: for the tests of what a kernel does."""

import os
import textwrap

from jupyter_client.manager import KernelManager

from tests.kernels import apart

PATIENCE = 60  # seconds until a test gives up; none waits for them


class Notebook:
    """A real kernel, and cells run in it one after the other. more: of its environment."""

    def __init__(self, **more):
        self.manager = KernelManager(kernel_name="python3", config=apart())
        self.manager.start_kernel(env={**os.environ, **more})
        self.client = self.manager.client()
        self.client.start_channels()
        self.client.wait_for_ready(timeout=PATIENCE)

    def close(self):
        self.client.stop_channels()
        self.manager.shutdown_kernel(now=True)
        self.manager.cleanup_resources()

    def send(self, code, *, allow_stdin=False):
        return self.client.execute(
            textwrap.dedent(code), allow_stdin=allow_stdin, store_history=True
        )

    def run(self, code, **more):
        """The cell's output, and its error's name at the end.

        It waits for the reply, too, as pages do: until this package is at work in it, an ipykernel before 7.4 may leave
        unread for good what comes just as it replies.
        """
        ident = self.send(code, **more)
        output = self.until_idle(ident)
        self.reply(ident)
        return output

    def post(self, kind, **content):
        """Send a message of this kind, as a page without subshells does; its id."""
        message = self.client.session.msg(kind, content)
        self.client.shell_channel.send(message)
        return message["header"]["msg_id"]

    def reply(self, ident):
        """The reply to that message; other replies are passed over."""
        while True:
            message = self.client.get_shell_msg(timeout=PATIENCE)
            if message["parent_header"].get("msg_id") == ident:
                return message

    def until_idle(self, ident):
        """All that is printed until that cell is over."""
        return self.until(
            lambda message: (
                message["msg_type"] == "status"
                and message["parent_header"].get("msg_id") == ident
                and message["content"]["execution_state"] == "idle"
            )
        )

    def until(self, test):
        """All that is printed until a message passes the test."""
        seen = []
        while True:
            message = self.client.get_iopub_msg(timeout=PATIENCE)
            if message["msg_type"] == "stream":
                seen.append(message["content"]["text"])
            elif message["msg_type"] == "error":
                seen.append(message["content"]["ename"])
            if test(message):
                return "".join(seen)

    def until_printed(self, text):
        """All that is printed until the line with this text is whole (a print may come in pieces)."""
        answer = ""
        while "\n" not in answer.partition(text)[2]:
            answer += self.until(lambda message: message["msg_type"] == "stream")
        return answer
