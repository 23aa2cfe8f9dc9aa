"""starlette-graphene3 on uvicorn, as its manual sets it up.

It answers every upgrade with `graphql-ws`, whatever was offered, and speaks Apollo's protocol.
Knows nothing of gqlwire. A program of its own, which `launch.py` starts.
"""

import argparse
import json
import os
import socket
import threading
from collections.abc import AsyncIterator

import graphene
import uvicorn
from starlette.applications import Starlette
from starlette_graphene3 import GraphQLApp


class Query(graphene.ObjectType):
    hello = graphene.String(required=True)

    def resolve_hello(self, info: graphene.ResolveInfo) -> str:
        return "Hello, world!"


class Subscription(graphene.ObjectType):
    count = graphene.Int(upto=graphene.Int(required=True))

    async def subscribe_count(self, info: graphene.ResolveInfo, upto: int) -> AsyncIterator[int]:
        for number in range(upto):
            yield number


class Server(uvicorn.Server):
    def stop_with_stdin(self) -> None:
        # Not sys.stdin.read(): a thread that holds its lock makes the interpreter's end fail.
        while os.read(0, 4096):
            pass
        self.should_exit = True


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=0)
    listener = socket.create_server(("127.0.0.1", parser.parse_args().port))
    app = Starlette()
    app.mount("/", GraphQLApp(graphene.Schema(query=Query, subscription=Subscription)))
    config = uvicorn.Config(app, log_config=None, access_log=False, lifespan="off")
    server = Server(config)
    threading.Thread(target=server.stop_with_stdin, daemon=True).start()
    print(json.dumps({"port": listener.getsockname()[1]}), flush=True)
    server.run(sockets=[listener])


if __name__ == "__main__":
    main()
