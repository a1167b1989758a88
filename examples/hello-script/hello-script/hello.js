/**
 * Greets somebody.
 * @param {string} [name] - who is greeted
 */
exports["guest-acme-hello"] = ({ name = "world" }) => `Hello, ${name}!`;
