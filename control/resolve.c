/* Names to jobs, jobs to threads and back, addresses to the tables. */
#include "resolve.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/check.h"
#include "base/units.h"
#include "config/log.h"

#define FAILED_SHARE 10 /* of the interval, after a failure */

struct resolve_desk {
	pthread_mutex_t lock; /* of all below but file and lookup, and of jobs that are in a list */
	pthread_cond_t asked_any;
	struct resolve_job *asked;
	struct resolve_job **asked_end;
	struct resolve_job *done;
	bool is_ending;
	uint32_t users; /* loop and threads; the last one who leaves takes it away */
	int file;
	resolve_lookup *lookup;
	void *owner;
	struct resolve_job jobs[RESOLVE_JOBS];
};

static void
leave(struct resolve_desk *desk)
{
	bool is_last;

	pthread_mutex_lock(&desk->lock);
	is_last = --desk->users == 0;
	pthread_mutex_unlock(&desk->lock);
	if (!is_last)
		return;
	if (desk->file >= 0)
		close(desk->file);
	pthread_mutex_destroy(&desk->lock);
	pthread_cond_destroy(&desk->asked_any);
	free(desk);
}

/* --- the threads' side ------------------------------------------------------------------- */

static bool
take_address(struct resolve_job *job, const struct addrinfo *found)
{
	static const uint8_t mapped[12] = { [10] = 0xff, [11] = 0xff };
	uint8_t *to = job->addresses[job->count];
	const struct sockaddr_in6 *ip6;

	if (found->ai_family == AF_INET) {
		const struct sockaddr_in *ip4 = (const void *)found->ai_addr;

		memcpy(to, mapped, sizeof(mapped));
		memcpy(to + sizeof(mapped), &ip4->sin_addr, sizeof(ip4->sin_addr));
		return true;
	}
	if (found->ai_family != AF_INET6)
		return false;
	ip6 = (const void *)found->ai_addr;
	memcpy(to, &ip6->sin6_addr, sizeof(ip6->sin6_addr));
	return true;
}

/* No AI_ADDRCONFIG: the dataplane's addresses are not the kernel's. */
static const char *
look_up(void *owner, struct resolve_job *job)
{
	const struct addrinfo hints = { .ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM };
	struct addrinfo *all = NULL;
	int code = getaddrinfo(job->name, NULL, &hints, &all);

	(void)owner;
	if (code != 0)
		return gai_strerror(code);
	for (const struct addrinfo *a = all; a != NULL && job->count < RESOLVE_ADDRESSES_MAX; a = a->ai_next)
		job->count += take_address(job, a);
	freeaddrinfo(all);
	return NULL;
}

static void *
work(void *owner)
{
	struct resolve_desk *desk = owner;
	const uint64_t one = 1;

	pthread_mutex_lock(&desk->lock);
	for (;;) {
		struct resolve_job *job = desk->asked;

		if (desk->is_ending)
			break;
		if (job == NULL) {
			pthread_cond_wait(&desk->asked_any, &desk->lock);
			continue;
		}
		desk->asked = job->next;
		if (desk->asked == NULL)
			desk->asked_end = &desk->asked;
		pthread_mutex_unlock(&desk->lock);
		job->why = desk->lookup(desk->owner, job);
		pthread_mutex_lock(&desk->lock);
		job->next = desk->done;
		desk->done = job;
		CHECK(write(desk->file, &one, sizeof(one)) == sizeof(one));
	}
	pthread_mutex_unlock(&desk->lock);
	leave(desk);
	return NULL;
}

/* --- beginning and end ------------------------------------------------------------------- */

struct resolve_manner
resolve_manner_of(const struct config *config)
{
	struct resolve_manner manner = { .interval_ns = config->probes.resolve_ns };

	for (uint32_t p = 0; p < config->port_count; p++) {
		for (uint32_t i = 0; i < config->ports[p].address_count; i++) {
			manner.has_ip4 |= config->ports[p].addresses[i].is_ip4;
			manner.has_ip6 |= !config->ports[p].addresses[i].is_ip4;
		}
	}
	return manner;
}

static struct resolve_desk *
open_desk(const struct resolve_manner *manner)
{
	struct resolve_desk *desk = calloc(1, sizeof(*desk));

	if (desk == NULL)
		return NULL;
	desk->file = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	desk->asked_end = &desk->asked;
	desk->users = 1;
	desk->lookup = manner->lookup != NULL ? manner->lookup : look_up;
	desk->owner = manner->lookup_owner;
	pthread_mutex_init(&desk->lock, NULL);
	pthread_cond_init(&desk->asked_any, NULL);
	return desk;
}

static bool
start_thread(struct resolve_desk *desk)
{
	pthread_t thread;

	desk->users++;
	if (pthread_create(&thread, NULL, work, desk) != 0) {
		desk->users--;
		return false;
	}
	pthread_detach(thread);
	return true;
}

enum err
resolve_init(struct resolve *r, struct publish *publish, const struct resolve_manner *manner)
{
	struct resolve_desk *desk = open_desk(manner);
	enum err verdict = ERR_OK;

	*r = (struct resolve){ .publish = publish, .manner = *manner, .desk = desk };
	r->names = calloc(publish->entries[NOUN_POD].capacity + 1, sizeof(*r->names));
	if (desk == NULL || r->names == NULL || desk->file < 0)
		return ERR_STORE_FAILED;
	r->capacity = publish->entries[NOUN_POD].capacity;
	for (int i = 0; i < RESOLVE_JOBS; i++) {
		desk->jobs[i].next = r->free_jobs;
		r->free_jobs = &desk->jobs[i];
	}
	pthread_mutex_lock(&desk->lock);
	for (int i = 0; i < RESOLVE_THREADS && verdict == ERR_OK; i++)
		if (!start_thread(desk))
			verdict = ERR_STORE_FAILED;
	pthread_mutex_unlock(&desk->lock);
	return verdict;
}

/* A thread that waits for a name server is left alone: it finds the desk where it was, and leaves it. */
void
resolve_fini(struct resolve *r)
{
	pthread_mutex_lock(&r->desk->lock);
	r->desk->is_ending = true;
	pthread_cond_broadcast(&r->desk->asked_any);
	pthread_mutex_unlock(&r->desk->lock);
	leave(r->desk);
	r->desk = NULL;
	r->free_jobs = NULL;
	free(r->names);
	r->names = NULL;
	r->capacity = 0;
}

void
resolve_set_interval(struct resolve *r, uint64_t interval_ns)
{
	r->manner.interval_ns = interval_ns;
}

int
resolve_file(const struct resolve *r)
{
	return r->desk->file;
}

/* --- names ------------------------------------------------------------------------------- */

const struct resolve_name *
resolve_find(const struct resolve *r, uint32_t entry)
{
	return entry < r->capacity && r->names[entry].pod_id != 0 ? &r->names[entry] : NULL;
}

static void
forget(struct resolve *r, struct resolve_name *name)
{
	if (name->pod_id == 0)
		return;
	r->count--;
	r->failing -= name->is_failing;
	*name = (struct resolve_name){ .pod_id = 0 };
}

/* False: all jobs are taken. */
static bool
ask(struct resolve *r, uint32_t entry, uint64_t now_ns)
{
	struct resolve_name *name = &r->names[entry];
	struct resolve_job *job = r->free_jobs;

	if (job == NULL)
		return false;
	r->free_jobs = job->next;
	job->next = NULL;
	job->entry = entry;
	job->pod_id = name->pod_id;
	job->count = 0;
	job->why = NULL;
	memcpy(job->name, name->text, sizeof(job->name));
	name->is_asked = true;
	name->asked_at_ns = now_ns;
	pthread_mutex_lock(&r->desk->lock);
	*r->desk->asked_end = job;
	r->desk->asked_end = &job->next;
	pthread_cond_signal(&r->desk->asked_any);
	pthread_mutex_unlock(&r->desk->lock);
	return true;
}

void
resolve_note(struct resolve *r, uint32_t entry, uint64_t pod_id, struct bytes text, uint64_t now_ns)
{
	struct resolve_name *name = &r->names[entry];

	CHECK(entry < r->capacity && text.len < sizeof(name->text));
	if (name->pod_id == pod_id && bytes_equal(text, bytes_from_text(name->text)))
		return;
	forget(r, name);
	if (text.len == 0)
		return;
	name->pod_id = pod_id;
	memcpy(name->text, text.ptr, text.len);
	r->count++;
	/* If there is no job for it, the walk comes to it. */
	ask(r, entry, now_ns);
}

/* False: all jobs are taken. */
static bool
look_at(struct resolve *r, uint32_t entry, uint64_t now_ns)
{
	struct resolve_name *name = &r->names[entry];
	uint64_t after_ns = name->is_failing ? r->manner.interval_ns / FAILED_SHARE : r->manner.interval_ns;

	if (name->pod_id == 0 || name->is_asked)
		return true;
	if (r->publish->entries[NOUN_POD].id_of[entry] != name->pod_id) {
		forget(r, name);
		return true;
	}
	if (name->asked_at_ns != 0 && now_ns < name->asked_at_ns + after_ns)
		return true;
	return ask(r, entry, now_ns);
}

/* --- answers ----------------------------------------------------------------------------- */

static bool
is_ip4(const uint8_t address[16])
{
	static const uint8_t mapped[12] = { [10] = 0xff, [11] = 0xff };

	return memcmp(address, mapped, sizeof(mapped)) == 0;
}

/* The address to use, NULL: none can be. */
static const uint8_t *
choose(const struct resolve *r, const struct resolve_job *job, const uint8_t present[16])
{
	static const uint8_t none[16];
	const uint8_t *least = NULL;

	for (uint32_t i = 0; i < job->count; i++) {
		const uint8_t *address = job->addresses[i];

		if (!(is_ip4(address) ? r->manner.has_ip4 : r->manner.has_ip6) ||
		    memcmp(address, none, sizeof(none)) == 0)
			continue;
		if (memcmp(address, present, 16) == 0)
			return address;
		if (least == NULL || memcmp(address, least, 16) < 0)
			least = address;
	}
	return least;
}

static void
take_failure(struct resolve *r, struct resolve_name *name, const char *why, bool keeps)
{
	r->bad++;
	if (name->is_failing)
		return;
	name->is_failing = true;
	r->failing++;
	LOG_WARN("name_not_resolved", LOG_NUMBER("pod", name->pod_id), LOG_TEXT("name", name->text),
		 LOG_TEXT("why", why),
		 LOG_TEXT("meanwhile", keeps ? "it keeps the address that it has" : "it gets no requests"));
}

static void
move(struct resolve *r, const struct resolve_job *job, const uint8_t address[16])
{
	char text[INET6_ADDRSTRLEN];

	publish_move_pod(r->publish, job->entry, job->pod_id, address);
	r->moves++;
	inet_ntop(is_ip4(address) ? AF_INET : AF_INET6, is_ip4(address) ? address + 12 : address, text,
		  sizeof(text));
	LOG_INFO("pod_moved", LOG_NUMBER("pod", job->pod_id), LOG_TEXT("name", job->name),
		 LOG_TEXT("address", text));
}

static void
take_answer(struct resolve *r, const struct resolve_job *job, uint64_t now_ns)
{
	struct resolve_name *name = &r->names[job->entry];
	const uint8_t *address;
	struct shm_pod pod;

	/* Meanwhile the entry may be another pod's, or the pod's name another one. */
	if (name->pod_id != job->pod_id || strcmp(name->text, job->name) != 0)
		return;
	name->is_asked = false;
	if (r->publish->entries[NOUN_POD].id_of[job->entry] != job->pod_id ||
	    shm_read_pod(&r->publish->shm, job->entry, &pod) != ERR_OK)
		return;
	address = choose(r, job, pod.address);
	if (address == NULL) {
		take_failure(r, name, job->why != NULL ? job->why :
				      job->count > 0 ? "no address is of a kind that the dataplane's ports have" :
						       "it has no address",
			     shm_has_address(pod.address));
		return;
	}
	r->good++;
	name->good_at_ns = now_ns;
	if (name->is_failing) {
		name->is_failing = false;
		r->failing--;
		LOG_INFO("name_resolved", LOG_NUMBER("pod", name->pod_id), LOG_TEXT("name", name->text));
	}
	if (memcmp(address, pod.address, sizeof(pod.address)) != 0)
		move(r, job, address);
}

static void
take_answers(struct resolve *r, uint64_t now_ns)
{
	struct resolve_job *done, *next;
	uint64_t count;

	if (read(r->desk->file, &count, sizeof(count)) != sizeof(count)) {
		CHECK(errno == EAGAIN || errno == EINTR);
		return;
	}
	pthread_mutex_lock(&r->desk->lock);
	done = r->desk->done;
	r->desk->done = NULL;
	pthread_mutex_unlock(&r->desk->lock);
	for (; done != NULL; done = next) {
		next = done->next;
		take_answer(r, done, now_ns);
		done->next = r->free_jobs;
		r->free_jobs = done;
	}
}

void
resolve_turn(struct resolve *r, uint64_t now_ns)
{
	uint32_t fresh = r->publish->entries[NOUN_POD].fresh;

	take_answers(r, now_ns);
	for (uint32_t i = 0; i < RESOLVE_LOOKS && i < fresh && r->count > 0; i++) {
		if (r->walk >= fresh)
			r->walk = 0;
		if (!look_at(r, r->walk, now_ns))
			return;
		r->walk++;
	}
}
