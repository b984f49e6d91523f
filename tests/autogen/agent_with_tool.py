"""An agent asks for a tool twice at once and reflects on the results: two model calls."""

from autogen_agentchat.agents import AssistantAgent

import program


async def get_weather(city: str) -> str:
    """Get the weather for a city."""
    return f"It is sunny in {city}."


def build(client, stream):
    agent = AssistantAgent("weather_agent", model_client=client, model_client_stream=stream, tools=[get_weather], reflect_on_tool_use=True,
                           system_message="Use the weather tool, then answer.")
    return agent, "What is the weather in Zürich and Lyon?"


program.run(build)
