"""A model that answers from a script, over OpenAI's chat completions, streamed and not. Standard library only.

    python3 scripted_model.py [PORT]

Prints its base URL, then serves until it is killed. The same request always gets the same reply, ids included: what a program gets
directly and through a gateway can be compared as it stands. `GET /calls` tells every call so far: `headers`, `body` (its text) and
`reply` (`text`, `tool_calls`, `finish_reason`, `id`, `model`, and `usage` where the wire had it).
"""

import hashlib
import json
import re
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

DATED = {"gpt-4o-mini": "gpt-4o-mini-2024-07-18"}


def script(request):
    """(text, [(tool, arguments)]) for a request: a pure function of its messages and tools."""
    messages = request["messages"]
    system = " ".join(m["content"] for m in messages if m["role"] == "system")
    spoken = sum(m["role"] == "assistant" for m in messages)
    if messages[-1]["role"] == "tool":
        return f"Here is what I found: {messages[-1]['content']}", []
    if request.get("tools"):
        return None, [("get_weather", {"city": "Zürich"}), ("get_weather", {"city": "Lyon"})]
    if "You are a planner" in system:
        return ["Plan: trace every call.", "Plan: trace every call, keep one in ten."][min(spoken, 1)], []
    if "You are a reviewer" in system:
        return ["Say how much is kept.", "APPROVE"][min(spoken, 1)], []
    return "Tracing shows which agent asked for what – and why. 👀", []


def answer(request):
    """The reply as a dictionary; `usage` counts words, which is enough to be told apart."""
    text, calls = script(request)
    seed = hashlib.sha256(json.dumps(request, sort_keys=True).encode()).hexdigest()
    tools = [{"id": f"call_{seed[:20]}{n}", "type": "function", "function": {"name": name, "arguments": json.dumps(arguments, ensure_ascii=False)}}
             for n, (name, arguments) in enumerate(calls)]
    asked, said = len(json.dumps(request["messages"]).split()), len((text or "").split()) + 9 * len(tools)
    return {"id": f"chatcmpl-{seed[:24]}", "model": DATED.get(request["model"], request["model"]), "text": text, "tool_calls": tools,
            "finish_reason": "tool_calls" if tools else "stop",
            "usage": {"prompt_tokens": asked, "completion_tokens": said, "total_tokens": asked + said,
                      "prompt_tokens_details": {"cached_tokens": 3}, "completion_tokens_details": {"reasoning_tokens": 2}}}


def whole(reply):
    message = {"role": "assistant", "content": reply["text"], "refusal": None} | ({"tool_calls": reply["tool_calls"]} if reply["tool_calls"] else {})
    choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": reply["finish_reason"]}
    return {"id": reply["id"], "object": "chat.completion", "created": 1763800000, "model": reply["model"], "choices": [choice], "usage": reply["usage"]}


def events(reply):
    """The chunks of a stream: the role, words, tool calls in pieces, the finish, and the usage when it was asked for."""
    def chunk(delta, finish=None, **more):
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}
        head = {"id": reply["id"], "object": "chat.completion.chunk", "created": 1763800000, "model": reply["model"], "choices": [choice]}
        return head | ({"usage": None} if reply["usage"] else {}) | more
    yield chunk({"role": "assistant", "content": None if reply["tool_calls"] else "", "refusal": None})
    for word in re.findall(r"\S+\s*", reply["text"] or ""):
        yield chunk({"content": word})
    for n, call in enumerate(reply["tool_calls"]):
        arguments = call["function"]["arguments"]
        yield chunk({"tool_calls": [{"index": n, "id": call["id"], "type": "function", "function": {"name": call["function"]["name"], "arguments": ""}}]})
        for at in range(0, len(arguments), 5):
            yield chunk({"tool_calls": [{"index": n, "function": {"arguments": arguments[at:at + 5]}}]})
    yield chunk({}, reply["finish_reason"])
    if reply["usage"]:
        yield chunk({}, choices=[], usage=reply["usage"])


class Model(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    calls = []

    def log_message(self, *_):
        pass

    def send(self, kind, body=None):
        """The head; with `body` the whole response, without it a chunked one is begun."""
        self.send_response(200)
        self.send_header("content-type", kind)
        self.send_header(*(("transfer-encoding", "chunked") if body is None else ("content-length", str(len(body)))))
        self.end_headers()
        self.wfile.write(body or b"")

    def do_GET(self):
        self.send("application/json", json.dumps(self.calls).encode())

    def do_POST(self):
        body = self.rfile.read(int(self.headers["content-length"]))
        request = json.loads(body)
        reply = answer(request)
        if request.get("stream") and not (request.get("stream_options") or {}).get("include_usage"):
            reply["usage"] = None
        self.calls.append({"headers": {k.lower(): v for k, v in self.headers.items()}, "body": body.decode(), "reply": reply})
        if not request.get("stream"):
            return self.send("application/json", json.dumps(whole(reply)).encode())
        self.send("text/event-stream; charset=utf-8")
        for data in [*(json.dumps(e, ensure_ascii=False) for e in events(reply)), "[DONE]"]:
            piece = f"data: {data}\n\n".encode()
            self.wfile.write(b"%x\r\n%s\r\n" % (len(piece), piece))
        self.wfile.write(b"0\r\n\r\n")


if __name__ == "__main__":
    server = ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1]) if len(sys.argv) > 1 else 0), Model)
    server.daemon_threads = True
    print(f"http://127.0.0.1:{server.server_port}/v1", flush=True)
    server.serve_forever()
