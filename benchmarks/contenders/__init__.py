"""The contenders: each is a program of its own, which prints one line of JSON.

Its arguments are a URL, a mode, and as JSON the order for the server. More words are options:
`deflate`, `uvloop`.
"""
