// What a question holds that the studio has no control for: it is asked with the rest, told above it, and can be taken away.
// It stands in the address as JSON under `rules`: fields of the request, and under `budget` further limits.

import { bytes, significant } from "/static/js/words.js";

// Of the rules, what belongs to a plan and not to a frontier.
const OF_PLANS = ["counts", "caution", "alternatives", "alternative_layers", "deadline_seconds"];
const OF_CONTEXT = ["prefill_seconds", "pool_bytes"]; // limits that depend on context, batch and device

const WORDS = {
  floors: (pattern, bits) => `${pattern}: at least ${bits} bits`,
  ceilings: (pattern, bits) => `${pattern}: at most ${bits} bits`,
  menus: (pattern, formats) => `${pattern}: ${[formats].flat().join(" or ")}`,
  ignore: (_, pattern) => `${pattern} is left unquantized`,
  counts: (_, count) => countWords(count ?? {}),
  caution: (factor) => `plans for the loss + ${factor} × its standard error`,
  alternatives: (many) => `${many} next-best plans beside it, once it is kept`,
  alternative_layers: (many) => `next-best plans differ in ${many} layers`,
  deadline_seconds: (seconds) => `${seconds} s to solve it, once it is kept`,
  kv_setting: (id) => `caches are priced by the setting ${String(id).slice(0, 8)}`,
  shrinkage: (isOn) => (isOn ? "expected losses" : "losses as they were measured, without shrinkage"),
  step_errors: (errors) => `a change has to be better by ${errors} standard errors`,
  "budget.prefill_seconds": (seconds) => `a prompt within ${significant(1000 * seconds, 4)} ms`,
  "budget.bit_operations": (operations) => `at most ${significant(operations, 4)} bit-operations`,
  "budget.pool_bytes": (pool, size) => `at most ${bytes(size)} of ${pool}`,
  "budget.workspace_bytes": (size) => `${bytes(size)} of memory left free`,
  "budget.max_loss": (loss) => `not asked here, where a size is given: the smallest plan that loses no more than ${significant(loss, 4)}`,
};

function countWords({ pattern = "*", above_bits: above, formats, at_most: most, at_least: least }) {
  const many = [least === undefined ? "" : `at least ${least}`, most === undefined ? "" : `at most ${most}`].filter(Boolean).join(" and ");
  const what = above === undefined ? `in ${[formats].flat().join(" or ")}` : `in formats of more than ${above} bits`;
  return `${many} ${pattern === "*" ? "layers" : `layers of ${pattern}`} ${what}`;
}

const isRecord = (value) => value !== null && typeof value === "object" && !Array.isArray(value);

// Rules as the address has them; null where it has some that cannot be read.
export function readRules(text) {
  if (!text) return {};
  try {
    const rules = JSON.parse(text);
    return isRecord(rules) && isRecord(rules.budget ?? {}) && rules.budget !== null ? rules : null;
  } catch {
    return null;
  }
}

// Fields of a request for a plan, or of one for the curve of all budgets. The budget's are apart.
export function fieldsOf(rules, { ofPlan, caches }) {
  const isMeant = (name) => name !== "budget" && (ofPlan || !OF_PLANS.includes(name)) && (caches || name !== "kv_setting");
  return Object.fromEntries(Object.entries(rules).filter(([name]) => isMeant(name)));
}

// Limits beside those of the studio; `isResident`: memory is limited, of which a workspace is left free.
export function furtherLimits({ budget = {} }, isResident) {
  const { max_loss: _, workspace_bytes: workspace, ...limits } = budget;
  return workspace && (isResident || limits.pool_bytes) ? { ...limits, workspace_bytes: workspace } : limits;
}

// Whether a limit among them depends on context, batch and device.
export const dependsOnContext = ({ budget = {} }) => OF_CONTEXT.some((kind) => kind in budget);

// Each rule by itself, in words, with what takes it away.
function each(rules) {
  const found = [];
  for (const [holder, prefix] of [[rules, ""], [rules.budget ?? {}, "budget."]]) {
    for (const [name, value] of Object.entries(holder)) {
      if (holder === rules && name === "budget") continue;
      const words = WORDS[prefix + name] ?? ((...parts) => `${name.replaceAll("_", " ")}: ${parts.map((part) => JSON.stringify(part)).join(" ")}`);
      if (value === null || typeof value !== "object") {
        found.push({ words: words(value), drop: () => delete holder[name] });
        continue;
      }
      for (const [key, one] of Object.entries(value)) {
        const drop = () => {
          if (Array.isArray(value)) value.splice(value.indexOf(one), 1);
          else delete value[key];
          if (Object.keys(value).length === 0) delete holder[name];
        };
        found.push({ words: words(key, one), drop });
      }
    }
  }
  return found;
}

// Tell them, each as a button that takes it away; `taken()` hears of it.
export function showRules(section, { rules, isRead }, taken) {
  const found = each(rules);
  section.hidden = isRead && found.length === 0;
  section.querySelector("p").replaceChildren(...found.map(({ words, drop }) => {
    const made = Object.assign(document.createElement("button"), { type: "button", textContent: `${words} ✕` });
    made.setAttribute("aria-label", `Take away: ${words}`);
    made.addEventListener("click", () => {
      drop();
      if (rules.budget && Object.keys(rules.budget).length === 0) delete rules.budget;
      taken();
    });
    return made;
  }));
  if (!isRead) section.querySelector("p").append("The rules in the address cannot be read: plans here are made without them.");
}
