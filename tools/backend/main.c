/* sluice-sim-backend: an OpenAI-compatible model server that answers, and fails, as it is told. */
#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "answer.h"
#include "server.h"

static void
help(void)
{
	printf("sluice-sim-backend [OPTION...]\n"
	       "\n"
	       "A simulated GPU backend: POST .../v1/chat/completions, .../v1/completions and\n"
	       ".../v1/embeddings, GET .../v1/models and /health, behind any prefix; every other\n"
	       "path answers with the request's body.\n"
	       "\n"
	       "  --listen ADDRESS         127.0.0.1, ::1, 0.0.0.0 ... (127.0.0.1)\n"
	       "  --port N                 0: any free one, printed at start (9000)\n"
	       "  --region NAME            shown in x-sim-region and in the log (sim)\n"
	       "  --log FILE               a line of JSON for each request that has ended\n"
	       "  --log-health             also for GET /health\n"
	       "  --script WORDS           what to do with every request, see below\n"
	       "  --seed N                 the same as seed=N in the script\n"
	       "  --read-bps N             reads requests at N bytes per second\n"
	       "  --idle-close MS          closes connections idle for so long\n"
	       "  --requests-max N         closes a connection, unannounced, after N requests\n"
	       "  --print-stream WORDS     prints the body that such a stream has, and ends\n"
	       "  --print-whole WORDS      the same for an answer that is no stream\n"
	       "  --help\n"
	       "\n"
	       "Words of a script, divided by spaces or commas. For one request they come in the\n"
	       "header x-sim-script or in the text of the last user message as [[sim WORDS]]:\n"
	       "\n");
	script_help();
	printf("\n"
	       "The prints know these words besides: model=NAME (sim), kind=chat|completion,\n"
	       "usage (as with include_usage), prompt_bytes=N.\n");
}

static int
wrong_use(const char *what, struct bytes word)
{
	fprintf(stderr, "sluice-sim-backend: %s: %.*s\n", what, (int)word.len, (const char *)word.ptr);
	return 2;
}

static bool
parse_number(const char *text, uint64_t most, uint64_t *number)
{
	char *end;

	errno = 0;
	*number = strtoull(text, &end, 10);
	return *text >= '0' && *text <= '9' && !*end && !errno && *number <= most;
}

/* A word of --print-stream that is none of a script. */
static bool
read_print_word(struct ask *ask, char *word)
{
	if (strncmp(word, "model=", 6) == 0 && strlen(word + 6) < sizeof(ask->model))
		memcpy(ask->model, word + 6, strlen(word + 6) + 1);
	else if (strcmp(word, "kind=completion") == 0)
		ask->kind = ASK_COMPLETION;
	else if (strcmp(word, "kind=response") == 0)
		ask->kind = ASK_RESPONSE;
	else if (strcmp(word, "kind=chat") == 0)
		ask->kind = ASK_CHAT;
	else if (strcmp(word, "usage") == 0)
		ask->wants_usage = true;
	else if (strncmp(word, "prompt_bytes=", 13) == 0)
		return parse_number(word + 13, UINT32_MAX, &ask->prompt_bytes);
	else
		return false;
	return true;
}

static bool
write_all(struct buffer *buffer)
{
	bool fine = fwrite(buffer->ptr + buffer->start, 1, buffer->len, stdout) == buffer->len;

	buffer_drop(buffer, buffer->len);
	return fine;
}

static int
print_answer(char *text, const struct script *script, bool streams)
{
	struct ask ask = { .kind = ASK_CHAT, .model = "sim", .streams = streams, .script = *script };
	struct buffer out = buffer_make(SERVER_BODY_BYTES_MAX);
	struct answer answer;
	struct bytes wrong;
	bool fine = true;

	for (char *word; (word = strsep(&text, " ,"));)
		if (*word && !read_print_word(&ask, word) &&
		    !script_parse(&ask.script, bytes_from_text(word), &wrong))
			return wrong_use("not a word of a script", wrong);
	answer_init(&answer, &ask);
	if (!streams)
		fine = answer_whole(&answer, &out) && write_all(&out);
	while (streams && fine && answer_next_event(&answer, &out))
		fine = write_all(&out);
	buffer_fini(&out);
	return fine && fflush(stdout) == 0 ? 0 : 1;
}

enum option_code {
	OPTION_LISTEN = 1,
	OPTION_PORT,
	OPTION_REGION,
	OPTION_LOG,
	OPTION_LOG_HEALTH,
	OPTION_SCRIPT,
	OPTION_SEED,
	OPTION_READ_BPS,
	OPTION_IDLE_CLOSE,
	OPTION_REQUESTS_MAX,
	OPTION_PRINT_STREAM,
	OPTION_PRINT_WHOLE,
	OPTION_HELP,
};

static const struct option options_table[] = {
	{ "listen", required_argument, NULL, OPTION_LISTEN },
	{ "port", required_argument, NULL, OPTION_PORT },
	{ "region", required_argument, NULL, OPTION_REGION },
	{ "log", required_argument, NULL, OPTION_LOG },
	{ "log-health", no_argument, NULL, OPTION_LOG_HEALTH },
	{ "script", required_argument, NULL, OPTION_SCRIPT },
	{ "seed", required_argument, NULL, OPTION_SEED },
	{ "read-bps", required_argument, NULL, OPTION_READ_BPS },
	{ "idle-close", required_argument, NULL, OPTION_IDLE_CLOSE },
	{ "requests-max", required_argument, NULL, OPTION_REQUESTS_MAX },
	{ "print-stream", required_argument, NULL, OPTION_PRINT_STREAM },
	{ "print-whole", required_argument, NULL, OPTION_PRINT_WHOLE },
	{ "help", no_argument, NULL, OPTION_HELP },
	{ 0 },
};

/* 0: go on; else the exit code plus 1. */
static int
read_option(struct server_options *options, int option)
{
	struct bytes wrong = BYTES_NONE;
	uint64_t number = 0;
	bool fine = true;

	switch (option) {
	case OPTION_LISTEN:
		options->listen = optarg;
		break;
	case OPTION_PORT:
		fine = parse_number(optarg, UINT16_MAX, &number);
		options->port = (uint16_t)number;
		break;
	case OPTION_REGION:
		options->region = optarg;
		break;
	case OPTION_LOG:
		options->log_path = optarg;
		break;
	case OPTION_LOG_HEALTH:
		options->logs_health = true;
		break;
	case OPTION_SCRIPT:
		if (!script_parse(&options->script, bytes_from_text(optarg), &wrong))
			return 1 + wrong_use("not a word of a script", wrong);
		break;
	case OPTION_SEED:
		fine = parse_number(optarg, UINT64_MAX, &options->script.seed);
		break;
	case OPTION_READ_BPS:
		fine = parse_number(optarg, UINT32_MAX, &options->read_bytes_per_second);
		break;
	case OPTION_IDLE_CLOSE:
		fine = parse_number(optarg, UINT32_MAX, &number);
		options->idle_close_ns = number * NSEC_PER_MSEC;
		break;
	case OPTION_REQUESTS_MAX:
		fine = parse_number(optarg, UINT32_MAX, &options->requests_max);
		break;
	case OPTION_PRINT_STREAM:
	case OPTION_PRINT_WHOLE:
		return 1 + print_answer(optarg, &options->script, option == OPTION_PRINT_STREAM);
	case OPTION_HELP:
		help();
		return 1;
	default:
		return 3; /* getopt has complained */
	}
	return fine ? 0 : 1 + wrong_use("not such a number", bytes_from_text(optarg));
}

int
main(int argc, char **argv)
{
	struct server_options options = { .listen = "127.0.0.1", .port = 9000, .region = "sim" };
	int option, code;

	script_init(&options.script);
	while ((option = getopt_long(argc, argv, "", options_table, NULL)) != -1) {
		code = read_option(&options, option);
		if (code)
			return code - 1;
	}
	if (optind < argc)
		return wrong_use("what is this", bytes_from_text(argv[optind]));
	return server_run(&options);
}
