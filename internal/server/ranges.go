package server

import (
	"context"
	"crypto/rand"
	"fmt"
	"io"
	"net/http"
	"strings"

	"github.com/assetplatform/assetplatform/internal/objectstore"
	"github.com/assetplatform/assetplatform/internal/store"
)

// parts are what a download sends: a file, a range of it, or several ranges with a head each (RFC 9110, 14.6).
type parts struct {
	delivery
	contentType string
	length      int64 // of all that is sent, bytes
	heads       []string
	end         string
}

func newParts(plan delivery, asset store.Asset) *parts {
	p := &parts{delivery: plan, contentType: asset.MIMEType, length: plan.ranges[0].length}
	if len(plan.ranges) == 1 {
		return p
	}
	boundary := strings.ToLower(rand.Text())
	p.contentType, p.end = "multipart/byteranges; boundary="+boundary, "\r\n--"+boundary+"--\r\n"
	p.length = int64(len(p.end))
	for _, r := range plan.ranges {
		head := fmt.Sprintf("\r\n--%s\r\nContent-Type: %s\r\nContent-Range: %s\r\n\r\n", boundary, asset.MIMEType, r.contentRange(asset.FileSize))
		p.heads = append(p.heads, head)
		p.length += int64(len(head)) + r.length
	}
	return p
}

func (r byteRange) contentRange(size int64) string {
	return fmt.Sprintf("bytes %d-%d/%d", r.start, r.start+r.length-1, size)
}

// open begins to read the parts from the bucket.
func (p *parts) open(ctx context.Context, bucket *objectstore.Bucket, key string) (io.ReadCloser, error) {
	if p.status == http.StatusOK {
		return bucket.Get(ctx, key, 0, -1) // the whole: the bucket verifies its checksum
	}
	first, err := bucket.Get(ctx, key, p.ranges[0].start, p.ranges[0].length)
	if err != nil || len(p.ranges) == 1 {
		return first, err
	}
	return &partsReader{parts: p, body: first, text: strings.NewReader(p.heads[0]), next: func(r byteRange) (io.ReadCloser, error) {
		return bucket.Get(ctx, key, r.start, r.length)
	}}, nil
}

// partsReader reads the parts behind each other: the bucket is asked for one when the one before has been read.
type partsReader struct {
	*parts
	at   int             // which part
	text *strings.Reader // its head, or the end behind the last
	body io.ReadCloser   // nil behind the last
	next func(byteRange) (io.ReadCloser, error)
}

func (r *partsReader) Read(b []byte) (int, error) {
	for {
		if r.text.Len() > 0 {
			return r.text.Read(b)
		}
		if r.body == nil {
			return 0, io.EOF
		}
		n, err := r.body.Read(b)
		if err != io.EOF {
			return n, err
		}
		if err := r.advance(); err != nil || n > 0 {
			return n, err
		}
	}
}

func (r *partsReader) advance() (err error) {
	err = r.body.Close()
	r.body = nil
	if r.at++; r.at == len(r.ranges) {
		r.text = strings.NewReader(r.end)
		return err
	}
	r.text = strings.NewReader(r.heads[r.at])
	r.body, err = r.next(r.ranges[r.at])
	return err
}

func (r *partsReader) Close() error {
	if r.body == nil {
		return nil
	}
	return r.body.Close()
}
