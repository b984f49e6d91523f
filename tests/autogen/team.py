"""A planner and a reviewer take turns until the reviewer approves: four model calls."""

from autogen_agentchat.agents import AssistantAgent
from autogen_agentchat.conditions import MaxMessageTermination, TextMentionTermination
from autogen_agentchat.teams import RoundRobinGroupChat

import program


def build(client, stream):
    planner = AssistantAgent("planner", model_client=client, model_client_stream=stream, system_message="You are a planner. Write a short plan.")
    reviewer = AssistantAgent("reviewer", model_client=client, model_client_stream=stream, system_message="You are a reviewer. Say APPROVE when the plan is good.")
    team = RoundRobinGroupChat([planner, reviewer], termination_condition=TextMentionTermination("APPROVE") | MaxMessageTermination(10))
    return team, "Plan how to trace a service of several agents."


program.run(build)
