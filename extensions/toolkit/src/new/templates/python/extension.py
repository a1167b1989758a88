"""Adds guest-@name@ to the agent: wit/@name@.wit says what it takes and gives."""

from componentize_py_types import Err
from wit_world import exports
from wit_world.imports import log
from wit_world.imports.log import Level


class Commands(exports.Commands):
    def guest_@name_@(self, name: str) -> str:
        if not name:
            # The caller gets this as the description of an error reply.
            raise Err("there is nobody to greet")
        log.log(Level.INFO, "somebody was greeted")
        return f"Hello, {name}!"
