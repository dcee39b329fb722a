/* Loaded before the C library, it makes every flush of Postgres to disk last longer: so many
   milliseconds as the file MILEPOST_TEST_FLUSH_LASTS names says at that moment. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static char *path;
static int (*flush)(int);
static int (*flush_data)(int);

__attribute__((constructor)) static void load(void)
{
	char *named = getenv("MILEPOST_TEST_FLUSH_LASTS");

	flush = (int (*)(int))dlsym(RTLD_NEXT, "fsync");
	flush_data = (int (*)(int))dlsym(RTLD_NEXT, "fdatasync");
	/* Only Postgres: the variable goes to whatever else is started. Asked here, since Postgres
	   writes over its name later. */
	if (named != NULL && strcmp(program_invocation_short_name, "postgres") == 0)
		path = strdup(named);
}

static void last(void)
{
	FILE *file = path == NULL ? NULL : fopen(path, "r");
	long milliseconds = 0;

	if (file == NULL)
		return;
	if (fscanf(file, "%ld", &milliseconds) != 1)
		milliseconds = 0;
	fclose(file);
	struct timespec left = {milliseconds / 1000, milliseconds % 1000 * 1000000};
	/* A process that waits for a disk is not woken by signals. */
	while (nanosleep(&left, &left) != 0 && errno == EINTR)
		;
}

int fsync(int file)
{
	last();
	return flush(file);
}

int fdatasync(int file)
{
	last();
	return flush_data(file);
}
