package server

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/danielgtaylor/huma/v2"
	"github.com/google/uuid"

	"github.com/assetplatform/assetplatform/internal/store"
)

// Limits of what users say about their assets, characters.
const (
	maxTags     = 50
	maxTag      = 64
	maxCategory = 64
	maxName     = 255
)

// assetBody is an asset as the API shows it.
type assetBody struct {
	ID           uuid.UUID       `json:"id"`
	UserID       uuid.UUID       `json:"userId"`
	OriginalName string          `json:"originalName"`
	FileType     store.FileType  `json:"fileType"`
	MIMEType     string          `json:"mimeType"`
	FileSize     int64           `json:"fileSize"`
	SHA256       string          `json:"sha256"`
	Version      int32           `json:"version"`
	Tags         []string        `json:"tags"`
	Category     *string         `json:"category"`
	Metadata     json.RawMessage `json:"metadata"`
	DownloadURL  string          `json:"downloadUrl"`
	ThumbnailURL *string         `json:"thumbnailUrl"`
	PromptID     *uuid.UUID      `json:"promptId"`
	ProjectIDs   []uuid.UUID     `json:"projectIds"`
	CreatedAt    time.Time       `json:"createdAt"`
	UpdatedAt    time.Time       `json:"updatedAt"`
	DeletedAt    *time.Time      `json:"deletedAt"`
}

func assetPath(id uuid.UUID) string { return "/api/assets/" + id.String() }

func assetBodyOf(a store.Asset) assetBody {
	return assetBody{
		ID: a.ID, UserID: a.UserID, OriginalName: a.OriginalName, FileType: a.FileType, MIMEType: a.MIMEType,
		FileSize: a.FileSize, SHA256: hex.EncodeToString(a.SHA256[:]), Version: a.Version,
		Tags: a.Tags, Category: a.Category, Metadata: a.Metadata,
		DownloadURL: assetPath(a.ID) + "/download", ProjectIDs: []uuid.UUID{},
		CreatedAt: a.CreatedAt, UpdatedAt: a.UpdatedAt, DeletedAt: a.DeletedAt,
	}
}

type listAssetsRequest struct {
	PageQuery
	FileType      store.FileType  `query:"fileType" enum:"IMAGE,AUDIO"`
	Category      string          `query:"category" maxLength:"64"`
	Tags          []string        `query:"tags,explode"`
	TagMode       string          `query:"tagMode" enum:"any,all" default:"any"`
	CreatedAfter  time.Time       `query:"createdAfter"`
	CreatedBefore time.Time       `query:"createdBefore"`
	Deleted       bool            `query:"deleted"`
	SortBy        store.AssetSort `query:"sortBy" enum:"createdAt,updatedAt,originalName,fileSize" default:"createdAt"`
	SortOrder     string          `query:"sortOrder" enum:"asc,desc" default:"desc"`
}

// laterFilters are documented, and wait for what they look into. Other unknown parameters are ignored.
var laterFilters = []string{
	"search", "projectId", "promptId", "minWidth", "maxWidth", "minHeight", "maxHeight", "minDuration", "maxDuration",
}

// filters narrow the list, and must say how; once may each of singles be there.
var (
	filters = []string{"fileType", "category", "tags", "createdAfter", "createdBefore", "deleted"}
	singles = []string{"fileType", "category", "tagMode", "createdAfter", "createdBefore", "deleted", "sortBy", "sortOrder", "limit", "offset", "page", "cursor"}
)

// Resolve refuses laterFilters, empty filters, and a query of which a part would be
// dropped: a script that deletes what it lists must not get everything.
func (in *listAssetsRequest) Resolve(ctx huma.Context) []error {
	address := ctx.URL()
	query, err := url.ParseQuery(address.RawQuery)
	if err != nil {
		return []error{&huma.ErrorDetail{Location: "query", Message: "is malformed: write % as %25 and ; as %3B"}}
	}
	var errs []error
	refuse := func(name, message string) {
		errs = append(errs, &huma.ErrorDetail{Location: "query." + name, Message: message})
	}
	for _, name := range laterFilters {
		if query.Has(name) {
			refuse(name, "is not supported by this version yet")
		}
	}
	for _, name := range filters {
		separators := " "
		if name == "tags" {
			separators = " ,"
		}
		if slices.ContainsFunc(query[name], func(value string) bool { return strings.Trim(value, separators) == "" }) {
			refuse(name, "is empty: leave it out, or say what to list")
		}
	}
	for _, name := range singles {
		if len(query[name]) > 1 {
			refuse(name, "is there more than once")
		}
	}
	return errs
}

func (in *listAssetsRequest) filter() (store.AssetFilter, error) {
	f := store.AssetFilter{
		FileType: in.FileType, Category: in.Category, AllTags: in.TagMode == "all",
		CreatedAfter: in.CreatedAfter, CreatedBefore: in.CreatedBefore, Trashed: in.Deleted,
	}
	if !isText(in.Category) {
		return f, invalid("category", "holds control characters")
	}
	for _, tags := range in.Tags {
		for tag := range strings.SplitSeq(tags, ",") {
			if tag = strings.TrimSpace(tag); tag != "" {
				f.Tags = append(f.Tags, tag)
			}
		}
	}
	return f, checkTags(f.Tags)
}

// listAssets lists the caller's assets, newest first unless sorted otherwise.
func (s *Server) listAssets(ctx context.Context, who caller, in *listAssetsRequest) (*list[assetBody], error) {
	filter, err := in.filter()
	if err != nil {
		return nil, err
	}
	offset, err := in.offset()
	if err != nil {
		return nil, err
	}
	page := store.AssetPage{Sort: in.SortBy, Ascending: in.SortOrder == "asc", Limit: in.Limit, Offset: offset}
	if in.Cursor != "" {
		if page.After, err = parseCursor(in.Cursor, page.Sort, page.Ascending); err != nil {
			return nil, err
		}
	}
	assets, next, total, err := s.store.ListAssets(ctx, who.ID, filter, page)
	if errors.Is(err, store.ErrBadPosition) {
		return nil, invalid("cursor", "is not a nextCursor of this list")
	}
	if err != nil {
		return nil, err
	}
	var nextCursor *string
	if next != nil {
		text := cursor{page.Sort, page.Ascending, next.Value, next.ID}.String()
		nextCursor = &text
	}
	var answer list[assetBody]
	answer.Body.Data = make([]assetBody, len(assets))
	for i, a := range assets {
		answer.Body.Data[i] = assetBodyOf(a)
	}
	answer.Body.Pagination = in.describe(offset, total, nextCursor)
	return &answer, nil
}

type assetRequest struct {
	ID          string `path:"id"`
	IfMatch     string `header:"If-Match"`
	IfNoneMatch string `header:"If-None-Match"`
}

// assetAnswer is one asset, or a 304 without it.
type assetAnswer struct {
	Status       int
	ETag         string `header:"ETag"`
	CacheControl string `header:"Cache-Control"`
	Body         struct {
		Data assetBody `json:"data"`
	}
}

// parseID treats what is no UUID like an id that nothing has.
func parseID(text string) (uuid.UUID, error) {
	id, err := uuid.Parse(text)
	if err != nil || len(text) != 36 {
		return uuid.Nil, store.ErrNotFound
	}
	return id, nil
}

func (s *Server) getAsset(ctx context.Context, who caller, in *assetRequest) (*assetAnswer, error) {
	id, err := parseID(in.ID)
	if err != nil {
		return nil, err
	}
	asset, err := s.store.Asset(ctx, who.ID, id)
	if err != nil {
		return nil, err
	}
	answer := &assetAnswer{http.StatusOK, versionTag(asset.UpdatedAt), "private, no-cache", dataOf(assetBodyOf(asset)).Body}
	switch {
	case in.IfMatch != "" && !matches(in.IfMatch, answer.ETag, false):
		return nil, store.ErrChanged
	case matches(in.IfNoneMatch, answer.ETag, true):
		answer.Status = http.StatusNotModified
	}
	return answer, nil
}

type deleteAssetRequest struct {
	ID        string `path:"id"`
	Permanent bool   `query:"permanent"`
	IfMatch   string `header:"If-Match"`
}

// deleteAsset puts an asset into the trash, or, if asked to, deletes it for good: also
// one that is in the trash already. With If-Match only if nobody has changed it since.
func (s *Server) deleteAsset(ctx context.Context, who caller, in *deleteAssetRequest) (*none, error) {
	id, err := parseID(in.ID)
	if err != nil {
		return nil, err
	}
	if !in.Permanent {
		return nil, s.store.TrashAsset(ctx, who.ID, id, versionsOf(in.IfMatch)...)
	}
	orphan, err := s.store.PurgeAsset(ctx, who.ID, id, versionsOf(in.IfMatch)...)
	if err == nil && orphan != "" {
		s.discard(ctx, who.ID, orphan)
	}
	return nil, err
}

// discardTimeout is how long a client waits for its bytes to go, and no longer.
const discardTimeout = 5 * time.Second

// discard deletes an object that no asset needs. What fails here the collector does later.
func (s *Server) discard(ctx context.Context, userID uuid.UUID, key string) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), discardTimeout)
	defer cancel()
	if err := s.store.DiscardObject(ctx, userID, key, s.bucket.Delete); err != nil {
		s.log.Warn("an object is left to the collector", "key", key, "error", err)
	}
}

// parseTags reads a form's tags: a JSON array of texts, or a list with commas. What
// begins like a JSON object, or is null, is a mistake, and no tag.
func parseTags(text string) ([]string, error) {
	var tags []string
	if text = strings.TrimSpace(text); text == "null" || text != "" && strings.Contains("[{", text[:1]) {
		var values []*string // json.Unmarshal takes null for any text
		if err := unmarshal([]byte(text), &values); err != nil || values == nil || slices.Contains(values, nil) {
			return nil, invalid("tags", "is not a JSON array of texts")
		}
		for _, tag := range values {
			tags = append(tags, *tag)
		}
	} else {
		tags = strings.Split(text, ",")
	}
	var clean []string
	for _, tag := range tags {
		if tag = strings.TrimSpace(tag); tag != "" && !slices.Contains(clean, tag) {
			clean = append(clean, tag)
		}
	}
	return clean, nil
}

func checkTags(tags []string) error {
	if len(tags) > maxTags {
		return invalid("tags", fmt.Sprintf("holds more than %d tags", maxTags))
	}
	for _, tag := range tags {
		if utf8.RuneCountInString(tag) > maxTag {
			return invalid("tags", fmt.Sprintf("holds a tag of more than %d characters", maxTag))
		}
		if !isText(tag) {
			return invalid("tags", "holds control characters")
		}
	}
	return nil
}

// isText tells whether s can be stored and shown: UTF-8 without control characters.
func isText(s string) bool {
	return utf8.ValidString(s) && !strings.ContainsFunc(s, unicode.IsControl)
}
