package server

import (
	"context"
	"errors"
	"io"
	"net/http"
	"path"
	"strconv"

	"github.com/danielgtaylor/huma/v2"

	"github.com/assetplatform/assetplatform/internal/store"
)

// thumbnailSizes are the squares that thumbnails are fitted into, pixels.
var thumbnailSizes = []any{150, 300, 600}

const defaultThumbnail = 300

// thumbnail streams a small picture of an asset. A picture that is smaller is not enlarged.
func (s *Server) thumbnail(w http.ResponseWriter, r *http.Request, who caller) error {
	size, err := thumbnailSize(r.URL.Query()["size"])
	if err != nil {
		return err
	}
	asset, t, err := s.findThumbnail(r, who, size)
	if err != nil {
		return err
	}
	etag := `"` + path.Base(t.ObjectKey) + `"` // a thumbnail that is made anew has another key
	plan := deliver(r, etag, asset.BytesAt, t.Bytes)
	if answered, err := answerCondition(w, plan, etag, asset); answered || err != nil {
		return err
	}
	// The whole, for ranges of something so small are not worth their code.
	body := io.ReadCloser(http.NoBody)
	if r.Method != http.MethodHead {
		if body, err = s.bucket.Get(r.Context(), t.ObjectKey, 0, -1); err != nil {
			return err
		}
		defer body.Close()
	}
	h := w.Header()
	describeVersion(h, etag, asset)
	h.Set("Content-Type", t.MIMEType)
	h.Set("Content-Length", strconv.FormatInt(t.Bytes, 10))
	h.Set("Content-Security-Policy", "sandbox; default-src 'none'")
	w.WriteHeader(http.StatusOK)
	s.send(w, r, body)
	return nil
}

// thumbnailSize reads the parameter, of which one is permitted.
func thumbnailSize(given []string) (int, error) {
	if len(given) == 0 {
		return defaultThumbnail, nil
	}
	for _, size := range thumbnailSizes {
		if len(given) == 1 && given[0] == strconv.Itoa(size.(int)) {
			return size.(int), nil
		}
	}
	return 0, invalid("size", "is none of 150, 300 and 600")
}

func (s *Server) findThumbnail(r *http.Request, who caller, size int) (asset store.Asset, t store.Thumbnail, err error) {
	id, err := parseID(r.PathValue("id"))
	if err != nil {
		return asset, t, err
	}
	ctx, cancel := context.WithTimeout(r.Context(), jsonTimeout)
	defer cancel()
	if asset, err = s.store.AssetOrTrash(ctx, who.ID, id); err != nil {
		return asset, t, err
	}
	t, err = s.store.Thumbnail(ctx, asset, size)
	if !errors.Is(err, store.ErrNotFound) {
		return asset, t, err
	}
	p := newProblem(http.StatusNotFound, "NOT_FOUND", "This asset has no thumbnail: only images have, unless they could not be decoded.")
	if asset.Metadata == nil && asset.FileType == store.Image {
		p = newProblem(http.StatusNotFound, "NOT_FOUND", "This asset has no thumbnail yet: ask again once its thumbnailUrl is not null.")
		p.header.Set("Retry-After", "2")
	}
	return asset, t, p
}

// thumbnailDocs describes the route.
func thumbnailDocs(op *huma.Operation, schemas huma.Registry) {
	content := map[string]*huma.MediaType{}
	for _, kind := range []string{"image/png", "image/jpeg"} {
		content[kind] = &huma.MediaType{Schema: &huma.Schema{Type: huma.TypeString, Format: "binary"}}
	}
	op.Responses = map[string]*huma.Response{
		"200": {Description: "The thumbnail: PNG where there is transparency, else JPEG", Content: content, Headers: headersOf(versionHeaders...)},
		"304": unchangedResponse(versionHeaders...),
	}
	documentProblem(op, schemas, http.StatusNotFound, "There is no such asset, or no thumbnail of it: with Retry-After, not yet", "Retry-After")
	op.Parameters = append(op.Parameters, &huma.Param{
		Name: "size", In: "query", Description: "The square that it fits, pixels.",
		Schema: &huma.Schema{Type: huma.TypeInteger, Enum: thumbnailSizes, Default: defaultThumbnail},
	})
	takeConditions(op)
	op.Metadata = uncounted
}
