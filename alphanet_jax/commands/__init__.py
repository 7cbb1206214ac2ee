"""What is typed: each command parses its flags, calls the library and prints.

`cli` finds the command and shows errors as one line, by `help_text` and `messages`;
every other file is a command or what several of them share.
"""
