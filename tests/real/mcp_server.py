"""An MCP server by the protocol's own Python SDK: a few tools, a prompt, a resource and a template.

    mcp_server.py --stdio                  speaks over standard input and output
    mcp_server.py [--json] [--with-stdin]  speaks streamable HTTP on a free port; prints {"url", "pid"} when it listens

Its tools do next to nothing: `add` adds, `fail` raises, `environment` says which variables it sees.
"""

import argparse
import os
import socket
import sys

import uvicorn
from mcp.server.mcpserver import Context, MCPServer
from mcp.server.mcpserver.exceptions import ToolError
from mcp.types import ToolAnnotations

import parts

server = MCPServer("cpd-test-tools", version="1.2.3", log_level="WARNING")


@server.tool(annotations=ToolAnnotations(read_only_hint=True))
def add(a: int, b: int) -> dict[str, int]:
    """Adds two numbers."""
    print(f"adding {a} and {b}", file=sys.stderr)
    return {"sum": a + b}


@server.tool()
def fail(reason: str) -> str:
    """Fails for the reason given."""
    raise ToolError(reason)


@server.tool()
def environment() -> list[str]:
    """Names the variables of the environment."""
    return sorted(os.environ)


@server.tool()
async def count(to: int, ctx: Context) -> int:
    """Counts, and says so on the way."""
    for i in range(to):
        await ctx.report_progress(i, to)
    return to


@server.prompt()
def review(model: str) -> str:
    """Asks for a review."""
    return f"Review the model {model}."


@server.resource("notes://today", mime_type="text/plain")
def today() -> str:
    """A note."""
    return "nothing happened"


@server.resource("notes://{day}", mime_type="text/plain")
def note(day: str) -> str:
    """A note of a day."""
    return f"nothing happened on {day}"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--stdio", action="store_true", help="speak over standard input and output")
    parser.add_argument("--json", action="store_true", help="answer with JSON instead of event streams")
    parser.add_argument("--with-stdin", action="store_true", help="end when standard input ends")
    args = parser.parse_args()
    if args.stdio:
        server.run("stdio")
        return
    listener = socket.create_server(("127.0.0.1", 0))
    app = server.streamable_http_app(json_response=args.json)
    http = uvicorn.Server(uvicorn.Config(app, log_level="warning"))
    parts.end_with(lambda: os._exit(0), args.with_stdin)
    # uvicorn takes the signals for itself, and waits for streams that nobody ends.
    http.capture_signals = parts.no_signals
    parts.say_up(url=f"http://127.0.0.1:{listener.getsockname()[1]}/mcp")
    http.run(sockets=[listener])


if __name__ == "__main__":
    main()
