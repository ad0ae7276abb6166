/** Why a region was left: the low bits of what its function returns, below a record's address. */
export const EXIT = { jump: 0, interpret: 1, deadline: 2, block: 3 } as const;
export const EXIT_NAMES = ['jump', 'interpret', 'deadline', 'block'] as const;
/** Op records lie at multiples of 32. */
export const EXIT_MASK = 31;
