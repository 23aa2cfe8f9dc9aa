"""What is measured: each a program of its own, which prints one line of JSON.

Called with a URL, a mode, and as JSON what to ask of the server. Words after these change how:
`deflate`, `uvloop`.
"""
