"""The demo: a real GraphQL server that serves a small market, and a guided walk through it.

`market` is the market by itself, `server` puts it on a socket, `walk` is a client of it. Only
`server` knows Strawberry and uvicorn (extra `gqlwire[demo]`); nothing is loaded before it is asked
for.
"""
