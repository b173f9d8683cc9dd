"""The server's refusals, in OpenAI's shape and words.

The wording and the codes were taken from recorded answers of api.openai.com, where there are any.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

INVALID_REQUEST = "invalid_request_error"
SERVER_ERROR = "server_error"
SERVER_ERROR_MESSAGE = "The server had an error while processing your request. Sorry about that!"


class ApiError(Exception):
    """A refusal: HTTP status, message, `type`, `param` and `code`, and headers to send with it."""

    def __init__(
        self,
        status: int,
        message: str,
        *,
        type_: str = INVALID_REQUEST,
        param: str | None = None,
        code: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.message = message.encode(errors="replace").decode()  # a client's bytes may be no UTF-8
        self.type = type_
        self.param = param
        self.code = code
        self.headers = dict(headers or {})

    def body(self) -> dict[str, Any]:
        """`{"error": {message, type, param, code}}`."""
        return {
            "error": {
                "message": self.message,
                "type": self.type,
                "param": self.param,
                "code": self.code,
            }
        }


def bad_request(message: str, *, param: str | None = None, code: str | None = None) -> ApiError:
    """A refused request."""
    return ApiError(400, message, param=param, code=code)


def missing(param: str) -> ApiError:
    """A required parameter is not there."""
    return bad_request(
        f"Missing required parameter: '{param}'.",
        param=param,
        code="missing_required_parameter",
    )


def wrong_type(param: str, expected: str, value: object) -> ApiError:
    """A parameter of another JSON type; `expected` with its article ("a string")."""
    return bad_request(
        f"Invalid type for '{param}': expected {expected}, but got {json_kind(value)} instead.",
        param=param,
        code="invalid_type",
    )


def no_texts(param: str) -> ApiError:
    """A parameter that is neither a text or several, nor the same as token numbers."""
    return bad_request(
        f"Invalid '{param}': expected a string, an array of strings, an array of integers or an array of arrays of "
        "integers.",
        param=param,
        code="invalid_type",
    )


def empty_array(param: str) -> ApiError:
    """An array without items."""
    return bad_request(
        f"Invalid '{param}': empty array. Expected an array with minimum length 1, but got an empty array instead.",
        param=param,
        code="empty_array",
    )


def too_many(param: str, most: int, value: Sequence[object]) -> ApiError:
    """An array with more than `most` items."""
    return bad_request(
        f"Invalid '{param}': array too long. Expected an array with maximum length {most}, but got an array with "
        f"length {len(value)} instead.",
        param=param,
        code="array_above_max_length",
    )


def wrong_value(param: str, value: object, supported: Sequence[str]) -> ApiError:
    """A value that is not among those supported."""
    *first, last = [f"'{one}'" for one in supported]
    comma = "," if len(first) > 1 else ""
    listed = f"{', '.join(first)}{comma} and {last}" if first else last
    return bad_request(
        f"Invalid value: '{value}'. Supported values are: {listed}.",
        param=param,
        code="invalid_value",
    )


def out_of_range(
    param: str,
    value: float,
    *,
    low: float | None = None,
    high: float | None = None,
    kind: str = "integer",
) -> ApiError | None:
    """The refusal of a number outside [low, high]; None for one inside."""
    if low is not None and value < low:
        return bad_request(
            f"Invalid '{param}': {kind} below minimum value. Expected a value >= {low}, "
            f"but got {value} instead.",
            param=param,
            code=f"{kind}_below_min_value",
        )
    if high is not None and value > high:
        return bad_request(
            f"Invalid '{param}': {kind} above maximum value. Expected a value <= {high}, "
            f"but got {value} instead.",
            param=param,
            code=f"{kind}_above_max_value",
        )
    return None


def unknown_parameter(name: str) -> ApiError:
    """A parameter that this endpoint does not take."""
    return bad_request(f"Unknown parameter: '{name}'.", param=name, code="unknown_parameter")


def no_file(file_id: str) -> ApiError:
    """No file of that id."""
    return ApiError(404, f"No such File object: {file_id}", param="id")


def no_batch(batch_id: str) -> ApiError:
    """No batch of that id; what is no id of a batch at all is a bad request."""
    if not batch_id.startswith("batch"):
        return bad_request(
            f"Invalid 'batch_id': '{batch_id}'. Expected an ID that begins with 'batch'.",
            param="batch_id",
            code="invalid_value",
        )
    return ApiError(404, f"No batch found with id '{batch_id}'.")


def no_model(model: str) -> ApiError:
    """No model of that name."""
    return ApiError(
        404,
        f"The model `{model}` does not exist or you do not have access to it.",
        code="model_not_found",
    )


def bad_json() -> ApiError:
    """The request's body is not a JSON object."""
    return bad_request(
        "We could not parse the JSON body of your request. (HINT: This likely means you aren't using "
        "your HTTP library correctly. The API expects a JSON payload, but what was sent was not valid "
        "JSON.)",
    )


def unreadable(error: Exception) -> ApiError:
    """The request's body breaks off, or its encoding or a part's header is broken."""
    cause = " ".join(str(getattr(error, "message", "") or error).split())
    cause = cause.removeprefix("400, message: ")  # aiohttp's own prefix
    return bad_request(f"The request's body can't be read: {cause}")


def no_key() -> ApiError:
    """No key was sent at all."""
    return ApiError(
        401,
        "You didn't provide an API key. You need to provide your API key in an Authorization header "
        "using Bearer auth (i.e. Authorization: Bearer YOUR_KEY), or as the password field (with "
        "blank username) of basic auth. The key is the token that this server was started with.",
        headers={"www-authenticate": 'Bearer realm="jupyter_batch"'},
    )


def wrong_key(key: str) -> ApiError:
    """A key that is not this server's; it is shown masked, as at OpenAI."""
    visible = 4
    masked = (
        "*" * len(key) if len(key) < 5 * visible else f"{key[:visible]}{'*' * 8}{key[-visible:]}"
    )
    return ApiError(
        401,
        f"Incorrect API key provided: {masked}. This server's key is the token that it was "
        "started with.",
        code="invalid_api_key",
    )


def server_error() -> ApiError:
    """Something broke on our side."""
    return ApiError(500, SERVER_ERROR_MESSAGE, type_=SERVER_ERROR)


def json_kind(value: object) -> str:
    """A value's JSON type with its article, in OpenAI's words."""
    if value is None:
        return "null"
    for kind, name in (
        (bool, "a boolean"),
        (str, "a string"),
        (int, "an integer"),
        (float, "a decimal number"),
        (list, "an array"),
        (dict, "an object"),
    ):
        if isinstance(value, kind):
            return name
    return "an unknown type"
