"""The GraphQL servers that the tests talk to: real ones (`launch`) and scripted ones (`fake`).

Nothing here may import gqlwire: a server that shared its code would share its mistakes.
"""
