// The engine of waga's scripts. Each instance runs one file, and one command of it: the file is evaluated, then the function that it
// exports under the command's name is called. One that is told of a freeze is told of the thaw, too. What is lent to the file here is all that it has beside JavaScript itself; what of that the
// operator granted is decided by the agent at each call.

import { get as sourceFile } from "waga:script/source@1.0.0";
import { call as callCommand } from "waga:extension/call@1.0.0";
import { get as configText } from "waga:extension/config@1.0.0";
import { run as runProgram } from "waga:extension/exec@1.0.0";
import { log as writeLog } from "waga:extension/log@1.0.0";
import { next as callNext } from "waga:extension/next@1.0.0";
import * as kept from "waga:extension/state@1.0.0";
import { getDirectories } from "wasi:filesystem/preopens@0.2.0";
import { getRandomU64 } from "wasi:random/random@0.2.0";

// How the evaluator calls what it was given, and the lines that stand before those of the file.
const EVALUATED = /<input>:(\d+)(?::(\d+))?/;
const LINES_BEFORE = 1;

// A command's failure: of one that was called, or of this one, for whoever asked.
class CommandError extends Error {
  constructor(desc, errorClass = "GenericError") {
    super(desc);
    this.name = "CommandError";
    this.desc = desc;
    this.class = errorClass;
  }
}

// Numbers of a generator that was seeded when this engine was built would be the same in every guest.
Math.random = () => (Math.floor(Number(getRandomU64()) / 2048) % 2 ** 53) / 2 ** 53;

// Bytes are base64 in JSON, as they are in the agent's own commands.
Object.defineProperty(Uint8Array.prototype, "toJSON", {
  value() {
    return this.toBase64();
  },
});

// UTF-8 by way of what the engine does itself: a loop over the letters takes a microsecond for each.
function utf8(text) {
  return Uint8Array.fromBase64(btoa(unescape(encodeURIComponent(text))));
}

// What is no UTF-8 is read byte by byte.
function textOf(bytes) {
  const letters = atob(bytes.toBase64());
  try {
    return decodeURIComponent(escape(letters));
  } catch {
    return letters;
  }
}

function asBytes(value) {
  return value instanceof Uint8Array ? value : Uint8Array.from(value);
}

// What the agent answered with an error: its value, out of what the bindings wrap it in.
function refusal(error) {
  return error?.payload ?? error;
}

// Has what a command answers, or throws what it failed with.
function answer(call) {
  let text;
  try {
    text = call();
  } catch (error) {
    const { desc, class: errorClass } = refusal(error);
    throw typeof desc === "string" ? new CommandError(desc, errorClass) : error;
  }
  return JSON.parse(text);
}

// Does what the agent may refuse in words.
function ask(call) {
  try {
    return call();
  } catch (error) {
    const words = refusal(error);
    throw typeof words === "string" ? new CommandError(words) : error;
  }
}

function object(value, what) {
  if (value === null || typeof value !== "object" || Array.isArray(value)) {
    throw new TypeError(`the arguments of ${what} are an object`);
  }
  return JSON.stringify(value);
}

function shown(value) {
  if (typeof value === "string") return value;
  if (value instanceof Error) return `${value}\n${value.stack}`.trimEnd();
  try {
    return JSON.stringify(value) ?? String(value);
  } catch {
    return String(value);
  }
}

function logger(level) {
  return (...words) => writeLog(level, words.map(shown).join(" "));
}

const log = Object.assign(logger("info"), {
  error: logger("error"),
  warning: logger("warning"),
  warn: logger("warning"),
  info: logger("info"),
  debug: logger("debug"),
});

const state = {
  get(key) {
    const bytes = kept.get(key);
    return bytes === undefined || bytes === null ? undefined : JSON.parse(textOf(asBytes(bytes)));
  },
  set(key, value) {
    const text = JSON.stringify(value);
    if (text === undefined) throw new TypeError(`state.set("${key}"): ${typeof value} has no JSON`);
    ask(() => kept.set(key, utf8(text)));
  },
  delete: (key) => kept.delete(key),
  keys: () => kept.keys(),
};

function exec(program, args = [], { input, bytes = false } = {}) {
  const given = typeof input === "string" ? utf8(input) : input;
  const output = ask(() => runProgram(program, args.map(String), given));
  const read = (data) => (bytes ? asBytes(data) : textOf(asBytes(data)));
  return {
    exitCode: output.exitCode ?? null,
    signal: output.signal ?? null,
    stdout: read(output.stdout),
    stderr: read(output.stderr),
  };
}

// A file that the keys `read` and `write` grant, by its path in the guest.
function open(path, openFlags, flags) {
  const [[root]] = getDirectories();
  try {
    return root.openAt({ symlinkFollow: true }, String(path).replace(/^\/+/, ""), openFlags, flags);
  } catch (error) {
    throw fileError(path, error);
  }
}

function fileError(path, error) {
  const code = refusal(error);
  if (typeof code !== "string") return error;
  const hint = code === "no-entry" ? ", or the keys read and write do not grant it" : "";
  return new CommandError(`${path}: ${code}${hint}`);
}

function readFile(path, { bytes = false } = {}) {
  const file = open(path, {}, { read: true });
  const pieces = [];
  let length = 0;
  try {
    for (let done = false; !done; ) {
      const [piece, end] = file.read(65536, length);
      pieces.push(asBytes(piece));
      length += piece.length;
      done = end || piece.length === 0;
    }
  } catch (error) {
    throw fileError(path, error);
  }
  const whole = new Uint8Array(length);
  let at = 0;
  for (const piece of pieces) {
    whole.set(piece, at);
    at += piece.length;
  }
  return bytes ? whole : textOf(whole);
}

// In place of what was there.
function writeFile(path, data) {
  const given = typeof data === "string" ? utf8(data) : asBytes(data);
  const file = open(path, { create: true, truncate: true }, { write: true });
  try {
    for (let at = 0; at < given.length; ) {
      at += Number(file.write(given.subarray(at, at + 65536), at));
    }
  } catch (error) {
    throw fileError(path, error);
  }
}

// What a file sees by name; `given` are the arguments of the command that is called.
function lent(given) {
  return {
    exports: {},
    call: (command, args = {}) => answer(() => callCommand(command, object(args, command))),
    next: (args) => answer(() => callNext(args === undefined ? given : object(args, "next"))),
    exec,
    readFile,
    writeFile,
    config: JSON.parse(configText()),
    log,
    state,
    console: { log, info: log.info, warn: log.warning, error: log.error, debug: log.debug },
    CommandError,
  };
}

// Runs a file from its first line to its last; what it exports.
function evaluate(file, given) {
  const names = lent(given);
  const code = `(function (${Object.keys(names)}) { "use strict";\n${file.text}\n})`;
  (0, eval)(code)(...Object.values(names));
  return names.exports;
}

// Each line of a stack that is about the file, the innermost first, with its place in the file.
function places(file, stack) {
  const last = file.text.trimEnd().split("\n").length;
  const found = [];
  for (const text of String(stack ?? "").split("\n")) {
    const match = EVALUATED.exec(text);
    if (match === null) continue;
    const line = Number(match[1]) - LINES_BEFORE;
    // What is missing at the end is missed in the line after it, which is not the file's.
    const place = line > last ? `${file.name}:${last}` : `${file.name}:${line}${match[2] ? `:${match[2]}` : ""}`;
    found.push({ place, isPast: line > last, text: text.replace(EVALUATED, place).trim() });
  }
  return found;
}

// What went wrong, and where.
function told(file, error) {
  const [{ place, isPast } = { place: file.name }] = places(file, error.stack);
  const message = isPast && error.name === "SyntaxError" ? "the file ends in the middle of something" : error.message;
  return { place, text: error.name === "Error" ? message : `${error.name}: ${message}` };
}

// The error that whoever asked for the command gets. One that nobody threw on purpose is for the log as well.
function failure(file, error) {
  if (typeof error === "string") return { class: "GenericError", desc: error };
  if (error instanceof CommandError || (error && typeof error.desc === "string")) {
    return { class: String(error.class ?? "GenericError"), desc: String(error.desc) };
  }
  if (!(error instanceof Error)) return { class: "GenericError", desc: `${file.name}: threw ${shown(error)}` };
  const { place, text } = told(file, error);
  const stack = places(file, error.stack).map((frame) => `\n    ${frame.text}`);
  writeLog("error", `${file.name}: ${text}${stack.join("")}`);
  return { class: "GenericError", desc: `${place}: ${text}` };
}

function noPromise(result, what) {
  if (typeof result?.then === "function") {
    throw new TypeError(`${what} returned a promise, and nothing here is waited for: return the result itself`);
  }
  return result;
}

// What the file exported when it was told of a freeze: it is told of the thaw as it is by then.
let hooked;

// Tells the file of a freeze or a thaw, if it wants to know.
function tell(name) {
  const file = sourceFile();
  if (file === undefined || file === null) return;
  try {
    hooked ??= evaluate(file, "{}");
    if (hooked[name] !== undefined) noPromise(hooked[name](), name);
  } catch (error) {
    throw failure(file, error).desc;
  }
}

export const freezeHooks = {
  freeze: () => tell("freeze"),
  thaw: () => tell("thaw"),
};

export const handler = {
  commands() {
    const file = sourceFile();
    if (file === undefined || file === null) return [];
    let exported;
    try {
      exported = evaluate(file, "{}");
    } catch (error) {
      if (!(error instanceof Error) || error instanceof CommandError) {
        throw `${file.name}: ${shown(error?.desc ?? error)}`;
      }
      const { place, text } = told(file, error);
      throw `${place}: ${text}`;
    }
    for (const [name, value] of Object.entries(exported)) {
      if (typeof value !== "function") throw `${file.name}: exports["${name}"] is no function`;
    }
    return Object.keys(exported);
  },

  handle(command, given) {
    const file = sourceFile();
    if (file === undefined || file === null) {
      throw { class: "GenericError", desc: "this component is the engine of scripts, and has no commands of its own" };
    }
    try {
      const serve = evaluate(file, given)[command];
      if (typeof serve !== "function") throw `${file.name}: does not export ${command} any more`;
      const result = noPromise(serve(JSON.parse(given)), command);
      return JSON.stringify(result === undefined ? {} : result);
    } catch (error) {
      throw failure(file, error);
    }
  },
};
