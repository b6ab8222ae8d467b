/*
 * Money is integer nano-dollars. An account has two sums that only grow, what was credited and what was
 * spent, so that each can be published or added to without reading the other.
 *
 * Triggers write every change that workers must see into `changes`, whoever makes it: the admin API or an
 * operator with an SQL shell. A row that is part of another's published form (a pod's place in a deployment,
 * a model's deployments) reports that other row too. The numbers are enum noun.
 */
#include "schema.h"

#define TELL(kind, id) " INSERT INTO changes(kind, id) VALUES (" #kind ", " id ");"
#define WATCH(table, kind)                                                                         \
	"CREATE TRIGGER " table "_inserted AFTER INSERT ON " table " BEGIN" TELL(kind, "NEW.id")   \
	" END;"                                                                                    \
	"CREATE TRIGGER " table "_updated AFTER UPDATE ON " table " BEGIN" TELL(kind, "NEW.id")    \
	" END;"                                                                                    \
	"CREATE TRIGGER " table "_deleted AFTER DELETE ON " table " BEGIN" TELL(kind, "OLD.id")    \
	" END;"

static const char version_1[] =
	"CREATE TABLE meta (name TEXT PRIMARY KEY, value BLOB NOT NULL) STRICT;"

	"CREATE TABLE changes (seq INTEGER PRIMARY KEY AUTOINCREMENT, kind INTEGER NOT NULL,"
	" id INTEGER NOT NULL) STRICT;"

	"CREATE TABLE accounts (id INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT NOT NULL UNIQUE,"
	" credited_nano INTEGER NOT NULL DEFAULT 0, spent_nano INTEGER NOT NULL DEFAULT 0,"
	" suspended INTEGER NOT NULL DEFAULT 0,"
	" created_at INTEGER NOT NULL DEFAULT (unixepoch())) STRICT;"
	"CREATE TABLE topups (id INTEGER PRIMARY KEY AUTOINCREMENT,"
	" account_id INTEGER NOT NULL REFERENCES accounts(id), amount_nano INTEGER NOT NULL,"
	" reference TEXT UNIQUE, at INTEGER NOT NULL DEFAULT (unixepoch())) STRICT;"

	"CREATE TABLE plans (id INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT NOT NULL UNIQUE,"
	" requests_per_minute INTEGER NOT NULL DEFAULT 0, burst INTEGER NOT NULL DEFAULT 0,"
	" created_at INTEGER NOT NULL DEFAULT (unixepoch())) STRICT;"

	"CREATE TABLE prices (id INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT NOT NULL UNIQUE,"
	" version INTEGER NOT NULL DEFAULT 1, input_nano_per_mtoken INTEGER NOT NULL,"
	" output_nano_per_mtoken INTEGER NOT NULL) STRICT;"
	"CREATE TABLE price_versions (price_id INTEGER NOT NULL, version INTEGER NOT NULL,"
	" input_nano_per_mtoken INTEGER NOT NULL, output_nano_per_mtoken INTEGER NOT NULL,"
	" since INTEGER NOT NULL DEFAULT (unixepoch()), PRIMARY KEY (price_id, version))"
	" STRICT, WITHOUT ROWID;"
	"CREATE TRIGGER prices_first AFTER INSERT ON prices BEGIN INSERT INTO price_versions"
	"(price_id, version, input_nano_per_mtoken, output_nano_per_mtoken) VALUES"
	" (NEW.id, NEW.version, NEW.input_nano_per_mtoken, NEW.output_nano_per_mtoken); END;"
	"CREATE TRIGGER prices_next AFTER UPDATE OF input_nano_per_mtoken, output_nano_per_mtoken"
	" ON prices WHEN OLD.input_nano_per_mtoken <> NEW.input_nano_per_mtoken OR"
	" OLD.output_nano_per_mtoken <> NEW.output_nano_per_mtoken BEGIN"
	" UPDATE prices SET version = OLD.version + 1 WHERE id = NEW.id;"
	" INSERT INTO price_versions"
	"(price_id, version, input_nano_per_mtoken, output_nano_per_mtoken) VALUES"
	" (NEW.id, OLD.version + 1, NEW.input_nano_per_mtoken, NEW.output_nano_per_mtoken); END;"

	"CREATE TABLE regions (id INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT NOT NULL UNIQUE)"
	" STRICT;"

	"CREATE TABLE pods (id INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT NOT NULL UNIQUE,"
	" address TEXT NOT NULL, port INTEGER NOT NULL, host TEXT NOT NULL DEFAULT '',"
	" credential TEXT NOT NULL DEFAULT '', state INTEGER NOT NULL DEFAULT 0,"
	" running_usage INTEGER NOT NULL DEFAULT 0, probe_path TEXT NOT NULL DEFAULT '',"
	" probe_interval_ms INTEGER NOT NULL DEFAULT 0, probe_timeout_ms INTEGER NOT NULL DEFAULT 0,"
	" rise INTEGER NOT NULL DEFAULT 0, fall INTEGER NOT NULL DEFAULT 0) STRICT;"

	"CREATE TABLE models (id INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT NOT NULL UNIQUE,"
	" price_id INTEGER REFERENCES prices(id),"
	" created_at INTEGER NOT NULL DEFAULT (unixepoch())) STRICT;"
	"CREATE INDEX models_by_price ON models(price_id);"
	"CREATE TABLE aliases (id INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT NOT NULL UNIQUE,"
	" model_id INTEGER NOT NULL REFERENCES models(id)) STRICT;"
	"CREATE INDEX aliases_by_model ON aliases(model_id);"
	"CREATE TRIGGER models_name BEFORE INSERT ON models"
	" WHEN EXISTS (SELECT 1 FROM aliases WHERE name = NEW.name)"
	" BEGIN SELECT RAISE(ABORT, 'an alias has this name'); END;"
	"CREATE TRIGGER models_rename BEFORE UPDATE OF name ON models"
	" WHEN EXISTS (SELECT 1 FROM aliases WHERE name = NEW.name)"
	" BEGIN SELECT RAISE(ABORT, 'an alias has this name'); END;"
	"CREATE TRIGGER aliases_name BEFORE INSERT ON aliases"
	" WHEN EXISTS (SELECT 1 FROM models WHERE name = NEW.name)"
	" BEGIN SELECT RAISE(ABORT, 'a model has this name'); END;"
	"CREATE TRIGGER aliases_rename BEFORE UPDATE OF name ON aliases"
	" WHEN EXISTS (SELECT 1 FROM models WHERE name = NEW.name)"
	" BEGIN SELECT RAISE(ABORT, 'a model has this name'); END;"

	"CREATE TABLE instances (id INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT NOT NULL,"
	" account_id INTEGER NOT NULL REFERENCES accounts(id),"
	" price_id INTEGER REFERENCES prices(id), state INTEGER NOT NULL DEFAULT 0,"
	" created_at INTEGER NOT NULL DEFAULT (unixepoch())) STRICT;"
	"CREATE INDEX instances_by_account ON instances(account_id);"
	"CREATE INDEX instances_by_price ON instances(price_id);"

	"CREATE TABLE deployments (id INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT NOT NULL UNIQUE,"
	" model_id INTEGER REFERENCES models(id), instance_id INTEGER REFERENCES instances(id),"
	" region_id INTEGER NOT NULL REFERENCES regions(id), position INTEGER NOT NULL DEFAULT 0,"
	" served_name TEXT NOT NULL DEFAULT '', base_path TEXT NOT NULL DEFAULT '',"
	" CONSTRAINT \"a deployment is of one model or one instance\""
	" CHECK ((model_id IS NULL) <> (instance_id IS NULL))) STRICT;"
	"CREATE INDEX deployments_by_model ON deployments(model_id, position);"
	"CREATE INDEX deployments_by_instance ON deployments(instance_id, position);"
	"CREATE INDEX deployments_by_region ON deployments(region_id);"
	"CREATE TRIGGER deployments_room AFTER INSERT ON deployments WHEN"
	" (SELECT count(*) FROM deployments WHERE model_id = NEW.model_id"
	" OR instance_id = NEW.instance_id) > 8"
	" BEGIN SELECT RAISE(ABORT, 'a model or instance has at most 8 deployments'); END;"
	"CREATE TABLE deployment_pods (deployment_id INTEGER NOT NULL REFERENCES deployments(id)"
	" ON DELETE CASCADE, pod_id INTEGER NOT NULL REFERENCES pods(id) ON DELETE CASCADE,"
	" position INTEGER NOT NULL, PRIMARY KEY (deployment_id, pod_id)) STRICT, WITHOUT ROWID;"
	"CREATE INDEX deployment_pods_by_pod ON deployment_pods(pod_id);"
	"CREATE TRIGGER deployment_pods_room AFTER INSERT ON deployment_pods WHEN"
	" (SELECT count(*) FROM deployment_pods WHERE deployment_id = NEW.deployment_id) > 32"
	" BEGIN SELECT RAISE(ABORT, 'a deployment has at most 32 pods'); END;"

	"CREATE TABLE keys (id INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT NOT NULL DEFAULT '',"
	" hash BLOB NOT NULL UNIQUE, prefix TEXT NOT NULL, surface INTEGER NOT NULL,"
	" account_id INTEGER NOT NULL REFERENCES accounts(id),"
	" plan_id INTEGER NOT NULL REFERENCES plans(id), revoked INTEGER NOT NULL DEFAULT 0,"
	" created_at INTEGER NOT NULL DEFAULT (unixepoch()), revoked_at INTEGER) STRICT;"
	"CREATE INDEX keys_by_account ON keys(account_id, name);"
	"CREATE INDEX keys_by_plan ON keys(plan_id);"

	/* Spool records as they were; (node, epoch, worker, sequence) makes a replay harmless. */
	"CREATE TABLE ledger (node TEXT NOT NULL, epoch INTEGER NOT NULL, worker INTEGER NOT NULL,"
	" sequence INTEGER NOT NULL, request_id BLOB NOT NULL, key_id INTEGER NOT NULL,"
	" account_id INTEGER NOT NULL, model_id INTEGER NOT NULL, instance_id INTEGER NOT NULL,"
	" pod_id INTEGER NOT NULL, region TEXT NOT NULL, price_id INTEGER NOT NULL,"
	" price_version INTEGER NOT NULL, status INTEGER NOT NULL, outcome INTEGER NOT NULL,"
	" source INTEGER NOT NULL, stream INTEGER NOT NULL, suspect INTEGER NOT NULL,"
	" prompt_tokens INTEGER NOT NULL, completion_tokens INTEGER NOT NULL,"
	" cost_nano INTEGER NOT NULL, finished_at_ns INTEGER NOT NULL, queue_us INTEGER NOT NULL,"
	" first_byte_us INTEGER NOT NULL, total_us INTEGER NOT NULL,"
	" request_bytes INTEGER NOT NULL, response_bytes INTEGER NOT NULL,"
	" UNIQUE (node, epoch, worker, sequence)) STRICT;"
	"CREATE INDEX ledger_by_account ON ledger(account_id, finished_at_ns);"
	"CREATE INDEX ledger_by_time ON ledger(finished_at_ns);"

	"CREATE TABLE audit (id INTEGER PRIMARY KEY AUTOINCREMENT,"
	" at INTEGER NOT NULL DEFAULT (unixepoch()), verb TEXT NOT NULL, noun TEXT NOT NULL,"
	" subject INTEGER NOT NULL, detail TEXT NOT NULL) STRICT;"

	/* The ledger's spending is not a change that workers must be told: they made it. */
	"CREATE TRIGGER accounts_inserted AFTER INSERT ON accounts BEGIN" TELL(0, "NEW.id") " END;"
	"CREATE TRIGGER accounts_updated AFTER UPDATE OF name, credited_nano, suspended ON accounts"
	" BEGIN" TELL(0, "NEW.id") " END;"
	"CREATE TRIGGER accounts_deleted AFTER DELETE ON accounts BEGIN" TELL(0, "OLD.id") " END;"
	WATCH("plans", 1)
	WATCH("prices", 2)
	WATCH("regions", 3)
	WATCH("pods", 4)
	"CREATE TRIGGER deployment_pods_inserted AFTER INSERT ON deployment_pods BEGIN"
	TELL(5, "NEW.deployment_id") " END;"
	"CREATE TRIGGER deployment_pods_updated AFTER UPDATE ON deployment_pods BEGIN"
	TELL(5, "NEW.deployment_id") TELL(5, "OLD.deployment_id") " END;"
	"CREATE TRIGGER deployment_pods_deleted AFTER DELETE ON deployment_pods BEGIN"
	TELL(5, "OLD.deployment_id") " END;"
	WATCH("deployments", 5)
	"CREATE TRIGGER deployments_target_inserted AFTER INSERT ON deployments BEGIN"
	TELL(6, "ifnull(NEW.model_id, 0)") TELL(8, "ifnull(NEW.instance_id, 0)") " END;"
	"CREATE TRIGGER deployments_target_updated AFTER UPDATE ON deployments BEGIN"
	TELL(6, "ifnull(NEW.model_id, 0)") TELL(8, "ifnull(NEW.instance_id, 0)")
	TELL(6, "ifnull(OLD.model_id, 0)") TELL(8, "ifnull(OLD.instance_id, 0)") " END;"
	"CREATE TRIGGER deployments_target_deleted AFTER DELETE ON deployments BEGIN"
	TELL(6, "ifnull(OLD.model_id, 0)") TELL(8, "ifnull(OLD.instance_id, 0)") " END;"
	WATCH("models", 6)
	WATCH("aliases", 7)
	WATCH("instances", 8)
	WATCH("keys", 9);

/* What is not counted in tokens: a price has a rate for each unit, a record its unit (enum usage_unit). */
#define RATES "request_nano, image_nano, second_nano, character_nano_per_million, byte_nano_per_million"
#define NEW_RATES                                                                                  \
	"NEW.request_nano, NEW.image_nano, NEW.second_nano, NEW.character_nano_per_million,"       \
	" NEW.byte_nano_per_million"
#define OLD_RATES                                                                                  \
	"OLD.request_nano, OLD.image_nano, OLD.second_nano, OLD.character_nano_per_million,"       \
	" OLD.byte_nano_per_million"
#define ADD_RATE(table, rate) \
	"ALTER TABLE " table " ADD COLUMN " rate " INTEGER NOT NULL DEFAULT 0;"
#define ADD_RATES(table)                                                                           \
	ADD_RATE(table, "request_nano") ADD_RATE(table, "image_nano") ADD_RATE(table, "second_nano") \
	ADD_RATE(table, "character_nano_per_million") ADD_RATE(table, "byte_nano_per_million")

static const char version_2[] =
	ADD_RATES("prices") ADD_RATES("price_versions")
	"DROP TRIGGER prices_first;"
	"DROP TRIGGER prices_next;"
	"CREATE TRIGGER prices_first AFTER INSERT ON prices BEGIN INSERT INTO price_versions"
	"(price_id, version, input_nano_per_mtoken, output_nano_per_mtoken, " RATES ") VALUES"
	" (NEW.id, NEW.version, NEW.input_nano_per_mtoken, NEW.output_nano_per_mtoken, " NEW_RATES ");"
	" END;"
	"CREATE TRIGGER prices_next AFTER UPDATE OF input_nano_per_mtoken, output_nano_per_mtoken, " RATES
	" ON prices WHEN (OLD.input_nano_per_mtoken, OLD.output_nano_per_mtoken, " OLD_RATES ") <>"
	" (NEW.input_nano_per_mtoken, NEW.output_nano_per_mtoken, " NEW_RATES ") BEGIN"
	" UPDATE prices SET version = OLD.version + 1 WHERE id = NEW.id;"
	" INSERT INTO price_versions"
	"(price_id, version, input_nano_per_mtoken, output_nano_per_mtoken, " RATES ") VALUES"
	" (NEW.id, OLD.version + 1, NEW.input_nano_per_mtoken, NEW.output_nano_per_mtoken, " NEW_RATES ");"
	" END;"
	"ALTER TABLE ledger ADD COLUMN unit INTEGER NOT NULL DEFAULT 0;"
	"ALTER TABLE ledger ADD COLUMN units INTEGER NOT NULL DEFAULT 0;";

/* How requests for a target are routed. Null and 0: as sluice.yaml says. */
#define ADD_ROUTING(table)                                                                         \
	"ALTER TABLE " table " ADD COLUMN policy INTEGER NOT NULL DEFAULT 0;"                      \
	"ALTER TABLE " table " ADD COLUMN resend INTEGER NOT NULL DEFAULT 0;"                      \
	"ALTER TABLE " table " ADD COLUMN retry_percent INTEGER;"                                  \
	"ALTER TABLE " table " ADD COLUMN connect_ms INTEGER NOT NULL DEFAULT 0;"                  \
	"ALTER TABLE " table " ADD COLUMN response_head_ms INTEGER NOT NULL DEFAULT 0;"            \
	"ALTER TABLE " table " ADD COLUMN first_event_ms INTEGER NOT NULL DEFAULT 0;"              \
	"ALTER TABLE " table " ADD COLUMN between_events_ms INTEGER NOT NULL DEFAULT 0;"           \
	"ALTER TABLE " table " ADD COLUMN request_ms INTEGER NOT NULL DEFAULT 0;"

static const char version_3[] = ADD_ROUTING("models") ADD_ROUTING("instances");

/* What a plan allows besides requests. 0: no limit, or a burst of a minute's worth. */
static const char version_4[] =
	"ALTER TABLE plans ADD COLUMN tokens_per_minute INTEGER NOT NULL DEFAULT 0;"
	"ALTER TABLE plans ADD COLUMN token_burst INTEGER NOT NULL DEFAULT 0;"
	"ALTER TABLE plans ADD COLUMN concurrent_requests INTEGER NOT NULL DEFAULT 0;";

/* 0: as the surface has it. */
static const char version_5[] = "ALTER TABLE plans ADD COLUMN body_bytes INTEGER NOT NULL DEFAULT 0;";

/* 0: limits.hold_tokens. */
static const char version_6[] =
	"ALTER TABLE models ADD COLUMN hold_tokens INTEGER NOT NULL DEFAULT 0;"
	"ALTER TABLE instances ADD COLUMN hold_tokens INTEGER NOT NULL DEFAULT 0;";

/* Who made a change, and from what to what. */
static const char version_7[] =
	"ALTER TABLE audit ADD COLUMN who TEXT NOT NULL DEFAULT '';"
	"ALTER TABLE audit ADD COLUMN request_id TEXT NOT NULL DEFAULT '';"
	"ALTER TABLE audit ADD COLUMN name TEXT NOT NULL DEFAULT '';"
	"ALTER TABLE audit ADD COLUMN changed TEXT NOT NULL DEFAULT '';";

static const char version_8[] = "ALTER TABLE ledger ADD COLUMN connect_us INTEGER NOT NULL DEFAULT 0;";

/* When control revokes a key by itself; null: never. */
static const char version_9[] =
	"ALTER TABLE keys ADD COLUMN expires_at INTEGER;"
	"CREATE INDEX keys_by_expiry ON keys(expires_at) WHERE expires_at IS NOT NULL AND revoked = 0;";

/*
 * What each router has spent: an account's spent_nano is their sum. A store in a file has had one router, which is
 * the one of the latest epoch; all that was spent so far is its.
 */
static const char version_10[] =
	"CREATE TABLE node_spending (node TEXT NOT NULL, account_id INTEGER NOT NULL,"
	" spent_nano INTEGER NOT NULL, PRIMARY KEY (node, account_id)) STRICT, WITHOUT ROWID;"
	"INSERT INTO node_spending(node, account_id, spent_nano) SELECT (SELECT node FROM ledger"
	" ORDER BY epoch DESC LIMIT 1), id, spent_nano FROM accounts"
	" WHERE spent_nano <> 0 AND EXISTS (SELECT 1 FROM ledger);";

/* Where it tells its load; empty: it is not asked. */
static const char version_11[] = "ALTER TABLE pods ADD COLUMN metrics_path TEXT NOT NULL DEFAULT '';";

/* tickets.h. No change that the tables are told of: control reads them itself. */
static const char version_12[] =
	"CREATE TABLE ticket_secrets (number INTEGER PRIMARY KEY, secret BLOB NOT NULL,"
	" begins_at INTEGER NOT NULL, ends_at INTEGER NOT NULL) STRICT;";

/* Names of what was deleted, for the sums of its usage. */
static const char version_13[] = "CREATE INDEX audit_by_deletion ON audit(noun, subject) WHERE verb = 'delete';";

/* Backends over TLS, and whom to believe to be one. */
static const char version_14[] =
	"ALTER TABLE pods ADD COLUMN scheme INTEGER NOT NULL DEFAULT 0;"
	"ALTER TABLE pods ADD COLUMN tls_name TEXT NOT NULL DEFAULT '';"
	"ALTER TABLE pods ADD COLUMN tls_ca TEXT NOT NULL DEFAULT '';"
	"ALTER TABLE pods ADD COLUMN tls_pin TEXT NOT NULL DEFAULT ''"
	" CONSTRAINT \"an https pod has tls_ca, tls_pin or both\""
	" CHECK (scheme = 0 OR tls_ca <> '' OR tls_pin <> '');"
	"ALTER TABLE models ADD COLUMN tls_ms INTEGER NOT NULL DEFAULT 0;"
	"ALTER TABLE instances ADD COLUMN tls_ms INTEGER NOT NULL DEFAULT 0;";

const char *const schema_migrations[SCHEMA_VERSION] = {
	version_1, version_2, version_3, version_4, version_5, version_6, version_7, version_8,
	version_9, version_10, version_11, version_12, version_13, version_14,
};
