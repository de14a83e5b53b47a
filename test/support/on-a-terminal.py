"""Runs a program on a terminal of its own: on-a-terminal.py ROWS COLUMNS PROGRAM ARGS…

What the terminal shows goes to stdout. Lines on stdin are orders: `keys HEX`, `size ROWS COLUMNS`, `hangup`.
Exits with the program's code, or 128 + its signal.
"""

import fcntl
import os
import pty
import select
import signal
import struct
import sys
import termios


def set_size(fd, rows, columns):
    fcntl.ioctl(fd, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))


def obey(order, terminal):
    word, *rest = order.split()
    if word == "keys":
        os.write(terminal, bytes.fromhex(rest[0]))
    elif word == "size":
        set_size(terminal, int(rest[0]), int(rest[1]))
    elif word == "hangup":
        return False
    return True


def relay(terminal):
    orders = b""
    sources = [terminal, 0]
    while True:
        ready, _, _ = select.select(sources, [], [])
        if terminal in ready:
            try:
                shown = os.read(terminal, 65536)
            except OSError:
                return  # Nobody has the other side open any more.
            if not shown:
                return
            os.write(1, shown)
        if 0 in ready:
            more = os.read(0, 65536)
            if not more:
                sources.remove(0)
            *lines, orders = (orders + more).split(b"\n")
            for line in lines:
                if not obey(line.decode(), terminal):
                    return


def main():
    rows, columns, *command = sys.argv[1:]
    # The size is set before the program can ask for it.
    go, ready = os.pipe()
    child, terminal = pty.fork()
    if child == 0:
        os.close(ready)
        os.read(go, 1)
        os.execvp(command[0], command)
    set_size(terminal, int(rows), int(columns))
    os.close(ready)
    relay(terminal)
    os.close(terminal)
    _, status = os.waitpid(child, 0)
    sys.exit(os.WEXITSTATUS(status) if os.WIFEXITED(status) else 128 + os.WTERMSIG(status))


signal.signal(signal.SIGINT, signal.SIG_IGN)
main()
