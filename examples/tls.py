"""Connect with TLS, with your own authority and a client certificate.

python tls.py wss://HOST:PORT/graphql CA.pem [CERTIFICATE.pem KEY.pem]      (any schema)
"""

import asyncio
import ssl
import sys

import gqlwire
from gqlwire.transport.exceptions import TLSFailed

URL = sys.argv[1] if len(sys.argv) > 1 else "wss://127.0.0.1:8000/graphql"
CA = sys.argv[2] if len(sys.argv) > 2 else None
CERTIFICATE = sys.argv[3:5]


def make_context() -> ssl.SSLContext:
    if CA is None:
        return ssl.create_default_context()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(CA)
    if CERTIFICATE:
        context.load_cert_chain(*CERTIFICATE)
    return context


async def main() -> None:
    try:
        async with gqlwire.connect(URL):
            print("the system's authorities vouch for this server")
    except TLSFailed as failure:
        print(failure)

    async with gqlwire.connect(URL, ssl=make_context()) as session:
        print(await session.execute("{ __typename }"))


asyncio.run(main())
