package server

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"math"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/danielgtaylor/huma/v2"
	"github.com/google/uuid"
	"golang.org/x/text/unicode/norm"

	"github.com/assetplatform/assetplatform/internal/store"
)

// Limits of what users say about their assets, characters.
const (
	maxTags     = store.MaxTags
	maxTag      = 64
	maxCategory = 64
	maxName     = 255
)

// assetBody is an asset as the API shows it.
type assetBody struct {
	ID           uuid.UUID       `json:"id"`
	UserID       uuid.UUID       `json:"userId"`
	OriginalName string          `json:"originalName"`
	FileType     store.FileType  `json:"fileType" enum:"IMAGE,AUDIO"`
	MIMEType     string          `json:"mimeType"`
	FileSize     int64           `json:"fileSize" doc:"Bytes."`
	SHA256       string          `json:"sha256" doc:"Hexadecimal."`
	Version      int32           `json:"version" doc:"From 1."`
	Tags         []string        `json:"tags"`
	Category     *string         `json:"category"`
	Metadata     json.RawMessage `json:"metadata"`
	DownloadURL  string          `json:"downloadUrl"`
	ThumbnailURL *string         `json:"thumbnailUrl" doc:"Null: there is none, or none yet."`
	PromptID     *uuid.UUID      `json:"promptId"`
	ProjectIDs   []uuid.UUID     `json:"projectIds"`
	CreatedAt    time.Time       `json:"createdAt"`
	UpdatedAt    time.Time       `json:"updatedAt"`
	DeletedAt    *time.Time      `json:"deletedAt" doc:"Since when it is in the trash; null: it is not."`
}

func assetPath(id uuid.UUID) string { return "/api/assets/" + id.String() }

func assetBodyOf(a store.Asset) assetBody {
	body := assetBody{
		ID: a.ID, UserID: a.UserID, OriginalName: a.OriginalName, FileType: a.FileType, MIMEType: a.MIMEType,
		FileSize: a.FileSize, SHA256: hex.EncodeToString(a.SHA256[:]), Version: a.Version,
		Tags: a.Tags, Category: a.Category, Metadata: a.Metadata,
		DownloadURL: assetPath(a.ID) + "/download", ProjectIDs: append([]uuid.UUID{}, a.ProjectIDs...),
		CreatedAt: a.CreatedAt, UpdatedAt: a.UpdatedAt, DeletedAt: a.DeletedAt,
	}
	if a.HasThumbnail {
		address := assetPath(a.ID) + "/thumbnail"
		body.ThumbnailURL = &address
	}
	return body
}

// ListAssetsQuery says which assets to list. Requests embed it; huma looks into exported types only.
type ListAssetsQuery struct {
	PageQuery
	ProjectID     string         `query:"projectId" maxLength:"36"`
	FileType      store.FileType `query:"fileType" enum:"IMAGE,AUDIO"`
	Category      string         `query:"category" maxLength:"64"`
	Tags          []string       `query:"tags,explode" doc:"With commas, or several times."`
	TagMode       string         `query:"tagMode" enum:"any,all" default:"any" doc:"Whether one of the tags will do."`
	CreatedAfter  OptionalTime   `query:"createdAfter"`
	CreatedBefore OptionalTime   `query:"createdBefore"`
	Deleted       bool           `query:"deleted" doc:"What is in the trash, in place of what is not."`
	MinWidth      int            `query:"minWidth" minimum:"1" maximum:"2147483647" doc:"Pixels. Of images whose metadata is read."`
	MaxWidth      int            `query:"maxWidth" minimum:"1" maximum:"2147483647" doc:"Pixels."`
	MinHeight     int            `query:"minHeight" minimum:"1" maximum:"2147483647" doc:"Pixels."`
	MaxHeight     int            `query:"maxHeight" minimum:"1" maximum:"2147483647" doc:"Pixels."`
	MinDuration   float64        `query:"minDuration" exclusiveMinimum:"0" doc:"Seconds. Of audio whose metadata is read."`
	MaxDuration   float64        `query:"maxDuration" exclusiveMinimum:"0" doc:"Seconds."`
	Search        string         `query:"search" maxLength:"200" doc:"Words that the name or tags hold, in any script; eight at most."`
	SortBy        store.Sort     `query:"sortBy" enum:"rank,createdAt,updatedAt,originalName,fileSize" doc:"Absent: rank with a search, else createdAt."`
	SortOrder     string         `query:"sortOrder" enum:"asc,desc" default:"desc"`
}

// laterFilters are documented, and wait for what they look into. Other unknown parameters are ignored.
var laterFilters = []string{"promptId"}

// filters narrow the list, and must say how; once may each of singles be there.
var (
	filters = append([]string{"tags"}, singleFilters...)
	singles = append([]string{"tagMode", "sortBy", "sortOrder", "limit", "offset", "page", "cursor"}, singleFilters...)

	singleFilters = []string{
		"search", "projectId", "fileType", "category", "createdAfter", "createdBefore", "deleted",
		"minWidth", "maxWidth", "minHeight", "maxHeight", "minDuration", "maxDuration",
	}
)

// Resolve refuses laterFilters, empty filters, and a query of which a part would be
// dropped: a script that deletes what it lists must not get everything.
func (in *ListAssetsQuery) Resolve(ctx huma.Context) []error {
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
		separates := func(r rune) bool { return unicode.IsSpace(r) || name == "tags" && r == ',' }
		if slices.ContainsFunc(query[name], func(value string) bool { return strings.TrimFunc(value, separates) == "" }) {
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

func (in *ListAssetsQuery) filter() (store.AssetFilter, error) {
	f := store.AssetFilter{
		FileType: in.FileType, Category: norm.NFC.String(in.Category), AllTags: in.TagMode == "all",
		CreatedAfter: in.CreatedAfter.given, CreatedBefore: in.CreatedBefore.given, Trashed: in.Deleted,
		Width: rangeOf(in.MinWidth, in.MaxWidth), Height: rangeOf(in.MinHeight, in.MaxHeight), Duration: rangeOf(in.MinDuration, in.MaxDuration),
	}
	for name, seconds := range map[string]float64{"minDuration": in.MinDuration, "maxDuration": in.MaxDuration} {
		if math.IsNaN(seconds) || math.IsInf(seconds, 0) {
			return f, invalid(name, "is not a number of seconds")
		}
	}
	if in.ProjectID != "" {
		var err error
		if f.ProjectID, err = parseID(in.ProjectID); err != nil {
			return f, invalid("projectId", "is not the id of a project")
		}
	}
	if !isText(in.Search) {
		return f, invalid("search", "holds control characters")
	}
	if in.Search != "" {
		switch words := store.SearchWords(in.Search); { // what they are is told where they are normalized: U+3000 is a blank
		case words == 0:
			return f, invalid("search", "is empty: leave it out, or say what to list")
		case words > store.MaxWords:
			return f, invalid("search", fmt.Sprintf("has more than %d words", store.MaxWords))
		}
	}
	f.Search = in.Search
	if !isText(in.Category) {
		return f, invalid("category", "holds control characters")
	}
	for _, tags := range in.Tags {
		f.Tags = append(f.Tags, strings.Split(tags, ",")...)
	}
	f.Tags = cleanTags(f.Tags)
	return f, checkTags(f.Tags)
}

// rangeOf takes 0, which no such parameter may be, for one that is not there.
func rangeOf[N int | float64](least, most N) (r store.Range[N]) {
	if least > 0 {
		r.Min = &least
	}
	if most > 0 {
		r.Max = &most
	}
	return r
}

// listAssets lists the caller's assets, newest first unless sorted otherwise.
func (s *Server) listAssets(ctx context.Context, who caller, in *ListAssetsQuery) (*list[assetBody], error) {
	filter, err := in.filter()
	if err != nil {
		return nil, err
	}
	sortBy := in.SortBy
	switch {
	case sortBy == "" && in.Search != "":
		sortBy = store.SortRank
	case sortBy == "":
		sortBy = store.SortCreatedAt
	case sortBy == store.SortRank && in.Search == "":
		return nil, invalid("sortBy", "is rank, which only a search has")
	}
	if sortBy == store.SortRank && in.SortOrder == "asc" {
		return nil, invalid("sortOrder", "is asc, but the best comes first: leave it out")
	}
	return listSorted(in.PageQuery, sortBy, in.SortOrder, assetBodyOf, func(p store.Page) ([]store.Asset, *store.Position, store.Total, error) {
		return s.store.ListAssets(ctx, who.ID, filter, p)
	})
}

type searchAssetsRequest struct {
	Q string `query:"q" required:"true" minLength:"1" maxLength:"200"`
	ListAssetsQuery
}

// searchAssets is listAssets with that search.
func (s *Server) searchAssets(ctx context.Context, who caller, in *searchAssetsRequest) (*list[assetBody], error) {
	if in.Search != "" && in.Search != in.Q {
		return nil, invalid("search", "is another one than q: leave it out")
	}
	if !isText(in.Q) || store.SearchWords(in.Q) == 0 {
		return nil, invalid("q", "has no words or holds control characters")
	}
	in.Search = in.Q
	return s.listAssets(ctx, who, &in.ListAssetsQuery)
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

func assetAnswerOf(a store.Asset) *assetAnswer {
	body := dataOf(assetBodyOf(a)).Body
	return &assetAnswer{http.StatusOK, assetTag(a.UpdatedAt, body), "private, no-cache", body}
}

type updateAssetRequest struct {
	ID      string `path:"id"`
	IfMatch string `header:"If-Match"`
	Body    struct {
		OriginalName *string            `json:"originalName,omitempty" minLength:"1" maxLength:"255"`
		Tags         Nullable[[]string] `json:"tags,omitempty" maxItems:"50" doc:"In place of those before; null takes all away."`
		Category     Nullable[string]   `json:"category,omitempty"`
	}
}

// updateAsset changes what the request names; the rest stays. With If-Match only if nobody has changed it since.
func (s *Server) updateAsset(ctx context.Context, who caller, in *updateAssetRequest) (*assetAnswer, error) {
	id, err := parseID(in.ID)
	if err != nil {
		return nil, err
	}
	change, err := in.change()
	if err == nil && change.OriginalName != nil {
		err = s.checkRename(ctx, who, id, *change.OriginalName)
	}
	if err != nil {
		return nil, err
	}
	asset, err := s.store.UpdateAsset(ctx, who.ID, id, change, versionsOf(in.IfMatch)...)
	return assetAnswerOf(asset), err
}

// checkRename refuses a name that says what the file is not, as for uploads.
func (s *Server) checkRename(ctx context.Context, who caller, id uuid.UUID, name string) error {
	asset, err := s.store.Asset(ctx, who.ID, id)
	if err != nil {
		return err
	}
	for _, f := range fileFormats {
		if extension := f.contradicted(name); f.mimeType == asset.MIMEType && extension != "" {
			return invalid("originalName", "ends in "+extension+", but the file is "+f.name+": end it in "+f.extensions[0])
		}
	}
	return nil
}

func (in *updateAssetRequest) change() (c store.AssetChange, err error) {
	if name := in.Body.OriginalName; name != nil {
		*name = strings.TrimSpace(*name)
		if err = checkLine("originalName", *name, maxName); err == nil && strings.ContainsAny(*name, `/\`) {
			err = invalid("originalName", "holds a slash")
		}
		if err == nil && turnsText(*name) {
			err = invalid("originalName", turnedText)
		}
		c.OriginalName = name
	}
	if tags := in.Body.Tags; tags.Given {
		if tags.Value == nil {
			tags.Value = new([]string)
		}
		c.Tags = cleanTags(*tags.Value)
		err = allOf(err, checkTags(c.Tags))
	}
	if in.Body.Category.Given {
		category, wrong := cleanCategory(in.Body.Category.Value)
		c.Category, err = &category, allOf(err, wrong)
	}
	return c, err
}

// cleanCategory returns nil for none.
func cleanCategory(category *string) (*string, error) {
	if category == nil || strings.TrimSpace(*category) == "" {
		return nil, nil //nolint:nilnil // no category is one of the values
	}
	text := norm.NFC.String(strings.TrimSpace(*category))
	return &text, checkLine("category", text, maxCategory)
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
	answer := assetAnswerOf(asset)
	switch versions := versionsOf(in.IfMatch); {
	case versions != nil && !slices.ContainsFunc(versions, asset.UpdatedAt.Equal):
		return nil, store.ErrChanged
	case matches(in.IfNoneMatch, answer.ETag, true):
		answer.Status = http.StatusNotModified
	}
	return answer, nil
}

type deleteAssetRequest struct {
	ID        string `path:"id"`
	Permanent bool   `query:"permanent" doc:"For good, also what is in the trash."`
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

type restoreAssetRequest struct {
	ID      string `path:"id"`
	IfMatch string `header:"If-Match"`
}

// restoreAsset takes an asset out of the trash. With If-Match only if nobody has changed it since.
func (s *Server) restoreAsset(ctx context.Context, who caller, in *restoreAssetRequest) (*assetAnswer, error) {
	id, err := parseID(in.ID)
	if err != nil {
		return nil, err
	}
	asset, err := s.store.RestoreAsset(ctx, who.ID, id, versionsOf(in.IfMatch)...)
	return assetAnswerOf(asset), err
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
	return cleanTags(tags), nil
}

// cleanTags are the tags without blanks around them, each once: é of one character and of two are the same.
func cleanTags(tags []string) []string {
	clean := []string{}
	for _, tag := range tags {
		if tag = norm.NFC.String(strings.TrimSpace(tag)); tag != "" && !slices.Contains(clean, tag) {
			clean = append(clean, tag)
		}
	}
	return clean
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
		if strings.Contains(tag, ",") { // no list could be asked for it
			return invalid("tags", "holds a tag with a comma, which stands between tags")
		}
	}
	return nil
}

// isText tells whether s can be stored and shown: UTF-8 without control characters.
func isText(s string) bool {
	return utf8.ValidString(s) && !strings.ContainsFunc(s, unicode.IsControl)
}
