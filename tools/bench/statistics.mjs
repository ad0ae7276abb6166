// What the benchmarks say of repeated measurements.

export const median = (values) => [...values].sort((a, b) => a - b)[values.length >> 1];

/** Largest minus smallest, in percent of the median. */
export const spreadPercent = (values) =>
  Math.round((100 * (Math.max(...values) - Math.min(...values))) / median(values));
