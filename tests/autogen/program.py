"""What the programs beside this file share: the client that points at the gateway, and what AutoGen got, printed as JSON.

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
    words = argparse.ArgumentParser()
    words.add_argument("base_url")
    words.add_argument("--stream", action="store_true")
    words.add_argument("--usage", action="store_true")
    told = words.parse_args()
    asyncio.run(converse(build, told))


async def converse(build, told):
    more = {"stream_options": {"include_usage": True}} if told.usage else {}
    client = OpenAIChatCompletionClient(model="gpt-4o-mini", api_key="sk-test", base_url=told.base_url, default_headers=HEADERS, max_retries=0, **more)
    runnable, task = build(client, told.stream)
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
