// SPDX-License-Identifier: Apache-2.0 OR MIT
//
// The first look of the XDP and tcx programs in C: what a packet costs that is none of the control plane's,
// written as one writes it in C. A peer to measure against; nothing of Edgelore is built from it.
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

static inline __attribute__((always_inline)) void count(u32 which)
{
	u64 *value = map_lookup_elem(&COUNTS, &which);
	if (value)
		*value += 1;
}

static inline __attribute__((always_inline)) int none_of_ours(u8 protocol, u16 src, u16 dst)
{
	if (protocol == 17) {
		switch (dst) {
		case BE16(646):
		case BE16(3784):
		case BE16(3785):
		case BE16(4784):
		case BE16(6784):
		case BE16(7784):
			return 0;
		}
		return src != BE16(7784);
	}
	if (protocol == 6)
		return src != BE16(179) && dst != BE16(179) && src != BE16(646) && dst != BE16(646);
	return 0;
}

static inline __attribute__((always_inline)) int first_look(u8 *p, u8 *end)
{
	u16 ethertype;
	if (p + 14 > end)
		return 0;
	ethertype = *(u16 *)(p + 12);
	p += 14;
	if (ethertype == BE16(0x8100)) {
		if (p + 4 > end)
			return 0;
		ethertype = *(u16 *)(p + 2);
		p += 4;
	}
	if (ethertype == BE16(0x0800)) {
		if (p + 24 > end || p[0] != 0x45 || (*(u16 *)(p + 6) & BE16(0x3fff)))
			return 0;
		return none_of_ours(p[9], *(u16 *)(p + 20), *(u16 *)(p + 22));
	}
	if (ethertype == BE16(0x86dd)) {
		if (p + 44 > end)
			return 0;
		return none_of_ours(p[6], *(u16 *)(p + 40), *(u16 *)(p + 42));
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
		count(OTHER);
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
		count(OTHER);
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
