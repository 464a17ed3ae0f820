"""Processes that are forked from one with everything imported, where a test starts a command of ctmar.

A command imports for eight seconds what it then uses for one. :mod:`.server` imports it once and forks; what
runs then is the command, with its own arguments, folder, environment, streams, session and exit status.
:mod:`.client` asks for that, and says which commands it is the same for.
"""
