// What the studio asks: its state, the address that opens it again, and the request that it stands for.

import { dependsOnContext, fieldsOf, furtherLimits, readRules } from "/static/js/studio_rules.js";

// Units of the budget, by the name of the limit in a request. `factor` times the limit is what is shown, `huge` binds nothing.
export const UNITS = {
  file_bytes: { words: "file", inBytes: true, huge: 1e18 },
  resident_bytes: { words: "resident", inBytes: true, huge: 1e18, served: true },
  effective_bits: { words: "effective bits", huge: 64 },
  decode_seconds: { words: "ms a token", huge: 1e6, factor: 1000, served: true, device: true },
};

const KINDS = Object.keys(UNITS);

// The state that an address describes; what it leaves out is `null`, empty or the default.
export function readAddress(search) {
  const given = new URLSearchParams(search);
  const number = (name) => {
    const value = Number(given.get(name));
    return given.get(name) !== null && Number.isFinite(value) && value > 0 ? value : null;
  };
  const whole = (value) => (value === null ? null : Math.round(value));
  const list = (name) => (given.get(name) ? given.get(name).split(",").filter(Boolean) : null);
  const limits = Object.fromEntries(KINDS.map((kind) => [kind, UNITS[kind].inBytes ? whole(number(kind)) : number(kind)]));
  const asked = given.get("unit");
  const rules = readRules(given.get("rules"));
  return {
    unit: KINDS.includes(asked) ? asked : (KINDS.find((kind) => limits[kind] !== null) ?? "file_bytes"),
    limits,
    device: given.get("device"),
    context: Math.floor(number("context") ?? 0),
    batch: Math.floor(number("batch") ?? 1) || 1,
    runtime: given.get("runtime") ?? "generic",
    setting: given.get("setting"),
    experts: given.get("experts"),
    formats: list("formats"),
    kvFormats: list("kv_formats"),
    rules: rules ?? {},
    isRead: rules !== null,
    pins: new Map(given.getAll("pin").map(splitPin).filter(Boolean)),
  };
}

// The query that `readAddress` reads this state from.
export function writeAddress(state) {
  const query = new URLSearchParams();
  const put = (name, value) => value && query.set(name, value);
  for (const kind of KINDS) put(kind, state.limits[kind]);
  if (KINDS.filter((kind) => state.limits[kind] !== null).length > 1) put("unit", state.unit);
  if (usesDevice(state)) put("device", state.device);
  put("context", state.context);
  if (state.batch > 1) put("batch", state.batch);
  if (state.runtime !== "generic") put("runtime", state.runtime);
  put("setting", state.setting);
  put("experts", state.experts);
  put("formats", state.formats?.join(","));
  put("kv_formats", state.kvFormats?.join(","));
  if (Object.keys(state.rules).length > 0) query.set("rules", JSON.stringify(state.rules));
  for (const [pattern, format] of state.pins) query.append("pin", `${pattern}=${format}`);
  return query.toString();
}

function splitPin(text) {
  const at = text.lastIndexOf("=");
  return at > 0 && at < text.length - 1 ? [text.slice(0, at), text.slice(at + 1)] : null;
}

// Context and batch, where a limit depends on them.
export function serving(state) {
  const isServed = KINDS.some((kind) => UNITS[kind].served && state.limits[kind] !== null) || dependsOnContext(state.rules);
  return isServed ? { context: state.context, batch: state.batch } : {};
}

// Whether a limit is one of a device.
export const usesDevice = (state) =>
  KINDS.some((kind) => UNITS[kind].device && state.limits[kind] !== null) || dependsOnContext(state.rules);

// The body of POST /v1/plans (and of its preview).
export function planRequest(model, state) {
  const limits = Object.fromEntries(Object.entries(state.limits).filter(([, value]) => value !== null));
  const budget = { ...furtherLimits(state.rules, state.limits.resident_bytes !== null), ...limits, ...serving(state) };
  if (usesDevice(state)) budget.device = state.device;
  return { ...question(model, state, { ofPlan: true }), budget, allow_slack: true };
}

// What every budget of the question shares; the body of POST /v1/frontiers beside its points.
export function question(model, state, { ofPlan = false } = {}) {
  const caches = Boolean(state.kvFormats?.length);
  const asked = { ...fieldsOf(state.rules, { ofPlan, caches }), model, runtime: state.runtime };
  if (state.setting) asked.setting = state.setting;
  if (state.experts) asked.experts = /^\d+$/.test(state.experts) ? Number(state.experts) : state.experts;
  if (state.formats) asked.formats = state.formats;
  if (caches) asked.kv_formats = state.kvFormats;
  if (state.pins.size) asked.pins = Object.fromEntries(state.pins);
  return asked;
}
