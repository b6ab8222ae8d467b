/* What paths carry (RFC 1191, RFC 8201): few destinations lie behind a narrow link, and those are remembered. */
#include "ip/internal.h"

static const struct ip_path *
find(const struct ip *ip, const struct ip_addr *dst, uint64_t now_ns)
{
	uint64_t hash = ip_hash(ip, dst);

	for (uint32_t i = 0; i < IP_PATH_PROBES; i++) {
		const struct ip_path *path = &ip->paths[(hash + i) % IP_PATHS];

		if (now_ns < path->until_ns && ip_equal(&path->dst, dst))
			return path;
	}
	return NULL;
}

/* dst's own slot, or that of who is forgotten first. */
static struct ip_path *
slot_for(struct ip *ip, const struct ip_addr *dst)
{
	uint64_t hash = ip_hash(ip, dst);
	struct ip_path *best = &ip->paths[hash % IP_PATHS];

	for (uint32_t i = 0; i < IP_PATH_PROBES; i++) {
		struct ip_path *path = &ip->paths[(hash + i) % IP_PATHS];

		if (path->until_ns != 0 && ip_equal(&path->dst, dst))
			return path;
		if (path->until_ns < best->until_ns)
			best = path;
	}
	return best;
}

static uint16_t
least_to(const struct ip *ip, const struct ip_addr *dst)
{
	if (!ip_is_v4(dst))
		return IP_PATH_MTU_MIN_V6;
	return ip->config.path_mtu_min_v4 != 0 ? ip->config.path_mtu_min_v4 : IP_PATH_MTU_MIN_V4;
}

struct ip_mtu
ip_mtu_to(const struct ip *ip, const struct ip_addr *dst, uint64_t now_ns)
{
	struct ip_mtu mtu = { least_to(ip, dst), least_to(ip, dst) };
	const struct ip_path *path;
	uint8_t port;

	if (!ip_port_to(ip, dst, &port))
		return mtu;
	mtu.link_bytes = ip->config.ports[port].mtu_bytes;
	mtu.path_bytes = mtu.link_bytes;
	path = find(ip, dst, now_ns);
	if (path != NULL && path->mtu_bytes < mtu.path_bytes)
		mtu.path_bytes = path->mtu_bytes;
	return mtu;
}

void
ip_path_narrowed(struct ip *ip, const struct ip_addr *dst, uint32_t mtu_bytes, uint64_t now_ns)
{
	struct ip_mtu known = ip_mtu_to(ip, dst, now_ns);
	struct ip_path *path;

	if (mtu_bytes < least_to(ip, dst))
		mtu_bytes = least_to(ip, dst);
	/* A path does not become wider by such a message, nor does it last longer by one repeated. */
	if (mtu_bytes >= known.path_bytes)
		return;
	path = slot_for(ip, dst);
	*path = (struct ip_path){ *dst, now_ns + IP_PATH_NS, (uint16_t)mtu_bytes };
	ip->drops[ERR_IP_PATH_NARROWED]++;
}
