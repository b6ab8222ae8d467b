/*
 * Process 1 of the emulated machine: runs each program that /programs names, says on the serial line what
 * became of it and how many instructions it took, and ends the emulation.
 *
 * Bochs's time stamp counter counts instructions, one each, whatever they would cost a processor.
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/io.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#include <x86intrin.h>

#define LINE_BYTES_MAX 256
#define WORDS_MAX 16

/* Where bochs ends when it reads the word, octet by octet. */
#define BOCHS_PORT 0x8900

/* For libcrypto: bochs 2.7 computes wrongly with ADCX and ADOX. */
#define WITHOUT_ADX ":~0x80000"

static void
end(void)
{
	static const char word[] = "Shutdown";

	fflush(stdout);
	sync();
	sleep(1); /* the serial line is slower than we are */
	if (ioperm(BOCHS_PORT, 1, 1) == 0)
		for (size_t i = 0; i < sizeof(word) - 1; i++)
			outb((unsigned char)word[i], BOCHS_PORT);
	for (;;)
		pause();
}

/* At single spaces and the end of the line, in place. */
static void
split(char *line, char *words[WORDS_MAX + 1])
{
	size_t count = 0;

	line[strcspn(line, "\n")] = '\0';
	while (line != NULL && *line != '\0' && count < WORDS_MAX) {
		words[count++] = line;
		line = strchr(line, ' ');
		if (line != NULL)
			*line++ = '\0';
	}
	words[count] = NULL;
}

/* Words with an equals sign before the program are set in its environment alone. */
static void
run(char *words[])
{
	uint64_t before = __rdtsc();
	pid_t child = fork();
	int status = 0;

	if (child == 0) {
		while (*words != NULL && strchr(*words, '=') != NULL)
			putenv(*words++);
		execv(words[0], words);
		perror(words[0]);
		_exit(127);
	}
	while (waitpid(child, &status, 0) != child)
		;
	printf("guest: %s %d %llu\n", WIFSIGNALED(status) ? "signal" : "exit",
	       WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status),
	       (unsigned long long)(__rdtsc() - before));
	fflush(stdout);
}

int
main(void)
{
	char line[LINE_BYTES_MAX];
	char *words[WORDS_MAX + 1];
	FILE *programs;

	setenv("OPENSSL_ia32cap", WITHOUT_ADX, 1);
	mkdir("/proc", 0755);
	mkdir("/tmp", 0755);
	mount("proc", "/proc", "proc", 0, NULL);
	programs = fopen("/programs", "re");
	if (programs == NULL) {
		perror("guest: /programs");
		end();
	}
	while (fgets(line, sizeof(line), programs) != NULL) {
		split(line, words);
		if (words[0] != NULL)
			run(words);
	}
	puts("guest: end");
	end();
}
