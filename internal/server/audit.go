package server

import (
	"context"
	"encoding/json"
	"net/http"
	"time"

	"github.com/google/uuid"

	"github.com/assetplatform/assetplatform/internal/store"
)

// auditBody is an audit event as the API shows it.
type auditBody struct {
	ID           uuid.UUID       `json:"id"`
	Action       string          `json:"action" doc:"What was done to what, such as user.login, user.login_failed, asset.upload, project.member_add; there will be more."`
	UserID       *uuid.UUID      `json:"userId" doc:"Null: tried with an account that is not there."`
	ResourceType *string         `json:"resourceType" enum:"user,session,key,asset,upload,project"`
	ResourceID   *string         `json:"resourceId"`
	IP           *string         `json:"ip"`
	UserAgent    string          `json:"userAgent"`
	Success      bool            `json:"success" doc:"False: it was refused."`
	RequestID    string          `json:"requestId"`
	Details      json.RawMessage `json:"details"`
	CreatedAt    time.Time       `json:"createdAt"`
}

func auditBodyOf(e store.AuditEvent) auditBody {
	body := auditBody{
		ID: e.ID, Action: e.Action, UserID: e.UserID, ResourceType: e.ResourceType, ResourceID: e.ResourceID,
		UserAgent: e.UserAgent, Success: e.Success, RequestID: e.RequestID, Details: e.Details, CreatedAt: e.CreatedAt,
	}
	if e.IP != nil {
		ip := e.IP.String()
		body.IP = &ip
	}
	return body
}

type listAuditRequest struct {
	PageQuery
	UserID        string       `query:"userId" maxLength:"36"`
	Action        string       `query:"action" maxLength:"64"`
	ResourceID    string       `query:"resourceId" maxLength:"64"`
	Failed        bool         `query:"failed"`
	CreatedAfter  OptionalTime `query:"createdAfter"`
	CreatedBefore OptionalTime `query:"createdBefore"`
}

// listAudit lists the caller's events, newest first; an administrator, also by a key with that scope, sees everybody's.
func (s *Server) listAudit(ctx context.Context, who caller, in *listAuditRequest) (*list[auditBody], error) {
	filter := store.AuditFilter{Action: in.Action, ResourceID: in.ResourceID, Failed: in.Failed, After: in.CreatedAfter.given, Before: in.CreatedBefore.given}
	if !isText(in.Action) {
		return nil, invalid("action", "holds control characters")
	}
	if !isText(in.ResourceID) {
		return nil, invalid("resourceId", "holds control characters")
	}
	if in.UserID != "" {
		id, err := parseID(in.UserID)
		if err != nil {
			return nil, invalid("userId", "is not the id of a user")
		}
		filter.UserID = id
	}
	if who.may(administers) != nil {
		if in.UserID != "" && filter.UserID != who.ID {
			return nil, newProblem(http.StatusForbidden, "FORBIDDEN", "Only administrators see what others did: leave userId out.")
		}
		filter.UserID = who.ID
	}
	return listByID(in.PageQuery, auditBodyOf, func(e store.AuditEvent) uuid.UUID { return e.ID }, func(behind uuid.UUID, limit, offset int) ([]store.AuditEvent, store.Total, error) {
		return s.store.AuditEvents(ctx, filter, behind, limit, offset)
	})
}
