package backup

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"iter"
	"strings"

	"github.com/oklog/ulid/v2"

	"github.com/assetplatform/assetplatform/internal/objectstore"
)

// isDocument tells whether a key is one of those that leave makes.
func isDocument(key, prefix string) bool {
	id, isOurs := strings.CutPrefix(key, prefix)
	id, isJSON := strings.CutSuffix(id, ".json")
	_, err := ulid.ParseStrict(id)
	return isOurs && isJSON && err == nil
}

// documents are those whose keys begin so, the oldest first. What else is there is somebody's, such as the folders that a console makes.
func (d Destination) documents(ctx context.Context, prefix string) iter.Seq2[objectstore.Object, error] {
	return func(yield func(objectstore.Object, error) bool) {
		for o, err := range d.Archive.List(ctx, prefix, "") {
			if (err != nil || isDocument(o.Key, prefix)) && !yield(o, err) {
				return
			}
		}
	}
}

// leave writes a document whose key is the last of those that begin so.
func (d Destination) leave(ctx context.Context, prefix string, what any) error {
	var ids []string
	for o, err := range d.documents(ctx, prefix) {
		if err != nil {
			return err
		}
		ids = append(ids, strings.TrimSuffix(strings.TrimPrefix(o.Key, prefix), ".json"))
	}
	id, err := idAfter(ids)
	if err != nil {
		return err
	}
	return d.writeJSON(ctx, prefix+id+".json", what)
}

func (d Destination) read(ctx context.Context, key string) ([]byte, error) {
	body, _, err := d.Archive.Get(ctx, key)
	if err != nil {
		return nil, err
	}
	defer body.Close()
	text, err := io.ReadAll(io.LimitReader(body, maxDocument))
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", key, err)
	}
	return text, nil
}

func (d Destination) readJSON(ctx context.Context, key string, into any) error {
	text, err := d.read(ctx, key)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(text, into); err != nil {
		return fmt.Errorf("read %s: %w", key, err)
	}
	return nil
}

// writeJSON writes a document under a new key.
func (d Destination) writeJSON(ctx context.Context, key string, what any) error {
	text, err := json.MarshalIndent(what, "", "  ")
	if err != nil {
		return err
	}
	_, err = d.Archive.Put(ctx, key, bytes.NewReader(append(text, '\n')))
	return err
}
