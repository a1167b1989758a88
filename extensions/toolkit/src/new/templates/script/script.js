// Adds guest-@name@ to the agent. `args` are its arguments, what is returned is its result, what is thrown its error.

exports["guest-@name@"] = args => {
  if (!args.name) {
    throw new Error("there is nobody to greet");
  }
  return `Hello, ${args.name}!`;
};
