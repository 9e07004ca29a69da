"""Forbids network sockets in every Python process that finds this folder on its path.

Each attempt is noted in $NETWORK_CALLS as well, so that one that is caught and ignored still shows.
"""

import os
import socket
import sys


def refuse(event: str, arguments: tuple) -> None:
    """An audit hook: local sockets pass, everything else raises."""
    if event == "socket.getaddrinfo":
        goal = str(arguments[:2])
    elif event == "socket.connect" and arguments[0].family in (socket.AF_INET, socket.AF_INET6):
        goal = str(arguments[1])
    else:
        return
    with open(os.environ["NETWORK_CALLS"], "a") as notes:
        notes.write(f"{event} {goal} by {' '.join(sys.argv)}\n")
    raise OSError(f"no network in this test: {event} {goal}")


sys.addaudithook(refuse)
