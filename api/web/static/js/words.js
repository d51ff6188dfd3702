// How numbers are written for people; the same as api/web/formatting.py, digit for digit.

const [LEAST, MOST] = [3, 6]; // digits of a value that has an error
const PLAIN = 6; // digits before the point up to which a number is written out
const UNITS = ["B", "kB", "MB", "GB", "TB", "PB"];

// So many significant digits, halves rounded away from zero: 0.123, 1230, 1e+06; a dash where there is no number.
export function significant(value, digits = 3) {
  if (!Number.isFinite(value)) return "–";
  if (value === 0) return "0";
  const [mantissa, exponent] = value.toExponential(digits - 1).split("e");
  const size = Number(exponent);
  if (size >= -4 && size < PLAIN) return String(Number(value.toPrecision(digits)));
  return `${Number(mantissa)}e${exponent[0]}${exponent.slice(1).padStart(2, "0")}`;
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
  const whole = Math.round(seconds); // halves upwards
  for (const [step, unit] of [[86400, "d"], [3600, "h"], [60, "min"]]) {
    if (whole >= step) return `${Math.round(whole / step)} ${unit}`;
  }
  return `${whole} s`;
}

// A difference of bytes with its sign: +13.3 MB.
export function changeInBytes(size) {
  return size === 0 ? "none" : `${size > 0 ? "+" : "−"}${bytes(Math.abs(size))}`;
}

// A value with its standard error, down to the error's digit: 0.251 ± 0.004; three to six digits of it.
export function measured(value, error) {
  if (!Number.isFinite(value) || error === null || error === undefined) return significant(value);
  const isKnown = Number.isFinite(error) && error !== 0;
  const digits = isKnown ? Math.min(Math.max(exponentOf(value) - exponentOf(error, 0) + 1, LEAST), MOST) : LEAST;
  return `${significant(value, digits)} ± ${significant(error, 1)}`;
}

const exponentOf = (value, digits) => Number(value.toExponential(digits).split("e")[1]);

// A share in hundredths, with two digits: 0.012 %.
export function percent(share) {
  return share === null || share === undefined ? "–" : `${significant(100 * share, 2)} %`;
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
