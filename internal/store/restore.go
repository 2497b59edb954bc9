package store

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/assetplatform/assetplatform/internal/config"
)

// Target is a database into which a backup is to be restored.
type Target struct {
	conn       *pgx.Conn
	database   string
	tables     int
	users      int64
	assets     int64
	leases     bool      // its schema has them
	restored   string    // the set that it was restored from last
	restoreID  string    // of that restore
	PlatformID uuid.UUID // nil: it is no platform's yet
	BucketOf   uuid.UUID // the platform whose set was being restored, as which the bucket may be marked; nil: none
	Instance   Instance  // none has a nil ID
}

// OpenTarget looks at a database. url must reach the server past a transaction pooler. An error is a *Problem.
func OpenTarget(ctx context.Context, url string) (*Target, error) {
	cfg, err := poolConfig(url)
	if err != nil {
		return nil, &Problem{config.CodeConfigInvalid, err.Error(), "correct DATABASE_URL or DATABASE_DIRECT_URL"}
	}
	t := &Target{}
	if t.conn, err = pgx.ConnectConfig(ctx, cfg.ConnConfig); err == nil {
		err = t.look(ctx)
	}
	if err != nil {
		t.Close()
		return nil, diagnose(err, cfg.ConnConfig.Config)
	}
	return t, nil
}

func (t *Target) look(ctx context.Context) error {
	var ours bool
	// It idles while bytes are copied.
	if _, err := t.conn.Exec(ctx, "select set_config(name, '0', false) from pg_settings where name = 'idle_session_timeout'"); err != nil {
		return err
	}
	err := t.conn.QueryRow(ctx, `
select current_database(), (select count(*) from pg_class where relnamespace = 'public'::regnamespace and relkind in ('r', 'v', 'm', 'p')), to_regclass('public.`+markerTable+`') is not null,
    exists (select from pg_attribute where attrelid = to_regclass('public.`+markerTable+`') and attname = 'bucket_of')`).
		Scan(&t.database, &t.tables, &ours, &t.leases)
	if err != nil || t.tables == 0 {
		return err
	}
	if !ours {
		return &Problem{config.CodeDatabaseForeign, fmt.Sprintf("the database holds %d tables or views that are not ours", t.tables), "name a database of its own"}
	}
	if err := t.conn.QueryRow(ctx, "select platform_id from "+markerTable).Scan(&t.PlatformID); err != nil {
		return err
	}
	if t.leases { // and the rest of what backups need
		if err := t.conn.QueryRow(ctx, "select coalesce(restored_set, ''), coalesce(restore_id, ''), instance, instance_since, coalesce(bucket_of, $1::uuid) from "+markerTable, uuid.Nil).
			Scan(&t.restored, &t.restoreID, &t.Instance.ID, &t.Instance.Since, &t.BucketOf); err != nil {
			return err
		}
	}
	return t.conn.QueryRow(ctx, "select (select count(*) from users), (select count(*) from assets)").Scan(&t.users, &t.assets)
}

// Close ends the connection.
func (t *Target) Close() {
	if t.conn != nil {
		_ = t.conn.Close(context.Background())
	}
}

// Server is the version of PostgreSQL, such as 15.8.
func (t *Target) Server() string { return t.conn.PgConn().ParameterStatus("server_version") }

// Leases tells whether HoldObjects works there.
func (t *Target) Leases() bool { return t.leases }

// Empty tells whether nothing is lost with what is there.
func (t *Target) Empty() bool { return t.users == 0 && t.assets == 0 }

// Unused tells whether nothing is there at all, or what a restore with this id has left.
func (t *Target) Unused(id string) bool { return t.tables == 0 || t.restoreID == id }

// Contents tells what is there, for people.
func (t *Target) Contents() string { return fmt.Sprintf("%d users, %d assets", t.users, t.assets) }

// SetOf is the set that a restore with this id has brought, and none after it; empty: it has brought none.
func (t *Target) SetOf(id string) string {
	if id == "" || t.restoreID != id {
		return ""
	}
	return t.restored
}

// restoreLock is the key of the advisory lock that one restore of a database holds while it replaces what is there.
const restoreLock = 0x726573746f7265 // "restore"

// What the server says in the transaction of a restore that must not go on.
const (
	Filled = "another restore has filled the database"         // which was empty, or another one
	Served = "a server of the platform uses the database"      // as Serving tells
	Astray = "the transaction is in another database than the" // one that was looked at
)

// serving tells whether a server uses the database. It asks for its jobs every second; a pooler may keep the connections of one that has ended.
const serving = `exists (select from pg_stat_activity where datname = current_database() and application_name = '` + serverName + `' and state_change > clock_timestamp() - interval '15 seconds')`

// Serving tells whether a server of the platform uses the database.
func (t *Target) Serving(ctx context.Context) (is bool, err error) {
	err = t.conn.QueryRow(ctx, "select "+serving).Scan(&is)
	return is, fail("look for servers", err)
}

// NoteBucketOf notes the platform as whose the bucket is to be marked, of a database that has something; nil: of none any more.
func (t *Target) NoteBucketOf(ctx context.Context, platform uuid.UUID) error {
	if !t.leases {
		return nil
	}
	_, err := t.conn.Exec(ctx, "update public."+markerTable+" set bucket_of = nullif($1::uuid, $2::uuid)", platform, uuid.Nil)
	return fail("note whose bucket it becomes", err)
}

// RestoreLock is what comes first in the transaction of a restore: of two at once one waits for the other's end, and what is replaced is what was
// looked at. Who runs it may understand the database's URL otherwise than we do.
func (t *Target) RestoreLock() string {
	lock := fmt.Sprintf(`do $$
begin
    if current_database() <> %s then
        raise exception '`+Astray+` one that was looked at (%%)', current_database();
    end if;
    perform pg_advisory_xact_lock(%d);
    if `+serving+` then
        raise exception '`+Served+`';
    end if;
end
$$;
`, literal(t.database), int64(restoreLock))
	filled := "exists (select from public.users) or exists (select from public.assets)"
	if !t.Empty() && t.leases {
		filled = "instance <> " + literal(t.Instance.ID.String()) + " from public." + markerTable
	} else if !t.Empty() {
		return lock
	}
	return lock + `do $$
declare
    filled boolean := false;
begin
    if to_regclass('public.users') is not null then
        execute ` + literal("select "+filled) + ` into filled;
    end if;
    if filled then
        raise exception '` + Filled + `';
    end if;
end
$$;
`
}

// RestorePrologue is what comes before a dump, in one transaction with it: what is there goes, and the keys of its objects are noted.
func RestorePrologue() string {
	return `set local client_min_messages = warning;
create temp table left_objects (object_key text, user_id uuid) on commit drop;
do $$
declare
    name text;
begin
    foreach name in array array['blobs', 'thumbnails', 'upload_pieces', 'object_intents'] loop
        if to_regclass('public.' || name) is not null then
            execute format('insert into pg_temp.left_objects select object_key, user_id from public.%I', name);
        end if;
    end loop;
    for name in select format('%I', relname) from pg_class where relnamespace = 'public'::regnamespace and relkind = 'r' loop
        execute 'drop table if exists public.' || name || ' cascade';
    end loop;
    for name in
        select p.oid::regprocedure::text from pg_proc p
        where p.pronamespace = 'public'::regnamespace and not exists (select from pg_depend d where d.objid = p.oid and d.deptype = 'e')
    loop
        execute 'drop routine if exists ' || name || ' cascade';
    end loop;
    for name in select format('%I', typname) from pg_type where typnamespace = 'public'::regnamespace and typtype = 'e' loop
        execute 'drop type if exists public.' || name || ' cascade';
    end loop;
end
$$;`
}

// Differs is what the server says where the database would not be what the set has.
const Differs = "what was restored is not what the set has: "

// RestoreCheck ends the transaction if what the dump has brought is not what the set's manifest says.
func RestoreCheck(schema config.SchemaRange, rows map[string]int64) string {
	var want []string
	for _, table := range slices.Sorted(maps.Keys(rows)) {
		if !notCompared(table) {
			want = append(want, fmt.Sprintf("(%s, %d::bigint)", literal(table), rows[table]))
		}
	}
	if len(want) == 0 {
		want = []string{"('" + markerTable + "', 1::bigint)"}
	}
	return fmt.Sprintf(`do $$
declare
    name text;
    want bigint;
    got bigint;
    wrong text[];
begin
    select schema into got from public.%s;
    if got <> %d then
        wrong := array[format('schema %%s of %d', got)];
    end if;
    for name, want in values %s loop
        got := 0;
        if to_regclass('public.' || quote_ident(name)) is not null then
            execute format('select count(*) from public.%%I', name) into got;
        end if;
        if got <> want then
            wrong := wrong || format('%%s has %%s rows of %%s', name, got, want);
        end if;
    end loop;
    if cardinality(wrong) > 0 then
        raise exception '`+Differs+`%%', array_to_string(wrong, ', ');
    end if;
end
$$;
`, markerTable, schema.Schema, schema.Schema, strings.Join(want, ", "))
}

// RestoreEpilogue is what comes behind the dump. Objects that the restored rows do not need are left to the collector, after a week in which
// somebody may find that they were needed. Sessions end: one that was revoked since the backup must not come back to life. Thumbnails, which
// no backup has, are to be made anew. id is that of the restore, empty if it has none.
func RestoreEpilogue(set, id string) string {
	return `insert into public.object_intents (object_key, user_id, delete_after)
select distinct on (object_key) object_key, user_id, now() + interval '7 days' from pg_temp.left_objects l
where not exists (select from public.blobs b where b.object_key = l.object_key);
delete from public.sessions;
update public.blobs set reread = true where metadata ? 'width';
` + RestoredMark(set, id)
}

// RestoredMark notes in a database of which set it is, and that it is another than that of which the set is.
func RestoredMark(set, id string) string {
	return fmt.Sprintf("update public.%s set restored_set = %s, restore_id = nullif(%s, ''), instance = gen_random_uuid(), instance_since = now(), bucket_of = null;", markerTable, literal(set), literal(id))
}

// literal is a text as SQL.
func literal(text string) string { return "'" + strings.ReplaceAll(text, "'", "''") + "'" }
