#pragma once

#include "ip/ip.h"
#include "pkt/pkt.h"
#include "tcp/tcp.h"

/*
 * exception: which frames of a shared port are ours and which are the kernel's (SSH, BGP, other addresses).
 *
 * Ours is what this stack can do something with: TCP to our addresses that belongs to a listener or a connection
 * of ours, ICMP errors about those, echo requests, questions for our MAC. What teaches neighbours goes to both.
 * Everything else for this station or a group, and nothing that is for another station or VLAN, is the kernel's.
 *
 * Owner: none; a judgement about one frame that changes nothing. To be asked where the flow is owned.
 */
enum exception_owner {
	EXCEPTION_OURS,
	EXCEPTION_KERNEL,
	EXCEPTION_BOTH,
};

enum exception_owner exception_judge(const struct ip *ip, const struct tcp *tcp, const struct pkt *frame);
