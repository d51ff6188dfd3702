// Names of layers as patterns, which the service takes wherever layers are asked for: what a name holds of *, ? and [ is no wildcard.

// The pattern that means one name.
export const patternOf = (name) => name.replace(/[*?[]/g, "[$&]");

// The name that such a pattern means; a pattern of many names stays as it is.
export const plainName = (pattern) => pattern.replace(/\[([*?[])\]/g, "$1");
