/* The shared file: shown only when it is complete, attached to only if it is ours. */
#include <errno.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/stat.h>

#include "world.h"

static const uint8_t pepper[32] = { 1, 2, 3 }, other_pepper[32] = { 9 };

struct place {
	char folder[64];
	char path[80];
};

static struct place
make_place(void)
{
	struct place place = { .folder = "/tmp/sluice-test-XXXXXX" };

	assert_non_null(mkdtemp(place.folder));
	snprintf(place.path, sizeof(place.path), "%s/edge", place.folder);
	return place;
}

static void
leave(const struct place *place)
{
	char path[96];

	unlink(place->path);
	snprintf(path, sizeof(path), "%s/.edge.new", place->folder);
	unlink(path);
	assert_int_equal(rmdir(place->folder), 0);
}

static enum err
open_share(struct share *share, const struct place *place)
{
	return share_open(share, place->folder, "edge", &world_capacity, 1, pepper, 41);
}

static void
a_new_file_is_shown_when_it_is_told_to(void **state)
{
	struct place place = make_place();
	struct share share;
	struct stat status;

	(void)state;
	assert_int_equal(open_share(&share, &place), ERR_OK);
	assert_true(share.is_new);
	assert_int_not_equal(access(place.path, F_OK), 0);
	assert_int_equal(share_reveal(&share), ERR_OK);
	assert_int_equal(stat(place.path, &status), 0);
	assert_int_equal(status.st_mode & 0777, 0600);
	assert_true((uint64_t)status.st_blocks * 512 >= (uint64_t)status.st_size); /* reserved */
	assert_int_equal(atomic_load(&share.shm.header->dataplane_epoch), 41);
	share_close(&share);

	assert_int_equal(open_share(&share, &place), ERR_OK);
	assert_false(share.is_new);
	assert_int_equal(share_reveal(&share), ERR_OK);
	share_close(&share);
	leave(&place);
}

static void
what_an_unfinished_life_left_is_made_anew(void **state)
{
	struct place place = make_place();
	struct share share;

	(void)state;
	assert_int_equal(open_share(&share, &place), ERR_OK);
	share_close(&share); /* killed before it was shown */
	assert_int_equal(open_share(&share, &place), ERR_OK);
	assert_true(share.is_new);
	assert_int_equal(share_reveal(&share), ERR_OK);
	share_close(&share);
	leave(&place);
}

static void
another_layout_or_another_store_is_refused_with_a_remedy(void **state)
{
	struct place place = make_place();
	struct share share, second;

	(void)state;
	assert_int_equal(open_share(&share, &place), ERR_OK);
	share_reveal(&share);
	assert_int_equal(share_open(&second, place.folder, "edge", &world_capacity, 1, other_pepper,
				    41), ERR_SHM_MAGIC);
	assert_non_null(strstr(second.problem, "another store"));
	share.shm.header->layout_version++;
	assert_int_equal(open_share(&second, &place), ERR_SHM_VERSION);
	assert_non_null(strstr(second.problem, "delete the file"));
	share.shm.header->layout_version--;
	assert_int_equal(chmod(place.path, 0644), 0);
	assert_int_equal(open_share(&second, &place), ERR_SHM_OWNER);
	assert_non_null(strstr(second.problem, "see who made it"));
	assert_int_equal(chmod(place.path, 0600), 0);
	assert_int_equal(truncate(place.path, 4096), 0);
	assert_int_equal(open_share(&second, &place), ERR_SHM_SIZE);
	share_close(&share);
	leave(&place);
}

static void
a_damaged_file_is_refused_with_what_is_wrong_and_a_remedy(void **state)
{
	struct place place = make_place();
	struct share share, second;

	(void)state;
	assert_int_equal(open_share(&share, &place), ERR_OK);
	share_reveal(&share);
	share.shm.header->magic ^= 1;
	assert_int_equal(open_share(&second, &place), ERR_SHM_MAGIC);
	assert_non_null(strstr(second.problem, "not one of Sluice's"));
	assert_non_null(strstr(second.problem, "delete the file"));
	share.shm.header->magic ^= 1;
	share.shm.header->capacity.count[SHM_KEYS] ^= 1 << 20;
	assert_int_equal(open_share(&second, &place), ERR_SHM_SIZE);
	assert_non_null(strstr(second.problem, "size or offsets"));
	share.shm.header->capacity.count[SHM_KEYS] ^= 1 << 20;
	assert_int_equal(truncate(place.path, (off_t)share.shm.header->file_bytes - 1), 0);
	assert_int_equal(open_share(&second, &place), ERR_SHM_SIZE);
	assert_non_null(strstr(second.problem, "delete the file"));
	assert_int_equal(truncate(place.path, 100), 0);
	assert_int_equal(open_share(&second, &place), ERR_SHM_SIZE);
	assert_non_null(strstr(second.problem, "too short"));
	/* It is still there: what is wrong with it is the operator's to decide. */
	assert_int_equal(access(place.path, F_OK), 0);
	assert_int_equal(truncate(place.path, (off_t)shm_bytes(&world_capacity, 1)), 0);
	share_close(&share);
	leave(&place);
}

static void
memory_that_there_is_not_is_an_error_and_no_file(void **state)
{
	struct place place = make_place();
	struct shm_capacity huge = world_capacity;
	struct share share;

	(void)state;
	huge.count[SHM_DEPLOYMENTS] = SHM_ENTRIES_MAX;
	huge.count[SHM_PODS] = SHM_ENTRIES_MAX + 1;
	assert_int_equal(share_open(&share, place.folder, "edge", &huge, 1, pepper, 41),
			 ERR_SHM_SIZE);
	assert_int_not_equal(access(place.path, F_OK), 0);
	leave(&place);
}

/* The last one: it leaves the machine's mounts behind, for this process alone. */
static void
huge_pages_are_used_where_the_mount_gives_them(void **state)
{
	struct shm_capacity large = world_capacity;
	struct place place = make_place();
	struct share share;

	(void)state;
	large.count[SHM_KEYS] = 50000;
	if (unshare(CLONE_NEWNS) != 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) != 0 ||
	    mount("tmpfs", place.folder, "tmpfs", 0, "huge=advise") != 0) {
		print_message("no mount of one's own: %s\n", strerror(errno));
		assert_int_equal(rmdir(place.folder), 0);
		skip();
	}
	for (int is_there = 0; is_there < 2; is_there++) {
		assert_int_equal(share_open(&share, place.folder, "edge", &large, 1, pepper, 41), ERR_OK);
		assert_true(share.huge_bytes >= 2 << 20);
		assert_true(share.huge_bytes <= share.shm.header->file_bytes + (2 << 20));
		assert_int_equal(share_reveal(&share), ERR_OK);
		share_close(&share);
	}
	assert_int_equal(umount(place.folder), 0);
	assert_int_equal(rmdir(place.folder), 0);
}

int
main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_new_file_is_shown_when_it_is_told_to),
		cmocka_unit_test(what_an_unfinished_life_left_is_made_anew),
		cmocka_unit_test(another_layout_or_another_store_is_refused_with_a_remedy),
		cmocka_unit_test(a_damaged_file_is_refused_with_what_is_wrong_and_a_remedy),
		cmocka_unit_test(memory_that_there_is_not_is_an_error_and_no_file),
		cmocka_unit_test(huge_pages_are_used_where_the_mount_gives_them),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
