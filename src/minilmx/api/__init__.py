"""The public functions: one for each thing that minilmx does, in a file for each command.

The command line calls exactly these. They raise MinilmxError, whose `message` says what is wrong and
whose `hint` says what to do, and TypeError or ValueError for an argument that cannot be. Every function
takes a `progress` (minilmx.Progress), which reports what takes long.
"""
