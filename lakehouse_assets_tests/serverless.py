"""An endpoint shaped like serverless compute: a proxy before a real Spark Connect server that refuses what the vendor's
documentation says is refused there.

Refused: settings outside a short list, caching, and local relations beyond 128 MB. What passes is answered by Apache
Spark. It shows that the application asks for nothing that is refused; it cannot show what else is different there.
Source: docs.databricks.com, "Serverless compute limitations" and "Set Spark configuration properties".
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import grpc
from pyspark.sql.connect.proto import base_pb2

ALLOWED = frozenset(
    {
        "spark.databricks.execution.timeout",
        "spark.sql.ansi.enabled",
        "spark.sql.legacy.timeParserPolicy",
        "spark.sql.session.timeZone",
        "spark.sql.shuffle.partitions",
    }
)
"""The settings that a session may have."""

MOST_BYTES = 128 << 20
_SERVICE = "spark.connect.SparkConnectService"
_UNARY = ("AnalyzePlan", "Config", "ArtifactStatus", "Interrupt", "ReleaseExecute", "ReleaseSession", "CloneSession")
_UNARY += ("FetchErrorDetails", "GetStatus")
_STREAMED = ("ExecutePlan", "ReattachExecute")
_SENT = ("AddArtifacts",)


def _why_refused(method: str, request: bytes) -> str:
    """Why serverless compute would refuse a request; empty where it would not."""
    if method == "Config":
        operation = base_pb2.ConfigRequest.FromString(request).operation
        keys = [pair.key for pair in operation.set.pairs] + list(operation.unset.keys)
        if strange := [key for key in keys if key not in ALLOWED]:
            return f"[CONFIG_NOT_AVAILABLE] Configuration {strange[0]} is not available. SQLSTATE: 42K0I"
    if method == "AnalyzePlan" and base_pb2.AnalyzePlanRequest.FromString(request).HasField("persist"):
        return "[NOT_SUPPORTED_WITH_SERVERLESS] PERSIST TABLE is not supported on serverless compute. SQLSTATE: 0A000"
    if method == "ExecutePlan" and len(request) > MOST_BYTES:
        return "[LOCAL_RELATION_TOO_LARGE] Rows of local data exceed 128 MB."
    return ""


@contextmanager
def endpoint(url: str, refused: list[str] | None = None) -> Iterator[str]:
    """The URL of such an endpoint before the Spark Connect server at `url`. refused: what it refused is added here."""
    options = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]
    with grpc.insecure_channel(url.removeprefix("sc://"), options) as channel, ThreadPoolExecutor(32) as pool:
        server = grpc.server(pool, options=options)
        server.add_generic_rpc_handlers([_Proxy(channel, refused if refused is not None else [])])
        port = server.add_insecure_port("127.0.0.1:0")
        server.start()
        try:
            yield f"sc://127.0.0.1:{port}"
        finally:
            server.stop(None).wait()


class _Proxy(grpc.GenericRpcHandler):
    """Hands each call on as bytes, with its answer, its errors and their details."""

    def __init__(self, channel: grpc.Channel, refused: list[str]):
        self._channel, self._refused = channel, refused

    def service(self, handler_call_details: Any) -> grpc.RpcMethodHandler | None:
        path = handler_call_details.method
        method = path.rpartition("/")[2]
        if path != f"/{_SERVICE}/{method}":
            return None
        if method in _UNARY:
            return grpc.unary_unary_rpc_method_handler(self._single(method, self._channel.unary_unary(path)))
        if method in _STREAMED:
            return grpc.unary_stream_rpc_method_handler(self._stream(method, self._channel.unary_stream(path)))
        if method in _SENT:
            return grpc.stream_unary_rpc_method_handler(self._single(method, self._channel.stream_unary(path)))
        return None

    def _single(self, method: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def answer(request: Any, context: grpc.ServicerContext) -> Any:
            self._refuse(method, request, context)
            try:
                return call(request)
            except grpc.RpcError as error:
                _pass_on(error, context)

        return answer

    def _stream(self, method: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def answer(request: Any, context: grpc.ServicerContext) -> Iterator[Any]:
            self._refuse(method, request, context)
            answers = call(request)
            context.add_callback(answers.cancel)
            try:
                yield from answers
            except grpc.RpcError as error:
                _pass_on(error, context)

        return answer

    def _refuse(self, method: str, request: Any, context: grpc.ServicerContext) -> None:
        why = _why_refused(method, request) if isinstance(request, bytes) else ""
        if why:
            self._refused.append(why)
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, why)


def _pass_on(error: Any, context: grpc.ServicerContext) -> None:
    context.set_trailing_metadata(error.trailing_metadata() or ())
    context.abort(error.code(), error.details())
