"""Run operations without asyncio: each call connects, runs one, and closes.

python sync_script.py [URL]      (the schema is that of `gqlwire demo --serve`)
"""

import sys

from gqlwire import Client, GraphQLRequest
from gqlwire.transport.websockets import WebsocketsTransport

URL = sys.argv[1] if len(sys.argv) > 1 else "ws://127.0.0.1:8000/graphql"

client = Client(transport=WebsocketsTransport(url=URL))

request = GraphQLRequest(
    "query Price($symbol: String!) { instrument(symbol: $symbol) { name price } }",
    variable_values={"symbol": "EGIR"},
)
print(client.execute(request))

for event in client.subscribe("subscription { heartbeat(intervalMs: 50) { beat } }"):
    print(event)
    if event["heartbeat"]["beat"] == 3:
        break
