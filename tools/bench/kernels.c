/*
 * The benchmark's kernels: small loops that each lean on one thing a processor does. One static
 * program, run as a host's process and as a guest's /init alike.
 *
 * It prints `@ ready`; for every line `NAME REPETITIONS` on standard input it then runs that kernel
 * and prints `@ NAME REPETITIONS RESULT`. It reads no clock: in a guest, time may be counted in
 * instructions, so whoever sends the lines measures. The result depends on nothing but the kernel.
 *
 *   gcc -O2 -static -fno-math-errno kernels.c, and as kernels.bench.mjs says
 */
#include <emmintrin.h>
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <termios.h>
#include <unistd.h>

#define KIB 1024
#define BUFFER (256 * KIB)
#define PAGE 4096

static uint8_t source[BUFFER] __attribute__((aligned(64)));
static uint8_t target[BUFFER] __attribute__((aligned(64)));
static uint32_t crc_table[256];

static uint64_t xorshift(uint64_t x)
{
	x ^= x << 13;
	x ^= x >> 7;
	return x ^ x << 17;
}

static void fill(uint8_t *bytes, uint64_t seed)
{
	for (size_t i = 0; i < BUFFER; i += sizeof seed) {
		seed = xorshift(seed);
		memcpy(bytes + i, &seed, sizeof seed);
	}
}

/* Primes below 2^18, a byte per candidate. */
static uint64_t sieve(void)
{
	uint64_t primes = 0;
	for (size_t i = 0; i < BUFFER; i++)
		target[i] = 1;
	for (size_t i = 2; i < BUFFER; i++) {
		if (!target[i])
			continue;
		primes++;
		for (size_t j = i + i; j < BUFFER; j += i)
			target[j] = 0;
	}
	return primes;
}

/* Random words of a 256 KiB table changed in place. */
static uint64_t xorshift_memory(void)
{
	uint64_t *words = (uint64_t *)target;
	uint64_t x = 88172645463325252u;
	fill(target, 1);
	for (int i = 0; i < 1 << 18; i++) {
		x = xorshift(x);
		words[x & (BUFFER / 8 - 1)] += x;
	}
	return words[0] ^ words[12345];
}

static __attribute__((noinline)) uint64_t fibonacci(uint64_t n)
{
	return n < 2 ? n : fibonacci(n - 1) + fibonacci(n - 2);
}

static uint64_t fib(void)
{
	return fibonacci(24);
}

/* CRC-32 (ISO-HDLC) of 256 KiB, a byte at a time. */
static uint64_t crc32(void)
{
	uint32_t crc = ~0u;
	for (size_t i = 0; i < BUFFER; i++)
		crc = crc >> 8 ^ crc_table[(crc ^ source[i]) & 255];
	return ~crc;
}

static void quicksort(uint32_t *low, uint32_t *high)
{
	while (low < high) {
		uint32_t *i = low, *j = high;
		uint32_t pivot = low[(high - low) / 2];
		while (i <= j) {
			while (*i < pivot)
				i++;
			while (*j > pivot)
				j--;
			if (i <= j) {
				uint32_t swapped = *i;
				*i++ = *j;
				*j-- = swapped;
			}
		}
		quicksort(low, j);
		low = i;
	}
}

/* Quicksort of 2^14 random words. */
static uint64_t sort(void)
{
	uint32_t *words = (uint32_t *)target;
	const size_t count = 1 << 14;
	for (size_t i = 0; i < count; i++)
		words[i] = ((uint32_t *)source)[i];
	quicksort(words, words + count - 1);
	return words[0] ^ words[count / 2] ^ words[count - 1];
}

/* 1 MiB, 16 bytes at a time. */
static uint64_t sse_copy(void)
{
	for (int pass = 0; pass < 4; pass++) {
		for (size_t i = 0; i < BUFFER; i += 64) {
			__m128i a = _mm_loadu_si128((void *)(source + i));
			__m128i b = _mm_loadu_si128((void *)(source + i + 16));
			__m128i c = _mm_loadu_si128((void *)(source + i + 32));
			__m128i d = _mm_loadu_si128((void *)(source + i + 48));
			_mm_store_si128((void *)(target + i), a);
			_mm_store_si128((void *)(target + i + 16), b);
			_mm_store_si128((void *)(target + i + 32), c);
			_mm_store_si128((void *)(target + i + 48), d);
		}
		__asm__ volatile("" ::: "memory");
	}
	return target[BUFFER - 1];
}

/* 1 MiB by REP MOVSB. */
static uint64_t rep_movsb(void)
{
	for (int pass = 0; pass < 4; pass++) {
		const void *from = source;
		void *to = target;
		size_t count = BUFFER;
		__asm__ volatile("rep movsb" : "+S"(from), "+D"(to), "+c"(count)::"memory");
	}
	return target[BUFFER - 1];
}

/* A gravitating pair: additions, products, one division and one root a step. */
static uint64_t doubles(void)
{
	double x = 1, y = 0, vx = 0, vy = 0.8;
	const double step = 1.0 / 1024;
	for (int i = 0; i < 50000; i++) {
		double square = x * x + y * y;
		double pull = step / (square * sqrt(square));
		vx -= x * pull;
		vy -= y * pull;
		x += vx * step;
		y += vy * step;
	}
	uint64_t bits;
	memcpy(&bits, &x, sizeof bits);
	return bits;
}

/* 14,000 instructions one after the other, no two alike, twenty times. */
static uint64_t flat(void)
{
	uint64_t a = 1, b = 2, c = 3;
	memset(target, 1, 16 * KIB);
	for (int i = 0; i < 20; i++)
		__asm__ volatile(".set n, 0\n"
				 ".rept 2000\n"
				 "add $n * 3 + 1, %0\n"
				 "xor %0, %1\n"
				 "lea n(%1, %2, 2), %2\n"
				 "mov n * 8(%3), %%rax\n"
				 "add %%rax, %0\n"
				 "rol $(n & 31) + 1, %1\n"
				 "mov %2, n * 8(%3)\n"
				 ".set n, n + 1\n"
				 ".endr"
				 : "+r"(a), "+r"(b), "+r"(c)
				 : "r"(target)
				 : "rax", "memory", "cc");
	return a ^ b ^ c;
}

static uint64_t system_calls(void)
{
	uint64_t right = 0;
	for (int i = 0; i < 1000; i++)
		right += syscall(SYS_getppid) >= 0;
	return right;
}

/* 256 fresh pages, each touched, and given back. */
static uint64_t page_faults(void)
{
	const size_t length = 256 * PAGE;
	const int flags = MAP_PRIVATE | MAP_ANONYMOUS;
	uint64_t touched = 0;
	volatile uint8_t *pages = mmap(NULL, length, PROT_READ | PROT_WRITE, flags, -1, 0);
	if (pages == MAP_FAILED)
		return 0;
	for (size_t i = 0; i < length; i += PAGE)
		touched += ++pages[i];
	munmap((void *)pages, length);
	return touched;
}

static const struct {
	const char *name;
	uint64_t (*run)(void);
} kernels[] = {
	{"sieve", sieve},         {"xorshift", xorshift_memory}, {"fib", fib},
	{"crc32", crc32},         {"sort", sort},                {"sse-copy", sse_copy},
	{"rep-movsb", rep_movsb}, {"double", doubles},           {"syscall", system_calls},
	{"page-fault", page_faults}, {"flat", flat},
};

static void prepare(void)
{
	fill(source, 2463534242u);
	for (uint32_t i = 0; i < 256; i++) {
		uint32_t crc = i;
		for (int bit = 0; bit < 8; bit++)
			crc = crc >> 1 ^ (crc & 1 ? 0xedb88320u : 0);
		crc_table[i] = crc;
	}
}

static void answer(const char *name, unsigned repetitions)
{
	for (size_t i = 0; i < sizeof kernels / sizeof *kernels; i++) {
		if (strcmp(kernels[i].name, name) != 0)
			continue;
		uint64_t result = 0;
		for (unsigned n = 0; n < repetitions; n++)
			result = kernels[i].run();
		printf("@ %s %u %llx\n", name, repetitions, (unsigned long long)result);
		return;
	}
	printf("@ unknown %s\n", name);
}

int main(void)
{
	struct termios terminal;
	char line[80], name[32];
	unsigned repetitions;
	/* What is asked must not come back as if it were an answer. */
	if (tcgetattr(STDIN_FILENO, &terminal) == 0) {
		terminal.c_lflag &= ~(tcflag_t)ECHO;
		tcsetattr(STDIN_FILENO, TCSANOW, &terminal);
	}
	setvbuf(stdout, NULL, _IOLBF, 0);
	prepare();
	puts("@ ready");
	while (fgets(line, sizeof line, stdin) != NULL)
		if (sscanf(line, "%31s %u", name, &repetitions) == 2)
			answer(name, repetitions);
	/* The first process of a guest may not end: whoever started the guest ends it. */
	while (getpid() == 1)
		pause();
	return 0;
}
