"""See which error is raised when, and whether the connection survives it.

python errors.py [URL]      (the schema is that of `gqlwire demo --serve`)
"""

import asyncio
import sys

import gqlwire
from gqlwire.transport.exceptions import (
    OperationTimeout,
    TransportConnectionFailed,
    TransportError,
    TransportQueryError,
)

URL = sys.argv[1] if len(sys.argv) > 1 else "ws://127.0.0.1:8000/graphql"


async def main() -> None:
    # If gqlwire cannot connect, the class of the error says why.
    for url in ("http://127.0.0.1:8000/graphql", "ws://127.0.0.1:1/graphql", f"{URL}/not/there"):
        try:
            async with gqlwire.connect(url):
                pass
        except TransportError as failure:
            print(f"{type(failure).__name__}: {failure}")

    async with gqlwire.connect(URL) as session:
        # GraphQL errors keep the data that arrived with them.
        try:
            await session.execute('{ lastSeq instrument(symbol: "NOPE") { price } }')
        except TransportQueryError as error:
            print(f"{type(error).__name__}: {error}")
            print(f"  data: {sorted(error.data or {})}, errors: {len(error.errors or ())}")

        # Or get the whole result, without an exception.
        result = await session.execute(
            '{ instrument(symbol: "NOPE") { price } }', get_execution_result=True
        )
        print(f"data: {result.data}, errors: {len(result.errors or ())}")

        # After a timeout the server is told to stop. Other operations continue.
        try:
            late = gqlwire.gql("subscription { heartbeat { beat } }")
            await session.transport.execute(late, timeout=0)
        except OperationTimeout as error:
            print(f"{type(error).__name__}: {error}")
            print(f"  a TimeoutError, too: {isinstance(error, TimeoutError)}")
        print(f"still {session.transport.phase}")

    # After the session there is no connection, and the error says why.
    try:
        await session.execute("{ lastSeq }")
    except TransportConnectionFailed as failure:
        print(f"{type(failure).__name__}: {failure}")


asyncio.run(main())
