/**
 * Greets somebody.
 * @param {string} name - who is greeted; the agent checks it before this runs
 * @returns {string} the greeting
 */
exports["guest-@name@"] = ({ name }) => {
  if (name === "") {
    // The caller gets this as the description of an error reply.
    throw "there is nobody to greet";
  }
  log("somebody was greeted");
  return `Hello, ${name}!`;
};
