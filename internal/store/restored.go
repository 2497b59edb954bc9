package store

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"maps"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/assetplatform/assetplatform/internal/config"
)

// Compare finds what in a restored database is not as the set's manifest has it, and counts the rows. What is wrong is a *Problem with the
// code of a drill.
func (t *Target) Compare(ctx context.Context, schema config.SchemaRange, rows map[string]int64) (total int64, err error) {
	err = pgx.BeginFunc(ctx, t.conn, func(tx pgx.Tx) error {
		total, err = compare(ctx, tx, schema, rows)
		return err
	})
	if err != nil && !errors.As(err, new(*Problem)) {
		err = fail("compare", err)
	}
	return total, err
}

func compare(ctx context.Context, tx pgx.Tx, schema config.SchemaRange, rows map[string]int64) (total int64, err error) {
	const remedy = "restore it once more, or another set"
	var found config.SchemaRange
	if err := tx.QueryRow(ctx, "select schema, compatible_from from public."+markerTable).Scan(&found.Schema, &found.CompatibleFrom); err != nil {
		return 0, err
	}
	if found != schema {
		return 0, &Problem{config.CodeDrillSchema, fmt.Sprintf("what was restored has schema %d, and the set %d", found.Schema, schema.Schema), remedy}
	}
	total, wrong, err := compareRows(ctx, tx, rows)
	if err != nil {
		return 0, err
	}
	if len(wrong) > 0 {
		return total, &Problem{config.CodeDrillRows, Differs + strings.Join(wrong, ", "), remedy}
	}
	return total, checkReferences(ctx, tx)
}

// notCompared are tables that change as soon as the database is there.
func notCompared(table string) bool {
	return table == "sessions" || table == "refresh_tokens" || strings.HasPrefix(table, "river_")
}

func compareRows(ctx context.Context, tx pgx.Tx, want map[string]int64) (total int64, wrong []string, err error) {
	got, err := countTables(ctx, tx)
	if err != nil {
		return 0, nil, err
	}
	for _, table := range slices.Sorted(maps.Keys(want)) {
		if total += got[table]; got[table] != want[table] && !notCompared(table) {
			wrong = append(wrong, fmt.Sprintf("%s has %d rows of %d", table, got[table], want[table]))
		}
	}
	return total, wrong, nil
}

// checkReferences finds foreign keys that nobody has validated; of the others the database has seen that they hold when it made them.
func checkReferences(ctx context.Context, tx pgx.Tx) error {
	rows, err := tx.Query(ctx, "select conname from pg_constraint where contype = 'f' and connamespace = 'public'::regnamespace and not convalidated order by 1")
	if err != nil {
		return err
	}
	names, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err == nil && len(names) > 0 {
		err = &Problem{config.CodeDrillReferences, "these foreign keys may not hold: " + strings.Join(names, ", "), "validate them in the source's database (alter table ... validate constraint), and make another set"}
	}
	return err
}

// Blobs are those of the database, in the order of their hashes and keys.
func (t *Target) Blobs(ctx context.Context) iter.Seq2[BlobRow, error] { return blobRows(ctx, t.conn) }

// Clear removes all that is there.
func (t *Target) Clear(ctx context.Context) error {
	return fail("clear", pgx.BeginFunc(ctx, t.conn, func(tx pgx.Tx) error {
		_, err := tx.Exec(ctx, RestorePrologue())
		return err
	}))
}
