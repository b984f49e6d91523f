"""The shared part of the programs beside this file: a client that points at the gateway, and AutoGen's results as JSON.

    python3 one_agent.py BASE_URL [--stream] [--usage]

`--stream` streams every model call, `--usage` asks for the token counts of streams (AutoGen does not by itself).
"""

import argparse
import asyncio
import json

from autogen_agentchat.base import TaskResult
from autogen_ext.models.openai import OpenAIChatCompletionClient

HEADERS = {
    "X-Respan-Customer-Identifier": "ada@example.com",
    "X-Respan-Thread-Identifier": "thread-7",
    "X-Respan-Metadata": json.dumps({"plan": "pro", "attempt": 2}),
}


def run(build):
    """Runs `build(model_client, stream) -> (runnable, task)` to its end and prints messages, sources and usage."""
    parser = argparse.ArgumentParser()
    parser.add_argument("base_url")
    parser.add_argument("--stream", action="store_true")
    parser.add_argument("--usage", action="store_true")
    args = parser.parse_args()
    asyncio.run(converse(build, args))


async def converse(build, args):
    more = {"stream_options": {"include_usage": True}} if args.usage else {}
    client = OpenAIChatCompletionClient(model="gpt-4o-mini", api_key="sk-test", base_url=args.base_url, default_headers=HEADERS, max_retries=0, **more)
    runnable, task = build(client, args.stream)
    got = {"messages": [], "stop_reason": None}
    async for item in runnable.run_stream(task=task):
        if isinstance(item, TaskResult):
            got["stop_reason"] = item.stop_reason
        else:
            said = item.model_dump(include={"type", "source", "content", "models_usage"}, mode="json")
            got["messages"].append({"type": item.type} | said)
    total = client.total_usage()
    got["total_usage"] = {"prompt_tokens": total.prompt_tokens, "completion_tokens": total.completion_tokens}
    await client.close()
    print(json.dumps(got))
