"""What is typed: each command parses its flags, calls the library and prints.

`cli` finds the command and shows errors as one line; every other file is a command or
the flags that several of them share.
"""
