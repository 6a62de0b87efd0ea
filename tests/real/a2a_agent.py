"""An A2A agent by the protocol's own Python SDK. It repeats what it is told, in capitals.

    a2a_agent.py [--version 0.3|1.0] [--with-stdin]     prints {"url", "pid"} when it listens

Its card is at /.well-known/agent-card.json, its endpoint at /rpc. With --version its card offers only that version; without, both.
What it is told decides how its task ends: "fail" fails, "ask" asks for more input, "chat" is answered with a message and no
task; anything else completes with an artifact.
"""

import argparse
import os
import socket

import uvicorn
from a2a.helpers import get_message_text, new_task_from_user_message, new_text_message, new_text_part
from a2a.server.agent_execution import AgentExecutor
from a2a.server.request_handlers import DefaultRequestHandler
from a2a.server.routes import create_agent_card_routes, create_jsonrpc_routes
from a2a.server.tasks import InMemoryTaskStore, TaskUpdater
from a2a.types import AgentCapabilities, AgentCard, AgentInterface, AgentSkill, Role
from starlette.applications import Starlette

import parts


class Shouter(AgentExecutor):
    async def execute(self, context, event_queue):
        text = get_message_text(context.message)
        if text == "chat":
            await event_queue.enqueue_event(new_text_message("HELLO", role=Role.ROLE_AGENT))
            return
        task = context.current_task or new_task_from_user_message(context.message)
        if not context.current_task:
            await event_queue.enqueue_event(task)
        updater = TaskUpdater(event_queue, task.id, task.context_id)
        await updater.start_work()
        if text == "fail":
            await updater.failed(updater.new_agent_message([new_text_part("it went wrong")]))
        elif text == "ask":
            await updater.requires_input(updater.new_agent_message([new_text_part("which one?")]))
        else:
            await updater.add_artifact([new_text_part(text.upper())], name="shout")
            await updater.complete()

    async def cancel(self, context, event_queue):
        await TaskUpdater(event_queue, context.task_id, context.context_id).cancel()


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--version", choices=["0.3", "1.0"], help="offer only this version")
    parser.add_argument("--with-stdin", action="store_true", help="end when standard input ends")
    args = parser.parse_args()
    listener = socket.create_server(("127.0.0.1", 0))
    url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    versions = [args.version] if args.version else ["1.0", "0.3"]
    card = AgentCard(
        name="Shouter",
        description="Repeats what it is told, in capitals",
        version="1.0.0",
        supported_interfaces=[
            AgentInterface(url=f"{url}/rpc", protocol_binding="JSONRPC", protocol_version=v) for v in versions
        ],
        capabilities=AgentCapabilities(streaming=True),
        default_input_modes=["text/plain"],
        default_output_modes=["text/plain"],
        skills=[AgentSkill(id="shout", name="Shout", description="Shouts", tags=["test"])],
    )
    handler = DefaultRequestHandler(agent_executor=Shouter(), task_store=InMemoryTaskStore(), agent_card=card)
    rpc = create_jsonrpc_routes(handler, "/rpc", enable_v0_3_compat="0.3" in versions)
    app = Starlette(routes=[*create_agent_card_routes(card), *rpc])
    http = uvicorn.Server(uvicorn.Config(app, log_level="warning"))
    parts.end_with(lambda: os._exit(0), args.with_stdin)
    # uvicorn takes the signals for itself, and waits for streams that nobody ends.
    http.capture_signals = parts.no_signals
    parts.say_up(url=url)
    http.run(sockets=[listener])


if __name__ == "__main__":
    main()
