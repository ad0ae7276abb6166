/*
 * A virtio device by way of bounce buffers: the queue and the buffers are shared pages, what they
 * carry is copied from and to private ones. A disk if there is one, else a source of random
 * numbers.
 *
 * Source: virtio 1.2, 2.7 (split queues), 4.2 (MMIO), 5.2 (block), 5.4 (entropy), 6.1 and 6.2
 * (VERSION_1, ACCESS_PLATFORM). The windows are where the machine has them: its DSDT says so.
 */
#include "cpu.h"

#define WINDOWS 0xd0000000ull
#define WINDOW_SIZE 0x1000
#define WINDOW_COUNT 8
#define MAGIC 0x74726976
#define SECTOR 512
#define QUEUE_SIZE 4
#define POLLS 50000000u

enum {
	REG_MAGIC = 0x00, REG_VERSION = 0x04, REG_DEVICE_ID = 0x08, REG_DEVICE_FEATURES = 0x10,
	REG_DEVICE_FEATURES_SEL = 0x14, REG_DRIVER_FEATURES = 0x20, REG_DRIVER_FEATURES_SEL = 0x24,
	REG_QUEUE_SEL = 0x30, REG_QUEUE_NUM = 0x38, REG_QUEUE_READY = 0x44, REG_NOTIFY = 0x50,
	REG_STATUS = 0x70, REG_DESC = 0x80, REG_DRIVER = 0x90, REG_DEVICE = 0xa0,
};
enum { ID_BLOCK = 2, ID_ENTROPY = 4 };
enum { ACKNOWLEDGE = 1, DRIVER = 2, DRIVER_OK = 4, FEATURES_OK = 8 };
enum { VERSION_1 = 1, ACCESS_PLATFORM = 2 }; /* of the second word */
enum { NEXT = 1, WRITE = 2 };
enum { READ_SECTOR = 0, WRITE_SECTOR = 1 };

/* One shared page: descriptors, both rings, a request's header and status. */
static struct {
	struct {
		u64 address;
		u32 length;
		u16 flags, next;
	} desc[QUEUE_SIZE];
	struct {
		u16 flags, index, ring[QUEUE_SIZE];
	} driver;
	struct {
		u16 flags, index;
		struct {
			u32 id, length;
		} ring[QUEUE_SIZE];
	} device __attribute__((aligned(4)));
	struct {
		u32 type, reserved;
		u64 sector;
	} header;
	volatile u8 status;
} queue SHARED;

static u8 bounce[PAGE_SIZE] SHARED;
static u8 private_page[PAGE_SIZE] __attribute__((aligned(PAGE_SIZE)));
static u8 second_page[PAGE_SIZE] __attribute__((aligned(PAGE_SIZE)));
static volatile u32 *window;
static u32 device_id;

static u32 read_window(u32 reg)
{
	return window[reg / 4];
}

static void write_window(u32 reg, u32 value)
{
	window[reg / 4] = value;
}

static bool find(u32 id)
{
	for (u64 i = 0; i < WINDOW_COUNT; i++) {
		window = (volatile u32 *)(WINDOWS + i * WINDOW_SIZE);
		if (read_window(REG_MAGIC) != MAGIC || read_window(REG_VERSION) != 2) continue;
		if (read_window(REG_DEVICE_ID) == id) return true;
	}
	return false;
}

static void write_address(u32 reg, const void *address)
{
	write_window(reg, (u64)address);
	write_window(reg + 4, (u64)address >> 32);
}

static bool start(void)
{
	write_window(REG_STATUS, 0);
	write_window(REG_STATUS, ACKNOWLEDGE | DRIVER);
	write_window(REG_DEVICE_FEATURES_SEL, 1);
	u32 features = read_window(REG_DEVICE_FEATURES) & (VERSION_1 | ACCESS_PLATFORM);
	if ((features & VERSION_1) == 0) return false;
	/* A device that does not know that it cannot see everything is not for a protected guest. */
	if (sev() && (features & ACCESS_PLATFORM) == 0) return false;
	write_window(REG_DRIVER_FEATURES_SEL, 0);
	write_window(REG_DRIVER_FEATURES, 0);
	write_window(REG_DRIVER_FEATURES_SEL, 1);
	write_window(REG_DRIVER_FEATURES, features);
	write_window(REG_STATUS, ACKNOWLEDGE | DRIVER | FEATURES_OK);
	if ((read_window(REG_STATUS) & FEATURES_OK) == 0) return false;
	memset(&queue, 0, sizeof queue);
	write_window(REG_QUEUE_SEL, 0);
	write_window(REG_QUEUE_NUM, QUEUE_SIZE);
	write_address(REG_DESC, queue.desc);
	write_address(REG_DRIVER, &queue.driver);
	write_address(REG_DEVICE, &queue.device);
	write_window(REG_QUEUE_READY, 1);
	write_window(REG_STATUS, ACKNOWLEDGE | DRIVER | FEATURES_OK | DRIVER_OK);
	return true;
}

/* The first disk, else the first source of random numbers, ready for requests; once. */
static bool device_ready(void)
{
	if (device_id != 0) return true;
	u32 id = find(ID_BLOCK) ? ID_BLOCK : find(ID_ENTROPY) ? ID_ENTROPY : 0;
	if (id == 0 || !start()) return false;
	device_id = id;
	return true;
}

static void describe(u32 i, const volatile void *at, u32 length, u16 flags)
{
	queue.desc[i].address = (u64)at;
	queue.desc[i].length = length;
	queue.desc[i].flags = flags;
	queue.desc[i].next = i + 1;
}

/* Offers the chain that starts at descriptor 0, and waits for its return. */
static bool submit(void)
{
	volatile u16 *done = &queue.device.index;
	u16 before = *done;
	queue.driver.ring[queue.driver.index % QUEUE_SIZE] = 0;
	asm volatile("" : : : "memory");
	queue.driver.index++;
	write_window(REG_NOTIFY, 0);
	for (u32 i = 0; i < POLLS; i++) {
		if (*done != before) return true;
		relax();
	}
	return false;
}

static bool transfer(u32 type, u64 sector, void *data)
{
	queue.header.type = type;
	queue.header.sector = sector;
	queue.status = 0xff;
	describe(0, &queue.header, sizeof queue.header, NEXT);
	describe(1, data, SECTOR, NEXT | (type == READ_SECTOR ? WRITE : 0));
	describe(2, &queue.status, 1, WRITE);
	return submit() && queue.status == 0;
}

static bool draw(void *data, u32 length)
{
	describe(0, data, length, WRITE);
	return submit();
}

static void make_pattern(u8 *page)
{
	for (u32 i = 0; i < SECTOR; i++) page[i] = i * 7 + (i >> 8) + 0x5a;
}

#define NO_DEVICE ((struct verdict){ SKIPPED, "no virtio disk and no source of random numbers" })
#define FAIL(text) ((struct verdict){ FAILED, text })

/* Private page, bounce, device, and back. */
struct verdict check_bounce(void)
{
	if (!device_ready()) return NO_DEVICE;
	memset(second_page, 0, PAGE_SIZE);
	if (device_id == ID_ENTROPY) {
		if (!draw(bounce, SECTOR)) return FAIL("no answer");
		memcpy(second_page, bounce, SECTOR);
		for (u32 i = 0; i < SECTOR; i++)
			if (second_page[i] != 0) return (struct verdict){ OK, "random numbers" };
		return FAIL("512 zeros");
	}
	make_pattern(private_page);
	memcpy(bounce, private_page, SECTOR);
	if (!transfer(WRITE_SECTOR, 1, bounce)) return FAIL("the disk doesn't write");
	memset(bounce, 0, SECTOR);
	if (!transfer(READ_SECTOR, 1, bounce)) return FAIL("the disk doesn't read");
	memcpy(second_page, bounce, SECTOR);
	if (memcmp(private_page, second_page, SECTOR) != 0) return FAIL("another sector came back");
	return (struct verdict){ OK, "a sector of the disk" };
}

/* What a device writes to a private page is not what the guest reads there. */
struct verdict check_private_dma(void)
{
	if (!device_ready()) return NO_DEVICE;
	if (device_id != ID_BLOCK) return (struct verdict){ SKIPPED, "no virtio disk" };
	make_pattern(second_page);
	memcpy(bounce, second_page, SECTOR);
	memset(private_page, 0, PAGE_SIZE);
	if (!transfer(WRITE_SECTOR, 1, bounce)) return FAIL("the disk doesn't write");
	if (!transfer(READ_SECTOR, 1, private_page)) return FAIL("the disk doesn't read");
	bool same = memcmp(private_page, second_page, SECTOR) == 0;
	if (same == sev()) return FAIL(same ? "the device reached a private page" : "garbled");
	return (struct verdict){ OK, same ? "the device sees it: no protection" : "only noise arrived" };
}
