"""Clients of sealed transport: what `antiphon.seal` is for, with sockets, clocks and files.

    exchange     one request and its answer, sealed; no I/O
    trust        which key to seal for: pins, trust on first use, rotation; no I/O
    known        the file of gateways that were trusted on first use
    steps        what has to be sent and read for one request, whatever the HTTP library
    transport    the steps taken with httpx2 or httpx, with threads or with asyncio
    chat         reading a chat's answer, for the command line
    client       ready HTTP clients, for openai-python and of their own

`antiphon.seal` hands the public names on.
"""
