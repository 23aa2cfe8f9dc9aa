"""The demo: a real GraphQL server that serves a small market, and a guided walk through it.

`market` simulates the market, `schema` describes it in GraphQL, `server` serves it, and `walk` is a
client of it. Strawberry and uvicorn (extra `gqlwire[demo]`) are imported only to serve.
"""
