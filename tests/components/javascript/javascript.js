// Uses of a script's engine what needs the system below it: the clock and randomness.

export const operations = {
  guestTestScript(words) {
    if (words.length === 0) {
      throw new Error("no words");
    }
    return {
      now: Date.now(),
      year: new Date().getFullYear(),
      random: [Math.random(), Math.random()],
      reversed: words.toReversed(),
    };
  },

  guestTestThrow(text) {
    throw new RangeError(text);
  },

  guestTestEndless() {
    for (;;);
  },
};
