package store

import (
	"context"
	"encoding/json"
	"net/netip"
	"reflect"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/assetplatform/assetplatform/internal/store/sqlc"
)

// Origin is where a request comes from, for the audit of what it changes.
type Origin struct {
	IP        netip.Addr
	UserAgent string
	RequestID string
}

type originKey struct{}

// WithOrigin returns a context whose changes are noted as coming from o. It is no parameter of the methods, for every one that
// writes would have it, and only the audit reads it.
func WithOrigin(ctx context.Context, o Origin) context.Context {
	return context.WithValue(ctx, originKey{}, o)
}

// AuditEvent is something that was done, or tried.
type AuditEvent struct {
	ID           uuid.UUID
	Action       string     // such as asset.upload
	UserID       *uuid.UUID // nil: tried with an account that is not there
	ResourceType *string
	ResourceID   *string
	IP           *netip.Addr
	UserAgent    string
	Success      bool
	RequestID    string
	Details      json.RawMessage // nil: nothing more to say
	CreatedAt    time.Time
}

// maxUserAgent bounds what is kept of a client's word for itself, bytes.
const maxUserAgent = 256

// cleanUserAgent is what is kept of it. A client may send any bytes, but PostgreSQL takes no NUL, and nothing that is not UTF-8.
func cleanUserAgent(agent string) string {
	if len(agent) > maxUserAgent {
		end := maxUserAgent
		for end > 0 && !utf8.RuneStart(agent[end]) { // no rune is cut
			end--
		}
		agent = agent[:end]
	}
	return strings.ReplaceAll(strings.ToValidUTF8(agent, "\uFFFD"), "\x00", "\uFFFD")
}

// change is an event that goes into the audit together with what it tells of.
type change struct {
	action  string
	user    uuid.UUID // whose event it is
	of      string    // type of the resource
	id      string    // of the resource
	failed  bool
	details map[string]any
}

// audit notes a change in the transaction that makes it.
func audit(ctx context.Context, q *sqlc.Queries, c change) error {
	origin, _ := ctx.Value(originKey{}).(Origin)
	event := sqlc.CreateAuditEventParams{
		ID: newID(), Action: c.action, UserAgent: cleanUserAgent(origin.UserAgent),
		Success: !c.failed, RequestID: origin.RequestID,
	}
	if c.user != uuid.Nil {
		event.UserID = &c.user
	}
	if c.of != "" {
		event.ResourceType, event.ResourceID = &c.of, &c.id
	}
	if origin.IP.IsValid() {
		event.Ip = &origin.IP
	}
	if c.details != nil {
		var err error
		if event.Details, err = json.Marshal(c.details); err != nil {
			return err
		}
	}
	return q.CreateAuditEvent(ctx, event)
}

// noteChange says in an event's details what a field was and is, if that is not the same.
func noteChange(details map[string]any, field string, from, to any) {
	if !reflect.DeepEqual(from, to) {
		details[field] = map[string]any{"from": from, "to": to}
	}
}

// NoteFailure notes that something was tried with the user's account, of this name, and refused. A nil id stands for an account that is
// not there.
func (s *Store) NoteFailure(ctx context.Context, userID uuid.UUID, action, name string) error {
	return fail("note failure", audit(ctx, s.queries, change{action: action, user: userID, failed: true, details: map[string]any{"login": name}}))
}

// AuditFilter says which events to list; the zero value means those of everybody.
type AuditFilter struct {
	UserID     uuid.UUID
	Action     string
	ResourceID string
	Failed     bool       // only what failed
	After      *time.Time // only later ones
	Before     *time.Time // only earlier ones
}

// AuditEvents returns a page of events, newest first, and the number of all that pass the filter. behind begins the page behind the
// event of that id, offset behind so many.
func (s *Store) AuditEvents(ctx context.Context, f AuditFilter, behind uuid.UUID, limit, offset int) (events []AuditEvent, total Total, err error) {
	q := conditions{}
	if f.UserID != uuid.Nil {
		q.add("user_id = %s", f.UserID)
	}
	if f.Action != "" {
		q.add("action = %s", f.Action)
	}
	if f.ResourceID != "" {
		q.add("resource_id = %s", f.ResourceID)
	}
	if f.Failed {
		q.add("not success")
	}
	if f.After != nil {
		q.add("created_at > %s", *f.After)
	}
	if f.Before != nil {
		q.add("created_at < %s", *f.Before)
	}
	if total, err = s.count(ctx, "audit_events", q); err != nil {
		return nil, total, err
	}
	if behind != uuid.Nil {
		q.add("id < %s", behind)
	}
	const columns = "id, action, user_id, resource_type, resource_id, ip, user_agent, success, request_id, details, created_at"
	rows, err := s.pool.Query(ctx, q.page("select "+columns+" from audit_events", "id desc", limit, offset), q.planned()...)
	if err == nil {
		events, err = pgx.CollectRows(rows, pgx.RowToStructByPos[AuditEvent])
	}
	for i := range events {
		events[i].CreatedAt = events[i].CreatedAt.UTC()
	}
	return events, total, fail("list audit events", err)
}

// PurgeAudit deletes up to limit events from before the given time, and reports how many.
func (s *Store) PurgeAudit(ctx context.Context, before time.Time, limit int32) (int64, error) {
	n, err := s.queries.DeleteOldAuditEvents(ctx, sqlc.DeleteOldAuditEventsParams{ID: firstID(before), Limit: limit})
	return n, fail("purge audit events", err)
}

// firstID is lower than every id of version 7 that was made at or after a time, to the millisecond (RFC 9562, 5.7).
func firstID(at time.Time) (id uuid.UUID) {
	ms := at.UnixMilli()
	for i := range 6 {
		id[i] = byte(ms >> (40 - 8*i))
	}
	return id
}
