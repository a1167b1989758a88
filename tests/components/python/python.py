"""Uses of Python's library what needs the system below it."""

import encodings.idna  # of host names; what is not imported here is not in the component
import os
import random
import socket
import sys
import time

from componentize_py_types import Err
from wit_world import exports
from wit_world.exports.operations import Told


class Operations(exports.Operations):
    def guest_test_library(self) -> Told:
        return Told(time.time(), random.random(), os.urandom(16))

    def guest_test_print(self, text: str) -> None:
        print(text)
        print(text, file=sys.stderr)

    def guest_test_open(self, path: str) -> str:
        try:
            with open(path, encoding="utf-8") as file:
                return file.read()
        except OSError as error:
            raise Err(str(error))

    def guest_test_connect(self, host: str, port: int) -> None:
        try:
            socket.create_connection((host, port)).close()
        except OSError as error:
            raise Err(str(error))

    def guest_test_raise(self, text: str) -> None:
        raise RuntimeError(text)
