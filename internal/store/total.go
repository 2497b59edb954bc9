package store

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
)

// Total is how many rows a list has in all.
type Total struct {
	Rows        int64
	Estimate    bool // the planner's, for counting them would take longer than the list is worth
	Approximate bool // the list has what is like the search, for nothing has it
}

// countedRows is up to how many rows a total is exact: so many are counted in a few milliseconds, whatever the filter.
const countedRows = 1000

// keptTotal is for how long an estimate holds: pages of one list come one after the other.
const keptTotal = 5 * time.Second

// count counts the rows of a table, or of a join, that meet the conditions; of more than countedRows it asks the planner.
func (s *Store) count(ctx context.Context, table string, q conditions) (Total, error) {
	return s.countBy(ctx, table, q, func(few string) (n int64, err error) {
		err = s.pool.QueryRow(ctx, fmt.Sprintf("select count(*) from (select%s) counted", few), q.planned()...).Scan(&n)
		return n, err
	})
}

// countBy is count with another way to count up to countedRows+1 of the rows: count is given what comes behind the fields of a selection.
func (s *Store) countBy(ctx context.Context, table string, q conditions, count func(few string) (int64, error)) (Total, error) {
	rows := fmt.Sprintf(" from %s%s", table, q.where())
	keep := func(t Total, _ time.Duration) time.Duration {
		if t.Estimate {
			return keptTotal
		}
		return 0
	}
	values, err := json.Marshal(q.args)
	if err != nil {
		return Total{}, err
	}
	return s.totals.get(rows+string(values), keep, func() (total Total, err error) {
		total.Rows, err = count(fmt.Sprintf("%s limit %d", rows, countedRows+1))
		if err == nil && total.Rows > countedRows {
			total.Estimate = true
			total.Rows, err = s.estimate(ctx, "select"+rows, q)
		}
		return total, fail("count", err)
	})
}

// estimate is how many rows the planner takes a selection for, and more than countedRows.
func (s *Store) estimate(ctx context.Context, selection string, q conditions) (int64, error) {
	q.usual = false // the estimate is of these values
	var plan []struct {
		Plan struct {
			Rows float64 `json:"Plan Rows"`
		}
	}
	if err := s.pool.QueryRow(ctx, "explain (format json) "+selection, q.planned()...).Scan(&plan); err != nil {
		return 0, err
	}
	return max(countedRows+1, int64(plan[0].Plan.Rows)), nil
}

// conditions are the parts of a where clause whose set differs from call to call, which
// sqlc cannot express. Values only ever go in as arguments.
type conditions struct {
	parts []string
	args  []any
	usual bool // one plan is good for all values
}

// add appends a condition; each %s in it stands for one of the values.
func (c *conditions) add(condition string, values ...any) {
	places := make([]any, len(values))
	for i, v := range values {
		c.args = append(c.args, v)
		places[i] = fmt.Sprintf("$%d", len(c.args))
	}
	c.parts = append(c.parts, fmt.Sprintf(condition, places...))
}

// nest adds one condition that holds those that add makes, if it makes any.
func (c *conditions) nest(condition, joined string, add func(inner *conditions)) {
	inner := conditions{args: c.args}
	add(&inner)
	c.args = inner.args
	if len(inner.parts) > 0 {
		c.parts = append(c.parts, fmt.Sprintf(condition, strings.Join(inner.parts, joined)))
	}
}

// planned are the arguments, for a query that is planned with them unless it is a usual one: a plan that is kept for any arguments cannot
// use an index for the beginning of a text, and does not know which of two words is rare. But to plan takes longer than to read a page.
func (c *conditions) planned() []any {
	if c.usual {
		return c.args
	}
	return append([]any{pgx.QueryExecModeCacheDescribe}, c.args...)
}

// clone lets two queries begin with the same conditions.
func (c *conditions) clone() conditions {
	return conditions{slices.Clone(c.parts), slices.Clone(c.args), c.usual}
}

// where is the clause; nothing without conditions.
func (c *conditions) where() string {
	if len(c.parts) == 0 {
		return ""
	}
	return " where " + strings.Join(c.parts, " and ")
}

// page is a query for a part of a list.
func (c *conditions) page(selection, order string, limit, offset int) string {
	return fmt.Sprintf("%s%s order by %s limit %d offset %d", selection, c.where(), order, limit, offset)
}
