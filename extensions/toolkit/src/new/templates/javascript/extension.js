// Adds guest-@name@ to the agent: wit/@name@.wit says what it takes and gives.

import { log } from "waga:extension/log@1.0.0";

export const commands = {
  guest@Name@(name) {
    if (name === "") {
      // The caller gets this as the description of an error reply.
      throw new Error("there is nobody to greet");
    }
    log("info", "somebody was greeted");
    return `Hello, ${name}!`;
  },
};
