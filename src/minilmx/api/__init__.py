"""The public functions: one for each thing that minilmx does, in a file for each command.

The commands call these, except `inspect`, `models`, `runners`, `groq setup` and `groq doctor`, which show or
set up what there is. The functions raise MinilmxError, whose `message` says what is wrong and whose `hint`
says what to do, and TypeError or ValueError for an argument that cannot be. Those that take long have a
`progress` (minilmx.Progress), which reports it.
"""
