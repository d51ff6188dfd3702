// How numbers are written for people; the same as api/web/formatting.py.

const UNITS = ["B", "kB", "MB", "GB", "TB", "PB"];

// Three significant digits, as Python's "%.3g" has them; a dash where there is no number.
export function significant(value, digits = 3) {
  if (value === null || value === undefined || Number.isNaN(value)) return "–";
  if (value === 0) return "0";
  const size = Math.floor(Math.log10(Math.abs(Number(value.toPrecision(digits)))));
  if (size < -4 || size >= digits) {
    const [mantissa, exponent] = value.toExponential(digits - 1).split("e");
    const sign = exponent[0];
    return `${Number(mantissa)}e${sign}${exponent.slice(1).padStart(2, "0")}`;
  }
  return String(Number(value.toPrecision(digits)));
}

// Bytes with a decimal unit and three digits: 269 MB.
export function bytes(size) {
  let exponent = 0;
  while (size >= 999.5 && exponent < UNITS.length - 1) {
    size /= 1000;
    exponent += 1;
  }
  return `${significant(size)} ${UNITS[exponent]}`;
}

// A length of time with one unit: 40 s, 3 min.
export function duration(seconds) {
  if (seconds === null || seconds === undefined) return "–";
  const whole = Math.round(seconds);
  for (const [step, unit] of [[86400, "d"], [3600, "h"], [60, "min"]]) {
    if (whole >= step) return `${Math.round(whole / step)} ${unit}`;
  }
  return `${whole} s`;
}

// A value with its standard error: 0.251 ± 0.004.
export function measured(value, error) {
  return error === null || error === undefined ? significant(value) : `${significant(value)} ± ${significant(error, 1)}`;
}

// A large count: 135 M.
export function count(number) {
  for (const [step, suffix] of [[1e12, "T"], [1e9, "B"], [1e6, "M"], [1e3, "k"]]) {
    if (number >= 0.9995 * step) return `${significant(number / step)} ${suffix}`;
  }
  return String(Math.round(number));
}

// A tick of a logarithmic axis: 0.01, 1e-5.
export function logTick(value) {
  return value >= 1e-3 && value < 1e4 ? String(value) : value.toExponential().replace("e+", "e");
}
