// A command made of two of the agent's own, which the operator grants by `commands` in agent.toml.

import { guestGetCpustats } from "waga:guest/guest-get-cpustats@1.0.0";
import { guestGetLoad } from "waga:guest/guest-get-load@1.0.0";

export const status = {
  guestAcmeUptime() {
    // What the agent answers with an error is thrown here, and goes on to the caller.
    const processors = guestGetCpustats().map(({ val }) => times(val));
    const { load1m } = guestGetLoad();
    const up = Math.max(...processors.map(({ all }) => all));
    const [all, idle] = ["all", "idle"].map(key => processors.reduce((sum, it) => sum + it[key], 0));
    return {
      up: duration(up),
      since: new Date(Date.now() - up).toISOString().replace(/\.\d+/, ""),
      busyPercent: Math.round((100 * (all - idle)) / all),
      load: load1m / processors.length,
    };
  },
};

// What a processor did, in milliseconds. Guests of its own are in `user` already. What is not counted is null, and adds nothing.
function times({ user, nice, system, idle, iowait, irq, softirq, steal }) {
  return { all: user + nice + system + idle + iowait + irq + softirq + steal, idle: idle + iowait };
}

function duration(milliseconds) {
  const minutes = Math.floor(milliseconds / 60_000);
  const [days, hours] = [Math.floor(minutes / 1440), Math.floor(minutes / 60) % 24];
  const time = `${hours}:${String(minutes % 60).padStart(2, "0")}`;
  return days === 0 ? time : `${days} ${days === 1 ? "day" : "days"} ${time}`;
}
