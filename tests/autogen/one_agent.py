"""One agent answers one question."""

from autogen_agentchat.agents import AssistantAgent

import program


def build(client, stream):
    agent = AssistantAgent("assistant", model_client=client, model_client_stream=stream, system_message="You answer in one sentence.")
    return agent, "Why does tracing help?"


program.run(build)
