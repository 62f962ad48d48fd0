"""The process that the caller sees: hands all it was given to the server, and ends as the fork ends."""

from __future__ import annotations

# Those in Python, signal and socket, would be most of what this process does.
import _signal  # type: ignore[import-not-found]
import _socket
import array
import marshal
import os
import sys

#: What a fork of the server understands; Python itself runs where more is asked for.
_OPTIONS = {"-u", "-Wignore"}
_VARIABLES = {"PYTHON", "PYTHONPATH", "PYTHONDONTWRITEBYTECODE", "PYTHONIOENCODING", "PYTHONUNBUFFERED"}


def main(address: str, command: str, python: str, *argv: str) -> None:
    """Runs ``python *argv`` by the server that listens at the address."""
    options, rest = [], list(argv)
    if rest[:2] == ["-W", "ignore"]:
        rest[:2] = ["-Wignore"]
    while rest and rest[0] in _OPTIONS:
        options.append(rest.pop(0))
    asked = {name for name in os.environ if name.startswith("PYTHON")}
    quiet = "-Wignore" in options
    if os.environ.get("PYTHONWARNINGS") == "ignore":
        quiet, asked = True, asked - {"PYTHONWARNINGS"}
    if not rest or rest[0][:2] not in ("-c", "-m") or asked - _VARIABLES:
        os.execv(python, [python, *argv])
    files = _open_files()
    request = {
        "kind": rest[0][:2],
        "argv": [rest[0][2:], *rest[1:]] if rest[0][2:] else rest[1:],
        "quiet": quiet,
        "unbuffered": "-u" in options or bool(os.environ.get("PYTHONUNBUFFERED")),
        "executable": command,
        "folder": os.getcwd(),
        "environment": dict(os.environ),
        "files": files,
    }
    data = marshal.dumps(request)
    connection = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM)
    connection.connect(address)
    handed_on = (_socket.SOL_SOCKET, _socket.SCM_RIGHTS, array.array("i", files))
    size = len(data).to_bytes(4, "big")
    connection.sendmsg([size], [handed_on])
    connection.sendall(data)
    for number in files:  # only the fork holds them open from here on
        os.close(number)
    answer = b""
    while not answer.endswith(b"\n"):
        answer += connection.recv(16) or b"-9\n"
    status = int(answer)
    if status < 0:
        if -status != _signal.SIGKILL:  # which has no other handler
            _signal.signal(-status, _signal.SIG_DFL)
        os.kill(os.getpid(), -status)
    os._exit(status)


def _open_files() -> list[int]:
    found = []
    for number in map(int, os.listdir("/proc/self/fd")):
        try:
            os.fstat(number)
        except OSError:  # that of the listing itself
            continue
        found.append(number)
    return sorted(found)


if __name__ == "__main__":
    main(*sys.argv[1:])
