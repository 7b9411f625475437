// SPDX-License-Identifier: Apache-2.0 OR MIT
//
// The first look of the XDP and tcx programs in C: what a packet costs that is none of the control plane's,
// with the same tests and the same counter. A peer to measure against; nothing of Edgelore is built from it.
// It declares what it needs itself, so that a compiler is all it takes.

typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long long u64;

#define SEC(name) __attribute__((section(name), used))
#define UNLIKELY(x) __builtin_expect(!!(x), 0)
#define BE16(x) ((u16)__builtin_bswap16(x))

struct xdp_md {
	u32 data, data_end, data_meta, ingress_ifindex, rx_queue_index, egress_ifindex;
};

// As far as it is used: the fields before `data` fill 76 bytes.
struct __sk_buff {
	u32 len, unused[9], ifindex, more[8], data, data_end;
};

enum { TCX_NEXT = -1, XDP_PASS = 2, PERCPU_ARRAY = 6, OTHER = 0, REST = 1 };

struct {
	int (*type)[PERCPU_ARRAY];
	u32 *key;
	u64 *value;
	int (*max_entries)[30];
} COUNTS SEC(".maps");

static void *(*const map_lookup_elem)(void *map, const void *key) = (void *)1;
static u64 (*const get_smp_processor_id)(void) = (void *)8;

// A line for each CPU, as in the programs: what the first look passes is counted without a lookup.
enum { CPUS = 256, CPU_COUNTERS = 8 };
u64 PASSED[CPUS][CPU_COUNTERS];

static inline __attribute__((always_inline)) void count(u32 which)
{
	u64 *value = map_lookup_elem(&COUNTS, &which);
	if (value)
		*value += 1;
}

static inline __attribute__((always_inline)) void count_passed(u32 direction)
{
	u64 cpu = get_smp_processor_id();
	if (cpu >= CPUS)
		count(OTHER);
	else
		PASSED[cpu][direction] += 1;
}

static inline __attribute__((always_inline)) int none_of_ours(u32 carried, u32 udp, u32 tcp, u8 *ports)
{
	u16 src = *(u16 *)ports, dst = *(u16 *)(ports + 2);
	if (carried == udp) {
		if (src == BE16(7784))
			return 0;
		// The first octet of a port of ours is 2, 14, 18, 26 or 30.
		if ((ports[2] & 0xe3) != 0x02)
			return 1;
		switch (dst) {
		case BE16(646):
		case BE16(3784):
		case BE16(3785):
		case BE16(4784):
		case BE16(6784):
		case BE16(7784):
			return 0;
		}
		return 1;
	}
	if (carried == tcp)
		return src != BE16(179) && dst != BE16(179) && src != BE16(646) && dst != BE16(646);
	return 0;
}

static inline __attribute__((always_inline)) int ipv4(u8 *p)
{
	// Fragment offset and more fragments, time to live, protocol, as they lie there.
	return p[0] == 0x45 && none_of_ours(*(u32 *)(p + 6) & 0xff00ff3f, 17 << 24, 6 << 24, p + 20);
}

static inline __attribute__((always_inline)) int ipv6(u8 *p)
{
	return none_of_ours(p[6], 17, 6, p + 40);
}

static inline __attribute__((always_inline)) int first_look(u8 *p, u8 *end)
{
	// The shortest frame that can hold two ports.
	if (p + 42 > end)
		return 0;
	switch (*(u16 *)(p + 12)) {
	case BE16(0x0800):
		return ipv4(p + 14);
	case BE16(0x86dd):
		return p + 58 <= end && ipv6(p + 14);
	case BE16(0x8100):
		switch (*(u16 *)(p + 16)) {
		case BE16(0x0800):
			return ipv4(p + 18);
		case BE16(0x86dd):
			return p + 62 <= end && ipv6(p + 18);
		}
	}
	return 0;
}

// Stands for everything that needs more than a first look.
static __attribute__((noinline)) int rest(struct xdp_md *ctx)
{
	count(REST + (ctx->ingress_ifindex & 1));
	return 0;
}

static __attribute__((noinline)) int rest_of_skb(struct __sk_buff *skb)
{
	count(REST + (skb->ifindex & 1));
	return 0;
}

SEC("xdp.frags")
int c_first_look(struct xdp_md *ctx)
{
	if (first_look((u8 *)(u64)ctx->data, (u8 *)(u64)ctx->data_end))
		count_passed(0);
	else
		rest(ctx);
	return XDP_PASS;
}

SEC("xdp.frags")
int c_empty(struct xdp_md *ctx)
{
	return XDP_PASS;
}

SEC("classifier")
int c_skb_first_look(struct __sk_buff *skb)
{
	if (first_look((u8 *)(u64)skb->data, (u8 *)(u64)skb->data_end))
		count_passed(1);
	else
		rest_of_skb(skb);
	return TCX_NEXT;
}

SEC("classifier")
int c_skb_empty(struct __sk_buff *skb)
{
	return TCX_NEXT;
}

char LICENSE[] SEC("license") = "Dual MIT/GPL";
