// Runs around guest-shutdown: outside of the maintenance windows that `config` names it is refused. Everything is UTC, so no clock change
// moves a window.
//
// All of `config` is looked at here, at the top, and what is wrong with it is thrown: the agent runs this file when it finds it, and until the
// fault is mended nobody gets through. Nothing is let through by mistake.

const DAYS = ["sun", "mon", "tue", "wed", "thu", "fri", "sat"];
const MINUTE = 60_000;
const DAY = 24 * 60 * MINUTE;

function wrong(what) {
  throw new Error(`config: ${what}`);
}

function known(table, keys, place) {
  const other = Object.keys(table).find((key) => !keys.includes(key));
  if (other !== undefined) wrong(`${place}'${other}' is none of ${keys.join(", ")}`);
}

// "22:30", as milliseconds of the day.
function time(text, place) {
  const [, hours, minutes] = /^(\d\d):(\d\d)$/.exec(text) ?? [];
  const found = (Number(hours) * 60 + Number(minutes)) * MINUTE;
  if (!(minutes < 60 && found <= DAY)) wrong(`${place} is no time from "00:00" to "24:00"`);
  return found;
}

// A moment, as "2026-12-05T23:30Z".
function moment(text, fail) {
  const found = /^\d{4}-\d\d-\d\dT\d\d:\d\d(:\d\d)?Z$/.test(text) ? Date.parse(text) : NaN;
  if (Number.isNaN(found)) fail('is no moment in UTC, as "2026-12-05T23:30Z"');
  return found;
}

// A window begins on each of its days, and ends the day after if it ends no later than it begins.
function window(table, number) {
  const place = `windows[${number}].`;
  known(table, ["days", "from", "to"], place);
  const days = table.days ?? DAYS;
  if (!Array.isArray(days) || !days.length || !days.every((day) => DAYS.includes(day))) {
    wrong(`${place}days is no list of ${DAYS.join(", ")}`);
  }
  const [from, to] = [time(table.from, `${place}from`), time(table.to, `${place}to`)];
  if (from === to || from === DAY) wrong(`${place}from and to leave no time: all day is "00:00" to "24:00"`);
  return { days, from, length: to > from ? to - from : to - from + DAY };
}

known(config, ["windows", "open-until", "always"], "");
if (!Array.isArray(config.windows)) wrong("windows is missing; [] is none at all");
const windows = config.windows.map(window);
const until = config["open-until"];
const openUntil = until === undefined ? -Infinity : moment(until, (what) => wrong(`open-until ${what}`));
const always = config.always ?? [];
if (!Array.isArray(always)) wrong("always is no list of modes");

// Where `at` stands: until when it is open, or when it opens the next time. Neither, if it never does.
function look(at) {
  const openings = [];
  const today = Math.floor(at / DAY) * DAY;
  // One of yesterday may go on; one of this weekday may be over, and come again in a week.
  for (let day = today - DAY; day <= today + 7 * DAY; day += DAY) {
    for (const { days, from, length } of windows) {
      if (days.includes(DAYS[new Date(day).getUTCDay()])) openings.push([day + from, day + from + length]);
    }
  }
  const ends = openings.filter(([start, end]) => start <= at && at < end).map(([, end]) => end);
  if (at < openUntil) ends.push(openUntil);
  if (ends.length > 0) return { until: Math.max(...ends) };
  const next = openings.filter(([start]) => start > at).sort(([one], [other]) => one - other)[0];
  return next === undefined ? {} : { next };
}

// "sat 2026-12-05 22:00".
function shown(at) {
  const text = new Date(at).toISOString();
  return `${DAYS[new Date(at).getUTCDay()]} ${text.slice(0, 10)} ${text.slice(11, 16)}`;
}

function told({ until, next }) {
  if (until !== undefined) return `open until ${shown(until)} UTC`;
  return next ? `the next window is ${shown(next[0])} to ${shown(next[1])} UTC` : "there is none";
}

exports["guest-shutdown"] = (args) => {
  const mode = args.mode ?? "powerdown";
  const now = look(Date.now());
  if (now.until === undefined && !always.includes(mode)) {
    log.warning(`guest-shutdown (${mode}) refused: ${told(now)}`);
    throw `guest-shutdown is refused outside of the maintenance windows: ${told(now)}`;
  }
  log(`guest-shutdown (${mode}) let through: ${now.until === undefined ? "this mode always is" : told(now)}`);
  // With its arguments, as they are.
  return next();
};

/**
 * Tells whether guest-shutdown would be let through, without asking for it.
 * @param {string} [at] - another moment than now, as "2026-12-05T23:30Z"
 * @returns {object} open: whether it would; text: until when, or when the next time
 */
exports["guest-acme-maintenance"] = ({ at }) => {
  const refuse = (what) => {
    throw `at ${what}`;
  };
  const found = look(at === undefined ? Date.now() : moment(at, refuse));
  return { open: found.until !== undefined, text: told(found) };
};
